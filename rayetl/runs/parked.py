"""Finished splits wait on disk, beside their targets, until one commit takes them all.

A split is put through the plan into directories of its own, named by a token. When its files are durable, a
record of it is linked into place, and whoever links first has done the split; files that no record names are
nobody's. Run again, a run finds the records of its epoch and does the other splits only. Records speak of
one layout: the same plan, the same input, cut in the same places; rows of a service also of the same moment.

    state/parked/<epoch>/<layout>/000007.json           the record of a split
    state/parked/<epoch>/<layout>/000007-<token>/       its refused rows
    out/.daily.parked-<epoch>/<layout>/000007-<token>/  its files of one load
    state/parked/<epoch>/<layout>/load-<id>/000007-<token>/  its rows of a load into a store, to be poured
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from rayetl.connectors.base import FilesScan, FilesTarget, SpoolTarget, Target
from rayetl.connectors.commit.durable import sync, write_synced
from rayetl.connectors.commit.layout import data_files
from rayetl.connectors.commit.parts import link_parts
from rayetl.connectors.commit.publish import remove_tree
from rayetl.connectors.commit.session import FORGOTTEN
from rayetl.engines.base import Engine, Job, Measured, TableFinding
from rayetl.errors import BooksError, LoadError
from rayetl.failpoints import failpoint
from rayetl.observability.progress import ProgressListener
from rayetl.observability.report import SplitsReport
from rayetl.plan.nodes import Plan
from rayetl.plan.splits import Splits
from rayetl.records import dataclass

Files = Mapping[str, Sequence[tuple[str, int]]]

ABANDONED = 60.0
"""Seconds without a change after which nobody works at a split any more; Ray ends orphaned tasks after 5."""

_TOKEN = re.compile(r"[0-9]{6,}-[0-9a-f]{8}")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tells what a disk refuses, as one that is full."""
    try:
        yield
    except OSError as error:
        name = error.filename2 or error.filename
        where = f" ({os.fsdecode(name)})" if name else ""
        raise LoadError(
            f"{socket.gethostname()} cannot set down a finished split: {error.strerror or error}{where}",
            hint="mend the cause and run again: what is finished is kept, nothing was committed",
        ) from error


@dataclass(frozen=True, slots=True)
class Record:
    """A finished split: what was counted, and the files of each load with their sizes in bytes."""

    number: int
    token: str
    measured: Measured
    files: Files


@dataclass(frozen=True, slots=True)
class Parking:
    """The finished splits of one run. `records` is the directory of its epoch; the rows of the loads `spools`
    are set down for a store."""

    records: Path
    layout: str
    plan: Plan
    splits: Splits
    targets: Mapping[str, FilesTarget]
    spools: tuple[str, ...] = ()

    @classmethod
    @_told()
    def of(cls, records: Path, job: Job, splits: Splits) -> Parking:
        """The parking of a job that is cut so; its directories are made, and those of epochs that nobody
        came back to are removed."""
        files = {load: target for load, target in job.targets.items() if isinstance(target, FilesTarget)}
        spools = tuple(load for load in job.targets if load not in files)
        parking = cls(records, _layout(job.plan, splits), job.plan, splits, files, spools)
        for place in parking._places():
            place.mkdir(parents=True, exist_ok=True)
            sync(place.parent)
        for epoch in records.parent.iterdir():
            if _is_quiet(epoch, FORGOTTEN):
                _remove(epoch)
        return parking

    @classmethod
    def left(cls, records: Path, plan: Plan, splits: Splits) -> Measured | None:
        """What was counted, where an attempt that ended after its commit has left all records."""
        parking = cls(records, _layout(plan, splits), plan, splits, {})
        found = parking.kept()
        if len(found) < len(splits.parts):
            return None
        total = added([found[split.number] for split in splits.parts], splits.streaming)
        return replace(total, splits=SplitsReport(len(found), len(found)))

    def _places(self) -> Iterable[Path]:
        return self._own, *map(self._of_load, self._loads)

    @property
    def _loads(self) -> tuple[str, ...]:
        return (*self.targets, *self.spools)

    @property
    def _own(self) -> Path:
        return self.records.absolute() / self.layout

    def _of_load(self, load: str) -> Path:
        target = self.targets.get(load)
        return self._own / f"load-{load}" if target is None else Path(target.parking, self.layout)

    @_told()
    def kept(self) -> dict[int, Record]:
        """The splits that are finished, by number; a record whose files are not all there is taken back."""
        found = {}
        for path in sorted(self._own.glob("*.json")):
            record = self._read(path)
            if self._is_whole(record):
                found[record.number] = record
            else:
                path.unlink()
        return found

    def clear(self, kept: Mapping[int, Record]) -> None:
        """Remove what is left of splits that were not finished, unless somebody may still be at work."""
        tokens = {record.token for record in kept.values()}
        for place in self._places():
            for left in place.iterdir():
                if _TOKEN.fullmatch(left.name) and left.name not in tokens and _is_quiet(left, ABANDONED):
                    _remove(left)

    def record(self, number: int) -> Record:
        """A split that is finished."""
        path = self._own / f"{number:06d}.json"
        with _shared(path):
            return self._read(path)

    @_told()
    def do(self, number: int, engine: Engine, listener: ProgressListener) -> Measured:
        """Put a split through the plan and record it; gives what was counted."""
        split, name = self.splits.parts[number], f"{number:06d}-{secrets.token_hex(4)}"
        for place in self._places():
            with _shared(place):
                (place / name).mkdir()
        targets: dict[str, Target] = {
            load: replace(target, directory=str(self._of_load(load) / name))
            for load, target in self.targets.items()
        }
        targets |= {load: SpoolTarget(str(self._of_load(load) / name)) for load in self.spools}
        plan = self.splits.plan_of(self.plan, split)
        measured = engine.run(Job(plan, targets, self._own / name, listener))
        failpoint("split.staged")
        files = {load: _made_durable(self._of_load(load) / name) for load in targets}
        _made_durable(self._own / name)
        self._write(Record(number, name, measured, files))
        failpoint("split.recorded")
        return measured

    def spooled(self, record: Record) -> Mapping[str, Path]:
        """Where the rows of a finished split wait to be poured, by load."""
        return {load: self._of_load(load) / record.token for load in self.spools}

    @_told()
    def gather(self, kept: int) -> Measured:
        """Link the files of all splits into the targets and add up what was counted."""
        records = self.kept()
        if missing := len(self.splits.parts) - len(records):
            raise LoadError(
                f"{missing} finished splits are not there any more",
                hint="run again: they are done anew, and nothing was committed",
            )
        ordered = [records[split.number] for split in self.splits.parts]
        measured = added(ordered, self.splits.streaming)
        for load, target in self.targets.items():
            places = [
                (self._of_load(load) / record.token, record.measured.staged[load]) for record in ordered
            ]
            link_parts(target.directory, places)
        return replace(measured, splits=SplitsReport(len(ordered), kept))

    def forget(self) -> None:
        """Remove everything; a worker of a dead run may still be adding to it."""
        for place in (self.records, *(Path(target.parking) for target in self.targets.values())):
            _remove(place)

    def _is_whole(self, record: Record) -> bool:
        if not set(self._loads) <= set(record.files):
            return False
        try:
            return all(
                (self._of_load(load) / record.token / name).stat().st_size == size
                for load in self._loads
                for name, size in record.files[load]
            )
        except FileNotFoundError:
            return False

    def _write(self, record: Record) -> None:
        measured = record.measured
        document = {
            "number": record.number,
            "token": record.token,
            "files": record.files,
            "read": measured.read,
            "rows": measured.rows,
            "refused": measured.refused,
            "failing": measured.failing,
            "tables": {
                node: [[finding.observed, finding.failed] for finding in found]
                for node, found in measured.tables.items()
            },
            "staged": measured.staged,
            "rejects": {
                node: [path.relative_to(self._own / record.token).as_posix() for path in paths]
                for node, paths in measured.rejects.items()
            },
        }
        draft = self._own / f"{record.token}.draft"
        write_synced(draft, orjson.dumps(document))
        # Another worker may have been faster: a split that was given out twice counts once.
        with contextlib.suppress(FileExistsError):
            os.link(draft, self._own / f"{record.number:06d}.json")
        draft.unlink()
        sync(self._own)

    def _read(self, path: Path) -> Record:
        document = orjson.loads(path.read_bytes())
        token = document["token"]
        measured = Measured(
            read=document["read"],
            rows=document["rows"],
            refused=document["refused"],
            failing={node: tuple(counts) for node, counts in document["failing"].items()},
            tables={
                node: tuple(TableFinding(*finding) for finding in found)
                for node, found in document["tables"].items()
            },
            staged=document["staged"],
            rejects={
                node: [self._own / token / name for name in names]
                for node, names in document["rejects"].items()
            },
        )
        files = {load: [(name, size) for name, size in names] for load, names in document["files"].items()}
        return Record(document["number"], token, measured, files)


def added(records: Sequence[Record], streaming: frozenset[str]) -> Measured:
    """What was counted in all splits. Nodes that do not stream were counted in each of them, alike."""
    counts = [record.measured for record in records]
    first = counts[0]
    for each in counts[1:]:
        for node, rows in first.rows.items():
            if node not in streaming and each.rows[node] != rows:
                raise BooksError(
                    f"{node} had {rows} rows in one split and {each.rows[node]} in another",
                    hint="did the input change during the run? nothing was committed; run again",
                )

    def total(of: Sequence[Mapping[str, int]]) -> dict[str, int]:
        return {
            node: sum(each[node] for each in of) if node in streaming else rows
            for node, rows in of[0].items()
        }

    def total_of(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        return tuple(map(sum, zip(*rows, strict=True)))

    return Measured(
        read=total([each.read for each in counts]),
        rows=total([each.rows for each in counts]),
        refused=total([each.refused for each in counts]),
        failing={
            node: total_of([each.failing[node] for each in counts]) if node in streaming else failing
            for node, failing in first.failing.items()
        },
        tables=first.tables,
        staged={load: sum(each.staged[load] for each in counts) for load in first.staged},
        rejects={
            node: [path for each in (counts if node in streaming else [first]) for path in each.rejects[node]]
            for node in first.rejects
        },
    )


def _is_quiet(directory: Path, seconds: float) -> bool:
    """Whether nothing was made or written in it for so long."""
    try:
        changed = max(place.stat().st_mtime for place in (directory, *directory.rglob("*")))
    except OSError:
        return False
    return time.time() - changed > seconds


def _remove(directory: Path) -> None:
    with contextlib.suppress(OSError):
        remove_tree(directory)


@contextlib.contextmanager
def _shared(path: Path) -> Iterator[None]:
    """Tells that another process of the run has made what is not here: it did so on a disk of its own."""
    try:
        yield
    except FileNotFoundError as error:
        raise LoadError(
            f"{socket.gethostname()} has no {path}, which another node of the cluster has just made",
            hint="`state` and the targets of loads must be directories that all nodes share, as NFS; choose "
            "such ones and run again, nothing was committed",
        ) from error


def _made_durable(directory: Path) -> list[tuple[str, int]]:
    """Force everything below `directory` to disk; gives the files with their sizes."""
    files = list(data_files(directory))
    for name in files:
        sync(directory / name)
    sync(directory)
    for below, inside, _ in os.walk(directory):
        for each in inside:
            sync(Path(below, each))
    sync(directory.parent)
    return [(name.as_posix(), (directory / name).stat().st_size) for name in files]


def _layout(plan: Plan, splits: Splits) -> str:
    identities = [(source.id, source.source.identity(source.scan)) for source in plan.sources]
    cuts = [
        (split.scan.first_file, [(file.path, file.first, file.count) for file in split.scan.files])
        for split in splits.parts
        if isinstance(split.scan, FilesScan)
    ]
    said = repr((plan.fingerprint, sorted(identities), splits.moment, cuts))
    return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()[:16]
