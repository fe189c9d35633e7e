"""Avro schemas read as contracts: types, nullability, fingerprints, and every fault with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayetl.errors import Problem, SqlError
from rayetl.quality.avro import Contract
from rayetl.sql.types import Schema


def record(*kinds: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "ns.R",
        "fields": [{"name": f"f{index}", "type": kind} for index, kind in enumerate(kinds)],
    }


def logical(kind: str, means: str, /, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": means, **more}


TYPES: list[tuple[Any, str, bool]] = [
    ("boolean", "boolean", False),
    ("int", "int", False),
    ("long", "bigint", False),
    ("float", "float", False),
    ("double", "double", False),
    ("bytes", "binary", False),
    ("string", "string", False),
    ("null", "void", True),
    ({"type": "string"}, "string", False),
    ({"type": {"type": "string"}}, "string", False),
    (["null", "string"], "string", True),
    (["string", {"type": "null"}], "string", True),
    (["int"], "int", False),
    (["int", "long"], "bigint", False),
    (["null", "double", "float"], "double", True),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "string", False),
    ({"type": "fixed", "name": "F", "size": 16}, "binary", False),
    ({"type": "array", "items": ["null", "int"]}, "array<int>", False),
    ({"type": "map", "values": "long"}, "map<string,bigint>", False),
    (logical("bytes", "decimal", precision=20, scale=3), "decimal(20,3)", False),
    (logical("bytes", "decimal", precision=5), "decimal(5,0)", False),
    (logical("fixed", "decimal", name="D", size=8, precision=18, scale=2), "decimal(18,2)", False),
    (logical("int", "date"), "date", False),
    (logical("int", "time-millis"), "int", False),
    (logical("long", "time-micros"), "bigint", False),
    (logical("long", "timestamp-millis"), "timestamp", False),
    (logical("long", "timestamp-micros"), "timestamp", False),
    (logical("long", "local-timestamp-millis"), "timestamp_ntz", False),
    (logical("long", "local-timestamp-micros"), "timestamp_ntz", False),
    (logical("string", "uuid"), "string", False),
    (logical("string", "no-such-thing"), "string", False),
    (
        {"type": "record", "name": "In", "fields": [{"name": "x", "type": ["null", "int"]}]},
        "struct<x:int>",
        False,
    ),
]


@pytest.mark.parametrize(("kind", "expected", "nullable"), TYPES, ids=lambda value: str(value)[:40])
def test_types(kind: Any, expected: str, nullable: bool) -> None:
    (column,) = Contract.load(record(kind)).schema
    assert (str(column.type), column.nullable) == (expected, nullable)


def test_named_types_are_found_by_name_and_namespace() -> None:
    contract = Contract.load(
        record(
            {"type": "enum", "name": "E", "symbols": ["A"]},
            "E",
            "ns.E",
            {"type": "fixed", "name": "other.F", "size": 3},
            "other.F",
            {
                "type": "record",
                "name": "In",
                "namespace": "deep",
                "fields": [
                    {"name": "g", "type": {"type": "fixed", "name": "G", "size": 1}},
                    {"name": "h", "type": "G"},
                ],
            },
            "deep.G",
        )
    )
    shapes = [promise.shape for promise in contract.fields]
    assert [shape.symbols for shape in shapes[:3]] == [("A",)] * 3
    assert [shape.size for shape in (*shapes[3:5], shapes[6])] == [3, 3, 1]


def theirs(schema: Any) -> str:
    """The fingerprint by another implementation."""
    form = fastavro.schema.to_parsing_canonical_form(schema)
    return str(fastavro.schema.fingerprint(form, "SHA-256"))


def test_the_fingerprint_of_named_types() -> None:
    inner = {"type": "enum", "name": "E", "symbols": ["A", "B"], "doc": "x"}
    fixed = {"type": "fixed", "name": "deep.F", "size": 12, "aliases": ["G"]}
    deep = {"type": "record", "name": "In", "namespace": "n2", "fields": [{"name": "x", "type": fixed}]}
    schema = record(inner, "E", ["null", deep], logical("bytes", "decimal", precision=3), "deep.F")
    assert Contract.load(schema).fingerprint == theirs(schema)


def test_the_fingerprint_is_that_of_the_canonical_form(tmp_path: Path) -> None:
    schema = record("int", ["null", "string"])
    path = tmp_path / "r.avsc"
    path.write_text(json.dumps({**schema, "doc": "said otherwise"}, indent=4), encoding="utf-8-sig")
    expected = theirs(schema)
    assert Contract.load(str(path)).fingerprint == Contract.load(schema).fingerprint == expected
    assert Contract.load(record("long", ["null", "string"])).fingerprint != expected


def field(kind: Any, **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": "f", "type": kind, **more}]}


FAULTS: list[tuple[Any, tuple[str | int, ...], str, str]] = [
    ({"type": "int"}, (), "it must be a record", ""),
    ([], (), "a union of nothing", ""),
    ({}, (), "needs a `type`", ""),
    ({"typ": "record", "name": "R"}, (), "needs a `type`", "`type` where it says `typ`"),
    ({"type": "record", "fields": []}, (), "a record needs a `name`", ""),
    ({"type": "record", "name": "a-b", "fields": []}, (), "a record needs a `name`", ""),
    ({"type": "record", "name": "R"}, (), "a list of `fields`", ""),
    ({"type": "record", "name": "R", "field": [1]}, (), "a list of `fields`", "where it says `field`"),
    ({"type": "record", "name": "R", "fields": [1]}, ("fields", 0), "a `name` and a `type`", ""),
    ({"type": "record", "name": "R", "fields": [{"name": "x"}]}, ("fields", 0), "a `name` and a `type`", ""),
    (field("strng"), ("fields", 0, "type"), "'strng' is not a type", "did you mean `string`?"),
    (field("record"), ("fields", 0, "type"), "record is not a type by itself", '{"type": "record"'),
    (field(3), ("fields", 0, "type"), "3 is not an Avro type", ""),
    (field(None), ("fields", 0, "type"), "None is not an Avro type", ""),
    (field({"type": "array"}), ("fields", 0, "type"), "needs its `items`", ""),
    (field({"type": "map", "value": "int"}), ("fields", 0, "type"), "needs its `values`", "says `value`"),
    (field(["int", "string"]), ("fields", 0, "type"), "union of int, string has no single", "null and one"),
    (field(["null", ["int"]]), ("fields", 0, "type", 1), "a union cannot stand directly", ""),
    (field(["null", {"type": "array", "items": "x"}]), ("fields", 0, "type", 1, "items"), "'x' is not", ""),
    (field("R"), ("fields", 0, "type"), "'R' contains itself", ""),
    (field({"type": "enum", "name": "E", "symbols": []}), ("fields", 0, "type"), "list of `symbols`", ""),
    (
        field({"type": "enum", "name": "E", "symbols": ["a", "a"]}),
        ("fields", 0, "type", "symbols"),
        "different",
        "",
    ),
    (field({"type": "fixed", "name": "F", "size": True}), ("fields", 0, "type"), "needs a `size`", ""),
    (
        field({"type": "fixed", "name": "F", "size": 12, "logicalType": "duration"}),
        ("fields", 0, "type"),
        "duration has no Spark type",
        "",
    ),
    (
        field({"type": "fixed", "name": "F", "size": 2, "logicalType": "decimal", "precision": 5}),
        ("fields", 0, "type"),
        "2 bytes cannot hold",
        "",
    ),
    (
        field(logical("bytes", "decimal", precision=39)),
        ("fields", 0, "type"),
        "no decimal(39, 0) in Spark",
        "1 to 38",
    ),
    (field(logical("bytes", "decimal", precision=2, scale=3)), ("fields", 0, "type"), "no decimal(2, 3)", ""),
    (field(logical("bytes", "decimal")), ("fields", 0, "type"), "no decimal(None, 0)", ""),
    (field("int", aliases="x"), ("fields", 0, "aliases"), "`aliases` is a list", ""),
    (
        {
            "type": "record",
            "name": "R",
            "fields": [
                {"name": "a", "type": "int", "aliases": ["old", "OLD"]},
                {"name": "b", "type": "int", "aliases": ["older", "Old"]},
            ],
        },
        ("fields", 1, "aliases"),
        "'Old' is an alias of 'a' already",
        "",
    ),
    (field("int", default="x"), ("fields", 0, "default"), 'is "x", but a whole number', ""),
    (field("int", default=2**31), ("fields", 0, "default"), "fits int", ""),
    (field("int", default=True), ("fields", 0, "default"), "a whole number", ""),
    (field("int", default=None), ("fields", 0, "default"), "is null, which its type does not allow", ""),
    (field("bytes", default="\u0100"), ("fields", 0, "default"), "code points 0 to 255", ""),
    (
        field({"type": "array", "items": "int"}, default=[1, "x"]),
        ("fields", 0, "default"),
        "a whole number",
        "",
    ),
    (
        field({"type": "enum", "name": "E", "symbols": ["a"]}, default="b"),
        ("fields", 0, "default"),
        "one of a",
        "",
    ),
    (field(logical("int", "date"), default=10**9), ("fields", 0, "default"), "years 1 to 9999", ""),
    (
        {
            "type": "record",
            "name": "R",
            "fields": [{"name": "A", "type": "int"}, {"name": "a", "type": "int"}],
        },
        ("fields", 1, "name"),
        "there twice",
        "",
    ),
    (
        {"type": "record", "name": "R", "fields": [{"name": "_rayetl_x", "type": "int"}]},
        ("fields", 0, "name"),
        "kept for rayetl",
        "",
    ),
]


@pytest.mark.parametrize(("schema", "path", "message", "hint"), FAULTS, ids=lambda value: str(value)[:40])
def test_faults(schema: Any, path: tuple[str | int, ...], message: str, hint: str) -> None:
    with pytest.raises(SqlError) as caught:
        Contract.load(schema)
    (problem,) = caught.value.problems
    assert problem.path == ("schema", *path)
    assert message in problem.message
    assert hint in (problem.hint or "")


def test_all_faults_come_at_once() -> None:
    with pytest.raises(SqlError) as caught:
        Contract.load(record("strng", {"type": "array"}, ["int", "string"]))
    assert [problem.path[2] for problem in caught.value.problems] == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: no such file"),
        (b"{", "is not JSON: line 1, column 2"),
        (b"\xff\xfe{}", "is not UTF-8 text"),
        (b'{"type": "record", "name": "R", "fields": [{"name": "f", "type": "strng"}]}', "at fields[0].type"),
        (b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_faults_of_a_file_name_it(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "r.avsc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SqlError) as caught:
        Contract.load(str(path))
    (problem,) = caught.value.problems
    assert problem.path == ("schema",)
    assert str(path) in problem.message
    assert message in problem.message


def test_a_bottomless_schema_ends_in_a_fault() -> None:
    kind: Any = "int"
    for _ in range(2000):
        kind = {"type": "array", "items": kind}
    with pytest.raises(SqlError, match="nested more than 64 levels"):
        Contract.load(record(kind))


KEYS = st.sampled_from(
    [
        "type",
        "name",
        "fields",
        "items",
        "values",
        "symbols",
        "size",
        "default",
        "aliases",
        "logicalType",
        "precision",
        "scale",
        "namespace",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(
    [
        "record",
        "enum",
        "fixed",
        "array",
        "map",
        "int",
        "string",
        "null",
        "decimal",
        "date",
        "uuid",
        "bytes",
        "long",
        "R",
        "E",
    ]
)
SHAPED = st.recursive(
    WORDS | st.integers(-2, 40) | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=15,
)


@given(SHAPED)
def test_any_mapping_is_read_or_refused(node: Any) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "f", "type": node, "default": node}]}
    faults: tuple[Problem, ...] = ()
    try:
        assert isinstance(Contract.load(schema).schema, Schema)
    except SqlError as error:
        faults = error.problems
    assert all(problem.message and problem.path[0] == "schema" for problem in faults)


ATOMS = [kind for kind, _, _ in TYPES if isinstance(kind, str) and kind != "null"] + [
    logical("int", "date"),
    logical("long", "timestamp-micros"),
    logical("bytes", "decimal", precision=9, scale=2),
]
TREES = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: (
        inner.map(lambda kind: {"type": "array", "items": kind})
        | inner.map(lambda kind: {"type": "map", "values": ["null", kind]})
    ),
    max_leaves=4,
)


@given(st.lists(st.tuples(TREES, st.booleans()), min_size=1, max_size=5))
def test_what_fastavro_accepts_is_read_with_the_promised_nullability(
    kinds: list[tuple[Any, bool]],
) -> None:
    schema = record(*(["null", kind] if nullable else kind for kind, nullable in kinds))
    contract = Contract.load(json.loads(json.dumps(schema)))
    columns = contract.schema
    assert contract.fingerprint == theirs(schema)
    assert [column.nullable for column in columns] == [nullable for _, nullable in kinds]
