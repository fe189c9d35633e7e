"""How the library opens files of tables: those of this machine by itself, those of buckets through an account
of ours. Importing this needs pyiceberg.

The library's own S3 clients would take keys as they are at one moment, and believe a table's properties about
the service to ask. Here an account says both, and what fails is told in its words: that of the config, or one
whose keys the catalog hands out.
"""

from __future__ import annotations

import io
import os
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from pyiceberg.catalog.rest import RestCatalog, TableResponse
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io import PY_IO_IMPL, FileIO, InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.schema import Schema
from pyiceberg.table import StagedTable, Table
from pyiceberg.types import BooleanType, NestedField

from rayetl.connectors.base import InputFile as Listed
from rayetl.connectors.iceberg.lending import Handed, Lending, handed
from rayetl.connectors.iceberg.places import in_bucket, local
from rayetl.connectors.places import split_key
from rayetl.connectors.s3.account import S3Account
from rayetl.connectors.s3.faults import Missing
from rayetl.connectors.s3.listing import stored
from rayetl.errors import Terminal
from rayetl.records import dataclass

_SHELVES = "rayetl.shelves"
"""The property of a catalog that holds its `Shelves`."""

_LENDING = "rayetl.lending"
"""The property of a catalog service that holds its `Lending`."""

_RECORDS = (".json", ".avro")
"""What the names of metadata files, manifests and their lists end with."""


@dataclass(frozen=True, slots=True)
class Shelves:
    """Where tables lie: on this machine, or in buckets of `account`, but for addresses for which `lent` has
    accounts, by what they begin with. What is written there is encrypted as `protection` says; faults become
    `fault`."""

    account: S3Account
    protection: tuple[tuple[str, str], ...]
    fault: type[Terminal]
    lent: tuple[tuple[str, S3Account], ...] = ()

    @property
    def properties(self) -> dict[str, Any]:
        """What a catalog is given to open its files so."""
        return {PY_IO_IMPL: f"{__name__}.{Files.__name__}", _SHELVES: self}

    def account_of(self, address: str) -> S3Account:
        """The account that opens an address, or all below it: of those that are lent the one that says most
        about it."""
        fitting = [(len(prefix), one) for prefix, one in self.lent if f"{address}/".startswith(prefix)]
        return max(fitting, key=lambda found: found[0])[1] if fitting else self.account

    def look(self, location: str) -> Listed:
        """A file as it is now. Raises `OSError` for one of this machine, `FileNotFoundError` and what the
        account raises for an object."""
        address = in_bucket(location)
        if address is None:
            path = local(location)
            status = os.stat(path)
            return Listed(path, status.st_size, status.st_mtime_ns)
        # Its first byte, because what is wrong with a request for nothing but the head, no service says.
        _, found = self.content(address, Range="bytes=0-0")
        bucket, key = split_key(address)
        size = found["ContentRange"].rpartition("/")[2]
        return stored(self.account_of(address), bucket, {**found, "Key": key, "Size": size})

    def content(self, address: str, **more: Any) -> tuple[bytes, dict[str, Any]]:
        """The bytes of an object, and all else of the answer. Raises `FileNotFoundError` and what the
        account raises."""
        bucket, key = split_key(address)
        try:
            account, doing = self.account_of(address), f"reading {address}"
            return account.content(doing, self.fault, Bucket=bucket, Key=key, **more)
        except Missing:
            raise FileNotFoundError(2, "there is no such object", address) from None

    def call(self, operation: str, doing: str, address: str, **more: Any) -> dict[str, Any]:
        """Ask the service about an object; see `S3Account.call`."""
        bucket, key = split_key(address)
        return self.account_of(address).call(operation, doing, self.fault, Bucket=bucket, Key=key, **more)


class Files(FileIO):
    """Opens files wherever their addresses say."""

    def __init__(self, properties: dict[str, Any]) -> None:
        super().__init__()
        self._here = PyArrowFileIO()
        self._shelves: Shelves = properties[_SHELVES]

    def new_input(self, location: str) -> InputFile:
        """See `FileIO`."""
        address = in_bucket(location)
        return self._here.new_input(location) if address is None else _Object(self._shelves, address)

    def new_output(self, location: str) -> OutputFile:
        """See `FileIO`."""
        address = in_bucket(location)
        return self._here.new_output(location) if address is None else _NewObject(self._shelves, address)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """See `FileIO`."""
        named = location if isinstance(location, str) else location.location
        address = in_bucket(named)
        if address is None:
            self._here.delete(named)
        else:
            self._shelves.call("delete_object", f"removing {address}", address)


class _Placed:
    """What files that are read and written have in common."""

    def __init__(self, shelves: Shelves, address: str) -> None:
        super().__init__(address)  # type: ignore[call-arg]
        self.shelves = shelves
        self.address = address

    def __len__(self) -> int:
        return self.shelves.look(self.address).size

    def exists(self) -> bool:
        """Whether there is such an object."""
        try:
            self.shelves.look(self.address)
        except FileNotFoundError:
            return False
        return True


class _Object(_Placed, InputFile):
    """An object that is read."""

    def open(self, seekable: bool = True) -> InputStream:
        """The object as it is now: records of the table at once, as the library reads them, and rows in
        ranges."""
        del seekable
        if self.address.endswith(_RECORDS):
            return io.BytesIO(self.shelves.content(self.address)[0])
        return self.shelves.look(self.address).open()


class _NewObject(_Placed, OutputFile):
    """An object that is written: by one request, once all of it is there."""

    def to_input_file(self) -> InputFile:
        """See `OutputFile`."""
        return _Object(self.shelves, self.address)

    def create(self, overwrite: bool = False) -> OutputStream:
        """See `OutputFile`. Nothing is there yet: each attempt at a commit gives its files names of their
        own."""
        del overwrite
        return _Sent(self)


class _Sent:
    """Bytes that become an object when it is closed without a fault."""

    def __init__(self, file: _NewObject) -> None:
        self._file = file
        self._bytes: io.BytesIO | None = io.BytesIO()

    def write(self, data: bytes) -> int:
        """Add bytes."""
        assert self._bytes is not None
        return self._bytes.write(data)

    def tell(self) -> int:
        """How many there are."""
        assert self._bytes is not None
        return self._bytes.tell()

    def close(self) -> None:
        """Send them."""
        given, self._bytes = self._bytes, None
        if given is not None:
            shelves, address = self._file.shelves, self._file.address
            protection = dict(shelves.protection)
            shelves.call("put_object", f"writing {address}", address, Body=given.getvalue(), **protection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._bytes = None
        self.close()


class OwnFiles:
    """Properties of a table do not decide how its files are opened."""

    properties: dict[str, Any]

    @property
    def shelves(self) -> Shelves:
        """Where its tables lie."""
        found: Shelves = self.properties[_SHELVES]
        return found

    def unwritable(self, table: Table) -> str | None:
        """Why the catalog lets nobody write into a table, in words; `None` if it does."""
        del table
        return None

    def _load_file_io(self, properties: Any = None, location: str | None = None) -> FileIO:
        del properties, location
        return Files(self.properties)


class Sql(OwnFiles, SqlCatalog):
    """See `SqlCatalog`."""


class Rest(OwnFiles, RestCatalog):
    """See `RestCatalog`. It is opened for one table, and hands out keys for the files of it, or none."""

    def __init__(self, lending: Lending, **properties: Any) -> None:
        self._handed: Handed = {}
        super().__init__("rayetl", **{**properties, _LENDING: lending})

    def asked(self, table: str, place: str) -> Handed:
        """What the service hands out with a table. One that is not there yet is asked for as its maker does,
        who alone knows its columns; nothing is made by that."""
        try:
            self.load_table(table)
        except NoSuchTableError:
            self.create_table_transaction(table, Schema(NestedField(1, "any", BooleanType())), place)
        return self._handed

    def _response_to_table(self, identifier_tuple: tuple[str, ...], table_response: TableResponse) -> Table:
        self._hear(table_response)
        return super()._response_to_table(identifier_tuple, table_response)

    def _response_to_staged_table(
        self, identifier_tuple: tuple[str, ...], table_response: TableResponse
    ) -> StagedTable:
        self._hear(table_response)
        return super()._response_to_staged_table(identifier_tuple, table_response)

    def _hear(self, answer: TableResponse) -> None:
        lending: Lending = self.properties[_LENDING]
        self._handed = handed(self.properties, answer)
        lent = tuple(lending.accounts(self._handed, answer.metadata.location))
        self.properties[_SHELVES] = replace(self.shelves, lent=lent)
