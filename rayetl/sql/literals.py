"""Literal texts to typed literals, by Spark's rules."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rayetl.sql.expr import Literal
from rayetl.sql.types import (
    BINARY,
    BYTE,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    MAX_PRECISION,
    SHORT,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    AtomicType,
    DataType,
    DecimalType,
)

_RANGES = {"Y": (BYTE, 7), "S": (SHORT, 15), "": (INT, 31), "L": (LONG, 63)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"(\d{4,6})(?:-(\d{1,2})(?:-(\d{1,2}))?)?"
    r"(?:[ T](\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:\.(\d{0,9}))?)?)?"
    r"\s*(Z|UTC|GMT|[+-]\d{1,2}(?::\d{2})?|[A-Z]\w+/\w+)?)?"
)
_MONTHS = {"year": 12, "month": 1}
_MICROS = {
    "week": 604_800_000_000,
    "day": 86_400_000_000,
    "hour": 3_600_000_000,
    "minute": 60_000_000,
    "second": 1_000_000,
    "millisecond": 1_000,
    "microsecond": 1,
}
_DAY_TIME_FIELDS = ("day", "hour", "minute", "second")


def number(text: str) -> Literal | None:
    """`12`, `12L`, `1.5`, `1.5BD`, `1e3`, with an optional sign; None when out of range."""
    upper = text.upper().replace(" ", "")
    if upper.endswith("BD"):
        return _decimal(upper[:-2])
    suffix = upper[-1] if upper[-1] in "YSLDF" else ""
    digits = upper.removesuffix(suffix)
    if suffix in ("D", "F") or (not suffix and "E" in digits):
        return Literal(FLOAT if suffix == "F" else DOUBLE, False, float(digits))
    if "." in digits:
        return _decimal(digits)
    value = int(digits)
    kind, bits = _RANGES[suffix]
    if -(2**bits) <= value < 2**bits:
        return Literal(kind, False, value)
    if suffix:
        return None
    return Literal(LONG, False, value) if -(2**63) <= value < 2**63 else _decimal(digits)


def _decimal(text: str) -> Literal | None:
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    scale = max(0, -exponent)
    unscaled = int("".join(map(str, digits))) * 10 ** max(0, exponent)
    precision = max(len(str(unscaled)), scale, 1)
    if precision > MAX_PRECISION:
        return None
    return Literal(DecimalType(precision, scale), False, -unscaled if sign else unscaled)


def hexadecimal(text: str) -> Literal:
    return Literal(BINARY, False, bytes.fromhex(text.zfill(len(text) + len(text) % 2)))


def date_or_time(text: str, kind: DataType, zone: str) -> Literal | None:
    """`DATE '...'` and `TIMESTAMP '...'`; None when the text is none. A zone-less timestamp is in `zone`."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second = (
        int(part or default) for part, default in zip(found.groups()[:6], (1, 1, 1, 0, 0, 0), strict=True)
    )
    try:
        if kind == DATE:
            return Literal(DATE, False, (date(year, month, day) - date(1970, 1, 1)).days)
        micros = int((found[7] or "").ljust(6, "0")[:6] or 0)
        moment = datetime(year, month, day, hour, minute, second, micros)
        tz = UTC if kind == TIMESTAMP_NTZ else _zone(found[8] or zone)
    except (ValueError, KeyError):
        return None
    if kind not in (TIMESTAMP, TIMESTAMP_NTZ):
        return None
    return Literal(kind, False, (moment.replace(tzinfo=tz) - _EPOCH) // timedelta(microseconds=1))


def known_time_zone(name: str) -> str:
    """`name`, if it is one of the IANA database. Raises `ValueError` with a sentence for the writer."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is not a time zone; use a name of the IANA database, like UTC or Europe/Vienna"
        ) from None
    return name


def _zone(name: str) -> timezone | ZoneInfo:
    if name in ("Z", "UTC", "GMT"):
        return UTC
    if name[0] in "+-":
        hours, _, minutes = name[1:].partition(":")
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
        return timezone(-offset if name[0] == "-" else offset)
    return ZoneInfo(name)


def interval(text: str, start: str | None, end: str | None) -> Literal:
    """An interval literal. `start` and `end` are its units, None when the text holds them itself.

    Raises ValueError with a sentence for a text that is none.
    """
    if start is not None and end is not None:
        return _span(text.strip(), _singular(start), _singular(end))
    parts = [(text.strip(), _singular(start))] if start else _pairs(text)
    months = days = micros = 0
    units = [unit for _, unit in parts]
    for amount, unit in parts:
        if unit in _MONTHS:
            months += int(amount) * _MONTHS[unit]
        elif unit in ("day", "week"):
            days += int(amount) * (7 if unit == "week" else 1)
        else:
            micros += int(Decimal(amount) * _MICROS[unit])
    if all(unit in _MONTHS for unit in units):
        return Literal(_kind(units, ("year", "month")), False, months)
    if any(unit in _MONTHS for unit in units):
        raise ValueError("years and months do not mix with days and shorter units: add two intervals")
    fields = ["second" if unit.endswith("second") else "day" if unit == "week" else unit for unit in units]
    return Literal(_kind(fields, _DAY_TIME_FIELDS), False, days * _MICROS["day"] + micros)


def _kind(units: list[str], order: tuple[str, ...]) -> AtomicType:
    used = sorted({order.index(unit) for unit in units})
    first, last = order[used[0]], order[used[-1]]
    return AtomicType(f"interval {first}" if first == last else f"interval {first} to {last}")


def _singular(unit: str) -> str:
    unit = unit.lower().removesuffix("s")
    if unit not in _MONTHS and unit not in _MICROS:
        raise ValueError(f"{unit} is not a unit of intervals")
    return unit


def _pairs(text: str) -> list[tuple[str, str]]:
    words = text.lower().removeprefix("interval").replace("+", " +").split()
    if not words or len(words) % 2:
        raise ValueError(f"'{text}' is not an interval: write it as '1 day 2 hours'")
    try:
        return [(str(Decimal(a)), _singular(u)) for a, u in zip(words[::2], words[1::2], strict=True)]
    except ArithmeticError:
        raise ValueError(f"'{text}' is not an interval: write it as '1 day 2 hours'") from None


def _span(text: str, start: str, end: str) -> Literal:
    sign = -1 if text.startswith("-") else 1
    body = text.lstrip("+-")
    if (start, end) == ("year", "month"):
        found = re.fullmatch(r"(\d+)-(\d+)", body)
        if found is None:
            raise ValueError(f"'{text}' is not a year-month interval: write it as '1-2'")
        return Literal(
            _kind([start, end], ("year", "month")), False, sign * (int(found[1]) * 12 + int(found[2]))
        )
    fields = _DAY_TIME_FIELDS[_DAY_TIME_FIELDS.index(start) : _DAY_TIME_FIELDS.index(end) + 1]
    values = re.split(r"[ :]", body)
    if len(values) != len(fields):
        raise ValueError(f"'{text}' is not an interval {start} to {end}")
    micros = sum(int(Decimal(value) * _MICROS[unit]) for value, unit in zip(values, fields, strict=True))
    return Literal(_kind([start, end], _DAY_TIME_FIELDS), False, sign * micros)
