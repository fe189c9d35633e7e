"""Where separators, quotes and line ends of a CSV chunk are, looked at in columns of its bytes."""

from __future__ import annotations

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
        return self._count(_LINE_FEED)

    @cached_property
    def separators(self) -> int:
        """How many separators there are, those inside quotes too."""
        return self._count(self._sep)

    def _count(self, byte: int) -> int:
        return self._chunk.count(byte) if self._small else int((self._codes == byte).sum())

    @property
    def _small(self) -> bool:
        """Whether looking byte by byte takes less than loading Arrow, some tenths of a second."""
        return len(self._chunk) < _SMALL

    def well_quoted(self) -> bool:
        """Whether every quote is one of a pair around a whole field that lies on one line.

        Read from the left: the first quote of a line opens a field if a field begins there; the next one
        closes it if the field ends there; so on for those that follow.
        """
        quotes, ends = self._codes == self._quote, self._field_ends
        seen = quotes | (self._codes == _LINE_FEED)
        places = quotes.filter(seen).arg_true()
        opening, closing = places.gather_every(2), places.gather_every(2, 1)
        if len(opening) != len(closing) or (closing - opening != 1).any():
            return False
        begins = ends.shift(1, fill_value=True).filter(seen).gather(opening)
        return bool(begins.all() and ends.shift(-1, fill_value=True).filter(seen).gather(closing).all())

    def quotes_nothing(self) -> bool:
        """Whether two quotes stand side by side, in a well quoted chunk around an empty field."""
        quotes = self._codes == self._quote
        return bool((quotes.slice(1) & quotes.slice(0, len(quotes) - 1)).any())

    @cached_property
    def _field_ends(self) -> pl.Series:
        """Whether a byte ends a field that is not quoted."""
        return (self._codes == self._sep) | (self._codes == _LINE_FEED)

    def blanks_before_numbers(self) -> int:
        """How many fields of a well quoted chunk begin with a blank that a number or nothing may follow.
        Java's integers refuse it, those of Polars do not."""
        if self._small and not self._blank_begins_field():
            return int(self._blank_begins_chunk())
        # A blank is never last: the line feed is.
        room = max(len(self._codes) - 2, 0)
        here, after = self._codes.slice(1, room), self._codes.slice(2)
        starts = self._field_ends.slice(0, room)
        if self._quote is not None:
            # Between a separator and a quote a blank is within a text: fields are quoted as a whole.
            starts = (starts & (after != self._quote)) | (self._codes.slice(0, room) == self._quote)
        number = after <= _LAST
        if self._sep > _LAST:
            number = number | (after == self._sep)
        return int((starts & self._blank(here) & number).sum()) + self._blank_begins_chunk()

    def _blank_begins_chunk(self) -> bool:
        first, second = self._chunk[0], self._chunk[1]
        return first in _BLANKS and first != self._sep and (second <= _LAST or second == self._sep)

    def blanks_in_texts(self, texts: pl.DataFrame) -> int:
        """How many of those fields are among the columns `texts` of the same chunk."""
        number = rf"^[ \t](?:[\x00-\x{_LAST:02x}\x{self._sep:02x}]|$)"
        count = 0
        for text in texts:
            for blank in _BLANKS.replace(bytes((self._sep,)), b"").decode():
                begun = text.filter(text.str.starts_with(blank))
                count += int(begun.str.contains(number).sum())
        return count

    def _blank_begins_field(self) -> bool:
        before = {self._sep, _LINE_FEED, *(() if self._quote is None else (self._quote,))}
        return any(bytes((mark, blank)) in self._chunk for mark in before for blank in _BLANKS)

    def _blank(self, codes: pl.Series) -> pl.Series:
        kinds = [blank for blank in _BLANKS if blank != self._sep and blank in self._chunk]
        if not kinds:
            return pl.Series([False]).new_from_index(0, len(codes))
        found = codes == kinds[0]
        return found | (codes == kinds[1]) if len(kinds) > 1 else found
