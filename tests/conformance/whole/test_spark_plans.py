"""What Spark makes of joins and of steps with several readers, read off its own plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from py4j.protocol import Py4JError

from rayetl import Pipeline
from rayetl.engines.spark.failing import told_plainly
from rayetl.engines.spark.keeping import kept, notes
from rayetl.engines.spark.session import for_plan
from rayetl.engines.spark.sources import Sources
from rayetl.engines.spark.tables import Tables
from rayetl.errors import ConfigError, SourceError, Terminal
from rayetl.plan.fingerprint import run_key
from tests.conformance.judge import Judge

ADAPTIVE = {"spark.sql.adaptive.enabled": "true", "spark.sql.autoBroadcastJoinThreshold": "1000"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pl.DataFrame({"k": range(5_000), "v": range(5_000)}).write_parquet("big.parquet")
    pl.DataFrame({"k": range(5_000), "w": range(5_000)}).write_parquet("other.parquet")
    return tmp_path


def pipeline(*steps: dict[str, Any], loads: tuple[str, ...] = (), **more: Any) -> Pipeline:
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {name: {"type": "files", "path": f"{name}.parquet"} for name in ("big", "other")},
            "transform": list(steps),
            "load": [{"id": f"l_{at}", "from": name, "type": "files", "path": f"out/{at}"} for at, name in enumerate(loads)],
            **more,
        }
    )  # fmt: skip


def join(**more: Any) -> dict[str, Any]:
    return {"id": "joined", "from": "big", "type": "join", "with": "other", "on": "k", **more}


def executed(judge: Judge, run: Pipeline, node: str, folder: Path) -> str:
    """Spark's plan of a node's rows after they were counted."""
    plan = run.plan()
    needed = [each.id for each in (*plan.sources, *plan.steps)]
    with for_plan(judge.spark, plan) as spark:
        for key, value in ADAPTIVE.items():
            spark.conf.set(key, value)
        keep = kept(plan, needed, [load.id for load in plan.loads])
        sources = Sources(spark, plan, folder, None, lambda work, items: [work(item) for item in items])
        tables = Tables(spark, plan, sources.read(needed), keep)
        frame = tables.add(node)
        frame.collect()
        text = str(frame._jdf.queryExecution().executedPlan().toString())
        tables.release()
    return text


@pytest.mark.parametrize(
    ("broadcast", "used", "not_used"),
    [
        (True, "BroadcastHashJoin", "SortMergeJoin"),
        (False, "SortMergeJoin", "BroadcastHashJoin"),
        ("auto", "SortMergeJoin", "BroadcastHashJoin"),
    ],
)
def test_broadcast_is_a_hint_that_spark_follows(
    here: Path, judge: Judge, broadcast: Any, used: str, not_used: str
) -> None:
    run = pipeline(join(broadcast=broadcast), loads=("joined",))
    text = executed(judge, run, "joined", here)
    assert "AdaptiveSparkPlan" in text
    assert used in text
    assert not_used not in text


def test_auto_broadcasts_what_is_small(here: Path, judge: Judge) -> None:
    pl.DataFrame({"k": [1], "w": [1]}).write_parquet("other.parquet")
    ADAPTIVE["spark.sql.autoBroadcastJoinThreshold"] = "100000"
    try:
        text = executed(judge, pipeline(join(), loads=("joined",)), "joined", here)
    finally:
        ADAPTIVE["spark.sql.autoBroadcastJoinThreshold"] = "1000"
    assert "BroadcastHashJoin" in text


def test_hints_change_neither_the_rows_nor_the_epoch(here: Path) -> None:
    keys = {
        run_key(pipeline(join(broadcast=choice, cache=cache), loads=("joined",)).plan())
        for choice in (True, False, "auto")
        for cache in (True, None)
    }
    assert len(keys) == 1


def test_rows_of_the_other_side_cannot_be_broadcast(here: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be broadcast"):
        pipeline(join(how="full", broadcast=True), loads=("joined",))


TWICE = ("joined", "joined")


@pytest.mark.parametrize(
    ("steps", "loads", "keeps"),
    [
        ([join()], ("joined",), set()),
        ([join()], TWICE, {"joined"}),
        ([join(cache=False)], TWICE, set()),
        ([join(cache=True)], ("joined",), {"joined"}),
        ([{"id": "odd", "from": "big", "type": "filter", "where": "k % 2 = 1"}], ("odd", "odd"), set()),
        ([join(), {"id": "v", "type": "validate", "rules": [{"check": "k > 1"}]}], ("v",), {"v"}),
        ([{"id": "v", "from": "big", "type": "validate", "rules": [{"check": "k > 1"}]}], ("v",), set()),
    ],
)  # fmt: skip
def test_rows_are_kept_where_several_read_what_is_dear(
    here: Path, steps: list[dict[str, Any]], loads: tuple[str, ...], keeps: set[str]
) -> None:
    plan = pipeline(*steps, loads=loads).plan()
    assert kept(plan, [*plan.nodes], [load.id for load in plan.loads]) == keeps


def held(judge: Judge) -> set[int]:
    """What Spark keeps at present; other tests of the session may keep tables of their own."""
    context: Any = judge.spark.sparkContext._jsc
    return {int(number) for number in context.getPersistentRDDs()}


def test_kept_rows_are_in_sparks_plan_and_let_go_after(here: Path, judge: Judge) -> None:
    before = held(judge)
    text = executed(judge, pipeline(join(), loads=TWICE), "joined", here)
    assert "InMemoryTableScan" in text
    assert held(judge) == before


def test_a_run_lets_go_of_what_it_kept(here: Path, judge: Judge) -> None:
    before = held(judge)
    report = pipeline(join(), loads=TWICE).run()
    assert report.engine == "spark"
    assert report.rows_loaded == 10_000
    assert held(judge) == before


def test_explain_says_what_spark_is_told(here: Path) -> None:
    text = pipeline(join(broadcast=True), loads=TWICE, engine="spark").explain()
    assert "engine spark: the config asks for it" in text
    assert "    kept for 2 readers; other is broadcast\n" in text
    assert "    read by the executors\n" in text
    assert "BROADCAST(other)" in pipeline(join(broadcast=True), loads=TWICE).explain(sql=True)
    Path("text.csv").write_text("k\n1\n")
    text = {"type": "files", "path": "text.csv", "schema": "k BIGINT", "options": {"header": True}}
    read = notes(pipeline(extract={"text": text}, load={"type": "files", "path": "out"}).plan())
    assert read == {"text": "read by the embedded engine, and handed to Spark"}
    read = notes(pipeline(join(), loads=("joined",)).plan())
    assert read == dict.fromkeys(("big", "other"), "read by the executors")


@pytest.mark.usefixtures("here")
def test_what_is_deeper_than_the_stack_of_spark_is_told_with_what_to_do() -> None:
    plan = pipeline(join(), loads=("joined",)).plan()
    with pytest.raises(Terminal, match="nested too deeply for Spark") as caught, told_plainly(plan, "joined"):
        raise Py4JError(
            "An error occurred while calling o1.sql.\n: java.lang.StackOverflowError\n\tat org.apache"
        )
    assert caught.value.step == "joined"
    assert caught.value.hint is not None


def test_a_file_that_spark_alone_cannot_read_is_named(here: Path) -> None:
    (here / "big.parquet").rename("b i g.parquet")
    config = {
        "name": "p",
        "extract": {"s": {"type": "files", "path": "b i g.parquet"}},
        "load": {"type": "files", "path": "out"},
    }
    plan = Pipeline.from_dict(config).plan()
    reading = f"Encountered error while reading file file://{here}/b%20i%20g.parquet. Details:"
    with (
        pytest.raises(SourceError, match=r"Spark cannot read the file b i g\.parquet: no more bytes"),
        told_plainly(plan, "load_1"),
    ):
        raise Py4JError(
            f"An error occurred while calling o1.parquet.\n: org.apache.spark.SparkException: {reading}\n"
            "\tat org.apache\nCaused by: java.io.EOFException: no more bytes\n"
        )
