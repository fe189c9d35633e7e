"""Avro files written batch by batch. Each batch becomes complete blocks, so that a file is whole after
every batch and needs no closing."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from rayetl.connectors.base import FilesTarget
from rayetl.records import dataclass

_CODECS = {"deflate": "Deflate", "snappy": "Snappy", "zstd": "Zstandard", "bzip2": "Bzip2", "xz": "Xz"}
_SYNC = 16


@dataclass(slots=True)
class AvroStage:
    """Where the batches of one load go: a growing file, and the next one when it is as long as it may be."""

    target: FilesTarget
    codec: str
    header: bytes
    _open: Path | None = None
    _begun: int = 0

    @classmethod
    def begin(cls, rows: pl.LazyFrame, target: FilesTarget, codec: str) -> AvroStage:
        """Settle the schema, and begin the first file at once."""
        stage = cls(target, codec, b"")
        stage.header = stage._encoded(pl.DataFrame(schema=rows.collect_schema()))
        stage._file()
        return stage

    def write(self, batch: pl.DataFrame) -> None:
        """Append a batch."""
        if batch.is_empty():
            return
        with self._file().open("ab") as file:
            file.write(_resealed(self._encoded(batch), self.header[-_SYNC:]))
            size = file.tell()
        if self.target.max_bytes is not None and size >= self.target.max_bytes:
            self._open = None

    def _file(self) -> Path:
        if self._open is None:
            self._open = Path(self.target.directory, f"{self._begun:08d}.avro")
            self._open.parent.mkdir(parents=True, exist_ok=True)
            self._open.write_bytes(self.header)
            self._begun += 1
        return self._open

    def _encoded(self, rows: pl.DataFrame) -> bytes:
        import polars_avro

        buffer = io.BytesIO()
        name = _CODECS.get(self.codec)
        codec = getattr(polars_avro.Codec, name) if name else None
        polars_avro.write_avro(rows, buffer, codec=codec)
        return buffer.getvalue()


def _resealed(data: bytes, sync: bytes) -> bytes:
    """The blocks of an Avro file without its header, closed by the marker of another file."""
    position = _after_header(data)
    blocks = []
    while position < len(data):
        start = position
        _, position = _long(data, position)
        size, position = _long(data, position)
        blocks += [data[start : position + size], sync]
        position += size + _SYNC
    return b"".join(blocks)


def _after_header(data: bytes) -> int:
    position = 4
    while True:
        count, position = _long(data, position)
        if count == 0:
            return position + _SYNC
        if count < 0:
            _, position = _long(data, position)
        for _ in range(2 * abs(count)):
            size, position = _long(data, position)
            position += size


def _long(data: bytes, position: int) -> tuple[int, int]:
    """A zigzag variable-length integer and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
