"""Contracts and rules with the rows that they must flag, on every engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from rayetl.contracts import ContractConfig
from rayetl.names import ROW
from rayetl.quality import ValidateStep
from rayetl.quality.base import Checked
from rayetl.quality.contract import check_contract
from rayetl.sql.interop import from_polars
from rayetl.sql.types import Schema
from rayetl.stepping import Input, StepContext

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """`fails`: for each rule (or `field kind` of a contract) the row numbers that fail; `tables`: whether
    each rule on the whole input fails; `rows`: what comes out, by column."""

    name: str
    main: Mapping[str, pl.Series]
    rules: Sequence[Mapping[str, Any]] = ()
    contract: Mapping[str, Any] | None = None
    others: Mapping[str, Mapping[str, pl.Series]] = field(default_factory=dict)
    fails: Mapping[str, list[int]] = field(default_factory=dict)
    tables: Mapping[str, bool] = field(default_factory=dict)
    rows: Mapping[str, list[Any]] = field(default_factory=dict)

    def frames(self) -> dict[str, pl.DataFrame]:
        """The inputs, the main one `t` first, with its positions."""
        main = pl.DataFrame(dict(self.main))
        positions = pl.Series(ROW, range(main.height), dtype=pl.Int64)
        others = {name: pl.DataFrame(dict(columns)) for name, columns in self.others.items()}
        return {"t": main.with_columns(positions), **others}

    def schemas(self) -> dict[str, Schema]:
        return {name: from_polars(frame.schema) for name, frame in self.frames().items()}

    def checked(self) -> Checked:
        inputs = tuple(Input(name, schema) for name, schema in self.schemas().items())
        context = StepContext(inputs, ("transform", 0), (ROW,), now=NOW)
        if self.contract is not None:
            return check_contract(ContractConfig.model_validate(self.contract), context)
        return ValidateStep.model_validate({"type": "validate", "rules": self.rules}).to_checked(context)


def text(*values: str | None) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


def whole(*values: int | None, dtype: Any = pl.Int32) -> pl.Series:
    return pl.Series(values, dtype=dtype)


def floats(*values: float | None) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64)


def days(*values: str | None) -> pl.Series:
    return pl.Series([None if v is None else date.fromisoformat(v) for v in values], dtype=pl.Date)


def times(*values: str | None, zone: str | None = "UTC") -> pl.Series:
    found = [None if v is None else datetime.fromisoformat(v) for v in values]
    return pl.Series(found, dtype=pl.Datetime("us")).dt.replace_time_zone(zone)


def decimals(*values: str | None, precision: int = 10, scale: int = 2) -> pl.Series:
    found = [None if v is None else Decimal(v) for v in values]
    return pl.Series(found, dtype=pl.Decimal(precision, scale))


def record(*fields: Mapping[str, Any], **config: Any) -> dict[str, Any]:
    return {"schema": {"type": "record", "name": "R", "fields": list(fields)}, **config}


def a(kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": "a", "type": kind, **more}


FORMS = {
    "email": (("a@b.co", "a.b+c@d-e.fr", "a@b", "@b.co", "a b@c.de", "a@b.co\n", None), [2, 3, 4, 5]),
    "uuid": (("123e4567-E89B-12d3-a456-426614174000", "123e4567", "123e4567-e89b-12d3-a456-42661417400g", None), [1, 2]),
    "ipv4": (("1.2.3.4", "255.255.255.255", "256.1.1.1", "1.2.3", "1.2.3.4.", "01.2.3.4", None), [2, 3, 4, 5]),
    "url": (("http://a.b/c?d#e", "s3://bucket/key", "a.b/c", "http:// a", "http://", None), [2, 3, 4]),
    "date": (("2024-02-29", "2023-02-29", "2024-2-1", "2024-02-29 ", "2024-02-29\n", "", None), [1, 2, 3, 4, 5]),
    "timestamp": (
        ("2024-02-29T23:59:59.123456Z", "2024-02-29 23:59", "2024-02-29 24:01:00", "2024-02-30 00:00", "2024-02-29", "x", None),
        [2, 3, 4, 5],
    ),
}  # fmt: skip

ROW_CASES = [
    Case(
        "not_null names the columns one by one, in any letter case",
        {"a": whole(1, None, 3), "b": text("x", None, None)},
        [{"name": "both", "not_null": ["A", "b"]}],
        fails={"both": [1, 1, 2]},
    ),
    Case(
        "unique keeps the first row; NULL keys pass unless told",
        {"a": whole(1, 1, None, None, 2, 1), "b": text("x", "x", "y", "y", None, "z")},
        [
            {"name": "one", "unique": "a"},
            {"name": "two", "unique": ["a", "b"]},
            {"name": "strict", "unique": ["a"], "null_fails": True},
        ],
        fails={"one": [1, 5], "two": [1], "strict": [1, 2, 3, 5]},
    ),
    Case(
        "range over every ordered type; NaN is above all",
        {
            "i": whole(1, 5, 10, None),
            "f": floats(0.1, 0.3, float("nan"), None),
            "m": decimals("0.10", "0.30", "99.99", None),
            "d": days("2024-01-01", "2024-02-01", "2024-03-01", None),
            "t": times("2024-01-01", "2024-02-01", "2024-03-01", None),
            "n": times("2024-01-01", "2024-02-01", "2024-03-01", None, zone=None),
            "s": text("a", "b", "c", None),
        },
        [
            {"name": "i", "range": {"column": "i", "min": 5, "max": 10}},
            {"name": "i_open", "range": {"column": "i", "min": 1, "max": 10, "exclusive": True}},
            {"name": "i_null", "range": {"column": "i", "min": 1}, "null_fails": True},
            {"name": "i_text", "range": {"column": "i", "max": "5.5"}},
            {"name": "f", "range": {"column": "f", "min": 0.1, "max": 0.3}},
            {"name": "m", "range": {"column": "m", "min": 0.1, "max": 0.3}},
            {"name": "d", "range": {"column": "d", "min": "2024-02-01"}},
            {"name": "t", "range": {"column": "t", "max": "2024-02-01 01:00:00+02:00"}},
            {"name": "n", "range": {"column": "n", "max": "2024-02-01T00:00:00"}},
            {"name": "s", "range": {"column": "s", "min": "b"}},
        ],
        fails={
            "i": [0],
            "i_open": [0, 2],
            "i_null": [3],
            "i_text": [2],
            "f": [2],
            "m": [2],
            "d": [0],
            "t": [1, 2],
            "n": [2],
            "s": [0],
        },
    ),
    Case(
        "pattern is found anywhere",
        {"s": text("ab1", "1ab", "xyz", "it's \\ 5", None)},
        [
            {"name": "digit", "pattern": {"column": "s", "regex": "[0-9]"}},
            {"name": "start", "pattern": {"column": "s", "regex": "^[a-z]+"}, "null_fails": True},
            {"name": "odd", "pattern": {"column": "s", "regex": "'s \\\\"}},
        ],
        fails={"digit": [2], "start": [1, 4], "odd": [0, 1, 2]},
    ),
    Case(
        "numbers stand for the nearest FLOAT where the column is one",
        {"f": pl.Series([0.1, 0.2, 0.3, None, float("nan")], dtype=pl.Float32)},
        rules=(
            {"name": "most", "range": {"column": "f", "max": 0.1}},
            {"name": "least", "range": {"column": "f", "min": 0.2}},
            {"name": "above", "range": {"column": "f", "min": "0.2", "exclusive": True}},
            {"name": "set", "in_set": {"column": "f", "values": [0.1, 0.2]}},
        ),
        fails={"most": [1, 2, 4], "least": [0], "above": [0, 1], "set": [2, 4]},
    ),
    Case(
        "in_set of every type",
        {
            "i": whole(1, 2, None),
            "s": text("a'b\\", "b", None),
            "b": pl.Series([True, False, None]),
            "d": days("2024-01-01", "2024-01-02", None),
        },
        [
            {"name": "i", "in_set": {"column": "i", "values": [1, 7]}},
            {"name": "s", "in_set": {"column": "s", "values": ["a'b\\"]}},
            {"name": "s_null", "in_set": {"column": "s", "values": ["a'b\\"]}, "null_fails": True},
            {"name": "b", "in_set": {"column": "b", "values": [True]}},
            {"name": "d", "in_set": {"column": "d", "values": ["2024-01-01"]}},
        ],
        fails={"i": [1], "s": [1], "s_null": [1, 2], "b": [1], "d": [1]},
    ),
    Case(
        "length of texts, bytes, lists",
        {
            "s": text("", "äöü", "abcd", None),
            "y": pl.Series([b"", b"\xff\xfe", b"abc", None], dtype=pl.Binary),
            "l": pl.Series([[], [1], [1, 2], None], dtype=pl.List(pl.Int32)),
        },
        [
            {"name": "s", "length": {"column": "s", "min": 1, "max": 3}},
            {"name": "y", "length": {"column": "y", "max": 2}},
            {"name": "l", "length": {"column": "l", "min": 1}},
            {"name": "l_null", "length": {"column": "l", "min": 1}, "null_fails": True},
        ],
        fails={"s": [0, 2], "y": [2], "l": [0], "l_null": [0, 3]},
    ),
    *[
        Case(
            f"format {form}",
            {"s": text(*values)},
            [{"name": form, "format": {"column": "s", "is": form}}],
            fails={form: wrong},
        )
        for form, (values, wrong) in FORMS.items()
    ],
    Case(
        "check by three-valued logic",
        {"x": whole(1, 5, None), "y": whole(None, 5, None)},
        [
            {"name": "plain", "check": "x > 3"},
            {"name": "told", "check": "x > 3", "null_fails": True},
            {"name": "or", "check": "x > 3 OR y > 3"},
            {"name": "over", "check": "count(*) OVER () = 3"},
        ],
        fails={"plain": [0], "told": [0, 2], "or": [], "over": []},
    ),
    Case(
        "references: equal keys of other widths, repeated keys, NULL",
        {"k": whole(1, 2, None, 3), "b": text("x", "x", "x", None)},
        [
            {"name": "plain", "references": {"columns": "k", "source": "u", "to": "key"}},
            {"name": "null", "references": {"columns": "k", "source": "u", "to": "key"}, "null_fails": True},
            {"name": "two", "references": {"columns": ["k", "b"], "source": "u", "to": ["key", "b"]}},
        ],
        others={"u": {"key": whole(1, 1, 3, None, dtype=pl.Int64), "b": text("x", "x", "x", "x")}},
        fails={"plain": [1], "null": [1, 2], "two": [1]},
    ),
    Case(
        "references between decimals and whole numbers",
        {"k": decimals("1.00", "1.50", "2.00")},
        [{"name": "r", "references": {"columns": "k", "source": "u", "to": "id"}}],
        others={"u": {"id": whole(1, 2, dtype=pl.Int64)}},
        fails={"r": [1]},
    ),
]

TABLE_CASES = [
    Case(
        "rules on the whole input",
        {
            "x": floats(1, 2, None, 5),
            "d": days("2024-05-30", "2024-05-31", None, "2024-01-01"),
            "t": times("2024-06-01 11:00", "2020-01-01", None, None),
            "observed": whole(9, 9, 9, 9),
        },
        [
            {"name": "count_ok", "row_count": {"min": 4, "max": 4}},
            {"name": "count_low", "row_count": {"min": 5}},
            {"name": "mean_ok", "aggregate": {"expression": "avg(x)", "min": 2, "max": 3}},
            {"name": "mean_high", "aggregate": {"expression": "avg(x) * 2", "max": 5}},
            {"name": "shadow", "aggregate": {"expression": "max(observed)", "max": 9}},
            {"name": "newest", "aggregate": {"expression": "max(d)", "min": "2024-06-01"}},
            {"name": "nulls_ok", "null_share": {"column": "x", "max": "25%"}},
            {"name": "nulls", "null_share": {"column": "t", "max": "1%"}},
            {"name": "fresh", "freshness": {"column": "t", "max_age": "1h"}},
            {"name": "stale", "freshness": {"column": "d", "max_age": "1d"}},
        ],
        tables={
            "count_ok": False,
            "count_low": True,
            "mean_ok": False,
            "mean_high": True,
            "shadow": False,
            "newest": True,
            "nulls_ok": False,
            "nulls": True,
            "fresh": False,
            "stale": True,
        },
    ),
    Case(
        "no rows: counts and shares are known, other values are not",
        {"x": floats(), "t": times()},
        [
            {"name": "count", "row_count": {"max": 0}},
            {"name": "mean", "aggregate": {"expression": "avg(x)", "max": 5}},
            {"name": "nulls", "null_share": {"column": "x", "max": 0}},
            {"name": "fresh", "freshness": {"column": "t", "max_age": "1h"}},
        ],
        tables={"count": False, "mean": True, "nulls": False, "fresh": True},
    ),
]

ENUM = {"type": "enum", "name": "E", "symbols": ["x", "y"]}
UUID = {"type": "string", "logicalType": "uuid"}
POINT = {"type": "record", "name": "P", "fields": [{"name": "lat", "type": "double"}, {"name": "tag", "type": ["null", ENUM]}]}  # fmt: skip

POINTS = pl.List(pl.Struct({"lat": pl.Float64, "tag": pl.String}))

CONTRACT_CASES = [
    Case(
        "NULL, enum, fixed, uuid",
        {
            "a": whole(1, None, 3),
            "e": text("x", "z", None),
            "f": pl.Series([b"ab", b"abc", None], dtype=pl.Binary),
            "u": text("123e4567-e89b-12d3-a456-426614174000", "no", None),
        },
        contract=record(
            a("int"),
            {"name": "e", "type": ["null", ENUM]},
            {"name": "f", "type": ["null", {"type": "fixed", "name": "F", "size": 2}]},
            {"name": "u", "type": ["null", UUID]},
        ),
        fails={"a not_null": [1], "e enum": [1], "f fixed": [1], "u uuid": [1]},
    ),
    Case(
        "whole numbers and decimals in smaller types",
        {
            "a": whole(1, 2**31, -(2**31) - 1, None, dtype=pl.Int64),
            "m": decimals("1.20", "1.25", "123.40", None),
            "n": whole(999, 1000, None, 0, dtype=pl.Int64),
        },
        contract=record(
            a(["null", "int"]),
            {"name": "m", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 1}]},
            {"name": "n", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 3}]},
        ),
        fails={"a type": [1, 2], "m type": [1, 2], "n type": [1]},
    ),
    Case(
        "wider types need no check",
        {"a": whole(1, None), "b": whole(1, 2), "c": pl.Series([0.5, 1.5], dtype=pl.Float32)},
        contract=record(
            a(["null", "long"]), {"name": "b", "type": "double"}, {"name": "c", "type": "double"}
        ),
        fails={"b not_null": [], "c not_null": []},
        rows={"a": [1, None], "b": [1.0, 2.0], "c": [0.5, 1.5]},
    ),
    Case(
        "nested members, each with its path",
        {
            "p": pl.Series([{"lat": 1.0, "tag": "x"}, {"lat": None, "tag": "q"}, None]),
            "l": pl.Series([["x", "y"], ["x", None], ["q"]]),
            "r": pl.Series([[{"lat": 1.0, "tag": None}], [{"lat": None, "tag": "w"}, None], []], dtype=POINTS),
        },
        contract=record(
            {"name": "p", "type": ["null", POINT]},
            {"name": "l", "type": {"type": "array", "items": "E"}},
            {"name": "r", "type": {"type": "array", "items": "P"}},
        ),
        fails={
            "p.lat not_null": [1],
            "p.tag enum": [1],
            "l[] not_null": [1],
            "l[] enum": [2],
            "r[] not_null": [1],
            "r[].lat not_null": [1],
            "r[].tag enum": [1],
            "l not_null": [],
            "r not_null": [],
        },
    ),
    Case(
        "aliases rename, defaults fill missing columns, extra columns stay last",
        {"old": whole(1, 2), "more": text("p", "q")},
        contract=record(
            a("int", aliases=["OLD"]),
            {"name": "n", "type": ["null", "string"], "default": None},
            {"name": "s", "type": "string", "default": "it's"},
            {"name": "d", "type": {"type": "int", "logicalType": "date"}, "default": 19_000},
            {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 1500},
            {"name": "m", "type": {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}, "default": "\u0001\u0000"},
            {"name": "y", "type": "bytes", "default": "\u00ff"},
            {"name": "l", "type": {"type": "array", "items": "int"}, "default": [1, 2]},
            {"name": "o", "type": {"type": "array", "items": "int"}, "default": []},
        ),
        fails={"a not_null": []},
        rows={
            "a": [1, 2],
            "n": [None, None],
            "s": ["it's", "it's"],
            "d": [date(2022, 1, 8)] * 2,
            "t": [datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)] * 2,
            "m": [Decimal("2.56")] * 2,
            "y": [b"\xff"] * 2,
            "l": [[1, 2]] * 2,
            "o": [[], []],
            "more": ["p", "q"],
        },
    ),
    Case(
        "a default does not excuse a NULL that is there",
        {"a": whole(1, None)},
        contract=record(a("int", default=7), on_mismatch="quarantine"),
        fails={"a not_null": [1]},
        rows={"a": [1, None]},
    ),
    Case(
        "values of maps",
        {"m": pl.Series([{"k": 1, "l": 2}, {"k": None}, {}, None], dtype=pl.Map(pl.String, pl.Int32))},
        contract=record(
            {"name": "m", "type": ["null", {"type": "map", "values": "long"}]},
            {"name": "d", "type": {"type": "map", "values": "int"}, "default": {"z": 1}},
        ),
        fails={"m[] not_null": [1]},
    ),
    Case(
        "defaults with members",
        {"a": whole(1)},
        contract=record(
            a("int"),
            {"name": "p", "type": POINT, "default": {"lat": 1.5, "tag": None}},
            {"name": "q", "type": {"type": "array", "items": "P"}, "default": [{"lat": 2, "tag": "x"}]},
        ),
        fails={"a not_null": []},
        rows={"p": [{"lat": 1.5, "tag": None}], "q": [[{"lat": 2.0, "tag": "x"}]]},
    ),
    Case(
        "coerce: texts",
        {
            "i": text("12", " +7 ", "12.7", "5.0", "x", "3000000000", None),
            "m": text("1.20", "1.25", "x", "123.4", None, "-0.1", "1e1"),
            "d": text("2024-02-29", "2024-2-3", "2023-02-29", "2024-01-01 10:00:00", "", None, "2024"),
            "b": text("true", "no", "maybe", "1", None, "F", ""),
            "f": text("1.5", "-1e999", "x", "Infinity", None, "", "-0"),
            "t": text("2024-01-01 10:00:00", "2024-01-01T10:00:00+02:00", "x", "2024-13-01", None, "2024-01-01", "10"),
        },
        contract=record(
            {"name": "i", "type": ["null", "int"]},
            {"name": "m", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 1}]},
            {"name": "d", "type": ["null", {"type": "int", "logicalType": "date"}]},
            {"name": "b", "type": ["null", "boolean"]},
            {"name": "f", "type": ["null", "double"]},
            {"name": "t", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
            on_mismatch="coerce",
        ),
        fails={
            "i type": [2, 4, 5],
            "m type": [1, 2, 3],
            "d type": [2, 3, 4],
            "b type": [2, 6],
            "f type": [1, 2, 5],
            "t type": [2, 3, 6],
        },
    ),
    Case(
        "coerce: numbers",
        {
            "i": floats(1.0, 1.5, float("nan"), 1e10, None),
            "l": floats(2.0**62, 2.0**63, -(2.0**63), float("inf"), None),
            "f": whole(2**53, 2**53 + 1, -5, 0, None, dtype=pl.Int64),
            "m": floats(0.1, 0.25, 99.9, 100.0, None),
            "w": decimals("5.00", "5.01", "3000000000", None, "-1.00", precision=12),
            "s": whole(1, 2, 3, 4, None),
        },
        contract=record(
            {"name": "i", "type": ["null", "int"]},
            {"name": "l", "type": ["null", "long"]},
            {"name": "f", "type": ["null", "double"]},
            {"name": "m", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 1}]},
            {"name": "w", "type": ["null", "int"]},
            {"name": "s", "type": ["null", "string"]},
            on_mismatch="coerce",
        ),
        fails={"i type": [1, 2, 3], "l type": [1, 3], "f type": [1], "m type": [1, 3], "w type": [1, 2]},
        rows={"s": ["1", "2", "3", "4", None]},
    ),
    Case(
        "coerce: texts with more than their type holds",
        {
            "m": text("1.0", "1.5", "12E-1", "1.20E2", "0E-18", "1e-400", "1.00000000000000000000000000000000000000"),
            "n": text("0.1", "0.12", "0.25e1", "12e-2", "1e-1", "0.10", None),
            "f": text("0e-400", "1e-400", "1e-300", "-0", "0.0d", None, "0"),
            "t": text("2024-01-01 10:00:00.1234567", "10:00:00", "T10:00", "2024", "2024-01-01 10:00:00.1234560Z", None, "x"),
            "u": text("2024-01-01 10:00:00.1234567", "10:00:00", "2024-01-01 10:00:00Z", "2024-01-01T10:00:00+02:00", "2024-01-01 10:00", "2024-1-1", None),
        },
        contract=record(
            {"name": "m", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 38}]},
            {"name": "n", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 1}]},
            {"name": "f", "type": ["null", "double"]},
            {"name": "t", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
            {"name": "u", "type": ["null", {"type": "long", "logicalType": "local-timestamp-micros"}]},
            on_mismatch="coerce",
        ),
        fails={"m type": [1, 2, 5], "n type": [1, 3], "f type": [1], "t type": [0, 1, 2, 6], "u type": [0, 1, 2, 3]},
    ),
    Case(
        "coerce: decimals whose other self is too large to be compared",
        {
            "a": decimals("9999999999", "16777216", None, precision=10, scale=0),
            "b": decimals("99999999999999999999999999999999999999", "1", None, precision=38, scale=0),
            "c": decimals("0.99999999999999999999999999999999999999", "0.5", None, precision=38, scale=38),
            "d": decimals("999999999999999999.99999999999999999999", "1", None, precision=38, scale=20),
        },
        contract=record(
            {"name": "a", "type": ["null", "float"]},
            {"name": "b", "type": ["null", "double"]},
            {"name": "c", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}]},
            {"name": "d", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 10}]},
            on_mismatch="coerce",
        ),
        fails={"a type": [0], "b type": [0], "c type": [0], "d type": [0]},
    ),
    Case(
        "coerce: dates and times",
        {
            "d": times("2024-01-01", "2024-01-01 00:00:01", None),
            "t": days("2024-01-01", None, "1900-01-01"),
            "n": times("2024-01-01 10:00", None, "1969-12-31 23:59:59.999999"),
        },
        contract=record(
            {"name": "d", "type": ["null", {"type": "int", "logicalType": "date"}]},
            {"name": "t", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
            {"name": "n", "type": ["null", {"type": "long", "logicalType": "local-timestamp-micros"}]},
            on_mismatch="coerce",
        ),
        fails={"d type": [1], "n type": []},
    ),
    Case(
        "coerce: a NULL that is not allowed gives way to the default",
        {"a": whole(1, None), "s": text(None, "z")},
        contract=record(
            a("int", default=7), {"name": "s", "type": ENUM, "default": "y"}, on_mismatch="coerce"
        ),
        fails={"s enum": [1]},
        rows={"a": [1, 7], "s": ["y", "z"]},
    ),
]  # fmt: skip

CASES = [*ROW_CASES, *TABLE_CASES, *CONTRACT_CASES]


def failing(case: Case, checked: Checked, columns: Mapping[str, list[Any]]) -> dict[str, list[int]]:
    """The failing rows of each rule, or of each field and kind of a contract that fails or is asked for."""
    found: dict[str, list[int]] = {}
    for check in checked.rows:
        key = check.rule if case.contract is None else f"{check.field} {check.kind}"
        rows = [row for row, flag in zip(columns[ROW], columns[check.flag], strict=True) if flag]
        found[key] = sorted([*found.get(key, []), *rows])
    return {key: rows for key, rows in found.items() if rows or key in case.fails or case.contract is None}


def output(case: Case, columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """The columns that the case asks for, in source order."""
    order = sorted(range(len(columns[ROW])), key=columns[ROW].__getitem__)
    return {name: [columns[name][index] for index in order] for name in case.rows}
