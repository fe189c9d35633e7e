"""Source records by position: the right ones, in one pass, without reading what the rows still hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.files_source import FilesSource
from rayetl.connectors.formats import fetch_records, reading, row_json, scan_files
from rayetl.connectors.formats.csv import CsvReader
from rayetl.names import PREFIX, RECORD, ROW, ROW_BITS
from rayetl.sql.interop import parse_ddl

FLAG = PREFIX + "f0"


def described(path: Path, **config: Any) -> FilesScan:
    return FilesSource.model_validate({"type": "files", "path": str(path), **config}).describe(None)


def refused(positions: list[int]) -> pl.LazyFrame:
    return pl.LazyFrame(
        {"v": ["changed"] * len(positions), ROW: positions, FLAG: [True] * len(positions)},
        schema={"v": pl.String, ROW: pl.Int64, FLAG: pl.Boolean},
    )


def fetched(scan: FilesScan, positions: list[int]) -> list[tuple[int, bytes]]:
    found = fetch_records(scan, refused(positions), {}).collect()
    assert set(found.columns) == {ROW, FLAG, RECORD}
    return found.select(ROW, RECORD).rows()


def write(directory: Path, kind: str) -> None:
    for name in ("a", "b", "c"):
        frame = pl.DataFrame({"k": range(30_000), "v": [f"{name}{i}" for i in range(30_000)]})
        path = directory / f"{name}.{kind}"
        if kind == "csv":
            frame.write_csv(path, include_header=False)
        elif kind == "json":
            frame.write_ndjson(path)
        else:
            frame.write_parquet(path, row_group_size=1_000)


def expected(kind: str, position: int) -> bytes:
    file, row = "abc"[position >> ROW_BITS], position % (1 << ROW_BITS)
    return f"{row},{file}{row}".encode() if kind == "csv" else f'{{"k":{row},"v":"{file}{row}"}}'.encode()


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_every_record_is_that_of_its_position(tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind)
    scan = described(tmp_path, format=kind, schema="k BIGINT, v STRING")
    rows = [*range(0, 30_000, 7), 29_999]
    positions = [(file << ROW_BITS) + row for file in (0, 2) for row in rows]
    found = fetched(scan, positions)
    assert found == [(position, expected(kind, position)) for position in positions]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_positions_may_come_in_any_order_and_more_than_once(tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind)
    scan = described(tmp_path, format=kind, schema="k BIGINT, v STRING")
    positions = [(1 << ROW_BITS) + 5, 29_999, 3, 3]
    assert fetched(scan, positions) == [
        (position, expected(kind, position)) for position in sorted(positions)
    ]


def test_text_is_read_once_and_no_further_than_needed(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path, "csv")
    scan = described(tmp_path, format="csv", schema="k BIGINT, v STRING")
    opened: list[str] = []
    chunks = CsvReader.chunks

    def counted(self: CsvReader, file: InputFile) -> Any:
        opened.append(Path(file.path).name)
        return chunks(self, file)

    monkeypatch.setattr(CsvReader, "chunks", counted)
    assert len(fetched(scan, [*range(25_000), (1 << ROW_BITS) + 1])) == 25_001
    assert opened == ["a.csv", "b.csv"]


def test_rows_that_hold_their_source_are_not_read_again(tmp_path: Path) -> None:
    write(tmp_path, "parquet")
    scan = described(tmp_path, format="parquet")
    rows = scan_files(scan, position=True).filter(pl.col("k") == 3).rename({"v": "w"}).collect()
    for path in tmp_path.iterdir():
        path.unlink()
    found = fetch_records(scan, rows.lazy(), {"k": "k", "v": "w"}).collect()
    assert found[RECORD].to_list() == [expected("parquet", position) for position in rows[ROW]]


def test_rows_are_read_in_one_scan(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path, "parquet")
    scan = described(tmp_path, format="parquet", schema="k INT, v STRING")
    read: list[str] = []
    batches = reading.parquet.batches

    def counted(file: Any, *rest: Any) -> Any:
        read.append(Path(file.path).name)
        return batches(file, *rest)

    monkeypatch.setattr(reading.parquet, "batches", counted)
    positions = [(file << ROW_BITS) + row for file in range(3) for row in range(29_000)]
    assert len(fetched(scan, positions)) == len(positions)
    assert read == ["a.parquet", "b.parquet", "c.parquet"]


def test_texts_keep_their_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("1,é\n2,ü\n".encode("latin-1"))
    scan = described(tmp_path / "a.csv", schema="k INT, v STRING", options={"encoding": "latin1"})
    assert fetched(scan, [1]) == [(1, "2,ü".encode("latin-1"))]


def test_a_row_of_any_type_is_json() -> None:
    schema = parse_ddl(
        "b BOOLEAN, n BIGINT, f DOUBLE, d DECIMAL(20, 2), s STRING, x BINARY, day DATE, at TIMESTAMP, "
        "local TIMESTAMP_NTZ, l ARRAY<BINARY>, t STRUCT<x: BINARY, y: INT>, m MAP<STRING, BINARY>, p MAP<STRING, INT>"
    )
    moment = datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    row = {
        "b": True,
        "n": 2**62,
        "f": 1e300,
        "d": Decimal("-1.20"),
        "s": 'a"\n\u2028é',
        "x": b"\xff\x00",
        "day": moment.date(),
        "at": moment,
        "local": moment.replace(tzinfo=None),
        "l": [b"\xff", None],
        "t": {"x": b"\x00", "y": 1},
        "m": [{"key": "k", "value": b"\x01"}],
        "p": [{"key": "k", "value": 1}],
    }
    from rayetl.sql.interop import to_polars

    frame = pl.DataFrame([row, dict.fromkeys(row)], schema=to_polars(schema))
    first, second = frame.select(row_json(schema).alias("r"))["r"]
    assert json.loads(first) == row | {
        "d": "-1.20",
        "x": "/wA=",
        "day": "2020-01-02",
        "at": "2020-01-02T03:04:05.000006+00:00",
        "local": "2020-01-02 03:04:05.000006",
        "l": ["/w==", None],
        "t": {"x": "AA==", "y": 1},
        "m": {"k": "AQ=="},
        "p": {"k": 1},
    }
    assert json.loads(second) == dict.fromkeys(row)
