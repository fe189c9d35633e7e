"""Which epochs are committed, in PostgreSQL."""

from __future__ import annotations

from rayetl.connectors.databases import tracker
from rayetl.connectors.databases.connection import Connection
from rayetl.connectors.databases.tracker import TRACKER, Entry, Tracker, digest
from rayetl.connectors.postgres.naming import literal
from rayetl.errors import Retryable
from rayetl.records import dataclass

_CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
  pipeline text NOT NULL, load text NOT NULL, target text NOT NULL, epoch text NOT NULL,
  number bigint NOT NULL, run text NOT NULL, mode text NOT NULL, rows bigint NOT NULL,
  bytes bigint NOT NULL, seconds double precision NOT NULL,
  committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (pipeline, load, target, epoch), UNIQUE (pipeline, load, target, number)
)
"""


@dataclass(frozen=True, slots=True)
class PostgresTracker(Tracker):
    """See `Tracker`. The fence is an advisory lock, which ends with the transaction."""

    @property
    def _scope(self) -> str:
        named = {"pipeline": self.epoch.pipeline, "load": self.epoch.load, "target": str(self.target)}
        return " AND ".join(f"{name} = {literal(value)}" for name, value in named.items())

    def exists(self, connection: Connection) -> bool:
        there = f"SELECT to_regclass({literal(self.table.sql)}) IS NOT NULL"
        return bool(connection.value(there, "looking for committed epochs"))

    def by_hand(self) -> str:
        return f"SELECT * FROM {self.table.sql} WHERE epoch = {literal(self.epoch.key)}"

    def find(self, connection: Connection) -> Entry | None:
        if not self.exists(connection):
            return None
        query = (
            f"SELECT run, rows, bytes, seconds FROM {self.table.sql} "
            f"WHERE {self._scope} AND epoch = {literal(self.epoch.key)}"
        )
        found = connection.rows(query, "looking for committed epochs")
        return Entry(*found[0]) if found else None

    def prepare(self, connection: Connection) -> None:
        if not self.exists(connection):
            connection.begin()
            connection.rows(f"SELECT pg_advisory_xact_lock({_number(TRACKER)})", "making the tracker")
            connection.execute(_CREATE.format(table=self.table.sql), f"making the tracker {self.table}")
            connection.execute("COMMIT", f"making the tracker {self.table}")

    def add(self, connection: Connection, mode: str, entry: Entry) -> None:
        names = ("pipeline", "load", "target", "epoch", "run", "mode")
        epoch = self.epoch
        texts = (epoch.pipeline, epoch.load, str(self.target), epoch.key, epoch.run, mode)
        number = f"(SELECT coalesce(max(number), 0) + 1 FROM {self.table.sql} WHERE {self._scope})"
        connection.execute(
            f"INSERT INTO {self.table.sql} ({', '.join(names)}, number, rows, bytes, seconds) VALUES "
            f"({', '.join(map(literal, texts))}, {number}, {entry.rows}, {entry.bytes}, {entry.seconds!r})",
            "entering the epoch",
        )

    def lock(self, connection: Connection, *names: str) -> bool:
        connection.execute(f"SET LOCAL lock_timeout = '{tracker.WAIT}s'", "taking the fence")
        try:
            connection.rows(f"SELECT pg_advisory_xact_lock({_number(*names)})", "taking the fence")
        except Retryable as error:
            if "55P03" not in error.message:
                raise
            return False
        connection.execute("SET LOCAL lock_timeout = 0", "taking the fence")
        return True

    def _who(self) -> str:
        return "SELECT pid, state, query_start, query FROM pg_stat_activity WHERE application_name = 'rayetl'"


def _number(*names: str) -> int:
    """A number of 64 bits that stands for names, as the server's advisory locks want it."""
    return int.from_bytes(digest(*names)[:8], "big", signed=True)
