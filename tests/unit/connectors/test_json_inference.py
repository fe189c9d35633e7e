"""The types of JSON records are found many at a time, and are those of one at a time."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.formats import json_infer
from rayetl.connectors.formats.json import JsonReader
from rayetl.connectors.formats.json_infer import json_schema
from rayetl.connectors.formats.options import JsonOptions
from rayetl.errors import SourceError
from rayetl.sql.types import LONG, STRING, Field, Schema

TEXTS = (
    '{"a": 1, "b": 1.5, "c": true, "d": "x", "e": null}',
    '{"a": ""}|{"a": 1}',
    '{"a": ""}|{"a": null}',
    '{"a": "2024-05-06 07:08:09"}|{"a": "2024-05-06"}',
    '{"a": 9223372036854775807}',
    '{"a": 9223372036854775808}',
    '{"a": -9223372036854775809, "b": 1}|{"a": 1}',
    '{"a": 99999999999999999999999999999999999999999}',
    '{"a": 1}|{"a": 1e3}|{"a": 1e400}',
    '{"a": -0}|{"b": -0.0}',
    '{"a": NaN}|{"a": -Infinity}',
    '{"a": 1}|{"a": "x"}',
    '{"a": [1, 2.5]}|{"a": []}|{"a": null}|{"b": [[]]}|{"b": [["", null]]}',
    '{"a": {"z": 1, "b": {"c": "x"}}}|{"a": {"b": {"d": ""}}}|{"a": {}}|{"e": {}}',
    '{"a": [{"b": 1}, {"c": "x"}]}|{"a": [{"b": 1.5}]}',
    '{"z": 1, "a": 2, "\\u00e4": 3, "B": 4}',
    '{"a": 1, "a": "x"}',
    '{"a": 1}|nonsense|{"b": 2|||{"c": 3}',
    '{"a": 1} {"b": 2}|{"c": 1}',
    '{"a": 1}, |[{"b": 1}, {"c": 2.5}]|7|"x"|null',
    "{'a': 1}|{\"b\": 1}",
    '{"": 1, "a.b": 2}',
    "{}",
)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"primitives_as_string": True},
    {"prefers_decimal": True},
    {"allow_non_numeric_numbers": False},
    {"multi_line": True},
)


def found(tmp_path: Path, text: str, options: JsonOptions, promised: Schema | None = None) -> Schema | str:
    place = tmp_path / "a.json"
    place.write_text(text)
    scan = FilesScan("json", (InputFile(str(place), place.stat().st_size, 0),), Schema(), options=options)
    try:
        return json_schema(scan, options, promised)
    except SourceError as error:
        return str(error)


def both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, options: JsonOptions
) -> tuple[Schema | str, Schema | str]:
    """As they are found, and as they are found one by one."""
    first = found(tmp_path, text, options)
    with monkeypatch.context() as patched:
        patched.setattr(JsonReader, "untyped", lambda self, data: None)
        return first, found(tmp_path, text, options)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("text", TEXTS)
def test_types_are_those_of_one_record_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, options: dict[str, Any]
) -> None:
    whole = f"[{text.replace('|', ',')}]" if options.get("multi_line") else text.replace("|", "\n")
    first, second = both(tmp_path, monkeypatch, whole, JsonOptions(**options))
    assert first == second


@pytest.mark.parametrize("prefers_decimal", [False, True])
@pytest.mark.parametrize("number", ["NaN", "-INF", "1e400", "1e5", "1.10", "12345678901234567890.5"])
def test_types_in_an_array_are_those_of_lines(tmp_path: Path, number: str, *, prefers_decimal: bool) -> None:
    line = f'{{"a": {number}, "b": -0}}'
    for options in (JsonOptions(prefers_decimal=prefers_decimal, multi_line=each) for each in (False, True)):
        assert found(tmp_path, f"[{line}]", options) == found(tmp_path, line, options)


@pytest.mark.parametrize("multi_line", [False, True])
def test_types_of_many_parts_are_united(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, multi_line: bool
) -> None:
    monkeypatch.setattr(json_infer, "_PART", 200)
    chosen = random.Random(3)
    values = [None, "", 1, 2**63, 2**70, 0.5, True, "x", [], [1], [""], {}, {"q": 1}, {"q": "x", "r": [0.5]}]
    for _ in range(40):
        few = chosen.sample(values, 3)
        records = [{chosen.choice("abc"): chosen.choice(few) for _ in range(3)} for _ in range(100)]
        text = json.dumps(records) if multi_line else "\n".join(map(json.dumps, records))
        first, second = both(tmp_path, monkeypatch, text, JsonOptions(multi_line=multi_line))
        assert first == second


@pytest.mark.parametrize("depth", [450, 700, 990])
def test_columns_that_no_engine_could_hold_are_refused_with_what_to_do(tmp_path: Path, depth: int) -> None:
    text = '{"a":' * depth + "1" + "}" * depth
    said = str(found(tmp_path, text, JsonOptions()))
    assert "more than 400 arrays and objects inside one another" in said
    promised = Schema((Field("a", STRING),))
    assert found(tmp_path, text, JsonOptions(), promised) == promised


def test_records_are_not_looked_at_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(json_infer, "kind_of")
    points = [[0.5, n] for n in range(400)]
    text = "\n".join(json.dumps({"id": n, "at": "2024-05-06", "points": points}) for n in range(100))
    schema = found(tmp_path, text, JsonOptions())
    assert isinstance(schema, Schema)
    assert schema.names == ("at", "id", "points")


@pytest.mark.parametrize("quoted", ["", "]" * 100_000])
def test_a_record_that_is_deeper_than_the_stack_does_not_end_the_process(tmp_path: Path, quoted: str) -> None:
    deep = f'{{"b": 1, "s": "{quoted}", "a": {"[" * 100_000}{"]" * 100_000}}}\n{{"b": 2}}\n'
    promised = Schema((Field("b", LONG),))
    assert found(tmp_path, deep, JsonOptions()) == promised
    assert found(tmp_path, deep, JsonOptions(), promised) == promised


@pytest.mark.parametrize("depth", [400, 1000, 1001, 3000])
@pytest.mark.parametrize("multi_line", [False, True])
def test_a_record_that_is_too_deep_for_spark_is_malformed(
    tmp_path: Path, depth: int, *, multi_line: bool
) -> None:
    options = JsonOptions(multi_line=multi_line)
    nested = depth - multi_line
    records = [f'{{"a": {"[" * (nested - 1)}1{"]" * (nested - 1)}, "b": "[["}}', '{"b": "x"}']
    text = f"[{','.join(records)}]" if multi_line else "\n".join(records)
    schema = found(tmp_path, text, options)
    if depth == 400:
        assert isinstance(schema, Schema)
        assert schema.names == ("a", "b")
    elif depth == 1000:
        assert "more than 400 arrays and objects inside one another" in str(schema)
    elif multi_line:
        assert "no record of the file" in str(schema)
    else:
        assert isinstance(schema, Schema)
        assert schema.names == ("b",)
    for column in (Field("a", STRING), Field("b", STRING)):
        _, bad = JsonReader(Schema((column,)), options).frame(text.encode())
        assert (bad.null_count() < len(bad)) == (depth > 1000)
