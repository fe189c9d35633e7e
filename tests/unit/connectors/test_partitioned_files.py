"""Loads of files by partitions: how much of each waits in memory, and how many files there are."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from rayetl.connectors.base import FilesTarget
from rayetl.connectors.files_load import WriteOptions
from rayetl.connectors.formats import writing
from rayetl.sql.interop import parse_ddl

PARTITIONS, ROWS, PIECE = 200, 25, 10


def pieces(directory: Path) -> dict[str, list[list[int]]]:
    """The rows of the row groups of each file, by partition."""
    found: dict[str, list[list[int]]] = {}
    for path in directory.rglob("*.parquet"):
        footer = pq.read_metadata(path)
        groups = [footer.row_group(place).num_rows for place in range(footer.num_row_groups)]
        found.setdefault(path.parent.name, []).append(groups)
    return found


@pytest.mark.parametrize("chosen", [None, "1000"])
def test_a_partition_is_one_file_of_small_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    """More partitions than Polars has files open of its own accord; pieces may be chosen by the person who runs it."""
    monkeypatch.setattr(writing, "PIECE", PIECE)
    if chosen is not None:
        monkeypatch.setenv("POLARS_IDEAL_SINK_MORSEL_SIZE_ROWS", chosen)
    schema = parse_ddl("g INT, v BIGINT")
    rows = pl.select(v=pl.int_range(PARTITIONS * ROWS, dtype=pl.Int64)).lazy()
    rows = rows.select(g=(pl.col("v") % PARTITIONS).cast(pl.Int32), v="v")
    target = FilesTarget(str(tmp_path), "parquet", WriteOptions(), ("g",), None, schema)
    pl.collect_all([writing.sink_files(rows, target)])
    found = pieces(tmp_path)
    assert len(found) == PARTITIONS
    one_file = [[10, 10, 5]] if chosen is None else [[ROWS]]
    assert all(files == one_file for files in found.values()), next(iter(found.items()))
