"""The source `postgres` where it is like no other: its types and schemas, and how it keeps to one moment."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.postgres import Database

from rayetl.connectors.postgres.source import PostgresReading
from rayetl.errors import ConfigError, Retryable
from rayetl.secrets import Credential
from rayetl.sql.interop import to_polars
from tests.integration.database_runs import out_of, read, source


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


UTC = dt.UTC


VALUES: list[tuple[str, str, str, list[Any]]] = [
    ("smallint", "smallint", "-32768, 32767, NULL", [-32768, 32767, None]),
    ("integer", "int", "-2147483648, 2147483647, NULL", [-(2**31), 2**31 - 1, None]),
    ("bigint", "bigint", "-9223372036854775808, 9223372036854775807, NULL", [-(2**63), 2**63 - 1, None]),
    ("real", "float", "1.5, '-Infinity', NULL", [1.5, float("-inf"), None]),
    ("double precision", "double", "5e-324, 1.7976931348623157e308, NULL", [5e-324, 1.7976931348623157e308, None]),
    ("boolean", "boolean", "true, false, NULL", [True, False, None]),
    ("numeric(10,2)", "decimal(10,2)", "-99999999.99, 0.10, NULL", [Decimal("-99999999.99"), Decimal("0.10"), None]),
    ("numeric(38,0)", "decimal(38,0)", f"{10**38 - 1}, 0, NULL", [Decimal(10**38 - 1), Decimal(0), None]),
    ("numeric", "decimal(38,18)", "1.000000000000000001, -2, NULL", [Decimal("1.000000000000000001"), Decimal(-2), None]),
    ("numeric(3,5)", "decimal(5,5)", "0.00999, 0, NULL", [Decimal("0.00999"), Decimal(0), None]),
    ("numeric(3,-2)", "decimal(5,0)", "99900, 0, NULL", [Decimal(99900), Decimal(0), None]),
    ("text", "string", "'', E'tab\\t \u00e9 \U0001f600 ''q''', NULL", ["", "tab\t \u00e9 \U0001f600 'q'", None]),
    ("varchar(3)", "string", "'abc', '', NULL", ["abc", "", None]),
    ("char(3)", "string", "'a', 'abc', NULL", ["a  ", "abc", None]),
    ("bytea", "binary", "'\\x00ff', '', NULL", [b"\x00\xff", b"", None]),
    ("date", "date", "'0001-01-01', '9999-12-31', NULL", [dt.date.min, dt.date.max, None]),
    ("timestamp", "timestamp_ntz", "'0001-01-01', '9999-12-31 23:59:59.999999', NULL", [dt.datetime.min, dt.datetime.max, None]),
    ("timestamptz", "timestamp", "'2024-03-10 12:00+05:30', '1969-12-31 23:59:59.999999Z', NULL", [dt.datetime(2024, 3, 10, 6, 30, tzinfo=UTC), dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), None]),
    ("time", "string", "'23:59:59.5', '00:00', NULL", ["23:59:59.5", "00:00:00", None]),
    ("timetz", "string", "'10:00+02', NULL, NULL", ["10:00:00+02", None, None]),
    ("interval", "string", "'1 year 2 mons 3 days 04:05:06.7', '-1 day', NULL", ["1 year 2 mons 3 days 04:05:06.7", "-1 days", None]),
    ("uuid", "string", "'00000000-0000-0000-0000-0000000000ff', NULL, NULL", ["00000000-0000-0000-0000-0000000000ff", None, None]),
    ("json", "string", "'{\"a\": [1, null]}', 'null', NULL", ['{"a": [1, null]}', "null", None]),
    ("jsonb", "string", "'{\"b\":1,\"a\":\"x\"}', '[]', NULL", ['{"a": "x", "b": 1}', "[]", None]),
    ("mood", "string", "'happy', 'sad', NULL", ["happy", "sad", None]),
    ("positive", "int", "1, 2147483647, NULL", [1, 2**31 - 1, None]),
    ("oid", "bigint", "4294967295, 0, NULL", [2**32 - 1, 0, None]),
    ("inet", "string", "'10.0.0.1/8', '::1', NULL", ["10.0.0.1/8", "::1/128", None]),
    ("int4range", "string", "'[1,5)', 'empty', NULL", ["[1,5)", "empty", None]),
    ("bit varying(9)", "string", "B'101', B'', NULL", ["101", "", None]),
    ("xml", "string", "'<a/>', NULL, NULL", ["<a/>", None, None]),
    ("int[]", "array<int>", "'{1,NULL,3}', '{}', NULL", [[1, None, 3], [], None]),
    ("text[]", "array<string>", "'{\"a,b\",NULL}', '{}', NULL", [["a,b", None], [], None]),
    ("numeric(5,1)[]", "array<decimal(38,18)>", "'{1.5,NULL}', '{}', NULL", [[Decimal("1.5"), None], [], None]),
    ("uuid[]", "array<string>", "'{00000000-0000-0000-0000-000000000001}', '{}', NULL", [["00000000-0000-0000-0000-000000000001"], [], None]),
    ("mood[]", "array<string>", "'{sad,NULL}', '{}', NULL", [["sad", None], [], None]),
    ("date[]", "array<date>", "'{2024-02-29,NULL}', '{}', NULL", [[dt.date(2024, 2, 29), None], [], None]),
]  # fmt: skip


@pytest.mark.parametrize(("server", "spark", "given", "expected"), VALUES, ids=[value[0] for value in VALUES])
def test_each_type_is_read_as_what_it_is(
    database: Database, server: str, spark: str, given: str, expected: list[Any]
) -> None:
    rows = ", ".join(f"({place}, {value})" for place, value in enumerate(_listed(given)))
    database.execute(
        "CREATE TYPE mood AS ENUM ('happy', 'sad')",
        "CREATE DOMAIN positive AS int CHECK (value > 0)",
        f"CREATE TABLE t (n int, x {server})",
        f"INSERT INTO t VALUES {rows}",
    )
    scan = source(database, table="t").describe(None)
    assert str(scan.schema.get("x").type) == spark
    assert read(database, query="SELECT x FROM t ORDER BY n")["x"].to_list() == expected


def _listed(values: str) -> list[str]:
    """The values of a list in SQL, split at commas outside of quotes."""
    found, quoted = [""], False
    for letter in values:
        quoted ^= letter == "'"
        if letter == "," and not quoted:
            found.append("")
        else:
            found[-1] += letter
    return found


def test_extremes_of_the_servers_own_calendar_are_not_taken_for_infinity(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (d date, t timestamp)", "INSERT INTO t VALUES ('4713-01-01 BC', '4713-01-01 BC')"
    )
    assert read(database, table="t")["d"].to_physical().item() == -2440550


def test_names_of_tables_and_columns_may_be_anything(database: Database) -> None:
    database.execute(
        'CREATE SCHEMA "odd.one"',
        'CREATE TABLE "odd.one"."a ""b"";c" ("select" int, "x""y" text, "\u00fc" int, "'
        + "k" * 63
        + '" int)',
        'INSERT INTO "odd.one"."a ""b"";c" VALUES (1, \'v\', 2, 3)',
    )
    found = read(database, table='"odd.one"."a ""b"";c"')
    assert found.rows() == [(1, "v", 2, 3)]
    assert found.columns == ["select", 'x"y', "\u00fc", "k" * 63]


ROWS = 60_000


@pytest.fixture
def filled(database: Database) -> Database:
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY)", f"INSERT INTO t SELECT seq FROM {database.series(ROWS)}"
    )
    return database


def test_all_rows_are_those_of_one_moment(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that others write meanwhile are in no part of the run: not in a second scan, not in the count."""
    real, changed, lock = PostgresReading.frames, [], threading.Lock()

    def frames(*given: Any) -> Any:
        for frame in real(*given):
            with lock:  # Both scans come by here at the same moment.
                if not changed:
                    changed.append(
                        filled.execute("DELETE FROM t WHERE id <= 1000", "INSERT INTO t VALUES (0)")
                    )
            yield frame

    monkeypatch.setattr(PostgresReading, "frames", frames)
    where = {"id": "few", "type": "filter", "where": "id <= 2000", "from": "rows"}
    other = {"id": "many", "type": "filter", "where": "id > 2000", "from": "rows"}
    loads = [
        {"type": "files", "path": "few", "from": "few"},
        {"type": "files", "path": "many", "from": "many"},
    ]
    report = out_of(filled, where, other, table="t", load=loads).run()
    assert changed
    assert [load.rows for load in report.loads] == [2000, ROWS - 2000]
    assert report.rows_read == ROWS


def test_off_this_machine_certificates_are_verified_unless_told_otherwise() -> None:
    def settings(**fields: Any) -> dict[str, str]:
        model = source(Database("db.example.com", 1, "d", "u", "p"), table="t", **fields)
        return model._settings(Credential.of("", "", {}))

    assert settings()["sslmode"] == "verify-full"
    assert settings()["sslrootcert"]
    assert settings(sslmode="require")["sslmode"] == "require"
    for here in ("localhost", "127.0.0.1", "::1", "/var/run/postgresql"):
        assert settings(host=here)["sslmode"] == "prefer"
    assert settings(host="10.0.0.1")["sslmode"] == "verify-full"


# Ranges


def parts(database: Database, column: str, number: int, between: str = "SELECT 1") -> list[pl.DataFrame]:
    """The rows of every range, while `between` happens after the first of them."""
    scan = source(database, table="t", split={"column": column, "parts": number}).describe(None)
    found = []
    with scan.parts() as ranges:
        for part in ranges:
            reading = part.open()
            none = pl.DataFrame(schema=to_polars(scan.schema))
            frame = pl.concat([none, *reading.frames(scan.schema.names, None, None)])
            assert reading.count() == frame.height
            reading.close()
            found.append(frame.sort(column, nulls_last=False))
            database.execute(between)
    return found


@pytest.mark.parametrize(
    ("kind", "values", "cut"),
    [
        ("bigint", "VALUES (1), (2), (2), (8), (NULL), (NULL)", [5, 0, 0, 1]),
        ("bigint", f"VALUES ({-(2**63)}), ({2**63 - 1}), (0), (-1)", [1, 1, 1, 1]),
        ("smallint", "SELECT seq FROM generate_series(1, 100) AS s(seq)", [25, 25, 25, 25]),
        ("int", "VALUES (7), (7), (NULL)", [3]),
        ("int", "VALUES (3), (4)", [1, 1]),
        ("int", "VALUES (NULL::int), (NULL)", [2]),
        ("int", "SELECT 1 WHERE false", [0]),
        ("date", "SELECT DATE '2024-01-01' + seq FROM generate_series(0, 99) AS s(seq)", [25, 25, 25, 25]),
        ("timestamp", "SELECT TIMESTAMP '1969-12-31 23:59:59.9' + seq * INTERVAL '1 s' FROM generate_series(0, 7) AS s(seq)", [2, 2, 2, 2]),
        ("timestamptz", "SELECT TIMESTAMPTZ '2024-03-31 00:00+02' + seq * INTERVAL '1 h' FROM generate_series(0, 7) AS s(seq)", [2, 2, 2, 2]),
    ],
    ids=range(10),
)  # fmt: skip
def test_every_row_is_in_one_range(database: Database, kind: str, values: str, cut: list[int]) -> None:
    database.execute(f"CREATE TABLE t (k {kind})", f"INSERT INTO t {values}")
    found = parts(database, "k", 4)
    assert [frame.height for frame in found] == cut
    assert pl.concat(found).rows() == database.rows("SELECT k FROM t ORDER BY k NULLS FIRST")


def test_infinite_ends_do_not_stretch_the_ranges(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (k date)",
        "INSERT INTO t SELECT DATE '2024-01-01' + seq FROM generate_series(0, 99) AS s(seq)",
        "INSERT INTO t VALUES ('infinity'), ('-infinity')",
    )
    scan = source(database, table="t", split={"column": "k", "parts": 4}).describe(None)
    with scan.parts() as ranges:
        readings = [part.open() for part in ranges]
    assert [reading.count() for reading in readings] == [26, 25, 25, 26]
    for reading in readings:
        reading.close()


def test_ranges_are_of_one_moment_whatever_is_written_between_them(filled: Database) -> None:
    found = parts(filled, "id", 5, f"UPDATE t SET id = (id + {ROWS}) % {2 * ROWS}")
    assert len(found) == 5
    assert pl.concat(found)["id"].sort().to_list() == list(range(1, ROWS + 1))


def test_a_condition_is_asked_of_a_range_only(filled: Database) -> None:
    scan = source(filled, table="t", split={"column": "id", "parts": 2}).describe(None)
    condition = (pl.col("id") <= 10) | (pl.col("id") > ROWS - 20)
    with scan.parts() as ranges:
        for part, height in zip(ranges, (10, 20), strict=True):
            reading = part.open()
            assert pl.concat(reading.frames(["id"], condition, None)).height == height
            assert reading.count() == ROWS // 2
            reading.close()


def test_a_moment_that_nobody_holds_any_more_is_asked_for_anew(filled: Database) -> None:
    scan = source(filled, table="t", split={"column": "id", "parts": 2}).describe(None)
    with scan.parts() as ranges:
        pass
    with pytest.raises(Retryable, match=r"the moment at which .* is read is gone") as told:
        ranges[0].open()
    assert told.value.endpoint == f"postgres 127.0.0.1:{filled.port}"


def test_partitions_and_materialized_views_are_cut_like_tables(database: Database) -> None:
    database.execute(
        "CREATE TABLE p (k int) PARTITION BY RANGE (k)",
        "CREATE TABLE low PARTITION OF p FOR VALUES FROM (0) TO (50)",
        "CREATE TABLE high PARTITION OF p DEFAULT",
        "INSERT INTO p SELECT seq FROM generate_series(0, 99) AS s(seq)",
        "CREATE MATERIALIZED VIEW t AS TABLE p",
    )
    assert [frame.height for frame in parts(database, "k", 2)] == [50, 50]
    (warned,) = out_of(database, table="p", split={"column": "k", "parts": 2}).check()
    assert warned.path[-1] == "password"


@pytest.mark.parametrize(
    ("fields", "path", "said"),
    [
        ({"split": {"column": "idd", "parts": 2}}, ("split", "column"), "no column 'idd' to be cut by (did you mean id?)"),
        ({"split": {"column": "v", "parts": 2}}, ("split", "column"), "'v' of type string cannot be cut into ranges (integers, dates and timestamps can; here: id)"),
        ({"split": {"column": "id", "parts": 1}}, ("split", "parts"), "2"),
        ({"table": None, "query": "SELECT 1 AS id", "split": {"column": "id", "parts": 2}}, (), "`split` is for a `table`"),
        ({"table": "w", "split": {"column": "id", "parts": 2}}, ("split",), "is a view or foreign table, whose ranges would not be of one moment"),
    ],
    ids=range(5),
)  # fmt: skip
def test_what_cannot_be_cut_is_refused_at_its_place(
    database: Database, fields: dict[str, Any], path: tuple[str, ...], said: str
) -> None:
    database.execute("CREATE TABLE t (id int, v text, o oid)", "CREATE VIEW w AS TABLE t")
    given = {name: value for name, value in {"table": "t", **fields}.items() if value is not None}
    with pytest.raises(ConfigError) as told:
        out_of(database, **given).check()
    (problem,) = told.value.problems
    assert problem.path == ("extract", "rows", *path)
    assert said in str(problem)


def test_one_process_reads_the_table_as_if_it_were_not_cut(filled: Database) -> None:
    assert out_of(filled, table="t", split={"column": "id", "parts": 3}).run().rows_read == ROWS


def test_a_run_loads_nothing_that_it_does_not_need(database: Database) -> None:
    """The driver would load what knows datasets of Arrow, and pandas with it."""
    database.execute("CREATE TABLE t AS SELECT 1 AS id, 'a' AS v")
    both = {"type": "postgres", **database.config}
    config = {
        "name": "p",
        "extract": {**both, "table": "t"},
        "load": {**both, "table": "u", "mode": "append"},
    }
    code = (
        f"import sys, rayetl\nreport = rayetl.Pipeline.from_dict({config!r}).run()\n"
        "print(report.rows_loaded, sorted({'pandas', 'pyarrow.dataset'} & set(sys.modules)))\n"
        "import pyarrow.dataset\nprint(pyarrow.dataset.Dataset.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1 []", "Dataset"]
