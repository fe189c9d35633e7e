"""One attempt to load an epoch into a database, in a process that a test may kill."""

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
from rayetl.connectors.mysql import tracker as mysql_tracker
from rayetl.connectors.mysql.load import MysqlLoad
from rayetl.connectors.mysql.session import MysqlSession
from rayetl.connectors.mysql.tracker import MysqlTracker
from rayetl.connectors.mysql.writing import MysqlMerger, Straight
from rayetl.connectors.postgres import tracker as postgres_tracker
from rayetl.connectors.postgres.load import PostgresLoad
from rayetl.connectors.postgres.merging import PostgresMerger
from rayetl.connectors.postgres.session import PostgresSession
from rayetl.connectors.postgres.tracker import PostgresTracker
from rayetl.connectors.postgres.writing import Copier
from rayetl.errors import CommitConflict, LoadError, Retryable
from rayetl.names import ROW
from rayetl.sql.types import LONG, STRING, Field, Schema

for _model in (PostgresLoad, MysqlLoad):
    _model.model_rebuild()  # once, and not in each process

COMMITTED, SKIPPED, CONFLICT, REFUSED, LOST = 0, 10, 11, 12, 13

_LOADS: dict[str, Any] = {"postgres": PostgresLoad, "mysql": MysqlLoad}
_TRACKERS: tuple[Any, ...] = (PostgresTracker, MysqlTracker)
_SESSIONS: tuple[Any, ...] = (PostgresSession, MysqlSession)
CHUNKS, CHUNK = 3, 40
SCHEMA = Schema((Field("id", LONG), Field("epoch", STRING)))


@dataclass(frozen=True)
class Load:
    """What a worker is to do. `store` is the connector's type, `where` are the connection's fields. It loads the ids from `first` on, tagged
    with the epoch; of those in `bad` the store wants nothing. `arm`, `log` and `socket` are the failpoint
    variables; `told` is a file for what went wrong; `bug` names a planted fault."""

    store: str
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
    time.sleep(max(0.0, start_at - time.time()))
    sys.exit(_attempt(work))


def _attempt(work: Load) -> int:
    keys = {"keys": "id"} if work.mode == "upsert" else {}
    load = _LOADS[work.store].model_validate(
        {"type": work.store, "table": "t", "mode": work.mode, **keys, **work.where}
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
    tags = ["far too long" if each in work.bad else work.key for each in ids]
    return pl.DataFrame({"id": ids, "epoch": tags, ROW: ids}, schema_overrides={"id": pl.Int64})


# The planted bugs. Each undoes one thing the load rests on.


def _token_after_the_rows() -> None:
    """The epoch is entered in a transaction of its own, once the rows are committed."""
    execute = Connection.execute
    waiting: list[Any] = []

    def postponed(add: Any) -> Any:
        return lambda self, *given: waiting.append((add, self, given))

    def then(self: Connection, statement: str, doing: str) -> int:
        done = execute(self, statement, doing)
        if doing == "committing":
            failpoints.failpoint("database.between")
            for add, each, given in waiting:
                add(each, *given)
        return done

    for each in _TRACKERS:
        each.add = postponed(each.add)
    Connection.execute = then


def _no_transaction() -> None:
    """Rows are visible as soon as they are sent."""
    execute = Connection.execute
    words = ("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT", "SET", "START")

    def only_rows(self: Connection, statement: str, doing: str) -> int:
        return 0 if statement.startswith(words) else execute(self, statement, doing)

    Connection.execute = only_rows


def _no_token() -> None:
    """Committed epochs are neither found nor protected by the tracker's key."""
    for each in _TRACKERS:
        each.find = lambda self, connection: None
        each.add = lambda self, connection, mode, entry: None


def _delete_first() -> None:
    """`overwrite` empties the table before its transaction."""

    def early(may_load: Any) -> Any:
        def emptied(self: Any, connection: Connection, table: Any) -> bool:
            with self.load.connect(LoadError) as other:
                other.execute(f"DELETE FROM {table.sql}", "emptying")
            return may_load(self, connection, table)

        return emptied

    for each in _SESSIONS:
        each._may_load = early(each._may_load)


def _delete_nothing() -> None:
    """`overwrite` adds."""
    for each in _SESSIONS:
        each._may_load = lambda self, connection, table: True


def _lost_is_done() -> None:
    """A COMMIT whose answer is lost is taken for one that was done."""
    session.DatabaseSession._settle = lambda self, lost: None


def _no_fence() -> None:
    """Runs do not wait for one another, and the tracker takes an epoch twice."""
    for each, module in zip(_TRACKERS, (postgres_tracker, mysql_tracker), strict=True):
        each.fence = lambda self, connection: None
        create = module._CREATE
        module._CREATE = create[: create.index(",\n  PRIMARY KEY")] + "\n)"


def _dropped_chunk() -> None:
    """A chunk is counted and not sent."""

    def some(take: Any, counted: str) -> Any:
        def taken(self: Any, rows: pl.DataFrame) -> None:
            if getattr(self, counted) == CHUNK:
                setattr(self, counted, CHUNK + rows.height)
            else:
                take(self, rows)

        return taken

    Copier.take = some(Copier.take, "copied")
    Straight.take = some(Straight.take, "loaded")


def _old_rows_stay() -> None:
    """An upsert touches rows whose key is there, and changes nothing but the key."""
    PostgresMerger._conflict = lambda self: ' ON CONFLICT ("id") DO UPDATE SET "id" = EXCLUDED."id"'
    MysqlMerger._conflict = lambda self: " ON DUPLICATE KEY UPDATE t.id = t.id"


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
