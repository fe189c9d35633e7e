"""A PostgreSQL server of the test run's own, and fresh databases in it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from services.base import account, install
from services.databases import DatabaseServer, SqlDatabase

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # The tests stop processes, never the machine, so nothing needs to reach the disk.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
}


class Database(SqlDatabase):
    """See `SqlDatabase`."""

    kind = "postgres"
    mark = '"'
    moment = "timestamptz"
    longest = 63

    @property
    def schema(self) -> str:
        return "public"

    def series(self, rows: int) -> str:
        return f"generate_series(1, {rows}) AS s(seq)"

    def connect(self) -> Any:
        import psycopg2

        opened = psycopg2.connect(
            host=self.host, port=self.port, dbname=self.database, user=self.user, password=self.password
        )
        opened.autocommit = True
        return closing(opened)


class Postgres(DatabaseServer):
    """See `DatabaseServer`. It crashes as by `pg_ctl stop -m immediate`."""

    name = "postgres"
    owner = "postgres"
    answered = b"COMMIT\0"
    _stopping = signal.SIGINT
    _crashing = signal.SIGQUIT

    @property
    def superuser(self) -> Database:
        return Database("127.0.0.1", self.port, "postgres", self.owner, self._password)

    def start(self) -> None:
        if self._home is None:
            self._initialise()
        here = self._directory
        options = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        command = [_binary("postgres"), "-D", str(here / "data"), "-p", str(self.port), "-k", str(here)]
        self._run([*command, *options])

    def environment(self) -> Mapping[str, str]:
        return self._variables(
            {
                "host": "PGHOST",
                "port": "PGPORT",
                "database": "PGDATABASE",
                "user": "PGUSER",
                "password": "PGPASSWORD",
            }
        )

    def create(self) -> Database:
        name, password = self._fresh()
        self.superuser.execute(
            f"CREATE ROLE {name} LOGIN PASSWORD '{password}'", f"CREATE DATABASE {name} OWNER {name}"
        )
        return Database("127.0.0.1", self.port, name, name, password)

    def drop(self, database: Database) -> None:
        self.superuser.execute(
            f"DROP DATABASE IF EXISTS {database.database} WITH (FORCE)", f"DROP ROLE {database.user}"
        )

    def cut(self, database: SqlDatabase) -> None:
        self.superuser.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database.database}'"
        )

    def change_password(self, database: SqlDatabase, password: str) -> None:
        self.superuser.execute(f"ALTER ROLE {database.user} PASSWORD '{password}'")

    def _initialise(self) -> None:
        if not _binaries():
            install()
        here = self._make_home()
        secret = here / "password"
        secret.write_text(self._password)
        secret.chmod(0o644)
        command = [_binary("initdb"), "-D", here / "data", "-U", self.owner, "-E", "UTF8", "--locale=C.UTF-8"]
        options = ["-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        subprocess.run([*command, *options], check=True, capture_output=True, cwd="/", **account(self.owner))
        secret.unlink()


def _binaries() -> list[Path]:
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(found, key=lambda path: int(path.parent.name))


def _binary(name: str) -> str:
    return str(_binaries()[-1] / name)
