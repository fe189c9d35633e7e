"""A MariaDB server of the test run's own, and fresh databases in it."""

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

OWNER = "mysql"
_SETTINGS = {
    "bind-address": "127.0.0.1",
    "local-infile": "1",
    # The tests stop processes, never the machine, so nothing needs to reach the disk.
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-flush-method": "nosync",
    "innodb-buffer-pool-size": "256M",
    "skip-name-resolve": "1",
    "skip-ssl": "1",
}


@dataclass(frozen=True)
class MariaDatabase:
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

    def through(self, port: int) -> MariaDatabase:
        """The same database behind a proxy."""
        return MariaDatabase(self.host, port, self.database, self.user, self.password)

    def connect(self) -> Any:
        """A driver connection of its own, in autocommit."""
        import pymysql

        return pymysql.connect(
            **self.config, autocommit=True, charset="utf8mb4", init_command="SET time_zone = '+00:00'"
        )

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


class Mariadb(Service):
    """One server with its data in a temporary directory, made at the first `start`."""

    name = "mariadb"

    def __init__(self) -> None:
        self.port = free_port()
        self._password = secrets.token_urlsafe(12)
        self._directory: Path | None = None
        self._process: subprocess.Popen | None = None
        self._count = itertools.count(1)

    @property
    def superuser(self) -> MariaDatabase:
        """The database `mysql` as its superuser."""
        return MariaDatabase("127.0.0.1", self.port, "mysql", "root", self._password)

    def start(self) -> None:
        first = self._directory is None
        if self._directory is None:
            self._directory = self._initialised()
        options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        command = [
            _binary("mariadbd"),
            "--no-defaults",
            f"--datadir={self._directory / 'data'}",
            f"--tmpdir={self._directory}",
            f"--socket={self._socket}",
            f"--pid-file={self._directory / 'pid'}",
            f"--port={self.port}",
            *options,
        ]
        if first:
            setup = self._directory / "setup.sql"
            setup.write_text(
                f"CREATE OR REPLACE USER root@127.0.0.1 IDENTIFIED BY '{self._password}';\n"
                "GRANT ALL ON *.* TO root@127.0.0.1 WITH GRANT OPTION;\nDROP USER root@localhost;\n"
            )
            setup.chmod(0o644)
            command.append(f"--init-file={setup}")
        self._process = child(command, OWNER, self._log, signal.SIGTERM)
        self._wait()
        if first:
            setup.unlink()

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        if self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None

    def crash(self) -> None:
        """Kill it: connections are cut, and InnoDB recovers at the start."""
        self._end(signal.SIGKILL)

    def environment(self) -> Mapping[str, str]:
        user = self.superuser
        return {
            "MYSQL_HOST": user.host,
            "MYSQL_TCP_PORT": str(user.port),
            "MYSQL_DATABASE": user.database,
            "MYSQL_USER": user.user,
            "MYSQL_PWD": user.password,
        }

    def create(self) -> MariaDatabase:
        """A fresh database that belongs to a fresh user."""
        name = f"test_{os.getpid()}_{next(self._count)}"
        password = secrets.token_urlsafe(12)
        self.superuser.execute(
            f"CREATE DATABASE {name} CHARACTER SET utf8mb4",
            f"CREATE USER {name}@127.0.0.1 IDENTIFIED BY '{password}'",
            f"GRANT ALL ON {name}.* TO {name}@127.0.0.1",
        )
        return MariaDatabase("127.0.0.1", self.port, name, name, password)

    def drop(self, database: MariaDatabase) -> None:
        """Remove a database and its user, with whoever is still connected."""
        server = self.superuser
        server.execute(f"DROP USER {database.user}@127.0.0.1")
        left = server.rows(f"SELECT id FROM information_schema.processlist WHERE user = '{database.user}'")
        for (number,) in left:
            server.execute(f"KILL SOFT CONNECTION {number}")
        server.execute(f"DROP DATABASE IF EXISTS {database.database}")

    @property
    def _socket(self) -> Path:
        assert self._directory is not None
        return self._directory / "socket"

    @property
    def _log(self) -> Path:
        assert self._directory is not None
        return self._directory / "log"

    def _initialised(self) -> Path:
        if shutil.which("mariadbd") is None and not Path("/usr/sbin/mariadbd").exists():
            install()
        directory = data_directory(self.name, OWNER)
        command = [_binary("mariadb-install-db"), "--no-defaults", f"--datadir={directory / 'data'}"]
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        # It unpacks system tables into a directory that it makes, as the user the server runs as.
        done = subprocess.run([*command, *options], capture_output=True, text=True, cwd="/", **account(OWNER))
        if done.returncode:
            raise RuntimeError(f"MariaDB was not set up:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return directory

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 30
        while True:
            try:
                self.superuser.value("SELECT 1")
                return
            except Exception as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"MariaDB did not start:\n{self._log.read_text()[:2000]}") from error
            time.sleep(0.02)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None


def _binary(name: str) -> str:
    return shutil.which(name) or f"/usr/sbin/{name}"
