"""Durations, sizes, names: what is read, what is refused, and the base model's two spellings."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from rayetl.model import (
    ColumnName,
    Duration,
    Identifier,
    Model,
    OneOrMany,
    Size,
    SqlText,
    format_duration,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("5 minutes", 300),
        ("30s", 30),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("1.5 hours", 5400),
        ("2d", 172800),
        ("7 us", 7e-6),
        ("0s", 0),
        ("1 Second", 1),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "5", "5 fortnights", "-3s", "s", "1e3s", "5m5", "99999999d", "1" * 200, "1a" * 49, True, None, []],
)
def test_wrong_durations(text: object) -> None:
    with pytest.raises(ValueError, match=r"duration|unit"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30000)))
def test_durations_round_trip(length: timedelta) -> None:
    assert parse_duration(format_duration(length)) == length


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (512, 512),
        ("512", 512),
        ("10 MB", 10_000_000),
        ("64MiB", 64 << 20),
        ("1.5kB", 1500),
        ("2GiB", 2 << 30),
        ("7B", 7),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1.5", "-3", -3, "3 apples", "k", "99999999999TB", True, None, 1.5])
def test_wrong_sizes(text: object) -> None:
    with pytest.raises(ValueError, match=r"size|unit|bytes"):
        parse_size(text)


class Sample(Model):
    group_by: list[str] = Field(default=[])
    from_: Identifier | None = Field(default=None, alias="from")
    sql: SqlText = "x"
    column: ColumnName = "x"
    wait: Duration = timedelta(seconds=1)
    size: Size = 1
    names: Annotated[tuple[ColumnName, ...], OneOrMany()] = ()


def test_two_spellings() -> None:
    assert Sample.model_validate({"groupBy": ["a"]}) == Sample.model_validate({"group_by": ["a"]})
    assert Sample.model_validate({"from": "a"}).from_ == "a"
    with pytest.raises(ValidationError):
        Sample.model_validate({"groupBy": ["a"], "group_by": ["a"]})


def test_one_stands_for_many() -> None:
    assert (
        Sample.model_validate({"names": "a"}).names == Sample.model_validate({"names": ["a"]}).names == ("a",)
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"from": "1st"},
        {"from": "a b"},
        {"from": "_rayetl_x"},
        {"sql": " \n"},
        {"column": ""},
        {"column": "_RAYETL_row"},
    ],
)
def test_wrong_names_and_texts(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate(fields)


def test_json_keeps_durations_readable() -> None:
    assert Sample.model_validate({"wait": "5 minutes"}).model_dump(mode="json")["wait"] == "5m"
