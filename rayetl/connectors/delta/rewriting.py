"""What the library would spoil in files that it rewrites, as a merge and a compaction do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from rayetl.connectors.base import InputFile
from rayetl.connectors.lake.fitting import inside
from rayetl.lazy import lazily
from rayetl.sql.types import DecimalType

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from rayetl.connectors.delta.table import DeltaVersion
else:
    pl, pa = lazily("polars"), lazily("pyarrow")
    pc, pq = lazily("pyarrow.compute"), lazily("pyarrow.parquet")

_FAR = 2**63 // 1000 - 1_000_000
"""So many microseconds before and after 1970 end the times of Spark's files (INT96) for the library, which
counts their nanoseconds in 64 bits; less a second, because the log cuts fractions off."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def spoiled(found: DeltaVersion) -> str | None:
    """What of a table is not the same in files that were rewritten, in words; `None` if all is."""
    for name in found.partition_by:
        column = found.schema.get(name)
        if column and isinstance(column.type, DecimalType) and column.type.scale:
            return f"is partitioned by {name!r} of type {column.type}, which the library misspells (0.-5)"
    files = [each for each in found.place.inputs(_doubtful(found)) if isinstance(each, InputFile)]
    with ThreadPoolExecutor(8) as threads:
        name = next(filter(None, threads.map(_far, files)), None)
    return name and (
        f"holds times before 1678 or after 2261 in the column {name!r}, which the library gets wrong in "
        "files with INT96"
    )


def _doubtful(found: DeltaVersion) -> list[str]:
    """The files of which the log does not say that their times are near."""
    columns = [field for field in found.arrow if field.name not in found.partition_by]
    holders = [field for field in columns if _has_times(field.type)]
    if not holders:
        return []
    ends = [f"{end}.{field.name}" for field in holders for end in ("min", "max")]
    actions = pl.DataFrame(pa.table(found.table.get_add_actions(flatten=True)))
    if set(ends) <= set(actions.columns) and not any(pa.types.is_nested(field.type) for field in holders):
        near = timedelta(microseconds=_FAR)
        sure = pl.all_horizontal(pl.col(ends).is_between(_EPOCH - near, _EPOCH + near))
        actions = actions.filter(~sure.fill_null(False))
    return [found.place.resolve(path) for path in actions["path"]]


def _has_times(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or any(_has_times(field.type) for field, _ in inside(kind))


@lru_cache(maxsize=10_000)
def _far(file: InputFile) -> str | None:
    """A column whose times the library would get wrong."""
    source = file.path if file.store is None else file.open()
    with pq.ParquetFile(source, coerce_int96_timestamp_unit="us") as opened:
        leaves = [opened.schema.column(place) for place in range(len(opened.schema))]
        paths = [leaf.path for leaf in leaves if leaf.physical_type == "INT96"]
        for name in opened.schema_arrow.names:
            if any(path == name or path.startswith(f"{name}.") for path in paths):
                for batch in opened.iter_batches(columns=[name]):
                    if not all(map(_is_near, _times(batch.column(0)))):
                        return str(name)
    return None


def _times(values: pa.Array) -> Iterator[pa.Array]:
    if pa.types.is_timestamp(values.type):
        yield values
    for _, members in inside(values.type):
        yield from _times(members(values.drop_null()))


def _is_near(times: pa.Array) -> bool:
    ends = pc.min_max(times.cast(pa.int64())).as_py()
    return all(end is None or abs(end) < _FAR for end in ends.values())
