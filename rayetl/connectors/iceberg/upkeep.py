"""The upkeep of Iceberg tables: looked back at. Their library rewrites no files and removes none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from rayetl.connectors.iceberg.connection import IcebergConnection
from rayetl.connectors.iceberg.ledger import entry_of
from rayetl.connectors.iceberg.table import IcebergVersion, ancestors
from rayetl.connectors.lake.upkeep import Change, Upkeep, told
from rayetl.errors import LoadError
from rayetl.records import dataclass


@dataclass(frozen=True, slots=True)
class IcebergUpkeep(Upkeep):
    """See `Upkeep`."""

    connection: IcebergConnection

    def history(self, limit: int) -> Sequence[Change]:
        opened = self.connection.connect(LoadError)
        try:
            with opened.told():
                found = IcebergVersion.open(opened)
                if found is None:
                    raise LoadError(
                        f"there is no Iceberg table {self.connection.table} in the catalog "
                        f"{self.connection.catalog.uri}",
                        hint="look at the namespace, and at the catalog's `name` or `warehouse`",
                    )
                changes = []
                for snapshot in ancestors(found.table)[:limit]:
                    time = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
                    operation = snapshot.summary.operation.value if snapshot.summary else "unknown"
                    changes.append(told(snapshot.snapshot_id, time, operation, entry_of(snapshot)))
                return changes
        finally:
            opened.close()

    def optimize(self, target_size: int | None) -> NoReturn:
        del target_size
        self._refuse("put the files of an Iceberg table together", "cannot", "rewrite_data_files")

    def vacuum(self, retention: timedelta | None, *, shorten: bool, delete: bool) -> NoReturn:
        del retention, shorten, delete
        self._refuse(
            "remove files of an Iceberg table",
            "can forget snapshots but not remove files",
            "expire_snapshots",
        )

    def _refuse(self, what: str, why: str, procedure: str) -> NoReturn:
        raise LoadError(
            f"rayetl does not {what}: pyiceberg, which reads and writes them here, {why}",
            hint=f"in Spark: CALL system.{procedure}(table => '{self.connection.table}')",
        )
