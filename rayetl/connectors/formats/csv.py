"""CSV in chunks: columnar where a chunk is provably plain, record by record where it is not."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import pairwise

import polars as pl

from rayetl.connectors.base import InputFile
from rayetl.connectors.formats.csv_lines import Tokenizer, Unfinished
from rayetl.connectors.formats.csv_plain import BLANK, PlainCsv
from rayetl.connectors.formats.options import CsvOptions
from rayetl.connectors.formats.streams import MAX_RECORD, line_chunks, lines_of, utf8_pieces
from rayetl.connectors.formats.values import typed
from rayetl.connectors.listing import version_of
from rayetl.errors import SourceError
from rayetl.names import BAD
from rayetl.observability.logs import get_logger
from rayetl.records import dataclass
from rayetl.sql.types import Schema

_LOG = get_logger(__name__)


@lru_cache(maxsize=1_000)
def _warn_of_places(path: str, version: str, named: str) -> None:  # noqa: ARG001
    """Once for a version of a file: it may be read by several sources, and again for its refused records."""
    _LOG.warning(
        f"the header of {path} has columns of the schema at other places, and fields go by place: "
        f"{named}; `enforce_schema: false` refuses such files"
    )


_MISSING = "the record has {} fields, {} were expected"


@dataclass(frozen=True)
class CsvReader:
    """Reads the files of one scan. `schema` has the columns of the files, no partition columns."""

    schema: Schema
    options: CsvOptions

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Reads single records."""
        return Tokenizer(self.options)

    @cached_property
    def _columnar(self) -> PlainCsv:
        return PlainCsv(self.schema, self.options)

    # Chunks

    def chunks(self, file: InputFile) -> Iterator[bytes]:
        """The records of a file without header, each chunk whole records ended by a line feed."""
        options = self.options
        source = (
            self._record_chunks(file)
            if options.multi_line
            else line_chunks(file, options.encoding, options.line_sep)
        )
        headed = options.header
        for chunk in source:
            if headed:
                self._look_at_header(chunk, file)
                chunk, headed = self._without_header(chunk)
            if chunk:
                yield chunk

    def _look_at_header(self, chunk: bytes, file: InputFile) -> None:
        """Raise `SourceError` where the first record of `chunk` does not name the columns of the schema and
        has to; where fields go by place, warn of names that stand at another one."""
        header = self.first(chunk)
        if header is None:
            return
        found, wanted = column_names(header, self.options), self.schema.names
        folded, expected = [name.lower() for name in found], [name.lower() for name in wanted]
        if folded == expected:
            return
        named = f"found {', '.join(found)}; expected {', '.join(wanted)}"
        if not self.options.enforce_schema:
            raise SourceError(
                f"the header of {file.path} names other columns than the schema: {named}",
                hint="write the schema as the header has it; with `enforce_schema: true` fields go by place",
            )
        # Other names may well be meant; the same ones in another order hardly are.
        if any(
            name in expected and expected[place : place + 1] != [name] for place, name in enumerate(folded)
        ):
            _warn_of_places(file.path, version_of(file), named)

    def _without_header(self, chunk: bytes) -> tuple[bytes, bool]:
        """`chunk` after its first record that is neither blank nor a comment, and whether the header is
        still to come. A chunk may hold the header and nothing else."""
        if self.options.multi_line:
            text = chunk.decode("utf-8", "surrogateescape")
            used = next((end for _, end in self._parsed(text)), None)
            return chunk[len(text[:used].encode("utf-8", "surrogateescape")) :], used is None
        at = 0
        while at < len(chunk):
            start, at = at, chunk.index(b"\n", at) + 1
            if self.counts(chunk[start:at].decode("utf-8", "replace")):
                return chunk[at:], False
        return b"", True

    def first(self, chunk: bytes) -> list[str | None] | None:
        """The fields of the first record of a chunk."""
        if self.options.multi_line:
            return next((fields for fields, _ in self._parsed(chunk.decode("utf-8", "replace"))), None)
        line = self.first_line(chunk)
        return None if line is None else self.tokenizer.fields(line.decode("utf-8", "replace"))

    def first_line(self, chunk: bytes) -> bytes | None:
        """The first line of a chunk that holds a record, without its end."""
        lines = (line.removesuffix(b"\n") for line in io.BytesIO(chunk))
        return next((line for line in lines if self.counts(line.decode("utf-8", "replace"))), None)

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
        return bool(line.strip(BLANK)) and not (
            self.options.comment and line.startswith(self.options.comment)
        )

    def _record_chunks(self, file: InputFile) -> Iterator[bytes]:
        """Chunks that end where a record ends, for records that span lines."""
        rest = b""
        line_sep = self.options.line_sep.encode() if self.options.line_sep else None
        for piece in utf8_pieces(file, self.options.encoding):
            rest += piece
            line_sep = line_sep or _found_line_sep(rest)
            rest = _line_feeds(rest, line_sep)
            cut = self._last_record_end(rest)
            if cut:
                yield rest[:cut]
                rest = rest[cut:]
            if len(rest) > MAX_RECORD:
                raise SourceError(
                    f"the file {file.path} has a record over {MAX_RECORD >> 20} MiB: is a quote not closed?"
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
        open_quotes = held.count(quote, 0, cut) % 2
        while cut and open_quotes:
            end, cut = cut, held.rfind(b"\n", 0, cut - 1) + 1
            open_quotes ^= held.count(quote, cut, end) % 2
        if cut and self._columnar.well_formed(held[:cut]) is not None:
            return cut
        text = held.decode("utf-8", "surrogateescape")
        used = max((end for _, end in self._parsed(text, final=False)), default=0)
        return len(text[:used].encode("utf-8", "surrogateescape"))

    # Plain or not

    def frame(self, chunk: bytes) -> tuple[pl.DataFrame, pl.Series]:
        """The typed rows of a chunk, columns named by place, and for each why it is malformed or NULL."""
        found = self._columnar.frame(chunk)
        if found is not None:
            return typed(found, self._columnar.columns, self.options, None, self.schema.names)
        texts, bad = self._mixed(chunk)
        return typed(texts, self._columnar.columns, self.options, bad, self.schema.names)

    # Record by record, where it must be

    def records(self, chunk: bytes) -> pl.Series:
        """The records of a chunk as their own bytes, in order, without blank lines and comments."""
        if self.options.multi_line:
            text = chunk.decode("utf-8", "surrogateescape")
            ends = [0, *(end for _, end in self._parsed(text))]
            texts = [text[start:end].removesuffix("\n") for start, end in pairwise(ends)]
            return pl.Series([text.encode("utf-8", "surrogateescape") for text in texts], dtype=pl.Binary)
        if (lines := lines_of(chunk)) is not None:
            return self._counted(lines).cast(pl.Binary)
        found = [line for line in chunk.split(b"\n") if self.counts(line.decode("utf-8", "replace"))]
        return pl.Series(found, dtype=pl.Binary)

    def _lines(self, chunk: bytes) -> pl.Series:
        lines = lines_of(chunk)
        if lines is None:
            lines = pl.read_lines(chunk.decode("utf-8", "replace").encode())["line"]
        return self._counted(lines)

    def _counted(self, lines: pl.Series) -> pl.Series:
        """Those that hold a record, as `counts` says of each."""
        kept = lines.str.strip_chars(BLANK) != ""
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
            plain = self._columnar.texts(("\n".join(records.filter(simple)) + "\n").encode())
            if plain is None or plain.height != simple.sum():
                simple = pl.Series([False]).new_from_index(0, len(records))
        if not simple.any():
            return self._tokenized(records)
        assert plain is not None
        plain = self._columnar.values(plain)
        if simple.all():
            return plain, pl.Series(BAD, [None], dtype=pl.String).new_from_index(0, len(records))
        odd, bad = self._tokenized(records.filter(~simple))
        none = pl.lit(None, dtype=pl.String).alias(BAD)
        place = pl.concat([simple.arg_true(), (~simple).arg_true()]).alias("\0")
        united = pl.concat([plain.with_columns(none), odd.with_columns(bad)]).with_columns(place).sort("\0")
        return united.select(self._columnar.names), united[BAD]

    def _simple_records(self, records: pl.Series) -> pl.Series:
        """Which records have all fields, each without quotes or wholly within one pair of them."""
        none = pl.Series([False]).new_from_index(0, len(records))
        options = self.options
        if not self._columnar.possible or not options.quote or options.ignore_leading_white_space:
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
            pl.DataFrame(values, schema=self._columnar.text_schema, orient="row")
            if width
            else pl.DataFrame(height=len(rows))
        )
        return frame, pl.Series(BAD, wrong, dtype=pl.String)


def column_names(first: list[str | None], options: CsvOptions) -> list[str]:
    """Header texts as column names; empty ones and, letter case ignored, repeated ones get their number."""
    if not options.header:
        return [f"_c{place}" for place in range(len(first))]
    texts = [text or "" for text in first]
    folded = [text.lower() for text in texts if text]
    found = []
    for place, text in enumerate(texts):
        if not text or text == options.null_value:
            found.append(f"_c{place}")
        elif folded.count(text.lower()) > 1:
            found.append(f"{text}{place}")
        else:
            found.append(text)
    return found


def _found_line_sep(data: bytes) -> bytes | None:
    """The line end that comes first; others are no line ends, and stay what they are within quotes."""
    match = re.search(rb"\r\n|\n|\r(?=[^\n])", data)
    return match.group() if match else None


def _line_feeds(data: bytes, line_sep: bytes | None) -> bytes:
    if line_sep is None or line_sep == b"\n":
        return data
    return data.replace(line_sep, b"\n")
