"""CSV in chunks: columnar where a chunk is provably plain, record by record where it is not."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import polars as pl

from rayetl.connectors.formats.csv_lines import Tokenizer, Unfinished
from rayetl.connectors.formats.csv_marks import Marks
from rayetl.connectors.formats.options import CsvOptions
from rayetl.connectors.formats.streams import MAX_RECORD, line_chunks, utf8_pieces
from rayetl.connectors.formats.values import typed
from rayetl.errors import SourceError
from rayetl.names import BAD
from rayetl.sql.interop import polars_type
from rayetl.sql.types import FRACTIONAL, INTEGRAL, Schema
from rayetl.sql.types import Field as Column

_BLANK = "".join(map(chr, range(33)))
_QUOTES = "\"'"
_MISSING = "the record has {} fields, {} were expected"


@dataclass(frozen=True)
class CsvReader:
    """Reads the files of one scan. `schema` has the columns of the files, no partition columns."""

    schema: Schema
    options: CsvOptions
    tokenizer: Tokenizer = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokenizer", Tokenizer(self.options))

    @cached_property
    def _names(self) -> list[str]:
        return [str(index) for index in range(len(self.schema))]

    @cached_property
    def _columns(self) -> tuple[Column, ...]:
        """The columns under safe names: those of users may be empty or there twice."""
        return tuple(Column(name, column.type) for name, column in zip(self._names, self.schema, strict=True))

    @cached_property
    def _fast_schema(self) -> dict[str, pl.DataType]:
        direct = (*INTEGRAL, *FRACTIONAL)
        return {c.name: polars_type(c.type) if c.type in direct else pl.String() for c in self._columns}

    @cached_property
    def _integers_as_text(self) -> dict[str, pl.DataType]:
        texts = {c.name: pl.String() for c in self._columns if c.type in INTEGRAL}
        return self._fast_schema | texts

    @cached_property
    def _text_schema(self) -> dict[str, pl.DataType]:
        return {name: pl.String() for name in self._names}

    # Chunks

    def chunks(self, path: str) -> Iterator[bytes]:
        """The records of a file without header, each chunk whole records ended by a line feed."""
        options = self.options
        source = (
            self._record_chunks(path)
            if options.multi_line
            else line_chunks(path, options.encoding, options.line_sep)
        )
        headed = options.header
        for chunk in source:
            if headed:
                chunk = self._without_header(chunk)
                headed = len(chunk) == 0
            if chunk:
                yield chunk

    def _without_header(self, chunk: bytes) -> bytes:
        """`chunk` after its first record that is neither blank nor a comment."""
        if self.options.multi_line:
            text = chunk.decode("utf-8", "surrogateescape")
            used = next((end for _, end in self._parsed(text)), len(text))
            return chunk[len(text[:used].encode("utf-8", "surrogateescape")) :]
        at = 0
        while at < len(chunk):
            start, at = at, chunk.index(b"\n", at) + 1
            if self.counts(chunk[start:at].decode("utf-8", "replace")):
                break
        return chunk[at:]

    def first(self, chunk: bytes) -> list[str | None] | None:
        """The fields of the first record of a chunk."""
        if self.options.multi_line:
            return next((fields for fields, _ in self._parsed(chunk.decode("utf-8", "replace"))), None)
        for line in io.BytesIO(chunk):
            text = line.decode("utf-8", "replace").removesuffix("\n")
            if self.counts(text):
                return self.tokenizer.fields(text)
        return None

    def _parsed(self, text: str, *, final: bool = True) -> Iterator[tuple[list[str | None], int]]:
        """The records of a text that may span lines, each with where it ends; blank and comment lines not."""
        at = 0
        while at < len(text):
            if self.options.comment and text.startswith(self.options.comment, at):
                end = text.find("\n", at)
                if end < 0 and not final:
                    return
                at = end + 1 if end >= 0 else len(text)
                continue
            try:
                fields, at = self.tokenizer.parse(text, at, final=final)
            except Unfinished:
                return
            if fields:
                yield fields, at

    def counts(self, line: str) -> bool:
        """Whether a line holds a record: it is neither blank nor a comment."""
        return bool(line.strip(_BLANK)) and not (
            self.options.comment and line.startswith(self.options.comment)
        )

    def _record_chunks(self, path: str) -> Iterator[bytes]:
        """Chunks that end where a record ends, for records that span lines."""
        rest = b""
        line_sep = self.options.line_sep.encode() if self.options.line_sep else None
        for piece in utf8_pieces(path, self.options.encoding):
            rest += piece
            line_sep = line_sep or _found_line_sep(rest)
            rest = _line_feeds(rest, line_sep)
            cut = self._last_record_end(rest)
            if cut:
                yield rest[:cut]
                rest = rest[cut:]
            if len(rest) > MAX_RECORD:
                raise SourceError(
                    f"the file {path} has a record over {MAX_RECORD >> 20} MiB: is a quote not closed?"
                )
        rest = _line_feeds(rest, line_sep or b"\r")
        if rest:
            # A line feed would become part of a field whose quote is not closed.
            quoted = bool(self.options.quote) and self.options.quote.encode() in rest
            yield rest if quoted or rest.endswith(b"\n") else rest + b"\n"

    def _last_record_end(self, data: bytes) -> int:
        quote = self.options.quote.encode()
        held = data[:-1] if data.endswith(b"\r") else data
        if not quote or quote not in held:
            return held.rfind(b"\n") + 1
        cut = held.rfind(b"\n") + 1
        while cut and held.count(quote, 0, cut) % 2:
            cut = held.rfind(b"\n", 0, cut - 1) + 1
        if cut and self._well_formed(held[:cut]) is not None:
            return cut
        text = held.decode("utf-8", "surrogateescape")
        used = max((end for _, end in self._parsed(text, final=False)), default=0)
        return len(text[:used].encode("utf-8", "surrogateescape"))

    def _well_formed(self, data: bytes) -> pl.Series | None:
        """The lines of `data` with the insides of quoted fields taken out, if every quote is one of a pair
        around a whole field; None otherwise. Only then is it certain where records end."""
        options = self.options
        escape = options.escape.encode()
        if not self._may_be_plain or (escape and escape in data and options.escape != options.quote):
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

    # Plain or not

    def frame(self, chunk: bytes) -> tuple[pl.DataFrame, pl.Series]:
        """The typed rows of a chunk, columns named by place, and for each why it is malformed or NULL."""
        found = self._plain(chunk)
        if found is None and self.options.multi_line:
            found = self._plain_quoted(chunk)
        if found is not None:
            return typed(found, self._columns, self.options, None, self.schema.names)
        texts, bad = self._mixed(chunk)
        return typed(texts, self._columns, self.options, bad, self.schema.names)

    @cached_property
    def _may_be_plain(self) -> bool:
        options = self.options
        return (
            len(options.sep.encode()) == 1
            and len(options.quote.encode()) <= 1
            and options.sep not in "\n\r"
            and len(self.schema) > 0
        )

    def _plain(self, chunk: bytes) -> pl.DataFrame | None:
        """The chunk by the columnar reader, if every line has all fields, each without quotes or wholly
        within one pair of them."""
        options = self.options
        if not self._may_be_plain or b"\0" in chunk or b"\r" in chunk:
            return None
        if options.comment and options.comment.encode() in chunk:
            return None
        # A line of blanks is no record, but reads like one where there is no separator or it is a blank.
        if (len(self.schema) == 1 or options.sep in _BLANK) and _has_blank_line(chunk):
            return None
        quoted = bool(options.quote) and options.quote.encode() in chunk
        marks = Marks(chunk, options.sep, options.quote if quoted else "")
        if quoted:
            return self._lines_quoted(chunk, marks)
        if marks.separators != marks.lines * (len(self.schema) - 1):
            return None
        if self._trims:
            return self._trimmed(self._read(chunk, self._text_schema, quoted=False))
        found = self._numbers(chunk, marks, quoted=False)
        return self._read(chunk, self._text_schema, quoted=False) if found is None else found

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
        return found if found is not None and self._finite(found) else None

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
            found = self._read(chunk, self._text_schema, quoted=True)
        if found is None or not self._all_fields(found, marks):
            return None
        return self._values(found) if empty else found

    def _all_fields(self, found: pl.DataFrame, marks: Marks) -> bool:
        """Whether every line of a chunk gave a row and has all fields; the reader refuses more than all."""
        if found.height != marks.lines:
            return False
        if not found[:, -1].null_count():
            return True
        texts = found.select(pl.col(pl.String).str.count_matches(self.options.sep, literal=True).sum())
        inside = sum(texts.row(0)) if texts.width else 0
        return marks.separators - inside == marks.lines * (len(self.schema) - 1)

    def _plain_quoted(self, chunk: bytes) -> pl.DataFrame | None:
        """The same for a chunk with quoted fields that may span lines."""
        options = self.options
        if self._trims or len(self.schema) < 2:
            return None
        lines = self._well_formed(chunk) if options.quote and b"\0" not in chunk else None
        if (
            lines is None
            or (lines.str.count_matches(options.sep, literal=True) != len(self.schema) - 1).any()
        ):
            return None
        found = self._read(chunk, self._text_schema, quoted=True)
        return self._values(found) if found is not None and found.height == len(lines) else None

    @cached_property
    def _has_integers(self) -> bool:
        return any(column.type in INTEGRAL for column in self._columns)

    def _finite(self, found: pl.DataFrame) -> bool:
        """Whether no number is infinite or NaN, which Java and Polars spell differently."""
        names = [column.name for column in self._columns if column.type in FRACTIONAL]
        return all(found[name].is_finite().all() for name in names)

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
            text = text.str.strip_chars_start(_BLANK)
        if self.options.ignore_trailing_white_space:
            text = text.str.strip_chars_end(_BLANK)
        trimmed = found.select(text)
        nulls = {"", self.options.null_value}
        return trimmed.select(pl.when(~pl.all().is_in(list(nulls))).then(pl.all()))

    # Record by record, where it must be

    def records(self, chunk: bytes) -> pl.Series:
        """The texts of the records of a chunk, in order, without blank lines and comments."""
        if not self.options.multi_line:
            return self._lines(chunk)
        text = chunk.decode("utf-8", "replace")
        ends = [0, *(end for _, end in self._parsed(text))]
        texts = [text[start:end].removesuffix("\n") for start, end in pairwise(ends)]
        return pl.Series(texts, dtype=pl.String)

    def _lines(self, chunk: bytes) -> pl.Series:
        try:
            lines = pl.read_lines(chunk)["line"]
        except pl.exceptions.PolarsError:
            lines = pl.read_lines(chunk.decode("utf-8", "replace").encode())["line"]
        kept = lines.str.strip_chars(_BLANK) != ""
        if self.options.comment:
            kept &= ~lines.str.starts_with(self.options.comment)
        return lines if kept.all() else lines.filter(kept)

    def _mixed(self, chunk: bytes) -> tuple[pl.DataFrame, pl.Series]:
        """The chunk's texts: simple records by the columnar reader, odd ones by the tokenizer."""
        if self.options.multi_line:
            return self._padded([fields for fields, _ in self._parsed(chunk.decode("utf-8", "replace"))])
        records = self._lines(chunk)
        simple = self._simple_records(records)
        if simple.any():
            plain = self._read(
                ("\n".join(records.filter(simple)) + "\n").encode(), self._text_schema, quoted=True
            )
            if plain is None or plain.height != simple.sum():
                simple = pl.Series([False]).new_from_index(0, len(records))
        if not simple.any():
            return self._tokenized(records)
        assert plain is not None
        plain = self._values(plain)
        if simple.all():
            return plain, pl.Series(BAD, [None], dtype=pl.String).new_from_index(0, len(records))
        odd, bad = self._tokenized(records.filter(~simple))
        none = pl.lit(None, dtype=pl.String).alias(BAD)
        place = pl.concat([simple.arg_true(), (~simple).arg_true()]).alias("\0")
        united = pl.concat([plain.with_columns(none), odd.with_columns(bad)]).with_columns(place).sort("\0")
        return united.select(self._names), united[BAD]

    def _simple_records(self, records: pl.Series) -> pl.Series:
        """Which records have all fields, each without quotes or wholly within one pair of them."""
        none = pl.Series([False]).new_from_index(0, len(records))
        options = self.options
        if not self._may_be_plain or not options.quote or options.ignore_leading_white_space:
            return none
        if options.ignore_trailing_white_space or not 1 <= len(self.schema) <= 500 or not len(records):
            return none
        quote, sep = re.escape(options.quote), re.escape(options.sep)
        bar = (
            quote
            if options.escape == options.quote or not options.escape
            else quote + re.escape(options.escape)
        )
        each = f"(?:{quote}[^{bar}\\x00]*{quote}|[^{quote}{sep}\\x00\\n]*)"
        return records.str.contains(f"^{each}(?:{sep}{each}){{{len(self.schema) - 1}}}$").fill_null(False)

    def _values(self, plain: pl.DataFrame) -> pl.DataFrame:
        """Quoted empty fields, which came as empty texts, with their value, or NULL where that is NULL."""
        options = self.options
        text = pl.all()
        if options.empty_value:
            text = text.replace({"": options.empty_value})
        return plain.select(pl.when(text != options.null_value).then(text))

    def _tokenized(self, records: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
        return self._padded([self.tokenizer.fields(record) for record in records])

    def _padded(self, rows: list[list[str | None]]) -> tuple[pl.DataFrame, pl.Series]:
        """Rows of as many fields as there are columns, and which had another number of them."""
        width = len(self.schema)
        null = self.options.null_value
        wrong = [None if len(row) == width else _MISSING.format(len(row), width) for row in rows]
        fitted = [row[:width] + [None] * (width - len(row)) for row in rows]
        values = [[None if text == null else text for text in row] for row in fitted]
        frame = (
            pl.DataFrame(values, schema=self._text_schema, orient="row")
            if width
            else pl.DataFrame(height=len(rows))
        )
        return frame, pl.Series(BAD, wrong, dtype=pl.String)


def _found_line_sep(data: bytes) -> bytes | None:
    """The line end that comes first; others are no line ends, and stay what they are within quotes."""
    match = re.search(rb"\r\n|\n|\r(?=[^\n])", data)
    return match.group() if match else None


def _line_feeds(data: bytes, line_sep: bytes | None) -> bytes:
    if line_sep is None or line_sep == b"\n":
        return data
    return data.replace(line_sep, b"\n")


def _has_blank_line(chunk: bytes) -> bool:
    return re.search(rb"(?:^|\n)[\x00-\x20]*\n", chunk) is not None
