"""One attempt to load an epoch into PostgreSQL, in a process that a test may kill."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from rayetl import failpoints
from rayetl.connectors.base import Epoch
from rayetl.connectors.databases import session
from rayetl.connectors.databases.connection import Connection
from rayetl.connectors.postgres import tracker, writing
from rayetl.connectors.postgres.load import PostgresLoad
from rayetl.connectors.postgres.merging import PostgresMerger
from rayetl.connectors.postgres.session import PostgresSession
from rayetl.connectors.postgres.tracker import PostgresTracker
from rayetl.errors import CommitConflict, LoadError, Retryable
from rayetl.names import ROW
from rayetl.sql.types import LONG, STRING, Field, Schema

COMMITTED, SKIPPED, CONFLICT, REFUSED, LOST = 0, 10, 11, 12, 13

CHUNKS, CHUNK = 3, 40
SCHEMA = Schema((Field("id", LONG), Field("epoch", STRING)))


@dataclass(frozen=True)
class Load:
    """What a worker is to do. `where` are the connection's fields. It loads the ids from `first` on, tagged
    with the epoch; of those in `bad` the store wants nothing. `arm`, `log` and `socket` are the failpoint
    variables; `told` is a file for what went wrong; `bug` names a planted fault."""

    where: Mapping[str, Any]
    key: str
    mode: str = "append"
    first: int = 0
    bad: tuple[int, ...] = ()
    arm: str = ""
    log: str = ""
    socket: str = ""
    told: str = ""
    bug: str = ""

    @property
    def ids(self) -> range:
        return range(self.first, self.first + CHUNKS * CHUNK)


def run(work: Load, start_at: float = 0.0) -> None:
    """Load the epoch and leave with a code that says how it went."""
    os.environ["RAYETL_FAILPOINT"], os.environ["RAYETL_FAILPOINT_LOG"] = work.arm, work.log
    os.environ["RAYETL_FAILPOINT_SOCKET"] = work.socket
    session.CHUNK_ROWS = CHUNK
    if work.bug:
        BUGS[work.bug]()
    failpoints.rearm()
    while time.time() < start_at:
        pass
    sys.exit(_attempt(work))


def _attempt(work: Load) -> int:
    keys = {"keys": "id"} if work.mode == "upsert" else {}
    load = PostgresLoad.model_validate(
        {"type": "postgres", "table": "t", "mode": work.mode, **keys, **work.where}
    )
    loading = load.open(Epoch("faults", "into", work.key, f"run-{os.getpid()}"), SCHEMA)
    try:
        if loading.committed():
            return SKIPPED
        target = loading.begin()
        if target is None:
            return SKIPPED
        refused = 0
        for chunk in range(CHUNKS):
            found = target.write(_rows(work, chunk))
            refused += 0 if found is None else found.height
        found = target.finish()
        refused += 0 if found is None else found.height
        loading.commit(CHUNKS * CHUNK - refused)
    except CommitConflict:
        return CONFLICT
    except (Retryable, LoadError) as error:
        loading.abort()
        if work.told:
            Path(work.told).write_text(str(error))
        return LOST if isinstance(error, Retryable) else REFUSED
    return COMMITTED


def _rows(work: Load, chunk: int) -> pl.DataFrame:
    ids = list(work.ids[chunk * CHUNK : (chunk + 1) * CHUNK])
    tags = ["bad" if each in work.bad else work.key for each in ids]
    return pl.DataFrame({"id": ids, "epoch": tags, ROW: ids}, schema_overrides={"id": pl.Int64})


# The planted bugs. Each undoes one thing the load rests on.


def _token_after_the_rows() -> None:
    """The epoch is entered in a transaction of its own, once the rows are committed."""
    add, execute = PostgresTracker.add, Connection.execute
    waiting: list[Any] = []

    def later(self: Any, *given: Any) -> None:
        waiting.append((self, given))

    def then(self: Connection, statement: str, doing: str) -> int:
        done = execute(self, statement, doing)
        if doing == "committing":
            failpoints.failpoint("database.between")
            for each, given in waiting:
                add(each, *given)
        return done

    PostgresTracker.add, Connection.execute = later, then


def _no_transaction() -> None:
    """Rows are visible as soon as they are sent."""
    execute = Connection.execute
    words = ("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT", "SET CONSTRAINTS", "SET LOCAL")

    def only_rows(self: Connection, statement: str, doing: str) -> int:
        return 0 if statement.startswith(words) else execute(self, statement, doing)

    Connection.execute = only_rows


def _no_token() -> None:
    """Committed epochs are neither found nor protected by the tracker's key."""
    PostgresTracker.find = lambda self, connection: None
    PostgresTracker.add = lambda self, connection, mode, entry: None


def _delete_first() -> None:
    """`overwrite` empties the table before its transaction."""
    may_load = PostgresSession._may_load

    def early(self: Any, connection: Connection, table: Any) -> bool:
        with self.load.connect(LoadError) as other:
            other.execute(f"DELETE FROM {table.sql}", "emptying")
        return may_load(self, connection, table)

    PostgresSession._may_load = early


def _delete_nothing() -> None:
    """`overwrite` adds."""
    PostgresSession._may_load = lambda self, connection, table: True


def _lost_is_done() -> None:
    """A COMMIT whose answer is lost is taken for one that was done."""
    PostgresSession._settle = lambda self, lost: None


def _no_fence() -> None:
    """Runs do not wait for one another, and the tracker takes an epoch twice."""
    PostgresTracker.fence = lambda self, connection: None
    create = tracker._CREATE
    tracker._CREATE = create[: create.index(",\n  PRIMARY KEY")] + "\n)"


def _dropped_chunk() -> None:
    """A chunk is counted and not sent."""
    take = writing.Copier.take

    def some(self: writing.Copier, rows: pl.DataFrame) -> None:
        if self.copied == CHUNK:
            self.copied += rows.height
        else:
            take(self, rows)

    writing.Copier.take = some


def _old_rows_stay() -> None:
    """An upsert touches rows whose key is there, and changes nothing but the key."""
    PostgresMerger._conflict = lambda self: ' ON CONFLICT ("id") DO UPDATE SET "id" = EXCLUDED."id"'


BUGS = {
    "token_after_the_rows": _token_after_the_rows,
    "no_transaction": _no_transaction,
    "no_token": _no_token,
    "delete_first": _delete_first,
    "delete_nothing": _delete_nothing,
    "lost_is_done": _lost_is_done,
    "no_fence": _no_fence,
    "dropped_chunk": _dropped_chunk,
    "old_rows_stay": _old_rows_stay,
}

__all__ = ["BUGS", "Load", "run"]
