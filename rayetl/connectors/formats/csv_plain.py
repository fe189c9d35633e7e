"""Chunks of CSV by the columnar reader, where it provably reads them as Spark does."""

from __future__ import annotations

import re
from functools import cached_property
from math import isfinite

import polars as pl

from rayetl.connectors.formats.csv_marks import Marks
from rayetl.connectors.formats.options import CsvOptions
from rayetl.records import dataclass
from rayetl.sql.interop import polars_type
from rayetl.sql.types import FRACTIONAL, INTEGRAL, Schema
from rayetl.sql.types import Field as Column

BLANK = "".join(map(chr, range(33)))
_QUOTES = "\"'"


@dataclass(frozen=True)
class PlainCsv:
    """The columnar half of a CSV reader. `schema` has the columns of the files, no partition columns."""

    schema: Schema
    options: CsvOptions

    @cached_property
    def names(self) -> list[str]:
        return [str(index) for index in range(len(self.schema))]

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns under safe names: those of users may be empty or there twice."""
        return tuple(Column(name, column.type) for name, column in zip(self.names, self.schema, strict=True))

    @cached_property
    def _fast_schema(self) -> dict[str, pl.DataType]:
        direct = (*INTEGRAL, *FRACTIONAL)
        return {c.name: polars_type(c.type) if c.type in direct else pl.String() for c in self.columns}

    @cached_property
    def _integers_as_text(self) -> dict[str, pl.DataType]:
        texts = {c.name: pl.String() for c in self.columns if c.type in INTEGRAL}
        return self._fast_schema | texts

    @cached_property
    def text_schema(self) -> dict[str, pl.DataType]:
        return {name: pl.String() for name in self.names}

    @cached_property
    def possible(self) -> bool:
        options = self.options
        return (
            len(options.sep.encode()) == 1
            and len(options.quote.encode()) <= 1
            and options.sep not in "\n\r"
            and len(self.schema) > 0
        )

    def frame(self, chunk: bytes) -> pl.DataFrame | None:
        """The rows of `chunk`, columns named by place; numbers have their types, the rest is text. `None` if
        it is not certain that the columnar reader reads them as Spark does."""
        found = self._lines(chunk)
        return self._spanning(chunk) if found is None and self.options.multi_line else found

    def _lines(self, chunk: bytes) -> pl.DataFrame | None:
        """The chunk by the columnar reader, if every line has all fields, each without quotes or wholly
        within one pair of them."""
        options = self.options
        if not self.possible or b"\0" in chunk or b"\r" in chunk:
            return None
        if options.comment and options.comment.encode() in chunk:
            return None
        # A line of blanks is no record, but reads like one where there is no separator or it is a blank.
        if (len(self.schema) == 1 or options.sep in BLANK) and _has_blank_line(chunk):
            return None
        quoted = bool(options.quote) and options.quote.encode() in chunk
        marks = Marks(chunk, options.sep, options.quote if quoted else "")
        if quoted:
            return self._lines_quoted(chunk, marks)
        if marks.separators != marks.lines * (len(self.schema) - 1):
            return None
        if self._trims:
            return self._trimmed(self._read(chunk, self.text_schema, quoted=False))
        found = self._numbers(chunk, marks, quoted=False)
        return self._read(chunk, self.text_schema, quoted=False) if found is None else found

    @property
    def _trims(self) -> bool:
        return self.options.ignore_leading_white_space or self.options.ignore_trailing_white_space

    def _numbers(self, chunk: bytes, marks: Marks, *, quoted: bool) -> pl.DataFrame | None:
        """The chunk with numbers read by Polars, if it reads them as Java does."""
        found = self._read(chunk, self._fast_schema, quoted=quoted)
        if found is not None and self._has_integers:
            blanks = marks.blanks_before_numbers()
            if blanks and blanks != marks.blanks_in_texts(found.select(pl.col(pl.String))):
                found = self._read(chunk, self._integers_as_text, quoted=quoted)
        if found is None or not self._finite(found):
            return None
        return None if self._has_null_fractions(found) and marks.has_blank_field() else found

    def _has_null_fractions(self, found: pl.DataFrame) -> bool:
        """Whether a fraction is NULL, as Polars reads a field of blanks, which Java refuses."""
        return any(found[column.name].null_count() for column in self.columns if column.type in FRACTIONAL)

    def _lines_quoted(self, chunk: bytes, marks: Marks) -> pl.DataFrame | None:
        """The same for a chunk with quotes, where a record is a line."""
        options = self.options
        escape = options.escape.encode() if options.escape != options.quote else b""
        if options.multi_line or self._trims or len(self.schema) < 2 or options.quote not in _QUOTES:
            return None
        if (escape and escape in chunk) or not marks.well_quoted():
            return None
        # Quoted empty fields have a value of their own, which no number is.
        empty = marks.quotes_nothing()
        found = None if empty else self._numbers(chunk, marks, quoted=True)
        if found is None:
            found = self.texts(chunk)
        if found is None or not self._all_fields(found, marks):
            return None
        return self.values(found) if empty else found

    def _all_fields(self, found: pl.DataFrame, marks: Marks) -> bool:
        """Whether every line of a chunk gave a row and has all fields; the reader refuses more than all."""
        if found.height != marks.lines:
            return False
        if not found[:, -1].null_count():
            return True
        texts = found.select(pl.col(pl.String).str.count_matches(self.options.sep, literal=True).sum())
        inside = sum(texts.row(0)) if texts.width else 0
        return marks.separators - inside == marks.lines * (len(self.schema) - 1)

    def _spanning(self, chunk: bytes) -> pl.DataFrame | None:
        """The same for a chunk with quoted fields that may span lines."""
        options = self.options
        if self._trims or len(self.schema) < 2:
            return None
        lines = self.well_formed(chunk) if options.quote and b"\0" not in chunk else None
        if (
            lines is None
            or (lines.str.count_matches(options.sep, literal=True) != len(self.schema) - 1).any()
        ):
            return None
        found = self.texts(chunk)
        return self.values(found) if found is not None and found.height == len(lines) else None

    @cached_property
    def _has_integers(self) -> bool:
        return any(column.type in INTEGRAL for column in self.columns)

    def _finite(self, found: pl.DataFrame) -> bool:
        """Whether no number is infinite or NaN, which Java and Polars spell differently."""
        fractions = [found[column.name] for column in self.columns if column.type in FRACTIONAL]
        # The sum is quick, and finite unless one of them is not or they are huge.
        return all(isfinite(each.sum()) or bool(each.is_finite().all()) for each in fractions)

    def texts(self, chunk: bytes) -> pl.DataFrame | None:
        """All fields of a chunk as texts; `None` if it cannot be read so."""
        return self._read(chunk, self.text_schema, quoted=True)

    def _read(self, chunk: bytes, schema: dict[str, pl.DataType], *, quoted: bool) -> pl.DataFrame | None:
        nulls = [self.options.null_value] if self.options.null_value else None
        try:
            found = pl.read_csv(
                chunk,
                has_header=False,
                schema=schema,
                separator=self.options.sep,
                quote_char=self.options.quote if quoted else None,
                null_values=nulls,
                empty_string_is_null=True,
                raise_if_empty=False,
            )
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return None
        return found

    def _trimmed(self, found: pl.DataFrame | None) -> pl.DataFrame | None:
        if found is None:
            return None
        text = pl.all()
        if self.options.ignore_leading_white_space:
            text = text.str.strip_chars_start(BLANK)
        if self.options.ignore_trailing_white_space:
            text = text.str.strip_chars_end(BLANK)
        trimmed = found.select(text)
        nulls = {"", self.options.null_value}
        return trimmed.select(pl.when(~pl.all().is_in(list(nulls))).then(pl.all()))

    def values(self, plain: pl.DataFrame) -> pl.DataFrame:
        """Quoted empty fields, which came as empty texts, with their value, or NULL where that is NULL."""
        options = self.options
        text = pl.all()
        if options.empty_value:
            text = text.replace({"": options.empty_value})
        return plain.select(pl.when(text != options.null_value).then(text))

    def well_formed(self, data: bytes) -> pl.Series | None:
        """The lines of `data` with the insides of quoted fields taken out, if every quote is one of a pair
        around a whole field; None otherwise. Only then is it certain where records end."""
        options = self.options
        escape = options.escape.encode()
        if not self.possible or (escape and escape in data and options.escape != options.quote):
            return None
        if options.comment and options.comment.encode() in data:
            return None
        quote, sep = re.escape(options.quote), re.escape(options.sep)
        try:
            text = pl.Series([data.decode()])
        except UnicodeDecodeError:
            return None
        reduced = text.str.replace_all(f"{quote}[^{quote}]*{quote}", options.quote * 2).item()
        if "\r" in reduced:
            return None
        lines = pl.read_lines(reduced.encode())["line"]
        each = f"(?:{quote}{quote}|[^{quote}{sep}]*)"
        return lines if lines.str.contains(f"^{each}(?:{sep}{each})*$").all() else None


def _has_blank_line(chunk: bytes) -> bool:
    return re.search(rb"(?:^|\n)[\x00-\x20]*\n", chunk) is not None
