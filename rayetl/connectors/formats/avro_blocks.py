"""The blocks of an Avro file: walked without decoding them, and unpacked from codecs that need more than
Python's own library."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from rayetl.connectors.base import InputFile
from rayetl.connectors.formats.streams import Pieces, snappy_size
from rayetl.errors import SourceError
from rayetl.lazy import lazily

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
            raise SourceError(f"the file {file.path} is cut off or damaged: a block reaches beyond its end")
        stream.seek(length, os.SEEK_CUR)
        if stream.read(16) != marker:
            raise SourceError(f"the file {file.path} is damaged: a block does not end with the sync marker")
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


def unpacked(stream: BinaryIO) -> Any:
    """The same file without compression if its codec is snappy or zstandard, else `stream` itself.

    Both stand at the beginning. Raises EOFError for a block that does not unpack.
    """
    stream.seek(len(_MAGIC))
    metadata = _metadata(stream)
    codec = metadata.get("avro.codec", b"null").decode()
    if codec not in ("snappy", "zstandard"):
        stream.seek(0)
        return stream
    marker = stream.read(16)
    return io.BufferedReader(Pieces(_rewritten(stream, metadata["avro.schema"], codec, marker)))


def _metadata(stream: BinaryIO) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    while count := _read_long(stream):
        if count < 0:
            count = -count
            _read_long(stream)
        for _ in range(count):
            key = stream.read(_read_long(stream)).decode()
            found[key] = stream.read(_read_long(stream))
    return found


def _rewritten(stream: BinaryIO, schema: bytes, codec: str, marker: bytes) -> Iterator[bytes]:
    pairs = _bytes(b"avro.schema") + _bytes(schema) + _bytes(b"avro.codec") + _bytes(b"null")
    yield _MAGIC + _long(2) + pairs + _long(0) + marker
    while (count := _read_long(stream)) >= 0:
        data = stream.read(_read_long(stream))
        stream.seek(16, os.SEEK_CUR)
        yield _long(count) + _bytes(_snappy(data) if codec == "snappy" else _zstd(data)) + marker


def _snappy(data: bytes) -> bytes:
    found: bytes = pa.decompress(data[:-4], snappy_size(data), codec="snappy", asbytes=True)
    if zlib.crc32(found) != int.from_bytes(data[-4:], "big"):
        raise EOFError("a block does not have the checksum that it should have")
    return found


def _zstd(data: bytes) -> bytes:
    found: bytes = pa.CompressedInputStream(io.BytesIO(data), "zstd").read()
    return found
