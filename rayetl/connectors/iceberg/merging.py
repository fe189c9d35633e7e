"""Rows into a table by their keys: files that hold such keys are written anew without them.

Only the keys of the new rows and one file of the table are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from rayetl.connectors.base import FilesTarget
from rayetl.connectors.formats.writing import sink_files
from rayetl.connectors.iceberg.cutting import derived
from rayetl.connectors.iceberg.load import IcebergLoad
from rayetl.connectors.iceberg.predicates import comparison
from rayetl.connectors.iceberg.reading import Reader
from rayetl.connectors.iceberg.table import IcebergVersion
from rayetl.connectors.iceberg.writing import Change, columns_of, widening
from rayetl.connectors.lake.fitting import missing
from rayetl.connectors.lake.staging import Attempt, StagedFile
from rayetl.failpoints import failpoint
from rayetl.lazy import lazily
from rayetl.records import dataclass
from rayetl.sql.interop import to_polars
from rayetl.sql.types import Field, Schema

if TYPE_CHECKING:
    import polars as pl
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import FileScanTask
else:
    pl = lazily("polars")


def merged(
    load: IcebergLoad,
    found: IcebergVersion,
    schema: Schema,
    target: FilesTarget,
    attempt: Attempt,
    files: Sequence[StagedFile],
) -> Change:
    """The change that `upsert` or `insert_ignore` makes of staged rows, whose keys are known to differ."""
    total = sum(file.stats.rows for file in files)
    if not files:
        return Change((), (), total)
    return _Merge(load, found, schema, target, attempt, files).change(total)


@dataclass(frozen=True)
class _Merge:
    load: IcebergLoad
    found: IcebergVersion
    schema: Schema
    target: FilesTarget
    attempt: Attempt
    files: Sequence[StagedFile]

    def change(self, total: int) -> Change:
        keys = self._staged().select(self.load.keys).collect()
        upsert = self.load.mode == "upsert"
        hits, removed, own = [], [], list[StagedFile]()
        for task in self._tasks(keys):
            there = self._reader.rows(task, self.load.keys)
            hit = there.join(keys, on=self.load.keys, how="semi").unique()
            if not hit.height:
                continue
            hits.append(hit)
            if upsert:
                removed.append(task.file)
                own += self._written(self._without(task, keys))
                failpoint("iceberg.rewritten")
        new, rows = self.files, total
        if hits and (self._kept or not upsert):
            known = pl.concat(hits).unique()
            new = self._written(self._staged().join(known.lazy(), on=self.load.keys, how="anti"))
            rows = total if upsert else sum(file.stats.rows for file in new)
        change = Change([*new, *own], removed, rows)
        self.attempt.put(change.added)
        return change

    @property
    def _reader(self) -> Reader:
        return Reader(self.found.table, self.found.iceberg, self.found.schema)

    @property
    def _kept(self) -> list[str]:
        """The columns of the table that the new rows do not have: rows with the same key keep them."""
        return [name for name in self.found.schema.names if self.schema.get(name) is None]

    @property
    def _whole(self) -> Schema:
        """The columns of the table, with those that are added to it, as it stores them."""
        added = (Field(each.name, self.load.stored(each.type)) for each in missing(self.found, self.schema))
        return Schema((*self.found.schema, *added))

    def _staged(self) -> pl.LazyFrame:
        stored = {name: kind for name, kind in to_polars(self._whole).items() if self.schema.get(name)}
        rows = pl.scan_parquet([file.source for file in self.files], glob=False, hive_partitioning=False)
        return rows.select(pl.col(name).cast(kind) for name, kind in stored.items())

    def _without(self, task: FileScanTask, keys: pl.DataFrame) -> pl.LazyFrame:
        """The rows of a file whose keys are not among the new ones, and the new form of the others where the
        new rows do not have all columns."""
        rows = self._reader.rows(task, self.found.schema.names).lazy()
        others = rows.join(keys.lazy(), on=self.load.keys, how="anti")
        if not self._kept:
            return others
        old = rows.select(*self.load.keys, *self._kept)
        return pl.concat([others, old.join(self._staged(), on=self.load.keys)], how="diagonal")

    def _written(self, rows: pl.LazyFrame) -> list[StagedFile]:
        """Rows as files of the attempt."""
        inside = self.attempt.aside()
        whole = self._whole
        metadata = widening(self.load, self.found, self.schema).table_metadata
        columns = columns_of(metadata, whole.names)
        cut = derived(metadata.spec(), metadata.schema(), pl.Schema(to_polars(whole)))
        target = replace(
            self.target, directory=str(inside), schema=whole, derived=tuple(cut), columns=columns
        )
        given = rows.collect_schema()
        absent = [
            pl.lit(None, kind).alias(name) for name, kind in to_polars(whole).items() if name not in given
        ]
        sink_files(rows.with_columns(absent), target).collect()
        return self.attempt.staged(Path(inside))

    def _tasks(self, keys: pl.DataFrame) -> Iterator[FileScanTask]:
        """The files that may hold one of the keys, by their least and greatest values.

        The library leaves out deletes by such values too, but a file that is written anew needs them all."""
        from pyiceberg.expressions import AlwaysTrue, And

        whole = {task.file.file_path: task for task in self.found.tasks()}

        within: BooleanExpression = AlwaysTrue()
        within = reduce(And, [each for key in keys for each in _bounds(key)], within)
        for task in self.found.table.scan(row_filter=within).plan_files():
            yield whole[task.file.file_path]


def _bounds(keys: pl.Series) -> Iterator[BooleanExpression]:
    if keys.dtype.is_nested():
        return
    for word, value in ((">=", keys.min()), ("<=", keys.max())):
        if isinstance(value, int | str | date | datetime) and not isinstance(value, bool):
            within = comparison(keys.name, word, value)
            if within is not None:
                yield within
