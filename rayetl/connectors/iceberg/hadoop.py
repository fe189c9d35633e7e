"""A catalog that is nothing but directories, as Iceberg's `HadoopCatalog` keeps them: a table lies where its
name says, below the warehouse. Importing this needs pyiceberg."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from pathlib import Path

from pyiceberg.catalog import WAREHOUSE_LOCATION, Catalog, MetastoreCatalog
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil
from pyiceberg.table.update import TableRequirement, TableUpdate
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties

from rayetl.connectors.commit.durable import sync
from rayetl.connectors.iceberg.files import OwnFiles
from rayetl.connectors.iceberg.places import in_bucket, local
from rayetl.connectors.iceberg.versions import ENDINGS, Directory, Prefix, Versions, number_of
from rayetl.errors import Retryable
from rayetl.failpoints import failpoint

_CODEC = "write.metadata.compression-codec"
_CODECS = ("none", "gzip")
_FOREIGN = re.compile(r"\d{5,7}-.+\.metadata\.json")
"""What other catalogs call the versions of their tables."""


class Hadoop(OwnFiles, MetastoreCatalog, NoopCatalog):
    """See `MetastoreCatalog`. What is not asked of it here raises `NotImplementedError`."""

    def load_table(self, identifier: str | Identifier) -> Table:
        """See `Catalog`."""
        versions = self._versions(identifier)
        name = versions.newest()
        if name is None:
            raise NoSuchTableError(f"there is no table at {self._place(identifier)}")
        return Table(
            identifier=Catalog.identifier_to_tuple(identifier),
            metadata=_parsed(name, versions.read(name)),
            metadata_location=f"{self._place(identifier)}/metadata/{name}",
            io=self._load_file_io(),
            catalog=self,
        )

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """See `Catalog`. Raises `CommitFailedException` where another commit was faster, `Retryable` where
        nobody knows, and `ValueError` for what no table of such a catalog may be."""
        current = self._current(table.name())
        next_one = self._update_and_stage_table(current, table.name(), requirements, updates)
        if reason := self.unwritable(next_one):
            raise ValueError(f"it {reason}")
        name = _successor(current, next_one.metadata.properties)
        if in_bucket(self._warehouse) is None:
            _sync_manifests(current, next_one)
        versions, data = self._versions(table.name()), _printed(name, next_one.metadata)
        try:
            versions.make(name, data, first=current is None)
        except FileExistsError as error:
            # A request that was sent again meets its own work. To say that it failed would be to have the
            # library remove what it named.
            if versions.read(name) != data:
                raise CommitFailedException(f"another writer has just made {name}") from error
        failpoint("iceberg.version_made")
        if current is not None and versions.of(number_of(name) - 1) is None:
            # Where old versions are removed, others may have taken this name long ago, and it was free again.
            raise Retryable(
                f"other writers removed the version before {name} of {table.name()[-1]} while that was made"
            )
        versions.hint_at(number_of(name))
        location = f"{self._place(table.name())}/metadata/{name}"
        return CommitTableResponse(metadata=next_one.metadata, metadata_location=location)

    def _current(self, identifier: Identifier) -> Table | None:
        try:
            return self.load_table(identifier)
        except NoSuchTableError:
            return None

    def unwritable(self, table: Table) -> str | None:
        """Tables of such a catalog are where their names say, with all that belongs to them."""
        place, properties = self._place(table.name()), table.metadata.properties
        if not _is_same(table.location(), place):
            return f"was made at {table.location()} and cannot be moved to {place}, as in any hadoop catalog"
        if "write.metadata.path" in properties:
            return "keeps its metadata elsewhere (`write.metadata.path`), which no hadoop catalog allows"
        if (codec := _codec(properties)) not in _CODECS:
            return f"wants its metadata compressed by {codec} (`{_CODEC}`), which Iceberg does not know"
        return None

    def create_namespace(self, namespace: str | Identifier, properties: Properties = EMPTY_DICT) -> None:
        """Make its directory; one that is there is fine. In a bucket there is nothing to make."""
        del properties
        place = self._place(namespace)
        if in_bucket(place) is None:
            os.makedirs(local(place), exist_ok=True)

    @staticmethod
    def identifier_to_database_and_table(
        identifier: str | Identifier, err: type[Exception] = ValueError
    ) -> tuple[str, str]:
        """See `Catalog`; a namespace may lie in another one."""
        del err
        *namespace, table = Catalog.identifier_to_tuple(identifier)
        return ".".join(namespace), table

    def _resolve_table_location(self, location: str | None, database_name: str, table_name: str) -> str:
        place = self._place((database_name, table_name))
        if location is not None and not _is_same(location, place):
            raise ValueError(f"a table of this name lies at {place}, not at {location}")
        if any(map(_FOREIGN.fullmatch, self._versions((database_name, table_name)).names(""))):
            raise ValueError(f"{place} holds a table of another catalog; name that, or another table")
        return place

    @property
    def _warehouse(self) -> str:
        return str(self.properties[WAREHOUSE_LOCATION])

    def _place(self, identifier: str | Identifier) -> str:
        parts = ".".join(Catalog.identifier_to_tuple(identifier)).split(".")
        return "/".join((self._warehouse, *parts))

    def _versions(self, identifier: str | Identifier) -> Versions:
        place = f"{self._place(identifier)}/metadata"
        address = in_bucket(place)
        if address is not None:
            return Prefix(address, self.shelves)
        return Directory(*(Path(os.path.realpath(local(each))) for each in (place, self._warehouse)))


def _successor(current: Table | None, properties: Properties) -> str:
    """The name that all writers of the next version compete for: the table says the codec."""
    version = 0 if current is None else number_of(current.metadata_location.rpartition("/")[2])
    return f"v{version + 1}{ENDINGS[_codec(properties)]}"


def _codec(properties: Properties) -> str:
    return str(properties.get(_CODEC, "none")).lower()


def _printed(name: str, metadata: TableMetadata) -> bytes:
    data = metadata.model_dump_json(exclude_none=True).encode()
    return gzip.compress(data) if ".gz" in name else data


def _parsed(name: str, data: bytes) -> TableMetadata:
    try:
        return TableMetadataUtil.parse_raw((gzip.decompress(data) if ".gz" in name else data).decode())
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{name} is damaged: {error}") from error


def _sync_manifests(current: Table | None, next_one: Table) -> None:
    """Force what the library wrote for new snapshots to disk: files that are named must be there."""
    known = set() if current is None else {each.snapshot_id for each in current.metadata.snapshots}
    for snapshot in next_one.metadata.snapshots:
        if snapshot.snapshot_id not in known:
            manifests = snapshot.manifests(next_one.io)
            own = (each for each in manifests if each.added_snapshot_id == snapshot.snapshot_id)
            for place in (snapshot.manifest_list, *(each.manifest_path for each in own)):
                sync(Path(local(place)))


def _is_same(one: str, other: str) -> bool:
    """Whether two addresses name the same place."""
    there = in_bucket(one), in_bucket(other)
    if there == (None, None):
        return os.path.realpath(local(one)) == os.path.realpath(local(other))
    return there[0] is not None and there[1] is not None and there[0].rstrip("/") == there[1].rstrip("/")
