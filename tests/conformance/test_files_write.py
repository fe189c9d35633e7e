"""What the files load writes, read back by Spark and by pyarrow: the same values, whatever the type."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayetl.connectors.base import Epoch
from rayetl.connectors.files_load import CODECS, FilesLoad
from rayetl.connectors.formats.writing import sink_files
from rayetl.errors import LoadError
from rayetl.sql.interop import parse_ddl, to_polars
from rayetl.sql.types import Schema

FLAT = (
    "b BOOLEAN, i8 TINYINT, i16 SMALLINT, i INT, l BIGINT, f FLOAT, d DOUBLE, n DECIMAL(38,18), "
    "m DECIMAL(9,2), s STRING, dt DATE, ts TIMESTAMP, ntz TIMESTAMP_NTZ"
)
NESTED = (
    ", bin BINARY, a ARRAY<TIMESTAMP>, st STRUCT<x: INT, y: ARRAY<STRING>, z: BINARY>, mp MAP<STRING, BIGINT>, "
    "aa ARRAY<ARRAY<INT>>, deep ARRAY<STRUCT<k: STRING, v: DECIMAL(5,2)>>, mt MAP<STRING, TIMESTAMP>, "
    "mb MAP<STRING, ARRAY<BINARY>>, mm MAP<STRING, MAP<STRING, DOUBLE>>"
)
ROWS = [
    (True, 1, -2, 3, 2**63 - 1, 0.1, 1e-7, Decimal("1.5"), Decimal("0.01"), 'a "q" \\ , b\r\nc', date(2020, 1, 2),
     datetime(2020, 1, 1, 1, 2, 3, 456789, UTC), datetime(2020, 1, 1, 0, 0, 0, 1)),
    (None,) * 13,
    (False, -128, 32767, -(2**31), -(2**63), -0.0, 1.7976931348623157e308,
     Decimal("-12345678901234567890.000000000000000001"), Decimal("-9999999.99"), "", date(1970, 1, 1),
     datetime(1950, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999999)),
    (True, 0, 0, 0, 0, 3.5, 123456789.125, Decimal(0), Decimal(0), "  ünï 日本 🎉\t\\", date(2999, 12, 31),
     datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC), datetime(1970, 1, 1)),
]  # fmt: skip
MORE = [
    (b"\xff\x00", [datetime(2020, 1, 1, tzinfo=UTC), None], {"x": 1, "y": ["é", None], "z": b"\x01"}, {"k": 1},
     [[1, None], None, []], [{"k": "a", "v": Decimal("1.25")}, None], {"t": datetime(2020, 1, 1, tzinfo=UTC)},
     {"b": [b"\xff", None]}, {"m": {"d": 1.5}}),
    (None,) * 9,
    (b"", [], {"x": None, "y": None, "z": None}, {}, [], [], {}, {}, {}),
    (b"abc", [None], {"x": -1, "y": [], "z": None}, {"a": None, "b": 2}, [[]], [{"k": None, "v": None}],
     {"t": None, "u": datetime(1969, 12, 31, tzinfo=UTC)}, {"b": None, "c": []}, {"m": None, "n": {"d": None}}),
]  # fmt: skip


def table(form: str) -> tuple[Schema, pl.DataFrame]:
    """Every type the format can hold, with NULLs and odd values."""
    nested = form != "csv"
    schema = parse_ddl(FLAT + NESTED if nested else FLAT)
    rows = [row + more for row, more in zip(ROWS, MORE, strict=True)] if nested else ROWS
    types = to_polars(schema)
    columns = {
        name: pl.Series(name, [row[index] for row in rows], dtype=types[name])
        for index, name in enumerate(schema.names)
    }
    return schema, pl.DataFrame(columns)


def write(path: Path, schema: Schema, frame: pl.DataFrame, form: str, **fields: object) -> Path:
    load = FilesLoad.model_validate({"type": "files", "path": str(path), "format": form} | fields)
    assert not load.check(schema)
    session = load.open(Epoch("p", "out", "k", "r"), schema)
    target = session.begin()
    sink_files(frame.lazy(), target).collect()
    session.commit(frame.height)
    return path


def spark_rows(judge, path: Path, schema: Schema, form: str) -> list[tuple]:
    fields = ", ".join(f"`{field.name}` {field.type}" for field in schema)
    reader = judge.spark.read.schema(fields)
    frame = (
        reader.csv(str(path), header=True, multiLine=True, nullValue="NULL")
        if form == "csv"
        else reader.format(form).load(str(path))
    )
    return [tuple(row) for row in frame.collect()]


def plain(value: object) -> object:
    """Rows, bytearrays and aware times in one spelling for both sides."""
    if isinstance(value, (bytearray, bytes)):
        return bytes(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "asDict"):
        return {key: plain(item) for key, item in value.asDict().items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def sorted_rows(rows: list[tuple]) -> list[str]:
    return sorted(repr(tuple(plain(value) for value in row)) for row in rows)


@pytest.mark.parametrize("form", ["parquet", "csv", "json"])
def test_spark_reads_back_every_type(judge, tmp_path, form):
    schema, frame = table(form)
    # By its defaults Spark reads an empty string as NULL; with a word for NULL it tells them apart.
    options = {"null_value": "NULL"} if form == "csv" else {}
    write(tmp_path / "out", schema, frame, form, options=options)
    assert sorted_rows(spark_rows(judge, tmp_path / "out", schema, form)) == sorted_rows(frame.rows())


def test_spark_sees_the_parquet_types_it_would_write(judge, tmp_path):
    schema, frame = table("parquet")
    write(tmp_path / "out", schema, frame, "parquet")
    found = judge.spark.read.parquet(str(tmp_path / "out")).schema
    assert [(f.name, f.dataType.simpleString()) for f in found] == [(f.name, str(f.type)) for f in schema]


@pytest.mark.parametrize("form", ["parquet", "csv", "json"])
def test_spark_finds_the_partitions(judge, tmp_path, form):
    schema = parse_ddl("v INT, p STRING, q INT")
    values = ["x", None, "a/b=c", "per%cent", "sp ace", "ünï", "q\"'", "co:lon"]
    frame = pl.DataFrame({"v": range(8), "p": values, "q": [1, None] * 4}, schema=to_polars(schema))
    write(tmp_path / "out", schema, frame, form, partition_by=["p", "q"])
    found = spark_rows(judge, tmp_path / "out", schema, form)
    assert sorted_rows(found) == sorted_rows(frame.rows())


@pytest.mark.parametrize("form", ["parquet", "csv", "avro"])
def test_no_rows_still_make_a_file_with_the_schema(tmp_path, form):
    import polars_avro

    schema, frame = table(form)
    out = write(tmp_path / "out", schema, frame.head(0), form)
    (path,) = out.glob("part-*")
    names = {
        "parquet": lambda: pq.read_schema(path).names,
        "csv": lambda: path.read_text().strip().split(","),
        "avro": lambda: polars_avro.read_avro(path).columns,
    }[form]()
    assert tuple(names) == schema.names


@pytest.mark.parametrize(
    ("form", "codec"), [(form, codec) for form, codecs in CODECS.items() for codec in codecs]
)
def test_every_codec_is_read_back(tmp_path, form, codec):
    import polars_avro

    schema = parse_ddl("a INT, s STRING")
    frame = pl.DataFrame({"a": range(1000), "s": ["x" * 20] * 1000}, schema=to_polars(schema))
    (path,) = write(tmp_path / "out", schema, frame, form, compression=codec).glob("part-*")
    readers = {
        "parquet": pl.read_parquet,
        "csv": pl.read_csv,
        "json": pl.read_ndjson,
        "avro": polars_avro.read_avro,
    }
    assert readers[form](path).cast(frame.schema).equals(frame)


def test_avro_of_many_batches_and_files_is_read_by_another_reader(tmp_path):
    import fastavro

    schema = parse_ddl("a BIGINT, s STRING")
    frame = pl.concat(
        [pl.DataFrame({"a": [n] * 1000, "s": [f"row {n}"] * 1000}) for n in range(50)], rechunk=False
    )
    out = write(tmp_path / "out", schema, frame, "avro", max_file_size=2000, compression="deflate")
    read = [record["a"] for path in sorted(out.glob("part-*")) for record in fastavro.reader(path.open("rb"))]
    assert sorted(read) == frame["a"].to_list()


@pytest.mark.parametrize("form", ["parquet", "csv", "json", "avro"])
def test_one_column_and_a_thousand(tmp_path, form):
    import polars_avro

    readers = {
        "parquet": pl.read_parquet,
        "csv": pl.read_csv,
        "json": pl.read_ndjson,
        "avro": polars_avro.read_avro,
    }
    for count in (1, 1000):
        schema = parse_ddl(", ".join(f"c{n} INT" for n in range(count)))
        frame = pl.DataFrame({f"c{n}": [n, None, -n] for n in range(count)}, schema=to_polars(schema))
        (path,) = write(tmp_path / str(count), schema, frame, form).glob("part-*")
        if (form, count) == ("csv", 1):
            assert path.read_text() == 'c0\n0\n""\n0\n'
        else:
            assert readers[form](path).select(frame.columns).cast(frame.schema).equals(frame)


def test_parquet_is_what_arrow_expects(tmp_path):
    schema, frame = table("parquet")
    (path,) = write(tmp_path / "out", schema, frame, "parquet").glob("part-*")
    found = pq.read_table(path)
    assert found.schema.field("ts").type == pa.timestamp("us", tz="UTC")
    assert found.schema.field("ntz").type == pa.timestamp("us")
    assert found.schema.field("n").type == pa.decimal128(38, 18)
    assert pa.types.is_map(found.schema.field("mp").type)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DOUBLE", float("nan")),
        ("ARRAY<DOUBLE>", [float("inf")]),
        ("MAP<STRING, FLOAT>", {"a": float("nan")}),
    ],
)
def test_json_refuses_what_it_would_turn_into_null(tmp_path, kind, value):
    schema = parse_ddl(f"d {kind}")
    frame = pl.DataFrame({"d": [None, value]}, schema=to_polars(schema))
    with pytest.raises(LoadError, match=r"NaN .* column 'd' holds"):
        write(tmp_path / "out", schema, frame, "json")


@pytest.mark.parametrize("form", ["parquet", "csv", "json", "avro"])
def test_both_zeros_of_a_partition_are_one(tmp_path, form):
    schema = parse_ddl("v INT, p DOUBLE")
    values = [-0.0, 0.0, 1.5, None, float("nan"), float("-inf")]
    frame = pl.DataFrame({"v": range(6), "p": values}, schema=to_polars(schema))
    out = write(tmp_path / "out", schema, frame, form, partition_by=["p"])
    found = {path.name for path in out.iterdir() if "=" in path.name}
    assert found == {"p=0.0", "p=1.5", "p=NaN", "p=-Infinity", "p=__HIVE_DEFAULT_PARTITION__"}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("DOUBLE", [1e308, 5e-324, 0.1, 1e7, 1e-4, float("inf"), 123456789.125]),
        ("FLOAT", [1e30, 16777216.0, 1e-4, 0.1]),
        ("DECIMAL(38,10)", [Decimal(0), Decimal("0.0000001"), Decimal("0.000001"), Decimal("-1.5")]),
    ],
)
def test_directories_of_numbers_are_called_as_spark_calls_them(judge, tmp_path, kind, values):
    schema = parse_ddl(f"v INT, p {kind}")
    frame = pl.DataFrame({"v": range(len(values)), "p": values}, schema=to_polars(schema))
    frame.write_parquet(tmp_path / "in.parquet")
    spark = judge.spark.read.parquet(str(tmp_path / "in.parquet"))
    spark.write.partitionBy("p").parquet(str(tmp_path / "theirs"))
    ours = write(tmp_path / "ours", schema, frame, "parquet", partition_by=["p"])
    called = [{path.name for path in place.glob("p=*")} for place in (ours, tmp_path / "theirs")]
    assert called[0] == called[1]


def test_csv_spells_infinity_as_spark_does(judge, tmp_path):
    schema = parse_ddl("d DOUBLE, f FLOAT")
    frame = pl.DataFrame(
        {"d": [float("inf"), float("-inf")], "f": [1.0, float("-inf")]}, schema=to_polars(schema)
    )
    write(tmp_path / "out", schema, frame, "csv")
    assert spark_rows(judge, tmp_path / "out", schema, "csv") == frame.rows()
