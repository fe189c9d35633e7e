"""Small files of a Delta table put together.

The library can do that too, but lets a second compaction of the same files through: each row is there twice
then. Here the commit is tried once on the version that was looked at, as that of a load is.
"""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.base import InputFile
from rayetl.connectors.delta.source import spelled
from rayetl.connectors.delta.table import DataFile, DeltaVersion
from rayetl.connectors.delta.writing import figures
from rayetl.connectors.lake.session import TRIES
from rayetl.connectors.lake.stats import FileStats
from rayetl.connectors.lake.upkeep import Compaction
from rayetl.errors import CommitConflict, LoadError
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.records import dataclass

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa, pq = lazily("pyarrow"), lazily("pyarrow.parquet")

OPERATION = "rayetl.operation"
"""The key of what a commit is here: to the library, all commits of files are a WRITE."""

_TARGET = "delta.targetFileSize"
_DEFAULT = 100_000_000

_GROUP_ROWS, _GROUP_BYTES = 1_000_000, 128 << 20
"""A group of rows ends at the first of them, the bytes as they are in memory."""


@dataclass(frozen=True, slots=True)
class _Bin:
    """Files of one partition that become one, whose name and size are known once it is written."""

    files: Sequence[DataFile]
    name: str = ""
    size: int = 0
    figures: str = ""


def compact(found: DeltaVersion, target_size: int | None) -> Compaction:
    """Put small files together, up to about `target_size` bytes. Raises `CommitConflict` where another writer
    changed the same files, what the library raises, and `OSError`."""
    chosen = [*_bins(found.files(), target_size or _wanted(found))]
    old = [file for files in chosen for file in files]
    paths = [file.path for file in old]
    sources = dict(zip(paths, found.place.inputs(paths), strict=True))
    bins = [_written(found, files, [sources[file.path] for file in files]) for files in chosen]
    version = _committed(found, bins) if bins else found.version
    sizes = sum(file.size for file in old), sum(each.size for each in bins)
    return Compaction(found.place.path, version, len(old), sizes[0], len(bins), sizes[1])


def _wanted(found: DeltaVersion) -> int:
    said = found.table.metadata().configuration.get(_TARGET, "")
    return int(said) if said.isdigit() else _DEFAULT


def _bins(files: Iterable[DataFile], target_size: int) -> Iterator[list[DataFile]]:
    """The files to put together: smaller ones of the same partition, as many as make up the size."""
    partitions: dict[tuple[str | None, ...], list[DataFile]] = defaultdict(list)
    for file in files:
        if file.size < target_size:
            partitions[tuple(spelled(value) for _, value in file.partition)].append(file)
    for small in partitions.values():
        chosen: list[DataFile] = []
        size = 0
        for file in small:
            if size + file.size > target_size:
                yield from [chosen] if len(chosen) > 1 else []
                chosen, size = [], 0
            chosen.append(file)
            size += file.size
        yield from [chosen] if len(chosen) > 1 else []


# Rows


def _written(found: DeltaVersion, files: Sequence[DataFile], sources: Iterable[InputFile | OSError]) -> _Bin:
    name = f"part-00000-{secrets.token_hex(16)}.zstd.parquet"
    columns = pa.schema([field for field in found.arrow if field.name not in found.partition_by])
    footers: list[Any] = []
    with found.place.create(name) as stream:
        with pq.ParquetWriter(stream, columns, compression="zstd", metadata_collector=footers) as writer:
            for group in _groups(_rows(found, sources, columns)):
                writer.write_table(group)
        size = stream.tell()
    failpoint("delta.rewritten")
    return _Bin(files, name, size, figures(FileStats.of(footers[0])))


def _rows(
    found: DeltaVersion, sources: Iterable[InputFile | OSError], columns: pa.Schema
) -> Iterator[pa.Table]:
    """The rows of files as the columns of the table; those that a file does not have are NULL."""
    for file in sources:
        if isinstance(file, OSError):
            raise file
        with _opened(file) as opened:
            there = opened.schema_arrow.names
            if strange := set(there) - {*columns.names, *found.partition_by}:
                raise ValueError(
                    f"its file {file.path} has a column {min(strange)!r}, which the table has not"
                )
            for batch in opened.iter_batches(columns=[name for name in columns.names if name in there]):
                yield pa.table(
                    [
                        batch.column(field.name).cast(field.type)
                        if field.name in there
                        else pa.nulls(batch.num_rows, field.type)
                        for field in columns
                    ],
                    schema=columns,
                )


def _opened(file: InputFile) -> pq.ParquetFile:
    source = file.path if file.store is None else file.open()
    return pq.ParquetFile(source, coerce_int96_timestamp_unit="us")


def _groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    rows = held = 0
    for table in tables:
        waiting.append(table)
        rows, held = rows + table.num_rows, held + table.nbytes
        if rows >= _GROUP_ROWS or held >= _GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, rows, held = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)


# The decision


def _committed(found: DeltaVersion, bins: Sequence[_Bin]) -> int:
    """The version that has the new files. Others may add files meanwhile; new ones that came to nothing are
    left to a vacuum."""
    from deltalake import CommitProperties
    from deltalake.exceptions import CommitFailedError

    told = CommitProperties(max_commit_retries=0, custom_metadata={OPERATION: "OPTIMIZE"})
    old, new = {file.named for each in bins for file in each.files}, {each.name for each in bins}
    for _ in range(TRIES):
        failpoint("delta.compacting")
        try:
            found.table.create_write_transaction(
                [*_actions(bins)],
                "append",
                found.table.schema(),
                list(found.partition_by),
                commit_properties=told,
            )
            return found.version + 1
        except CommitFailedError:
            now = DeltaVersion.open(found.place, LoadError)
            there = set() if now is None else {file.named for file in now.files()}
            if now is not None and new <= there:
                # The answer to the commit was lost, and the library's own retry met it.
                return now.version
            if now is None or now.unwritable() or not old <= there:
                break
            found = now
    raise CommitConflict(
        f"another writer changed files of the Delta table {found.place.path} at the same moment",
        hint="nothing was changed here; run it again",
    )


def _actions(bins: Sequence[_Bin]) -> Iterator[Any]:
    from deltalake.transaction import AddAction, RemoveAction

    now = int(time.time() * 1000)
    for each in bins:
        partition = {name: spelled(value) for name, value in each.files[0].partition}
        yield AddAction(each.name, each.size, partition, now, False, each.figures)
        for file in each.files:
            yield RemoveAction(file.named, False, now, file.size, partition)
