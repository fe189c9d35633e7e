"""The databases that the fault tests strike, and what they need of each beside its SQL."""

from __future__ import annotations

from dataclasses import dataclass

from services.mariadb import MariaDatabase, Mariadb
from services.postgres import Database as PostgresDatabase
from services.postgres import Postgres

Database = PostgresDatabase | MariaDatabase


@dataclass(frozen=True)
class Store:
    """A fresh database of a server. `kind` is the connector's type; `answered` is in the server's bytes when a
    COMMIT is done, or empty where any bytes are."""

    kind: str
    server: Postgres | Mariadb
    database: Database
    answered: bytes

    def cut_others(self) -> None:
        """End all connections to the database but those of this call."""
        name = self.database.database
        if isinstance(self.server, Postgres):
            self.server.superuser.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            return
        found = self.server.superuser.rows(
            f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"
        )
        self.server.superuser.execute(*(f"KILL {number}" for (number,) in found))
