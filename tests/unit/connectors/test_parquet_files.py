"""Parquet files whose footers say odd things of their columns: read as Spark reads them, or refused by name."""

from __future__ import annotations

import base64
import struct
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


def edit_footer(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert data[start:-8].count(old) == 1
    footer = data[start:-8].replace(old, new)
    path.write_bytes(data[:start] + footer + len(footer).to_bytes(4, "little") + data[-4:])


VARIANT = b"\x5c\x0c\x20\x00\x00"
UNKNOWN = b"\x5c\x0c\x64\x00\x00"


@pytest.mark.parametrize(("mark", "kind"), [(VARIANT, "VARIANT"), (b"", None)])
def test_a_variant_is_no_struct(tmp_path: Path, mark: bytes, kind: str | None) -> None:
    parts = pa.struct([pa.field("metadata", pa.binary(), False), pa.field("value", pa.binary(), False)])
    table = pa.table({"var": pa.array([{"metadata": b"\1\0\0", "value": b"\0"}], parts)})
    pq.write_table(table, tmp_path / "in.parquet", store_schema=False)
    edit_footer(tmp_path / "in.parquet", b"\x18\x03var\x15\x04\x00", b"\x18\x03var\x15\x04" + mark + b"\0")
    if kind is None:
        assert read(tmp_path / "in.parquet")["var"].to_list() == table["var"].to_pylist()
        return
    with pytest.raises(SourceError, match=r"in\.parquet .* column var has the type VARIANT, which Spark"):
        read(tmp_path / "in.parquet")


def test_a_type_that_came_later_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [b"a"]}), tmp_path / "in.parquet", store_schema=False)
    edit_footer(tmp_path / "in.parquet", b"\x18\x01v\x00", b"\x18\x01v" + b"\x6c" + UNKNOWN[1:] + b"\0")
    with pytest.raises(SourceError, match=r"in\.parquet .* column v has the type UNDEFINED, which Spark"):
        read(tmp_path / "in.parquet")


def test_a_row_group_without_its_columns_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"v": pa.array([1, 2, 3])}), path, store_schema=False, compression="none")
    data = path.read_bytes()
    columns = data[data.rindex(b"\x19\x1c\x26\x00") : data.rindex(b"\x16\x06\x26\x08") - 3]
    edit_footer(path, columns, b"\x19\x0c")
    with pytest.raises(SourceError, match=r"in\.parquet is .*: a row group has 0 of its 1 columns"):
        read(path)


def test_a_summary_of_other_files_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [1, 2]}), tmp_path / "part.parquet")
    summary = pq.read_metadata(tmp_path / "part.parquet")
    summary.set_file_path("part.parquet")
    summary.write_metadata_file(tmp_path / "in.parquet")
    with pytest.raises(SourceError, match=r"in\.parquet .* its rows lie in other files, .* part\.parquet"):
        described(tmp_path / "in.parquet")


def test_a_footer_that_is_too_odd_for_polars_is_read(tmp_path: Path) -> None:
    table = pa.table({"v": [2, 1]}).replace_schema_metadata({"k": "yes"})
    pq.write_table(table, tmp_path / "in.parquet")
    number = b"\x16\x02\x00"
    edit_footer(tmp_path / "in.parquet", b"\x18\x01k\x18\x03yes\x00", b"\x18\x01k" + number)
    with pytest.raises(pl.exceptions.ComputeError):
        pl.read_parquet_schema(tmp_path / "in.parquet")
    assert read(tmp_path / "in.parquet")["v"].to_list() == [2, 1]


def test_days_that_int96_cannot_count_are_no_other_days(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    table = pa.table({"v": pa.array([0], pa.timestamp("us"))})
    pq.write_table(
        table, path, compression="none", use_dictionary=False, use_deprecated_int96_timestamps=True
    )
    epoch, beyond = struct.pack("<qi", 0, 2_440_588), struct.pack("<qi", -32_509_551_616_000, -105_862_232)
    data = path.read_bytes()
    assert epoch in data
    path.write_bytes(data.replace(epoch, beyond))
    with pytest.raises(SourceError, match=r"in\.parquet has times in the column v that INT96 cannot hold"):
        read(path)


def write_as_spark(path: Path, column: Any, version: str | None) -> None:
    """A file as Hadoop's writer makes it, of that version of Spark or of no known one."""
    told = {} if version is None else {"org.apache.spark.version": version}
    table = pa.table({"v": column}).replace_schema_metadata(told)
    pq.write_table(table, path)
    writer = f"parquet-cpp-arrow version {pa.__version__}".encode()
    edit_footer(path, writer, b"parquet-mr version 1.10.1".ljust(len(writer)))


OLD = date(1500, 1, 1)
OLD_NAMED_SO = date(1499, 12, 23)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.date32(), [OLD, None]),
        (pa.struct([("a", pa.int32()), ("d", pa.date32())]), [{"a": 1, "d": OLD}, None]),
        (pa.list_(pa.list_(pa.date32())), [[[OLD], None], None, []]),
        (pa.map_(pa.date32(), pa.struct([("d", pa.date32())])), [[(OLD, {"d": OLD})], None, []]),
    ],
    ids=["alone", "struct", "list", "map"],
)
def test_old_days_are_rebased_wherever_they_stand(tmp_path: Path, kind: Any, values: list[Any]) -> None:
    column = pa.array(values, kind)
    write_as_spark(tmp_path / "in.parquet", column, "2.4.5")
    as_is = repr(pl.Series(column).to_list())
    assert repr(read(tmp_path / "in.parquet")["v"].to_list()) == as_is.replace(repr(OLD), repr(OLD_NAMED_SO))
    write_as_spark(tmp_path / "in.parquet", column, "3.5.7")
    assert repr(read(tmp_path / "in.parquet")["v"].to_list()) == as_is
    write_as_spark(tmp_path / "in.parquet", column, None)
    with pytest.raises(SourceError, match=r"in the column v and does not say in which calendar"):
        read(tmp_path / "in.parquet")


class Keys(encryption.KmsClient):  # type: ignore[misc]
    """Keys that are their own names."""

    def __init__(self, _: Any) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, name: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, key: bytes, name: str) -> bytes:
        return base64.b64decode(key)


@pytest.mark.parametrize(
    ("footer", "words"), [(True, "has encrypted columns, which"), (False, "is encrypted, which")]
)
def test_an_encrypted_file_is_refused(tmp_path: Path, footer: bool, words: str) -> None:
    wanted = encryption.EncryptionConfiguration(
        footer_key="k", column_keys={"k": ["v"]}, plaintext_footer=footer, double_wrapping=False
    )
    properties = encryption.CryptoFactory(Keys).file_encryption_properties(
        encryption.KmsConnectionConfig(), wanted
    )
    table = pa.table({"v": [1, 2], "w": [1, 2]})
    pq.write_table(table, tmp_path / "in.parquet", encryption_properties=properties)
    with pytest.raises(SourceError, match=rf"in\.parquet {words} cannot be read"):
        read(tmp_path / "in.parquet")
