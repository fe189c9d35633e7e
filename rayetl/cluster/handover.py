"""Secrets of the driver's environment, for the processes of its run on the same machine.

The command line takes them out of the environment before anything is started, so that no child has them by
chance. Who opens a connection asks for them on a socket in a directory that only this user can enter. Nothing
of it is an argument, a variable, an object of the cluster or a file. Nodes elsewhere look credentials up in
an environment of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from rayetl.secrets import environment

_PATIENCE = 5.0

_LONGEST = 80
"""Bytes of a directory below which the name of a socket fits into the 107 that there are for it."""


@contextmanager
def offered() -> Iterator[str | None]:
    """The socket that gives out what this process knows of credentials; `None` where that is nothing."""
    secrets = environment.about_credentials(environment.variables())
    if not secrets:
        yield None
        return
    directory = _private_directory()
    path = str(Path(directory, "secrets"))
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(path)
        server.listen()
        serving = threading.Thread(target=_serve, args=(server, secrets), daemon=True)
        serving.start()
        try:
            yield path
        finally:
            server.shutdown(socket.SHUT_RDWR)
            serving.join()
            shutil.rmtree(directory, ignore_errors=True)


def _private_directory() -> str:
    place = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="rayetl-", dir=place if len(os.fsencode(place)) <= _LONGEST else "/tmp")


def _serve(server: socket.socket, secrets: Mapping[str, str]) -> None:
    while True:
        try:
            asking, _ = server.accept()
        except OSError:
            return
        # Who asks and does not listen harms himself only.
        with asking, suppress(OSError):
            asking.settimeout(_PATIENCE)
            if _user(asking) == os.getuid():
                asking.sendall(json.dumps(secrets).encode())


def adopt(path: str | None) -> None:
    """Take over the variables that are given out at `path`, if that is a socket of this machine."""
    if path is None or not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(_PATIENCE)
        server.connect(path)
        if _user(server) != os.getuid():
            return
        told = b"".join(iter(lambda: server.recv(1 << 16), b""))
    environment.remember(json.loads(told))


def _user(peer: socket.socket) -> int:
    """The user behind the other end of a socket."""
    _, user, _ = struct.unpack(
        "3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return int(user)
