"""Batches of the driver as frames with the declared types; a value that these cannot hold stops the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.postgres.types import ServerColumn
from rayetl.errors import SourceError
from rayetl.lazy import lazily
from rayetl.sql.types import DATE, TIMESTAMP, TIMESTAMP_NTZ, ArrayType, DataType, DecimalType

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
else:
    pl, pa = lazily("polars"), lazily("pyarrow")

DIMENSIONS = "_rayetl_dimensions"
"""INT: how many dimensions the arrays of a row have; the driver writes them flat without a word."""

_FIRST_DAY = -2_440_588
"""The first day the server knows (4714-11-24 BC), from 1970. What is beyond its range, and both infinities,
arrives as numbers below that."""

_FIRST_TIME = _FIRST_DAY * 86_400_000_000
_FIRST: dict[DataType, int] = {DATE: _FIRST_DAY, TIMESTAMP: _FIRST_TIME, TIMESTAMP_NTZ: _FIRST_TIME}


def decode(batch: pa.RecordBatch, columns: Sequence[ServerColumn]) -> pl.DataFrame:
    """A frame of `columns`, which stand first in the batch. Raises `SourceError` naming the column."""
    if len(columns) < batch.num_columns:
        _refuse_dimensions(batch.column(len(columns)), columns)
    return pl.DataFrame([_series(batch.column(at), column) for at, column in enumerate(columns)])


def _series(values: Any, column: ServerColumn) -> pl.Series:
    stored = values.storage if isinstance(values, pa.ExtensionArray) else values
    made = pl.Series(column.name, stored)
    element = column.type.element if isinstance(column.type, ArrayType) else column.type
    if isinstance(element, DecimalType):
        return _decimals(made, column, element)
    if element in _FIRST:
        _refuse_infinity(made, column, element)
    return made


def _decimals(texts: pl.Series, column: ServerColumn, kind: DecimalType) -> pl.Series:
    flat = texts.explode() if column.is_array else texts
    numbers = flat.cast(pl.Decimal(kind.precision, kind.scale), strict=False)
    bad = numbers.is_null() & flat.is_not_null()
    if not column.exact:
        # Polars would round what it has no digits for.
        bad |= flat.str.contains(rf"\.\d{{{kind.scale}}}\d*[1-9]").fill_null(False)
    if bad.any():
        value = str(flat.filter(bad)[0])
        finite = value.lstrip("-")[0].isdigit()
        instead = f"round({column.name}, {kind.scale})" if finite else f"NULLIF({column.name}, '{value}')"
        raise _unfit(column, kind, value, instead)
    if not column.is_array:
        return numbers
    return texts.cast(pl.List(pl.Decimal(kind.precision, kind.scale)))


def _refuse_infinity(made: pl.Series, column: ServerColumn, kind: DataType) -> None:
    flat = made.explode() if column.is_array else made
    first = flat.to_physical().min()
    if isinstance(first, int) and first < _FIRST[kind]:
        raise _unfit(column, kind, "infinity", f"NULLIF({column.name}, 'infinity')")


def _refuse_dimensions(dimensions: Any, columns: Sequence[ServerColumn]) -> None:
    most = pl.Series(dimensions).max()
    if isinstance(most, int) and most > 1:
        names = ", ".join(repr(column.name) for column in columns if column.is_array)
        raise SourceError(
            f"an array among the columns {names} has {most} dimensions; only lists can be read",
            hint="write it as text or JSON in a `query`: SELECT to_json(c)::text AS c",
        )


def _unfit(column: ServerColumn, kind: DataType, value: str, instead: str) -> SourceError:
    return SourceError(
        f"the column {column.name!r} holds {value}, which {kind} cannot hold",
        hint=f"say in a `query` what it shall be: SELECT {instead} AS {column.name}, ...",
    )
