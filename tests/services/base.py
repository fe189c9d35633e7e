"""What every service is: something that is started, says how to reach it, and is stopped again."""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

_INSTALL = Path(__file__).with_name("install")
_PR_SET_PDEATHSIG = 1

_STARTER = ThreadPoolExecutor(1, "services")
"""Its thread starts all servers: Linux sends the signal of `child` when the thread that started one ends,
and a test may start a server from a thread that is gone soon."""


class Service(ABC):
    """One server. `start` may be called again after `stop` or `crash`: the data and the port stay."""

    name: str

    @abstractmethod
    def start(self) -> None:
        """Start and wait until it answers. Raises `RuntimeError` with the end of the log."""

    @abstractmethod
    def stop(self) -> None:
        """Stop in good order; calling it twice changes nothing."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """How to reach it, as variables for a shell."""


def install() -> None:
    """Install what is missing of all services. Needs root or sudo where something is."""
    subprocess.run([_INSTALL], check=True, stdout=subprocess.DEVNULL)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on, and that the system gives to no connection
    between now and the start of who will."""
    chance = secrets.SystemRandom()
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", chance.randrange(20_000, 32_768)))
            return int(probe.getsockname()[1])


def data_directory(name: str, owner: str) -> Path:
    """A new directory for the data of a service that runs as the user `owner`."""
    directory = Path(tempfile.mkdtemp(prefix=f"rayetl-{name}-"))
    if os.geteuid() == 0:
        account = pwd.getpwnam(owner)
        os.chown(directory, account.pw_uid, account.pw_gid)
    return directory


def account(owner: str) -> dict[str, object]:
    """Keywords that make `subprocess` run as `owner`; none where this process is not root anyway."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(owner)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def child(command: Sequence[str | Path], owner: str, log: Path, dies: signal.Signals) -> subprocess.Popen:
    """A server process of our own, which gets the signal `dies` when this process ends in whatever way: a
    test run that is killed leaves no server behind."""
    libc = ctypes.CDLL(None)

    def ask_for_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(dies))

    with log.open("ab") as out:
        starting = _STARTER.submit(
            subprocess.Popen,
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            cwd="/",
            preexec_fn=ask_for_signal,
            start_new_session=True,
            **account(owner),
        )
        return starting.result()
