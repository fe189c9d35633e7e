"""How a connection is opened and spoken through: settings, credentials, TLS, and plain errors."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from rayetl.connectors.postgres.faults import Refused, Server, connect_fault, statement_fault
from rayetl.connectors.postgres.naming import literal
from rayetl.errors import CredentialError, LoadError, SourceError, Terminal
from rayetl.model import Duration
from rayetl.secrets import Credential, Credentials
from rayetl.secrets.naming import InlineSecret, UsesCredential

if TYPE_CHECKING:
    import pyarrow as pa

SslMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

_SPELLINGS = {
    "host": ("host", "hostname"),
    "port": ("port",),
    "database": ("database", "dbname"),
    "user": ("user", "username"),
    "password": ("password",),
    "sslmode": ("sslmode",),
    "sslrootcert": ("sslrootcert",),
}
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


class PostgresConnection(UsesCredential):
    """The part of a source or load that says which server and database; what the config leaves out is
    taken from the credential."""

    host: str | None = Field(
        default=None,
        min_length=1,
        description="Name or address of the server, or the directory of its socket. By default the "
        "credential's.",
        examples=["db.example.com"],
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port of the server; by default the credential's, or 5432.",
        examples=[5432],
    )
    database: str | None = Field(
        default=None,
        min_length=1,
        description="Name of the database; by default the credential's.",
        examples=["sales"],
    )
    user: str | None = Field(
        default=None, min_length=1, description="By default the credential's.", examples=["etl"]
    )
    password: InlineSecret | None = Field(
        default=None,
        description="Better kept in a `credential`: a config that holds it is warned about.",
        examples=["from-a-credential-instead"],
    )
    sslmode: SslMode | None = Field(
        default=None,
        description="How the connection is protected, as libpq names it. By default `verify-full`: "
        "encrypted, and the server's certificate and name are verified; on this machine itself `prefer`.",
    )
    sslrootcert: str | None = Field(
        default=None,
        min_length=1,
        description="File of the authority that signed the server's certificate; by default libpq's own "
        "file, else the system's authorities.",
        examples=["/etc/ssl/certs/company.pem"],
    )
    connect_timeout: Duration = Field(
        default=timedelta(seconds=10), description="How long opening a connection may take.", examples=["5s"]
    )

    @model_validator(mode="after")
    def _known_server(self) -> Self:
        if self.credential is None and (self.host is None or self.database is None):
            missing = "host" if self.host is None else "database"
            raise ValueError(
                f"where is the server? give `credential: NAME`, or `host`, `database` and `user` "
                f"(`{missing}` is missing)"
            )
        return self

    def endpoint(self) -> str | None:
        """The server, as errors and circuit breakers name it."""
        return f"postgres {self.host}:{self.port or 5432}" if self.host else f"postgres of {self.credential}"

    def place(self) -> str:
        """The database, for reports: the credential's name where the config does not say more."""
        if self.host is None or self.database is None:
            return f"postgres:{self.credential}"
        return f"postgres://{self.host}:{self.port or 5432}/{self.database}"

    def connect(self, terminal: type[Terminal] = SourceError) -> Connection:
        """Open a connection; a credential is looked up now, and once more when the server refuses it.

        Faults of its statements are raised as `terminal` where trying again is useless. Raises
        `CredentialError` and `Retryable`.
        """

        def opened(credential: Credential) -> Connection:
            return Connection(self._settings(credential), self._server(credential), credential, terminal)

        if self.credential is None:
            inline = {"password": self.password.reveal()} if self.password else {}
            return opened(Credential.of("", "the config itself", inline))
        return Credentials.here().connect(self.credential, opened, lambda error: isinstance(error, Refused))

    def _settings(self, credential: Credential) -> dict[str, str]:
        found = {name: self._value(name, credential) for name in _SPELLINGS}
        if found["host"] is None or found["database"] is None:
            credential.required(*_SPELLINGS["host" if found["host"] is None else "database"])
        named = {_LIBPQ.get(name, name): value for name, value in found.items() if value is not None}
        named.setdefault("sslmode", "prefer" if is_here(named["host"]) else "verify-full")
        if named["sslmode"] == "verify-full" and not Path("~/.postgresql/root.crt").expanduser().exists():
            named.setdefault("sslrootcert", "system")
        timeout = max(2, round(self.connect_timeout.total_seconds()))
        return {**named, **_ALIVE, "connect_timeout": str(timeout)}

    def _value(self, name: str, credential: Credential) -> str | None:
        own = None if name == "password" else getattr(self, name)
        if own is not None:
            return str(own)
        return next((found for word in _SPELLINGS[name] if (found := credential.reveal(word))), None)

    def _server(self, credential: Credential) -> Server:
        def shown(name: str, default: str) -> str:
            return self._value(name, credential) or default

        return Server(
            host=shown("host", ""),
            port=shown("port", "5432"),
            database=shown("database", ""),
            user=shown("user", ""),
            place=credential.place,
            endpoint=self.endpoint() or "",
        )


def is_here(host: str) -> bool:
    """Whether a server is on this machine, so that nobody can stand between."""
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Connection:
    """One connection, in autocommit: transactions are begun and ended by `begin`, `commit`, `roll_back`."""

    def __init__(
        self, settings: dict[str, str], server: Server, credential: Credential, terminal: type[Terminal]
    ) -> None:
        self.server = server
        self._credential = credential
        self._terminal = terminal
        dbapi = _driver(terminal)
        text = " ".join(f"{name}={_quoted(value)}" for name, value in settings.items())
        try:
            self._connection = dbapi.connect(text, autocommit=True)
        except dbapi.Error as error:
            raise self._scrubbed(connect_fault(error, server)) from None

    def close(self) -> None:
        """Close; a transaction that is under way is rolled back by the server."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, characteristics: str = "", snapshot: str | None = None) -> None:
        """Begin a transaction in which texts of dates, numbers and intervals have one form; with `snapshot`,
        it sees what the transaction sees that exported it."""
        self.execute(f"BEGIN {characteristics}", "beginning a transaction")
        if snapshot is not None:
            self.execute(f"SET TRANSACTION SNAPSHOT {literal(snapshot)}", "beginning a transaction")
        names = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items())
        self.rows(f"SELECT {names}", "beginning a transaction")

    def execute(self, statement: str, doing: str) -> int:
        """Run a statement that gives no rows; how many rows it touched, -1 where that has no meaning."""
        with self.cursor(doing) as cursor:
            cursor.execute(statement)
            return int(cursor.rowcount)

    def rows(self, query: str, doing: str) -> list[tuple[Any, ...]]:
        """All rows of a query, which is known to have few."""
        with self.cursor(doing) as cursor:
            cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]

    def value(self, query: str, doing: str) -> Any:
        """The only value of a query."""
        ((found,),) = self.rows(query, doing)
        return found

    def stream(self, query: str, doing: str, batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """The rows of a query in batches of about `batch_bytes`."""
        with self.cursor(doing) as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(batch_bytes)})
            cursor.execute(query)
            yield from cursor.fetch_record_batch()

    def schema(self, query: str, doing: str) -> pa.Schema:
        """The columns of a query with what the driver says about their server types; reads no row."""
        with self.cursor(doing) as cursor:
            cursor.execute(query)
            return cursor.fetch_record_batch().schema

    @contextmanager
    def cursor(self, doing: str, seen: Callable[[Exception], None] = lambda _: None) -> Iterator[Any]:
        """A cursor of the driver; what it raises is shown to `seen`, then raised as an error of ours."""
        cursor = None
        try:
            cursor = self._connection.cursor()
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

    def _scrubbed(self, error: Any) -> Any:
        error.message = self._credential.scrub(error.message)
        error.args = (error.message,)
        return error


def close_all(connections: Sequence[Connection]) -> None:
    """Close every one of them, also where closing one fails."""
    if connections:
        try:
            connections[0].close()
        finally:
            close_all(connections[1:])


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
        from adbc_driver_postgresql import dbapi
    except ImportError as error:
        kind = terminal if issubclass(terminal, LoadError) else SourceError
        raise kind(
            "PostgreSQL needs a driver that is not installed", hint="pip install 'rayetl[postgres]'"
        ) from error
    return dbapi
