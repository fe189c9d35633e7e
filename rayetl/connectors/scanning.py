"""Frames that somebody reads when they are asked for, as a lazy frame; and sinks that wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from rayetl.errors import RayetlError

if TYPE_CHECKING:
    import polars as pl

Read = Callable[[list[str], "pl.Expr | None"], "Iterator[pl.DataFrame]"]
"""Gives frames of these columns. Rows for which the predicate is not TRUE may be among them or not; it looks
at these columns only."""


def scan(read: Read, schema: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """What `read` gives, with the types of `schema`. It is asked for the columns that are needed alone."""
    from polars.io.plugins import register_io_source

    def batches(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        del size
        names = list(schema) if columns is None else columns
        others = [] if predicate is None else predicate.meta.root_names()
        # A frame without columns has no rows, so one is read where none is asked for.
        needed = list(dict.fromkeys([*names, *others])) or list(schema)[:1]
        for frame in read(needed, predicate):
            typed = frame.cast({name: schema[name] for name in needed})
            kept = typed if predicate is None else typed.filter(predicate)
            kept = kept if rows is None else kept.head(rows)
            yield kept.select(names)
            if rows is not None:
                rows -= kept.height
                if rows == 0:
                    return

    return register_io_source(batches, schema=schema, is_pure=True)


def waiting(sink: pl.LazyFrame | None) -> pl.LazyFrame:
    """A sink that was asked to wait until it is collected together with others."""
    if sink is None:
        raise RayetlError("polars ran a sink at once that was asked to wait")
    return sink
