"""Tables of lakes in buckets, with Spark's rows: this process alone speaks with the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rayetl import Pipeline
from tests.cluster.test_lakes_on_s3 import N, config, lender, onward  # noqa: F401


def test_rows_go_into_a_table_and_come_out_of_it_once(
    config: dict[str, Any],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    report = Pipeline.from_dict(config).run()
    assert (report.status, report.engine) == ("done", "spark")
    assert Pipeline.from_dict(config).run().status == "skipped"
    read = Pipeline.from_dict(onward(config)).run()
    assert (read.rows_read, read.engine) == (report.rows_loaded, "spark")
    assert sorted(pl.read_parquet("read/*.parquet")["id"]) == [row for row in range(N) if row % 10 != 5]
