"""Queries that Spark alone can run: typed by Spark when the config is checked, and run by it."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from rayetl import Pipeline
from rayetl.engines.base import Engine
from rayetl.engines.polars import PolarsEngine
from rayetl.engines.spark import SparkEngine
from rayetl.errors import ConfigError, RayetlError
from tests.conformance.judge import Judge
from tests.conformance.whole.conftest import Local

PARSED = "from_json(s, 'a INT, b ARRAY<DECIMAL(5,2)>, c MAP<STRING,DATE>')"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = ['1;{"a":1,"b":[1.5,2],"c":{"x":"2020-01-31"}}', "2;{}", "3;no json", "x;y"]
    Path("in.csv").write_text("\n".join(["n;s", *rows]) + "\n")
    return tmp_path


def pipeline(*steps: dict[str, Any], **more: Any) -> Pipeline:
    options = {"header": True, "sep": ";"}
    return Pipeline.from_dict(
        {
            "name": "p",
            "engine": "spark",
            "extract": {
                "rows": {"type": "files", "path": "in.csv", "schema": "n INT, s STRING", "options": options}
            },
            "transform": list(steps),
            "load": {"id": "out", "type": "files", "path": "out", "mode": "overwrite"},
            **more,
        }
    )


def loaded() -> list[dict[str, Any]]:
    return pl.read_parquet("out/*.parquet").sort("n").to_dicts()


def said(made: Pipeline) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        made.check()
    return [problem.message for problem in caught.value.problems]


@pytest.mark.usefixtures("here")
def test_rows_rejects_and_types_are_as_those_of_any_step() -> None:
    summed = "aggregate(array_repeat(n, 3), 0L, (sum, each) -> sum + each)"
    made = pipeline(
        {"id": "parsed", "type": "select", "columns": ["n", f"{PARSED} AS j", f"{summed} AS t"]},
        {"id": "small", "type": "validate", "rules": [{"name": "r", "check": "array_size(array(n)) + t < 10"}]},
        {"id": "more", "type": "sql", "query": "SELECT *, map_from_arrays(array(n), array(t)) AS m, bin(n) AS b FROM small"},
    )  # fmt: skip
    assert [str(field) for field in made.plan().schema("more") or ()] == [
        "n: int",
        "j: struct<a:int,b:array<decimal(5,2)>,c:map<string,date>>",
        "t: bigint",
        "m: map<int,bigint> not null",
        "b: string",
    ]
    report = made.run()
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (4, 2, 2)
    first, second = loaded()
    assert first["j"]["a"] == 1
    assert [str(each) for each in first["j"]["b"]] == ["1.50", "2.00"]
    assert (second["n"], second["t"], second["b"], second["j"]["a"]) == (2, 6, "10", None)
    rejects = made.dead_letters.read().collect().sort("row")
    assert rejects.select("step", "row").rows() == [("small", 2), ("rows", 3)]
    assert made.run().status == "skipped"


@pytest.mark.usefixtures("here")
def test_the_tests_of_a_config_and_values_found_in_the_data() -> None:
    pivot = {"type": "pivot", "group_by": ["s"], "column": "k", "aggregates": {"c": "count(*)"}}
    given = {"rows": [{"n": 5, "s": "[1]"}]}
    cases = [{"name": "t", "given": given, "expect": {"tenths": [{"n": 5, "x": "0101"}]}}]
    tenths = {"id": "tenths", "type": "select", "columns": ["n", "lpad(bin(n), 4, '0') AS x"]}
    assert pipeline(tenths, tests=cases).test().passed
    made = pipeline({"type": "select", "add": {"k": "bin(n)"}}, pivot)
    assert made.run().rows_loaded == 3
    assert [name[:2] for name in sorted(pl.read_parquet("out/*.parquet").columns)] == ["1", "10", "11", "s"]


@pytest.mark.usefixtures("here")
def test_what_spark_refuses_is_told_by_its_step_and_before_a_row_is_read() -> None:
    wrong = {"id": "wrong", "type": "select", "columns": ["n", "map_from_arrays(n, s) AS m"]}
    (message,) = said(pipeline(wrong))
    assert message.startswith('Spark refuses the query: Cannot resolve "map_from_arrays(n, s)"')
    assert "pos " not in message
    both = {"type": "select", "columns": ["bin(n) AS b", "uper(s) AS u"]}
    assert said(pipeline(both)) == ["unknown function uper"]
    (message,) = said(pipeline({"type": "select", "columns": ["bin(n) AS b", "uuid() AS u"]}))
    assert message.startswith("uuid gives other values each time it is asked")
    (message,) = said(pipeline({"type": "select", "columns": ["bin(n) AS b"]}, engine="polars"))
    assert message == "function bin is not supported by the embedded engine"
    assert not Path("out").exists()


@pytest.mark.usefixtures("here")
def test_parity_says_that_there_is_nothing_to_compare_with() -> None:
    made = pipeline({"id": "binary", "type": "select", "columns": ["bin(n) AS b"]})
    with pytest.raises(RayetlError, match=r"^binary has nothing to be compared with: function bin is not"):
        made.parity()


@pytest.mark.usefixtures("here")
def test_the_clock_of_a_run_stands_still_and_is_the_same_on_both_engines(judge: Judge) -> None:
    clock = "SELECT n, current_timestamp AS a, now() AS b, current_date AS c, localtimestamp() AS d, " \
        "unix_timestamp() AS e, date_diff(current_date(), DATE'2020-01-01') AS f FROM rows"  # fmt: skip
    late = {"type": "validate", "rules": [{"name": "r", "check": "a = current_timestamp() AND n < 3"}]}
    made = pipeline({"type": "sql", "query": clock}, late, time_zone="Asia/Tokyo")
    before = datetime.now(UTC)
    plan = made.plan()
    engines: list[Engine] = [PolarsEngine(), SparkEngine(Local(judge.spark))]
    ours, theirs = (engine.rows(plan, plan.steps[-1].id) for engine in engines)
    assert ours.num_rows == 2
    assert sorted(ours.to_pylist(), key=str) == sorted(theirs.to_pylist(), key=str)
    row = ours.to_pylist()[0]
    assert before <= row["a"] == row["b"] <= datetime.now(UTC)
    assert row["d"].replace(tzinfo=None) == pa.scalar(row["a"], pa.timestamp("us", "Asia/Tokyo")).as_py().replace(tzinfo=None)  # fmt: skip
    assert row["c"] == row["d"].date()
    assert row["e"] == int(row["a"].timestamp())
    assert made.run().rows_loaded == 2
    assert made.run().status == "skipped"


@pytest.mark.usefixtures("here")
def test_ctrl_c_does_not_wait_for_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    java = Path("bin/java").absolute()
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho $$ > java.pid\nexec sleep 60\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{java.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    started = Path("java.pid")

    def interrupt() -> None:
        while not (started.exists() and started.read_text().strip()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pipeline({"type": "sql", "query": "SELECT n, mode(s) AS m FROM rows GROUP BY n"}).check()
    assert time.monotonic() - begun < 30
    java_lives = Path(f"/proc/{started.read_text().strip()}/exe").exists
    while java_lives() and time.monotonic() - begun < 30:
        time.sleep(0.05)
    assert not java_lives()
