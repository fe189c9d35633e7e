"""CSV read in columns and CSV read record by record are the same rows, whatever the text."""

from __future__ import annotations

from typing import Any
from unittest import mock

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayetl.connectors.formats import csv_marks
from rayetl.connectors.formats.csv import CsvReader
from rayetl.connectors.formats.options import CsvOptions
from rayetl.connectors.formats.values import typed
from rayetl.sql.interop import parse_ddl
from rayetl.sql.types import FRACTIONAL

SCHEMA = parse_ddl("a INT, b DOUBLE, c DATE, d STRING")
OPTIONS: list[dict[str, Any]] = [
    {},
    {"escape": '"'},
    {"quote": "'"},
    {"quote": ""},
    {"nullValue": "NA"},
    {"nullValue": "NA", "emptyValue": "x"},
    {"emptyValue": "1"},
    {"sep": "\t"},
    {"sep": " "},
    {"sep": "1"},
    {"comment": "#"},
    {"ignoreLeadingWhiteSpace": True},
    {"ignoreTrailingWhiteSpace": True},
]

NUMBERS = st.sampled_from(
    [
        "1",
        "-2",
        "+3",
        " 4",
        "5 ",
        "\t6",
        "",
        "007",
        "2147483648",
        "1.5",
        "x",
        "NA",
        '""',
        '"8"',
        '" 9"',
        '"\t9"',
        '","',
        "-0",
    ]
)
FLOATS = st.sampled_from(
    [
        "1",
        "1.",
        ".5",
        "1e3",
        "NaN",
        "nan",
        "Inf",
        "inf",
        "Infinity",
        "-Inf",
        " 2",
        "2 ",
        "1d",
        "2f",
        " ",
        "",
        "1e400",
        '"3"',
        '""',
        "NA",
    ]
)
DATES = st.sampled_from(
    [
        "2020-01-02",
        "2020-1-2",
        "2020",
        "2020/01/02",
        "02-01-2020",
        " 2020-01-02",
        "2020-02-30",
        "",
        '"2020-01-02"',
        "2020-01-02T",
        "NA",
    ]
)
TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            "x",
            '""',
            '"a,b"',
            '"a, 1"',
            ", 1",
            "NA",
            '"NA"',
            '"a\tb"',
            "#",
            '"a""b"',
            '"a\\"b"',
            "a\\b",
            "é",
            " ",
            "''",
            "'a'",
        ]
    ),
    st.text(alphabet="ab1 ,\"\\\t#'\0é", max_size=6),
)
WELL_FORMED = st.tuples(
    st.sampled_from(["1", "-2", "+3", "", "007", '"8"']),
    st.sampled_from(["1", "1.5", ".5", "1e3", "", '"3"']),
    st.sampled_from(["2020-01-02", "", '"2020-01-02"', "2019-12-31"]),
    st.sampled_from(["x", "", '"a,b"', '"a, 1"', '""', "é", '"NA"', "NA", " x", " 1", '" 1"', "\t-", "  "]),
)  # fmt: skip
ROWS = st.one_of(WELL_FORMED, st.tuples(NUMBERS, FLOATS, DATES, TEXTS)).map(list)
RAGGED = st.one_of(ROWS, st.lists(st.one_of(NUMBERS, TEXTS), max_size=6))


def careful(reader: CsvReader, chunk: bytes) -> tuple[pl.DataFrame, pl.Series]:
    """The rows of a chunk by the record reader alone."""
    texts, bad = reader._tokenized(reader._lines(chunk))
    return typed(texts, reader._columnar.columns, reader.options, bad, reader.schema.names)


def same(reader: CsvReader, chunk: bytes) -> None:
    expected, expected_reasons = careful(reader, chunk)
    for small in (csv_marks._SMALL, 0):
        with mock.patch.object(csv_marks, "_SMALL", small):
            found, reasons = reader.frame(chunk)
        assert found.schema == expected.schema
        # As texts, since no NaN is equal to another and -0.0 is equal to 0.0.
        assert str(found.rows()) == str(expected.rows())
        assert reasons.to_list() == expected_reasons.to_list()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@settings(max_examples=50, deadline=None)
@given(
    lines=st.lists(st.one_of(WELL_FORMED.map(list), WELL_FORMED.map(list), RAGGED), min_size=1, max_size=5)
)
def test_both_ways_read_the_same_rows(options: dict[str, Any], lines: list[list[str]]) -> None:
    chosen = CsvOptions.model_validate(options)
    same(CsvReader(SCHEMA, chosen), "".join(chosen.sep.join(line) + "\n" for line in lines).encode())


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet='a1 ,,""\n\n\\\t', max_size=40), width=st.integers(1, 3))
def test_any_text_is_read_the_same_both_ways(text: str, width: int) -> None:
    schema = parse_ddl(
        ", ".join(f"c{place} {kind}" for place, kind in enumerate(("INT", "STRING", "STRING")[:width]))
    )
    same(CsvReader(schema, CsvOptions()), text.encode() + b"\n")


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(WELL_FORMED, min_size=1, max_size=5))
def test_plain_lines_with_quotes_are_read_in_columns(rows: list[tuple[str, ...]]) -> None:
    chunk = "".join(",".join(row) + "\n" for row in rows).encode()
    reader = CsvReader(SCHEMA, CsvOptions())
    assert reader._columnar.frame(chunk) is not None
    same(reader, chunk)


@pytest.mark.parametrize("text", [" x", " 1", "  ", '" 1"', '" x"', "\t1", "x"])
def test_a_blank_before_a_text_does_not_hide_one_before_a_number(text: str) -> None:
    same(CsvReader(SCHEMA, CsvOptions()), f" 4,1,2020-01-02,{text}\n5,1,2020-01-02,x\n".encode())


@pytest.mark.parametrize("sep", [" ", "\t"])
@pytest.mark.parametrize("text", ["x", '" x"', '" 1"', '"\t1"', '""'])
def test_a_blank_that_separates_fields_may_begin_a_quoted_number(sep: str, text: str) -> None:
    lines = [sep.join((f'"{sep}9"', "1", "2020-01-02", text)), sep.join(("5", "1", "2020-01-02", "x"))]
    same(CsvReader(SCHEMA, CsvOptions.model_validate({"sep": sep})), ("\n".join(lines) + "\n").encode())


@pytest.mark.parametrize("blank", [" ", "\t", "   ", '" "'])
@pytest.mark.parametrize("schema", ["a DOUBLE", "a DOUBLE, b STRING", "b STRING, a FLOAT", "a INT, b DOUBLE"])
def test_blanks_are_no_fraction(schema: str, blank: str) -> None:
    made = parse_ddl(schema)
    row = ",".join(blank if column.type in FRACTIONAL else "1" for column in made)
    empty = ",".join("" if column.type in FRACTIONAL else "1" for column in made)
    same(CsvReader(made, CsvOptions()), f"{empty}\n{row}\n".encode())
    same(CsvReader(made, CsvOptions()), f"{row}\n".encode())
