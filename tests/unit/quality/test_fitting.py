"""Which types fit which, and defaults as SQL."""

from __future__ import annotations

from typing import Any

import pytest

from rayetl.quality.defaults import default_sql
from rayetl.quality.fitting import fitted, widens
from rayetl.quality.shapes import Shape
from rayetl.sql import types as t
from rayetl.sql.interop import parse_ddl


def kind(text: str) -> t.DataType:
    return parse_ddl(f"x {text}").fields[0].type


WIDER = [
    ("tinyint", "smallint", True),
    ("int", "bigint", True),
    ("bigint", "int", False),
    ("int", "double", True),
    ("int", "float", False),
    ("smallint", "float", True),
    ("bigint", "double", False),
    ("int", "decimal(10,0)", True),
    ("int", "decimal(11,2)", False),
    ("int", "decimal(12,2)", True),
    ("bigint", "decimal(18,0)", False),
    ("bigint", "decimal(19,0)", True),
    ("decimal(10,2)", "decimal(12,4)", True),
    ("decimal(10,2)", "decimal(12,5)", False),
    ("decimal(10,2)", "decimal(20,1)", False),
    ("float", "double", True),
    ("double", "float", False),
    ("date", "timestamp_ntz", True),
    ("date", "timestamp", False),
    ("string", "int", False),
    ("array<int>", "array<bigint>", True),
    ("array<bigint>", "array<int>", False),
    ("map<string,int>", "map<string,double>", True),
    ("struct<a:int,b:date>", "struct<A:bigint,b:date>", True),
    ("struct<a:int>", "struct<b:int>", False),
    ("struct<a:int>", "struct<a:int,b:int>", False),
    ("array<int>", "int", False),
]


@pytest.mark.parametrize(("found", "wanted", "fits"), WIDER)
def test_widening(found: str, wanted: str, fits: bool) -> None:
    assert widens(kind(found), kind(wanted)) is fits


def test_a_wider_type_needs_no_check_and_a_smaller_one_does() -> None:
    wider = fitted("x", t.INT, t.LONG, coerce=False)
    smaller = fitted("x", t.LONG, t.INT, coerce=False)
    assert wider is not None
    assert wider.lost is None
    assert smaller is not None
    assert smaller.lost is not None


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("int", "boolean"),
        ("bigint", "timestamp"),
        ("binary", "string"),
        ("boolean", "int"),
        ("array<string>", "array<int>"),
        ("struct<a:int>", "string"),
        ("string", "binary"),
    ],
)
def test_what_not_even_coerce_casts(found: str, wanted: str) -> None:
    assert fitted("x", kind(found), kind(wanted), coerce=True) is None


MILLIS = Shape(t.TIMESTAMP, ticks=1_000)
LOCAL = Shape(t.TIMESTAMP_NTZ, ticks=1_000_000)
DEFAULTS: list[tuple[Shape, Any, str]] = [
    (Shape(t.DecimalType(5, 2)), "\u0001\u0000", "CAST('2.56' AS decimal(5,2))"),
    (Shape(t.DecimalType(5, 2)), "\u00ff", "CAST('-0.01' AS decimal(5,2))"),
    (Shape(t.DecimalType(38, 0)), "\u007f", "CAST('127' AS decimal(38,0))"),
    (Shape(t.INT), -5, "CAST('-5' AS int)"),
    (Shape(t.BINARY), "a\u00ff", "X'61ff'"),
    (Shape(t.DATE), -1, "DATE '1969-12-31'"),
    (MILLIS, -1, "TIMESTAMP '1969-12-31 23:59:59.999000Z'"),
    (LOCAL, 1, "TIMESTAMP_NTZ '1970-01-01 00:00:00.000001'"),
    (Shape(t.STRING), "it's \\", r"'it\'s \\'"),
    (Shape(t.STRING, nullable=True), None, "CAST(NULL AS string)"),
]


@pytest.mark.parametrize(("shape", "value", "text"), DEFAULTS, ids=lambda value: str(value)[:30])
def test_defaults(shape: Shape, value: Any, text: str) -> None:
    assert default_sql(shape, value) == text


@pytest.mark.parametrize(
    ("value", "message"), [("\u0001\u0000\u0000", "more digits"), (5, "a text of the code")]
)
def test_decimal_defaults_that_do_not_fit(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        default_sql(Shape(t.DecimalType(4, 2)), value)
