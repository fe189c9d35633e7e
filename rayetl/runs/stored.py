"""Stored source records as files that stand in for the source they came from."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import polars as pl

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.formats import source_records
from rayetl.connectors.formats.options import CsvOptions, JsonOptions
from rayetl.connectors.listing import partition_of
from rayetl.errors import RayetlError, Terminal
from rayetl.records import dataclass

Partition = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """A scan of stored records. The first record of each of its files is the one at `starts` among them."""

    scan: FilesScan
    starts: Sequence[int]


def stored(scan: FilesScan, letters: Iterable[pl.DataFrame], directory: Path) -> Stored:
    """The records of `letters`, which come some at a time, to be read in that order, with the schema and
    options of `scan` and with the values that the directories of their files spelled.

    Raises `RayetlError` for a record that is not read as the one record that it was.
    """
    encoding = getattr(scan.options, "encoding", None) or "UTF-8"
    scan = _as_text(scan)
    files: list[InputFile] = []
    starts: list[int] = []
    try:
        directory.mkdir()
        for start, partition, alike in _alike(scan, letters):
            records = [_utf8(record, encoding) for record in alike["record"]]
            for first, part in _halved(scan, records, alike["id"], directory / "tried"):
                path = directory / f"{len(files):06d}"
                files.append(replace(_written(part, path), partition=partition))
                starts.append(start + first)
    except OSError as error:
        raise Terminal(
            f"the records cannot be set down in {directory.parent}: {error.strerror}",
            hint="see to its disk, or let TMPDIR name another place; nothing was loaded",
        ) from error
    return Stored(replace(scan, files=tuple(files), first_file=0), starts)


def _as_text(scan: FilesScan) -> FilesScan:
    """The scan as it reads records that stand behind one another: without headers, each ended by a line feed
    whatever ended it before, and in UTF-8, since other encodings have line feeds of several bytes."""
    changed = {"encoding": "UTF-8", "line_sep": "\n"}
    if isinstance(scan.options, CsvOptions):
        return replace(scan, options=scan.options.model_copy(update={**changed, "header": False}))
    options = scan.options if isinstance(scan.options, JsonOptions) else JsonOptions()
    return replace(scan, format="json", options=options.model_copy(update=changed))


def _utf8(record: bytes, encoding: str) -> bytes:
    """A record in UTF-8; one that was in it stays as it is, with what is no text in it."""
    record = record.removesuffix(b"\n")
    if codecs.lookup(encoding).name == "utf-8":
        return record
    return record.decode(encoding, "replace").encode("utf-8", "replace")


def _alike(scan: FilesScan, letters: Iterable[pl.DataFrame]) -> Iterator[tuple[int, Partition, pl.DataFrame]]:
    """Letters that follow one another and share a partition, each time with the place of the first."""
    names = [name for name, _ in scan.files[0].partition] if scan.files else []
    before = 0
    for some in letters:
        spelled = {file: _partition(names, file) for file in some["file"].unique()}
        start = 0
        for partition, group in groupby(some["file"], spelled.__getitem__):
            height = len(list(group))
            yield before + start, partition, some.slice(start, height)
            start += height
        before += some.height


def _partition(names: Sequence[str], file: str) -> Partition:
    """The values of partition columns that the directories of `file` spell."""
    found = dict(partition_of(part) for part in file.split("/")[:-1] if "=" in part)
    if lacking := [name for name in names if name not in found]:
        raise RayetlError(
            f"records of {file} have no value for {lacking[0]}, by which the source is partitioned now",
            hint="let the source read the directories that the records are from, or choose others by id",
        )
    return tuple((name, found[name]) for name in names)


def _halved(
    scan: FilesScan, records: Sequence[bytes], ids: pl.Series, path: Path
) -> Iterator[tuple[int, Sequence[bytes]]]:
    """`records` in parts that can stand in one file, each with the place of its first: all of them, where no
    record changes how the next one is read (one with an open quote does, and a whole JSON document)."""
    alone = isinstance(scan.options, JsonOptions) and scan.options.multi_line
    waiting = [(0, len(records))]
    while waiting:
        start, end = waiting.pop()
        part = records[start:end]
        if end - start == 1 or not alone:
            found = list(source_records(scan, _written(part, path)))
            if len(found) == len(part) and (len(part) == 1 or found == part):
                yield start, part
                continue
        if end - start == 1:
            raise RayetlError(
                f"the record of the dead letter {ids[start]} is read as {len(found)} records now",
                hint="were the options of the source changed? change them back, or choose others by id",
            )
        middle = (start + end) // 2
        waiting += [(middle, end), (start, middle)]


def _written(records: Sequence[bytes], path: Path) -> InputFile:
    """A file of these records. It begins with the mark that readers take away, so that they leave one that
    the first record has; it ends without a line feed, which would be part of a field with an open quote."""
    path.write_bytes(codecs.BOM_UTF8 + b"\n".join(records))
    status = path.stat()
    return InputFile(str(path), status.st_size, status.st_mtime_ns)
