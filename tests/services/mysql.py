"""A MySQL server of the test run's own, and fresh databases in it."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from services.base import install
from services.mariadb import MariaDatabase, Mariadb

VERSION = "8.0.15"

_SETTINGS = (
    "bind-address=127.0.0.1",
    "local-infile=1",
    "mysqlx=0",
    "performance-schema=0",
    "skip-log-bin",
    "skip-name-resolve",
    # The tests stop processes, never the machine, so nothing needs to reach the disk.
    "innodb-flush-log-at-trx-commit=2",
    "innodb-flush-method=nosync",
    "innodb-buffer-pool-size=256M",
    # For `MysqlDatabase.series`.
    "cte-max-recursion-depth=10000000",
)


class MysqlDatabase(MariaDatabase):
    """See `SqlDatabase`."""

    def series(self, rows: int) -> str:
        return (
            "(WITH RECURSIVE counted(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM counted"
            f" WHERE seq < {rows}) SELECT seq FROM counted) AS series"
        )


class Mysql(Mariadb):
    """See `DatabaseServer`. It runs as who runs the tests, since nobody else may read the unpacked server."""

    name = "mysql"
    owner = getpass.getuser()
    database = MysqlDatabase
    _variable = "MYSQL8"
    _killing = "CONNECTION"

    @property
    def authority(self) -> Path:
        """The certificate of who signed the server's own, both made by the server, with no host's name."""
        return self._directory / "data" / "ca.pem"

    def _program(self) -> list[str]:
        return [*_server(), *(f"--{setting}" for setting in _SETTINGS)]

    def _initialise(self) -> None:
        if not _unpacked().is_dir():
            install()
        self._make_system([*_server(), "--initialize-insecure", "--innodb-flush-method=nosync"])


def _server() -> list[str]:
    home = _unpacked()
    # It refuses to be root unless it is told to.
    user = ["--user=root"] if os.geteuid() == 0 else []
    return [
        f"{home}/bin/mysqld",
        "--no-defaults",
        *user,
        f"--basedir={home}",
        f"--lc-messages-dir={home}/share",
    ]


def _unpacked() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "rayetl" / f"mysql-{VERSION}"
