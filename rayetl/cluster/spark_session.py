"""The Spark session on Ray of this process: started once, shared, watched, ended with all its JVMs."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from rayetl.cluster.session import connect, own_signal_handlers
from rayetl.cluster.spark_conf import MARK, session_conf
from rayetl.cluster.spark_machine import EXTRA, assert_installed, log_path
from rayetl.cluster.spark_watch import Pulse, Stall, Watchdog
from rayetl.config.engines import SparkSettings
from rayetl.errors import RayetlError, Retryable, RunError, Terminal
from rayetl.observability.logs import get_logger
from rayetl.records import dataclass
from rayetl.secrets.environment import withdraw

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOG = get_logger(__name__)
T = TypeVar("T")
R = TypeVar("R")
_LOST = "nothing of this attempt was committed; it is made again with a new session"
_ENDED = ("ExecutorLostFailure", "SparkContext was shut down", "stopped SparkContext")
PATIENCE = 60.0
"""Seconds that a job may wait for an executor before the session counts as lost."""


class SparkOnRay:
    """Spark on Ray for the pipelines of this process, all with the same settings at a time.

    The session starts with the first work, on the Ray cluster that this process has joined or joins at
    `address`, and serves all work after it. Where it is lost, the work under way raises `Retryable`, and the
    next work starts a new session.
    """

    def __init__(self, settings: SparkSettings, address: str | None = None) -> None:
        self._settings = settings
        self._address = address
        self.log: str | None = str(log_path())
        """The file that takes what the JVMs of this process say."""

    @contextmanager
    def working(self) -> Iterator[SparkSession]:
        """A live session for the work inside. Raises `Terminal` where none can be started, `Retryable` where
        it is lost meanwhile."""
        live = _POOL.take(self._settings, self._address)
        try:
            yield live.session
        except Exception as error:
            reason = live.reason() or _broken(error)
            if reason is None:
                raise
            _POOL.discard(live)
            raise Retryable(f"the Spark session was lost: {reason}", hint=_LOST) from error
        except BaseException:
            # A signal: whoever sent it waits.
            _POOL.discard(live, at_once=True)
            raise
        finally:
            _POOL.give_back(live)

    def spread(self, pipeline: str, work: Callable[[T], R], items: Sequence[T]) -> Sequence[R]:
        """See `rayetl.engines.spark.Sessions`; as many processes at once as the executors have cores."""
        from rayetl.cluster.spread import spread

        return spread(pipeline, work, items, self._settings.executors * self._settings.cores)


@dataclass(slots=True)
class _Live:
    """One started session, and how to tell that it still lives."""

    settings: SparkSettings
    session: SparkSession
    driver: Any
    master: Any
    mark: str
    watchdog: Watchdog | None = None
    lost: str | None = None
    users: int = 0
    ends: list[Callable[[], None]] = field(default_factory=list)

    def reason(self) -> str | None:
        """Why the session is lost, if it is."""
        if self.lost is None and self.driver.poll() is not None:
            self.lost = f"its driver JVM ended with code {self.driver.returncode}"
        return self.lost or _master_fault(self.master)

    def look(self) -> Pulse:
        if reason := self.reason():
            return Pulse(fault=reason)
        try:
            return _progress(self.session)
        except Exception as error:  # noqa: BLE001 - a JVM that is going down fails in many ways
            return Pulse(fault=self.reason() or f"its driver does not answer ({type(error).__name__})")

    def end_at(self, reason: str) -> None:
        """Called by the watchdog: end the JVMs, so that calls that wait for them return."""
        self.lost = reason
        _LOG.warning("the Spark session is lost", reason=reason)
        end_processes(self.mark)


class _Pool:
    """The one session of the process: RayDP allows no second."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._live: _Live | None = None

    def take(self, settings: SparkSettings, address: str | None) -> _Live:
        with self._lock:
            live = self._live
            if live is not None and (live.settings != settings or live.reason() is not None):
                if live.users and live.reason() is None:
                    raise RunError(
                        "another pipeline of this process is using Spark with other settings",
                        hint="give both pipelines the same `engine`, or run them one after the other",
                    )
                self.discard(live)
            if self._live is None:
                self._live = _start(settings, address)
            self._live.users += 1
            return self._live

    def give_back(self, live: _Live) -> None:
        with self._lock:
            live.users -= 1

    def discard(self, live: _Live, *, at_once: bool = False) -> None:
        """End a session and all its JVMs, `at_once` without letting them finish anything."""
        with self._lock:
            if self._live is live:
                self._live = None
                _end(live, at_once)

    def stop(self, *, at_once: bool) -> None:
        """End the session, if there is one."""
        with self._lock:
            if self._live is not None:
                self.discard(self._live, at_once=at_once)


_POOL = _Pool()


def stop_spark(*, at_once: bool = False) -> None:
    """End this process's Spark session and all its JVMs; the next work starts a new one. `at_once` lets them
    finish nothing: for a process that was told to end."""
    _POOL.stop(at_once=at_once)


def _start(settings: SparkSettings, address: str | None) -> _Live:
    raydp, ray = _imported()
    assert_installed()
    _assert_no_session()
    needed = settings.executors * settings.cores
    withdraw()
    logging.getLogger().addFilter(_not_by_py4j)
    if not ray.is_initialized():
        connect(address, max(needed, os.cpu_count() or 1))
    mark = secrets.token_hex(8)
    conf = session_conf(settings, mark, one_machine=len(ray.nodes()) == 1)
    _LOG.info("starting Spark on Ray", executors=settings.executors, cores=settings.cores)
    with _own_interpreter(), own_signal_handlers(signal.SIGINT, signal.SIGTERM), _noise_into(log_path()):
        try:
            session = raydp.init_spark(
                f"rayetl-{mark}", settings.executors, settings.cores, settings.memory, configs=conf
            )
        except BaseException as error:
            end_processes(mark)
            _forget()
            if not isinstance(error, Exception):
                raise
            raise Terminal(
                f"Spark on Ray did not start: {_first_line(error)}", hint=f"see {log_path()}"
            ) from error
    session.sparkContext.setLogLevel("WARN")
    return _watched(settings, session, mark)


def _broken(error: BaseException | None) -> str | None:
    """Why the session is lost, by what the work under way met: a JVM that does not answer, or gave up. What a
    source met that is away itself says nothing of Spark."""
    from py4j.protocol import Py4JError, Py4JJavaError
    from pyspark.errors import PySparkException

    while error is not None:
        if isinstance(error, RayetlError) and not isinstance(error.__cause__, Py4JError | PySparkException):
            return None
        if isinstance(error, ConnectionError | Py4JError) and not isinstance(error, Py4JJavaError):
            return "its driver JVM does not answer any more"
        if isinstance(error, Py4JJavaError) and any(sign in str(error) for sign in _ENDED):
            return "its executors were lost again and again"
        error = error.__cause__ or error.__context__
    return None


def _not_by_py4j(record: logging.LogRecord) -> bool:
    """What py4j says of a JVM that is gone is said by us, in one sentence."""
    return "py4j" not in record.pathname


def _watched(settings: SparkSettings, session: SparkSession, mark: str) -> _Live:
    from pyspark import SparkContext
    from raydp import context

    gateway: Any = SparkContext._gateway
    master = context._global_spark_context._spark_cluster._spark_master_handle
    live = _Live(settings, session, gateway.proc, master, mark)
    live.watchdog = Watchdog(live.look, live.end_at, Stall(PATIENCE))
    live.watchdog.start()
    return live


def _end(live: _Live, at_once: bool) -> None:
    if live.watchdog is not None:
        live.watchdog.stop(wait=not at_once)
    if not at_once and live.reason() is None:
        import raydp

        # A master that dies just now must not keep the process from ending.
        with suppress(Exception):
            raydp.stop_spark()
    with suppress(Exception):
        import ray

        ray.kill(live.master)
    end_processes(live.mark)
    _forget()


def _forget() -> None:
    """Let pyspark and RayDP forget a session whose JVM is gone."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession
    from raydp import context

    gateway: Any = SparkContext._gateway
    if gateway is not None:
        with suppress(Exception):
            gateway.shutdown()
        with suppress(Exception):
            gateway.proc.stdin.close()
    SparkContext._gateway = None
    SparkContext._jvm = None
    SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None
    context._global_spark_context = None
    context._reset_pyspark_singletons()


def end_processes(mark: str) -> None:
    """End the JVMs on this machine that carry `mark`; Ray ends those on others with their owner."""
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if any(f"-D{MARK}={mark}" in part for part in command) and process.pid != os.getpid():
            found.append(process)
    _kill(found)
    deadline = time.monotonic() + 10
    while any(map(_runs, found)) and time.monotonic() < deadline:
        time.sleep(0.02)


def _runs(process: Any) -> bool:
    """Whether a process still does something. One that only waits for its parent to look does not; where that
    parent was told to end as well, waiting for it would take as long as one is willing to."""
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def end_children() -> None:
    """End every process that this one has started, and those that they started: a Ray cluster of its own with
    its agents, which would look for its owner now and then only."""
    import psutil

    _kill(psutil.Process().children(recursive=True))


def _kill(processes: Sequence[Any]) -> None:
    import psutil

    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def _master_fault(master: Any) -> str | None:
    """Why the master cannot answer; its answer comes from the app master's JVM."""
    import ray

    try:
        ray.get(master.get_master_url.remote(), timeout=10)
    except ray.exceptions.GetTimeoutError:
        return "its master on Ray does not answer"
    except ray.exceptions.RayActorError:
        return "its master on Ray died"
    except ray.exceptions.RayError:
        return "the JVM of its master on Ray died"
    return None


def _progress(session: SparkSession) -> Pulse:
    tracker = session.sparkContext.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    known = [stage for stage in stages if stage is not None]
    return Pulse(
        running_jobs=len(tracker.getActiveJobsIds()),
        tasks=sum(stage.numActiveTasks for stage in known),
        done=sum(stage.numCompletedTasks for stage in known),
    )


def _imported() -> tuple[Any, Any]:
    try:
        import ray
        import raydp
    except ImportError as error:
        raise Terminal(
            f"the engine `spark` needs {error.name}, which is not installed", hint=EXTRA
        ) from error
    # After theirs, so that it runs before: they would take Ray away from under the session.
    atexit.unregister(stop_spark)
    atexit.register(stop_spark)
    return raydp, ray


def _assert_no_session() -> None:
    from pyspark import SparkContext

    if SparkContext._active_spark_context is not None:
        raise Terminal(
            "this process has a Spark session that rayetl did not start",
            hint="stop that session first, or run the pipeline in a process of its own",
        )


@contextmanager
def _own_interpreter() -> Iterator[None]:
    """Python workers are this very interpreter."""
    names = ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, sys.executable))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _noise_into(path: Path) -> Iterator[None]:
    """The driver JVM writes into a file and not between the lines of the report."""
    from pyspark import context as module

    context: Any = module
    launch = context.launch_gateway
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        log_file: IO[bytes] = log
        context.launch_gateway = partial(launch, popen_kwargs={"stdout": log_file, "stderr": log_file})
        try:
            yield
        finally:
            context.launch_gateway = launch


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
