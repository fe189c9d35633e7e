"""From bucket to bucket on the cluster: tasks read and look credentials up where they run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.s3 import Bucket, S3Server

from rayetl import Pipeline

N = 6_000


@pytest.fixture
def config(bucket: Bucket, s3_server: S3Server) -> dict[str, Any]:
    rows = pl.DataFrame({"id": range(N)}).with_columns(v=pl.format("v{}", "id"))
    body = io.BytesIO()
    rows.write_parquet(body, row_group_size=N // 12)
    bucket.put("in/a.parquet", body.getvalue())
    there = {"type": "files", "credential": "lake", "s3": {"endpoint": s3_server.endpoint}}
    return {
        "name": "p",
        "extract": {"rows": {**there, "path": f"{bucket.url}/in", "format": "parquet"}},
        "transform": [{"type": "filter", "where": "id % 10 <> 5"}],
        "load": {**there, "path": f"{bucket.url}/out", "mode": "append"},
        "resilience": {"retry": {"initial_delay": "20ms"}},
    }


def ids(bucket: Bucket) -> list[int]:
    found = [pl.read_parquet(io.BytesIO(bucket.get(key)))["id"].to_list() for key in bucket.keys("out/")]
    return sorted(row for rows in found for row in rows)


@pytest.mark.parametrize(("split_size", "splits"), [(1, 12), (1 << 30, None)])
def test_splits_are_read_and_sent_once(
    cluster: str, here: Path, bucket: Bucket, config: dict[str, Any], split_size: int, splits: int | None
) -> None:
    report = Pipeline.from_dict(config).run(runtime="ray", split_size=split_size)
    assert (report.splits.total if report.splits else None) == splits
    assert ids(bucket) == [row for row in range(N) if row % 10 != 5]
    assert bucket.uploads() == []
    assert Pipeline.from_dict(config).run().status == "skipped", "one epoch, whatever the runtime"
    assert Pipeline.from_dict(config).run(force=True).status == "done"
    left = [path for path in Path(".rayetl/staging").glob("*/*") if path.name != "lock"]
    assert left == [], "what waited for the commit is cleared by the next one"
