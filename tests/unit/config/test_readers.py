"""YAML and JSON to the tree: what values mean, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayetl.config.document import plain
from rayetl.config.faults import FormError
from rayetl.config.json_reader import read_json
from rayetl.config.yaml_reader import read_yaml

from .documents import document


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-1.5E-3", -0.0015),
        ("-.inf", float("-inf")),
        ("12:30:45", "12:30:45"),
        ("2013-01-01", "2013-01-01"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("=", "="),
        ("9" * 500, "9" * 500),
    ],
)
def test_plain_scalars_follow_yaml_1_2(written: str, value: object) -> None:
    assert plain(document(f"a: {written}\n").root) == {"a": value}


def test_merge_keys_and_aliases() -> None:
    text = "base: &b {x: 1, y: 2}\nother: &o {z: 3, y: 4}\na: {<<: [*b, *o], x: 5}\nb: *b\n"
    assert plain(document(text).root) == {
        "base": {"x": 1, "y": 2},
        "other": {"z": 3, "y": 4},
        "a": {"x": 5, "y": 2, "z": 3},
        "b": {"x": 1, "y": 2},
    }


def test_keys_are_texts() -> None:
    assert plain(document("on: 1\n2013: 2\ntrue: 3\nnull: 4\n").root) == {
        "on": 1,
        "2013": 2,
        "true": 3,
        "null": 4,
    }


def test_an_anchor_of_a_key_and_a_byte_order_mark_do_no_harm() -> None:
    assert plain(document("&k a: *k\n").root) == {"a": "a"}


def test_aliases_count_as_copies() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(FormError, match="aliases counted as copies"):
        read_yaml("\n".join(lines))


def test_depth_counts_through_aliases() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 70))]
    with pytest.raises(FormError, match="deeper"):
        read_yaml("\n".join(lines))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_ends_early(opening: str) -> None:
    with pytest.raises(FormError, match=r"deeper|single text|expected"):
        read_yaml(opening * 50_000)


def test_deep_json_ends_early() -> None:
    with pytest.raises(FormError, match="deeper"):
        read_json("[" * 100_000)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values, st.sampled_from([None, 2]))
@settings(max_examples=200, deadline=None)
def test_json_means_what_the_standard_library_says(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    root = read_json(text).root
    assert root is not None
    assert plain(root) == json.loads(text)


@given(st.text(alphabet='{}[]",:0123.eE+-truefalsn \\u/\n', max_size=30))
@settings(max_examples=500, deadline=None)
def test_json_refuses_what_the_standard_library_refuses(text: str) -> None:
    try:
        expected = json.loads(text, parse_constant=lambda name: json.loads("!"))
    except ValueError:
        with pytest.raises(FormError):
            read_json(text)
        return
    if "\\u" in text:
        return
    root = read_json(text).root
    assert root is not None
    assert plain(root) == expected
