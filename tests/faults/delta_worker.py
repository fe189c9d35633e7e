"""One attempt to load an epoch into a Delta table, in a process that a test may kill."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deltalake  # noqa: F401  loaded once, before the processes of the tests are forked
import polars as pl  # noqa: F401
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

from rayetl import failpoints
from rayetl.connectors.base import Epoch
from rayetl.connectors.commit.lock import Lock
from rayetl.connectors.delta import ledger, session, staging, writing
from rayetl.connectors.delta.load import DeltaLoad
from rayetl.errors import CommitConflict, LoadError, Retryable
from rayetl.sql.types import LONG, STRING, Field, Schema

COMMITTED, SKIPPED, CONFLICT, REFUSED, BROKEN = 0, 10, 11, 12, 13


@dataclass(frozen=True)
class DeltaWork:
    """What a worker is to do: load rows (key, part, row), `rows` of them for each of `parts`. `arm` and `log`
    are the failpoint variables; `bug` names a planted fault; `settings` are the load's own."""

    root: str
    key: str
    mode: str = "append"
    parts: tuple[str, ...] = ("a", "b")
    rows: int = 3
    settings: tuple[tuple[str, Any], ...] = ()
    wide: bool = False
    lock: bool = True
    arm: str = ""
    log: str = ""
    socket: str = ""
    bug: str = ""


def rows_of(work: DeltaWork) -> list[tuple[str, str, int]]:
    return [(work.key, part, row) for part in work.parts for row in range(work.rows)]


def run(work: DeltaWork, start_at: float = 0.0) -> None:
    """Load the epoch and leave with a code that says how it went."""
    os.environ["RAYETL_FAILPOINT"], os.environ["RAYETL_FAILPOINT_LOG"] = work.arm, work.log
    os.environ["RAYETL_FAILPOINT_SOCKET"] = work.socket
    if work.bug:
        BUGS[work.bug]()
    if not work.lock:
        Lock.acquire = classmethod(lambda cls, path, run: cls(path, -1))  # type: ignore[assignment, method-assign]
    failpoints.rearm()
    while time.time() < start_at:
        pass
    sys.exit(_attempt(work))


def _attempt(work: DeltaWork) -> int:
    columns = [Field("key", STRING), Field("part", STRING), Field("row", LONG)]
    schema = Schema((*columns, Field("more", LONG)) if work.wide else tuple(columns))
    load = DeltaLoad.model_validate(
        {"type": "delta", "path": work.root, "mode": work.mode, **dict(work.settings)}
    )
    loading = load.open(Epoch("flights", "out", work.key, f"run-{os.getpid()}"), schema)
    try:
        if loading.committed():
            return SKIPPED
        target = loading.begin()
        if target is None:
            return SKIPPED
        try:
            stage(work, Path(target.directory), target.partition_by)
        except FileNotFoundError:
            # Where nothing can be locked, a later attempt fences an earlier one by removing its directory.
            assert not work.lock
            return CONFLICT
        loading.commit(len(work.parts) * work.rows)
    except (CommitConflict, Retryable):
        return CONFLICT
    except LoadError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except failpoints.FailpointError:
        loading.abort()
        return BROKEN
    return COMMITTED


def stage(work: DeltaWork, directory: Path, partition_by: tuple[str, ...]) -> None:
    """What an engine does: files with the rows, below directories where the table is partitioned."""
    for part in work.parts:
        columns = {"key": [work.key] * work.rows, "part": [part] * work.rows, "row": list(range(work.rows))}
        if work.wide:
            columns["more"] = [7] * work.rows
        if partition_by:
            del columns["part"]
        place = directory / (f"part={part}" if partition_by else ".")
        place.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), place / f"{part}.parquet")


# The planted bugs. Each undoes one thing the protocol rests on.


def _properties(change: Callable[[Any], None]) -> Callable[[], None]:
    def plant() -> None:
        entered = ledger.Ledger.entered

        def changed(self: Any, entry: Any) -> Any:
            properties = entered(self, entry)
            change(properties)
            return properties

        ledger.Ledger.entered = changed  # type: ignore[method-assign]

    return plant


def _no_token(properties: Any) -> None:
    properties.app_transactions = None


def _swallowed_conflict() -> None:
    real = writing.write

    def write(*given: Any) -> None:
        from deltalake.exceptions import CommitFailedError

        try:
            real(*given)
        except CommitFailedError:
            return

    session.write = write


def _token_in_a_second_commit() -> None:
    real = writing.write

    def write(load: Any, found: Any, schema: Any, files: Any, properties: Any) -> None:
        token, properties.app_transactions = properties.app_transactions, None
        real(load, found, schema, files, properties)
        failpoints.failpoint("bug.between")
        properties.app_transactions = token
        now = session.DeltaVersion.open(load.path, LoadError)
        assert now is not None
        writing._transact(now, [], "append", properties)

    session.write = write


def _part_by_part() -> None:
    real = writing.write

    def write(load: Any, found: Any, schema: Any, files: Any, properties: Any) -> None:
        token, properties.app_transactions = properties.app_transactions, None
        real(load, found, schema, files[:1], properties)
        failpoints.failpoint("bug.between")
        properties.app_transactions = token
        real(load, session.DeltaVersion.open(load.path, LoadError), schema, files[1:], properties)

    session.write = write


def _cleared_without_a_look() -> None:
    recover = staging.Staging.recover

    def careless(self: Any, number: int) -> None:
        for directory in self._attempts.glob("[0-9]*-*"):
            staging.Attempt(self.root, directory).unlink()
        recover(self, number)

    staging.Staging.recover = careless  # type: ignore[method-assign]


def _no_key_check() -> None:
    find = ledger.Ledger.find
    ledger.Ledger.find = lambda self, found, *, standing: None  # type: ignore[method-assign]
    session.Ledger.find = ledger.Ledger.find  # type: ignore[method-assign]
    assert find


def _check_then_append() -> None:
    """The library's own retries on, and nobody looks again: what two runs at once need to double rows."""

    def lenient(properties: Any) -> None:
        properties.max_commit_retries, properties.app_transactions = 15, properties.app_transactions[1:]

    _properties(lenient)()
    real = writing.write
    session.write = lambda load, found, *rest: real(load, _fresh(load), *rest)


def _fresh(load: Any) -> Any:
    return session.DeltaVersion.open(load.path, LoadError)


BUGS: dict[str, Callable[[], None]] = {
    "no_token": _properties(_no_token),
    "swallowed_conflict": _swallowed_conflict,
    "token_in_a_second_commit": _token_in_a_second_commit,
    "part_by_part": _part_by_part,
    "cleared_without_a_look": _cleared_without_a_look,
    "no_key_check": _no_key_check,
    "check_then_append": _check_then_append,
}
