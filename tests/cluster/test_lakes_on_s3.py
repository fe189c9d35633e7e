"""Tables of lakes in buckets on the cluster: tasks read them with the keys that they look up themselves."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.iceberg_rest import IcebergRest
from services.s3 import Account, Bucket, S3Server, keep

from rayetl import Pipeline

N = 6_000


@pytest.fixture
def lender(
    bucket: Bucket, s3_account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """A catalog service that hands out keys of the bucket."""
    keep(monkeypatch, "service", token="canary-7f3a")
    secret = s3_account.secret_access_key
    keys = {"s3.access-key-id": s3_account.access_key_id, "s3.secret-access-key": secret}
    keys |= {"s3.endpoint": s3_account.server.endpoint, "s3.region": "us-east-1"}
    there = {**keys, "warehouse": f"{bucket.url}/tables"}
    service = IcebergRest(tmp_path / "service", token="canary-7f3a", tables=there)
    service.config = keys
    yield {"catalog": {"type": "rest", "uri": service.uri}, "credential": "service", "table": "shop.daily"}
    service.stop()


@pytest.fixture(params=["delta", "iceberg", "hadoop", "lent"])
def config(
    request: pytest.FixtureRequest,
    bucket: Bucket,
    s3_server: S3Server,
    lender: dict[str, Any],
    tmp_path: Path,
) -> dict[str, Any]:
    rows = pl.DataFrame({"id": range(N)}).with_columns(v=pl.format("v{}", "id"))
    body = io.BytesIO()
    rows.write_parquet(body, row_group_size=N // 12)
    bucket.put("in/a.parquet", body.getvalue())
    service = {"endpoint": s3_server.endpoint}
    there = {"credential": "lake", "s3": service}
    uri = f"sqlite:///{tmp_path}/catalog.db"
    tables = {
        "delta": {**there, "path": f"{bucket.url}/table"},
        "iceberg": {
            "catalog": {"type": "sql", "uri": uri, "warehouse": f"{bucket.url}/tables"},
            "table": "shop.daily",
            "s3": {"credential": "lake", **service},
        },
        "hadoop": {
            "catalog": {"type": "hadoop", "warehouse": f"{bucket.url}/tables"},
            "table": "shop.daily",
            "s3": {"credential": "lake", **service},
        },
        "lent": lender,
    }
    kind = "delta" if request.param == "delta" else "iceberg"
    return {
        "name": "p",
        "extract": {"rows": {"type": "files", **there, "path": f"{bucket.url}/in/a.parquet"}},
        "transform": [{"type": "filter", "where": "id % 10 <> 5"}],
        "load": {"type": kind, **tables[request.param], "mode": "append"},
    }


def onward(config: dict[str, Any]) -> dict[str, Any]:
    """From the table into files."""
    table = {name: value for name, value in config["load"].items() if name != "mode"}
    return {"name": "q", "extract": table, "load": {"type": "files", "path": "read", "mode": "overwrite"}}


def test_splits_go_into_a_table_and_come_out_of_it_once(
    cluster: str, here: Path, config: dict[str, Any]
) -> None:
    report = Pipeline.from_dict(config).run(runtime="ray", split_size=1)
    assert report.splits is not None
    assert report.splits.total == 12
    assert Pipeline.from_dict(config).run().status == "skipped", "one epoch, whatever the runtime"
    read = Pipeline.from_dict(onward(config)).run(runtime="ray", split_size=1)
    assert read.splits is not None
    wanted = [row for row in range(N) if row % 10 != 5]
    assert sorted(pl.read_parquet("read/*.parquet")["id"]) == wanted


def test_changes_of_a_delta_table_are_read_in_splits(
    cluster: str, here: Path, bucket: Bucket, s3_server: S3Server
) -> None:
    from deltalake import DeltaTable, write_deltalake

    feed = {"delta.enableChangeDataFeed": "true"}
    for begin in (0, 100, 200):
        write_deltalake(
            "t", pl.DataFrame({"id": range(begin, begin + 100)}), mode="append", configuration=feed
        )
    DeltaTable("t").delete("id % 10 = 5")
    for path in Path("t").rglob("*"):
        if path.is_file():
            bucket.put(path.as_posix(), path.read_bytes())
    there = {"credential": "lake", "s3": {"endpoint": s3_server.endpoint}}
    table = {"type": "delta", **there, "path": f"{bucket.url}/t", "changes": {"from_version": 1}}
    load = {"type": "files", "path": "read", "mode": "overwrite"}
    report = Pipeline.from_dict({"name": "q", "extract": table, "load": load}).run(
        runtime="ray", split_size=1
    )
    assert report.splits is not None
    assert report.splits.total > 1
    found = pl.read_parquet("read/*.parquet").sort("_commit_version", "id")
    assert found["_change_type"].to_list() == ["insert"] * 200 + ["delete"] * 30
    assert found["id"].to_list() == [*range(100, 300), *range(5, 300, 10)]
