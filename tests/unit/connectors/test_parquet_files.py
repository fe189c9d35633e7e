"""Parquet files whose footers say odd things of their columns: read as Spark reads them, or refused by name."""

from __future__ import annotations

import base64
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest

from rayetl.errors import SourceError
from tests.unit.connectors.test_files_source import described, read

JSON = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}', None]))


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pa.nulls(2), "int", [None, None]),
        (pa.array([[None], []], pa.list_(pa.null())), "array<int>", [[None], []]),
        (JSON, "string", ['{"a":1}', None]),
        (pa.ListArray.from_arrays([0, 1, 2], JSON), "array<string>", [['{"a":1}'], [None]]),
        (pa.array([86_400_000, None], pa.date64()), "date", [date(1970, 1, 2), None]),
        (pa.array([1, None], pa.decimal256(20, 2)), "decimal(20,2)", [Decimal("1.00"), None]),
    ],
    ids=["null", "list of null", "json", "list of json", "date64", "decimal256"],
)
@pytest.mark.parametrize("store_schema", [True, False])
def test_columns_have_the_type_they_are_stored_with(
    tmp_path: Path, column: Any, kind: str, values: list[Any], store_schema: bool
) -> None:
    pq.write_table(pa.table({"v": column}), tmp_path / "in.parquet", store_schema=store_schema)
    assert str(described(tmp_path / "in.parquet").schema) == f"struct<v:{kind}>"
    found = read(tmp_path / "in.parquet")
    assert found["v"].to_list() == values
    assert found.schema["v"] not in (pl.Null, pl.Datetime)


def test_categories_inside_of_lists_are_read_over_row_groups(tmp_path: Path) -> None:
    values = [["a", None], None, ["b"], [], ["a"]]
    table = pa.table({"v": pa.array(values, pa.list_(pa.dictionary(pa.int8(), pa.string())))})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    assert read(tmp_path / "in.parquet")["v"].to_list() == values


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


def test_a_footer_that_counts_other_values_than_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"v": list(range(77)), "w": list(range(77))}), path, compression="none")
    data = path.read_bytes()
    # The field 5 of a column's metadata, as a zigzag number behind its codec.
    counted = data.rindex(b"\x15\x00\x16\x9a\x01")
    path.write_bytes(data[: counted + 3] + b"\x98\x01" + data[counted + 5 :])
    with pytest.raises(SourceError, match=r"in\.parquet is .*: its footer counts 76 values of w in 77 rows"):
        read(path)


class Keys(encryption.KmsClient):  # type: ignore[misc]
    """Keys that are their own names."""

    def __init__(self, _: Any) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, name: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, key: bytes, name: str) -> bytes:
        return base64.b64decode(key)


def test_a_file_with_encrypted_columns_is_refused(tmp_path: Path) -> None:
    wanted = encryption.EncryptionConfiguration(
        footer_key="k", column_keys={"k": ["v"]}, plaintext_footer=True, double_wrapping=False
    )
    properties = encryption.CryptoFactory(Keys).file_encryption_properties(
        encryption.KmsConnectionConfig(), wanted
    )
    table = pa.table({"v": [1, 2], "w": [1, 2]})
    pq.write_table(table, tmp_path / "in.parquet", encryption_properties=properties)
    with pytest.raises(SourceError, match=r"in\.parquet has encrypted columns, which cannot be read"):
        read(tmp_path / "in.parquet")
