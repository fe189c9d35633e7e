"""Named places where the fault tests stop, break or kill a run; nothing happens there otherwise.

`RAYETL_FAILPOINT=name:action@n` arms the `n`th passage (from 1; 1 if left out) of the failpoint `name`;
several are separated by commas. `RAYETL_FAILPOINT_LOG` names a file that gets a line for every passage.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import NoReturn


class FailpointError(Exception):
    """What the action `raise` raises: a fault no code can have prepared for."""


def failpoint(name: str) -> None:
    """Mark a place that a fault test may strike. Costs one test of a global when nothing is armed."""
    if _WATCHING:
        _pass(name)


def rearm() -> None:
    """Read the environment again. For tests that arm failpoints inside their own process."""
    global _WATCHING
    _PASSED.clear()
    _WATCHING = bool(os.environ.get("RAYETL_FAILPOINT") or os.environ.get("RAYETL_FAILPOINT_LOG"))


_PASSED: dict[str, int] = {}
_WATCHING = False


def _pass(name: str) -> None:
    _PASSED[name] = _PASSED.get(name, 0) + 1
    if log := os.environ.get("RAYETL_FAILPOINT_LOG"):
        _append(log, f"{name}\n")
    for armed in filter(None, os.environ.get("RAYETL_FAILPOINT", "").split(",")):
        place, _, order = armed.partition(":")
        action, _, turn = order.partition("@")
        if place == name and _PASSED[name] == int(turn or 1):
            _ACTIONS[action](name)


def _append(path: str, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _kill(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise(name: str) -> NoReturn:
    raise FailpointError(name)


def _no_space(name: str) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)


def _hang(_: str) -> None:
    while True:
        time.sleep(3600)


def _barrier(name: str) -> None:
    """Tell the controller at `RAYETL_FAILPOINT_SOCKET` who waits where; go on at its answer."""
    with socket.socket(socket.AF_UNIX) as controller:
        controller.connect(os.environ["RAYETL_FAILPOINT_SOCKET"])
        controller.sendall(f"{os.getpid()} {name}\n".encode())
        controller.recv(1)


_ACTIONS: dict[str, Callable[[str], None]] = {
    "kill9": _kill,
    "raise": _raise,
    "enospc": _no_space,
    "hang": _hang,
    "barrier": _barrier,
}

rearm()
