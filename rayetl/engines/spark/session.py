"""What a Spark session must be told so that a plan means the same there as on the embedded engine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rayetl.sql.types import FRACTIONAL, DataType, StructType

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from rayetl.plan.nodes import Plan

MEANING: Mapping[str, str] = {
    "spark.sql.ansi.enabled": "false",
    "spark.sql.caseSensitive": "false",
    # Texts of another form than the pattern are NULL. By default they end the run if Spark 2 would read them.
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # Files that are handed over say nothing of their calendar. All of them are in the one of ISO 8601.
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
}
"""Settings that decide about rows. A config may not change them."""

TIME_ZONE = "spark.sql.session.timeZone"


@contextmanager
def for_plan(session: SparkSession, plan: Plan) -> Iterator[SparkSession]:
    """A session with views and settings of its own beside `session`, for the work on one plan.

    Jobs that still run when the work fails are cancelled. A signal ends the whole session.
    """
    from py4j.protocol import Py4JError

    own = session.newSession()
    for key, value in MEANING.items():
        own.conf.set(key, value)
    own.conf.set(TIME_ZONE, plan.time_zone)
    if any(_has_fractions(field.type) for source in plan.sources for field in source.schema):
        # Writers other than Spark leave NaN out of the bounds of a row group. Spark, for which NaN is the
        # largest number, trusts the bounds and would pass over groups that have rows to be found.
        own.conf.set("spark.sql.parquet.filterPushdown", "false")
    group = f"rayetl-{uuid.uuid4().hex}"
    context = session.sparkContext
    context.setJobGroup(group, plan.name, interruptOnCancel=True)
    try:
        yield own
    except Exception:
        # Where the session itself is what failed, there is nothing left to cancel.
        with suppress(Py4JError, OSError):
            context.cancelJobGroup(group)
        raise


def _has_fractions(kind: DataType) -> bool:
    if isinstance(kind, StructType):
        return any(_has_fractions(field.type) for field in kind)
    return kind in FRACTIONAL
