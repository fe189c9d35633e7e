"""Dates and times that old writers counted in the Julian calendar, as Spark rebases them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from rayetl.errors import SourceError
from rayetl.lazy import lazily
from rayetl.sql.types import DATE, TIMESTAMP, ArrayType, DataType, MapType, Schema, StructType

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazily("pyarrow")

_GREGORIAN = -141_427
"""Days from 1970-01-01 to 1582-10-15, the first day of the Gregorian calendar."""
_DAY = 86_400_000_000
_ANCIENT: dict[DataType, int] = {DATE: _GREGORIAN, TIMESTAMP: -2_208_988_800_000_000}
"""Before these values (in days; in microseconds, 1900-01-01) the writer's calendar or zone matters."""


class Calendar(Enum):
    """How a file counts days before the Gregorian calendar: as all do now, in the old way, or unknown."""

    PROLEPTIC = "proleptic"
    JULIAN = "julian"
    UNKNOWN = "unknown"


def calendar_of(metadata: Mapping[bytes, bytes], created_by: str, *, int96: bool) -> Calendar:
    """The calendar of a Parquet file by what its writer left in the footer."""
    version = metadata.get(b"org.apache.spark.version")
    if version is None and b"iceberg.schema" in metadata:
        # Iceberg's own writer, which works inside of Spark and Flink: its format knows no other calendar.
        return Calendar.PROLEPTIC
    if version is None:
        hadoop = created_by.startswith(("parquet-mr", "impala"))
        return Calendar.UNKNOWN if hadoop else Calendar.PROLEPTIC
    mark = b"org.apache.spark.legacyINT96" if int96 else b"org.apache.spark.legacyDateTime"
    old = (3, 1) if int96 else (3, 0)
    numbers = tuple(int(part) for part in version.split(b".")[:2] if part.isdigit())
    return Calendar.JULIAN if numbers < old or mark in metadata else Calendar.PROLEPTIC


def rebased(frame: pl.DataFrame, schema: Schema, calendar: Calendar, path: str, zone: str) -> pl.DataFrame:
    """`frame` with dates and times in today's calendar, those inside of lists, maps and structs too.

    Raises SourceError where they are old and it is not known, or not feasible, what the writer meant.
    """
    if calendar is Calendar.PROLEPTIC:
        return frame
    for column in schema:
        moves = partial(_moved, column=column.name, calendar=calendar, path=path, zone=zone)
        if column.type in _ANCIENT:
            frame = frame.with_columns(moves(frame[column.name], column.type))
        elif _holds_days(column.type):
            nested = frame[column.name]
            made = pl.Series(_on_leaves(nested.rechunk().to_arrow(), column.type, moves))
            frame = frame.with_columns(made.cast(nested.dtype).alias(column.name))
    return frame


def _moved(
    days: pl.Series, kind: DataType, *, column: str, calendar: Calendar, path: str, zone: str
) -> pl.Series:
    oldest = days.to_physical().min()
    if not isinstance(oldest, int) or oldest >= _ANCIENT[kind]:
        return days
    if calendar is Calendar.UNKNOWN:
        raise SourceError(
            f"the file {path} has dates before 1582 or times before 1900 in the column {column} "
            "and does not say in which calendar they were written",
            hint="write the file again with Spark 3 or later",
        )
    if kind == TIMESTAMP and zone not in ("UTC", "Etc/UTC", "GMT", "Z"):
        raise SourceError(
            f"the file {path} has timestamps before 1900 in the column {column}, written in the old "
            f"calendar and the time zone {zone}",
            hint="write the file again with Spark 3 or later",
        )
    return _shifted(days)


def _holds_days(kind: DataType) -> bool:
    match kind:
        case ArrayType(element):
            return _holds_days(element)
        case MapType(key, value):
            return _holds_days(key) or _holds_days(value)
        case StructType(fields):
            return any(_holds_days(field.type) for field in fields)
    return kind in _ANCIENT


def _on_leaves(array: Any, kind: DataType, moves: Callable[[pl.Series, DataType], pl.Series]) -> Any:
    """`array` with its dates and times moved; only what holds some is made anew."""
    if not _holds_days(kind):
        return array
    if array.offset:
        array = pa.concat_arrays([array])
    match kind:
        case StructType(fields):
            parts = [_on_leaves(array.field(at), field.type, moves) for at, field in enumerate(fields)]
            made = [pa.field(field.name, part.type) for field, part in zip(fields, parts, strict=True)]
            return pa.StructArray.from_arrays(parts, fields=made, mask=array.is_null())
        case ArrayType(element):
            values = _on_leaves(array.values, element, moves)
            return type(array).from_arrays(array.offsets, values, mask=array.is_null())
        case MapType(key, value):
            entries = (_on_leaves(array.keys, key, moves), _on_leaves(array.items, value, moves))
            return pa.MapArray.from_arrays(array.offsets, *entries, mask=array.is_null())
    return moves(pl.Series(array), kind).to_arrow()


def _shifted(column: pl.Series) -> pl.Series:
    """Every value as the day of the same name in today's calendar."""
    raw = column.to_physical().cast(pl.Int64)
    days = raw if column.dtype == pl.Date else raw // _DAY
    moved = raw.to_frame("raw").select(
        pl.when(pl.lit(days) < _GREGORIAN)
        .then(pl.col("raw") + _difference(pl.lit(days)) * (1 if column.dtype == pl.Date else _DAY))
        .otherwise(pl.col("raw"))
    )
    return moved.to_series().cast(column.to_physical().dtype).cast(column.dtype).alias(column.name)


def _difference(days: pl.Expr) -> pl.Expr:
    """Days between the two calendars: for the Julian day `days`, proleptic minus Julian count."""
    # Years are taken from March on, so that the leap day is the last of its year.
    shifted = days + 719_470
    year = (4 * shifted + 3) // 1461
    century = year // 100
    return century // 4 - century + 2
