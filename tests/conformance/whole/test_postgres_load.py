"""Loads into PostgreSQL on every runtime: the process that holds the transaction pours, whoever made the rows.

Rows, refused rows with their places, books and the record of the epoch are those of the embedded engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.postgres import Database
from services.proxy import Proxy

from rayetl import Pipeline
from rayetl.engines.polars import PolarsEngine
from rayetl.errors import QualityAbort
from rayetl.observability.report import RunReport

# On Spark alone: what the rows of an engine could change.
from tests.integration.test_postgres_load import (  # noqa: F401
    _here,
    test_a_fault_names_the_load,
    test_a_table_is_made_and_every_value_comes_back,
    test_texts_become_what_the_table_wants,
)

N = 3_000
BAD = (0, 17, 1_499, 1_500, N - 1)
MAKE = "CREATE TABLE t (id bigint PRIMARY KEY, v text CHECK (v <> 'bad'))"
Running = Callable[..., RunReport]


@pytest.fixture(params=["polars", "ray", "spark"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Running:
    """Runs configs on one of the runtimes: in this process, by splits on a cluster, with the rows of Spark."""
    kind = request.param
    if kind == "ray":
        request.getfixturevalue("cluster")
    if kind != "spark":
        monkeypatch.setattr(Pipeline, "_engine", lambda *_: PolarsEngine())
    place: dict[str, Any] = {"runtime": "ray", "split_size": 1} if kind == "ray" else {}
    return lambda document, **more: Pipeline.from_dict(document).run(**place, **more)


@pytest.fixture
def served(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database that the processes of this machine know as the credential `here`."""
    for name, value in database.config.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_HERE__{name.upper()}", str(value))
    return database


def config(*steps: dict[str, Any], **load: Any) -> dict[str, Any]:
    into = {"id": "into", "type": "postgres", "table": "t", "mode": "append", "credential": "here", **load}
    return {
        "name": "p",
        "extract": {"rows": {"type": "files", "path": "in"}},
        "transform": list(steps),
        "load": into,
        "resilience": {"retry": {"initial_delay": "20ms"}},
    }


def source(*sizes: int) -> None:
    """Files of so many rows each."""
    Path("in").mkdir()
    ids = pl.int_range(sum(sizes), eager=True)
    frame = pl.DataFrame({"id": ids, "v": ["bad" if row in BAD else f"v{row}" for row in ids]})
    for number, size in enumerate(sizes):
        frame[sum(sizes[:number]) :][:size].write_parquet(f"in/{number}.parquet", row_group_size=N // 6)


def letters() -> list[tuple[Any, ...]]:
    found = pl.read_parquet(".rayetl/rejects/p/rejects/**/*.parquet").sort("row")
    rules = found["reasons"].list.first().struct.field("rule")
    return list(zip(found["row"], found["step"], rules, found["record"], strict=True))


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_single_rows_are_refused_and_all_others_loaded(run: Running, served: Database, mode: str) -> None:
    source(N)
    served.execute(MAKE)
    few = {"id": "few", "type": "validate", "rules": [{"name": "r", "check": "id % 100 <> 50"}]}
    report = run(config(few, mode=mode, **({"keys": "id"} if mode == "upsert" else {})))
    by_rule = {row for row in range(N) if row % 100 == 50}
    kept = [row for row in range(N) if row not in by_rule and row not in BAD]
    assert [row for (row,) in served.rows("SELECT id FROM t ORDER BY id")] == kept
    assert (report.loads[0].rows, report.rows_rejected, report.balanced) == (len(kept), len(BAD) + 30, True)
    found = [letter for letter in letters() if letter[1] == "into"]
    assert [letter[:3] for letter in found] == [(row, "into", "sqlstate 23514") for row in BAD]
    assert [json.loads(letter[3])["id"] for letter in found] == list(BAD)
    assert served.rows("SELECT pipeline, load, rows, mode FROM rayetl_epochs") == [
        ("p", "into", len(kept), mode)
    ]


def test_of_rows_with_the_same_key_the_first_of_the_source_wins(run: Running, served: Database) -> None:
    """Spark reads large files before small ones."""
    source(10, 2_000, 200)
    step = {"type": "select", "columns": ["id % 7 AS k", "id"]}
    report = run(config(step, mode="insert_ignore", keys="k"))
    assert served.rows("SELECT k, id FROM t ORDER BY k") == [(k, k) for k in range(7)]
    assert report.balanced


def test_every_runtime_knows_the_epochs_of_the_others(run: Running, served: Database) -> None:
    source(N)
    served.execute("CREATE TABLE t (id bigint, v text)")
    assert run(config()).status == "done"
    assert Pipeline.from_dict(config()).run().status == "skipped"
    assert run(config(), run_key="yet another").status == "done"
    assert served.value("SELECT count(*) FROM t") == 2 * N


@pytest.mark.parametrize(("after", "retries"), [(True, 0), (False, 1)])
def test_a_run_whose_commit_is_cut_off_ends_well(
    run: Running, served: Database, after: bool, retries: int
) -> None:
    source(N)
    served.execute(MAKE, "CREATE TABLE o (id bigint, v text)")
    run(config(table="o"))
    with Proxy(served.port, after=after) as proxy:
        proxy.arm()
        report = run(config(host="127.0.0.1", port=proxy.port))
        assert (report.status, report.retries, proxy.cuts) == ("done", retries, 1)
    assert served.value("SELECT count(*) FROM t") == N - len(BAD)
    assert [letter[0] for letter in letters()] == list(BAD), "once, however often it was tried"
    assert served.value("SELECT count(*) FROM rayetl_epochs") == 2


def test_what_a_rule_stops_is_rolled_back(run: Running, served: Database) -> None:
    source(N)
    served.execute(MAKE)
    stop = {"type": "validate", "rules": [{"name": "r", "check": f"id <> {N - 1}", "on_failure": "abort"}]}
    with pytest.raises(QualityAbort):
        run(config(stop))
    assert served.value("SELECT count(*) FROM t") == 0
    assert served.value("SELECT count(*) FROM rayetl_epochs") == 0


def test_rows_go_into_a_store_and_into_files(run: Running, served: Database) -> None:
    source(N)
    served.execute(MAKE)
    document = config()
    document["load"] = [document["load"], {"id": "out", "type": "files", "path": "out"}]
    report = run(document)
    assert [load.rows for load in report.loads] == [N - len(BAD), N]
    assert pl.read_parquet("out/*.parquet").height == N
    assert report.balanced
