"""Where separators, quotes and line ends of a CSV chunk are, looked at in columns of its bytes."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from rayetl.lazy import lazily

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazily("pyarrow")

_LINE_FEED = 10
_BLANKS = b" \t"
_LAST = ord("9")
"""The highest byte that a number may begin with; blanks, signs, line feed and quotes are lower."""
_SMALL = 1 << 20
"""Bytes."""


class Marks:
    """The bytes of `chunk`, which ends with a line feed; `sep` and `quote` are one byte each, `quote` may be
    empty."""

    def __init__(self, chunk: bytes, sep: str, quote: str) -> None:
        self._chunk = chunk
        self._sep = ord(sep)
        self._quote = ord(quote) if quote else None

    @cached_property
    def _codes(self) -> pl.Series:
        """The bytes as numbers, without a copy."""
        buffers = [None, pa.py_buffer(self._chunk)]
        return pl.Series(pa.UInt8Array.from_buffers(pa.uint8(), len(self._chunk), buffers))

    @cached_property
    def lines(self) -> int:
        """How many line feeds there are."""
        return self._chunk.count(_LINE_FEED) if self._small else int(self._line_feeds.sum())

    @cached_property
    def separators(self) -> int:
        """How many separators there are, those inside quotes too."""
        return self._chunk.count(self._sep) if self._small else int(self._seps.sum())

    @cached_property
    def _line_feeds(self) -> pl.Series:
        return self._codes == _LINE_FEED

    @cached_property
    def _seps(self) -> pl.Series:
        return self._codes == self._sep

    @cached_property
    def _quotes(self) -> pl.Series:
        return self._codes == self._quote

    @property
    def _small(self) -> bool:
        """Whether looking byte by byte takes less than loading Arrow, some tenths of a second."""
        return len(self._chunk) < _SMALL

    def well_quoted(self) -> bool:
        """Whether every quote is one of a pair around a whole field, if no such field spans lines.

        Read from the left: a quote opens a field if a field begins there; the next one closes it if the field
        ends there; so on for those that follow. A field that spans lines makes fewer rows than lines.
        """
        quotes, ends = self._quotes, self._field_ends
        before = ends.shift(1, fill_value=True).filter(quotes)
        after = ends.shift(-1, fill_value=True).filter(quotes)
        return len(before) % 2 == 0 and bool(before.gather_every(2).all() and after.gather_every(2, 1).all())

    def quotes_nothing(self) -> bool:
        """Whether two quotes stand side by side, in a well quoted chunk around an empty field."""
        quotes = self._quotes
        return bool((quotes.slice(1) & quotes.slice(0, len(quotes) - 1)).any())

    @cached_property
    def _field_ends(self) -> pl.Series:
        """Whether a byte ends a field that is not quoted."""
        return self._seps | self._line_feeds

    def blanks_before_numbers(self) -> int:
        """How many fields of a well quoted chunk begin with a blank that a number or nothing may follow.
        Java's integers refuse it, those of Polars do not."""
        if self._small and not self._blank_begins_field():
            return int(self._blank_begins_chunk())
        begins = self._field_ends if self._quote is None else self._field_ends | self._quotes
        # A blank is never last: the line feed is.
        room = max(len(self._codes) - 2, 0)
        found = begins.slice(0, room) & self._blanks.slice(1, room)
        after = self._codes.slice(2).filter(found)
        number = (after <= _LAST) | (after == self._sep)
        if self._quote is not None:
            # Between a separator and a quote a blank is within a text: fields are quoted as a whole.
            first = self._codes.slice(0, room).filter(found)
            number &= (first == self._quote) | (after != self._quote)
        return int(number.sum()) + self._blank_begins_chunk() + self._quoted_separators()

    def _quoted_separators(self) -> int:
        """How many quoted fields of a well quoted chunk begin so with a blank that separates others."""
        if self._quote is None or self._sep not in _BLANKS:
            return 0
        # Of its quotes every other one opens a field.
        opening = self._quotes.arg_true().gather_every(2)
        begun = opening.filter(self._codes.gather(opening + 1) == self._sep)
        after = self._codes.gather(begun + 2)
        return int(((after <= _LAST) | (after == self._sep) | (after == self._quote)).sum())

    def _blank_begins_chunk(self) -> bool:
        first, second = self._chunk[0], self._chunk[1]
        return first in _BLANKS and first != self._sep and (second <= _LAST or second == self._sep)

    def has_blank_field(self) -> bool:
        """Whether there is a field of nothing but blanks."""
        if not self._blank_begins_field() and not self._blank_begins_chunk():
            return False
        ends = b"".join(re.escape(bytes((mark,))) for mark in self._around)
        blanks = _BLANKS.replace(bytes((self._sep,)), b"")
        return re.search(rb"(?:^|[%b])[%b]+[%b]" % (ends, blanks, ends), self._chunk) is not None

    def blanks_in_texts(self, texts: pl.DataFrame) -> int:
        """How many of those fields are among the columns `texts` of the same chunk."""
        number = rf"^[ \t](?:[\x00-\x{_LAST:02x}\x{self._sep:02x}]|$)"
        count = 0
        blanks = [chr(blank) for blank in _BLANKS if blank in self._chunk]
        for text in texts:
            for blank in blanks:
                begun = text.filter(text.str.starts_with(blank))
                count += int(begun.str.contains(number).sum())
        return count

    def _blank_begins_field(self) -> bool:
        return any(bytes((mark, blank)) in self._chunk for mark in self._around for blank in _BLANKS)

    @property
    def _around(self) -> tuple[int, ...]:
        """What a field may begin after and end before."""
        return (self._sep, _LINE_FEED) if self._quote is None else (self._sep, _LINE_FEED, self._quote)

    @property
    def _blanks(self) -> pl.Series:
        """Whether a byte is a blank that is no separator."""
        kinds = [blank for blank in _BLANKS if blank != self._sep and blank in self._chunk]
        if not kinds:
            return pl.Series([False]).new_from_index(0, len(self._codes))
        found = self._codes == kinds[0]
        return found | (self._codes == kinds[1]) if len(kinds) > 1 else found
