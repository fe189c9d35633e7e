"""JSON documents that are one array, read in pieces: the same rows, and the same verdict, as of the whole text."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from rayetl.connectors.base import InputFile
from rayetl.connectors.formats.json import JsonReader
from rayetl.connectors.formats.json_document import documents
from rayetl.connectors.formats.options import JsonOptions
from rayetl.connectors.formats.streams import CHUNK
from rayetl.errors import SourceError
from rayetl.sql.types import DOUBLE, LONG, STRING, ArrayType, Field, Schema, StructType

SCHEMA = Schema(
    (
        Field("a", LONG),
        Field("b", STRING),
        Field("c", ArrayType(DOUBLE)),
        Field("d", StructType((Field("e", STRING),))),
    )
)
OPTIONS = JsonOptions(multi_line=True)
FILE = InputFile("a.json", 0, 0)
GOOD = (
    '[{"a": 1}]',
    '[{"a": 1}, {"a": 2},\n {"b": "x, ]}", "c": [1, 2.5]}]',
    ' \n\t[ {"b": "\\"},{\\\\"} , {"d": {"e": "\\\\"}},\r\n{"d": {"e": [1, {"f": ","}]}} ]\n,\n',
    '[{"a": 1}, null, 5, "x,y", [{"a": 2}, {"a": 3}], {"a": "no"}, {}, true]',
    '[{"a": 9223372036854775808}, {"b": 1e999}, {"b": "\\ud800"}, {"b": "\u00e4\u2028"}]',
    "[{'a': 1}, {'b': 'x, \"y'}, {\"a\": 2}]",
    '[{"b": NaN}, {"a": -0}]',
    '[{"a": 1}, // one, two\n {"a": 2}, {"a": 3}]',
    '[{"a": 1}, /* one, \n two */ {"a": 2}, {"a": 3}]',
    "[]",
    '{"a": 1, "c": [1, 2]}',
    "null",
    "",
)
BAD = (
    '[{"a": 1}, {"a": 2}',
    '[{"a": 1}, {"a": 2}] {"a": 3}',
    '[{"a": 1}, {"a": 2}], [{"a": 3}, {"a": 4}]',
    '[{"a": 1}, {"a": 2},]',
    '[{"a": 1},, {"a": 2}]',
    '[, {"a": 1}]',
    '[{"a": 1} {"a": 2}, {"a": 3}]',
    '[{"a": 1}, {"b": "x\ny"}, {"a": 2}]',
    '[{"a": 1}, {"b": "x}, {"a": 2}]',
    '[{"a": 1}, {"a": 01}, {"a": 2}]',
    '[{"a": 1}, {"a": 2]}, {"a": 3}]',
    '[{"a": 1}, nul, {"a": 3}]',
    '[{"a": 1}\x0b, {"a": 2}]',
    '[{"a": 1}, {"b": "x\ry"}, {"b": "x\ty"}]',
    "[{'a': 1}, /* , */ {'b': 'it\"s'}, {\"a\": 2}]",
    '[\ufeff{"a": 1}, {"a": 2}]',
    '[{"a": 1}, \ufeff{"a": 2}]',
    '[{"a": 1}, {"no column": ' + "[" * 1_200 + "]" * 1_200 + "}]",
    '[{"b": "x"}, {"no column": -NaN}]',
)


def pieces(text: str, size: int) -> Iterator[bytes]:
    data = text.encode("utf-8", "surrogatepass")
    return (data[at : at + size] for at in range(0, len(data), size))


def read(chunks: Iterator[bytes], options: JsonOptions) -> list[tuple[object, ...]]:
    reader = JsonReader(SCHEMA, options)
    frames = [frame.with_columns(bad.alias("why")) for frame, bad in map(reader.frame, chunks)]
    return pl.concat(frames).rows() if frames else []


def as_a_whole(text: str, options: JsonOptions) -> list[tuple[object, ...]]:
    frame, bad = JsonReader(SCHEMA, options)._slow([text] if text.strip() else [])
    return frame.with_columns(bad.alias("why")).rows()


@pytest.mark.parametrize("options", [OPTIONS, JsonOptions(multi_line=True, allow_comments=True)])
@pytest.mark.parametrize("text", [*GOOD, *BAD])
@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_pieces_are_as_the_whole(text: str, size: int, options: JsonOptions) -> None:
    found = documents(FILE, lambda: pieces(text, size), options)
    assert read(found, options) == as_a_whole(text, options)


@pytest.mark.parametrize("size", [3, 10, 1000])
def test_an_array_with_bytes_that_are_no_utf8_is_one_malformed_record(size: int) -> None:
    data = b'[{"a": 1}, {"b": "\xe9"}, {"a": 2}]'
    found = read(
        documents(FILE, lambda: (data[at : at + size] for at in range(0, len(data), size)), OPTIONS), OPTIONS
    )
    assert [row[-1] for row in found] == ["the text is no UTF-8: byte 0xE9 at character 19"]


def test_pieces_of_damaged_documents_are_as_the_whole() -> None:
    chosen = random.Random(7)
    whole = json.dumps([{"a": n, "b": 'x"\\,' * (n % 3), "c": [n, 0.5], "d": {"e": "]"}} for n in range(12)])
    cut_up = 0
    for _ in range(150):
        at, sign = chosen.randrange(len(whole)), chosen.choice('"\\,[]{}: 1x\n\r\t\x0b')
        damaged = whole[:at] + sign + whole[at + chosen.randrange(2) :]
        chunks = list(documents(FILE, partial(pieces, damaged, 100), OPTIONS))
        cut_up += len(chunks) > 1
        assert read(iter(chunks), OPTIONS) == as_a_whole(damaged, OPTIONS), damaged
    assert 20 < cut_up < 150


@pytest.mark.parametrize("end", ["]", '{"id": 1'])
def test_a_long_array_is_never_in_memory_as_a_whole(tmp_path: Path, end: str) -> None:
    """One that is malformed is a record, and that is as long as it is."""
    rows = 60_000
    place = tmp_path / "long.json"
    elements = (f'{{"a": {n}, "b": "{"x" * 250}"}}' for n in range(rows))
    place.write_text("[" + ",\n".join(elements) + end)
    size = place.stat().st_size
    reader = JsonReader(SCHEMA, OPTIONS)
    chunks = list(reader.chunks(InputFile(str(place), size, 0)))
    heights = [reader.frame(chunk)[0].height for chunk in chunks]
    if end == "]":
        assert sum(heights) == rows
        assert max(map(len, chunks)) < CHUNK + 1000 < size / 3
    else:
        assert heights == [1]


def test_a_file_that_is_cut_short_between_two_looks_is_told(tmp_path: Path) -> None:
    place = tmp_path / "long.json"
    place.write_text("[" + ",\n".join(['{"b": "' + "x" * 1000 + '"}'] * 12_000) + "]")
    chunks = JsonReader(SCHEMA, OPTIONS).chunks(InputFile(str(place), place.stat().st_size, 0))
    next(chunks)
    place.write_text('[{"a": 1}]')
    with pytest.raises(SourceError, match="changed while it was read"):
        list(chunks)
