"""A TCP proxy on a loopback port that cuts connections when a test says so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Self


class Proxy:
    """Hands bytes to and from the server at `port`.

    While `cut` is armed, the connection whose client sends bytes with `marker` in them is cut: with `after`
    the server still gets them and does what they ask, but its answer is lost; without it, it never does.
    """

    def __init__(self, port: int, *, marker: bytes = b"COMMIT", after: bool = True) -> None:
        self._server_port = port
        self._marker = marker
        self._after = after
        self._armed = 0
        self.cuts = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def arm(self, times: int = 1) -> None:
        """Cut the next `times` connections that send the marker."""
        with self._lock:
            self._armed = times

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._sockets += [client, server]
            link = _Link(client, server)
            threading.Thread(target=link.pump, args=(client, server, self._strikes), daemon=True).start()
            threading.Thread(target=link.pump, args=(server, client, lambda _: None), daemon=True).start()

    def _strikes(self, data: bytes) -> bool | None:
        """Whether these bytes are where to cut, and then whether the server gets them."""
        with self._lock:
            if not self._armed or self._marker not in data:
                return None
            self._armed -= 1
            self.cuts += 1
            return self._after


class _Link:
    def __init__(self, *ends: socket.socket) -> None:
        self._ends = ends
        self._dumb = threading.Event()

    def pump(
        self, source: socket.socket, sink: socket.socket, strikes: Callable[[bytes], bool | None]
    ) -> None:
        try:
            while data := source.recv(1 << 16):
                cut = strikes(data)
                if cut is not None:
                    self._dumb.set()
                    if cut:
                        sink.sendall(data)
                    source.shutdown(socket.SHUT_RDWR)
                    if not cut:
                        sink.shutdown(socket.SHUT_RDWR)
                    return
                if not self._dumb.is_set():
                    sink.sendall(data)
        except OSError:
            self._dumb.set()
        if not self._dumb.is_set():
            for end in self._ends:
                end.close()
