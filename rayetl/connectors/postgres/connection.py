"""How a connection is opened and spoken through: settings, TLS, and plain errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rayetl.connectors.databases.connection import Connection, DatabaseConnection
from rayetl.connectors.databases.faults import Fault, Server
from rayetl.connectors.postgres.cursor import Cursor, beside, result
from rayetl.connectors.postgres.faults import connect_fault, row_fault, statement_fault
from rayetl.connectors.postgres.naming import literal
from rayetl.errors import CredentialError, LoadError, Retryable, RunError, SourceError, Terminal
from rayetl.lazy import put_off
from rayetl.secrets import Credential

if TYPE_CHECKING:
    import pyarrow as pa

_LIBPQ = {"database": "dbname"}

_ALIVE = {
    # A server that vanished without a word is noticed after about a minute, not after two hours.
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
    "client_encoding": "UTF8",
    "application_name": "rayetl",
}

# Set inside each transaction: a pooler between us and the server hands sessions from one to the next.
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "idle_in_transaction_session_timeout": "0",
}


_CLIENT_GONE = (
    "SELECT set_config(name, '5s', true) FROM pg_settings "
    "WHERE name = 'client_connection_check_interval' AND version() LIKE '%linux%'"
)
"""A statement whose client is gone ends, where the server can know that: since version 14, but not on every
system. It would go on until it has something to send, and keep its locks."""


class UsesPostgres(DatabaseConnection):
    """The part of a source or load that says which server and database."""

    scheme: ClassVar[str] = "postgres"
    usual_port: ClassVar[int] = 5432

    def connect(self, terminal: type[Terminal] = SourceError) -> PostgresConnection:
        def opened(credential: Credential) -> PostgresConnection:
            settings, server = self._settings(credential), self._server(credential)
            return PostgresConnection(settings, server, credential, terminal)

        return self._connected(opened)

    def _settings(self, credential: Credential) -> dict[str, str]:
        given = self._given(credential)
        if given["sslmode"] == "verify-full" and not Path("~/.postgresql/root.crt").expanduser().exists():
            given.setdefault("sslrootcert", "system")
        named = {_LIBPQ.get(name, name): value for name, value in given.items()}
        timeout = max(2, round(self.connect_timeout.total_seconds()))
        return {**named, **_ALIVE, "connect_timeout": str(timeout)}


class PostgresConnection(Connection):
    """One connection to PostgreSQL; it may be shared by no two threads."""

    def __init__(
        self, settings: dict[str, str], server: Server, credential: Credential, terminal: type[Terminal]
    ) -> None:
        super().__init__(server, credential, terminal)
        dbapi = _driver(terminal)
        text = " ".join(f"{name}={_quoted(value)}" for name, value in settings.items())
        self._lost = False
        try:
            self._connection = result(beside(lambda: dbapi.connect(text, autocommit=True)))
        except dbapi.Error as error:
            raise self._scrubbed(connect_fault(error, server)) from None

    def close(self) -> None:
        if not self._lost:
            self._connection.close()

    def begin(self, characteristics: str = "", snapshot: str | None = None) -> None:
        """Begin a transaction in which texts of dates, numbers and intervals have one form; with `snapshot`,
        it sees what the transaction sees that exported it."""
        self.execute(f"BEGIN {characteristics}", "beginning a transaction")
        if snapshot is not None:
            self._join(snapshot)
        names = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items())
        self.rows(f"SELECT {names}", "beginning a transaction")
        self.rows(_CLIENT_GONE, "beginning a transaction")

    def _join(self, snapshot: str) -> None:
        try:
            self.execute(f"SET TRANSACTION SNAPSHOT {literal(snapshot)}", "joining a moment")
        except Terminal as error:
            raise Retryable(
                f"the moment at which {self.server} is read is gone: {error.message}",
                hint="everything is read again at a new one; did somebody end the session that held it?",
                endpoint=self.server.endpoint,
            ) from error

    def stream(self, query: str, doing: str, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """The rows of a query in batches of about `batch_bytes`."""
        with self.cursor(doing) as cursor:
            cursor.execute(query, **{"adbc.postgresql.batch_size_hint_bytes": str(batch_bytes)})
            yield from cursor.reader()

    def schema(self, query: str, doing: str) -> pa.Schema:
        """The columns of a query with what the driver says about their server types; reads no row."""
        with self.cursor(doing) as cursor:
            cursor.execute(query)
            found: pa.Schema = cursor.reader().schema
            return found

    @contextmanager
    def cursor(self, doing: str, seen: Callable[[Exception], None] = lambda _: None) -> Iterator[Cursor]:
        cursor = None
        try:
            cursor = Cursor(self._connection.cursor())
            yield cursor
        except self._connection.Error as error:
            seen(error)
            raise self._scrubbed(statement_fault(error, self.server, doing, self._terminal)) from None
        except (OSError, _arrow_error()) as error:
            # What goes wrong while rows stream in comes through Arrow, as an error of its own.
            raise self._scrubbed(statement_fault(error, self.server, doing, self._terminal)) from None
        finally:
            if cursor is not None:
                cursor.close()
                self._lost |= cursor.lost

    def fault(self, raised: Exception, error: RunError) -> Fault | None:
        return row_fault(raised, error)


def _arrow_error() -> type[Exception]:
    import pyarrow as pa

    kind: type[Exception] = pa.ArrowException
    return kind


def _quoted(value: str) -> str:
    if "\0" in value:
        raise CredentialError("a field of the connection to PostgreSQL holds a NUL character")
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _driver(terminal: type[Terminal]) -> Any:
    try:
        # Nothing here is an Arrow dataset, and to load that takes as long as all else of a short run: where
        # pandas is installed, it comes along.
        with put_off("pyarrow.dataset"):
            from adbc_driver_postgresql import dbapi
    except ImportError as error:
        kind = terminal if issubclass(terminal, LoadError) else SourceError
        raise kind(
            "PostgreSQL needs a driver that is not installed", hint="pip install 'rayetl[postgres]'"
        ) from error
    return dbapi
