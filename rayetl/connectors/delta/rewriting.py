"""What the library would spoil in files that it rewrites, as a merge does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

from rayetl.connectors.base import InputFile
from rayetl.connectors.lake.int96 import NEAR, far, has_times
from rayetl.lazy import lazily
from rayetl.sql.types import DecimalType

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rayetl.connectors.delta.table import DeltaVersion
else:
    pl, pa, pq = lazily("polars"), lazily("pyarrow"), lazily("pyarrow.parquet")


def spoiled(found: DeltaVersion) -> str | None:
    """What of a table is not the same in files that were rewritten, in words; `None` if all is."""
    for name in found.partition_by:
        column = found.schema.get(name)
        if column and isinstance(column.type, DecimalType) and column.type.scale:
            return f"is partitioned by {name!r} of type {column.type}, which the library misspells (0.-5)"
    files = [each for each in found.place.inputs(_doubtful(found)) if isinstance(each, InputFile)]
    with ThreadPoolExecutor(8) as threads:
        spoilt = next(filter(None, threads.map(_far, files)), None)
    return spoilt and (
        f"holds times before 1678 or after 2261 in the column {spoilt!r}, which the library gets wrong in "
        "files with INT96"
    )


def _doubtful(found: DeltaVersion) -> list[str]:
    """The files of which the log does not say that their times are near."""
    columns = [field for field in found.arrow if field.name not in found.partition_by]
    holders = [field for field in columns if has_times(field.type)]
    if not holders:
        return []
    ends = [f"{end}.{field.name}" for field in holders for end in ("min", "max")]
    actions = pl.DataFrame(pa.table(found.table.get_add_actions(flatten=True)))
    if set(ends) <= set(actions.columns) and not any(pa.types.is_nested(field.type) for field in holders):
        sure = pl.all_horizontal(pl.col(ends).dt.epoch("us").is_between(-NEAR, NEAR))
        actions = actions.filter(~sure.fill_null(False))
    return [found.place.resolve(path) for path in actions["path"]]


@lru_cache(maxsize=10_000)
def _far(file: InputFile) -> str | None:
    source = file.path if file.store is None else file.open()
    with pq.ParquetFile(source, coerce_int96_timestamp_unit="us") as opened:
        return far(opened)
