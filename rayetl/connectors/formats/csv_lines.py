"""One CSV record to its fields exactly as Spark's parser (univocity) does it, odd quotes included.

Slow and exact: only records that the columnar reader cannot be trusted with come here. The reader is a
state machine over characters because its answers for unescaped quotes depend on the last two characters,
and Spark's users have files that rely on them.
"""

from __future__ import annotations

import re
from functools import cache

from rayetl.connectors.formats.options import CsvOptions

_NONE = "\0"


class Unfinished(Exception):
    """The text ended within a record; more of it may change what the record is."""


class _End(Exception):
    """No character is left."""


class Tokenizer:
    """Splits records into fields; a field that is NULL whatever the options say is `None`."""

    def __init__(self, options: CsvOptions) -> None:
        self._options = options
        self._simple = not (options.ignore_leading_white_space or options.ignore_trailing_white_space)

    def fields(self, record: str) -> list[str | None]:
        """The fields of one record, which has no line end."""
        quote = self._options.quote
        if self._simple and "\n" not in record and (not quote or quote not in record):
            return [text or None for text in record.split(self._options.sep)]
        found, _ = self.parse(record, 0, final=True)
        return found

    def parse(self, text: str, at: int, *, final: bool) -> tuple[list[str | None], int]:
        """The fields of the record that starts at `at`, and where the next one starts.

        An empty line has no fields. Raises Unfinished where the text ends within the record and is not
        `final`.
        """
        return _Machine(self._options, text, at).record(final)


class _Machine:
    """Reads one record. `char` is the present character, `last` the one before it inside quotes."""

    def __init__(self, options: CsvOptions, text: str, at: int) -> None:
        self._text = text
        self._start = self._at = at
        self._quote = options.quote or _NONE
        self._escape = options.escape or _NONE
        self._escape_escape = _NONE if self._quote == self._escape else self._escape
        self._sep = options.sep
        self._stop = options.sep if len(options.sep) == 1 else _NONE
        self._lead = options.ignore_leading_white_space
        self._trail = options.ignore_trailing_white_space
        self._empty = options.empty_value
        self._fields: list[str | None] = []
        self._value: list[str] = []
        self._trim = False
        self._match = 0
        self._unescaped = False
        self._last = _NONE
        self._char = _NONE

    def record(self, final: bool) -> tuple[list[str | None], int]:
        try:
            self._next()
            self._read()
        except _End:
            if not final:
                raise Unfinished from None
            self._finish()
        return self._fields, self._at

    def _next(self) -> None:
        if self._at >= len(self._text):
            raise _End
        self._char = self._text[self._at]
        self._at += 1

    def _on_separator(self) -> bool:
        """Whether a separator is here; the present character is then its last. What began as one and is
        none becomes part of the value."""
        if self._stop != _NONE:
            return self._char == self._stop
        found = self._matches()
        if not found:
            self._keep_match()
        return found

    def _matches(self) -> bool:
        while self._char == self._sep[self._match]:
            self._match += 1
            if self._match == len(self._sep):
                self._match = 0
                return True
            self._next()
        return False

    def _keep_match(self) -> None:
        if self._match:
            self._value.append(self._sep[: self._match])
            self._match = 0

    def _blank(self) -> bool:
        return self._char <= " " and self._char != "\n"

    def _read(self) -> None:
        # Before the loop too: a line of nothing but blanks is then an empty one.
        self._lead_in()
        while self._char != "\n":
            self._lead_in()
            if self._char == "\n" or self._on_separator():
                self._fields.append(None)
            else:
                self._field()
            if self._char != "\n":
                self._next()
                if self._char == "\n":
                    self._fields.append(None)

    def _lead_in(self) -> None:
        while self._lead and self._blank() and self._char not in (self._stop, self._quote):
            self._next()

    def _field(self) -> None:
        self._unescaped = False
        self._last = _NONE
        if self._char == self._quote and not self._value:
            self._trim = False
            self._quoted()
            self._take()
        else:
            self._trim = self._trail
            self._plain()
            text = "".join(self._value)
            self._value.clear()
            if self._trail:
                text = _trimmed(text)
            self._fields.append(text or None)

    def _take(self) -> None:
        text = "".join(self._value)
        self._value.clear()
        self._fields.append((_trimmed(text) if self._trim else text) or self._empty)

    def _plain(self) -> None:
        """Append up to the next separator or line end."""
        if self._stop != _NONE:
            self._append_until((self._stop, "\n"))
            return
        while self._char != "\n":
            if self._char == self._sep[self._match]:
                self._match += 1
                if self._match == len(self._sep):
                    self._match = 0
                    return
            elif self._match:
                self._keep_match()
                continue
            else:
                self._value.append(self._char)
            self._next()
        self._keep_match()

    def _append_until(self, stops: tuple[str, ...]) -> None:
        """Append all before one of `stops`. If the text ends first, the present character stays the first
        one: how a record ends is judged by it."""
        begin = self._at - 1
        match = _any_of(stops).search(self._text, begin)
        end = len(self._text) if match is None else match.start()
        if end > begin:
            self._value.append(self._text[begin:end])
        self._at = end
        if match is None:
            raise _End
        self._next()

    def _keep_quotes(self) -> None:
        """After an unescaped quote the field is not a quoted one: its quotes are part of it."""
        self._value.insert(0, self._quote)
        self._next()
        self._trim = self._trail

    def _quoted(self) -> None:
        self._next()
        while True:
            if self._last == self._quote and (self._blank() or self._char == "\n"):
                break
            if self._last == self._quote and self._on_separator():
                return
            if self._char not in (self._quote, self._escape):
                if self._last == self._quote:
                    self._broken()
                    return
                if self._last == self._escape and self._escape != _NONE:
                    self._value.append(self._escape)
                self._content()
            else:
                self._escaped()
                self._last = self._char
                self._next()
                if self._unescaped and (self._char == "\n" or self._on_separator()):
                    return
        if self._blank():
            self._after()

    def _content(self) -> None:
        """Append up to the next quote or escape, and step over it."""
        self._append_until((self._quote, self._escape, self._escape_escape))
        self._last = self._char
        self._next()

    def _escaped(self) -> None:
        """Judge a quote or escape character by the character before it."""
        char, last = self._char, self._last
        if char == self._escape and last == self._escape_escape and self._escape_escape != _NONE:
            self._value.append(self._escape)
            self._char = _NONE
        elif last == self._escape:
            if char == self._quote:
                self._value.append(self._quote)
                self._char = _NONE
            else:
                self._value.append(last)
        elif char == self._quote and last == self._quote:
            self._value.append(self._quote)
        elif last == self._quote:
            self._value.append(self._quote)
            self._last = char
            self._raw()

    def _raw(self) -> None:
        """Read on without regard to quotes that should have been escaped."""
        while self._char not in (self._stop, "\n"):
            if self._char not in (self._quote, self._escape):
                if self._last == self._quote:
                    self._value.append(self._quote)
                    self._last = self._char
                    self._raw()
                    return
                self._value.append(self._char)
            else:
                self._escaped()
            self._last = self._char
            self._next()

    def _broken(self) -> None:
        """A quote within the field that is neither escaped nor last."""
        self._unescaped = True
        self._value += [self._quote, self._char]
        self._last = self._char
        self._keep_quotes()
        self._plain()

    def _after(self) -> None:
        """Blanks after the closing quote are nothing, unless more than blanks follows."""
        blanks: list[str] = []
        several = len(self._sep) > 1
        while self._blank() and self._char != self._stop:
            if several and self._matches():
                return
            blanks.append(self._char)
            self._next()
        if self._char in (self._stop, "\n") or (several and self._matches()):
            return
        self._value += [self._quote, *blanks, self._char]
        self._last = self._char
        self._keep_quotes()
        # A separator of several characters is not looked for here: the field runs to the end of the line.
        self._append_until((self._stop, "\n"))

    def _finish(self) -> None:
        """The text ended within a field: take what there is of it."""
        closed = False
        if self._char == self._quote:
            if self._last == self._quote:
                closed = True
            elif not self._unescaped:
                self._value.append(self._quote)
        taken = closed or (self._last != _NONE and self._char not in (self._stop, "\n"))
        if self._match and not closed:
            self._keep_match()
            taken = True
        if taken or self._value:
            self._take()
        elif self._at > self._start:
            self._fields.append(None)


@cache
def _any_of(signs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("[" + re.escape("".join(signs)) + "]")


def _trimmed(text: str) -> str:
    return text.rstrip("".join(map(chr, range(33))))
