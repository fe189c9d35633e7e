"""What the database servers of a test run have in common, and the databases in them."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import subprocess
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from services.base import Service, child, data_directory, free_port


@dataclass(frozen=True)
class SqlDatabase:
    """A database and a user that owns it, seen from outside: none of this goes through rayetl.

    `kind` is the type of its connectors, `mark` stands around names, `moment` is the type of a moment that may
    be NULL, and `longest` is how many letters a name may have.
    """

    kind: ClassVar[str]
    mark: ClassVar[str]
    moment: ClassVar[str]
    longest: ClassVar[int]

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

    @property
    @abstractmethod
    def schema(self) -> str:
        """Where a table is that is named without one."""

    @abstractmethod
    def series(self, rows: int) -> str:
        """What stands behind FROM for a column `seq` from 1 to `rows`."""

    def quoted(self, name: str) -> str:
        """A name as SQL has it, whatever is in it."""
        return f"{self.mark}{name.replace(self.mark, self.mark * 2)}{self.mark}"

    def through(self, port: int) -> Self:
        """The same database behind a proxy."""
        return replace(self, port=port)

    @abstractmethod
    def connect(self) -> Any:
        """Opens a driver connection of its own, in autocommit, for the length of a `with`."""

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


class DatabaseServer(Service):
    """One server with its data in a temporary directory, made at the first `start`."""

    owner: ClassVar[str]
    """The account that the server runs as."""

    answered: ClassVar[bytes]
    """What is in the server's bytes when a COMMIT is done; empty where any bytes are the answer."""

    _stopping: ClassVar[signal.Signals]
    _crashing: ClassVar[signal.Signals]

    def __init__(self) -> None:
        self.port = free_port()
        self._password = secrets.token_urlsafe(12)
        self._home: Path | None = None
        self._process: subprocess.Popen | None = None
        self._count = itertools.count(1)

    @property
    @abstractmethod
    def superuser(self) -> SqlDatabase:
        """The server's own database as its superuser."""

    @abstractmethod
    def create(self) -> SqlDatabase:
        """A fresh database that belongs to a fresh user."""

    @abstractmethod
    def drop(self, database: Any) -> None:
        """Remove a database with whoever is still connected, and its user."""

    @abstractmethod
    def cut(self, database: SqlDatabase) -> None:
        """End all connections to a database but those of this call."""

    @abstractmethod
    def change_password(self, database: SqlDatabase, password: str) -> None:
        """Give the user of a database another password."""

    def stop(self) -> None:
        self._end(self._stopping)
        if self._home is not None:
            shutil.rmtree(self._home)
            self._home = None

    def crash(self) -> None:
        """End it without a word: connections are cut, and the server recovers at the start."""
        self._end(self._crashing)

    @property
    def _directory(self) -> Path:
        assert self._home is not None, "the server was not started"
        return self._home

    @property
    def _log(self) -> Path:
        return self._directory / "log"

    def _fresh(self) -> tuple[str, str]:
        """The name of a new database and its user, and a password."""
        return f"test_{os.getpid()}_{next(self._count)}", secrets.token_urlsafe(12)

    def _make_home(self) -> Path:
        self._home = data_directory(self.name, self.owner)
        return self._home

    def _run(self, command: list[str]) -> None:
        """Start the server's process and wait until it answers."""
        self._process = child(command, self.owner, self._log, self._stopping)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.superuser.value("SELECT 1")
                return
            except Exception as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"{self.name} did not start:\n{self._log.read_text()[-2000:]}"
                    ) from error
            time.sleep(0.02)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def _variables(self, names: Mapping[str, str]) -> dict[str, str]:
        """The connection of the superuser, each field under the name that the server's programs look for."""
        return {names[field]: str(value) for field, value in self.superuser.config.items()}
