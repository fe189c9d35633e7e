"""The ledger of a target directory: one manifest for each committed epoch, each sealed and chained.

A run has to know all epochs, and a ledger grows with each. So every 32nd manifest names the epochs of the 32
before it, every 1,024th those of the 1,024 before it, and so on: a run reads the newest manifests back to
such a one, and then only those."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
class Known:
    """What a manifest says of those before it, so that they need not be read: the numbers of their epochs by
    mark, as far as the rows stand, and the seal of the manifest before all of these; `None` where that counts
    no more, since a later epoch replaced all rows, or where there is none."""

    epochs: tuple[tuple[str, int], ...]
    before: str | None


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
    known: Known | None = None
    seal: str = field(default="", compare=False)

    @property
    def epoch(self) -> Epoch:
        return Epoch(self.pipeline, self.load, self.key, self.run)

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
        if (known := document["known"]) is not None:
            epochs = tuple((str(mark), int(number)) for mark, number in known["epochs"])
            document["known"] = Known(epochs, known["before"])
        manifest = cls(**document, seal=seal)
        for file in manifest.files:
            _assert_inside(file.staged)
            _assert_inside(file.path)
        for name in manifest.removes:
            _assert_inside(name)
        return manifest

    def result(self, location: object, run: str) -> LoadResult:
        """What `run` reports of this epoch."""
        return LoadResult(
            load=self.load,
            type="files",
            location=str(location),
            mode=self.mode,
            status="committed" if run == self.run else "skipped",
            rows=self.rows,
            files=len(self.files),
            bytes=sum(file.bytes for file in self.files),
            seconds=self.seconds,
            epoch=self.key,
            run=self.run,
        )


STRIDE = 32
"""Every so many manifests one speaks for as many; of those, every so many for all between; and so on."""


def reach(number: int) -> int:
    """For how many epochs the manifest of that number speaks: for its own alone, or for all since the last
    one that speaks for as many."""
    length = 1
    while number % (length * STRIDE) == 0:
        length *= STRIDE
    return length


def way_back(head: int, published: int) -> Iterator[int]:
    """The numbers of the manifests that together speak for all epochs, newest first, and of all that are not
    published: of a thousand epochs, some sixty at most."""
    while head:
        yield head
        head -= reach(head) if head <= published else 1


ReadManifests = Callable[[Sequence[int]], Iterable[bytes | None]]
"""The manifests of these numbers, in order and not before they are wanted; `None` for what is missing."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a target knows of its epochs: the numbers by mark of those whose rows stand, and the manifests
    that say so, newest first. `published` is the number of the last one whose files are in place."""

    manifests: tuple[Manifest, ...] = ()
    published: int = 0
    standing: Mapping[str, int] = field(default_factory=dict)
    fetch: Callable[[int], Manifest] | None = None

    @property
    def head(self) -> int:
        return self.manifests[0].number if self.manifests else 0

    @property
    def seal(self) -> str:
        return self.manifests[0].seal if self.manifests else ""

    @property
    def unpublished(self) -> tuple[Manifest, ...]:
        """Oldest first."""
        return tuple(each for each in reversed(self.manifests) if each.number > self.published)

    def find(self, epoch: Epoch) -> Manifest | None:
        """The manifest of `epoch`, unless a later epoch of another key replaced all of its rows. Raises
        `LoadError` naming the file if it is damaged."""
        number = self.standing.get(epoch.mark)
        if number is None:
            return None
        found = next((each for each in self.manifests if each.number == number), None)
        if found is None:
            assert self.fetch is not None
            found = self.fetch(number)
        return found if found.is_of(epoch) else None

    @property
    def known(self) -> Known | None:
        """What the next manifest says of those before it."""
        length = reach(self.head + 1)
        if length == 1:
            return None
        last = self.head + 1 - length
        seals = {each.number: each.seal for each in self.manifests}
        epochs = tuple((mark, number) for mark, number in self.standing.items() if number > last)
        return Known(epochs, seals.get(last))

    @classmethod
    def follow(cls, head: int, published: int, place: object, read: ReadManifests) -> Ledger:
        """Go back from the manifest number `head` as far as is needed to know all epochs. Raises `LoadError`
        naming what is damaged in `place`."""

        def fetch(number: int) -> Manifest:
            return _intact(number, next(iter(read([number]))), place)

        manifests: list[Manifest] = []
        standing: dict[str, int] = {}
        wanted: str | None = None
        numbers = list(way_back(head, published))
        for number, data in zip(numbers, read(numbers), strict=False):
            manifest = _intact(number, data, place)
            if wanted not in (None, manifest.seal):
                later = manifest_name(manifests[-1].number)
                raise damaged(f"{place}/{later}", "it does not follow the manifest before it")
            manifests.append(manifest)
            standing.setdefault(manifest.epoch.mark, number)
            if manifest.replaces:
                break
            wanted = manifest.previous
            if manifest.known is not None and number <= published:
                for mark, earlier in manifest.known.epochs:
                    standing.setdefault(mark, earlier)
                wanted = manifest.known.before
            if wanted is None:
                break
        return cls(tuple(manifests), published, standing, fetch)

    @classmethod
    def read(cls, epochs: Path, marker: Path) -> Ledger:
        """Read and verify the ledger in `epochs`. Raises `LoadError` naming the damaged file."""
        # The marker first: a run at work meanwhile can only add manifests to those it speaks of.
        head = published = _read_marker(marker)
        while (epochs / manifest_name(head + 1)).exists():
            head += 1
        published = published or _read_marker(marker)
        if not published and head > 1:
            raise damaged(marker, "it is missing, though later work is there")
        return cls.follow(head, published, epochs, lambda numbers: _contents(epochs, numbers))


def manifest_name(number: int) -> str:
    return f"{number:06d}.json"


def _contents(epochs: Path, numbers: Sequence[int]) -> Iterator[bytes | None]:
    for number in numbers:
        path = epochs / manifest_name(number)
        try:
            yield path.read_bytes()
        except FileNotFoundError:
            yield None
        except IsADirectoryError as error:
            raise damaged(path, "it cannot be read") from error


def _intact(number: int, data: bytes | None, place: object) -> Manifest:
    name = f"{place}/{manifest_name(number)}"
    if data is None:
        raise damaged(name, "it is missing, though later work is there")
    try:
        manifest = Manifest.from_bytes(data)
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(name, str(error) if type(error) is ValueError else "it cannot be read") from error
    if manifest.number != number:
        raise damaged(name, f"it is the manifest of epoch {manifest.number}")
    return manifest


def _read_marker(marker: Path) -> int:
    try:
        return int(marker.read_bytes())
    except FileNotFoundError:
        return 0
    except (ValueError, IsADirectoryError) as error:
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
