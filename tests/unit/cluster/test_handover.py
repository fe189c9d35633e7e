"""Secrets of the driver go to processes of its own user, and to nobody else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest

from rayetl.cluster import handover
from rayetl.cluster.handover import adopt, offered
from rayetl.secrets import environment
from rayetl.secrets.secret import Secret

NAME = "RAYETL_CREDENTIAL_HANDED__PASSWORD"


def asked_by(user: int, path: str) -> bytes:
    """What a process of another user gets at the socket, or why it gets nothing."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.setuid(user)
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(path)
                os.write(writer, server.recv(1000) or b"nothing")
        except OSError as error:
            os.write(writer, type(error).__name__.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader, "rb") as told:
        return told.read()


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in environment.about_credentials(environment.variables()) if name in os.environ
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(environment, "_withdrawn", {})


def test_where_there_is_nothing_nothing_is_offered() -> None:
    with offered() as path:
        assert path is None
    adopt(None)


def test_what_was_withdrawn_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "canary")
    threads = set(threading.enumerate())
    with offered() as path:
        assert path is not None
        monkeypatch.delenv(NAME)
        assert NAME not in environment.variables()
        adopt(path)
        assert environment.variables()[NAME] == "canary"
        assert NAME not in os.environ
    assert not Path(path).parent.exists()
    assert set(threading.enumerate()) <= threads, "whoever served it has ended"
    adopt(path)


def test_another_user_is_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can act as another user")
    monkeypatch.setenv(NAME, "canary")
    with offered() as path:
        assert path is not None
        assert asked_by(65534, path) == b"PermissionError"
        Path(path).parent.chmod(0o755)
        Path(path).chmod(0o777)
        assert asked_by(65534, path) == b"nothing"
        assert b"canary" in asked_by(0, path)


def test_who_asks_and_goes_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "canary")
    with offered() as path:
        assert path is not None
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(path)
        monkeypatch.delenv(NAME)
        adopt(path)
        assert environment.variables()[NAME] == "canary"


def test_another_user_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can act as another user")
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        path = str(Path(place, "secrets"))
        if not (child := os.fork()):
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path)
                server.listen()
                asking, _ = server.accept()
                asking.sendall(json.dumps({NAME: "forged"}).encode())
                asking.close()
            os._exit(0)
        while not Path(path).is_socket():
            time.sleep(0.01)
        with contextlib.suppress(ConnectionRefusedError):
            adopt(path)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert NAME not in environment.variables()


def test_who_asks_and_does_not_listen_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given out may be more than fits between two processes at once."""
    long = "canary" * 100_000
    monkeypatch.setattr(handover, "_PATIENCE", 0.3)
    monkeypatch.setattr(environment, "_withdrawn", {NAME: Secret(long)})
    with offered() as path, socket.socket(socket.AF_UNIX) as deaf:
        assert path is not None
        deaf.connect(path)
        assert deaf.recv(1), "it is served"
        monkeypatch.setattr(handover, "_PATIENCE", 5.0)
        monkeypatch.setattr(environment, "_withdrawn", {})
        adopt(path)
        assert environment.variables()[NAME] == long


def test_a_long_place_for_temporary_files_is_no_hindrance(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / ("x" * 120)
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    monkeypatch.setenv(NAME, "canary")
    with offered() as path:
        monkeypatch.delenv(NAME)
        adopt(path)
        assert environment.variables()[NAME] == "canary"
