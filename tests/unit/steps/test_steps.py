"""What steps refuse, how they say it, and that their page is fresh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML

from rayetl.errors import Problem, SqlError
from rayetl.names import PREFIX, ROW
from rayetl.sql.interop import parse_ddl
from rayetl.sql.parse import parse_query, render
from rayetl.sql.types import LONG, Field, Schema
from rayetl.steps import AnyStep, Input, RowEffect, Step, StepContext, reference

STEP: TypeAdapter[Any] = TypeAdapter(AnyStep)
MAIN = parse_ddl(
    "k INT, g STRING, x DOUBLE, day DATE, tags ARRAY<INT>, m MAP<STRING, INT>, s STRUCT<u: INT, v: INT>"
)
OTHER = parse_ddl("k INT, x DOUBLE, name STRING")


def query(carry: bool = False, found: Any = None, **fields: Any) -> str:
    step: Step = STEP.validate_python(fields)
    main = Schema((*MAIN.fields, Field(ROW, LONG))) if carry else MAIN
    others = [Input(name, MAIN if name == "main" else OTHER) for _, name in step.other_inputs()]
    inputs = (Input("main", main), *others)
    context = StepContext(inputs, ("transform", 3), (ROW,) if carry else (), found or (lambda _: None))
    return " ".join(render(step.to_query(context)).split())


def problems(**fields: Any) -> list[Problem]:
    with pytest.raises(SqlError) as caught:
        query(**fields)
    return list(caught.value.problems)


REFUSED: list[tuple[dict[str, Any], tuple[Any, ...], int | None, str]] = [
    ({"type": "filter", "where": "k >"}, ("where",), 2, ""),
    ({"type": "filter", "where": "k > 1 AND sum(k) > 2"}, ("where",), 10, "`sum` does not give one value"),
    ({"type": "filter", "where": "explode(tags) = 1"}, ("where",), 0, "`explode`"),
    ({"type": "filter", "where": f"k = {PREFIX}row"}, ("where",), 4, "kept for rayetl"),
    ({"type": "select", "columns": ["k", f"g AS {PREFIX}g"]}, ("columns", 1), 5, "kept for rayetl"),
    ({"type": "select", "columns": ["count(*)"]}, ("columns", 0), 0, "`count`"),
    ({"type": "select", "columns": {"a": "k AS b"}}, ("columns", "a"), None, "not allowed here"),
    ({"type": "select", "add": {"a": "max(k)"}}, ("add", "a"), 0, "`max`"),
    ({"type": "select", "drop": ["gg"]}, ("drop", 0), None, "`main` has no column `gg`"),
    ({"type": "select", "rename": {"kk": "a"}}, ("rename", "kk"), None, "no column `kk`"),
    ({"type": "select", "cast": {"kk": "int"}}, ("cast", "kk"), None, "no column `kk`"),
    ({"type": "select", "drop": ["k"], "rename": {"K": "a"}}, ("drop", 0), None, "in `rename` and in `drop`"),
    ({"type": "deduplicate", "keys": ["k", "gg"]}, ("keys", 1), None, "no column `gg`"),
    ({"type": "deduplicate", "order_by": ["k DESCENDING"]}, ("order_by", 0), None, ""),
    ({"type": "aggregate", "group_by": ["1"]}, ("group_by", 0), None, "not a constant"),
    ({"type": "aggregate", "group_by": ["*"]}, ("group_by", 0), None, "`*` is not allowed"),
    ({"type": "aggregate", "metrics": {"n": "sum("}}, ("metrics", "n"), None, ""),
    ({"type": "join", "with": "other", "on": ["k", "g"]}, ("on", 1), None, "`other` has no column `g`"),
    ({"type": "join", "with": "other", "on": "name"}, ("on",), None, "`main` has no column `name`"),
    ({"type": "join", "with": "other", "on": "k"}, ("with",), None, "both have a column `x`"),
    ({"type": "join", "with": "other", "how": "cross"}, ("with",), None, "both have columns `k`, `x`"),
    ({"type": "window", "columns": {"a": "k + 1"}}, ("columns", "a"), None, "no aggregate or ranking"),
    (
        {"type": "window", "columns": {"a": "sum(k) FILTER (WHERE k > 1)"}},
        ("columns", "a"),
        None,
        "no FILTER",
    ),
    ({"type": "window", "columns": {"a": "sum(k)"}, "frame": "rows of 5"}, ("frame",), None, "window frame"),
    ({"type": "window", "columns": {"a": "sum(k)"}, "partition_by": ["k +"]}, ("partition_by", 0), None, ""),
    (
        {"type": "pivot", "column": "g", "values": [1], "aggregates": {"a": "k"}},
        ("aggregates", "a"),
        None,
        "no aggre",
    ),
    ({"type": "unpivot", "columns": ["k", "zz"]}, ("columns", 1), None, "no column `zz`"),
    ({"type": "unpivot", "columns": ["k"], "ids": ["K"]}, ("ids", 0), None, "in `ids` and in `columns`"),
    ({"type": "flatten", "column": "k"}, ("column",), None, "`k` is int; only arrays, maps and structs"),
    ({"type": "flatten", "column": "tag"}, ("column",), None, "no column `tag`"),
    ({"type": "flatten", "column": "m", "as": "one"}, ("as",), None, "2 names are needed"),
    ({"type": "flatten", "column": "s", "position": "p"}, ("position",), None, "no positions"),
    ({"type": "union", "with": ["other", "third"]}, ("with", 0), None, "`other` has no column `g`"),
    ({"type": "union", "with": ["other", "third"], "by_name": False}, ("with", 0), None, "7 columns"),
    (
        {"type": "union", "with": "other", "by_name": False, "allow_missing": True},
        ("allow_missing",),
        None,
        "",
    ),
    ({"type": "fill", "value": {"kk": 1}}, ("value", "kk"), None, "no column `kk`"),
    ({"type": "fill", "value": {"k": "a"}}, ("value", "k"), None, "cannot be filled with 'a'"),
    ({"type": "fill", "value": {"g": 1}}, ("value", "g"), None, "cannot be filled with 1"),
    ({"type": "fill", "value": 1, "columns": ["day"]}, ("columns", 0), None, "`day` is date"),
    ({"type": "sql", "query": "SELECT * FORM input"}, ("query",), None, ""),
    ({"type": "sql", "query": f"SELECT k AS {PREFIX}k FROM input"}, ("query",), 12, "kept for rayetl"),
    ({"type": "sort", "by": []}, ("by",), None, "nothing to sort by"),
]


@pytest.mark.parametrize(("fields", "place", "offset", "message"), REFUSED)
def test_refused_with_its_place(
    fields: dict[str, Any], place: tuple[Any, ...], offset: int | None, message: str
) -> None:
    told = [p for p in problems(**fields) if p.path == ("transform", 3, *place) and message in p.message]
    assert told, problems(**fields)
    assert offset is None or told[0].offset == offset


def test_all_faults_of_a_step_are_told_at_once() -> None:
    found = problems(type="aggregate", group_by=["1", "g +"], metrics={"a": "sum("}, having="> 1")
    assert {problem.path[2] for problem in found} == {"group_by", "metrics", "having"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "select"}, "say which columns"),
        ({"type": "select", "columns": ["k"], "drop": ["g"]}, "cannot go with `drop`"),
        ({"type": "deduplicate", "keys": ["k"], "keep": "last"}, "needs `order_by`"),
        ({"type": "deduplicate", "keep": "any", "order_by": ["k"]}, "means nothing"),
        ({"type": "aggregate"}, "give `group_by`, `metrics`, or both"),
        ({"type": "join", "with": "o"}, "either `on`"),
        ({"type": "join", "with": "o", "on": "k", "condition": "true"}, "either `on`"),
        ({"type": "join", "with": "o", "on": []}, "names no column"),
        ({"type": "join", "with": "o", "how": "cross", "on": "k"}, "neither"),
        ({"type": "select", "add": {f"{PREFIX}x": "1"}}, PREFIX),
        ({"type": "limit", "rows": -1}, "greater than or equal"),
        ({"type": "fill", "value": float("inf")}, "finite"),
        ({"type": "filter", "where": "  "}, "empty"),
        ({"type": "window", "columns": {}}, "at least 1"),
    ],
)
def test_refused_by_form(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        STEP.validate_python(fields)


def test_camel_case_is_the_same() -> None:
    step = STEP.validate_python({"type": "aggregate", "groupBy": ["g"], "metrics": {"n": "count(*)"}})
    assert step.group_by == ["g"]


def test_queries_are_plain() -> None:
    assert query(type="filter", where="k > 1") == "SELECT * FROM main WHERE k > 1"
    assert query(type="select", add={"y": "k + 1"}) == "SELECT *, k + 1 AS y FROM main"
    assert query(type="deduplicate") == "SELECT DISTINCT * FROM main"
    assert query(type="sort", by="k DESC") == "SELECT * FROM main ORDER BY k DESC"
    assert query(type="limit", rows=3, offset=1) == "SELECT * FROM main LIMIT 3 OFFSET 1"
    assert query(type="join", **{"with": "other"}, on="k", how="semi") == (
        "SELECT * FROM main LEFT SEMI JOIN other ON main.k = other.k"
    )
    assert query(type="union", **{"with": "main"}).count("SELECT *") == 2


def test_a_window_stands_behind_outermost_functions_only() -> None:
    text = query(
        type="window",
        partition_by=["g"],
        order_by=["k"],
        frame="ROWS 2 PRECEDING",
        columns={"a": "sum(k) / max(x)"},
    )
    assert text.count("OVER") == 2
    ranked = query(type="window", order_by=["k"], frame="ROWS 2 PRECEDING", columns={"a": "rank()"})
    assert "ROWS" not in ranked, "ranking functions take no frame"


def test_pivot_asks_for_its_values() -> None:
    asked = []

    def found(question: Any) -> list[Any]:
        asked.append(" ".join(render(question).split()))
        return ["b", None, "a"]

    text = query(type="pivot", column="g", aggregates={"n": "count(*)"}, found=found)
    assert asked == ["SELECT DISTINCT g AS value FROM main LIMIT 10001"]
    assert [part.split("`")[0].split(",")[0].strip() for part in text.split(" AS ")[1:]] != []
    assert text.index("IS NULL") < text.index("'a'") < text.index("'b'")


def test_pivot_refuses_too_many_values() -> None:
    with pytest.raises(SqlError, match="more than 10000 values"):
        query(type="pivot", column="k", aggregates={"n": "count(*)"}, found=lambda _: range(10_001))


def test_pivot_without_a_value_and_a_group_has_no_column() -> None:
    with pytest.raises(SqlError, match="no column would be left"):
        query(type="pivot", column="k", aggregates={"n": "count(*)"}, found=lambda _: [])
    grouped = query(
        type="pivot", group_by=["g"], column="k", aggregates={"n": "count(*)"}, found=lambda _: []
    )
    assert " ".join(grouped.split()) == "SELECT g FROM main GROUP BY g"


@pytest.mark.parametrize(
    ("text", "carries"),
    [
        ("SELECT k FROM input WHERE k > 1", True),
        ("SELECT *, row_number() OVER (ORDER BY k) AS r FROM input", True),
        ("SELECT count(*) FROM input", False),
        ("SELECT k FROM input GROUP BY k", False),
        ("SELECT DISTINCT k FROM input", False),
        ("SELECT k FROM input LIMIT 1", False),
        ("SELECT explode(tags) FROM input", False),
        ("SELECT i.k FROM input i JOIN other o ON i.k = o.k", False),
        ("SELECT k FROM input UNION ALL SELECT k FROM input", False),
        ("SELECT k FROM (SELECT k FROM input)", False),
        ("SELECT k FROM input i WHERE k IN (SELECT k FROM other)", False),
        ("SELECT k FROM", False),
    ],
)
def test_only_simple_sql_keeps_positions(text: str, carries: bool) -> None:
    assert STEP.validate_python({"type": "sql", "query": text}).carries() is carries


def test_sql_knows_its_tables() -> None:
    step = STEP.validate_python(
        {
            "type": "sql",
            "query": "WITH w AS (SELECT * FROM a) SELECT * FROM w, `b-c` AS b JOIN Input i ON true",
        }
    )
    assert [name for _, name in step.other_inputs()] == ["a", "b-c"]
    assert step.reads_previous()
    assert step.offset_of("a") == 25


def test_effects_are_said_by_every_verb() -> None:
    effects = {verb.model_fields["type"].default: verb.effect for verb in reference.VERBS}
    assert effects["filter"] is RowEffect.FILTERS
    assert effects["aggregate"] is RowEffect.FOLDS
    assert len(effects) == 14


def test_the_page_is_fresh() -> None:
    committed = Path(__file__).parents[3] / "docs" / "steps.md"
    assert committed.read_text("utf-8") == reference.page(), (
        "run: python -m rayetl.steps.reference > docs/steps.md"
    )


def test_the_page_shows_every_verb_and_its_yaml_is_its_example() -> None:
    blocks = [part.split("```")[0] for part in reference.page().split("```yaml\n")[1:]]
    read = [YAML(typ="safe").load(block)[0] for block in blocks]
    assert sorted(map(str, read)) == sorted(map(str, reference.EXAMPLES))
    assert {example["type"] for example in read} == {v.model_fields["type"].default for v in reference.VERBS}
    for example in read:
        parse_query(reference.sql_of(example))
