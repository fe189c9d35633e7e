"""Plans as text."""

from __future__ import annotations

from plan_fakes import DDL, FakeConfig, FakeSource, plan_of, step

from rayetl.plan.build import build_plan
from rayetl.plan.explain import explain


def test_the_whole_tree() -> None:
    plan = plan_of(
        {"type": "filter", "where": "k > 1"},
        {"type": "validate", "check": "x > 0"},
        {"type": "select", "add": {"y": "x + 1"}, "cast": {"k": "bigint"}, "drop": ["g"]},
        {"type": "aggregate", "id": "daily", "group_by": ["day AS d"], "metrics": {"n": "count(*)"}},
        {"type": "limit", "rows": 3},
    )
    text = explain(plan)
    assert (
        text
        == """pipeline p
engine polars: it runs every function of this plan
time zone UTC

sources
  src: 1 parquet file of 1.0 kB, rows carry their position
    4 columns: k: int, g: string, x: double, day: date

steps
  filter_1: filter of src, drops rows, rows carry their position
    columns unchanged
  validate_2: validate of filter_1, checks rows, rows carry their position
    columns unchanged
    ! r (check): not true: x > 0: quarantine
  select_3: select of validate_2, keeps every row
    + y: double
    ~ k: int -> bigint
    - g
  daily: aggregate of select_3, folds rows into groups
    2 columns: d: date, n: bigint not null
  limit_5: limit of daily, keeps the first rows
    columns unchanged

loads
  load_1: fake out overwrite from limit_5
    2 columns: d: date, n: bigint not null

warnings
  which rows `limit_5` keeps is up to chance; put a `sort` directly before it
"""
    )


def test_sql_is_a_list_of_queries() -> None:
    plan = plan_of({"type": "filter", "where": "k > 1"}, {"type": "sort", "by": "k"})
    assert (
        explain(plan, sql=True)
        == """-- filter_1 (filter)
SELECT
  *
FROM src
WHERE
  k > 1;

-- sort_2 (sort)
SELECT
  *
FROM filter_1
ORDER BY
  k;
"""
    )


def test_a_waiting_pivot_says_so() -> None:
    plan = plan_of({"type": "pivot", "column": "g", "aggregates": {"n": "count(*)"}})
    assert "known when the values have been looked up" in explain(plan)
    assert "known when the values have been looked up" in explain(plan, sql=True)


def test_names_that_stand_for_a_contract() -> None:
    contract = {
        "schema": {"type": "record", "name": "R", "fields": [{"name": "k", "type": "int"}]},
        "on_mismatch": "quarantine",
    }
    source = FakeSource(ddl=DDL, contract=contract, format="csv")
    plan = build_plan(FakeConfig({"src": source}, [step(type="filter", where="k > 1")]))
    assert "-- src stands for src.contract" in explain(plan, sql=True)
    text = explain(plan)
    assert "contract written in the config, on mismatch quarantine, extra fields keep" in text
    assert "malformed records are rejected" in text


def test_long_schemas_are_cut_short() -> None:
    plan = plan_of(sources={"src": ", ".join(f"c{i} INT" for i in range(40))})
    assert "40 columns: c0: int" in explain(plan)
    assert "and 28 more" in explain(plan)
