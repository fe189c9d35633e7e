"""The keys of staged rows: none is NULL, none comes twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rayetl.connectors.lake.load import LakeLoad
from rayetl.connectors.lake.staging import StagedFile
from rayetl.connectors.listing import NULL_PARTITION
from rayetl.errors import LoadError
from rayetl.lazy import lazily

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")


def assert_keys(load: LakeLoad, files: Sequence[StagedFile], blank: Sequence[str] = ()) -> None:
    """Raises `LoadError` for staged rows whose keys are NULL or come twice. In the columns `blank` the table
    takes an empty text for NULL: such a row would meet itself in no later load."""
    if not files:
        return
    rows = pl.concat([_keys(load, file, blank) for file in files])
    empty = rows.filter(pl.any_horizontal(pl.all().is_null())).select(pl.len()).collect().item()
    if empty:
        raise LoadError(
            f"{empty} rows have NULL in a key ({', '.join(load.keys)}); nothing was committed",
            hint="leave them out in a filter step, or give them a value with fill",
        )
    twice = rows.group_by(load.keys).len().filter(pl.col("len") > 1).head(1).collect()
    if twice.height:
        shown = ", ".join(f"{name} = {twice[name][0]}" for name in load.keys)
        raise LoadError(
            f"a key comes {twice['len'][0]} times among the rows: {shown}; nothing was committed",
            hint="keep one row of each before the load: {type: deduplicate, keys: [...], order_by: ...}",
        )


def _keys(load: LakeLoad, file: StagedFile, blank: Sequence[str]) -> pl.LazyFrame:
    """The key columns of a file; those that partition the table may be in the name of its directory only."""
    spelled_out = [pl.lit(value, dtype=pl.String).alias(name) for name, value in file.partition.items()]
    rows = pl.scan_parquet(file.source, glob=False, hive_partitioning=False)
    keys = rows.with_columns(spelled_out).select(load.keys)
    texts = [name for name, kind in keys.collect_schema().items() if kind == pl.String and name in blank]
    empty = [
        pl.when(~pl.col(name).is_in(["", NULL_PARTITION])).then(pl.col(name)).alias(name) for name in texts
    ]
    return keys.with_columns(empty)
