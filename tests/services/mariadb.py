"""A MariaDB server of the test run's own, and fresh databases in it."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pymysql.constants import ER
from pymysql.err import OperationalError

from services.base import account, install
from services.databases import DatabaseServer, SqlDatabase

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


class MariaDatabase(SqlDatabase):
    """See `SqlDatabase`."""

    kind = "mysql"
    mark = "`"
    moment = "timestamp(6) NULL"
    longest = 64

    @property
    def schema(self) -> str:
        return self.database

    def series(self, rows: int) -> str:
        return f"seq_1_to_{rows}"

    def connect(self) -> Any:
        import pymysql

        return pymysql.connect(
            **self.config,
            autocommit=True,
            charset="utf8mb4",
            init_command="SET time_zone = '+00:00'",
            ssl_disabled=True,
        )


class Mariadb(DatabaseServer):
    """See `DatabaseServer`."""

    name = "mariadb"
    owner = "mysql"
    answered = b""
    database: ClassVar[type[MariaDatabase]] = MariaDatabase
    _variable = "MYSQL"
    _killing = "SOFT CONNECTION"
    _stopping = signal.SIGTERM
    _crashing = signal.SIGKILL

    @property
    def superuser(self) -> MariaDatabase:
        return self.database("127.0.0.1", self.port, "mysql", "root", self._password)

    def start(self) -> None:
        first = self._home is None
        if first:
            self._initialise()
        here = self._directory
        # It outlives a server that was killed, whose number any process may have by now.
        (here / "socket.lock").unlink(missing_ok=True)
        command = [
            *self._program(),
            f"--datadir={here / 'data'}",
            f"--tmpdir={here}",
            f"--socket={here / 'socket'}",
            f"--pid-file={here / 'pid'}",
            f"--port={self.port}",
        ]
        if first:
            setup = here / "setup.sql"
            setup.write_text(
                "DROP USER IF EXISTS root@127.0.0.1;\n"
                f"CREATE USER root@127.0.0.1 IDENTIFIED BY '{self._password}';\n"
                "GRANT ALL ON *.* TO root@127.0.0.1 WITH GRANT OPTION;\nDROP USER root@localhost;\n"
            )
            setup.chmod(0o644)
            command.append(f"--init-file={setup}")
        self._run(command)
        if first:
            setup.unlink()

    def environment(self) -> Mapping[str, str]:
        names = {
            "host": "HOST",
            "port": "TCP_PORT",
            "database": "DATABASE",
            "user": "USER",
            "password": "PWD",
        }
        return self._variables({field: f"{self._variable}_{name}" for field, name in names.items()})

    def create(self) -> MariaDatabase:
        name, password = self._fresh()
        self.superuser.execute(
            f"CREATE DATABASE {name} CHARACTER SET utf8mb4",
            f"CREATE USER {name}@127.0.0.1 IDENTIFIED BY '{password}'",
            f"GRANT ALL ON {name}.* TO {name}@127.0.0.1",
        )
        return self.database("127.0.0.1", self.port, name, name, password)

    def drop(self, database: MariaDatabase) -> None:
        self.superuser.execute(f"DROP USER {database.user}@127.0.0.1")
        self._kill(self._killing, f"user = '{database.user}'")
        self.superuser.execute(f"DROP DATABASE IF EXISTS {database.database}")

    def cut(self, database: SqlDatabase) -> None:
        self._kill("CONNECTION", f"db = '{database.database}'")

    def change_password(self, database: SqlDatabase, password: str) -> None:
        self.superuser.execute(f"ALTER USER {database.user}@127.0.0.1 IDENTIFIED BY '{password}'")

    def _kill(self, how: str, whose: str) -> None:
        found = self.superuser.rows(f"SELECT id FROM information_schema.processlist WHERE {whose}")
        for (number,) in found:
            try:
                self.superuser.execute(f"KILL {how} {number}")
            except OperationalError as error:
                if error.args[0] != ER.NO_SUCH_THREAD:
                    raise

    def _program(self) -> list[str]:
        """The server with its settings."""
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        return [_binary("mariadbd"), "--no-defaults", *settings]

    def _initialise(self) -> None:
        """Make the data directory with the system tables in it."""
        if shutil.which("mariadbd") is None and not Path("/usr/sbin/mariadbd").exists():
            install()
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        self._make_system([_binary("mariadb-install-db"), "--no-defaults", *options])

    def _make_system(self, command: list[str]) -> None:
        data = self._make_home() / "data"
        # It unpacks system tables into a directory that it makes, as the user the server runs as.
        done = subprocess.run(
            [*command, f"--datadir={data}"], capture_output=True, text=True, cwd="/", **account(self.owner)
        )
        if done.returncode:
            raise RuntimeError(f"{self.name} was not set up:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _binary(name: str) -> str:
    return shutil.which(name) or f"/usr/sbin/{name}"
