"""How a catalog is opened and spoken through: settings, credentials, and plain errors."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, field_validator, model_validator

from rayetl.connectors.iceberg.catalogs import AnyCatalog, HadoopCatalog, RestCatalog, SqlCatalog
from rayetl.connectors.places import advice
from rayetl.connectors.s3.account import S3Account
from rayetl.connectors.s3.settings import S3Settings
from rayetl.errors import CredentialError, LoadError, Retryable, SourceError, SqlError, Terminal
from rayetl.hosts import is_here
from rayetl.records import dataclass
from rayetl.secrets import Credential, Credentials
from rayetl.secrets.naming import UsesCredential

if TYPE_CHECKING:
    from rayetl.connectors.iceberg.files import Rest, Shelves, Sql
    from rayetl.connectors.iceberg.hadoop import Hadoop

_REWRITTEN = {
    "equality deletes": "let Spark apply them: rewrite_data_files with options 'delete-file-threshold', '1'",
    "Unsupported file format": "let Spark write its files as Parquet: unset the table's property "
    "write.format.default, then rewrite_data_files with the options 'rewrite-all', 'true'",
}
"""What to do about files that the library does not read, by what it says of them."""
_REFUSED = ("password authentication failed", "no password supplied")


class TableS3Settings(UsesCredential, S3Settings):
    """The service that keeps the files of a table, and whose keys open it; by default that of AWS."""


class IcebergConnection(UsesCredential):
    """The part of a source or load that says which table of which catalog."""

    catalog: AnyCatalog = Field(
        description="The catalog that names the table.",
        examples=[{"type": "sql", "uri": "sqlite:///lake/catalog.db", "warehouse": "lake"}],
    )
    table: str = Field(
        description="The table with its namespace.",
        examples=["flights.daily"],
    )
    s3: TableS3Settings | None = Field(
        default=None,
        description="The service that keeps the files of a table on S3, by default AWS, and the `credential` "
        "of its keys, by default those that AWS's own tools find on this machine. Keys that a catalog "
        "service hands out come first. The `credential` beside `catalog` is the catalog's.",
        examples=[{"credential": "lake", "endpoint": "https://minio.example.com:9000"}],
    )

    @field_validator("table")
    @classmethod
    def _with_namespace(cls, value: str) -> str:
        parts = value.split(".")
        if len(parts) < 2 or not all(parts) or any(sign in value for sign in "/\\?#\0"):
            raise ValueError("a table is named with its namespace, like `flights.daily`")
        return value

    @model_validator(mode="after")
    def _keys_where_they_open_something(self) -> Self:
        if self.credential is not None and self.catalog.unlocked is not None:
            raise ValueError(
                f"`credential` opens nothing: the catalog is {self.catalog.unlocked}. The keys of a bucket "
                f"stand in `s3`: `s3: {{credential: {self.credential}}}`"
            )
        if self.s3 is not None and self.catalog.is_in_bucket is False:
            raise ValueError(
                "`s3` is for tables on S3, and the catalog's `warehouse` is a directory of this machine"
            )
        return self

    def assert_found(self) -> None:
        super().assert_found()
        # A catalog service may hand out keys, and then none are looked for.
        if self.s3 is not None and not isinstance(self.catalog, RestCatalog):
            self.s3.assert_found()

    @property
    def account(self) -> S3Account:
        """The account that opens the buckets."""
        found = self.s3 or TableS3Settings()
        return S3Account(found.credential, found.endpoint, found.region, found.path_style)

    @property
    def protection(self) -> tuple[tuple[str, str], ...]:
        """How the service is asked to encrypt what is written; see `S3LoadSettings`."""
        return ()

    def location(self) -> str | None:
        """The table, for telling that two loads share one."""
        return f"iceberg:{self.catalog.uri}:{self.catalog.warehouse}:{self.table}"

    def endpoint(self) -> str | None:
        """The service of the catalog, as errors and circuit breakers name it; `None` for a file."""
        return self.catalog.endpoint()

    def connect(self, fault: type[Terminal]) -> Opened:
        """Open the catalog; a credential is looked up now, and once more when the catalog refuses it.

        Raises `fault`, `CredentialError` and `Retryable`.
        """
        _library(fault)
        file = self.catalog.file
        if file is not None and not os.path.exists(file):
            if not issubclass(fault, LoadError):
                raise fault(
                    f"there is no Iceberg table {self.table}, because there is no catalog at {file}",
                    hint=f"look at the catalog's `uri`; paths are relative to {os.getcwd()}",
                )
            Path(file).parent.mkdir(parents=True, exist_ok=True)

        def opened(credential: Credential | None) -> Opened:
            with told(self, fault, credential):
                return Opened(self, self._opened(credential, fault), fault, credential)

        if self.credential is None:
            return opened(None)
        return Credentials.here().connect(self.credential, opened, _is_refusal)

    def _opened(self, credential: Credential | None, fault: type[Terminal]) -> Sql | Rest | Hadoop:
        from rayetl.connectors.iceberg.files import Shelves

        shelves = Shelves(self.account, self.protection, fault)
        if isinstance(self.catalog, RestCatalog):
            return self._rest(self.catalog, credential, shelves)
        if isinstance(self.catalog, HadoopCatalog):
            return _hadoop(self.catalog, shelves)
        assert isinstance(self.catalog, SqlCatalog)
        return _sql(self.catalog, credential, shelves)

    def _rest(self, settings: RestCatalog, credential: Credential | None, shelves: Shelves) -> Rest:
        from rayetl.connectors.iceberg.files import Rest
        from rayetl.connectors.iceberg.lending import Lending

        properties = {"uri": settings.uri, **shelves.properties}
        if settings.warehouse is not None:
            properties["warehouse"] = settings.warehouse
        if credential is not None:
            if token := credential.reveal("token"):
                properties["token"] = token
            else:
                client, secret = credential.required("client_id"), credential.required("client_secret")
                properties["credential"] = f"{client}:{secret}"
                if server := credential.reveal("oauth2_server_uri"):
                    properties["oauth2-server-uri"] = server
        # A source and a load of one table ask for the same keys.
        shared = IcebergConnection(
            catalog=self.catalog, credential=self.credential, table=self.table, s3=self.s3
        )
        return Rest(Lending(shared, shelves.fault), **properties)


@dataclass(frozen=True, slots=True)
class Opened:
    """An open catalog. What its library raises becomes `fault`."""

    connection: IcebergConnection
    catalog: Sql | Rest | Hadoop
    fault: type[Terminal]
    credential: Credential | None

    @property
    def shelves(self) -> Shelves:
        """Where its table lies; what opens that, a service says when the table is loaded or begun."""
        return self.catalog.shelves

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turns what the library raises into errors of ours, which name the table. A login that is refused
        after it was good is worth a new attempt where the credential was changed meanwhile."""
        try:
            with told(self.connection, self.fault, self.credential):
                yield
        except CredentialError as error:
            if self.credential is None or Credentials.here().refreshed(self.credential) is None:
                raise
            raise Retryable(
                f"{error.message}; the credential has changed since it was looked up",
                endpoint=self.connection.endpoint(),
            ) from error

    def close(self) -> None:
        """Let go of the catalog's connections."""
        self.catalog.close()


def _sql(settings: SqlCatalog, credential: Credential | None, shelves: Shelves) -> Sql:
    from rayetl.connectors.iceberg.files import Sql

    properties = {"uri": settings.uri, "init_catalog_tables": "false", "pool_pre_ping": "true"}
    properties |= shelves.properties
    if settings.warehouse is not None:
        properties["warehouse"] = settings.place_of("") or ""
    if settings.file is None:
        properties["uri"] = _with_login(settings, credential)
    catalog = Sql(settings.name, **properties)
    # Its constructor takes a refused connection for a database without tables.
    catalog.engine.connect().close()
    return catalog


def _with_login(settings: SqlCatalog, credential: Credential | None) -> str:
    from sqlalchemy import make_url

    url = make_url(settings.uri).set(drivername="postgresql+psycopg2")
    if not is_here(url.host or "localhost"):
        own = {"sslmode": "verify-full", "sslrootcert": "system"}
        url = url.update_query_dict({} if "sslmode" in url.query else own)
    if credential is not None:
        user = credential.reveal("user") or credential.reveal("username")
        url = url.set(username=user, password=credential.reveal("password"))
    return url.render_as_string(hide_password=False)


def _hadoop(settings: HadoopCatalog, shelves: Shelves) -> Hadoop:
    from rayetl.connectors.iceberg.hadoop import Hadoop

    return Hadoop("rayetl", warehouse=settings.place_of("").rstrip("/"), **shelves.properties)


@contextmanager
def told(
    connection: IcebergConnection, fault: type[Terminal], credential: Credential | None
) -> Iterator[None]:
    """Turns what the library raises into `fault`, or `Retryable` where the catalog cannot be reached."""
    kinds = _kinds()
    doing = "loaded into" if issubclass(fault, LoadError) else "read"
    try:
        yield
    except SqlError as error:
        problem = error.problems[0].message
        raise fault(f"the Iceberg table {connection.table} cannot be {doing}: {problem}") from error
    except kinds.all as error:
        said = _sentence(error)
        if credential is not None:
            said = credential.scrub(said)
        message = f"the Iceberg table {connection.table} cannot be {doing}: {said}"
        if isinstance(error, kinds.refused) or any(words in said for words in _REFUSED):
            hint = "look at the fields of the credential, or give one with `credential:`"
            raise CredentialError(f"the catalog refuses the login: {said}", hint=hint) from None
        if isinstance(error, kinds.away):
            hint = "does the catalog's service run, and does its `uri` hold?"
            raise Retryable(message, hint=hint, endpoint=connection.endpoint()) from None
        rewritten = (hint for words, hint in _REWRITTEN.items() if words in said)
        raise fault(message, hint=advice(error) or next(rewritten, None)) from None


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, CredentialError)


def _sentence(error: Exception) -> str:
    # SQLAlchemy puts the driver's own words first, then its statement and a link.
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].rstrip(".")[:300] if lines else type(error).__name__


@dataclass(frozen=True, slots=True)
class _Kinds:
    """The exceptions of the library and its parts, by what they mean."""

    away: tuple[type[Exception], ...]
    refused: tuple[type[Exception], ...]
    all: tuple[type[Exception], ...]


@cache
def _kinds() -> _Kinds:
    import requests
    from pyiceberg import exceptions
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    own = [
        kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    others = (SQLAlchemyError, requests.RequestException, OSError, ValueError, NotImplementedError)
    # Of values for which its transforms have no place, as the least number cut to tens.
    misplaced = (OverflowError, struct.error)
    unavailable = (exceptions.ServiceUnavailableError, exceptions.TooManyRequestsError)
    return _Kinds(
        away=(requests.ConnectionError, requests.Timeout, OperationalError, *unavailable),
        refused=(exceptions.UnauthorizedError, exceptions.ForbiddenError, exceptions.OAuthError),
        all=(*own, *others, *misplaced),
    )


def _library(fault: type[Terminal]) -> None:
    try:
        import_module("pyiceberg.catalog.sql")
        import_module("pyiceberg_core")
    except ImportError as error:
        kind = fault if issubclass(fault, LoadError) else SourceError
        raise kind(
            "Iceberg tables need a library that is not installed", hint="pip install 'rayetl[iceberg]'"
        ) from error
