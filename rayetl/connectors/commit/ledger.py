"""The ledger of a target directory: one manifest for each committed epoch, each sealed and chained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, field
from pathlib import Path, PurePosixPath
from typing import Any

from rayetl.connectors.base import Epoch, LoadResult
from rayetl.errors import LoadError
from rayetl.records import dataclass

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of an epoch: where it was staged, where it belongs (both relative, `/` between the parts),
    its size in bytes and its rows if they could be counted."""

    staged: str
    path: str
    bytes: int
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The record that makes an epoch committed. `removes` lists the files it replaces in place;
    `replaces` says that all earlier rows are gone. `previous` is the seal of the manifest before it."""

    number: int
    pipeline: str
    load: str
    key: str
    run: str
    attempt: str
    mode: str
    rows: int
    files: tuple[DataFile, ...]
    replaces: bool
    committed_at: str
    seconds: float
    previous: str
    removes: tuple[str, ...] = ()
    seal: str = field(default="", compare=False)

    def is_of(self, epoch: Epoch) -> bool:
        return (self.pipeline, self.load, self.key) == (epoch.pipeline, epoch.load, epoch.key)

    def to_bytes(self) -> bytes:
        body = asdict(self)
        del body["seal"]
        return json.dumps({"format": _FORMAT, **body, "seal": _seal(body)}, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Raises `ValueError` for anything but an intact manifest."""
        document = json.loads(data)
        if not isinstance(document, dict) or document.pop("format", None) != _FORMAT:
            raise ValueError("it is not a manifest that this version of rayetl can read")
        seal = document.pop("seal", None)
        if seal != _seal(document):
            raise ValueError("its checksum does not fit its content")
        document["files"] = tuple(DataFile(**file) for file in document["files"])
        document["removes"] = tuple(document["removes"])
        manifest = cls(**document, seal=seal)
        for file in manifest.files:
            _assert_inside(file.staged)
            _assert_inside(file.path)
        for name in manifest.removes:
            _assert_inside(name)
        return manifest

    def result(self, location: object, *, skipped: bool) -> LoadResult:
        """What a run reports of this epoch."""
        return LoadResult(
            load=self.load,
            type="files",
            location=str(location),
            mode=self.mode,
            status="skipped" if skipped else "committed",
            rows=self.rows,
            files=len(self.files),
            bytes=sum(file.bytes for file in self.files),
            seconds=self.seconds,
            epoch=self.key,
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """All manifests of a target, oldest first; `published` is the number of the last one in place."""

    manifests: tuple[Manifest, ...]
    published: int

    @property
    def head(self) -> int:
        return len(self.manifests)

    @property
    def seal(self) -> str:
        return self.manifests[-1].seal if self.manifests else ""

    @property
    def unpublished(self) -> tuple[Manifest, ...]:
        return self.manifests[self.published :]

    def find(self, epoch: Epoch) -> Manifest | None:
        """The manifest of `epoch`, unless a later epoch of another key replaced all of its rows."""
        for manifest in reversed(self.manifests):
            if manifest.is_of(epoch):
                return manifest
            if manifest.replaces:
                return None
        return None

    @classmethod
    def read(cls, epochs: Path, marker: Path) -> Ledger:
        """Read and verify the whole ledger. Raises `LoadError` naming the damaged file."""
        # The marker first: a run at work meanwhile can only add manifests to those it speaks of.
        published = _read_marker(marker)
        manifests: list[Manifest] = []
        for path in sorted(_manifest_paths(epochs)):
            manifests.append(follow(manifests, path.name, epochs, path.read_bytes))
        published = published or _read_marker(marker)
        if published > len(manifests) or (not published and len(manifests) > 1):
            lost = epochs / manifest_name(published) if published else marker
            raise damaged(lost, "it is missing, though later work is there")
        return cls(tuple(manifests), published)


def manifest_name(number: int) -> str:
    return f"{number:06d}.json"


def _manifest_paths(epochs: Path) -> Iterable[Path]:
    return (path for path in epochs.iterdir() if path.suffix == ".json") if epochs.is_dir() else ()


def follow(before: Sequence[Manifest], name: str, epochs: object, read: Callable[[], bytes]) -> Manifest:
    """The manifest called `name`, which comes after those in `before`. Raises `LoadError` naming what is
    damaged in the place `epochs`."""
    number, previous = len(before) + 1, before[-1].seal if before else ""
    if name != manifest_name(number):
        raise damaged(f"{epochs}/{manifest_name(number)}", "it is missing")
    try:
        manifest = Manifest.from_bytes(read())
    except (ValueError, TypeError, KeyError, OSError) as error:
        reason = str(error) if type(error) is ValueError else "it cannot be read"
        raise damaged(f"{epochs}/{name}", reason) from error
    if manifest.number != number or manifest.previous != previous:
        raise damaged(f"{epochs}/{name}", "it does not follow the manifest before it")
    return manifest


def _read_marker(marker: Path) -> int:
    try:
        return int(marker.read_bytes())
    except FileNotFoundError:
        return 0
    except (ValueError, OSError) as error:
        raise damaged(marker, "it does not hold a number") from error


def damaged(path: object, reason: str) -> LoadError:
    """What is said of a file of the ledger that is not as it was written."""
    return LoadError(
        f"the ledger of this load is damaged: {path}: {reason}",
        hint="restore that file from a backup; without it nobody can tell which epochs are committed, "
        "and running on would lose rows or load them twice",
    )


def _seal(body: dict[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _assert_inside(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"it names a file outside its directory: {name!r}")
