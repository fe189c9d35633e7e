"""Keys that a catalog service hands out with a table, for the files of it ("vended credentials").

They are for this process and end soon, so they do not travel: what does is who to ask for which table.
Whoever opens its files asks the catalog again, with its own login there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rayetl.connectors.iceberg.places import in_bucket
from rayetl.connectors.s3.account import ENDS, Lender, S3Account
from rayetl.connectors.s3.settings import is_safe
from rayetl.errors import CredentialError, Terminal
from rayetl.records import dataclass
from rayetl.secrets import Credential

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import TableResponse

    from rayetl.connectors.iceberg.connection import IcebergConnection

_FIELDS = {
    "access_key_id": "s3.access-key-id",
    "secret_access_key": "s3.secret-access-key",
    "session_token": "s3.session-token",
    ENDS: "s3.session-token-expires-at-ms",
}

Handed = dict[str, dict[str, Any]]
"""What a service says of who opens files: by what the addresses of these begin with."""


def handed(service: Mapping[str, Any], answer: TableResponse) -> Handed:
    """What a service hands out for all tables and in an answer about one, where keys are among it. What the
    table itself says counts for nothing: that is by whoever may write it."""
    found = {"": {**service, **answer.config}}
    for given in answer.storage_credentials:
        found[in_bucket(given.prefix) or given.prefix] = {**found[""], **given.config}
    keys = (_FIELDS["access_key_id"], _FIELDS["secret_access_key"])
    return {prefix: said for prefix, said in found.items() if all(said.get(name) for name in keys)}


@dataclass(frozen=True, slots=True)
class Lending:
    """Makes accounts of what is handed out for the table of `connection`, whose faults become `fault`."""

    connection: IcebergConnection
    fault: type[Terminal]

    def accounts(self, given: Handed, place: str) -> Iterator[tuple[str, S3Account]]:
        """The accounts that open the files of the table at `place`, by what the addresses of these begin
        with. What the config says about the service comes first."""
        own = self.connection.account
        for prefix, said in given.items():
            endpoint = own.endpoint or _endpoint(said.get("s3.endpoint"), self.connection)
            region = own.region or said.get("client.region") or said.get("s3.region")
            style = _path_style(said) if own.path_style is None else own.path_style
            lender = CatalogLender(self.connection, place, prefix, self.fault)
            yield prefix, S3Account(None, endpoint, region, style, lender)


@dataclass(frozen=True, slots=True)
class CatalogLender(Lender):
    """The catalog of `connection`, which hands out keys for addresses below `prefix` with its table; with one
    that is not made yet, where that is to lie at `place`."""

    connection: IcebergConnection
    place: str
    prefix: str
    fault: type[Terminal]

    @property
    def who(self) -> str:
        return f"the catalog {self.connection.catalog.uri}"

    def lend(self) -> Credential:
        from rayetl.connectors.iceberg.files import Rest

        opened = self.connection.connect(self.fault)
        try:
            assert isinstance(opened.catalog, Rest)
            with opened.told():
                given = opened.catalog.asked(self.connection.table, self.place).get(self.prefix)
        finally:
            opened.close()
        if given is None:
            raise CredentialError(
                f"{self.who} does not hand out keys for the table {self.connection.table} any more",
                hint="ask those who run it, or run again with keys of your own: `s3: {credential: NAME}`",
            )
        values = {field: str(given[name]) for field, name in _FIELDS.items() if given.get(name)}
        if not values.get(ENDS, "0").isdecimal():
            raise CredentialError(
                f"{self.who} hands out keys that end at {values[ENDS]!r}, which is no time in milliseconds",
                hint="tell those who run it, or run with keys of your own: `s3: {credential: NAME}`",
            )
        return Credential.of(self.connection.table, self.who, values)


def _endpoint(said: str | None, connection: IcebergConnection) -> str | None:
    if not said:
        return None
    if urlsplit(said).scheme not in ("http", "https") or not urlsplit(said).hostname:
        raise ValueError(f"the catalog says that its files are at {said!r}, which is no address of a service")
    if not is_safe(said) and not (connection.s3 and connection.s3.allow_http):
        raise ValueError(
            f"the catalog says that its files are at {said}, which is reached without encryption: set "
            "`s3: {allow_http: true}` if that is meant, or the `endpoint` there"
        )
    return said.rstrip("/")


def _path_style(said: Mapping[str, Any]) -> bool | None:
    if (style := said.get("s3.path-style-access")) is not None:
        return str(style).lower() == "true"
    style = said.get("s3.force-virtual-addressing")
    return None if style is None else str(style).lower() != "true"
