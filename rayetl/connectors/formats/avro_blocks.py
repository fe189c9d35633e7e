"""The blocks of an Avro file: walked without decoding them, and unpacked from codecs that need more than
Python's own library."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from rayetl.connectors.base import InputFile
from rayetl.connectors.formats.streams import DAMAGED, Pieces, snappy_size
from rayetl.errors import SourceError
from rayetl.lazy import lazily
from rayetl.records import dataclass

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazily("pyarrow")

_MAGIC = b"Obj\x01"


def framed_rows(stream: BinaryIO, marker: bytes, file: InputFile) -> int:
    """Records by the headers of all blocks. Raises SourceError where a block is cut off or out of frame:
    decoders take such a file for a shorter one."""
    total = 0
    here = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(here)
    while stream.tell() < size:
        count, length = _read_long(stream), _read_long(stream)
        if count < 0 or length < 0 or stream.tell() + length + 16 > size:
            raise SourceError(
                f"the file {file.path} is cut off or damaged: a block reaches beyond its end", hint=DAMAGED
            )
        stream.seek(length, os.SEEK_CUR)
        if stream.read(16) != marker:
            raise SourceError(
                f"the file {file.path} is damaged: a block does not end with the sync marker", hint=DAMAGED
            )
        total += count
    return total


def _read_long(stream: BinaryIO) -> int:
    value = shift = 0
    while shift < 70:
        byte = stream.read(1)
        if not byte:
            break
        value |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            return (value >> 1) ^ -(value & 1)
    return -1


def _long(value: int) -> bytes:
    value = value << 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _bytes(value: bytes) -> bytes:
    return _long(len(value)) + value


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the blocks of a file."""

    schema: bytes
    codec: str
    marker: bytes

    def encoded(self) -> bytes:
        """A header that says this and nothing else."""
        pairs = {b"avro.schema": self.schema, b"avro.codec": self.codec.encode()}
        told = b"".join(_bytes(key) + _bytes(value) for key, value in pairs.items())
        return _MAGIC + _long(len(pairs)) + told + _long(0) + self.marker


def header_of(stream: BinaryIO, file: InputFile) -> Header:
    """The header of a file of which `stream` stands at the beginning, and then at the first block. Values
    that a reader has no use for may be any bytes. Raises SourceError."""
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise SourceError(f"the file {file.path} is not an Avro file: it does not begin as one")
    metadata = _metadata(stream)
    marker = stream.read(16)
    if b"avro.schema" not in metadata or len(marker) < 16:
        raise SourceError(
            f"the file {file.path} is cut off or damaged: its header is not whole", hint=DAMAGED
        )
    return Header(metadata[b"avro.schema"], metadata.get(b"avro.codec", b"null").decode(), marker)


def _metadata(stream: BinaryIO) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    while count := _read_long(stream):
        if count < 0:
            count = -count
            _read_long(stream)
        for _ in range(count):
            key = _read_bytes(stream)
            found[key] = _read_bytes(stream)
    return found


def _read_bytes(stream: BinaryIO) -> bytes:
    size = _read_long(stream)
    found = stream.read(size) if size >= 0 else b""
    if len(found) != size:
        raise EOFError("its header is cut off")
    return found


def retold(stream: BinaryIO, header: Header, schema: bytes) -> Any:
    """The file of which `stream` stands at the first block, with another schema for the same bytes and
    without compression if its codec is snappy or zstandard. Raises EOFError for a block that does not
    unpack."""
    unpack = {"snappy": _snappy, "zstandard": _zstd}.get(header.codec)
    told = Header(schema, "null" if unpack else header.codec, header.marker)
    return io.BufferedReader(Pieces(_rewritten(stream, told, unpack or bytes)))


def _rewritten(stream: BinaryIO, header: Header, unpack: Callable[[bytes], bytes]) -> Iterator[bytes]:
    yield header.encoded()
    while (count := _read_long(stream)) >= 0:
        data = stream.read(_read_long(stream))
        stream.seek(16, os.SEEK_CUR)
        yield _long(count) + _bytes(unpack(data)) + header.marker


def _snappy(data: bytes) -> bytes:
    found: bytes = pa.decompress(data[:-4], snappy_size(data), codec="snappy", asbytes=True)
    if zlib.crc32(found) != int.from_bytes(data[-4:], "big"):
        raise EOFError("a block does not have the checksum that it should have")
    return found


def _zstd(data: bytes) -> bytes:
    found: bytes = pa.CompressedInputStream(io.BytesIO(data), "zstd").read()
    return found
