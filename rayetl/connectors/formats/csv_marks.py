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
_NUMBER_STARTS = list(b"0123456789+- \t")


class Marks:
    """The bytes of `chunk`, which ends with a line feed; `sep` and `quote` are one byte each, `quote` may be
    empty."""

    def __init__(self, chunk: bytes, sep: str, quote: str) -> None:
        self._chunk = chunk
        buffers = [None, pa.py_buffer(chunk)]
        self._codes = pl.Series(pa.UInt8Array.from_buffers(pa.uint8(), len(chunk), buffers))
        self._sep = ord(sep)
        self._quote = ord(quote) if quote else None

    @cached_property
    def lines(self) -> int:
        """How many line feeds there are."""
        return int((self._codes == _LINE_FEED).sum())

    @cached_property
    def separators(self) -> int:
        """How many separators there are, those inside quotes too."""
        return int((self._codes == self._sep).sum())

    @cached_property
    def _pairs(self) -> tuple[pl.Series, pl.Series] | None:
        """Where quotes open and close fields; None if they are not in pairs within lines."""
        marks = ((self._codes == self._quote) | (self._codes == _LINE_FEED)).arg_true()
        quotes = (self._codes.gather(marks) == self._quote).arg_true()
        opening, closing = quotes.gather_every(2), quotes.gather_every(2, 1)
        if len(opening) != len(closing) or (closing - opening != 1).any():
            return None
        return marks.gather(opening), marks.gather(closing)

    def well_quoted(self) -> bool:
        """Whether every quote is one of a pair around a whole field that lies on one line.

        Read from the left: the first quote of a line opens a field if a field begins there; the next one
        closes it if the field ends there; so on for those that follow.
        """
        if self._pairs is None:
            return False
        first, last = self._pairs
        if len(first) and first[0] == 0:
            first = first.slice(1)
        before, after = self._codes.gather(first - 1), self._codes.gather(last + 1)
        return bool(self._ends(before).all() and self._ends(after).all())

    def quotes_nothing(self) -> bool:
        """Whether quotes of a well quoted chunk stand around an empty field."""
        return self._pairs is not None and bool((self._pairs[1] - self._pairs[0] == 1).any())

    def _ends(self, codes: pl.Series) -> pl.Series:
        """Which codes end a field."""
        return (codes == self._sep) | (codes == _LINE_FEED)

    def blank_before_number(self) -> bool:
        """Whether a field begins with a blank that a number may follow, which Java's integers refuse and
        Polars' do not. May be true where it need not."""
        if self._chunk[0] in _BLANKS:
            return True
        before, here = self._codes.slice(0, len(self._codes) - 1), self._codes.slice(1)
        starts = self._ends(before)
        if self._quote is not None:
            starts = starts | (before == self._quote)
        found = self._blank(here) & starts
        # A blank is never last: the line feed is.
        after = self._codes.gather(found.arg_true() + 2) if found.any() else found.clear()
        return bool(len(after) and after.is_in(_NUMBER_STARTS).any())

    def _blank(self, codes: pl.Series) -> pl.Series:
        kinds = [blank for blank in _BLANKS if blank != self._sep and blank in self._chunk]
        if not kinds:
            return pl.Series([False]).new_from_index(0, len(codes))
        found = codes == kinds[0]
        return found | (codes == kinds[1]) if len(kinds) > 1 else found
