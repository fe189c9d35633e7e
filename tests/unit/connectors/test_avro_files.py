"""Avro files of schemas that few writers make: read as Spark reads them, or refused in one sentence."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from rayetl.connectors.formats.avro_blocks import Header, header_of
from rayetl.errors import SourceError
from tests.unit.connectors.test_files_source import described, read

ENUM = {"type": "enum", "name": "E", "symbols": ["x", "y"]}
PAIR = {"type": "record", "name": "Pair", "fields": [{"name": "a", "type": "int"}]}
OTHER = {"type": "record", "name": "Other", "fields": [{"name": "a", "type": "int"}]}
MAP = {"type": "map", "values": "int"}
NO_TEXT = b"\xd7\xff"


def file_of(path: Path, shape: Any, rows: int, data: bytes, **metadata: bytes) -> None:
    """One block of encoded records, whose bytes say which branch of a union each value is of."""
    pairs = {"avro.schema": json.dumps(shape).encode(), **metadata}
    with path.open("wb") as stream:
        stream.write(b"Obj\x01" + bytes([2 * len(pairs)]))
        for key, value in pairs.items():
            fastavro.schemaless_writer(stream, "string", key)
            fastavro.schemaless_writer(stream, "bytes", value)
        stream.write(b"\0" + bytes(16))
        fastavro.schemaless_writer(stream, "long", rows)
        fastavro.schemaless_writer(stream, "bytes", data)
        stream.write(bytes(16))


def record(*kinds: Any) -> Any:
    fields = [{"name": f"c{place}", "type": kind} for place, kind in enumerate(kinds)]
    return {"type": "record", "name": "r", "fields": fields}


@pytest.mark.parametrize(
    ("union", "encoded", "value"),
    [
        (["string", ENUM], b"\x02\x00", {"member0": None, "member1": "x"}),
        (["int", "long", "string"], b"\x02\x0a", {"member0": None, "member1": 5, "member2": None}),
        (["bytes", {"type": "fixed", "name": "F", "size": 1}], b"\x02a", {"member0": None, "member1": b"a"}),
        ([PAIR, OTHER], b"\x02\x0a", {"member0": None, "member1": {"a": 5}}),
        ([MAP, PAIR], b"\x02\x0a", {"member0": None, "member1": {"a": 5}}),
        ([MAP, "null", PAIR], b"\x00\x02\x02a\x0a\x00", {"member0": [{"key": "a", "value": 5}], "member1": None}),
        ([{"type": "int", "logicalType": "date"}, "long"], b"\x00\x0a", 5),
        (["double"], b"\x00" + bytes(8), 0.0),
    ],
    ids=["enum", "long", "fixed", "record", "record beside map", "map", "date", "alone"],
)  # fmt: skip
def test_a_value_is_of_the_branch_that_it_was_written_as(
    tmp_path: Path, union: Any, encoded: bytes, value: Any
) -> None:
    file_of(tmp_path / "in.avro", record(union), 2, encoded * 2)
    found = read(tmp_path / "in.avro").to_arrow().column(0).to_pylist()
    assert [_keyed(item) for item in found] == [value, value]


def _keyed(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(value.get("member0"), list):
        return value | {"member0": [{"key": key, "value": item} for key, item in value["member0"]]}
    return value


@pytest.mark.parametrize(
    ("shape", "data", "rows"),
    [
        (["null", "int", "string"], b"\x00\x02\x0a", [None, {"member0": 5, "member1": None}]),
        (["null", PAIR], b"\x00\x02\x0a", [None, {"a": 5}]),
        ({"type": "error", "name": "r", "fields": [{"name": "value", "type": "int"}]}, b"\x0a\x0c", [5, 6]),
        (record({"type": "fixed", "name": "F", "size": 0}), b"", [b"", b""]),
    ],
    ids=["union", "record or null", "error", "no bytes"],
)
def test_what_a_file_is_of_need_be_no_record(
    tmp_path: Path, shape: Any, data: bytes, rows: list[Any]
) -> None:
    file_of(tmp_path / "in.avro", shape, 2, data)
    assert [value for (value,) in read(tmp_path / "in.avro").rows()] == rows


def test_values_that_python_has_no_like_of(tmp_path: Path) -> None:
    millis = {"type": "long", "logicalType": "timestamp-millis"}
    shape = record(millis, {"type": "string", "logicalType": "uuid"}, MAP)
    data = io.BytesIO()
    fastavro.schemaless_writer(data, record("long", "string", MAP), {"c0": 2**49, "c1": "none", "c2": {}})
    file_of(tmp_path / "in.avro", shape, 1, data.getvalue())
    found = read(tmp_path / "in.avro")
    assert (found["c0"].to_physical().to_list(), found["c1"].to_list()) == ([2**49 * 1000], ["none"])


def test_what_others_note_in_a_header_may_be_any_bytes(tmp_path: Path) -> None:
    file_of(tmp_path / "in.avro", record("int"), 1, b"\x0a", **{"made.by": NO_TEXT})
    assert read(tmp_path / "in.avro").rows() == [(5,)]
    with (tmp_path / "in.avro").open("rb") as stream:
        header = header_of(stream, described(tmp_path / "in.avro").files[0])
    assert header == Header(json.dumps(record("int")).encode(), "null", bytes(16))


WIDE = {"type": "bytes", "logicalType": "decimal", "precision": 39, "scale": 2}
WITHIN = {"type": "record", "name": "r", "fields": [{"name": "c0", "type": ["null", "r"]}]}


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (record(WIDE), "cannot be read: it has a decimal of 39 digits, and 38 are the most"),
        (WITHIN, "cannot be read: its schema refers to r within itself, which no table can hold"),
        (record(), "has no columns, so its rows hold nothing"),
    ],
    ids=["decimal", "within itself", "no columns"],
)
def test_schemas_that_no_table_has_are_refused_by_the_name_of_the_file(
    tmp_path: Path, shape: Any, said: str
) -> None:
    file_of(tmp_path / "in.avro", shape, 1, b"\0")
    with pytest.raises(SourceError, match=rf"the file .*in\.avro {said}"):
        read(tmp_path / "in.avro")
