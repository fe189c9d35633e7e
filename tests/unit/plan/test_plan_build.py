"""What a plan says about a config, and every problem that it finds."""

from __future__ import annotations

import datetime

import pytest
from plan_fakes import DDL, FakeConfig, FakeLoad, FakeSource, config, plan_of, step
from sqlglot import exp

from rayetl import sql
from rayetl.errors import ConfigError, Problem
from rayetl.names import PREFIX
from rayetl.plan.build import build_plan
from rayetl.plan.fingerprint import run_key
from rayetl.plan.nodes import Plan, StepNode
from rayetl.sql.analyzed import AnalyzedQuery


def problems(*steps: dict, **more: object) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        plan_of(*steps, **more)
    return list(caught.value.problems)


def node(plan: Plan, name: str) -> StepNode:
    found = plan.nodes[name]
    assert isinstance(found, StepNode)
    return found


def test_steps_read_the_one_before_and_get_ids_by_position() -> None:
    plan = plan_of({"type": "filter", "where": "k > 1"}, {"type": "sort", "by": "k"})
    assert [step.id for step in plan.steps] == ["filter_1", "sort_2"]
    assert node(plan, "filter_1").inputs == ("src",)
    assert node(plan, "sort_2").inputs == ("filter_1",)
    assert plan.loads[0].input == "sort_2"
    assert str(plan.loads[0].schema) == "struct<k:int,g:string,x:double,day:date>"
    assert plan.warnings == ()


def test_a_load_without_steps_reads_the_source() -> None:
    assert plan_of().loads[0].input == "src"


def test_steps_may_stand_before_what_they_read() -> None:
    plan = plan_of(
        {"type": "filter", "where": "k > 1", "from": "late"},
        {"type": "filter", "where": "k > 2", "from": "src", "id": "late"},
        load=[FakeLoad.model_validate({"from": "filter_1"})],
    )
    assert [step.id for step in plan.steps] == ["late", "filter_1"]


def test_every_problem_of_the_config_is_found_at_once() -> None:
    found = problems(
        {"type": "filter", "where": "kk > 1"},
        {"type": "select", "columns": ["nope"]},
        {"type": "join", "with": "scr", "on": "k", "from": "src"},
        {"type": "aggregate", "metrics": {"n": "summ(x)"}, "from": "src"},
        {"type": "limit", "rows": 1, "from": "filtre_1"},
        load=[FakeLoad(refuse="cannot do that"), FakeLoad.model_validate({"from": "src", "refuse": "no"})],
    )
    told = [(problem.path, problem.hint) for problem in found]
    paths = [path for path, _ in told]
    assert ("transform", 0, "where") in paths
    assert ("transform", 1, "columns", 0) in paths, "a filter has its input's columns, right or wrong"
    assert (("transform", 2, "with"), "did you mean `src`?") in told
    assert ("transform", 3, "metrics", "n") in paths
    assert (("transform", 4, "from"), "did you mean `filter_1`?") in told
    assert ("load", 1, "mode") in paths
    assert paths == sorted(paths, key=lambda path: (["extract", "transform", "load"].index(path[0]), path[1]))


def test_columns_of_a_step_that_is_wrong_are_not_guessed_at() -> None:
    found = problems({"type": "select", "columns": ["nope"]}, {"type": "filter", "where": "other > 1"})
    assert [problem.path for problem in found] == [("transform", 0, "columns", 0)]


def test_a_wrong_column_has_its_offset_in_the_text() -> None:
    (found,) = problems({"type": "filter", "where": "k > 1 AND gg = 'a'"})
    assert found.path == ("transform", 0, "where")
    assert found.offset == 10


def test_a_missing_source_is_told_at_its_path() -> None:
    (found,) = problems({"type": "filter", "where": "whatever"}, sources={"src": ""})
    assert found.path == ("extract", "src", "path")
    assert "no file matches" in found.message


def test_ids_are_unique_without_regard_to_case() -> None:
    (found,) = problems({"type": "sort", "by": "k", "id": "Src"})
    assert found.path == ("transform", 0, "id")


def test_the_id_of_the_dead_letters_is_reserved() -> None:
    (found,) = problems(load=[FakeLoad(id="rejects")])
    assert found.path == ("load", 0, "id")


def test_a_cycle_is_named() -> None:
    (found,) = problems(
        {"type": "filter", "where": "k > 1", "id": "a", "from": "b"},
        {"type": "filter", "where": "k > 1", "id": "b", "from": "a"},
    )
    assert "`a` reads `b` reads `a`" in found.message


def test_two_loads_into_one_path() -> None:
    (found,) = problems(load=[FakeLoad(path="out/x"), FakeLoad(path="out/../out/x/".rstrip("/"))][:1] * 2)
    assert found.path == ("load", 1, "path")


def joined_with_itself(times: int) -> list[dict]:
    return [
        {"type": "sql", "query": "SELECT a.* FROM input AS a JOIN input AS b ON a.k = b.k"}
        for _ in range(times)
    ]


def test_steps_may_each_read_the_one_before_twice() -> None:
    assert len(plan_of(*joined_with_itself(13)).steps) == 13


def test_steps_that_double_without_end_are_told_with_what_to_do() -> None:
    (found,) = problems(*joined_with_itself(40))
    assert found.path == ("transform", 13)
    assert found.message.startswith("sql_14 reads the sources in more than 10,000 places")
    assert found.hint is not None


def test_two_columns_of_one_name() -> None:
    (found,) = problems({"type": "select", "columns": ["k", "g AS K"]})
    assert "`k` and `K`" in found.message


@pytest.mark.parametrize(
    "kind", ["STRUCT<p: INT, P: INT>", "MAP<STRING, ARRAY<STRUCT<a: INT, p: INT, P: INT>>>"]
)
def test_two_fields_of_one_name(kind: str) -> None:
    (found,) = problems(sources={"src": f"k INT, p INT, c {kind}"})
    assert found.path == ("extract", "src")
    assert found.message == "two fields of a struct are called `p` and `P`, which Spark takes for the same"


def test_a_column_with_our_prefix_is_refused() -> None:
    (found,) = problems(sources={"src": f"`{PREFIX}row` BIGINT, a INT"})
    assert found.path == ("extract", "src")
    (found,) = problems({"type": "select", "columns": [f"k AS {PREFIX}x"]})
    assert found.offset == 5


def test_sql_reads_ids_and_the_step_before() -> None:
    plan = plan_of(
        {"type": "filter", "where": "k > 1"},
        {"type": "sql", "query": "WITH w AS (SELECT * FROM dim) SELECT i.k FROM input i JOIN w ON i.k = w.k"},
        sources={"src": DDL, "dim": "k INT, name STRING"},
    )
    assert node(plan, "sql_2").inputs == ("filter_1", "dim")
    assert plan.schema("sql_2").names == ("k",)


def test_sql_may_ignore_the_step_before() -> None:
    plan = plan_of(
        {"type": "sql", "query": "SELECT name FROM Dim"}, sources={"src": DDL, "dim": "name STRING"}
    )
    assert node(plan, "sql_1").inputs == ("dim",)
    assert [warning.message for warning in plan.warnings] == ["nothing reads the source `src`"]


def test_an_unknown_table_in_sql_has_its_offset() -> None:
    (found,) = problems({"type": "sql", "query": "SELECT * FROM scr"})
    assert (found.path, found.offset, found.hint) == (("transform", 0, "query"), 14, "did you mean `src`?")


def test_positions_are_carried_only_where_rows_can_be_refused() -> None:
    plan = plan_of(
        {"type": "filter", "where": "k > 1"},
        {"type": "validate", "check": "x > 0"},
        {"type": "filter", "where": "k > 2"},
    )
    assert [step.carries_row for step in plan.steps] == [True, True, False]
    assert plan.sources[0].carries_row
    assert plan.sources[0].reads_positions
    flagged = node(plan, "validate_2")
    assert flagged.analyzed.schema.names[-2] == f"{PREFIX}row"
    assert flagged.analyzed.schema.names[-1] == flagged.checked.rows[0].flag
    assert flagged.schema.names == ("k", "g", "x", "day")
    assert node(plan, "filter_1").analyzed.schema.names[-1] == f"{PREFIX}row"
    assert node(plan, "filter_3").analyzed.schema.names == ("k", "g", "x", "day")


@pytest.mark.parametrize(
    "between",
    [
        {"type": "aggregate", "group_by": ["k"], "metrics": {"x": "sum(x)"}},
        {"type": "union", "with": "src"},
        {"type": "sql", "query": "SELECT DISTINCT * FROM input"},
    ],
)
def test_positions_end_where_rows_merge(between: dict) -> None:
    plan = plan_of(between, {"type": "validate", "check": "x > 0"})
    assert not any(step.carries_row for step in plan.steps)
    assert not plan.sources[0].reads_positions


def test_steps_are_compiled_once_whether_they_carry_positions_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    analyzed = []
    analyze = sql.analyze

    def counted(query: exp.Query, *given: object, **more: object) -> AnalyzedQuery:
        analyzed.append(query)
        return analyze(query, *given, **more)

    monkeypatch.setattr(sql, "analyze", counted)
    load = FakeLoad.model_validate({"id": "out", "contract": {"schema": CONTRACT, "extra_fields": "drop"}})
    refusing = {"type": "validate", "check": "x > 0"}
    plan = build_plan(FakeConfig({"src": contracted()}, [step(**A), step(**refusing), step(**A)], [load]))
    assert [found.carries_row for found in plan.steps] == [True] * 5
    assert len(analyzed) == 5
    warning = {"type": "validate", "check": "x > 0", "on_failure": "warn"}
    analyzed.clear()
    assert [found.carries_row for found in plan_of(A, warning, A).steps] == [False] * 3
    assert len(analyzed) == 3 + 2  # That a rule only warns is known when its step is compiled.


def test_a_warning_needs_no_position() -> None:
    plan = plan_of({"type": "validate", "check": "x > 0", "on_failure": "warn"})
    assert not plan.steps[0].carries_row


def test_malformed_records_of_text_are_found_again() -> None:
    def source(**fields: str) -> tuple[bool, bool, bool]:
        plan = build_plan(FakeConfig({"s": FakeSource(ddl=DDL, **fields)}))
        found = plan.sources[0]
        return found.reads_reasons, found.reads_positions, found.carries_row

    assert source(format="csv") == (True, True, False)
    assert source(format="csv", mode="drop") == (True, False, False)
    assert source(format="json", mode="fail") == (False, False, False)
    assert source(format="parquet") == (False, False, False)


def test_a_pivot_waits_for_its_values_and_all_after_it() -> None:
    steps = [
        {"type": "pivot", "group_by": ["k"], "column": "g", "aggregates": {"n": "count(*)"}},
        {"type": "filter", "where": "a > 1"},
    ]
    waiting = plan_of(*steps)
    assert waiting.deferred
    assert waiting.loads[0].schema is None

    def found(step: StepNode, query: object) -> list[str | None]:
        assert step.inputs == ("src",)
        assert "DISTINCT" in sql.render(query)
        return ["a", None]

    known = plan_of(*steps, found=found)
    assert not known.deferred
    assert known.schema("filter_2").names == ("k", "null", "a"), "sorted, as Spark sorts them"
    assert known.fingerprint == waiting.fingerprint


def test_a_wrong_pivot_column_is_found_before_the_values() -> None:
    (found,) = problems({"type": "pivot", "column": "gg", "aggregates": {"n": "count(*)"}})
    assert found.path == ("transform", 0, "column")


def test_pivot_takes_found_dates() -> None:
    plan = plan_of(
        {"type": "pivot", "column": "day", "aggregates": {"n": "count(*)"}},
        found=lambda step, query: [datetime.date(2020, 1, 1)],
    )
    assert plan.schema("pivot_1").names == ("2020-01-01",)


def test_warnings() -> None:
    plan = plan_of(
        {"type": "limit", "rows": 1},
        {"type": "deduplicate", "keys": ["k"], "from": "src"},
    )
    assert [warning.message for warning in plan.warnings] == [
        "nothing reads the step `limit_1`",
        "which rows `limit_1` keeps is up to chance",
        "which row of several `deduplicate_2` keeps is up to chance",
    ]


A = {"type": "filter", "where": "k > 1"}
B = {"type": "select", "add": {"y": "x + 1"}}


def test_the_fingerprint_is_that_of_the_rows() -> None:
    same = plan_of(A, B).fingerprint
    assert plan_of({**A, "id": "kept"}, B).fingerprint == same
    assert plan_of({"type": "filter", "where": "k   >  1 -- comment"}, B).fingerprint == same
    assert plan_of({"type": "sql", "query": "SELECT * FROM input WHERE k > 1"}, B).fingerprint != same
    assert plan_of({"type": "filter", "where": "k > 2"}, B).fingerprint != same
    assert plan_of(A, B, load=[FakeLoad(mode="append")]).fingerprint != same
    assert build_plan(config(A, B, time_zone="Europe/Vienna")).fingerprint != same
    assert plan_of(A, B, sources={"other": DDL}).fingerprint == same, "the id of a source is only a name"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT k FROM input WHERE k > 1", "SELECT k FROM input WHERE k >= 1"),
        ("SELECT k FROM input WHERE k > 1", "SELECT k FROM input WHERE k > '1'"),
        ("SELECT k, TRUE AS t FROM input", "SELECT k, FALSE AS t FROM input"),
        ("SELECT k FROM input", "SELECT DISTINCT k FROM input"),
        (
            "SELECT count(*) AS n FROM input GROUP BY GROUPING SETS ((k, x), g)",
            "SELECT count(*) AS n FROM input GROUP BY GROUPING SETS ((k, x, g))",
        ),
        ("SELECT k FROM input ORDER BY k", "SELECT k FROM input ORDER BY k DESC"),
        ("SELECT k FROM input ORDER BY k", "SELECT k FROM input ORDER BY k NULLS LAST"),
        ("SELECT k FROM input UNION SELECT 1", "SELECT k FROM input UNION ALL SELECT 1"),
        ("SELECT CAST(x AS INT) AS k FROM input", "SELECT CAST(x AS BIGINT) AS k FROM input"),
        ("SELECT k - (x - 1) AS d FROM input", "SELECT k - x - 1 AS d FROM input"),
        ("SELECT sum(k) AS n FROM input", "SELECT sum(DISTINCT k) AS n FROM input"),
        (
            "SELECT a.k FROM input a JOIN src b ON a.k = b.k",
            "SELECT a.k FROM input a JOIN src b ON a.k = a.k",
        ),
    ],
)
def test_queries_that_give_other_rows_have_another_fingerprint(one: str, other: str) -> None:
    plans = [plan_of(A, {"type": "sql", "query": query}) for query in (one, other)]
    assert plans[0].fingerprint != plans[1].fingerprint


@pytest.mark.parametrize(
    "other",
    [
        "select k /* the key */ from input where k   > 1",
        "SELECT `k` FROM `input` WHERE `k` > 1",
        "SELECT /*+ BROADCAST(input) */ k FROM input WHERE k > 1",
    ],
)
def test_spelling_does_not_change_the_fingerprint(other: str) -> None:
    plans = [
        plan_of(A, {"type": "sql", "query": query}) for query in ("SELECT k FROM input WHERE k > 1", other)
    ]
    assert plans[0].fingerprint == plans[1].fingerprint


def test_a_check_that_no_load_reads_counts() -> None:
    check = {"type": "validate", "check": "x > 0", "from": "src", "on_failure": "abort"}
    load = [FakeLoad.model_validate({"from": "filter_1"})]
    assert plan_of(A, check, load=load).fingerprint != plan_of(A, load=load).fingerprint
    assert plan_of(A, check, load=load).warnings == ()


def test_the_run_key_knows_the_input() -> None:
    def key(path: str) -> str | None:
        source = FakeSource(ddl=DDL, path=path)
        plan = build_plan(FakeConfig({"src": source}, [step(**A)]))
        return run_key(plan)

    assert key("a") == key("a")
    assert key("a") != key("b")


CONTRACT = {
    "type": "record",
    "name": "Row",
    "fields": [{"name": "k", "type": "int"}, {"name": "g", "type": ["null", "string"], "default": None}],
}


def contracted(**fields: object) -> FakeSource:
    return FakeSource(ddl=DDL, contract={"schema": CONTRACT, **fields})


def test_a_contract_of_a_source_is_a_step_behind_it() -> None:
    plan = build_plan(FakeConfig({"src": contracted(extra_fields="drop")}, [step(**A)]))
    assert [found.id for found in plan.steps] == ["src.contract", "filter_1"]
    checked = node(plan, "src.contract")
    assert checked.kind == "contract"
    assert checked.carries_row
    assert checked.schema.names == ("k", "g")
    following = node(plan, "filter_1")
    assert [(b.name, b.node) for b in following.bindings] == [("src", "src.contract")]
    assert not following.carries_row


def test_a_contract_that_is_switched_off_is_not_there() -> None:
    assert build_plan(FakeConfig({"src": contracted(enabled=False)})).steps == ()


def test_a_contract_of_a_load_is_a_step_before_it() -> None:
    load = FakeLoad.model_validate({"id": "out", "contract": {"schema": CONTRACT, "extra_fields": "drop"}})
    plan = plan_of(A, load=[load, FakeLoad(path="elsewhere")])
    assert plan.nodes["out"].input == "out.contract"
    assert plan.nodes["load_2"].input == "filter_1"
    assert plan.schema("out").names == ("k", "g")
    assert [found.carries_row for found in plan.steps] == [True, True]


def test_a_contract_that_no_row_can_keep_is_a_problem() -> None:
    source = FakeSource(ddl="g STRING", contract={"schema": CONTRACT})
    with pytest.raises(ConfigError) as caught:
        build_plan(FakeConfig({"src": source}, [step(type="filter", where="whatever")]))
    (found,) = caught.value.problems
    assert found.path == ("extract", "src", "contract", "schema")


def test_a_contract_file_that_is_missing_is_a_problem() -> None:
    source = FakeSource(ddl="g STRING", contract={"schema": "nowhere.avsc"})
    with pytest.raises(ConfigError) as caught:
        build_plan(FakeConfig({"src": source}))
    assert caught.value.problems[0].path[:3] == ("extract", "src", "contract")


@pytest.mark.parametrize("name", ["^.$", "^a.*$", "^$"])
def test_names_that_polars_would_take_for_patterns_are_refused(name: str) -> None:
    """They stood for other columns, or for none and no row."""
    source = FakeSource(ddl=f"k INT, `{name}` INT")
    inside = FakeSource(ddl=f"k INT, s ARRAY<STRUCT<`{name}`: INT>>")
    for given in (
        FakeConfig({"s": source}),
        FakeConfig({"s": inside}),
        config({"type": "select", "columns": [f"k AS `{name}`"]}),
    ):
        with pytest.raises(ConfigError, match=r"begins with \^ and ends with"):
            build_plan(given)
