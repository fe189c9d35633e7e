"""Reports to show and to keep."""

from datetime import UTC, datetime, timedelta

from rayetl.observability.report import (
    BookLine,
    CheckReport,
    Column,
    LoadReport,
    RejectReason,
    RunReport,
    SourceReport,
    StageTime,
    StepReport,
    Version,
)

STARTED = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)


def run_report(**changes: object) -> RunReport:
    columns = (Column("carrier", "string"), Column("mean_delay", "double", False))
    fields: dict[str, object] = {
        "run": "20261123T110000-abc123",
        "pipeline": "flights",
        "engine": "polars",
        "runtime": "local",
        "run_key": "2026-11-23",
        "status": "done",
        "exit_code": 0,
        "started": STARTED,
        "finished": STARTED + timedelta(seconds=2),
        "stages": (StageTime("plan", 0.5), StageTime("run", 1.5)),
        "sources": (SourceReport("flights", "data/flights.csv", 1, 31_000_000, 336_776, columns),),
        "steps": (
            StepReport("delays", "validate", 336_776, 336_700, rejected=76, inputs=("flights",)),
            StepReport("late", "filter", 336_700, 300_000, filtered=36_700, inputs=("delays",)),
        ),
        "loads": (
            LoadReport(
                "out",
                "files",
                "out/late",
                "overwrite",
                "committed",
                300_000,
                2,
                5_000,
                0.3,
                "k",
                columns,
                "late",
            ),
        ),
        "checks": (
            CheckReport("delays", "sane", "check", "arr_delay", "quarantine", 76, 76 / 336_776, None, True),
        ),
        "rejects": (RejectReason("delays", "sane", "arr_delay", "arr_delay < 2000 is not true", 76),),
        "books": (BookLine("flights -> out", 336_776, 300_000, 76, 36_700),),
        "versions": (Version("rayetl", "0.1.0"),),
        "peak_memory_bytes": 400_000_000,
    }
    return RunReport(**{**fields, **changes})  # type: ignore[arg-type]
