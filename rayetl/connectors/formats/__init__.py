"""The file formats: what is read and written, and how. Importing this loads no engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from rayetl.connectors.base import FilesScan, InputFile
    from rayetl.errors import SourceError
    from rayetl.sql.types import Schema


def scan_files(scan: FilesScan, *, position: bool = False, malformed: bool = False) -> pl.LazyFrame:
    """The rows of a scan: its schema's columns in order, then `ROW` with `position`, `BAD` with `malformed`.

    A damaged file raises `SourceError` naming it, here or while the frame is collected. Malformed records
    have a reason in `BAD` with `malformed`; else mode `drop` leaves them out, mode `permissive` reads as
    NULL what cannot be read of them, and mode `fail` stops with `SourceError`.
    """
    from rayetl.connectors.formats.reading import scan_files

    return scan_files(scan, position=position, malformed=malformed)


def fetch_records(scan: FilesScan, wanted: pl.LazyFrame, held: Mapping[str, str]) -> pl.LazyFrame:
    """The hidden columns of `wanted` with `RECORD` (BINARY): the source bytes of the record at the position
    `ROW`, for Parquet and Avro the row as JSON.

    `held` names the columns of `wanted` that still hold columns of the source. Where these are all of
    them, no file is read again; else each file once. Neither takes more memory for more rows.
    """
    from rayetl.connectors.formats.records import fetch_records

    return fetch_records(scan, wanted, held)


def source_records(scan: FilesScan, file: InputFile) -> Iterator[bytes]:
    """The records of a CSV or JSON file, in order. Raises `SourceError`."""
    from rayetl.connectors.formats.records import source_records

    return source_records(scan, file)


def row_json(schema: Schema) -> pl.Expr:
    """A row with the columns of `schema` as the bytes of a JSON object, binary values in base64."""
    from rayetl.connectors.formats.records import row_json

    return row_json(schema)


def count_rows(scan: FilesScan) -> int | None:
    """The number of rows where the files' footers say it (Parquet); `None` elsewhere."""
    from rayetl.connectors.formats.reading import count_rows

    return count_rows(scan)


def row_groups(file: InputFile) -> list[tuple[int, int]]:
    """Rows and bytes of the row groups of a Parquet file, in order. Raises `SourceError`."""
    from rayetl.connectors.formats.reading import row_groups

    return row_groups(file)


def never_null(scan: FilesScan) -> frozenset[str]:
    """The columns of which the footers of all files (Parquet) say that no value is NULL."""
    from rayetl.connectors.formats.reading import never_null

    return never_null(scan)


def find_damage(scan: FilesScan) -> SourceError | None:
    """What is wrong with the files of a scan whose query failed without saying which file it was.

    Reads Parquet files to their end, so it is for the moment after a failure only.
    """
    from rayetl.connectors.formats.reading import find_damage

    return find_damage(scan)
