"""Avro files written batch by batch. Each batch becomes complete blocks, so that a file is whole after
every batch and needs no closing."""

from __future__ import annotations

import io
import os
from dataclasses import field
from pathlib import Path
from urllib.parse import quote

import polars as pl

from rayetl.connectors.base import FilesTarget
from rayetl.connectors.listing import NULL_PARTITION
from rayetl.records import dataclass

_CODECS = {"deflate": "Deflate", "snappy": "Snappy", "zstd": "Zstandard", "bzip2": "Bzip2", "xz": "Xz"}
_SYNC = 16


@dataclass(slots=True)
class AvroStage:
    """Where the batches of one load go: one growing file for each partition directory."""

    target: FilesTarget
    codec: str
    header: bytes
    _open: dict[str, Path] = field(default_factory=dict)
    _begun: int = 0

    @classmethod
    def begin(cls, rows: pl.LazyFrame, target: FilesTarget, codec: str) -> AvroStage:
        """Settle the schema; where there are no partitions, begin the first file at once."""
        schema = rows.collect_schema()
        body = pl.DataFrame(schema=schema).drop(target.partition_by)
        stage = cls(target, codec, b"")
        stage.header = stage._encoded(body)
        if not target.partition_by:
            stage._file("")
        return stage

    def write(self, batch: pl.DataFrame) -> None:
        """Append a batch."""
        keys = list(self.target.partition_by)
        if not keys:
            self._append("", batch)
            return
        for values, rows in batch.partition_by(keys, as_dict=True, include_key=False).items():
            pairs = zip(keys, values, strict=True)
            self._append("/".join(f"{_escaped(key)}={_escaped(value)}" for key, value in pairs), rows)

    def _append(self, directory: str, rows: pl.DataFrame) -> None:
        if rows.is_empty():
            return
        path = self._file(directory)
        with path.open("ab") as file:
            file.write(_resealed(self._encoded(rows), self.header[-_SYNC:]))
            size = file.tell()
        if self.target.max_bytes is not None and size >= self.target.max_bytes:
            del self._open[directory]

    def _file(self, directory: str) -> Path:
        path = self._open.get(directory)
        if path is None:
            path = Path(self.target.directory, directory, f"{self._begun:08d}.avro")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.header)
            self._begun += 1
            self._open[directory] = path
        return path

    def _encoded(self, rows: pl.DataFrame) -> bytes:
        import polars_avro

        buffer = io.BytesIO()
        name = _CODECS.get(self.codec)
        codec = getattr(polars_avro.Codec, name) if name else None
        polars_avro.write_avro(rows, buffer, codec=codec)
        return buffer.getvalue()


def _escaped(value: object) -> str:
    if value is None:
        return NULL_PARTITION
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if text == "nan" and isinstance(value, float):
        text = "NaN"
    return quote(text, safe=" !$&'()+,;@-._~" if os.sep == "/" else "")


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
