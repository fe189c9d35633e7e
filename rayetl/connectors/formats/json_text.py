"""JSON text to values that still know how they were written, with the leniences Spark's reader has."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

from rayetl.connectors.formats.json_structure import deepest
from rayetl.connectors.formats.options import JsonOptions
from rayetl.records import dataclass


class JsonFault(ValueError):
    """The text is not JSON; says where."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written."""

    text: str

    @property
    def whole(self) -> bool:
        """Whether it was written without point and exponent."""
        return not any(sign in self.text for sign in ".eENI")

    @property
    def digits(self) -> str:
        """A whole number without leading zeros; zero has no sign. A text, since it may have any length, and
        Python makes no integer of more than some thousands of digits."""
        size = self.text.lstrip("-").lstrip("0")
        return self.text[: self.text.startswith("-")] + size if size else "0"

    def integer(self, bits: int) -> int | None:
        """The number if it is a whole one of so many bits."""
        if not self.whole or len(self.digits) > bits:
            return None
        found = int(self.digits)
        return found if -(1 << bits - 1) <= found < 1 << bits - 1 else None


_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_LOOSE_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_WORD = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_NAN = re.compile(r"NaN|[+-]?Infinity|[+-]INF")
_NO_UTF8 = re.compile("[\udc80-\udcff]")
_WIDE = re.compile("[\ud800-\udfff\U00010000-\U0010ffff]")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, strict=True, object_pairs_hook=dict)
MAX_DEPTH = 300
"""Arrays and objects in each other that are safe with Arrow's reader and the one for odd spellings."""
DEEPEST = 1_000
"""As many as Spark reads; few enough for the stack of what follows."""
BLANK = "".join(map(chr, range(33)))
"""What may stand around a document."""
_NOTHING = BLANK + ","
"""What may stand behind one: a line that was cut out of an array ends with a comma."""
AFTER = _NOTHING.encode()


MARK = "\ufeff"
"""The byte order mark, which also lines begin with whose files were put one behind the other."""


def text_of(record: bytes) -> str:
    """The text of a record; for bytes in it that are no UTF-8 `read_json` refuses it."""
    return record.decode("utf-8", "surrogateescape").removeprefix(MARK)


def read_json(text: str, options: JsonOptions) -> Any:
    """The value of `text`. Raises JsonFault, also where something stands behind the value: Spark leaves that
    out without a word, and with it all lines but the first where lines are read as one document."""
    if (found := _NO_UTF8.search(text)) is not None:
        byte = ord(found.group()) - 0xDC00
        raise JsonFault(f"the text is no UTF-8: byte 0x{byte:02X} at character {found.start() + 1}")
    value = _read(text, options)
    return _whole_names(value) if "\\ud" in text or "\\uD" in text else value


def _whole_names(value: Any) -> Any:
    """The value with names that may be those of columns."""
    if isinstance(value, dict):
        return {whole_characters(name): _whole_names(item) for name, item in value.items()}
    return [_whole_names(item) for item in value] if isinstance(value, list) else value


def whole_characters(text: str) -> str:
    """Half a surrogate pair is no character; Java writes a question mark for it."""
    return text.encode(errors="replace").decode()


def _read(text: str, options: JsonOptions) -> Any:
    start = len(text) - len(text.lstrip())
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return _Lenient(text, options).only_value()
    if "NaN" in text or "Infinity" in text or text[end:].strip(_NOTHING):
        return _Lenient(text, options).only_value()
    if is_too_deep(text):
        raise JsonFault(f"the text has more than {DEEPEST} arrays and objects in each other")
    return value


def is_too_deep(text: str) -> bool:
    """Whether so many arrays and objects lie in each other in a JSON text that it counts as malformed."""
    return text.count("[") + text.count("{") > DEEPEST and deepest(text.encode(errors="replace")) > DEEPEST


class _Lenient:
    """A reader for what the plain one refuses: single quotes, NaN, comments, bare names as allowed."""

    def __init__(self, text: str, options: JsonOptions) -> None:
        self._text = text
        self._options = options

    def _fault(self, at: int) -> JsonFault:
        what = repr(self._text[at]) if at < len(self._text) else "the end"
        return JsonFault(f"the text is not JSON: unexpected {what} at character {at + 1}")

    def _skip(self, at: int) -> int:
        text = self._text
        while at < len(text):
            if text[at] in " \t\r\n":
                at += 1
            elif self._options.allow_comments and text.startswith("/*", at):
                end = text.find("*/", at + 2)
                if end < 0:
                    raise self._fault(len(text))
                at = end + 2
            elif self._options.allow_comments and text.startswith("//", at):
                end = text.find("\n", at)
                at = len(text) if end < 0 else end
            else:
                return at
        return at

    def only_value(self) -> Any:
        found, at = self.value(0, 0)
        at = self._skip(at)
        if self._text[at:].strip(_NOTHING):
            raise JsonFault(
                f"{self._text[at]!r} at character {at + 1} stands behind the JSON document: only one may be "
                f"{'in a file that is read with multi_line' if self._options.multi_line else 'on a line'}"
            )
        return found

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        at = self._skip(at)
        if depth > MAX_DEPTH or at >= len(self._text):
            raise self._fault(at)
        sign = self._text[at]
        if sign == "{":
            return self._object(at + 1, depth)
        if sign == "[":
            return self._array(at + 1, depth)
        if sign == '"' or (sign == "'" and self._options.allow_single_quotes):
            return self._string(at + 1, sign)
        for word, found in (("true", True), ("false", False), ("null", None)):
            if (
                self._text.startswith(word, at)
                and not self._text[at + len(word) : at + len(word) + 1].isalnum()
            ):
                return found, at + len(word)
        return self._number(at)

    def _number(self, at: int) -> tuple[Number, int]:
        strange = _NAN.match(self._text, at)
        if strange is not None and self._options.allow_non_numeric_numbers:
            return Number(strange.group()), strange.end()
        pattern = _LOOSE_NUMBER if self._options.allow_numeric_leading_zeros else _NUMBER
        match = pattern.match(self._text, at)
        if match is None or self._text[match.end() : match.end() + 1].isalnum():
            raise self._fault(at if match is None else match.end())
        return Number(match.group()), match.end()

    def _string(self, at: int, quote: str) -> tuple[str, int]:
        parts: list[str] = []
        text = self._text
        while at < len(text):
            sign = text[at]
            if sign == quote:
                return "".join(parts), at + 1
            if sign == "\\":
                part, at = self._escape(at + 1)
                parts.append(part)
            elif sign < " ":
                raise self._fault(at)
            elif match := _PLAIN.match(text, at) if quote == '"' else None:
                parts.append(match.group())
                at = match.end()
            else:
                parts.append(sign)
                at += 1
        raise self._fault(at)

    def _escape(self, at: int) -> tuple[str, int]:
        sign = self._text[at : at + 1]
        if sign in _ESCAPES and sign:
            return _ESCAPES[sign], at + 1
        if sign == "'" and self._options.allow_single_quotes:
            return sign, at + 1
        code = self._text[at + 1 : at + 5]
        if sign == "u" and re.fullmatch(r"[0-9a-fA-F]{4}", code):
            return self._surrogate(int(code, 16), at + 5)
        raise self._fault(at)

    def _surrogate(self, code: int, at: int) -> tuple[str, int]:
        low = re.match(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})", self._text[at : at + 6])
        if 0xD800 <= code < 0xDC00 and low is not None:
            return chr(0x10000 + ((code - 0xD800) << 10) + int(low.group(1), 16) - 0xDC00), at + 6
        return chr(code), at

    def _array(self, at: int, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = self._skip(at)
        if self._text[at : at + 1] == "]":
            return found, at + 1
        while True:
            item, at = self.value(at, depth + 1)
            found.append(item)
            at = self._skip(at)
            sign = self._text[at : at + 1]
            at += 1
            if sign == "]":
                return found, at
            if sign != ",":
                raise self._fault(at - 1)

    def _object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = self._skip(at)
        if self._text[at : at + 1] == "}":
            return found, at + 1
        while True:
            name, at = self._name(self._skip(at))
            at = self._skip(at)
            if self._text[at : at + 1] != ":":
                raise self._fault(at)
            found[name], at = self.value(at + 1, depth + 1)
            at = self._skip(at)
            sign = self._text[at : at + 1]
            at += 1
            if sign == "}":
                return found, at
            if sign != ",":
                raise self._fault(at - 1)

    def _name(self, at: int) -> tuple[str, int]:
        sign = self._text[at : at + 1]
        if sign == '"' or (sign == "'" and self._options.allow_single_quotes):
            return self._string(at + 1, sign)
        match = _WORD.match(self._text, at)
        if match is None or not self._options.allow_unquoted_field_names:
            raise self._fault(at)
        return match.group(), match.end()


def write_json(value: Any) -> str:
    """A value as compact JSON text: what a STRING column gets from a value that is no string."""
    if isinstance(value, Number):
        return _number_text(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(key)}:{write_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(write_json(item) for item in value) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """A text in quotes. Spark's writer escapes what is beyond U+FFFF, and halves of surrogate pairs."""
    return _WIDE.sub(_escaped, json.dumps(text, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    units = found.group().encode("utf-16-be", "surrogatepass").hex().upper()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _number_text(value: Number) -> str:
    """A number as Java prints it after it was read: fractions went through a double."""
    if value.whole:
        return value.digits
    if "N" in value.text or "I" in value.text:
        name = value.text.lstrip("+-")
        sign = "-" if value.text.startswith("-") else ""
        return json.dumps("NaN" if name == "NaN" else f"{sign}Infinity")
    number = float(value.text)
    if math.isinf(number):
        return json.dumps("Infinity" if number > 0 else "-Infinity")
    return java_double(number)


def java_double(number: float) -> str:
    """As `Double.toString`: plain from 1E-3 to 1E7, else one digit, a point, the rest and an exponent."""
    if number == 0 or 1e-3 <= abs(number) < 1e7:
        return repr(number)
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    power = int(exponent) + len(digits) - 1
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{power}"
