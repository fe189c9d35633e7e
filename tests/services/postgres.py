"""A PostgreSQL server of the test run's own, and fresh databases in it."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.base import Service, account, child, data_directory, free_port, install

OWNER = "postgres"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # The tests stop processes, never the machine, so nothing needs to reach the disk.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
}


@dataclass(frozen=True)
class Database:
    """A database and a user that owns it, seen from outside: none of this goes through rayetl."""

    host: str
    port: int
    database: str
    user: str
    password: str

    @property
    def config(self) -> dict[str, Any]:
        """The connection as fields of a source or load."""
        return {
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": self.user,
            "password": self.password,
        }

    def through(self, port: int) -> Database:
        """The same database behind a proxy."""
        return Database(self.host, port, self.database, self.user, self.password)

    def connect(self) -> Any:
        """A driver connection of its own, in autocommit."""
        from adbc_driver_postgresql import dbapi

        uri = f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"
        return dbapi.connect(uri, autocommit=True)

    def execute(self, *statements: str) -> None:
        """Run statements, each committed on its own."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]

    def value(self, query: str) -> Any:
        """The only value of a query."""
        ((found,),) = self.rows(query)
        return found


class Postgres(Service):
    """One server with its data in a temporary directory, made at the first `start`."""

    name = "postgres"

    def __init__(self) -> None:
        self.port = free_port()
        self._password = secrets.token_urlsafe(12)
        self._directory: Path | None = None
        self._process: subprocess.Popen | None = None
        self._count = itertools.count(1)

    @property
    def superuser(self) -> Database:
        """The database `postgres` as its superuser."""
        return Database("127.0.0.1", self.port, "postgres", OWNER, self._password)

    def start(self) -> None:
        if self._directory is None:
            self._directory = self._initialised()
        options = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        data = str(self._directory / "data")
        command = [str(_binary("postgres")), "-D", data, "-p", str(self.port), "-k", str(self._directory)]
        self._process = child([*command, *options], OWNER, self._log, signal.SIGINT)
        self._wait()

    def stop(self) -> None:
        self._end(signal.SIGINT)
        if self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None

    def crash(self) -> None:
        """Stop as `pg_ctl stop -m immediate` does: no checkpoint, connections cut, recovery at the start."""
        self._end(signal.SIGQUIT)

    def environment(self) -> Mapping[str, str]:
        user = self.superuser
        return {
            "PGHOST": user.host,
            "PGPORT": str(user.port),
            "PGDATABASE": user.database,
            "PGUSER": user.user,
            "PGPASSWORD": user.password,
        }

    def create(self) -> Database:
        """A fresh database that belongs to a fresh user."""
        name = f"test_{os.getpid()}_{next(self._count)}"
        password = secrets.token_urlsafe(12)
        self.superuser.execute(
            f"CREATE ROLE {name} LOGIN PASSWORD '{password}'", f"CREATE DATABASE {name} OWNER {name}"
        )
        return Database("127.0.0.1", self.port, name, name, password)

    def drop(self, database: Database) -> None:
        """Remove a database with whoever is still connected, and its user."""
        self.superuser.execute(
            f"DROP DATABASE IF EXISTS {database.database} WITH (FORCE)", f"DROP ROLE {database.user}"
        )

    @property
    def _log(self) -> Path:
        assert self._directory is not None
        return self._directory / "log"

    def _initialised(self) -> Path:
        if not _binaries():
            install()
        directory = data_directory(self.name, OWNER)
        secret = directory / "password"
        secret.write_text(self._password)
        secret.chmod(0o644)
        command = [_binary("initdb"), "-D", directory / "data", "-U", OWNER, "-E", "UTF8", "--locale=C.UTF-8"]
        options = ["-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        subprocess.run([*command, *options], check=True, capture_output=True, cwd="/", **account(OWNER))
        secret.unlink()
        return directory

    def _wait(self) -> None:
        assert self._process is not None
        probe = [_binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + 60
        while subprocess.run(probe, check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None


def _binaries() -> list[Path]:
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(found, key=lambda path: int(path.parent.name))


def _binary(name: str) -> Path:
    return _binaries()[-1] / name
