"""The source `files`: what its config accepts, which files it finds, what its readers make of odd input."""

from __future__ import annotations

import bz2
import gzip
import os
import subprocess
import sys
import zlib
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from rayetl.connectors.base import FilesScan
from rayetl.connectors.files_source import FilesSource
from rayetl.connectors.formats import count_rows, fetch_records, find_damage, scan_files, streams
from rayetl.connectors.formats.json import JsonReader
from rayetl.connectors.formats.json_values import JsonConverter
from rayetl.connectors.formats.options import JsonOptions
from rayetl.errors import SourceError
from rayetl.names import BAD, RECORD, ROW
from rayetl.sql.interop import parse_ddl, to_polars
from rayetl.sql.types import Schema


def described(path: Path | str, promised: Schema | None = None, **config: Any) -> FilesScan:
    return FilesSource.model_validate({"type": "files", "path": str(path), **config}).describe(promised)


def read(path: Path | str, **config: Any) -> pl.DataFrame:
    return scan_files(described(path, **config)).collect()


def flagged(path: Path | str, **config: Any) -> pl.DataFrame:
    return scan_files(described(path, **config), position=True, malformed=True).collect()


def records(scan: FilesScan, positions: list[int]) -> list[tuple[int, bytes]]:
    wanted = pl.LazyFrame({ROW: positions}, schema={ROW: pl.Int64})
    return fetch_records(scan, wanted, {}).collect().select(ROW, RECORD).rows()


# What is no file


def test_what_is_no_file_is_said_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1\n")
    (tmp_path / "b.csv").symlink_to("gone/b.csv")
    for path in (tmp_path, tmp_path / "*.csv"):
        with pytest.raises(SourceError, match=r"b\.csv is a link to gone/b\.csv, and there is nothing"):
            described(path, format="csv")
    assert len(described(tmp_path, format="csv", options={"pathGlobFilter": "a*"}).files) == 1
    (tmp_path / "b.csv").unlink()
    (tmp_path / "x=1").symlink_to(".")
    with pytest.raises(SourceError, match="cannot be listed: Too many levels of symbolic links"):
        described(tmp_path, format="csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(SourceError, match="is neither a file nor a directory"):
        described(tmp_path / "pipe.csv")


def test_bytes_of_a_name_that_are_no_text(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/x=\xff")).mkdir()
    Path(os.fsdecode(bytes(tmp_path) + b"/x=\xff/\xfe.csv")).write_text("1\n")
    assert read(tmp_path, format="csv", schema="a INT").rows() == [(1, "\ufffd")]


# The config


def test_config_models_load_without_engines() -> None:
    code = "import sys, rayetl.connectors; print([m for m in ('polars', 'pyarrow', 'sqlglot') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_options_are_those_of_the_format() -> None:
    source = FilesSource.model_validate(
        {
            "type": "files",
            "path": "a/*.csv.gz",
            "options": {"delimiter": ";", "nullValue": "-", "timestampNTZFormat": "yyyy"},
        }
    )
    assert source.options is not None
    assert (source.options.sep, source.options.null_value) == (";", "-")  # type: ignore[union-attr]
    with pytest.raises(ValidationError, match="Extra inputs"):
        FilesSource.model_validate({"type": "files", "path": "a.parquet", "options": {"header": True}})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"path": "a.csv", "options": {"dateFormat": "QQ"}}, "QQ"),
        ({"path": "a.csv", "options": {"encoding": "latin-99"}}, "latin-99"),
        ({"path": "a.csv", "options": {"quote": "''"}}, "one character"),
        ({"path": "a.csv", "options": {"columnNameOfCorruptRecord": "x"}}, "source bytes"),
        ({"path": "a.csv", "schema": "a inst"}, "unknown type inst"),
        ({"path": "somewhere", "options": {"header": True}}, "set `format`"),
        ({"path": "a.csv", "options": {"timestamp_ntz_format": "yyyyX"}}, "'yyyyX' has a time zone"),
        ({"path": []}, "at least 1"),
        ({"path": "a.csv", "options": {"timeZone": "Mars/Crater"}}, "not a time zone"),
    ],
)
def test_wrong_configs_say_what_is_wrong(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FilesSource.model_validate({"type": "files", **config})


# Listing


def test_partition_directories_become_typed_columns(tmp_path: Path) -> None:
    for year, city in ((2013, "A%20B"), (2014, "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / f"year={year}" / f"city={city}"
        folder.mkdir(parents=True)
        pl.DataFrame({"a": [year]}).write_parquet(folder / "x.parquet")
    (tmp_path / "_SUCCESS").touch()
    scan = described(tmp_path, format="parquet")
    assert str(scan.schema) == "struct<a:bigint,year:int,city:string>"
    assert scan_files(scan).collect().rows() == [(2013, 2013, "A B"), (2014, 2014, None)]
    by_row = scan_files(scan, position=True).filter(pl.col("year") == 2014).select(ROW).collect()
    assert [scan.locate(row)[0].path for row in by_row[ROW]] == [scan.files[1].path]


def test_globs_braces_filters_and_hidden_files(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.txt", ".d.csv", "_e.csv"):
        (tmp_path / name).write_text("1\n")
    assert len(described(tmp_path, format="csv").files) == 3
    assert len(described(tmp_path / "{a,b}.csv").files) == 2
    assert len(described(tmp_path, format="csv", options={"pathGlobFilter": "*.txt"}).files) == 1
    with pytest.raises(SourceError, match="no file fits the pattern"):
        described(tmp_path / "*.parquet")
    with pytest.raises(SourceError, match="there is no file or directory"):
        described(tmp_path / "z.csv")
    (tmp_path / "[ab].csv").write_text("1\n")
    with pytest.raises(SourceError, match=r"the name of one file and a pattern that others fit, as .*a\.csv"):
        described(tmp_path / "[ab].csv")
    (tmp_path / "[xy].csv").write_text("1\n")
    assert len(described(tmp_path / "[xy].csv").files) == 1


def test_identity_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1\n")
    source = FilesSource.model_validate({"type": "files", "path": str(path)})
    first = source.identity(source.describe(None))
    assert source.identity(source.describe(None)) == first
    os.utime(path, ns=(1, 1))
    assert source.identity(source.describe(None)) != first


# CSV


def test_malformed_records_keep_reason_position_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,name,q\r\n1,"x, y",3\r\n2,bo,zz\r\n\r\n3,a\r\n4,"q\\"uo",5\r\n')
    config: dict[str, Any] = {"schema": "id INT, name STRING, q INT", "options": {"header": True}}
    found = flagged(path, **config)
    assert found[BAD].to_list() == [
        None,
        "column q: the text is not a valid INT",
        "the record has 2 fields, 3 were expected",
        None,
    ]
    assert found[ROW].to_list() == [0, 1, 2, 3]
    scan = described(path, **config)
    assert records(scan, [2, 1]) == [(1, b"2,bo,zz"), (2, b"3,a")]
    assert read(path, mode="drop", **config)["id"].to_list() == [1, 4]
    with pytest.raises(SourceError, match="record 2: column q"):
        read(path, mode="fail", **config)


def test_chunks_do_not_change_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"".join(b'%d,"t%d\r\nx",%d.5\r\n' % (i, i, i) for i in range(200)))
    config: dict[str, Any] = {"schema": "a INT, b STRING, c DOUBLE", "options": {"multiLine": True}}
    whole = flagged(path, **config)
    assert whole.height == 200
    assert whole[BAD].null_count() == 200
    for size in (7, 64, 1000):
        monkeypatch.setattr(streams, "CHUNK", size)
        monkeypatch.setattr(streams.utf8_pieces, "__defaults__", (size,))
        assert flagged(path, **config).equals(whole)
        assert records(described(path, **config), [150])[0][1] == b'150,"t150\nx",150.5'


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("INT", "+7", 7),
        ("INT", " 7", None),
        ("INT", "7.0", None),
        ("TINYINT", "128", None),
        ("BIGINT", "-9223372036854775808", -(2**63)),
        ("DOUBLE", " 1.5d ", 1.5),
        ("DOUBLE", "Inf", float("inf")),
        ("DOUBLE", "infinity", None),
        ("DOUBLE", "1e400", float("inf")),
        ("DECIMAL(5,2)", "1,234.5", None),
        ("DECIMAL(6,2)", "1.005", Decimal("1.01")),
        (
            "DECIMAL(38,18)",
            "-12345678901234567890.123456789012345678",
            Decimal("-12345678901234567890.123456789012345678"),
        ),
        ("BOOLEAN", "TRUE", True),
        ("BOOLEAN", "yes", None),
        ("DATE", "2020-1-5", date(2020, 1, 5)),
        ("DATE", "2020-13-01", None),
        ("TIMESTAMP", "2020-01-05T01:02:03.5+02:00", datetime(2020, 1, 4, 23, 2, 3, 500000, UTC)),
        ("TIMESTAMP_NTZ", "2020-01-05 01:02", datetime(2020, 1, 5, 1, 2)),
        ("TIMESTAMP_NTZ", "2020-01-05T01:02:03+02:00", None),
        ("TIMESTAMP_NTZ", "2020-01-05 01:02:03 Europe/Vienna", None),
    ],
)
def test_texts_to_values(tmp_path: Path, kind: str, text: str, value: Any) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{text}|x\n")
    found = flagged(path, schema=f"v {kind}, w STRING", options={"sep": "|"})
    assert found["v"].to_list() == [value]
    assert (found[BAD][0] is None) == (value is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "micros"),
    [
        ("HH:mm:ss.SSS", "00:00:00.1", 100_000),
        ("HH:mm:ss[.SSSSSSSSS]", "00:00:00.123", 123_000),
        ("HH:mm:ss.SSS", "00:00:00.1234", None),
        ("HHmmssSSS", "000000123", 123_000),
        ("HHmmssSSS", "00000012", None),
    ],
)
def test_fractions_of_a_second_may_be_shorter_than_their_pattern(
    tmp_path: Path, pattern: str, text: str, micros: int | None
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{text}\n")
    found = flagged(path, schema="v TIMESTAMP", options={"timestampFormat": pattern})["v"]
    assert found.to_physical().to_list() == [micros]


@pytest.mark.parametrize(
    ("pattern", "text", "value"),
    [
        ("dd/MM/yyyy", "05/01/2020", date(2020, 1, 5)),
        ("dd/MM/yyyy", "5/1/2020", None),
        ("d MMM yyyy", "5 Jan 2020", date(2020, 1, 5)),
        ("yyyyMMdd", "20200105", date(2020, 1, 5)),
        ("yy'y'-M-d", "20y-1-5", date(2020, 1, 5)),
        ("d MMM yyyy", "5 jAN 2020", date(2020, 1, 5)),
        ("E d MMMM yyyy", "SUN 5 JANUARY 2020", date(2020, 1, 5)),
        ("yyyy-DDD", "2020-366", date(2020, 12, 31)),
        ("yyyy-DDD", "2021-366", None),
        ("yyyy-DDD", "2021-000", None),
        ("yyyy-MM-dd HH:mm:ss", "2020-01-05 23:59:60", None),
        ("yyyy-MM-dd hh:mm a", "2020-01-05 12:00 am", date(2020, 1, 5)),
        ("yyyy-MM-dd hh:mm a", "2020-01-05 13:00 PM", None),
        ("yyyy-MM-dd hh:mm a", "2020-01-05 00:00 AM", None),
    ],
)
def test_date_patterns(tmp_path: Path, pattern: str, text: str, value: Any) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{text}\n")
    assert flagged(path, schema="v DATE", options={"dateFormat": pattern})["v"].to_list() == [value]


def test_contract_types_follow_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("extra,n\nx,1\n")
    scan = described(path, parse_ddl("n BIGINT NOT NULL, absent STRING"), options={"header": True})
    assert str(scan.schema) == "struct<extra:string,n:bigint>"


@pytest.mark.parametrize("text", ["v,id\nx,1\n", "id\n1\n", "# none\nid,v,w\n1,x,y\n"])
def test_a_header_of_other_columns_is_refused_where_asked(tmp_path: Path, text: str) -> None:
    path = tmp_path / "in.csv"
    path.write_text(text)
    options = {"header": True, "enforce_schema": False, "comment": "#"}
    with pytest.raises(SourceError, match=r"the header of .*in\.csv names other columns than the schema"):
        read(path, schema="id STRING, v STRING", options=options)
    assert len(read(path, schema="id STRING, v STRING", options={**options, "enforce_schema": True})) == 1
    path.write_text("\n" + "ID,v\n1,x\n")
    assert read(path, schema="id STRING, v STRING", options=options).rows() == [("1", "x")]


def test_files_with_another_order_of_columns_are_told_apart_where_asked(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("id,v\n1,x\n")
    (tmp_path / "2.csv").write_text("v,id\nx,1\n")
    with pytest.raises(SourceError, match=r"2\.csv names other columns .*: found v, id; expected id, v"):
        read(tmp_path / "*.csv", options={"header": True, "enforce_schema": False})


@pytest.mark.parametrize(
    ("header", "warned"), [("v,id", True), ("x,id,v", True), ("ID,v", False), ("number,text", False)]
)
def test_a_header_in_another_order_is_warned_of_where_fields_go_by_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, header: str, warned: bool
) -> None:
    (tmp_path / "in.csv").write_text(f"{header}\n1,x\n")
    for _ in range(2):
        found = read(tmp_path / "in.csv", schema="id STRING, v STRING", options={"header": True})
        assert found.rows() == [("1", "x")]
    said = f"found {header.replace(',', ', ')}; expected id, v; `enforce_schema: false` refuses such files"
    assert sum(said in record.getMessage() for record in caplog.records) == warned, "once for a file"


def test_inference_widens(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "i,l,d,b,t,s,e\n1,1,1,true,2020-01-01 00:00:00,1,\n2,3000000000,1.5,false,2020-01-02 00:00:00,x,\n"
    )
    scan = described(path, options={"header": True, "inferSchema": True})
    assert [str(field.type) for field in scan.schema] == [
        "int",
        "bigint",
        "double",
        "boolean",
        "timestamp",
        "string",
        "string",
    ]


@pytest.mark.parametrize("ending", ["gz", "bz2", "zst", "deflate", "snappy"])
def test_compressed_text(tmp_path: Path, ending: str) -> None:
    data = b"".join(b"%d,x\n" % i for i in range(1000))
    path = tmp_path / f"a.csv.{ending}"
    path.write_bytes(compressed(data, ending))
    assert read(path)["_c0"].to_list() == [str(i) for i in range(1000)]
    path.write_bytes(compressed(data, ending)[:-9])
    with pytest.raises(SourceError, match=r"a\.csv\.\w+ (is damaged|cannot be read)"):
        read(path)


def test_streams_behind_one_another_are_one_file(tmp_path: Path) -> None:
    path, parts = tmp_path / "in.csv.deflate", [zlib.compress(text) for text in (b"1,a\n", b"", b"2,b\n")]
    path.write_bytes(b"".join(parts))
    assert read(path).rows() == [("1", "a"), ("2", "b")]
    for damaged in (b"".join(parts)[:-2], parts[0] + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(SourceError, match="is damaged: its compressed data is cut off or broken"):
            read(path, schema="id INT, v STRING")


@pytest.mark.parametrize("mode", ["permissive", "drop", "fail"])
@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("in.csv", gzip.compress(b"id,v\n1,a\n"), "gzip"),
        ("in.csv.gz", gzip.compress(gzip.compress(b"id,v\n1,a\n")), "gzip"),
        ("in.csv", pa.compress(b"id,v\n1,a\n", "zstd", asbytes=True), "zstd"),
        ("in.json", bz2.compress(b'{"id":1}\n'), "bzip2"),
        ("in.csv", b"PK\x03\x04\x14\0", "ZIP"),
        ("in.csv", b"PAR1\x15\x04\x15", "Parquet"),
        ("in.json", b"Obj\x01\x04\x14", "Avro"),
    ],
    ids=["gzip", "gzip twice", "zstd", "bzip2", "zip", "parquet", "avro"],
)
def test_what_is_no_text_is_not_read_as_text(
    tmp_path: Path, name: str, data: bytes, kind: str, mode: str
) -> None:
    (tmp_path / name).write_bytes(data)
    options = {"header": True} if "csv" in name else {}
    with pytest.raises(SourceError, match=rf"{name} is no text: it begins as {kind}"):
        read(tmp_path / name, schema="id INT, v STRING", mode=mode, options=options)


def test_a_column_may_be_called_as_a_format_begins(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("PAR1,ORC\n1,a\n")
    assert read(tmp_path / "in.csv", options={"header": True}).rows() == [("1", "a")]


def compressed(data: bytes, ending: str) -> bytes:
    import zlib

    if ending == "snappy":
        block = pa.compress(data, codec="snappy", asbytes=True)
        return len(data).to_bytes(4, "big") + len(block).to_bytes(4, "big") + block
    if ending == "zst":
        return bytes(pa.compress(data, codec="zstd", asbytes=True))
    return {"gz": gzip.compress, "bz2": bz2.compress, "deflate": zlib.compress}[ending](data)


# JSON


RECORDS = [
    '{"i":1,"d":1.5,"s":"x","t":"2020-01-01","a":[1,null],"o":{"p":"q","n":2.5}}',
    '{"i":1.0}', '{"i":"1"}', '{"i":3000000000}', '{"d":"NaN"}', '{"d":NaN}', '{"d":true}', '{"s":1.50}', '{"s":{"b":[1, 2]}}',
    '{"s":"\\ud83d\\ude00\\u0000é"}', '{"t":"2020-1-1"}', '{"t":"nope"}', '{"a":[1.5]}', '{"a":{}}', '{"a":[]}', '{"o":{"p":1}}',
    '{"o":[]}', '{"o":{}}', '{"i":1,"i":2}', "{'i':1}", '{"i":1} tail', '{"i":1}{"i":2}', "[]", '[{"i":1},{"i":2}]', "null", "5",
    '{"i":1,}', "{", '{"unknown":[[[{}]]],"i":4}', '{"i":null}', "{}", '  {"i":5}  ', '{"n":1.005}', '{"n":"2.5"}', '{"n":1e3}',
    '{"n":12345}', '{"i":-0}', '{"d":1e400}', '{"d":12345678901234567890}', '{"b":true}', '{"b":"true"}', '{"i":01}',
]  # fmt: skip
JSON_SCHEMA = "i INT, d DOUBLE, s STRING, t DATE, a ARRAY<INT>, o STRUCT<p: STRING, n: DOUBLE>, n DECIMAL(5,2), b BOOLEAN"


def test_the_columnar_json_reader_says_what_the_exact_one_says() -> None:
    schema = parse_ddl(JSON_SCHEMA)
    reader = JsonReader(schema, JsonOptions())
    converter = JsonConverter(schema, JsonOptions())
    dtypes = to_polars(schema)
    for record in RECORDS:
        found, bad = reader.frame((record + "\n").encode())
        exact = list(converter.rows(record))
        expected = pl.DataFrame([row for row, _ in exact], schema=dtypes, orient="row")
        assert found.equals(expected, null_equal=True) or repr(found) == repr(expected), record
        assert bad.to_list() == [reason for _, reason in exact], record


def test_json_positions_follow_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1}, {"a": "x"}]\n\n{"a": 3}\n')
    scan = described(path, schema="a INT")
    found = scan_files(scan, position=True, malformed=True).collect()
    assert found["a"].to_list() == [1, None, 3]
    assert records(scan, [1, 2]) == [(1, b'{"a":"x"}'), (2, b'{"a": 3}')]


def test_json_fields_beside_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"n": 1}\n{"n": 2, "x": {"y": 1.5}}\n')
    promised = parse_ddl("n INT, absent STRING")
    assert described(path, promised).schema.names == ("n", "absent", "x")
    contract = {"schema": "a.avsc", "extra_fields": "drop"}
    assert described(path, promised, contract=contract).schema.names == ("n", "absent")


def test_deep_json_is_malformed_not_fatal(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * 100_000 + '\n{"a":' + "[" * 100_000 + "\n" + '{"a":1}\n')
    assert flagged(path, schema="a INT")["a"].to_list() == [None, None, 1]


# Parquet and Avro


def test_parquet_keeps_pushdowns_and_counts(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pl.DataFrame({"x": [1, 2, 3], "y": ["p", "q", None]}).write_parquet(tmp_path / f"{name}.parquet")
    scan = described(tmp_path, format="parquet")
    plan = scan_files(scan).filter(pl.col("x") > 2).select("y").explain()
    assert "PROJECT 2/2" in plan or "PROJECT" in plan
    assert "SELECTION" in plan
    assert count_rows(scan) == 6
    assert records(scan, [(1 << 40) + 1]) == [((1 << 40) + 1, b'{"x":2,"y":"q"}')]


def test_parquet_columns_missing_wider_and_in_another_case(tmp_path: Path) -> None:
    pl.DataFrame({"X": pl.Series([1, 2], dtype=pl.Int32)}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"x": [3], "z": ["new"]}).write_parquet(tmp_path / "b.parquet")
    found = read(tmp_path, format="parquet", schema="x BIGINT, z STRING")
    assert found.rows() == [(1, None), (2, None), (3, "new")]
    scan = described(tmp_path, format="parquet", schema="x BIGINT, z STRING")
    assert scan_files(scan).filter(pl.col("x") > 1).select("z").collect()["z"].to_list() == [None, "new"]


def test_parquet_of_another_type_than_promised_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"x": ["1"], "y": [2**40]}).write_parquet(path)
    for schema in ("x INT", "y INT", "y STRING", "y DOUBLE"):
        with pytest.raises(SourceError, match=r"a\.parquet"):
            read(path, schema=schema)


EVERY = "b BOOLEAN, i TINYINT, l BIGINT, f FLOAT, d DOUBLE, n DECIMAL(38,18), s STRING, dt DATE, ts TIMESTAMP, ntz TIMESTAMP_NTZ"
NESTED = ", bin BINARY, a ARRAY<TIMESTAMP>, st STRUCT<x: INT, y: ARRAY<STRING>>, mp MAP<STRING, BIGINT>"
VALUES = (
    True, -128, 2**63 - 1, 0.5, 1e-7, Decimal("-12345678901234567890.000000000000000001"), ' "q" \\ , b\r\nc 🎉',
    date(2020, 1, 2), datetime(1950, 1, 1, 1, 2, 3, 456789, UTC), datetime(2020, 1, 1, 0, 0, 0, 1),
    b"\xff\x00", [datetime(2020, 1, 1, tzinfo=UTC), None], {"x": 1, "y": ["é", None]}, {"k": None},
)  # fmt: skip


def avro(path: Path, kind: Any, *values: Any) -> None:
    shape = {"type": "record", "name": "r", "fields": [{"name": "id", "type": kind}]}
    with path.open("wb") as stream:
        fastavro.writer(stream, shape, [{"id": value} for value in values])


MAP = {"type": "map", "values": "int"}


@pytest.mark.parametrize(
    ("first", "second", "value", "said"),
    [
        ("int", "double", 2.7, "the file has double there"),
        ("int", "string", "7", "the file has string there"),
        ("int", "long", 2**40, "1099511627776 not in range"),
        ("double", "long", 5, "the file has bigint there"),
        ({"type": "int", "logicalType": "date"}, {"type": "long", "logicalType": "timestamp-millis"}, 10**12, "has timestamp"),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3},
            Decimal("1.239"),
            "would cause data loss",
        ),
        (MAP, {"type": "map", "values": "long"}, {"k": 2**40}, "1099511627776 not in range"),
    ],
)  # fmt: skip
def test_avro_values_are_not_changed_to_fit_those_of_other_files(
    tmp_path: Path, first: Any, second: Any, value: Any, said: str
) -> None:
    avro(tmp_path / "1.avro", first)
    avro(tmp_path / "2.avro", second, value)
    with pytest.raises(
        SourceError, match=rf"2\.avro does not fit: the column id is read as .*{said}"
    ) as caught:
        read(tmp_path / "*.avro")
    assert "`schema`" in str(caught.value.hint)


def test_a_dollar_in_the_name_of_an_avro_file_is_a_dollar(tmp_path: Path) -> None:
    (tmp_path / "v=$HOME").mkdir()
    avro(tmp_path / "v=$HOME/$PATH.avro", "int", 1)
    assert read(tmp_path).rows() == [(1, "$HOME")]


def test_avro_files_with_narrower_columns_and_others_inside(tmp_path: Path) -> None:
    def struct(*names: str) -> Any:
        fields = [{"name": name, "type": ["null", "int"]} for name in names]
        return {"type": "record", "name": "s", "fields": fields}

    avro(tmp_path / "1.avro", struct("a", "b"), {"a": 1, "b": 2})
    avro(tmp_path / "2.avro", struct("B", "c", "A"), {"B": 4, "c": 5, "A": 3})
    avro(tmp_path / "3.avro", struct("b"), {"b": 6})
    found = read(tmp_path / "*.avro")["id"].to_list()
    assert found == [{"a": 1, "b": 2}, {"a": 3, "b": 4}, {"a": None, "b": 6}]
    for number, (kind, value) in enumerate([("double", 0.5), ("float", 2.5), ("int", 7)]):
        avro(tmp_path / f"{number}.avrò", kind, value)
    wide = read(tmp_path / "*.avrò", format="avro", schema="id DOUBLE")
    assert wide["id"].to_list() == [0.5, 2.5, 7.0]


def test_parquet_values_that_do_not_fit_are_no_damage(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.array([1], pa.int32())}), tmp_path / "1.parquet")
    for column, said in (
        (pa.array([2**40]), "1099511627776 not in range"),
        (pa.array(["x"]), "has string there"),
    ):
        pq.write_table(pa.table({"id": column}), tmp_path / "2.parquet")
        with pytest.raises(
            SourceError, match=rf"2\.parquet does not fit: the column id is read as int: .*{said}"
        ):
            read(tmp_path / "*.parquet")


@pytest.mark.parametrize("name", ["csv", "json", "parquet", "avro"])
@pytest.mark.parametrize("rows", [0, 3])
def test_what_the_load_writes_is_read_back(tmp_path: Path, name: str, rows: int) -> None:
    from rayetl.connectors.base import FilesTarget
    from rayetl.connectors.files_load import WriteOptions
    from rayetl.connectors.formats.writing import sink_files

    schema = parse_ddl(EVERY if name == "csv" else EVERY + NESTED)
    width = len(schema)
    made = [VALUES[:width], (None,) * width, VALUES[:width]][:rows]
    dtypes = to_polars(schema)
    frame = pl.DataFrame(
        [pl.Series(c, [row[at] for row in made], dtype=dtypes[c]) for at, c in enumerate(schema.names)]
    )
    sink_files(frame.lazy(), FilesTarget(str(tmp_path), name, WriteOptions(), (), None, schema)).collect()
    options = {"options": {"header": True, "multiLine": True}} if name == "csv" else {}
    ddl = [{"name": f.name, "type": str(f.type)} for f in schema]
    found = flagged(tmp_path, format=name, schema=ddl, **options)
    assert found[BAD].null_count() == rows
    assert found.drop(BAD, ROW).equals(frame)


def test_a_thousand_columns(tmp_path: Path) -> None:
    wide = pl.DataFrame({f"c{i}": [str(i), None, '"'] for i in range(1000)})
    wide.write_csv(tmp_path / "a.csv", quote_style="necessary")
    options = {"header": True, "escape": '"'}
    assert read(tmp_path / "a.csv", options=options).equals(wide)


def test_damaged_parquet_names_the_file(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"a": list(range(5000)), "s": [str(i) for i in range(5000)]}), whole)
    data = whole.read_bytes()
    path = tmp_path / "cut.parquet"
    for size in range(0, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:size])
        with pytest.raises(SourceError, match=r"cut\.parquet"):
            read(path)
    path.write_bytes(data[:100] + bytes(400) + data[500:])
    assert "cut.parquet" in str(find_damage(described(path)))
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match=r"cut\.parquet"):
        read(path)


AVRO = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "a", "type": ["null", "long"]},
        {"name": "m", "type": {"type": "map", "values": "int"}},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["P", "Q"]}},
        {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
        {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "l", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "y", "type": {"type": "int", "logicalType": "date"}},
        {"name": "n", "type": {"type": "record", "name": "N", "fields": [{"name": "x", "type": {"type": "array", "items": "string"}}]}},
        {"name": "f", "type": {"type": "fixed", "name": "F", "size": 2}},
        {"name": "u", "type": ["int", "long"]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_avro_types_and_damage(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.avro"
    row = {
        "a": 1, "m": {"k": 2}, "e": "Q", "d": Decimal("1.25"), "t": datetime(2020, 1, 1, tzinfo=UTC),
        "l": datetime(2020, 1, 1, 5), "y": date(2020, 1, 1), "n": {"x": ["é"]}, "f": b"ab", "u": 2**40,
    }  # fmt: skip
    with path.open("wb") as stream:
        fastavro.writer(stream, fastavro.parse_schema(AVRO), [row, row | {"a": None}] * 50, codec=codec)
    found = flagged(path)
    assert found.height == 100
    assert found.row(0)[:10] == (
        1,
        {"k": 2},
        "Q",
        Decimal("1.25"),
        row["t"],
        row["l"],
        row["y"],
        {"x": ["é"]},
        b"ab",
        2**40,
    )
    data = path.read_bytes()
    for size in range(0, len(data), max(1, len(data) // 30)):
        path.write_bytes(data[:size])
        with pytest.raises(SourceError, match=r"a\.avro"):
            read(path)


@pytest.mark.parametrize("name", ["csv", "json", "parquet", "avro"])
def test_empty_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"a.{name}"
    path.touch()
    if name in ("csv", "json"):
        assert flagged(path, schema="a INT, b STRING").shape == (0, 4)
    else:
        with pytest.raises(SourceError, match=rf"a\.{name}"):
            read(path)
