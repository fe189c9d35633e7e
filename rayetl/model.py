"""The base of every config model, and the scalar types that config fields share.

Models are frozen and closed; fields are written in snake_case or camelCase.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function

from rayetl.names import PREFIX


def _spellings(name: str) -> str | AliasChoices:
    # A discriminator (`type`) may have a single alias only, so one is made where there are two spellings.
    camel = to_camel(name)
    return name if camel == name else AliasChoices(name, camel)


class Model(BaseModel):
    """A frozen config model. Unknown fields are refused; `groupBy` and `group_by` are the same field."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        arbitrary_types_allowed=True,
        alias_generator=AliasGenerator(validation_alias=_spellings),
        populate_by_name=True,
        defer_build=True,  # one validator of the whole config is built, not one of every model in it
    )


_MICROSECONDS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_TIME_WORDS = {
    "us": "us microsecond microseconds",
    "ms": "ms millisecond milliseconds",
    "s": "s sec secs second seconds",
    "m": "m min mins minute minutes",
    "h": "h hr hrs hour hours",
    "d": "d day days",
}
_TIME_UNITS = {word: _MICROSECONDS[unit] for unit, words in _TIME_WORDS.items() for word in words.split()}
_BYTE_UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
}
_AMOUNT = r"(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]*)"
_DURATION = re.compile(r"\d{1,18}(?:\.\d{1,9})?|(?:\s*\d{1,18}(?:\.\d{1,9})?\s*[A-Za-z]+)+", re.ASCII)
_PART = re.compile(_AMOUNT, re.ASCII)
_LONGEST = timedelta(days=36_500)
_LARGEST = 2**63 - 1


def parse_duration(value: object) -> timedelta:
    """A length of time from `200ms`, `30s`, `5 minutes` or `1h 30m`.

    Raises `ValueError` with a sentence for the writer of a config.
    """
    if isinstance(value, timedelta):
        return value
    allowed = "a duration is a number with a unit, like 200ms, 30s, 5 minutes, 2h or 1d"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(allowed)
    text = str(value).strip()
    if len(text) > 100 or not _DURATION.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is not a duration; {allowed}")
    total = Decimal(0)
    for amount, unit in _PART.findall(text):
        if not unit:
            raise ValueError(f"the duration {text} has no unit; write {text}s for seconds or {text}ms")
        if unit.lower() not in _TIME_UNITS:
            raise ValueError(f"{unit!r} in {text!r} is not a unit of time; allowed: us, ms, s, m, h, d")
        total += Decimal(amount) * _TIME_UNITS[unit.lower()]
    if total > _LONGEST // timedelta(microseconds=1):
        raise ValueError(f"the duration {text!r} is longer than 100 years")
    return timedelta(microseconds=round(total))


def parse_size(value: object) -> int:
    """A number of bytes from `64MiB`, `10 MB`, `512` or `1.5GB` (kB, MB, GB: powers of 1000; KiB, MiB,
    GiB: powers of 1024).

    Raises `ValueError` with a sentence for the writer of a config.
    """
    allowed = "a size is a whole number of bytes or a number with a unit, like 512, 10MB, 64MiB or 1.5GB"
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(allowed)
    text = str(value).strip()
    match = _PART.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a size; {allowed}")
    amount, unit = match.groups()
    factor = _BYTE_UNITS.get(unit.lower())
    if factor is None:
        units = "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"
        raise ValueError(f"{unit!r} in {text!r} is not a unit of size; allowed: {units}")
    if "." in amount and factor == 1:
        raise ValueError(f"{text!r} is not a whole number of bytes")
    size = int(amount) * factor if amount.isdigit() else round(Decimal(amount) * factor)
    if size > _LARGEST:
        raise ValueError(f"the size {text!r} is larger than {_LARGEST} bytes")
    return size


def format_duration(value: timedelta) -> str:
    """The shortest spelling that `parse_duration` reads back as the same length."""
    whole = value // timedelta(microseconds=1)
    unit = next(unit for unit, size in reversed(_MICROSECONDS.items()) if whole % size == 0)
    return f"{whole // _MICROSECONDS[unit]}{unit}" if whole else "0s"


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("the text is empty; Spark SQL is expected")
    return value


_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")


def _identifier(value: str) -> str:
    if not _IDENTIFIER.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a name; a name is 1 to 128 letters, digits, `_` or `-` and does not start "
            "with a digit or `-`"
        )
    return _unreserved(value)


def _column(value: str) -> str:
    if not value:
        raise ValueError("the name of the column is empty")
    return _unreserved(value)


def _unreserved(value: str) -> str:
    if value.lower().startswith(PREFIX):
        raise ValueError(f"{value!r} is not allowed: names that start with `{PREFIX}` are kept for rayetl")
    return value


def _schema(**keywords: Any) -> WithJsonSchema:
    return WithJsonSchema(keywords)


class OneOrMany:
    """Beside the type of a list or tuple: a single value may stand for a list of one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(_in_list, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


def _in_list(value: object) -> object:
    return value if value is None or isinstance(value, (list, tuple)) else [value]


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    _schema(
        type="string",
        title="Duration",
        pattern=r"^\s*(\d+(\.\d+)?\s*[A-Za-z]+\s*)+$",
        examples=["200ms", "30s", "5 minutes", "1h 30m"],
    ),
]
"""A length of time, always with its unit."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    _schema(
        anyOf=[
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*([kKmMgGtT][iI]?)?[bB]?\s*$"},
        ],
        title="Size",
        examples=[65536, "10MB", "64MiB"],
    ),
]
"""A number of bytes."""

SqlText = Annotated[
    str,
    AfterValidator(_not_blank),
    _schema(type="string", title="SqlText", minLength=1, contentMediaType="application/sql"),
]
"""Spark SQL. Kept exactly as written, so that offsets in it lead back to the file."""

Identifier = Annotated[
    str,
    AfterValidator(_identifier),
    _schema(type="string", title="Identifier", pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,127}$"),
]
"""The id of a source, step or load, or the name of a rule or variable."""

ColumnName = Annotated[
    str,
    AfterValidator(_column),
    _schema(type="string", title="ColumnName", minLength=1),
]
"""The name of a column; any text but names that start with the prefix rayetl keeps for itself."""
