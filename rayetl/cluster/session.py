"""The connection of this process to a Ray cluster: joined where one is named, else started for a while."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rayetl.errors import RunError, Terminal
from rayetl.observability.logs import get_logger

_LOG = get_logger(__name__)

PATIENCE = 3.0
"""Seconds that a cluster may take to answer before it counts as not there."""

HEAD_PATIENCE = 4.0
"""Seconds that the head of a cluster may be away while a run is under way."""

_START = (
    "start one with `ray start --head`, or have one started for this run: leave out --address and RAY_ADDRESS"
)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection to the cluster at `address` (`auto`: that of this machine), or to one of this run's own.

    A connection that this process has already is used and left as it is. Raises `RunError` where Ray is
    not installed or no cluster answers.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    connect(address)
    try:
        yield
    finally:
        ray.shutdown()


def connect(address: str | None = None, cpus: int | None = None) -> None:
    """Connect this process and leave it so; a cluster of its own gets `cpus`, or as many as there are.

    Raises what `connected` raises.
    """
    place = address or os.environ.get("RAY_ADDRESS") or "local"
    if place != "local":
        _assert_alive(place)
    ray = _ray()
    with _signals_left_alone(ray):
        _init(ray, place, cpus)
    _close_token()
    # Ray prints what goes wrong on stdout, whatever it was told about logs; that is for data.
    ray._private.worker.print_to_stdstream = _log


def _log(said: Mapping[str, Any], ignore_prefix: bool) -> None:
    del ignore_prefix
    for line in said["lines"]:
        _LOG.warning(f"Ray: {' '.join(line.split())[:300]}")


def _ray() -> Any:
    # Nothing is sent to anybody, and workers run in the environment that is there.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Of several tasks that fail at once the first one's fault is told, and not those of the others by Ray.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    try:
        import ray
    except ImportError as error:
        raise Terminal(
            "the runtime ray needs Ray, which is not installed",
            hint="pip install 'rayetl[ray]', or run with --runtime local",
        ) from error
    return ray


@contextlib.contextmanager
def lean() -> Iterator[None]:
    """A cluster that is started within has none of Ray's processes that only serve who looks at it from
    outside or has it grow: those take two seconds of processor time.

    A second cluster of the machine is there three seconds sooner, too: Ray's agents all want the same port.
    Ray 2.60, to which rayetl is pinned, has no public way to ask for that.
    """
    from ray._private import node, parameter

    settings, start = parameter.RayParams, node.Node.start_api_server
    parameter.RayParams = partial(
        settings, include_log_monitor=False, no_monitor=True, dashboard_agent_listen_port=0
    )
    node.Node.start_api_server = lambda *_, **__: None
    try:
        yield
    finally:
        parameter.RayParams, node.Node.start_api_server = settings, start


def _init(ray: Any, place: str, cpus: int | None) -> None:
    started = {"num_cpus": cpus} if place == "local" else {}
    try:
        with lean():
            ray.init(
                address=place,
                namespace="rayetl",
                log_to_driver=False,
                logging_level="error",
                **started,
            )
    except Exception as error:
        cause = " ".join(str(error).split())[:300] or type(error).__name__
        if place == "local":
            raise Terminal(
                f"a local Ray cluster could not be started: {cause}",
                hint="run again, or run with --runtime local; the log is below /tmp/ray/session_latest/logs",
            ) from error
        if isinstance(error, ConnectionError):
            raise RunError(f"there is no Ray cluster at {place}", hint=_START) from error
        raise RunError(f"the Ray cluster at {place} cannot be joined: {cause}", hint=_START) from error


def _assert_alive(place: str) -> None:
    """Raise where nothing answers: Ray itself would wait for minutes."""
    if "://" in place:
        raise RunError(
            f"{place} is the address of a Ray client, which cannot own a run",
            hint="send the run to the cluster with `ray job submit`, or run on one of its nodes with "
            "--address auto",
        )
    host, _, port = place.rpartition(":")
    if not host:
        return
    try:
        with socket.create_connection((host, int(port)), PATIENCE):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise RunError(f"there is no Ray cluster at {place}", hint=_START) from error
    if not _speaks_grpc(place):
        raise RunError(f"what answers at {place} is no Ray cluster", hint=_START)


def _speaks_grpc(place: str) -> bool:
    """Whether what listens there speaks the protocol of Ray's head."""
    import grpc

    with grpc.insecure_channel(place) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE)
        except grpc.FutureTimeoutError:
            return False
    return True


class HeadGone(RunError):
    """The head of the cluster, without which nothing can be started any more, does not answer."""


class Head:
    """Watches the head of the cluster: Ray itself gives it up after a minute, and then ends the process."""

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        host, _, port = address.rpartition(":")
        self._place = (host, int(port))
        self._clock = clock
        self._seen = self._looked = clock()

    def look(self) -> None:
        """Raise `HeadGone` where it has not answered for `HEAD_PATIENCE` seconds."""
        now = self._clock()
        if now - self._looked < 1:
            return
        self._looked = now
        try:
            socket.create_connection(self._place, 1).close()
        except OSError as error:
            if now - self._seen > HEAD_PATIENCE:
                raise HeadGone(
                    f"the head of the Ray cluster at {':'.join(map(str, self._place))} is gone",
                    hint="start a cluster and run again: what is committed is recognised, what is finished "
                    "is kept",
                ) from error
        else:
            self._seen = now


@contextlib.contextmanager
def _signals_left_alone(ray: Any) -> Iterator[None]:
    """Keep Ray from handling SIGTERM: its handler in Python ends the process, wherever that is by then, and
    the one below shows where the process was."""
    utils = ray._private.utils
    set_handler, utils.set_sigterm_handler = utils.set_sigterm_handler, lambda _: None
    try:
        with own_signal_handlers(signal.SIGTERM):
            yield
    finally:
        utils.set_sigterm_handler = set_handler


@contextlib.contextmanager
def own_signal_handlers(*numbers: signal.Signals) -> Iterator[None]:
    """Ray and pyspark replace handlers when they start; the ones that were there stay in charge."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _close_token() -> None:
    """Ray writes the token that opens its clusters readable for everybody."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if stat.S_IMODE(token.stat().st_mode) & 0o077:
            token.chmod(0o600)
