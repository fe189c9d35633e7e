"""The catalogs that name Iceberg tables, as a config describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator

from rayetl.connectors.iceberg.places import assert_place, in_bucket, local
from rayetl.connectors.places import known
from rayetl.hosts import is_here
from rayetl.model import Model


def _possible(place: str) -> str:
    assert_place(place)
    if in_bucket(place):
        known(place)
    return place


Warehouse = Annotated[str, Field(min_length=1), AfterValidator(_possible)]
"""A directory of this machine or a prefix of a bucket."""


def _below(warehouse: str, table: str) -> str:
    """Where a table lies that has a directory of its own for each part of its name."""
    below = table.replace(".", "/")
    if in_bucket(warehouse):
        return f"{warehouse.rstrip('/')}/{below}"
    return f"file://{Path(local(warehouse)).absolute()}/{below}"


class SqlCatalog(Model):
    """Tables are named in a database: an SQLite file or PostgreSQL."""

    type: Literal["sql"]
    uri: str = Field(
        min_length=1,
        description="The database: `sqlite:///lake/catalog.db`, or `postgresql://host:5432/database` with "
        "user and password in `credential`.",
        examples=["sqlite:///lake/catalog.db"],
    )
    name: str = Field(
        default="default",
        min_length=1,
        description="The catalog's name: a database may hold several.",
        examples=["lake"],
    )
    warehouse: Warehouse | None = Field(
        default=None,
        description="Directory below which tables are made, or `s3://bucket/prefix`.",
        examples=["lake", "s3://lake/tables"],
    )

    @field_validator("uri")
    @classmethod
    def _known_database(cls, value: str) -> str:
        scheme = value.partition(":")[0].partition("+")[0]
        if scheme not in ("sqlite", "postgresql"):
            raise ValueError(
                "the database of an SQL catalog is `sqlite:///FILE` or `postgresql://HOST/DATABASE`"
            )
        if scheme == "sqlite" and value.partition("+")[1] == "" and len(value) <= len("sqlite:///"):
            raise ValueError("an SQLite catalog needs a file: `sqlite:///lake/catalog.db`")
        if scheme == "postgresql" and "@" in value.partition("//")[2].partition("/")[0]:
            raise ValueError("user and password of the catalog's database belong into `credential`")
        return value

    @property
    def is_in_bucket(self) -> bool | None:
        """Whether tables are made on S3; `None` where the config does not say."""
        return None if self.warehouse is None else in_bucket(self.warehouse) is not None

    @property
    def unlocked(self) -> str | None:
        """What it is, if nobody has to log in to it."""
        return None if self.file is None else "a file"

    @property
    def file(self) -> str | None:
        """The file of an SQLite database."""
        return self.uri.partition(":///")[2].partition("?")[0] if self.uri.startswith("sqlite") else None

    def place_of(self, table: str) -> str | None:
        """Where a table is made; `None` if that is for the catalog to say."""
        return None if self.warehouse is None else _below(self.warehouse, table)

    def endpoint(self) -> str | None:
        """The server behind it; `None` for a file."""
        if self.file is not None:
            return None
        parts = urlsplit(self.uri)
        return f"iceberg catalog {parts.hostname}:{parts.port or 5432}"


class RestCatalog(Model):
    """Tables are named by a service that speaks Iceberg's REST protocol."""

    type: Literal["rest"]
    uri: str = Field(
        pattern=r"^https?://",
        description="The address of the service; `http` only on this machine.",
        examples=["https://catalog.example.com"],
    )
    warehouse: str | None = Field(
        default=None,
        min_length=1,
        description="The warehouse, as the service names it.",
        examples=["main"],
    )

    @field_validator("uri")
    @classmethod
    def _protected(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.username or parts.password:
            raise ValueError("what opens the catalog belongs into `credential`")
        if parts.scheme == "http" and not is_here(parts.hostname or ""):
            raise ValueError("a catalog on another machine is reached by https, so that nobody listens in")
        return value

    @property
    def is_in_bucket(self) -> None:
        """`None`: where tables lie is for the service to say."""
        return

    @property
    def unlocked(self) -> None:
        """`None`: a service asks who is there."""
        return

    @property
    def file(self) -> str | None:
        """`None`: what a service keeps its tables in is its own affair."""
        return None

    def place_of(self, table: str) -> str | None:
        """`None`: where a table is made is for the service to say."""
        del table
        return None

    def endpoint(self) -> str | None:
        """The service."""
        return f"iceberg catalog {urlsplit(self.uri).netloc}"


class HadoopCatalog(Model):
    """Tables are directories below a warehouse, with the files of their versions."""

    type: Literal["hadoop"]
    warehouse: Warehouse = Field(
        description="Directory in which each namespace is a directory, and each table one of those, or "
        "`s3://bucket/prefix`.",
        examples=["lake", "s3://lake/tables"],
    )

    @property
    def uri(self) -> str:
        """What errors call it."""
        return self.warehouse

    @property
    def is_in_bucket(self) -> bool:
        """Whether its tables are on S3."""
        return in_bucket(self.warehouse) is not None

    @property
    def unlocked(self) -> str:
        """See `SqlCatalog`."""
        return "a prefix of a bucket" if self.is_in_bucket else "a directory"

    @property
    def file(self) -> None:
        """`None`: it has no file beside its tables."""
        return

    def place_of(self, table: str) -> str:
        """Where a table lies, and nowhere else."""
        return _below(self.warehouse, table)

    def endpoint(self) -> None:
        """`None`: no service but that of the bucket."""
        return


AnyCatalog = Annotated[SqlCatalog | RestCatalog | HadoopCatalog, Field(discriminator="type")]
