"""Rows put into the directories of their partitions, in memory that grows with neither rows nor partitions.

A writer of many files at a time holds some rows of each. That is the quickest way as long as partitions are
few. From the batch on that brings too many, rows are sorted by partition, as many as memory is set apart for,
and set down beside the files; when the last has come, the partitions are written one after the other, each as
a load without partitions is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from functools import partial
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import polars as pl

from rayetl.connectors.feeding import Feed
from rayetl.connectors.listing import NULL_PARTITION
from rayetl.connectors.scanning import scan
from rayetl.errors import RayetlError
from rayetl.lazy import lazily
from rayetl.names import PREFIX
from rayetl.records import dataclass

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import ipc
else:
    pa = lazily("pyarrow")
    ipc = lazily("pyarrow.ipc")

MEMORY = 64 * 2**20
"""Bytes of rows that wait before they are set down, and of partitions that are written together."""

OPEN_FILES = 128
"""How many partitions may be written at a time; beyond that Polars makes each piece of one a file."""

_OPEN_MEMORY = 4
_TOGETHER = 64
_MORSEL = 8 * 2**20
_COUNT = PREFIX + "count"
_SAFE = " !$&'()+,;@-._~"

Values = tuple[object, ...]
Part = tuple[Values, pl.LazyFrame, int]
"""A partition: the values of its keys, its rows, and about how many bytes these are."""


@dataclass(slots=True)
class Partitions:
    """The rows of one load below a directory. `keys` are the columns whose values name directories, with the
    names that they have there; they are not in the files. `into` makes a lazy sink for the rows of one
    partition, `at_once`, which there may not be, one for the rows of all that holds `piece` rows of each."""

    directory: str
    keys: Mapping[str, str]
    into: Callable[[str, pl.LazyFrame], pl.LazyFrame]
    at_once: Callable[[pl.LazyFrame], pl.LazyFrame] | None
    piece: int
    _seen: set[Values] = field(default_factory=set)
    _widest: float = 0.0
    _many: bool = False
    _over: bool = False
    _writer: Feed | None = None
    _waiting: list[pl.DataFrame] = field(default_factory=list)
    _bytes: int = 0
    _spool: _Spool | None = None

    def take(self, rows: pl.DataFrame) -> None:
        """Take some rows, in the order they are to have within their partition. Raises what the writer of
        those before met."""
        if rows.is_empty() or self._over:
            return
        if self.at_once is not None and self._are_few(rows):
            if self._writer is None:
                self._writer = _writer(self.at_once, rows.schema)
            if not self._writer.take(rows):
                raise RayetlError("the writer of partitions ended before its rows did")
            return
        self._close_writer()
        self._waiting.append(rows)
        self._bytes += int(rows.estimated_size())
        if self._bytes > MEMORY:
            self._set_down()

    def finish(self) -> None:
        """Write all that was taken."""
        self._close_writer()
        if self._spool is None:
            self._write(_parts(*self._sorted()) if self._waiting else iter(()))
            return
        if self._waiting:
            self._set_down()
        with self._spool.parts() as parts:
            self._write(parts)

    def abandon(self) -> None:
        """Write no more. A batch may still be on its way here."""
        self._over = True
        if self._writer is not None:
            self._writer.abandon()
            self._writer.wait()

    def place(self, values: Values) -> str:
        """The directory of a partition, as seen from that of the load."""
        named = zip(self.keys.values(), values, strict=True)
        return "/".join(f"{name}={_spelled(value)}" for name, value in named)

    def _are_few(self, rows: pl.DataFrame) -> bool:
        if not self._many:
            self._seen.update(rows.select(*self.keys).unique().rows())
            self._widest = max(self._widest, rows.estimated_size() / rows.height)
            held = len(self._seen) * self.piece * self._widest
            self._many = len(self._seen) > OPEN_FILES or held > _OPEN_MEMORY * MEMORY
            if self._many:
                self._seen.clear()
        return not self._many

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.take(None)
            self._writer.close()
            self._writer = None

    def _set_down(self) -> None:
        rows, counts = self._sorted()
        if self._spool is None:
            self._spool = _Spool.begin(Path(self.directory, "rows.arrow"), rows.schema)
        self._spool.add(rows, counts)

    def _sorted(self) -> tuple[pl.DataFrame, dict[Values, int]]:
        """What waits, by partition and without the keys; and how many rows each partition has of it."""
        keys = list(self.keys)
        rows = pl.concat(self._waiting).sort(keys, maintain_order=True)
        self._waiting, self._bytes = [], 0
        counts = rows.group_by(keys, maintain_order=True).len(_COUNT).rows()
        return rows.drop(keys), {tuple(values): count for *values, count in counts}

    def _write(self, parts: Iterator[Part]) -> None:
        together: list[pl.LazyFrame] = []
        size = 0
        for values, rows, taken in parts:
            if together and (size + taken > MEMORY or len(together) == _TOGETHER):
                pl.collect_all(together)
                together, size = [], 0
            together.append(self.into(os.path.join(self.directory, self.place(values)), rows))
            size += taken
        pl.collect_all(together)


def _writer(sink: Callable[[pl.LazyFrame], pl.LazyFrame], schema: pl.Schema) -> Feed:
    """Writes rows while they come: a query of its own, which a batch may wait for."""
    feed = Feed(schema, "partitions")
    query = sink(feed.rows)
    feed.start(lambda: pl.collect_all([query]))
    return feed


def _parts(rows: pl.DataFrame, counts: Mapping[Values, int]) -> Iterator[Part]:
    each = int(rows.estimated_size()) // rows.height
    starts = accumulate(counts.values(), initial=0)
    for start, (values, count) in zip(starts, counts.items(), strict=False):
        yield values, rows.slice(start, count).lazy(), count * each


def _spelled(value: object) -> str:
    if value is None:
        return NULL_PARTITION
    return quote(str(value).lower() if isinstance(value, bool) else str(value), safe=_SAFE)


@dataclass(slots=True)
class _Spool:
    """Rows in an Arrow file, and which of its batches, of how many bytes, belong to a partition."""

    path: Path
    schema: pl.Schema
    writer: Any
    places: dict[Values, list[tuple[int, int]]] = field(default_factory=dict)
    _batches: int = 0

    @classmethod
    def begin(cls, path: Path, schema: pl.Schema) -> Self:
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(path, schema, ipc.new_file(path, pl.DataFrame(schema=schema).to_arrow().schema))

    def add(self, rows: pl.DataFrame, counts: Mapping[Values, int]) -> None:
        """Set down rows that are sorted by partition."""
        (batch,) = rows.rechunk().to_arrow().to_batches()
        each = batch.nbytes // batch.num_rows
        start = 0
        for values, count in counts.items():
            self.writer.write_batch(batch.slice(start, count))
            self.places.setdefault(values, []).append((self._batches, count * each))
            self._batches += 1
            start += count

    @contextmanager
    def parts(self) -> Iterator[Iterator[Part]]:
        """Each partition once, when all rows have been set down. The file is gone then."""
        self.writer.close()
        with pa.OSFile(str(self.path)) as file:
            self.path.unlink()
            reader, lock = ipc.open_file(file), Lock()
            yield (self._part(values, partial(_read, reader, lock)) for values in self.places)

    def _part(self, values: Values, read: Callable[..., Iterator[pl.DataFrame]]) -> Part:
        places = self.places[values]
        return values, scan(partial(read, places), self.schema), sum(size for _, size in places)


def _read(
    reader: Any, lock: Lock, places: Sequence[tuple[int, int]], columns: list[str], predicate: pl.Expr | None
) -> Iterator[pl.DataFrame]:
    del predicate
    batches: list[pa.RecordBatch] = []
    size = 0
    for place, taken in places:
        if batches and size + taken > _MORSEL:
            yield _frame(batches, columns)
            batches, size = [], 0
        with lock:
            batches.append(reader.get_batch(place))
        size += taken
    yield _frame(batches, columns)


def _frame(batches: Sequence[pa.RecordBatch], columns: Sequence[str]) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches(batches).select(columns), rechunk=True)
    assert isinstance(frame, pl.DataFrame)
    return frame
