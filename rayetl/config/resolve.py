"""What an unquoted scalar means: YAML 1.2's core schema, and nothing beyond it (`no` is a text)."""

from __future__ import annotations

import re

_LONGEST_NUMBER = 400
_INT = re.compile(r"[-+]?[0-9]{1,400}", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]{1,100}", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]{1,100}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_INFINITY = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a scalar that is written without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if len(text) <= _LONGEST_NUMBER and _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return float("-inf" if text.startswith("-") else "inf")
    return float("nan") if text in (".nan", ".NaN", ".NAN") else text
