"""Java's date-time patterns as regular expressions with one named group for each field."""

from __future__ import annotations

import re
from functools import lru_cache

from rayetl.records import dataclass

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_ZONE = {
    "X": {1: r"Z|[+-]\d{2}(?:\d{2})?", 2: r"Z|[+-]\d{4}", 3: r"Z|[+-]\d{2}:\d{2}"},
    "x": {1: r"[+-]\d{2}(?:\d{2})?", 2: r"[+-]\d{4}", 3: r"[+-]\d{2}:\d{2}"},
    "Z": {1: r"[+-]\d{4}", 2: r"[+-]\d{4}", 3: r"[+-]\d{4}", 5: r"Z|[+-]\d{2}:\d{2}"},
    "V": {2: r"[A-Za-z][A-Za-z0-9~/._+-]*|[+-]\d{2}:?\d{2}"},
    "z": dict.fromkeys((1, 2, 3), r"[A-Z][A-Za-z0-9/_+:-]*"),
}
_NUMBERS = {"M": "month", "L": "month", "d": "day", "H": "hour", "h": "hour12", "m": "minute", "s": "second"}


class PatternError(ValueError):
    """A pattern that is not understood, or that this reader does not support."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """`regex` has named groups out of year, month, month_name, day, hour, hour12, half, minute, second,
    fraction, zone and yearday; `fields` lists those it has. `year2` tells that years have two digits."""

    text: str
    regex: str
    fields: tuple[str, ...]
    year2: bool = False


@lru_cache(maxsize=256)
def compile_pattern(text: str) -> Pattern:
    """The regular expression of a Java pattern. Raises PatternError naming the letter at fault."""
    parts: list[str] = []
    fields: list[str] = []
    at = 0
    depth = 0
    while at < len(text):
        sign = text[at]
        if sign == "'":
            literal, at = _quoted(text, at)
            parts.append(re.escape(literal))
        elif sign.isascii() and sign.isalpha():
            run = len(text[at:]) - len(text[at:].lstrip(sign))
            adjacent = _follows_digit(text, at + run) or (sign == "S" and text[at - 1 : at].isalpha())
            parts.append(_field(text, sign, run, fields, adjacent))
            at += run
        elif sign in "[]":
            depth += 1 if sign == "[" else -1
            if depth < 0:
                raise PatternError(f"the date pattern {text!r} closes a bracket that was not opened")
            parts.append("(?:" if sign == "[" else ")?")
            at += 1
        else:
            parts.append(re.escape(sign))
            at += 1
    if depth:
        raise PatternError(f"the date pattern {text!r} has a bracket that is not closed")
    year2 = bool(re.search(r"(?<![yu])(?:yy|uu)(?![yu])", text))
    return Pattern(text, "^" + "".join(parts) + "$", tuple(fields), year2)


def _quoted(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 2] == "''":
        return "'", at + 2
    end = at + 1
    found = ""
    while end < len(text):
        if text[end] != "'":
            found += text[end]
            end += 1
        elif text[end : end + 2] == "''":
            found += "'"
            end += 2
        else:
            return found, end + 1
    raise PatternError(f"the date pattern {text!r} has a quote that is not closed")


def _follows_digit(text: str, at: int) -> bool:
    return text[at : at + 1].isalpha() and text[at : at + 1] in "yuMLdHhmsSD"


def _field(text: str, sign: str, run: int, fields: list[str], adjacent: bool) -> str:
    def group(name: str, pattern: str) -> str:
        if name in fields:
            raise PatternError(f"the date pattern {text!r} has the field {sign} twice")
        fields.append(name)
        return f"(?P<{name}>{pattern})"

    if sign in "yu":
        return group("year", _year(run, adjacent))
    if sign in "ML" and run in (3, 4):
        names = MONTHS if run == 4 else tuple(name[:3] for name in MONTHS)
        return group("month_name", f"(?i:{'|'.join(names)})")
    if sign in _NUMBERS and run <= 2:
        return group(_NUMBERS[sign], r"\d{2}" if run == 2 else r"\d{1,2}")
    if sign == "S" and run <= 9:
        return group("fraction", rf"\d{{{run}}}" if adjacent else rf"\d{{1,{run}}}")
    if sign == "D" and run in (1, 3):
        return group("yearday", r"\d{3}" if run == 3 else r"\d{1,3}")
    if sign == "a" and run == 1:
        return group("half", "(?i:AM|PM)")
    if sign == "E" and run <= 4:
        names = DAYS if run == 4 else tuple(name[:3] for name in DAYS)
        return f"(?i:{'|'.join(names)})"
    if sign in _ZONE and run in _ZONE[sign]:
        return group("zone", _ZONE[sign][run])
    raise PatternError(f"the date pattern {text!r} has {sign * run!r}, which is not supported")


def _year(run: int, adjacent: bool) -> str:
    if run == 2:
        return r"\d{2}"
    if adjacent:
        return rf"\d{{{run}}}"
    return r"[+-]?\d{4,6}" if run >= 4 else rf"[+-]?\d{{{run},6}}"
