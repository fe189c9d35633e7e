"""The load `files`: rows into the files of a directory or a prefix on S3, each epoch exactly once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rayetl.connectors.base import Epoch, FilesTarget, LoadSession
from rayetl.connectors.commit import CountRows, DirectorySession, SaveMode
from rayetl.connectors.commit.layout import hidden_partition
from rayetl.connectors.kinds import untyped, way_out, with_text_keys
from rayetl.connectors.places import TargetPath, is_on_s3
from rayetl.connectors.s3.settings import LoadsHereOrToS3
from rayetl.contracts import ContractConfig
from rayetl.errors import Problem
from rayetl.model import ColumnName, Model, OneOrMany, Size
from rayetl.sql.types import BINARY, ArrayType, DataType, MapType, Schema, StructType, is_nested
from rayetl.sql.types import Field as Column

FileFormat = Literal["parquet", "csv", "json", "avro"]

CODECS: dict[str, tuple[str, ...]] = {
    "parquet": ("zstd", "snappy", "gzip", "lz4", "brotli", "uncompressed"),
    "csv": ("uncompressed", "gzip", "zstd"),
    "json": ("uncompressed", "gzip", "zstd"),
    "avro": ("snappy", "deflate", "zstd", "bzip2", "xz", "uncompressed"),
}
"""The codecs of each format; the first is the default."""

_ENDINGS = {"gzip": ".gz", "zstd": ".zst"}
_AVRO_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class WriteOptions(Model):
    """How text is written; the names are Spark's. Defaults are read back by Spark's own defaults."""

    header: bool = Field(default=True, description="CSV: whether the first line holds the column names.")
    sep: str = Field(
        default=",",
        min_length=1,
        max_length=1,
        description="CSV: the character between two fields; `delimiter` is the same option.",
        examples=[";"],
    )
    quote: str = Field(
        default='"', min_length=1, max_length=1, description="CSV: the quote character.", examples=["'"]
    )
    escape: str = Field(
        default="\\",
        min_length=1,
        max_length=1,
        description="CSV: what stands before a quote inside a quoted field.",
        examples=['"'],
    )
    quote_all: bool = Field(default=False, description="CSV: quote every field that is not NULL.")
    null_value: str = Field(
        default="", description="CSV: what stands for NULL, never quoted.", examples=["NULL"]
    )
    line_sep: Literal["\n", "\r\n"] = Field(default="\n", description="CSV: the end of a line.")
    compression: str | None = Field(
        default=None,
        description="The codec; the same as the field `compression` of the load.",
        examples=["gzip"],
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_delimiter(cls, value: object) -> object:
        if isinstance(value, dict) and "delimiter" in value and "sep" not in value:
            return {"sep" if key == "delimiter" else key: item for key, item in value.items()}
        return value


class FilesLoad(LoadsHereOrToS3):
    """Writes Parquet, CSV, JSON lines or Avro files into a directory of this machine or a prefix on S3."""

    type: Literal["files"]
    path: TargetPath = Field(
        min_length=1,
        description="The directory, which is made if it does not exist; or `s3://bucket/prefix`.",
        examples=["out/daily", "s3://lake/daily"],
    )
    format: FileFormat = Field(default="parquet", description="Format of the files.")
    mode: SaveMode = Field(
        default=SaveMode.ERROR_IF_EXISTS,
        description=(
            "What happens to data that is there already: `append` keeps it, `overwrite` replaces it in one "
            "step, `error_if_exists` refuses to load, `ignore` leaves all as it is. The same epoch is never "
            "loaded twice, whatever the mode."
        ),
    )
    partition_by: Annotated[tuple[ColumnName, ...], OneOrMany()] = Field(
        default=(),
        description="Columns whose values become directories (`year=2013/month=1`), as in Hive and Spark.",
        examples=[["year", "month"]],
    )
    max_file_size: Size | None = Field(
        default=None,
        description="Begin a new file after about this much data, measured in memory.",
        examples=["128MiB"],
    )
    compression: str | None = Field(
        default=None,
        description="Codec. Parquet: zstd (default), snappy, gzip, lz4, brotli, uncompressed. CSV and JSON: "
        "uncompressed (default), gzip, zstd. Avro: snappy (default), deflate, zstd, bzip2, xz, uncompressed.",
        examples=["zstd"],
    )
    options: WriteOptions = Field(
        default=WriteOptions(), description="How CSV is written.", examples=[{"header": False, "sep": ";"}]
    )
    contract: ContractConfig | None = Field(
        default=None,
        description="The Avro schema that loaded rows must satisfy.",
        examples=["schemas/daily.avsc"],
    )

    @model_validator(mode="after")
    def _known_codec(self) -> Self:
        codecs = CODECS[self.format]
        if self.codec not in codecs:
            near = difflib.get_close_matches(self.codec, codecs, n=1)
            raise ValueError(
                f"{self.codec!r} is not a codec for {self.format}; allowed: {', '.join(codecs)}"
                + (f"; did you mean {near[0]}?" if near else "")
            )
        if self.max_file_size is not None and self.max_file_size < 1:
            raise ValueError("max_file_size must be at least one byte")
        return self

    @property
    def codec(self) -> str:
        """The codec in force."""
        chosen = self.compression or self.options.compression or CODECS[self.format][0]
        return "uncompressed" if chosen.lower() == "none" else chosen.lower()

    def check(self, schema: Schema) -> Sequence[Problem]:
        problems = [problem for field in schema for problem in self._unfit(field.name, field.type)]
        if self.format == "avro":
            directories = {name.lower() for name in self.partition_by}
            inside = [field for field in schema if field.name.lower() not in directories]
            problems += [_misnamed(name) for name in _names(inside) if not _AVRO_NAME.fullmatch(name)]
        for index, name in enumerate(self.partition_by):
            field = schema.get(name)
            if field is None:
                near = difflib.get_close_matches(name, schema.names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"columns: {', '.join(schema.names)}"
                message = f"partition_by names the column {name!r}, which does not reach this load"
                problems.append(Problem("load.partition", message, ("partition_by", index), hint))
            elif is_nested(field.type) or field.type == BINARY:
                message = f"the column {name!r} of type {field.type} cannot name a directory"
                problems.append(Problem("load.partition", message, ("partition_by", index)))
            elif hidden := hidden_partition(name):
                hint = "rename it in a select step"
                problems.append(Problem("load.partition", hidden, ("partition_by", index), hint))
        if self.partition_by and {name.lower() for name in self.partition_by} >= {
            name.lower() for name in schema.names
        }:
            message = "partition_by names every column, so nothing is left to write into the files"
            problems.append(Problem("load.partition", message, ("partition_by",)))
        return problems

    def _unfit(self, name: str, kind: DataType) -> list[Problem]:
        hint = untyped(kind)
        if hint is None and self.format == "csv" and (is_nested(kind) or kind == BINARY):
            hint = f"{way_out(kind)}, or choose another format"
        if hint is None and self.format in ("json", "avro") and (texts := with_text_keys(kind)) != kind:
            hint = f"keys are texts there: cast it in a select step to {texts}, or take format: parquet"
        if hint is None:
            return []
        return [
            Problem("load.type", f"{self.format} cannot hold the column {name!r} of type {kind}", (), hint)
        ]

    def open(self, epoch: Epoch, schema: Schema) -> LoadSession:
        if not is_on_s3(self.path):
            return self.open_directory(epoch, schema)
        from rayetl.connectors.s3.session import S3Session

        target, count, staging = self._target(schema), count_rows(self.format), self.settings.staging
        return S3Session(epoch, self.mode, target, count, self._suffix, self.bucket, staging)

    def open_directory(self, epoch: Epoch, schema: Schema) -> DirectorySession:
        """As `open`, for a load into a directory of this machine."""
        target, count = self._target(schema), count_rows(self.format)
        return DirectorySession(epoch, self.mode, target, count, self._suffix, self.path)

    @property
    def _suffix(self) -> str:
        return f".{self.format}{_ENDINGS.get(self.codec, '') if self.format in ('csv', 'json') else ''}"

    def _target(self, schema: Schema) -> FilesTarget:
        names = {name.lower(): name for name in schema.names}
        return FilesTarget(
            directory="",
            format=self.format,
            options=self.options.model_copy(update={"compression": self.codec}),
            partition_by=tuple(names.get(name.lower(), name) for name in self.partition_by),
            max_bytes=self.max_file_size,
            schema=schema,
        )


def _names(fields: Sequence[Column]) -> Iterator[str]:
    """The names of columns and of all fields inside them."""
    for field in fields:
        yield field.name
        yield from _inner_names(field.type)


def _inner_names(kind: DataType) -> Iterator[str]:
    match kind:
        case StructType(fields):
            yield from _names(fields)
        case ArrayType(element):
            yield from _inner_names(element)
        case MapType(_, value):
            yield from _inner_names(value)


def _misnamed(name: str) -> Problem:
    message = f"avro cannot hold {name!r}: its names are ASCII letters, digits and underscores"
    return Problem("load.name", message, (), "rename it in a select step, or take another format")


def count_rows(file_format: str) -> CountRows:
    """What counts staged files of a format by themselves: Parquet by its footers, the others not."""
    return _parquet_rows if file_format == "parquet" else lambda _: None


def _parquet_rows(paths: Sequence[Path]) -> Sequence[int]:
    import polars as pl

    counts = pl.collect_all([pl.scan_parquet(path, glob=False).select(pl.len()) for path in paths])
    return [int(count.item()) for count in counts]
