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
