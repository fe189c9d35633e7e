"""Which epochs are committed: a table beside the targets, written in the transaction of the rows."""

from __future__ import annotations

import hashlib

from rayetl.connectors.base import Epoch
from rayetl.connectors.postgres.connection import Connection
from rayetl.connectors.postgres.naming import TableName, literal
from rayetl.errors import CommitConflict, LoadError, Retryable
from rayetl.records import dataclass

TRACKER = "rayetl_epochs"

_CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
  pipeline text NOT NULL, load text NOT NULL, target text NOT NULL, epoch text NOT NULL,
  number bigint NOT NULL, run text NOT NULL, mode text NOT NULL, rows bigint NOT NULL,
  bytes bigint NOT NULL, seconds double precision NOT NULL,
  committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (pipeline, load, target, epoch), UNIQUE (pipeline, load, target, number)
)
"""

WAIT = 30
"""Seconds that a run waits for another one that loads into the same table."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A committed epoch."""

    run: str
    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Tracker:
    """The epochs of one load into one table; `target` has its schema."""

    epoch: Epoch
    target: TableName

    @property
    def table(self) -> TableName:
        """The tracker itself, in the schema of the target."""
        return TableName(self.target.schema, TRACKER)

    @property
    def _scope(self) -> str:
        named = {"pipeline": self.epoch.pipeline, "load": self.epoch.load, "target": str(self.target)}
        return " AND ".join(f"{name} = {literal(value)}" for name, value in named.items())

    def find(self, connection: Connection) -> Entry | None:
        """This epoch, if it is committed."""
        there = f"SELECT to_regclass({literal(self.table.sql)}) IS NOT NULL"
        if not connection.value(there, "looking for committed epochs"):
            return None
        query = (
            f"SELECT run, rows, bytes, seconds FROM {self.table.sql} "
            f"WHERE {self._scope} AND epoch = {literal(self.epoch.key)}"
        )
        found = connection.rows(query, "looking for committed epochs")
        return Entry(*found[0]) if found else None

    def prepare(self, connection: Connection) -> None:
        """Make the tracker if it is not there, in a transaction of its own that waits for no load."""
        if connection.value(
            f"SELECT to_regclass({literal(self.table.sql)}) IS NULL", "looking for the tracker"
        ):
            connection.begin()
            connection.rows(f"SELECT pg_advisory_xact_lock({_number(TRACKER)})", "making the tracker")
            connection.execute(_CREATE.format(table=self.table.sql), f"making the tracker {self.table}")
            connection.execute("COMMIT", f"making the tracker {self.table}")

    def fence(self, connection: Connection) -> None:
        """Take the right to load, which ends with the transaction, however it ends.

        Raises `CommitConflict` where another run holds it for longer than `WAIT` seconds, and `LoadError`
        where another load of this run does: each would wait for the other's rows for ever.
        """
        epoch, target = self.epoch, str(self.target)
        connection.execute(f"SET LOCAL lock_timeout = '{WAIT}s'", "taking the fence")
        if not _locked(connection, epoch.pipeline, epoch.load, target):
            raise CommitConflict(
                f"another run of {epoch.pipeline} has been loading into {target} for more than {WAIT} s",
                hint="run again when it has ended; who it is: SELECT pid, state, query_start, query FROM "
                "pg_stat_activity WHERE application_name = 'rayetl'",
            )
        if not _locked(connection, epoch.run, target):
            raise LoadError(
                f"two loads of this run write into {target}",
                hint="bring their rows together in a union step, and load them once",
            )
        connection.execute("SET LOCAL lock_timeout = 0", "taking the fence")

    def add(self, connection: Connection, mode: str, entry: Entry) -> None:
        """Enter the epoch, in the transaction of its rows."""
        names = ("pipeline", "load", "target", "epoch", "run", "mode")
        epoch = self.epoch
        texts = (epoch.pipeline, epoch.load, str(self.target), epoch.key, epoch.run, mode)
        number = f"(SELECT coalesce(max(number), 0) + 1 FROM {self.table.sql} WHERE {self._scope})"
        connection.execute(
            f"INSERT INTO {self.table.sql} ({', '.join(names)}, number, rows, bytes, seconds) VALUES "
            f"({', '.join(map(literal, texts))}, {number}, {entry.rows}, {entry.bytes}, {entry.seconds!r})",
            "entering the epoch",
        )


def _locked(connection: Connection, *names: str) -> bool:
    """Take the lock that stands for `names`; `False` where that lasts too long."""
    try:
        connection.rows(f"SELECT pg_advisory_xact_lock({_number(*names)})", "taking the fence")
    except Retryable as error:
        if "55P03" not in error.message:
            raise
        return False
    return True


def _number(*names: str) -> int:
    """A number of 64 bits that stands for names, as the server's advisory locks want it."""
    digest = hashlib.sha256("\x1f".join(("rayetl", *names)).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
