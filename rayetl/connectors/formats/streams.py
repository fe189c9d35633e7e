"""Bytes of text files in bounded pieces: decompressed, as UTF-8, cut where a line ends."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from rayetl.connectors.base import InputFile
from rayetl.connectors.listing import compression_of, gone
from rayetl.errors import SourceError

if TYPE_CHECKING:
    import polars as pl

DAMAGED = "put a whole copy of the file in its place, or leave it out of the `path`"
"""What to do about a file that cannot be read."""

CHUNK = 4 << 20
"""Bytes read at a time."""

_LOOK = 64 << 10
"""Bytes in which the end of a line is looked for."""

MAX_RECORD = 256 << 20
"""A record longer than this many bytes is refused: it would not fit a bounded memory."""


_NO_TEXT = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "bzip2": re.compile(rb"BZh[1-9]1AY&SY"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "ZIP (as Excel's files)": re.compile(rb"PK\x03\x04"),
    "Parquet": re.compile(rb"PAR1[\0-\x08\x0e-\x1f]"),
    "ORC": re.compile(rb"ORC[\0-\x08\x0e-\x1f]"),
    "Avro": re.compile(rb"Obj\x01"),
}
_MARKS = {
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
"""The longer ones first: one of UTF-32 begins as one of UTF-16 does."""
_NAMED = {"gzip": ".gz", "zstd": ".zst", "bzip2": ".bz2"}


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns what the operating system and the decompressors raise into one sentence naming the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise gone(path) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise SourceError(
            f"the file {path} is damaged: its compressed data is cut off or broken", hint=DAMAGED
        ) from error
    except OSError as error:
        cause = error.strerror or "its compressed data is cut off or broken"
        raise SourceError(f"the file {path} cannot be read: {cause}") from error


def open_bytes(file: InputFile) -> Any:
    """The decompressed bytes of a file."""
    codec = compression_of(file.path)
    return file.open() if codec is None else _OPENERS[codec](io.BufferedReader(file.open()))


def _gzip(raw: BinaryIO) -> Any:
    return gzip.GzipFile(fileobj=raw)


def _bz2(raw: BinaryIO) -> Any:
    return io.BufferedReader(Pieces(_bunzipped(raw)))


def _zstd(raw: BinaryIO) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(raw, "zstd")


def _snappy(raw: BinaryIO) -> Any:
    return io.BufferedReader(Pieces(_snappy_blocks(raw)))


def _deflate(raw: BinaryIO) -> Any:
    return io.BufferedReader(Pieces(_inflated(raw)))


class Pieces(io.RawIOBase):
    """A readable over an iterator of byte strings."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _bunzipped(raw: BinaryIO) -> Iterator[bytes]:
    """Streams of bzip2, one behind the other. Python's own reader leaves out without a word what follows the
    first and is damaged."""
    engine = bz2.BZ2Decompressor()
    while piece := raw.read(1 << 20):
        while piece or not engine.needs_input:
            if engine.eof:
                engine = bz2.BZ2Decompressor()
            yield engine.decompress(piece, 1 << 20)
            piece = engine.unused_data
            if engine.eof and not piece:
                break
    if not engine.eof:
        raise EOFError


def _inflated(raw: BinaryIO) -> Iterator[bytes]:
    """Streams of zlib, one behind the other, as Hadoop reads them."""
    engine = zlib.decompressobj()
    while piece := raw.read(1 << 20):
        while piece:
            if engine.eof:
                engine = zlib.decompressobj()
            yield engine.decompress(piece, 1 << 20)
            piece = engine.unconsumed_tail or engine.unused_data
    if not engine.eof:
        raise EOFError


def _snappy_blocks(raw: BinaryIO) -> Iterator[bytes]:
    """Hadoop's framing: the length of a block, then pieces, each with its compressed length before it."""
    import pyarrow as pa

    while header := raw.read(4):
        left = int.from_bytes(header, "big")
        while left > 0:
            length = int.from_bytes(_exactly(raw, 4), "big")
            piece = _exactly(raw, length)
            size = snappy_size(piece)
            if size > left or size > MAX_RECORD:
                raise EOFError
            try:
                yield pa.decompress(piece, size, codec="snappy", asbytes=True)
            except pa.ArrowException as error:
                raise EOFError from error
            left -= size


def _exactly(raw: BinaryIO, size: int) -> bytes:
    if size > MAX_RECORD:
        raise EOFError
    found = raw.read(size)
    if len(found) < size:
        raise EOFError
    return found


def snappy_size(piece: bytes) -> int:
    """How long a snappy block is unpacked. Raises EOFError."""
    size = shift = 0
    for byte in piece[:5]:
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return size
    raise EOFError


_OPENERS: dict[str, Callable[[BinaryIO], Any]] = {
    "gzip": _gzip,
    "bz2": _bz2,
    "zstd": _zstd,
    "snappy": _snappy,
    "deflate": _deflate,
}


def utf8_pieces(file: InputFile, encoding: str | None, size: int = CHUNK) -> Iterator[bytes]:
    """The text of a file as UTF-8, without byte order mark, in pieces of about `size` bytes."""
    with reading(file.path), open_bytes(file) as stream:
        name = codecs.lookup(encoding).name if encoding else "utf-8"
        decoder = None
        first = True
        take = _to_line_end if _is_plain(stream) else _full
        while piece := take(stream, size):
            if first:
                _assert_text(piece, file.path)
                decoder = _decoder(name, piece)
            if decoder is not None:
                piece = decoder.decode(piece).encode("utf-8", "replace")
            elif first:
                _assert_utf8(piece, file.path)
            if first:
                piece = piece.removeprefix(codecs.BOM_UTF8)
                first = False
            yield piece
        if decoder is not None:
            yield decoder.decode(b"", True).encode("utf-8", "replace")


def _decoder(name: str, head: bytes) -> codecs.IncrementalDecoder | None:
    """What decodes a text that begins with `head`; `None` for UTF-8. Without a mark that tells the order of
    bytes it is the one that the standard has, and Java: Python refuses such a text."""
    if name in _MARKS and not head.startswith(_MARKS[name]):
        name += "-be"
    return None if name == "utf-8" else codecs.getincrementaldecoder(name)("replace")


def _assert_text(head: bytes, path: str) -> None:
    """Raise `SourceError` for what begins as a file of another kind does: read as text it would be a header
    without records, or records without sense."""
    found = next((name for name, begin in _NO_TEXT.items() if begin.match(head)), None)
    if found is None:
        return
    hint = f"let its name end with {_NAMED[found]}" if found in _NAMED else "is its format another one?"
    if compression_of(path) is not None:
        hint = "was it compressed twice?"
    raise SourceError(f"the file {path} is no text: it begins as {found} does", hint=hint)


def _assert_utf8(head: bytes, path: str) -> None:
    """Raise `SourceError` for what begins with the mark of another encoding: of UTF-16 read as UTF-8 every
    other byte would be a character that nobody wrote."""
    found = next((name.upper() for name, marks in _MARKS.items() if head.startswith(marks)), None)
    if found is not None:
        raise SourceError(
            f"the file {path} is read as UTF-8, but begins with the byte order mark of {found}",
            hint=f"set `encoding: {found}` among the `options`",
        )


def _is_plain(stream: Any) -> bool:
    return isinstance(stream, io.FileIO) and stream.seekable()


def _to_line_end(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes and what is left of the line, so that nobody has to put its parts together."""
    look = os.pread(stream.fileno(), _LOOK, stream.tell() + size)
    return stream.read(size + look.find(b"\n") + 1)


def _full(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes, or what is left: decompressors give less than asked for."""
    found: bytes = stream.read(size)
    if not found or len(found) >= size:
        return found
    parts, length = [found], len(found)
    while length < size and (found := stream.read(size - length)):
        parts.append(found)
        length += len(found)
    return b"".join(parts)


def line_chunks(
    file: InputFile, encoding: str | None, line_sep: str | None, size: int = CHUNK
) -> Iterator[bytes]:
    """Whole lines, each ended by one `\\n`, in pieces of about `size` bytes.

    With `line_sep` given, a `\\n` that is no line end is handed on as U+2028, which no line end is made of.
    """
    rest = b""
    for piece in utf8_pieces(file, encoding, size):
        if line_sep not in (None, "\n") or b"\r" in piece or rest.endswith(b"\r"):
            rest, piece = b"", rest + piece
            held = b"\r" if line_sep is None and piece.endswith(b"\r") else b""
            piece = _normal(piece[:-1] if held else piece, line_sep)
        else:
            held = b""
        cut = piece.rfind(b"\n") + 1
        if cut == len(piece) and not rest:
            yield piece
        elif cut:
            # One copy: the pieces are large, and copying them is most of the work here.
            yield b"".join((rest, memoryview(piece)[:cut]))
            rest = b""
        rest += piece[cut:] + held
        if len(rest) > MAX_RECORD:
            raise SourceError(f"the file {file.path} has a line of more than {MAX_RECORD >> 20} MiB")
    rest = _normal(rest, line_sep)
    if rest:
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def lines_of(chunk: bytes) -> pl.Series | None:
    """The lines of a chunk; `None` if it is not valid UTF-8."""
    import polars as pl

    try:
        return pl.read_lines(chunk)["line"]
    except pl.exceptions.PolarsError:
        return None


def _normal(data: bytes, line_sep: str | None) -> bytes:
    if line_sep is None:
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data
    if line_sep == "\n":
        return data
    return data.replace(b"\n", "\u2028".encode()).replace(line_sep.encode(), b"\n")
