"""How far a run is: the listener that engines and the pipeline tell, and the ways to show it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from rayetl.observability.logs import get_logger
from rayetl.observability.text import clean, count, duration, rate

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

INTERVAL = 5.0
"""Seconds between two plain progress lines."""


class ProgressListener(Protocol):
    """Told about a run while it is under way. Calls may come from any thread, many times a second;
    implementations must be quick and must not raise."""

    def stage_started(self, stage: str) -> None:
        """A stage begins: `plan`, `run`, `rejects` or `commit`."""

    def stage_finished(self, stage: str, seconds: float) -> None:
        """A stage ended after `seconds` of wall time."""

    def rows(self, name: str, rows: int, total: int | None = None) -> None:
        """`rows` have passed the source, step or load `name` so far, of `total` where that is known."""


class Silent:
    """Listens and says nothing."""

    def stage_started(self, stage: str) -> None:
        del stage

    def stage_finished(self, stage: str, seconds: float) -> None:
        del stage, seconds

    def rows(self, name: str, rows: int, total: int | None = None) -> None:
        del name, rows, total


class Lines:
    """A plain line for each stage, and every few seconds one with rows and rate."""

    def __init__(self, emit: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._emit = emit
        self._clock = clock
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}
        self._last = clock()

    def stage_started(self, stage: str) -> None:
        self._emit(f"{stage} ...")

    def stage_finished(self, stage: str, seconds: float) -> None:
        self._emit(f"{stage} took {duration(seconds)}")

    def rows(self, name: str, rows: int, total: int | None = None) -> None:
        now = self._clock()
        with self._lock:
            began = self._began.setdefault(name, now)
            if now - self._last < INTERVAL:
                return
            self._last = now
        of = f" of {count(total)}" if total is not None else ""
        self._emit(f"{name}: {count(rows)}{of} rows, {rate(rows, now - began)}")


class Bars:
    """A bar for each stage and each counted thing; rich draws them in a thread of its own."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}

    def stage_started(self, stage: str) -> None:
        self._task(stage, None)

    def stage_finished(self, stage: str, seconds: float) -> None:
        del seconds
        self._progress.update(self._task(stage, 1), completed=1, total=1)

    def rows(self, name: str, rows: int, total: int | None = None) -> None:
        speed = f"{count(rows)} rows"
        self._progress.update(self._task(name, total), completed=rows, total=total, rows=speed)

    def _task(self, name: str, total: int | None) -> TaskID:
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(clean(name), total=total, rows="")
            return self._tasks[name]


@contextmanager
def shown(*, quiet: bool, as_log: bool, stream: TextIO | None = None) -> Iterator[ProgressListener]:
    """The listener that suits whoever reads `stream` (stderr): bars on a terminal, log lines where the
    log is JSON, plain lines elsewhere, nothing when `quiet`."""
    target = stream or sys.stderr
    if quiet:
        yield Silent()
    elif as_log:
        yield Lines(get_logger("rayetl.progress").info)
    elif target.isatty():
        with _bars(target) as progress:
            yield Bars(progress)
    else:
        yield Lines(lambda text: print(clean(text), file=target, flush=True))


def _bars(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        """Rows a second since the task began."""

        def render(self, task: Task) -> Text:
            rows = int(task.completed) if task.fields["rows"] else 0
            return Text(rate(rows, task.elapsed or 0.0) if rows else "")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[rows]}", justify="right", markup=False),
        Speed(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(file=stream), transient=True)
