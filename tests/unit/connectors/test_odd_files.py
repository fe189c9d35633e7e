"""Files that public corpora taught: the last record, records that are none, footers that contradict."""

from __future__ import annotations

import bz2
import json
import math
import struct
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayetl.connectors.files_load import FilesLoad
from rayetl.connectors.files_source import FilesSource
from rayetl.connectors.formats import find_damage, scan_files, source_records
from rayetl.errors import SourceError
from rayetl.names import BAD
from rayetl.sql.interop import parse_ddl


def read(path: Path, **config: Any) -> list[tuple[Any, ...]]:
    scan = FilesSource.model_validate({"type": "files", "path": str(path), **config}).describe(None)
    return scan_files(scan).collect().rows()


@pytest.mark.parametrize("multi_line", [False, True])
@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2", [("1", "2")]),
        ('a,b\n1,"x, y"', [("1", "x, y")]),
        ("a,b\n1,2\n3,4", [("1", "2"), ("3", "4")]),
        ("\n\na,b\n1,2", [("1", "2")]),
        ("a,b\n", []),
        ("a,b", []),
    ],
)
def test_a_lone_record_without_a_line_end_is_no_header(
    tmp_path: Path, text: str, rows: list[Any], multi_line: bool
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    assert read(path, options={"header": True, "multi_line": multi_line}) == rows


@pytest.mark.parametrize("multi_line", [False, True])
@pytest.mark.parametrize("schema", ["a STRING", "a STRING, b STRING"])
@pytest.mark.parametrize("quoted", ["x", '"x"'])
def test_a_line_of_blanks_is_no_record_where_blanks_are_left_out(
    tmp_path: Path, quoted: str, schema: str, multi_line: bool
) -> None:
    path = tmp_path / "t.csv"
    wide = ",1" * schema.count(",")
    path.write_text(f"  \n{quoted}{wide}\n \t \ny{wide}\n   \n")
    found = read(path, schema=schema, options={"multi_line": multi_line, "ignore_leading_white_space": True})
    assert [row[0] for row in found] == ["x", "y"]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["x,y\n1,2\nx,y\n3,4\n"], "INT"),
        (["x,y\n", "\nx,y\r\n3,4\n"], "INT"),
        (["x,y\n1,2\n", "X,y\n3,4\n"], "STRING"),
        (["1,2\n1,2\n"], "STRING"),
    ],
)
def test_types_are_found_in_lines_that_are_not_as_the_header(
    tmp_path: Path, texts: list[str], kind: str
) -> None:
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.csv").write_bytes(text.encode())
    config = {"type": "files", "path": f"{tmp_path}/*.csv", "options": {"header": True, "infer_schema": True}}
    scan = FilesSource.model_validate(config).describe(None)
    assert [str(field.type).upper() for field in scan.schema] == [kind, kind]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["TRUE", "false"], "boolean"),
        (["true", "NaN"], "string"),
        (["1", "NaN", "-Inf"], "double"),
        (["2020-01-01", "today"], "string"),
        (["x", "1"], "string"),
    ],
)
def test_columns_of_words_are_not_looked_through_for_times(
    tmp_path: Path, texts: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayetl.connectors.formats.values._timestamp", None)
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["v", *texts]))
    config = {"type": "files", "path": str(path), "options": {"header": True, "infer_schema": True}}
    scan = FilesSource.model_validate(config).describe(None)
    assert [str(field.type) for field in scan.schema] == [kind]


def test_what_is_no_text_is_refused_in_a_sentence_of_bounded_length(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a\0" * 50_000)
    with pytest.raises(SourceError, match=r"t\.csv: the name .* has the character U\+0000") as told:
        read(path, options={"header": True})
    assert len(str(told.value)) < len(str(path)) + 400


@pytest.mark.parametrize("text", ["{bad\n", "[1, 2]", '["\\ud800"]', "[" * 500 + "]" * 500, "7\n"])
@pytest.mark.parametrize("multi_line", [False, True])
def test_json_without_any_field_is_refused(tmp_path: Path, text: str, multi_line: bool) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"no record of the file .*t\.json is a JSON object"):
        read(path, options={"multi_line": multi_line})


@pytest.mark.parametrize(
    ("text", "multi_line", "said"),
    [
        ('{"a": 1} {"a": 2}\n', False, "'{' at character 10 stands behind the JSON document: only one may be on a line"),
        ('{"a": 1}\n{"a": 2}\n', True, "'{' at character 10 stands .*: only one may be in a file that is read with multi_line"),
        ("[1, 2]]", True, "']' at character 7 stands behind"),
    ],
)  # fmt: skip
def test_what_stands_behind_a_json_document_is_not_left_out(
    tmp_path: Path, text: str, multi_line: bool, said: str
) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    options = {"multi_line": multi_line}
    with pytest.raises(SourceError, match=said):
        read(path, options=options, schema="a INT", mode="fail")
    assert read(path, options=options, schema="a INT", mode="drop") == []
    with pytest.raises(SourceError, match="no record of the file") as told:
        read(path, options=options)
    assert ("need no `multi_line`" in str(told.value.hint)) == multi_line


def test_lines_cut_out_of_a_json_array_end_with_a_comma(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"a": 1},\n{"a": 2} , \n{"a": 3}\n')
    assert read(path) == [(1,), (2,), (3,)]


@pytest.mark.parametrize("text", ["", "\n", "[]"])
def test_json_without_any_record_is_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    assert read(path) == []


@pytest.mark.parametrize("multi_line", [False, True])
def test_an_element_that_is_null_is_no_record(tmp_path: Path, multi_line: bool) -> None:
    """Spark refuses the whole array; `null` as the whole record is a row of NULLs there and here."""
    path = tmp_path / "t.json"
    path.write_text('[null, {"a": 1}]')
    config: dict[str, Any] = {"schema": "a INT", "options": {"multi_line": multi_line}}
    assert read(path, mode="drop", **config) == [(1,)]
    path.write_text("null")
    assert read(path, mode="drop", **config) == [(None,)]


@pytest.mark.parametrize("multi_line", [False, True])
def test_a_json_field_may_have_no_name(tmp_path: Path, multi_line: bool) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"": 0, "a": 1}')
    assert read(path, options={"multi_line": multi_line}) == [(0, 1)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "a\0,b\n1,2\n"),
        ("t.json", '{"a\\u0000": 1, "a": 2}'),
        ("t.json", '{"x": [{"a\\u0000": 1, "a": 2}]}'),
    ],
)
def test_names_that_arrow_would_cut_are_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SourceError, match=r"t\.\w+: the name 'a\\x00' has the character U\+0000 in it"):
        read(path, **({"options": {"header": True}} if name == "t.csv" else {}))


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-32"])
@pytest.mark.parametrize("multi_line", [False, True])
def test_text_of_another_encoding_than_said_is_not_read_as_utf_8(
    tmp_path: Path, encoding: str, multi_line: bool
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("ä,b\n1,2\n".encode(encoding))
    options = {"header": True, "multi_line": multi_line}
    with pytest.raises(SourceError, match=rf"t\.csv is read as UTF-8, but begins with the .* of {encoding}"):
        read(path, options=options)
    assert read(path, options={**options, "encoding": encoding}) == [("1", "2")]


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-32"])
def test_without_a_mark_the_first_byte_is_the_highest(tmp_path: Path, encoding: str) -> None:
    for name, text, options in (
        ("t.csv", "ä,b\n", {}),
        ("t.json", '{"a": "ä", "b": "b"}', {"multi_line": True}),
    ):
        path = tmp_path / name
        path.write_bytes(text.encode(f"{encoding}BE"))
        assert read(path, options={**options, "encoding": encoding}) == [("ä", "b")]
    path.write_bytes(b"\0")
    assert read(path, options={"encoding": encoding}, schema="a INT", mode="drop") == []


def test_a_quote_that_is_not_closed_costs_no_more_for_more_lines(tmp_path: Path) -> None:
    """Where the last record ends was looked for from the beginning for each line: minutes for 1 MB."""
    path = tmp_path / "t.csv"
    path.write_text('1,"x\n' + "a,b\n" * 100_000)
    started = time.monotonic()
    assert read(path, schema="a STRING, b STRING", options={"multi_line": True}) == [
        ("1", "x\n" + "a,b\n" * 100_000)
    ]
    assert time.monotonic() - started < 8


@pytest.mark.parametrize("kind", ["INT", "BIGINT", "DECIMAL(38,2)"])
@pytest.mark.parametrize(("name", "text"), [("t.csv", "{}\n7\n"), ("t.json", '{{"a": {}}}\n{{"b": 7}}\n')])
def test_a_number_of_thousands_of_digits_is_a_malformed_record(
    tmp_path: Path, name: str, text: str, kind: str
) -> None:
    path = tmp_path / name
    path.write_text(text.format("1" * 5000))
    assert len(read(path, schema=f"a {kind}", mode="drop")) == 1
    with pytest.raises(SourceError, match=r"t\.\w+, record 1: column a: .* is (no|not) a valid"):
        read(path, schema=f"a {kind}", mode="fail")


@pytest.mark.parametrize(
    ("text", "options", "kind", "value"),
    [
        ("1" * 5000, {}, "double", math.inf),
        ("-" + "9" * 38, {}, "decimal(38,0)", Decimal("-" + "9" * 38)),
        ("1" * 5000, {"primitives_as_string": True}, "string", "1" * 5000),
        ("-0" + "1" * 5000, {"primitives_as_string": True, "allow_numeric_leading_zeros": True}, "string",
         "-" + "1" * 5000),
        ("-0", {"primitives_as_string": True}, "string", "0"),
    ],
)  # fmt: skip
def test_the_type_of_a_number_of_many_digits(
    tmp_path: Path, text: str, options: dict[str, Any], kind: str, value: Any
) -> None:
    path = tmp_path / "t.json"
    path.write_text(f'{{"a": {text}}}')
    scan = FilesSource.model_validate({"type": "files", "path": str(path), "options": options}).describe(None)
    assert [str(field.type) for field in scan.schema] == [kind]
    assert scan_files(scan).collect().rows() == [(value,)]


@pytest.mark.parametrize("text", ["1_000", " 1", "1\u00a0", "NaN", "1e", ""])
def test_texts_of_json_that_are_no_decimals(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"a": text}) + '\n{"a": "1,000.5"}')
    assert read(path, schema="a DECIMAL(10,2)", mode="drop") == [(Decimal("1000.50"),)]


@pytest.mark.parametrize(
    ("text", "days"),
    [("+10000-01-01", 2_932_897), ("0000-01-01", -719_528), ("999999", 364_522_607), ("123", 123)],
)
def test_dates_of_json_that_python_has_none_of(tmp_path: Path, text: str, days: int) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"d": text, "a": [text]}) + '\n{"d": "x"}\n')
    config = {"type": "files", "path": str(path), "schema": "d DATE, a ARRAY<DATE>", "mode": "drop"}
    frame = scan_files(FilesSource.model_validate(config).describe(None)).collect()
    assert frame.select(pl.col("d").to_physical(), pl.col("a").list.get(0).to_physical()).rows() == [
        (days, days)
    ]


@pytest.mark.parametrize("damage", range(3))
def test_a_damaged_stream_of_bzip2_is_not_left_out(tmp_path: Path, damage: int) -> None:
    first, second = bz2.compress(b"1,2\n"), bz2.compress(b"3,4\n")
    path = tmp_path / "t.csv.bz2"
    path.write_bytes(first + second)
    assert read(path) == [("1", "2"), ("3", "4")]
    broken = (second[:-1], b"?" + second[1:], second[:20] + b"?" + second[21:])[damage]
    path.write_bytes(first + broken)
    with pytest.raises(SourceError, match=r"t\.csv\.bz2 .*: its compressed data is cut off or broken"):
        read(path)


def test_half_a_surrogate_pair_is_a_question_mark(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"a": "x\\ud800y", "\\udfaa": "\\uD834\\uDD1E", "d": null}\n{"a": "\\\\ud800"}\n')
    rows = [("x?y", "\U0001d11e", None), ("\\ud800", None, None)]
    assert read(path, schema="a STRING, `?` STRING, d DATE") == rows
    assert read(path) == [("\U0001d11e", "x?y", None), (None, "\\ud800", None)]
    path.write_text('{"d": "\\ud800"}\n')
    assert read(path, schema="d DATE", mode="drop") == []


def test_wide_characters_within_values_that_become_texts_are_escaped_as_spark_does(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"a": ["\U0001f600é\\ud800x"]}\n{"a": {"\U0001f600": 1}}\n{"a": "\U0001f600"}\n')
    texts = ['["\\uD83D\\uDE00é\\uD800x"]', '{"\\uD83D\\uDE00":1}', "\U0001f600"]
    assert read(path, schema="a STRING") == [(text,) for text in texts]


@pytest.mark.parametrize("multi_line", [False, True])
def test_a_json_record_with_bytes_that_are_no_utf8_is_malformed(tmp_path: Path, multi_line: bool) -> None:
    path = tmp_path / "t.json"
    good, bad = b'{"n": 1, "s": "\xc3\xa9"}', b'{"n": 2, "s": "\xe9"}'
    path.write_bytes(bad if multi_line else good + b"\n" + bad + b"\n" + good)
    config = {"path": str(path), "schema": "n INT, s STRING", "options": {"multi_line": multi_line}}
    scan = FilesSource.model_validate({"type": "files", **config}).describe(None)
    reasons = scan_files(scan, malformed=True).collect()[BAD].drop_nulls().to_list()
    assert reasons == ["the text is no UTF-8: byte 0xE9 at character 16"]


def test_lines_of_json_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(
        b'\xef\xbb\xbf{"a": 1}\n\xef\xbb\xbf{"a": 2}\n\xef\xbb\xbf\n\xef\xbb\xbf [{"a": 3}, {"a": 4}]\n'
    )
    assert read(path) == [(1,), (2,), (3,), (4,)]
    scan = FilesSource.model_validate({"type": "files", "path": str(path)}).describe(None)
    assert len(list(source_records(scan, scan.files[0]))) == 4


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("NaN", "nan"),
        ("Infinity", "inf"),
        ("+Infinity", "inf"),
        ("-Infinity", "-inf"),
        ("+INF", "inf"),
        ("-INF", "-inf"),
        *((word, None) for word in ("-NaN", "+NaN", "INF", "Inf", "-Inf", "+Inf")),
    ],
)
def test_numbers_that_are_none_are_spelled_as_java_knows_them(
    tmp_path: Path, word: str, value: str | None
) -> None:
    path = tmp_path / "t.json"
    path.write_text(f'{{"a": {word} }}\n')
    found = read(path, schema="a DOUBLE", mode="drop")
    assert [str(value) for (value,) in found] == ([] if value is None else [value])


def test_rows_are_those_of_the_row_groups_whatever_the_footer_counts(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": range(7)}), path)
    whole = path.read_bytes()
    seven, none = b"\x16\x0e\x19", b"\x16\x00\x19"  # the field of all rows, before the list of row groups
    assert whole.count(seven) == 1
    path.write_bytes(whole.replace(seven, none))
    assert read(path) == [(number,) for number in range(7)]


@pytest.mark.parametrize(
    "kind", ["INTERVAL DAY", "INTERVAL MONTH", "ARRAY<INTERVAL DAY>", "STRUCT<a: INTERVAL>"]
)
@pytest.mark.parametrize("form", ["json", "parquet", "avro"])
def test_intervals_of_any_kind_have_no_form_in_a_file(kind: str, form: str) -> None:
    load = FilesLoad.model_validate({"type": "files", "path": "out", "format": form})
    (problem,) = load.check(parse_ddl(f"i {kind}"))
    assert "of type" in problem.message


def _no_text() -> pa.Array:
    return pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(struct.pack("<3i", 0, 2, 4)), pa.py_buffer(b"a\xffok")]
    )


@pytest.mark.parametrize("schema", [None, "s STRING, n INT"], ids=["by Polars", "by Arrow"])
def test_text_of_parquet_that_is_no_utf8_is_refused_by_any_reader(tmp_path: Path, schema: str | None) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"s": _no_text(), "n": pa.array([1, 2])}), path)
    config = {"type": "files", "path": str(path)} | ({"schema": schema} if schema else {})
    scan = FilesSource.model_validate(config).describe(None)
    with pytest.raises((SourceError, pl.exceptions.ComputeError)) as caught:
        scan_files(scan).collect()
    found = caught.value if schema else find_damage(scan)
    assert isinstance(found, SourceError)
    assert "t.parquet does not fit: the column s is read as string: Invalid UTF8" in found.message
    assert found.hint is not None
    assert "schema" in found.hint


@pytest.mark.parametrize("shape", ["list", "struct", "map"])
def test_text_inside_of_others_that_is_no_utf8_is_refused(tmp_path: Path, shape: str) -> None:
    one = pa.array([0, 1, 2], pa.int32())
    made, kind = {
        "list": (pa.ListArray.from_arrays(one, _no_text()), "ARRAY<BINARY>"),
        "struct": (pa.StructArray.from_arrays([_no_text()], names=["t"]), "STRUCT<t: BINARY>"),
        "map": (pa.MapArray.from_arrays(one, pa.array(["a", "b"]), _no_text()), "MAP<STRING, BINARY>"),
    }[shape]
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"s": made, "n": pa.array([1, 2])}), path)
    config = {"type": "files", "path": str(path)}
    as_text = kind.replace("BINARY", "STRING")
    with pytest.raises(SourceError, match=r"t\.parquet does not fit: the column s .*: Invalid UTF8"):
        scan_files(
            FilesSource.model_validate(config | {"schema": f"s {as_text}, n INT"}).describe(None)
        ).collect()
    scan = FilesSource.model_validate(config | {"schema": f"s {kind}, n INT"}).describe(None)
    assert scan_files(scan).collect()["n"].to_list() == [1, 2]


def test_text_of_parquet_that_is_no_utf8_can_be_read_as_binary(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"s": _no_text()}), path)
    config = {"type": "files", "path": str(path), "schema": "s BINARY"}
    assert scan_files(FilesSource.model_validate(config).describe(None)).collect().rows() == [
        (b"a\xff",),
        (b"ok",),
    ]
