"""A JSON document that is one array, in pieces that are arrays too: memory is bounded.

A document that is malformed anywhere is one malformed record, so the file is read twice: all pieces are
judged before the first is handed on. Only where one breaks off is found by looking at signs. Whether it is
JSON says the parser that reads it later; pieces begin and end at commas, so all of them are when the document
is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import NoReturn

from rayetl.connectors.base import InputFile
from rayetl.connectors.formats.json_structure import commas_of, signs_of
from rayetl.connectors.formats.json_text import AFTER, JsonFault, is_too_deep, read_json
from rayetl.connectors.formats.options import JsonOptions
from rayetl.connectors.listing import changed

Part = tuple[int, int]
"""Where some elements begin in the text, and where they end."""

_BEGIN = re.compile(rb"[ \t\r\n]*\[")
_NO_ELEMENT = re.compile(rb"\A\xef\xbb\xbf|(?:\A|\n)[\x00-\x20]*(?:\n|\Z)")
_LINE_ENDS = bytes.maketrans(b"\n\r", b"  ")
_LINE_END = ord("\n")


def documents(file: InputFile, text: Callable[[], Iterator[bytes]], options: JsonOptions) -> Iterator[bytes]:
    """The document of a file, whose text is `text`, as one or several. Those that it was cut into are without
    line ends, but where these end comments. Raises SourceError if the file is not as it was when judged."""
    parts = _parts(text(), options)
    if not parts:
        yield b"".join(text())
        return
    pieces, held, at = text(), b"", 0
    for begin, end in parts:
        while at + len(held) < end:
            piece = next(pieces, None)
            if piece is None:
                raise changed(file)
            held += piece
        elements = held[begin - at : end - at]
        yield b"[%b]" % (elements if options.allow_comments else elements.translate(_LINE_ENDS))
        held, at = held[end - at :], end


def one_a_line(document: bytes) -> bytes | None:
    """The elements of an array that has no line ends, each on a line of its own; `None` for other texts."""
    if not document.startswith(b"[") or not document.endswith(b"]") or b"\n" in document:
        return None
    elements = document[1:-1]
    cut = signs_of(elements).scatter(commas_of(elements), _LINE_END)
    lines: bytes = cut.to_arrow().buffers()[1].to_pybytes()
    # Nothing between two commas is no JSON, nor is a byte order mark behind the bracket. Lines may be empty,
    # and may begin with a mark.
    return None if _NO_ELEMENT.search(lines) else lines


def _parts(pieces: Iterator[bytes], options: JsonOptions) -> list[Part]:
    """The parts of an array that is JSON throughout; none for any other text."""
    parts: list[Part] = []
    held, at, enough = b"", 0, 0
    for piece in pieces:
        held += piece
        if at == 0:
            found = _BEGIN.match(held)
            if found is None:
                return []
            held, at = held[found.end() :], found.end()
        if len(held) < enough:
            continue
        commas = commas_of(held)
        if not len(commas):
            # An element that is longer than this is not looked through again for each piece of it.
            enough = 2 * len(held)
            continue
        cut = int(commas[-1])
        if not _is_json(held[:cut], options):
            return []
        parts.append((at, at + cut))
        held, at, enough = held[cut + 1 :], at + cut + 1, 0
    last = held.rstrip(AFTER)
    if not last.endswith(b"]") or not _is_json(last[:-1], options):
        return []
    return [*parts, (at, at + len(last) - 1)]


def _is_json(elements: bytes, options: JsonOptions) -> bool:
    """Whether these are elements of an array, one or more."""
    try:
        text = f"[{elements.decode()}]"
    except UnicodeDecodeError:
        return False
    try:
        found = _STRICT.decode(text)
    except (ValueError, RecursionError):
        try:
            found = read_json(text, options)
        except (JsonFault, RecursionError):
            return False
    return bool(found) and not is_too_deep(text)


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


_STRICT = json.JSONDecoder(parse_constant=_refuse)
