"""What is said about rules and contracts that cannot be kept by any row."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rayetl.contracts import ContractConfig
from rayetl.errors import Problem, SqlError
from rayetl.quality import ValidateStep
from rayetl.quality.contract import check_contract, promised_schema
from rayetl.quality.row_rules import ROW_RULES
from rayetl.quality.rules import Rule
from rayetl.quality.table_rules import TABLE_RULES
from rayetl.sql.interop import parse_ddl
from rayetl.stepping import Input, StepContext

MAIN = parse_ddl("id BIGINT, name STRING, day DATE, at TIMESTAMP, tags ARRAY<STRING>, ok BOOLEAN, x DOUBLE")
OTHER = parse_ddl("Key STRING, day DATE")
CONTEXT = StepContext((Input("t", MAIN), Input("u", OTHER)), ("transform", 2))


def step(*rules: dict[str, Any]) -> ValidateStep:
    return ValidateStep.model_validate({"type": "validate", "rules": rules})


def problems(*rules: dict[str, Any]) -> tuple[Problem, ...]:
    with pytest.raises(SqlError) as caught:
        step(*rules).to_checked(CONTEXT)
    return caught.value.problems


RULES: list[tuple[dict[str, Any], tuple[str | int, ...], str, str]] = [
    ({"not_null": ["id", "nam"]}, ("not_null", 1), "no column `nam`", "did you mean `name`?"),
    ({"not_null": "zzzz"}, ("not_null", 0), "no column `zzzz`", "its columns are id, name"),
    ({"unique": ["ID", "dya"]}, ("unique", 1), "no column `dya`", "`day`"),
    ({"range": {"column": "naem", "min": 1}}, ("range", "column"), "no column", "`name`"),
    ({"range": {"column": "name", "min": 1}}, ("range", "min"), "1 is not a text", ""),
    ({"range": {"column": "id", "max": "x"}}, ("range", "max"), "'x' is not a number", ""),
    ({"range": {"column": "id", "max": float("inf")}}, ("range", "max"), "inf is no bound", ""),
    ({"range": {"column": "day", "min": "2024-02-30"}}, ("range", "min"), "is not a date", ""),
    ({"range": {"column": "day", "min": 5}}, ("range", "min"), "5 cannot be compared", ""),
    ({"range": {"column": "at", "min": "soon"}}, ("range", "min"), "is not a time", ""),
    ({"range": {"column": "tags", "min": 1}}, ("range", "column"), "a number, a date", ""),
    ({"pattern": {"column": "id", "regex": "x"}}, ("pattern", "column"), "`id` is bigint, a text", ""),
    ({"pattern": {"column": "name", "regex": "a(b"}}, ("pattern", "regex"), "missing )", ""),
    ({"pattern": {"column": "name", "regex": "[a"}}, ("pattern", "regex"), "unterminated character set", ""),
    ({"in_set": {"column": "name", "values": ["a", 1]}}, ("in_set", "values", 1), "not a text", ""),
    ({"in_set": {"column": "ok", "values": [True, "x"]}}, ("in_set", "values", 1), "cannot be compared", ""),
    ({"length": {"column": "id", "min": 1}}, ("length", "column"), "`id` is bigint, a text, a binary", ""),
    ({"format": {"column": "day", "is": "date"}}, ("format", "column"), "`day` is date, a text", ""),
    ({"references": {"columns": "id", "source": "u", "to": "key"}}, ("references", "to", 0), "is string", "cast"),
    ({"references": {"columns": "day", "source": "u", "to": "dy"}}, ("references", "to", 0), "no column", "`day`"),
    ({"references": {"columns": "id", "source": "u"}}, ("references", "columns", 0), "no column `id`", "Key"),
    ({"check": "id >"}, ("check",), "something is missing", ""),
    ({"check": "id > 1 AS x"}, ("check",), "not allowed here", ""),
    ({"check": "_rayetl_row > 1"}, ("check",), "kept for rayetl", ""),
    ({"check": "sum(id) > 1"}, ("check",), "`sum` does not give one value", "`aggregate`"),
    ({"check": "explode(tags) = 'x'"}, ("check",), "`explode` does not give one value", ""),
    ({"aggregate": {"expression": "avg(", "min": 1}}, ("aggregate", "expression"), "", ""),
    ({"null_share": {"column": "nme", "max": 0}}, ("null_share", "column"), "no column", "`name`"),
    ({"freshness": {"column": "id", "max_age": "1h"}}, ("freshness", "column"), "a date or a time", ""),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "path", "message", "hint"), RULES, ids=lambda value: str(value)[:50])
def test_rules_on_columns_that_do_not_fit(
    rule: dict[str, Any], path: tuple[str | int, ...], message: str, hint: str
) -> None:
    (problem,) = problems(rule)
    assert problem.path == ("transform", 2, "rules", 0, *path)
    assert message in problem.message
    assert hint in (problem.hint or "")


def test_all_rules_are_looked_at() -> None:
    found = problems(*(rule for rule, *_ in RULES))
    assert [problem.path[3] for problem in found] == list(range(len(RULES)))


def test_a_fault_in_a_check_is_placed_in_the_text() -> None:
    (problem,) = problems({"check": "id > 1 AND sum(x) > 2"})
    assert problem.offset == len("id > 1 AND ")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "x"}, "this one has none; the kinds are not_null, unique"),
    ({"not_null": "a", "unique": "a"}, "both not_null and unique"),
    ({"row_count": {"min": 1}, "on_failure": "quarantine"}, "cannot quarantine rows"),
    ({"row_count": {"min": 1}, "max_share": "1%"}, "max_share is for rules on rows"),
    ({"not_null": "a", "null_fails": True}, "null_fails means nothing with not_null"),
    ({"row_count": {}}, "needs `min`, `max` or both"),
    ({"range": {"column": "a"}}, "needs `min`, `max` or both"),
    ({"length": {"column": "a"}}, "needs `min`, `max` or both"),
    ({"aggregate": {"expression": "avg(a)"}}, "needs `min`, `max` or both"),
    ({"references": {"columns": ["a", "b"], "source": "u", "to": "x"}}, "2 columns cannot refer to 1"),
    ({"not_null": []}, "at least 1"),
    ({"not_null": "a", "max_share": "101%"}, "less than or equal to 1"),
]


@pytest.mark.parametrize(("rule", "message"), WRONG, ids=lambda value: str(value)[:50])
def test_rules_of_a_wrong_form(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message.replace("(", r"\(")):
        step(rule)


def test_two_rules_of_one_name() -> None:
    with pytest.raises(ValidationError, match="two rules are called 'x'"):
        step({"name": "x", "not_null": "id"}, {"name": "x", "unique": "id"})


def test_camel_case_and_single_columns_are_read() -> None:
    (one, two) = step(
        {"notNull": "id", "onFailure": "warn", "maxShare": "5%"}, {"rowCount": {"min": 1}}
    ).rules
    assert (one.not_null, one.on_failure, one.max_share) == (("id",), "warn", 0.05)
    assert two.row_count is not None


def test_unnamed_rules_are_called_by_kind_and_column() -> None:
    rules = step(
        {"not_null": ["a", "b"]},
        {"range": {"column": "c", "min": 1}},
        {"references": {"columns": ["d"], "source": "u"}},
        {"check": "a > 1"},
    ).rules
    assert [rule.label for rule in rules] == ["not_null(a, b)", "range(c)", "references(d)", "check"]


def test_every_kind_has_its_compiler() -> None:
    assert tuple(ROW_RULES) == Rule.ROW_KINDS
    assert tuple(TABLE_RULES) == Rule.TABLE_KINDS


def contract(*fields: dict[str, Any], **config: Any) -> ContractConfig:
    schema = {"type": "record", "name": "R", "fields": fields}
    return ContractConfig.model_validate({"schema": schema, **config})


def f(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


CONTRACTS: list[tuple[ContractConfig, str, str]] = [
    (contract(f("nam", "string")), "promises the column 'nam'", "did you mean name?"),
    (contract(f("nam", ["null", "string"])), "promises the column 'nam'", '`"default": null`'),
    (contract(f("name", "int")), "'name' is string, the contract promises int", "`on_mismatch: coerce`"),
    (contract(f("x", "int")), "'x' is double, the contract promises int", "`on_mismatch: coerce`"),
    (contract(f("ok", "int"), on_mismatch="coerce"), "'ok' is boolean", "change the contract"),
    (contract(f("id", {"type": "int", "logicalType": "date"}), on_mismatch="coerce"), "promises date", ""),
    (contract(f("tags", {"type": "array", "items": "int"}), on_mismatch="coerce"), "array<int>", "change"),
    (
        contract(f("m", {"type": "map", "values": "int"}, default={})),
        "an empty map, cannot",
        "add the column",
    ),
    (
        contract(f("id", "long"), extra_fields="reject"),
        "does not name: name, day, at, tags, ok, x",
        "`keep` or `drop`",
    ),
]


@pytest.mark.parametrize(("config", "message", "hint"), CONTRACTS, ids=lambda value: str(value)[:50])
def test_contracts_that_no_row_can_keep(config: ContractConfig, message: str, hint: str) -> None:
    with pytest.raises(SqlError) as caught:
        check_contract(config, StepContext((Input("t", MAIN),), ("extract", "t", "contract")))
    (problem,) = caught.value.problems
    assert problem.path == ("extract", "t", "contract", "schema")
    assert message in problem.message
    assert hint in (problem.hint or "")


def test_a_fault_in_the_schema_is_placed_below_the_contract() -> None:
    config = contract(f("id", "lnog"))
    with pytest.raises(SqlError) as caught:
        check_contract(config, StepContext((Input("t", MAIN),), ("extract", "t", "contract")))
    (problem,) = caught.value.problems
    assert problem.path == ("extract", "t", "contract", "schema", "fields", 0, "type")
    assert problem.hint == "did you mean `long`?"


def test_a_source_is_read_with_every_column_nullable() -> None:
    point = {"type": "record", "name": "P", "fields": [f("lat", "double")]}
    schema = promised_schema(contract(f("id", "long"), f("p", {"type": "array", "items": point})))
    assert schema.get("id").nullable  # type: ignore[union-attr]
    kind = schema.get("p").type  # type: ignore[union-attr]
    assert kind.contains_null  # type: ignore[attr-defined]
    assert kind.element.fields[0].nullable  # type: ignore[attr-defined]


def test_an_alias_that_is_another_field_is_not_taken() -> None:
    config = contract(f("name", "string"), f("title", "string", aliases=["name"], default="none"))
    query = check_contract(config, StepContext((Input("t", MAIN),), ())).query
    assert [each.alias_or_name for each in query.selects[:2]] == ["name", "title"]
    assert "none" in str(query.selects[1])


def test_the_freshness_of_tomorrow_is_the_same_plan() -> None:
    (check,) = step({"freshness": {"column": "at", "max_age": "90m"}}).to_checked(CONTEXT).tables
    assert check.identity == "newer than 90m"
