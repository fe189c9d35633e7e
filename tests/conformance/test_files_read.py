"""Files read by the source `files` and by Spark: the same columns, types and rows, or one sentence why not."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rayetl.connectors.files_source import FilesSource
from rayetl.connectors.formats import scan_files
from rayetl.errors import SourceError
from tests import spark_test_data
from tests.conformance.judge import Answer, Judge, differences, of_arrow, plain


@dataclass(frozen=True)
class Case:
    """A file of Spark's test data and how it is read. `refused`: a part of the sentence we refuse it with,
    where Spark refuses too. `more`: why we read what Spark refuses."""

    file: str
    format: str
    options: dict[str, Any] = field(default_factory=dict)
    schema: str | None = None
    refused: str | None = None
    more: str | None = None

    def __str__(self) -> str:
        shown = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.file}[{shown}]" + (f"({self.schema})" if self.schema else "")


H = {"header": True}
HI = {"header": True, "inferSchema": True}
CARS = "yearMade DOUBLE, makeName STRING, modelName STRING, comments STRING, grp STRING"

CSV = [
    Case("cars.csv", "csv"),
    Case("cars.csv", "csv", H),
    Case("cars.csv", "csv", HI),
    Case("cars.csv", "csv", H, CARS),
    Case("cars.csv", "csv", HI | {"multiLine": True}),
    Case("cars.tsv", "csv", H | {"sep": "\t"}),
    Case("cars-alternative.csv", "csv", H | {"delimiter": "|", "quote": "'"}),
    Case("cars-blank-column-name.csv", "csv", H),
    Case("cars-crlf.csv", "csv", H),
    Case("cars-crlf.csv", "csv", H | {"multiLine": True}),
    Case("cars-empty-value.csv", "csv", HI),
    Case("cars-empty-value.csv", "csv", H | {"emptyValue": "empty"}),
    Case("cars-malformed.csv", "csv", H),
    Case("cars-malformed.csv", "csv", HI),
    Case("cars-multichar-delim.csv", "csv", H | {"delimiter": ", "}),
    Case("cars-multichar-delim-crazy.csv", "csv", H | {"delimiter": "_/-\\\\_"}),
    Case("cars-null.csv", "csv", H | {"nullValue": "null"}),
    Case("cars-null.csv", "csv", HI | {"nullValue": "null"}),
    Case("cars-unbalanced-quotes.csv", "csv", H | {"quote": ""}),
    Case("cars-unbalanced-quotes.csv", "csv", H),
    Case("cars-unbalanced-quotes.csv", "csv", H | {"multiLine": True}),
    Case("cars_iso-8859-1.csv", "csv", H | {"encoding": "iso-8859-1", "sep": "þ"}),
    Case("bad_after_good.csv", "csv", {}, "field1 INT, field2 STRING"),
    Case("bool.csv", "csv", HI),
    Case("char.csv", "csv", H),
    Case("comments.csv", "csv", {"comment": "~"}),
    Case("comments.csv", "csv", {"comment": "~", "inferSchema": True}),
    Case("comments-whitespaces.csv", "csv", {"comment": "#", "inferSchema": True}),
    Case("disable_comments.csv", "csv", {"comment": ""}),
    Case("disable_comments.csv", "csv"),
    Case("date-infer-schema.csv", "csv", HI),
    Case("date-infer-schema.csv", "csv", HI | {"preferDate": False}),
    Case("date-infer-schema.csv", "csv", HI | {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss"}),
    Case("dates.csv", "csv", HI | {"timestampFormat": "dd/MM/yyyy HH:mm"}),
    Case("dates.csv", "csv", H, "date DATE"),
    Case("decimal.csv", "csv", HI),
    Case("empty.csv", "csv", {}, "a INT, b STRING"),
    Case("malformedRow.csv", "csv", HI),
    Case("malformedRow.csv", "csv", H),
    Case("numbers.csv", "csv", H | {"nullValue": "--", "nanValue": "NAN", "negativeInf": "-INF", "positiveInf": "INF"},
         "int INT, long BIGINT, float FLOAT, double DOUBLE"),
    Case("numbers.csv", "csv", HI | {"nullValue": "--", "nanValue": "NAN", "negativeInf": "-INF", "positiveInf": "INF"}),
    Case("simple_sparse.csv", "csv", HI),
    Case("simple_sparse.csv", "csv", H, "A INT, B INT, C INT, D INT"),
    Case("unescaped-quotes.csv", "csv"),
    Case("unescaped-quotes.csv", "csv", {"multiLine": True}),
    Case("value-malformed.csv", "csv", {}, "a INT, b INT"),
    Case("value-malformed.csv", "csv", {}, "a INT, b DATE"),
    Case("percentile_approx-input.csv.bz2", "csv", {"inferSchema": True}),
    Case("postgresql/agg.data", "csv", {"sep": "\t", "inferSchema": True}),
    Case("postgresql/onek.data", "csv", {"sep": "\t", "inferSchema": True}),
    Case("postgresql/tenk.data", "csv", {"sep": "\t", "inferSchema": True}),
    Case("text-suite.txt", "csv"),
    Case("text-suite2.txt", "csv", {"sep": " "}),
]  # fmt: skip

JSON = [
    Case(
        "utf16LE.json", "json", {"encoding": "UTF-16LE", "lineSep": "\n"}, "firstName STRING, lastName STRING"
    ),
    Case("utf16LE.json", "json", {"encoding": "UTF-16LE", "multiLine": True}),
    Case(
        "utf16WithBOM.json",
        "json",
        {"encoding": "UTF-16", "lineSep": "\n"},
        more="Spark wants LE or BE named",
    ),
    Case("utf16WithBOM.json", "json", {"multiLine": True}),
    Case("utf32BEWithBOM.json", "json", {"multiLine": True}),
    Case("malformed_utf8.json", "json", {}, "a STRING, b STRING"),
    Case("with-array-fields.json", "json"),
    Case("with-map-fields.json", "json"),
    Case("with-map-fields.json", "json", {}, "intValue INT, mapOfMap MAP<STRING, STRING>, id BIGINT"),
]

REFUSED = {
    "before_1582_date_v2_4_5.snappy.parquet": "does not say in which calendar",
    **{
        f"before_1582_timestamp_{kind}_v2_4_5.snappy.parquet": "does not say in which calendar"
        for kind in ("int96_dict", "int96_plain", "micros", "millis")
    },
}
MORE = {"timestamp-nanos.parquet": "pandas and Arrow write nanoseconds by default; read as microseconds"}

PARQUET = [
    Case(name, "parquet", refused=REFUSED.get(name), more=MORE.get(name))
    for name in (
        "before_1582_date_v2_4_5.snappy.parquet", "before_1582_date_v2_4_6.snappy.parquet",
        "before_1582_date_v3_2_0.snappy.parquet",
        "before_1582_timestamp_int96_dict_v2_4_5.snappy.parquet", "before_1582_timestamp_int96_dict_v2_4_6.snappy.parquet",
        "before_1582_timestamp_int96_dict_v3_2_0.snappy.parquet", "before_1582_timestamp_int96_plain_v2_4_5.snappy.parquet",
        "before_1582_timestamp_int96_plain_v2_4_6.snappy.parquet", "before_1582_timestamp_int96_plain_v3_2_0.snappy.parquet",
        "before_1582_timestamp_micros_v2_4_5.snappy.parquet", "before_1582_timestamp_micros_v2_4_6.snappy.parquet",
        "before_1582_timestamp_micros_v3_2_0.snappy.parquet", "before_1582_timestamp_millis_v2_4_5.snappy.parquet",
        "before_1582_timestamp_millis_v2_4_6.snappy.parquet", "before_1582_timestamp_millis_v3_2_0.snappy.parquet",
        "dec-in-fixed-len.parquet", "dec-in-i32.parquet", "dec-in-i64.parquet",
        "decimal32-written-as-64-bit.snappy.parquet", "decimal32-written-as-64-bit-dict.snappy.parquet",
        "delta_length_byte_array.parquet", "impala_timestamp.parq", "malformed-file-offset.parquet",
        "nested-array-struct.parquet", "old-repeated-int.parquet", "old-repeated-message.parquet",
        "packed-list-vectorized.parquet", "parquet-1217.parquet", "parquet-thrift-compat.snappy.parquet",
        "proto-repeated-string.parquet", "proto-repeated-struct.parquet", "proto-struct-with-array.parquet",
        "proto-struct-with-array-many.parquet", "tagged_int.parquet", "tagged_long.parquet",
        "timemillis-in-i64.parquet", "timestamp-nanos.parquet",
    )
]  # fmt: skip


def ours(case: Case, path: Path, mode: str) -> Answer:
    """What the source gives for a case."""
    config = {
        "type": "files",
        "path": str(path),
        "format": case.format,
        "mode": mode,
        "options": case.options,
    }
    source = FilesSource.model_validate(config | ({"schema": case.schema} if case.schema else {}))
    scan = source.describe(None)
    return of_frame(scan_files(scan).collect())


def of_frame(frame: pl.DataFrame) -> Answer:
    return of_arrow(frame.to_arrow())


def theirs(case: Case, path: Path, judge: Judge, mode: str) -> Answer:
    """What Spark gives for a case."""
    judge.spark.conf.set("spark.sql.session.timeZone", "UTC")
    reader = judge.spark.read.format(case.format).option("mode", mode)
    for key, value in case.options.items():
        reader = reader.option(key, value)
    if case.schema:
        reader = reader.schema(case.schema)
    frame = reader.load(str(path))
    types = tuple(column.dataType.simpleString() for column in frame.schema)
    return Answer(tuple(frame.schema.names), types, [tuple(map(plain, row)) for row in frame.collect()])


@pytest.mark.parametrize(
    "mode", [("drop", "DROPMALFORMED"), ("permissive", "PERMISSIVE")], ids=lambda m: m[0]
)
@pytest.mark.parametrize("case", CSV + JSON, ids=str)
def test_reads_text_as_spark_does(case: Case, mode: tuple[str, str], judge: Judge) -> None:
    _compare(case, judge, *mode)


@pytest.mark.parametrize("case", PARQUET, ids=str)
def test_reads_parquet_as_spark_does(case: Case, judge: Judge) -> None:
    _compare(case, judge, "permissive", "PERMISSIVE")


def _compare(case: Case, judge: Judge, mode: str, spark_mode: str) -> None:
    path = spark_test_data.folder() / case.file
    if case.refused or case.more:
        with pytest.raises(Exception):  # noqa: B017
            theirs(case, path, judge, spark_mode)
    if case.refused:
        with pytest.raises(SourceError, match=case.refused):
            ours(case, path, mode)
    elif case.more:
        assert ours(case, path, mode).rows
    else:
        expected = theirs(case, path, judge, spark_mode)
        found = differences(ours(case, path, mode), expected, ordered=True, approx=False)
        assert not found, "\n".join(found)


ODD_OPTIONS: list[dict[str, Any]] = [
    {},
    {"escape": '"'},
    {"quote": "'", "sep": ";"},
    {"ignoreLeadingWhiteSpace": True, "ignoreTrailingWhiteSpace": True},
    {"comment": "#", "nullValue": "a", "emptyValue": "b"},
    {"sep": ",;"},
    {"multiLine": True},
    {"multiLine": True, "escape": '"'},
    {"multiLine": True, "ignoreLeadingWhiteSpace": True},
    {"multiLine": True, "escape": '"', "ignoreLeadingWhiteSpace": True, "ignoreTrailingWhiteSpace": True},
    {"multiLine": True, "comment": "#", "nullValue": "a", "emptyValue": "b"},
    {"multiLine": True, "comment": "#", "ignoreLeadingWhiteSpace": True},
    {"multiLine": True, "quote": ""},
    {"quote": ""},
]


@pytest.mark.parametrize("options", ODD_OPTIONS, ids=str)
def test_reads_random_signs_as_spark_does(options: dict[str, Any], judge: Judge, tmp_path: Path) -> None:
    """Fields, quotes, escapes and blanks in any order."""
    chosen = random.Random(str(options))
    signs = ["a", "1", " ", ",", ",", '"', '"', "\\", "\t", "'", "#", ";", "\n", "é"]
    weights = [5, 3, 1, 5, 5, 4, 4, 2, 1, 1, 1, 2, 6, 1]
    path = tmp_path / "odd.csv"
    texts = ["".join(chosen.choices(signs, weights, k=chosen.randint(1, 40))) for _ in range(400)]
    if options.get("multiLine"):
        _compare_each(texts, options, judge, tmp_path)
        return
    path.write_text("\n".join(texts))
    for mode, spark_mode in (("permissive", "PERMISSIVE"), ("drop", "DROPMALFORMED")):
        case = Case("odd.csv", "csv", options, "a STRING, b STRING, c STRING")
        found = differences(
            ours(case, path, mode), theirs(case, path, judge, spark_mode), ordered=True, approx=False
        )
        assert not found, "\n".join(found)


def _compare_each(texts: list[str], options: dict[str, Any], judge: Judge, folder: Path) -> None:
    """One file a text, since a quote that is not closed takes in all that follows."""
    # Where blanks are left out Spark fails with a file that ends with some.
    tail = "\nz" if options.get("ignoreLeadingWhiteSpace") else ""
    for number, text in enumerate(texts):
        ended = (text + tail).replace("\n", ("\n", "\r\n")[number % 2])
        (folder / f"{number:04}.csv").write_bytes(ended.encode())
    case = Case("", "csv", options, "a STRING, b STRING, c STRING")
    expected = theirs(case, folder, judge, "PERMISSIVE")
    found = differences(ours(case, folder, "permissive"), expected, ordered=False, approx=False)
    assert not found, "\n".join(found)


def _random_json(chosen: random.Random, depth: int) -> str:
    texts = ["null", "true", "1", "-0", "1.0", "2.50", "1e2", "3000000000", "123456789012345678901", '""', '"x"', '"1"',
             '"2020-01-01"', '"2020-01-01T01:02:03Z"', '"NaN"', "NaN", '"\\u00e9\\n"', "'q'", "01", "tru"]  # fmt: skip
    if depth == 0 or chosen.random() < 0.7:
        return chosen.choice(texts)
    items = [_random_json(chosen, depth - 1) for _ in range(chosen.randint(0, 3))]
    if chosen.random() < 0.5:
        return "[" + ", ".join(items) + "]"
    return "{" + ",".join(f'"{name}": {item}' for name, item in zip("pqr", items, strict=False)) + "}"


@pytest.mark.parametrize(
    "schema",
    [
        None,
        "a STRING, b STRING, c STRING",
        "a INT, b DOUBLE, c BOOLEAN",
        "a BIGINT, b DECIMAL(10,2), c DATE",
        "a ARRAY<INT>, b STRUCT<p: STRING, q: DOUBLE>, c TIMESTAMP",
        "a ARRAY<STRUCT<p: INT>>, b MAP<STRING, INT>, c FLOAT",
    ],
)
def test_reads_random_json_as_spark_does(schema: str | None, judge: Judge, tmp_path: Path) -> None:
    """Values of any type under any column."""
    chosen = random.Random(str(schema))
    path = tmp_path / "odd.json"
    lines = []
    for _ in range(1500):
        names = chosen.sample("abcd", chosen.randint(0, 3))
        lines.append("{" + ",".join(f'"{name}":{_random_json(chosen, 2)}' for name in names) + "}")
    path.write_text("\n".join(lines))
    case = Case("odd.json", "json", {}, schema)
    expected = theirs(case, path, judge, "DROPMALFORMED")
    found = differences(ours(case, path, "drop"), expected, ordered=True, approx=False)
    assert not found, "\n".join(found)


def test_reads_random_base64_in_json_as_spark_does(judge: Judge, tmp_path: Path) -> None:
    """Blanks and line ends may stand between groups of four characters, as in mails."""
    chosen = random.Random(7)
    parts = ["QUJD", "REVG", "+/09", "QUI=", "QQ==", " ", "\\n", "\\r\\n", "\\t", "QUI", "=", "-_-_", "é"]
    weights = [6, 6, 6, 2, 2, 6, 6, 6, 6, 1, 1, 1, 1]
    texts = ("".join(chosen.choices(parts, weights, k=chosen.randint(0, 6))) for _ in range(1000))
    path = tmp_path / "odd.json"
    path.write_text("\n".join(f'{{"n": {number}, "b": "{text}"}}' for number, text in enumerate(texts)))
    case = Case("odd.json", "json", {}, "n INT, b BINARY")
    expected = theirs(case, path, judge, "DROPMALFORMED")
    found = differences(ours(case, path, "drop"), expected, ordered=True, approx=False)
    assert not found, "\n".join(found)
    assert len(expected.rows) > 500
