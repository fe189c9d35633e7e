"""Rows are checked once however many readers they have, and all of them although a reader stops early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rayetl import Pipeline
from rayetl.engines.polars import gates
from rayetl.errors import RayetlError

ROWS = 50_000
BAD_ROWS = ROWS // 10
CHECK = {"id": "checked", "type": "validate", "rules": [{"name": "r", "check": "n % 10 <> 0"}]}


def pipeline(folder: Path, steps: list[dict[str, Any]], loads: list[dict[str, Any]]) -> Pipeline:
    pl.DataFrame({"n": range(ROWS)}).write_csv(folder / "in.csv")
    (folder / "none.csv").write_text("n\n")
    (folder / "in.csv").open("a").write("odd,line\nbad\n")
    source = {"type": "files", "schema": "n BIGINT", "options": {"header": True}}
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {
                "rows": {**source, "path": str(folder / "in.csv")},
                "none": {**source, "path": str(folder / "none.csv")},
            },
            "transform": [CHECK | {"from": "rows"}, *steps],
            "load": [
                {"type": "files", "path": str(folder / f"out{place}"), "format": "parquet", **load}
                for place, load in enumerate(loads)
            ],
            "resilience": {"dead_letter": {"path": str(folder / "letters")}},
            "state": str(folder / "state"),
        }
    )


EARLY: dict[str, list[dict[str, Any]]] = {
    "a limit": [{"type": "limit", "rows": 3}],
    "a filter that is never true": [{"type": "filter", "where": "false"}],
    "a condition that folds to never": [{"type": "filter", "where": "n > 5 AND 1 = 0"}],
    "an empty side of a join": [{"type": "join", "with": "none", "on": ["n"]}],
    "a query that looks at no row": [{"type": "sql", "query": "SELECT 1 AS n FROM checked LIMIT 1"}],
}


@pytest.mark.parametrize("name", EARLY)
def test_readers_that_stop_early_stop_no_check(tmp_path: Path, name: str) -> None:
    report = pipeline(tmp_path, EARLY[name], [{}]).run()
    assert report.status == "done"
    assert {source.id: source.rows_read for source in report.sources}["rows"] == ROWS + 2
    assert report.rejected_rows == BAD_ROWS + 2
    assert all(line.balanced for line in report.books)


READ_AGAIN = {
    "a self-join": "SELECT a.n FROM checked a JOIN checked b ON a.n = b.n",
    "IN": "SELECT n FROM checked WHERE n IN (SELECT n FROM checked WHERE n < 50)",
    "NOT IN": "SELECT n FROM checked WHERE n NOT IN (SELECT n FROM checked WHERE n < 50)",
    "EXISTS": "SELECT n FROM checked c WHERE EXISTS (SELECT 1 FROM checked d WHERE d.n = c.n + 1)",
    "a scalar subquery": "SELECT n, (SELECT max(n) FROM checked) AS m FROM checked",
    "a common table": "WITH x AS (SELECT n FROM checked) SELECT a.n FROM x a JOIN x b USING (n)",
    "other filters": "SELECT n FROM checked WHERE n < 10 UNION ALL SELECT n FROM checked WHERE n > 20",
    "EXCEPT": "SELECT n FROM checked EXCEPT SELECT n FROM checked WHERE n > 5",
}


@pytest.mark.parametrize("name", READ_AGAIN)
def test_a_query_that_reads_rows_again_checks_them_once(tmp_path: Path, name: str) -> None:
    report = pipeline(tmp_path, [{"type": "sql", "query": READ_AGAIN[name]}], [{}]).run()
    assert {source.id: source.rows_read for source in report.sources}["rows"] == ROWS + 2
    assert report.rejected_rows == BAD_ROWS + 2


def test_refused_rows_beyond_what_is_held_are_all_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "PART", 1_000)
    report = pipeline(tmp_path, [], [{}]).run()
    assert report.rejected_rows == BAD_ROWS + 2
    letters = pl.read_parquet(tmp_path / "letters/p/rejects/*.parquet")
    checked = letters.filter(pl.col("step") == "checked")
    assert sorted(checked["row"]) == list(range(0, ROWS, 10))


def test_a_full_disk_beside_the_gate_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(frame: pl.DataFrame, *_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gates, "PART", 1)
    monkeypatch.setattr(gates.Gate, "_write", full)
    with pytest.raises(RayetlError) as caught:
        pipeline(tmp_path, [], [{}]).run()
    assert "No space left on device" in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert not list(tmp_path.glob("out0/*.parquet"))


def test_two_loads_and_a_self_join_check_once(tmp_path: Path) -> None:
    steps = [
        {"id": "twice", "type": "sql", "query": "SELECT a.n FROM checked a JOIN checked b ON a.n = b.n"},
        {"id": "again", "type": "filter", "from": "checked", "where": "n < 100"},
    ]
    loads = [{"from": "twice"}, {"from": "again"}, {"from": "checked"}]
    report = pipeline(tmp_path, steps, loads).run()
    assert report.rejected_rows == BAD_ROWS + 2
    assert [load.rows for load in report.loads] == [ROWS - BAD_ROWS, 90, ROWS - BAD_ROWS]
    letters = pl.read_parquet(tmp_path / "letters/p/rejects/*.parquet")
    assert letters["id"].n_unique() == letters.height == BAD_ROWS + 2


def filters(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"id": where, "type": "filter", "from": given, "where": where} for given, where in pairs]


BRANCHES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "filters of a source": (
        [{**step, "id": f"f{n}"} for n, step in enumerate(filters(("rows", "n < 9"), ("rows", "n > 20")))],
        [{"from": "f0"}, {"from": "f1"}],
    ),
    "filters of a step": (
        [{**step, "id": f"f{n}"} for n, step in enumerate(filters(("checked", "n < 9"), ("checked", "n > 20")))],
        [{"from": "f0"}, {"from": "f1"}],
    ),
    "a union with itself, filtered": (
        [{"type": "union", "from": "checked", "with": "checked"}, {"type": "filter", "where": "n > 20"}],
        [{}],
    ),
    "an unpivot without NULLs": (
        [
            {"type": "select", "add": {"m": "n + 1"}},
            {"type": "unpivot", "columns": ["n", "m"], "drop_nulls": True},
        ],
        [{}],
    ),
    "an unpivot of a source without NULLs": (
        [
            {"id": "wide", "type": "select", "from": "rows", "add": {"m": "n"}},
            {"type": "unpivot", "columns": ["n", "m"]},
            {"type": "filter", "where": "value > 20"},
        ],
        [{}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BRANCHES)
def test_branches_with_filters_of_their_own_check_once(tmp_path: Path, name: str) -> None:
    """Polars reads twice rather than filter late: it takes away caches whose readers filter differently."""
    steps, loads = BRANCHES[name]
    report = pipeline(tmp_path, steps, loads).run()
    assert {source.id: source.rows_read for source in report.sources}["rows"] == ROWS + 2
    assert report.rejected_rows == BAD_ROWS + 2
    letters = pl.read_parquet(tmp_path / "letters/p/rejects/*.parquet")
    assert letters["id"].n_unique() == letters.height == BAD_ROWS + 2


def test_filtered_branches_of_a_source_read_it_once(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("n\n1\n5\nbad\n30\n31\n")
    source = {"type": "files", "path": str(tmp_path / "in.csv"), "schema": "n BIGINT"}
    branches = {"low": "n < 9", "high": "n > 20", "top": "n > 30"}
    steps = [{"id": name, "type": "filter", "from": "rows", "where": w} for name, w in branches.items()]
    report = Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"rows": {**source, "options": {"header": True}}},
            "transform": steps,
            "load": [{"type": "files", "from": name, "path": str(tmp_path / name)} for name in branches],
            "resilience": {"dead_letter": {"path": str(tmp_path / "letters")}},
            "state": str(tmp_path / "state"),
        }
    ).run()
    assert (report.rows_read, report.rejected_rows) == (5, 1)
    assert [(line.loaded, line.filtered, line.rejected) for line in report.books] == [
        (2, 2, 1),
        (2, 2, 1),
        (1, 3, 1),
    ]
    assert pl.read_parquet(tmp_path / "letters/p/rejects/*.parquet").height == 1
