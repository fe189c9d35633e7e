"""The versions of a table that no catalog service keeps: files in its directory `metadata`.

    v7.metadata.json     the table at version 7
    version-hint.text    7, or less: where to begin to look for the newest version

Who makes the file of the next version has committed. Only then is the hint written, so it may lag behind, be
missing, or wrong.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rayetl.connectors.commit.durable import sync_new_directories, write_synced
from rayetl.connectors.places import split_key
from rayetl.connectors.s3.faults import Precondition
from rayetl.connectors.s3.listing import objects
from rayetl.errors import RunError
from rayetl.failpoints import failpoint

if TYPE_CHECKING:
    from rayetl.connectors.iceberg.files import Shelves

_HINT = "version-hint.text"
ENDINGS = {"none": ".metadata.json", "gzip": ".gz.metadata.json", "of old": ".metadata.json.gz"}
"""How the name of a version's file ends, by its codec; the first that is there counts."""

_VERSION = re.compile(r"v(\d+)\.(?:gz\.metadata\.json|metadata\.json(?:\.gz)?)")


def number_of(name: str) -> int:
    """The version that a file is of, 0 for another file."""
    found = _VERSION.fullmatch(name)
    return 0 if found is None else int(found[1])


class Versions(ABC):
    """The directory `metadata` of a table. What cannot be read or written raises `OSError`, on S3 what the
    account raises."""

    @abstractmethod
    def names(self, beginning: str) -> Iterable[str]:
        """The names of its files, at least of those that begin so; none where there is no directory."""

    @abstractmethod
    def of(self, version: int) -> str | None:
        """The name of the file of a version."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """What a file holds. Raises `FileNotFoundError`."""

    @abstractmethod
    def make(self, name: str, data: bytes, *, first: bool) -> None:
        """Make a file that is still there after a power cut; `first`, if it makes the table. Raises
        `FileExistsError` where somebody was faster."""

    @abstractmethod
    def write_hint(self, version: int) -> None:
        """Put a hint in the place of the one that is there."""

    def hint_at(self, version: int) -> None:
        """Write the hint, if it is not ahead already and can be written: nothing depends on it."""
        with contextlib.suppress(OSError, RunError):
            if self.hinted() < version:
                self.write_hint(version)

    def hinted(self) -> int:
        """The version of the hint, 0 where there is none."""
        try:
            return int(self.read(_HINT))
        except (FileNotFoundError, ValueError):
            return 0

    def newest(self) -> str | None:
        """The name of the newest version's file, `None` where there is no table."""
        version = self.hinted()
        name = self.of(version) if version > 0 else None
        if name is None:
            version = max(map(number_of, self.names("v")), default=0)
            name = self.of(version)
        while (later := self.of(version + 1)) is not None:
            version, name = version + 1, later
        return name


class Directory(Versions):
    """On this machine, below `warehouse`."""

    def __init__(self, path: Path, warehouse: Path) -> None:
        self._path = path
        self._warehouse = warehouse

    def names(self, beginning: str) -> Iterable[str]:
        del beginning
        try:
            return os.listdir(self._path)
        except FileNotFoundError:
            return ()

    def of(self, version: int) -> str | None:
        names = (f"v{version}{ending}" for ending in ENDINGS.values())
        return next((name for name in names if (self._path / name).exists()), None)

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def make(self, name: str, data: bytes, *, first: bool) -> None:
        if first:
            self._path.mkdir(parents=True, exist_ok=True)
        # Not a name that Iceberg takes for a table's, and one that its `remove_orphan_files` clears.
        written = self._path / f"{uuid.uuid4()}.json.temp"
        try:
            write_synced(written, data)
            failpoint("iceberg.version_written")
            os.link(written, self._path / name)
            failpoint("iceberg.version_linked")
        finally:
            written.unlink(missing_ok=True)
        # A namespace may be a link to elsewhere.
        is_new = first and self._warehouse in self._path.parents
        sync_new_directories(self._path, self._warehouse.parent if is_new else self._path)

    def write_hint(self, version: int) -> None:
        written = self._path / f"{uuid.uuid4()}-version-hint.temp"
        written.write_text(str(version))
        # Hadoop would take the sum that it keeps of its own hint for that of this one.
        (self._path / f".{_HINT}.crc").unlink(missing_ok=True)
        written.replace(self._path / _HINT)


class Prefix(Versions):
    """In a bucket, at `address`."""

    def __init__(self, address: str, shelves: Shelves) -> None:
        self._address = address
        self._shelves = shelves

    def names(self, beginning: str) -> Iterable[str]:
        bucket, key = split_key(f"{self._address}/{beginning}")
        for found in objects(self._shelves.account, bucket, key, self._shelves.fault):
            yield str(found["Key"]).rpartition("/")[2]

    def of(self, version: int) -> str | None:
        there = set(self.names(f"v{version}."))
        names = (f"v{version}{ending}" for ending in ENDINGS.values())
        return next((name for name in names if name in there), None)

    def read(self, name: str) -> bytes:
        return self._shelves.content(f"{self._address}/{name}")[0]

    def make(self, name: str, data: bytes, *, first: bool) -> None:
        del first
        try:
            self._put(name, data, IfNoneMatch="*")
        except Precondition as error:
            raise FileExistsError(errno.EEXIST, "somebody was faster", f"{self._address}/{name}") from error

    def write_hint(self, version: int) -> None:
        self._put(_HINT, str(version).encode())

    def _put(self, name: str, data: bytes, **more: str) -> None:
        address, protection = f"{self._address}/{name}", dict(self._shelves.protection)
        self._shelves.call("put_object", f"writing {address}", address, Body=data, **protection, **more)
