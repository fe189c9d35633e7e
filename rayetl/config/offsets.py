"""From a character of a scalar's value back to the character of the file that it came from.

Quotes, escapes, folded lines, block indentation and `${...}` all stand between the two.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

from rayetl.records import dataclass

_FOLD = re.compile(r"[ \t]*(?:\r\n|\r|\n)(?:[ \t]*(?:\r\n|\r|\n))*[ \t]*")
_BREAK = re.compile(r"\r\n|\r|\n")
_ESCAPED_BREAK = re.compile(r"\\(?:\r\n|\r|\n)[ \t]*")
_ESCAPE_DIGITS = {"x": 2, "u": 4, "U": 8}
_SURROGATES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of an interpolated text: `length` characters that came from `source` in the text as written.
    A run that was put in for a `${...}` is not `verbatim`: all of it came from that one place."""

    source: int
    length: int
    verbatim: bool


class Written(Protocol):
    """What is needed to know of a scalar: its span, how it was written, and its value before `${...}`."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def written(self) -> str: ...
    @property
    def style(self) -> str: ...
    @property
    def pieces(self) -> tuple[Piece, ...]: ...


def source_index(document: str, scalar: Written, offset: int) -> int:
    """The index in `document` of character `offset` of the scalar's value."""
    if scalar.start < 0:
        return -1
    written = _before_interpolation(scalar.pieces, offset)
    raw = document[scalar.start : scalar.end]
    if scalar.style not in ("", "'", '"'):
        return scalar.start + _in_block(raw, scalar.written or scalar.text, written)
    places = _places(raw, scalar.style)
    if written < len(places):
        return scalar.start + places[written]
    return scalar.start + min(places[-1] + 1 if places else 0, len(raw))


def _before_interpolation(pieces: tuple[Piece, ...], offset: int) -> int:
    passed = 0
    for piece in pieces:
        if offset < passed + piece.length:
            return piece.source + (offset - passed if piece.verbatim else 0)
        passed += piece.length
    if not pieces:
        return offset
    last = pieces[-1]
    return last.source + (last.length if last.verbatim else 0)


# A long query may have thousands of problems: what is found out of its text is kept for the next of them.


@lru_cache(maxsize=1)
def _places(raw: str, style: str) -> Sequence[int]:
    """The index of every character of a text that is no block."""
    return array("L", _quoted(raw, style) if style else _flow(raw, 0, len(raw)))


@lru_cache(maxsize=2)
def _inked(text: str) -> Sequence[int]:
    """The index of every character that is no white space."""
    return array("L", (index for index, character in enumerate(text) if not character.isspace()))


def _flow(raw: str, first: int, end: int) -> Iterator[int]:
    """Plain text: a line break with the blanks around it is one space, each further break itself."""
    index = first
    while index < end:
        fold = _FOLD.match(raw, index, end)
        if fold:
            yield from _fold(raw, fold)
            index = fold.end()
        else:
            yield index
            index += 1


def _fold(raw: str, fold: re.Match[str]) -> Iterator[int]:
    breaks = [match.start() for match in _BREAK.finditer(raw, fold.start(), fold.end())]
    yield from breaks[1:] if len(breaks) > 1 else breaks


def _quoted(raw: str, quote: str) -> Iterator[int]:
    index, end = 1, len(raw) - 1
    while index < end:
        fold = _FOLD.match(raw, index, end)
        if fold:
            yield from _fold(raw, fold)
            index = fold.end()
        elif quote == "'":
            yield index
            index += 2 if raw.startswith("''", index) else 1
        else:
            length, visible = _escape(raw, index)
            if visible:
                yield index
            index += length


def _escape(raw: str, index: int) -> tuple[int, bool]:
    """How long the character at `index` is written in double quotes, and whether it stands for one."""
    if raw[index] != "\\":
        return 1, True
    broken = _ESCAPED_BREAK.match(raw, index)
    if broken:
        return broken.end() - index, False
    pair = _SURROGATES.match(raw, index)
    if pair:
        return 12, True
    return 2 + _ESCAPE_DIGITS.get(raw[index + 1 : index + 2], 0), True


def _in_block(raw: str, text: str, offset: int) -> int:
    """Indentation and folding change white space only: the n-th other character is the n-th in both."""
    header = _BREAK.search(raw)
    first = header.end() if header else len(raw)
    ink = bisect_left(_inked(text), offset)
    inked = _inked(raw)
    header_ink = bisect_left(inked, first)
    if header_ink + ink < len(inked) and not text[offset : offset + 1].isspace():
        return inked[header_ink + ink] if offset < len(text) else len(raw.rstrip())
    blanks = offset - (_inked(text)[ink - 1] + 1 if ink else 0)
    return (inked[header_ink + ink - 1] + 1 if ink else first) + blanks
