"""One CSV record to its fields exactly as Spark's parser does it, odd quotes and escapes included.

Slow and exact: only records that the columnar reader cannot be trusted with come here.
"""

from __future__ import annotations

from rayetl.connectors.formats.options import CsvOptions

_END = ""


class Unfinished(Exception):
    """The text ended inside a quoted field; more of it may change the record."""


class Tokenizer:
    """Splits records into fields; a NULL field is `None`.

    A field that begins with a quote ends at the next quote that a separator or the end of the record
    follows. A quote inside it that is neither escaped nor last makes the field end at the next separator,
    with its quotes kept.
    """

    def __init__(self, options: CsvOptions) -> None:
        self._sep = options.sep
        self._quote = options.quote
        self._escape = options.escape
        self._lead = options.ignore_leading_white_space
        self._trail = options.ignore_trailing_white_space
        self._empty = options.empty_value
        self._simple = not (self._lead or self._trail)

    def fields(self, record: str) -> list[str | None]:
        """The fields of one record without its line end."""
        if self._simple and (not self._quote or self._quote not in record):
            return [text or None for text in record.split(self._sep)]
        found, _ = self.parse(record, 0, final=True, line_end=None)
        return found

    def parse(self, text: str, at: int, *, final: bool, line_end: str | None) -> tuple[list[str | None], int]:
        """The fields of the record that starts at `at`, and where the next one starts.

        `line_end` ends a record outside of quotes; `None`: only the end of the text does. Raises
        Unfinished where the text ends within the record and is not `final`.
        """
        found: list[str | None] = []
        while True:
            if self._lead:
                at = self._blanks(text, at)
            value, at = self._field(text, at, line_end)
            found.append(value)
            if text.startswith(self._sep, at) and at < len(text):
                at += len(self._sep)
                continue
            if at >= len(text):
                if not final:
                    raise Unfinished
                return found, at
            return found, at + 1

    def _blanks(self, text: str, at: int) -> int:
        while at < len(text) and text[at] <= " " and text[at] != "\n" and not text.startswith(self._sep, at):
            at += 1
        return at

    def _stop(self, text: str, at: int, line_end: str | None) -> int:
        """Where the next separator or line end is, or the end of the text."""
        found = text.find(self._sep, at)
        end = len(text) if line_end is None else text.find(line_end, at, found if found >= 0 else len(text))
        if line_end is not None and end >= 0:
            return end
        return found if found >= 0 else len(text)

    def _field(self, text: str, at: int, line_end: str | None) -> tuple[str | None, int]:
        if self._quote and text.startswith(self._quote, at):
            return self._quoted(text, at, line_end)
        end = self._stop(text, at, line_end)
        value = text[at:end]
        if self._trail:
            value = value.rstrip("".join(map(chr, range(33))))
        return value or None, end

    def _quoted(self, text: str, start: int, line_end: str | None) -> tuple[str | None, int]:
        quote, escape = self._quote, self._escape
        parts: list[str] = []
        at = start + 1
        size = len(text)
        while at < size:
            sign = text[at]
            following = text[at + 1] if at + 1 < size else _END
            if sign == escape and escape != quote and following in (quote, escape) and following:
                parts.append(following)
                at += 2
            elif sign == quote and quote == escape and following == quote:
                parts.append(quote)
                at += 2
            elif sign == quote:
                if following in (_END, line_end) or text.startswith(self._sep, at + 1):
                    return "".join(parts) or self._empty, at + 1
                return self._unescaped(text, parts, at, line_end)
            else:
                stops = [
                    found for mark in {quote, escape} if mark and (found := text.find(mark, at + 1)) >= 0
                ]
                end = min(stops, default=size)
                parts.append(text[at:end])
                at = end
        return "".join(parts) or quote, at

    def _unescaped(
        self, text: str, parts: list[str], at: int, line_end: str | None
    ) -> tuple[str | None, int]:
        """What follows a quote that closes nothing: blanks are passed over, all else is kept to the stop."""
        after = at + 1
        while after < len(text) and text[after] <= " " and text[after] != line_end:
            if text.startswith(self._sep, after):
                break
            after += 1
        if after >= len(text) or text[after] == line_end or text.startswith(self._sep, after):
            return "".join(parts) or self._empty, after
        end = self._stop(text, at, line_end)
        return self._quote + "".join(parts) + text[at:end], end
