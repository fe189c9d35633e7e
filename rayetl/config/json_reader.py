"""JSON to the tree, strict as RFC 8259 is."""

from __future__ import annotations

import re
from json.decoder import JSONDecodeError, JSONDecoder
from typing import Final

from rayetl.config.builder import TreeBuilder
from rayetl.config.document import Scalar
from rayetl.config.faults import FormError

_BLANK: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<rest>(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)", re.ASCII)
_WORD: Final = re.compile(r"true|false|null")
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
_STRAY: Final = re.compile(r"[A-Za-z_]\w*")
_MAX_DIGITS: Final = 400
_DECODER: Final = JSONDecoder()


def read_json(text: str) -> TreeBuilder:
    """The tree of a JSON text. Raises `FormError` at the first character that is not JSON."""
    reader = _Reader(text)
    reader.value()
    reader.blank()
    if reader.index < len(text):
        raise FormError("syntax", "the JSON value has ended, yet more text follows", reader.index)
    return reader.builder


def _string_fault(message: str) -> str:
    if "control character" in message:
        return "a line break or control character stands in a text; JSON wants an escape like `\\n`"
    if "escape" in message:
        return "this is not an escape that JSON knows; a backslash itself is written `\\\\`"
    return 'the text is not closed: `"` is expected'


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.index = 0
        self.builder = TreeBuilder()

    def blank(self) -> None:
        match = _BLANK.match(self.text, self.index)
        self.index = match.end() if match else self.index

    def take(self, mark: str) -> bool:
        self.blank()
        found = self.text.startswith(mark, self.index)
        self.index += len(mark) if found else 0
        return found

    def value(self) -> None:
        self.blank()
        first = self.text[self.index : self.index + 1]
        if first == "{":
            self._members()
        elif first == "[":
            self._items()
        elif first == '"':
            self._string()
        else:
            self._literal()

    def _members(self) -> None:
        self.builder.open(self.index, is_mapping=True)
        self.index += 1
        more = not self.take("}")
        while more:
            self.blank()
            if not self.text.startswith('"', self.index):
                raise self._unexpected("a key in double quotes")
            self._string()
            if not self.take(":"):
                raise self._unexpected("`:`")
            self.value()
            more = self._continues("}")
        self.builder.close(self.index)

    def _items(self) -> None:
        self.builder.open(self.index, is_mapping=False)
        self.index += 1
        more = not self.take("]")
        while more:
            self.value()
            more = self._continues("]")
        self.builder.close(self.index)

    def _continues(self, end: str) -> bool:
        if self.take(end):
            return False
        if self.take(","):
            return True
        raise self._unexpected(f"`,` or `{end}`")

    def _string(self) -> None:
        start = self.index
        try:
            value, self.index = _DECODER.raw_decode(self.text, start)
        except JSONDecodeError as error:
            raise FormError("syntax", _string_fault(error.msg), error.pos) from None
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise FormError("character", "half of a surrogate pair is not a character", start)
        self.builder.add(Scalar(start, self.index, value, value, '"'))

    def _literal(self) -> None:
        start = self.index
        word = _WORD.match(self.text, start)
        number = _NUMBER.match(self.text, start)
        value: int | float | bool | None
        if word:
            value, self.index = _WORDS[word.group()], word.end()
        elif number and len(number.group()) <= _MAX_DIGITS:
            value = float(number.group()) if number.group("rest") else int(number.group())
            self.index = number.end()
        else:
            raise self._unexpected("a value")
        self.builder.add(Scalar(start, self.index, value, self.text[start : self.index]))

    def _unexpected(self, wanted: str) -> FormError:
        if self.index >= len(self.text):
            return FormError("syntax", f"the file ends where {wanted} is expected", len(self.text))
        stray = _STRAY.match(self.text, self.index)
        found = stray.group() if stray else self.text[self.index]
        hint = {
            "'": "JSON takes double quotes only",
            "/": "JSON has no comments",
            "#": "JSON has no comments",
        }
        shown = found[:40]
        return FormError(
            "syntax", f"{wanted} is expected here, found `{shown}`", self.index, hint.get(found[:1])
        )
