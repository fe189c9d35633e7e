"""Which epochs are committed, in MySQL and MariaDB."""

from __future__ import annotations

from rayetl.connectors.databases import tracker
from rayetl.connectors.databases.connection import Connection
from rayetl.connectors.databases.tracker import Entry, Tracker, digest
from rayetl.connectors.mysql.naming import literal
from rayetl.records import dataclass

_CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
  `id` BINARY(32) NOT NULL COMMENT 'stands for pipeline, load, target and epoch',
  `scope` BINARY(32) NOT NULL COMMENT 'stands for pipeline, load and target',
  `number` BIGINT NOT NULL, `pipeline` TEXT NOT NULL, `load` TEXT NOT NULL, `target` TEXT NOT NULL,
  `epoch` TEXT NOT NULL, `run` TEXT NOT NULL, `mode` TEXT NOT NULL, `rows` BIGINT NOT NULL,
  `bytes` BIGINT NOT NULL, `seconds` DOUBLE NOT NULL,
  `committed_at` TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (`id`), UNIQUE (`scope`, `number`)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
"""


@dataclass(frozen=True, slots=True)
class MysqlTracker(Tracker):
    """See `Tracker`. The fence is a named lock, which ends with the connection."""

    @property
    def _names(self) -> tuple[str, str, str]:
        return self.epoch.pipeline, self.epoch.load, str(self.target)

    @property
    def _scope(self) -> str:
        return f"X'{digest(*self._names).hex()}'"

    @property
    def _id(self) -> str:
        return f"X'{digest(*self._names, self.epoch.key).hex()}'"

    def exists(self, connection: Connection) -> bool:
        schema, name = literal(self.table.schema or ""), literal(self.table.name)
        where = f"table_schema = {schema} AND table_name = {name}"
        query = f"SELECT 1 FROM information_schema.tables WHERE {where}"
        return bool(connection.rows(query, "looking for committed epochs"))

    def by_hand(self) -> str:
        return f"SELECT * FROM {self.table.sql} WHERE epoch = {literal(self.epoch.key)}"

    def find(self, connection: Connection) -> Entry | None:
        if not self.exists(connection):
            return None
        query = f"SELECT `run`, `rows`, `bytes`, `seconds` FROM {self.table.sql} WHERE `id` = {self._id}"
        found = connection.rows(query, "looking for committed epochs")
        return Entry(*found[0]) if found else None

    def prepare(self, connection: Connection) -> None:
        if not self.exists(connection):
            connection.execute(_CREATE.format(table=self.table.sql), f"making the tracker {self.table}")

    def add(self, connection: Connection, mode: str, entry: Entry) -> None:
        last = f"SELECT COALESCE(MAX(`number`), 0) FROM {self.table.sql} WHERE `scope` = {self._scope}"
        number = int(connection.value(last, "entering the epoch")) + 1
        texts = ", ".join(map(literal, (*self._names, self.epoch.key, entry.run, mode)))
        connection.execute(
            f"INSERT INTO {self.table.sql} (`id`, `scope`, `number`, `pipeline`, `load`, `target`, `epoch`, "
            f"`run`, `mode`, `rows`, `bytes`, `seconds`) VALUES ({self._id}, {self._scope}, {number}, "
            f"{texts}, {entry.rows}, {entry.bytes}, {entry.seconds!r})",
            "entering the epoch",
        )

    def lock(self, connection: Connection, *names: str) -> bool:
        query = f"SELECT GET_LOCK('{_lock_name(*names)}', {tracker.WAIT})"
        return bool(connection.value(query, "taking the fence"))

    def _who(self) -> str:
        holder = f"IS_USED_LOCK('{_lock_name(*self._names)}')"
        return f"SELECT * FROM information_schema.processlist WHERE id = {holder}"


def _lock_name(*names: str) -> str:
    """What stands for names, as short as the server wants it."""
    return f"rayetl:{digest(*names).hex()[:48]}"
