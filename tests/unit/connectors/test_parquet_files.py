"""Parquet files whose footers say odd things of their columns: read as Spark reads them, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayetl.errors import SourceError
from tests.unit.connectors.test_files_source import read


def test_a_file_without_columns_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [1, 2]}).select([]), tmp_path / "in.parquet")
    with pytest.raises(SourceError, match=r"in\.parquet has no columns, so its rows hold nothing"):
        read(tmp_path / "in.parquet")


def test_a_column_that_lies_behind_the_end_does_not_end_the_process(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"v": list(range(9000)), "w": list(range(9000))}), path, compression="none")
    data = path.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    path.write_bytes(data[:2000] + data[-footer:])
    with pytest.raises(
        SourceError, match=r"in\.parquet is cut off or damaged: a column reaches beyond its end"
    ):
        read(path)
