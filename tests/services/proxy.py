"""A TCP proxy on a loopback port that cuts connections to a database at a COMMIT when a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

_ASKED = b"COMMIT"
"""What is in the bytes of a client that wants to commit."""


class Proxy:
    """Hands bytes to and from the server at `port`.

    While it is armed, a connection is cut at its COMMIT: with `after` when the server has done it and says so,
    else before the server hears of it. The client cannot tell the one from the other. The server has said so
    when `answered` is in its bytes after the question; where that is empty, any bytes are the answer. With
    `alone`, no new connection is let through after a cut. It listens at the port `listen`, or at one that is
    free.
    """

    def __init__(
        self,
        port: int,
        *,
        after: bool,
        alone: bool = False,
        listen: int = 0,
        answered: bytes = b"COMMIT\0",
    ) -> None:
        self._server_port = port
        self._after = after
        self._answered = answered
        self._alone = alone
        self._armed = 0
        self.cuts = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", listen))
        self._sockets: list[socket.socket] = []

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def arm(self, times: int = 1) -> None:
        """Cut the next `times` connections that commit."""
        with self._lock:
            self._armed = times

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listener, *self._sockets)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._alone and self.cuts:
                _close(client)
                continue
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._sockets += [client, server]
            asked = threading.Event()
            for way in ((client, server, asked, None), (server, client, None, asked)):
                threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        asking: threading.Event | None,
        asked: threading.Event | None,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if asking is not None and _ASKED in data:
                    if not self._after and self._strikes():
                        break
                    asking.set()
                elif asked is not None and asked.is_set() and self._answered in data:
                    asked.clear()
                    if self._after and self._strikes():
                        break
                sink.sendall(data)
        _close(source, sink)

    def _strikes(self) -> bool:
        with self._lock:
            if not self._armed:
                return False
            self._armed -= 1
            self.cuts += 1
            return True


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
