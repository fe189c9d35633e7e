"""Dates and times that old writers counted in the Julian calendar, as Spark rebases them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import polars as pl

from rayetl.errors import SourceError
from rayetl.sql.types import DATE, TIMESTAMP, Schema

_GREGORIAN = -141_427
"""Days from 1970-01-01 to 1582-10-15, the first day of the Gregorian calendar."""
_DAY = 86_400_000_000
_ANCIENT = {DATE: _GREGORIAN, TIMESTAMP: -2_208_988_800_000_000}
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
    """`frame` with dates and times in today's calendar.

    Raises SourceError where they are old and it is not known, or not feasible, what the writer meant.
    """
    for column in schema:
        if column.type not in _ANCIENT or calendar is Calendar.PROLEPTIC:
            continue
        oldest = frame[column.name].to_physical().min()
        if not isinstance(oldest, int) or oldest >= _ANCIENT[column.type]:
            continue
        if calendar is Calendar.UNKNOWN:
            raise SourceError(
                f"the file {path} has dates before 1582 or times before 1900 in the column {column.name} "
                "and does not say in which calendar they were written",
                hint="write the file again with Spark 3 or later",
            )
        if column.type == TIMESTAMP and zone not in ("UTC", "Etc/UTC", "GMT", "Z"):
            raise SourceError(
                f"the file {path} has timestamps before 1900 in the column {column.name}, written in the old "
                f"calendar and the time zone {zone}",
                hint="write the file again with Spark 3 or later",
            )
        frame = frame.with_columns(_shifted(frame[column.name]))
    return frame


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
