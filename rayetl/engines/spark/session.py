"""What a Spark session must be told so that a plan means the same there as on the embedded engine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MEANING: Mapping[str, str] = {
    "spark.sql.ansi.enabled": "false",
    "spark.sql.caseSensitive": "false",
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
def for_plan(session: SparkSession, name: str, time_zone: str) -> Iterator[SparkSession]:
    """A session with views and settings of its own beside `session`, for the work on one plan.

    Jobs that still run when the work fails are cancelled. A signal ends the whole session.
    """
    from py4j.protocol import Py4JError

    own = session.newSession()
    for key, value in MEANING.items():
        own.conf.set(key, value)
    own.conf.set(TIME_ZONE, time_zone)
    group = f"rayetl-{uuid.uuid4().hex}"
    context = session.sparkContext
    context.setJobGroup(group, name, interruptOnCancel=True)
    try:
        yield own
    except Exception:
        # Where the session itself is what failed, there is nothing left to cancel.
        with suppress(Py4JError, OSError):
            context.cancelJobGroup(group)
        raise
