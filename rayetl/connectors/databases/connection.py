"""How a connection is opened and spoken through: settings, credentials, and plain errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import Field, field_validator, model_validator

from rayetl.connectors.databases.faults import Fault, Refused, Server
from rayetl.errors import CredentialError, RunError, SourceError, Terminal
from rayetl.hosts import assert_no_login, is_here
from rayetl.model import Duration
from rayetl.secrets import Credential, Credentials
from rayetl.secrets.naming import InlineSecret, UsesCredential

SslMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

SPELLINGS = {
    "host": ("host", "hostname"),
    "port": ("port",),
    "database": ("database", "dbname"),
    "user": ("user", "username"),
    "password": ("password",),
    "sslmode": ("sslmode",),
    "sslrootcert": ("sslrootcert",),
}
"""The fields of a connection, each as a credential may spell it."""


class Connection(ABC):
    """One connection, in autocommit: transactions are begun by `begin` and ended by statements."""

    server: Server

    def __init__(self, server: Server, credential: Credential, terminal: type[Terminal]) -> None:
        self.server = server
        self._credential = credential
        self._terminal = terminal

    @abstractmethod
    def close(self) -> None:
        """Close; a transaction that is under way is rolled back by the server."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction."""

    @abstractmethod
    def cursor(
        self, doing: str, seen: Callable[[Exception], None] = lambda _: None
    ) -> AbstractContextManager[Any]:
        """A cursor of the driver; what it raises is shown to `seen`, then raised as an error of ours. `doing`
        says in a few words what it is for: `reading public.t`."""

    @abstractmethod
    def fault(self, raised: Exception, error: RunError) -> Fault | None:
        """What the server said about a row, when the driver `raised` that; `None` where it lies in no row.
        Called before the next statement."""

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

    def in_savepoint(self, statement: Callable[[Any], int], doing: str) -> int | Fault:
        """What `statement(cursor)` returns, or what it was refused for in a row; the transaction goes on
        either way. Raises for all other faults."""
        raised: list[Exception] = []
        self.execute("SAVEPOINT rayetl", doing)
        try:
            with self.cursor(doing, raised.append) as cursor:
                done = int(statement(cursor))
        except RunError as error:
            fault = self.fault(raised[0], error) if raised else None
            if fault is None:
                raise
            self.execute("ROLLBACK TO SAVEPOINT rayetl", doing)
            return fault
        self.execute("RELEASE SAVEPOINT rayetl", doing)
        return done

    def _scrubbed(self, error: Any) -> Any:
        error.message = self._credential.scrub(error.message)
        error.args = (error.message,)
        return error


ConnectionT = TypeVar("ConnectionT", bound=Connection)


class DatabaseConnection(UsesCredential):
    """The part of a source or load that says which server and database; what the config leaves out is
    taken from the credential."""

    scheme: ClassVar[str]
    """The connector's type, as reports and errors name its servers."""

    usual_port: ClassVar[int]

    host: str | None = Field(
        default=None,
        min_length=1,
        description="Name or address of the server, or the path of its socket on this machine. By default "
        "the credential's.",
        examples=["db.example.com"],
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port of the server; by default the credential's, or the usual one.",
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
        description="File of the authority that signed the server's certificate; by default the system's "
        "authorities (PostgreSQL: libpq's own file first).",
        examples=["/etc/ssl/certs/company.pem"],
    )
    connect_timeout: Duration = Field(
        default=timedelta(seconds=10), description="How long opening a connection may take.", examples=["5s"]
    )

    @field_validator("host")
    @classmethod
    def _is_alone(cls, value: str | None) -> str | None:
        assert_no_login(value or "")
        return value

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
        if self.host is None:
            return f"{self.scheme} of {self.credential}"
        return f"{self.scheme} {self.host}:{self.port or self.usual_port}"

    def place(self) -> str:
        """The database, for reports: the credential's name where the config does not say more."""
        if self.host is None or self.database is None:
            return f"{self.scheme}:{self.credential}"
        return f"{self.scheme}://{self.host}:{self.port or self.usual_port}/{self.database}"

    @abstractmethod
    def connect(self, terminal: type[Terminal] = SourceError) -> Connection:
        """Open a connection; a credential is looked up now, and once more when the server refuses it.

        Faults of its statements are raised as `terminal` where trying again is useless. Raises
        `CredentialError` and `Retryable`.
        """

    def _connected(self, opened: Callable[[Credential], ConnectionT]) -> ConnectionT:
        if self.credential is None:
            inline = {"password": self.password.reveal()} if self.password else {}
            return opened(Credential.of("", "the config itself", inline))
        return Credentials.here().connect(self.credential, opened, lambda error: isinstance(error, Refused))

    def _given(self, credential: Credential) -> dict[str, str]:
        """The fields of a connection that are known, with the way it is protected."""
        found = {name: self._value(name, credential) for name in SPELLINGS}
        if found["host"] is None or found["database"] is None:
            credential.required(*SPELLINGS["host" if found["host"] is None else "database"])
        known = {name: value for name, value in found.items() if value is not None}
        try:
            assert_no_login(known["host"])
        except ValueError as error:
            place = f"the field 'host' of the credential {credential.name!r} from {credential.place}"
            raise CredentialError(f"{place}: {error}") from None
        known.setdefault("sslmode", "prefer" if is_here(known["host"]) else "verify-full")
        if known["sslmode"] not in (modes := get_args(SslMode)):
            raise _unknown(credential, "sslmode", known["sslmode"], f"it is one of {', '.join(modes)}")
        if not known.get("port", "1").isdecimal():
            raise _unknown(credential, "port", known["port"], f"it is a number such as {self.usual_port}")
        return known

    def _value(self, name: str, credential: Credential) -> str | None:
        own = None if name == "password" else getattr(self, name)
        if own is not None:
            return str(own)
        return next((found for word in SPELLINGS[name] if (found := credential.reveal(word))), None)

    def _server(self, credential: Credential) -> Server:
        def shown(name: str, default: str) -> str:
            return self._value(name, credential) or default

        return Server(
            host=shown("host", ""),
            port=shown("port", str(self.usual_port)),
            database=shown("database", ""),
            user=shown("user", ""),
            place=credential.place,
            endpoint=self.endpoint() or "",
        )


def _unknown(credential: Credential, field: str, value: str, hint: str) -> CredentialError:
    message = (
        f"the field {field!r} of the credential {credential.name!r} from {credential.place} is {value!r}"
    )
    return CredentialError(message, hint=hint)
