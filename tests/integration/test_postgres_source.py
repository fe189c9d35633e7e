"""The source `postgres` against a real server: every type, one moment, pushed conditions, plain errors."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.base import free_port
from services.postgres import Database, Postgres

from rayetl import Pipeline
from rayetl.connectors.postgres import decoding
from rayetl.connectors.postgres import source as postgres_source
from rayetl.connectors.postgres.source import PostgresReading, PostgresSource
from rayetl.errors import ConfigError, CredentialError, Retryable, SourceError

UTC = dt.UTC


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def source(database: Database, **fields: Any) -> PostgresSource:
    return PostgresSource.model_validate({"type": "postgres", **database.config, **fields})


def pipeline(database: Database, *steps: dict[str, Any], load: Any = None, **fields: Any) -> Pipeline:
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"rows": {"type": "postgres", **database.config, **fields}},
            "transform": list(steps),
            "load": load or {"type": "files", "path": "out", "format": "parquet", "mode": "append"},
            "resilience": {"retry": {"max_attempts": 1}},
        }
    )


def read(database: Database, **fields: Any) -> pl.DataFrame:
    scan = source(database, **fields).describe(None)
    reading = scan.open()
    try:
        return pl.concat(reading.frames(scan.schema.names, None, None))
    finally:
        reading.close()


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


@pytest.mark.parametrize(
    ("server", "value", "said"),
    [
        ("numeric(5,1)", "'NaN'", "holds nan, which decimal(5,1) cannot hold"),
        ("numeric", "'Infinity'", "holds inf"),
        ("numeric", "1e-19", "0.0000000000000000001"),
        ("numeric", "1e30", "1000000000000000000000000000000"),
        ("numeric(60,2)", f"{10**50}", "100000"),
        ("date", "'infinity'", "holds infinity, which date cannot hold"),
        ("date", "'-infinity'", "holds infinity"),
        ("timestamp", "'infinity'", "holds infinity"),
        ("timestamptz", "'-infinity'", "holds infinity"),
        ("timestamptz[]", "'{infinity}'", "holds infinity"),
        ("timestamp", "'294276-12-31'", "holds infinity"),
        ("numeric[]", "'{NaN}'", "holds NaN"),
        ("int[]", "'{{1,2},{3,4}}'", "has 2 dimensions"),
    ],
)
def test_a_value_that_no_type_holds_stops_the_run_and_is_named(
    database: Database, server: str, value: str, said: str
) -> None:
    database.execute(f"CREATE TABLE t (x {server})", f"INSERT INTO t VALUES (NULL), ({value}::{server})")
    with pytest.raises(SourceError, match="'x'") as told:
        pipeline(database, table="t").run()
    assert said in str(told.value)
    assert "rows: " in str(told.value), "the source is named"
    assert "SELECT" in str(told.value.hint), "and what to type"
    assert not list(Path().glob("out/*"))


def test_extremes_of_the_servers_own_calendar_are_not_taken_for_infinity(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (d date, t timestamp)", "INSERT INTO t VALUES ('4713-01-01 BC', '4713-01-01 BC')"
    )
    assert read(database, table="t")["d"].to_physical().item() == -2440550


@pytest.mark.parametrize("server", ["money", "pair", "xid", "money[]", "pair[]"])
def test_a_type_that_cannot_be_read_is_refused_by_name_at_check_time(database: Database, server: str) -> None:
    database.execute("CREATE TYPE pair AS (a int, b text)", f"CREATE TABLE t (good int, odd {server})")
    with pytest.raises(
        ConfigError, match="these columns have types that cannot be read: 'odd' of type"
    ) as told:
        pipeline(database, table="t").check()
    assert server.removesuffix("[]") in str(told.value)
    assert told.value.problems[0].path == ("extract", "rows", "table")


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


@pytest.mark.parametrize(
    "fields",
    [
        {"table": "a.b.c"},
        {"table": "a b"},
        {"table": ""},
        {"table": "k" * 64},
        {},
        {"table": "t", "query": "SELECT 1"},
    ],
)
def test_what_makes_no_sense_is_refused_before_the_server_is_asked(fields: dict[str, Any]) -> None:
    nowhere = Database("127.0.0.1", 1, "d", "u", "p")
    with pytest.raises(ConfigError):
        pipeline(nowhere, **fields)


def test_a_query_may_end_in_a_comment_or_semicolon_and_cannot_write(database: Database) -> None:
    database.execute("CREATE TABLE t (x int)")
    assert read(database, query="WITH a AS (SELECT 1 AS x) SELECT x FROM a; ").rows() == [(1,)]
    assert read(database, query="SELECT 2 AS x -- two").rows() == [(2,)]
    database.execute("CREATE FUNCTION w() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING x'")
    with pytest.raises(SourceError, match="read-only transaction"):
        read(database, query="SELECT w() AS x")
    assert database.value("SELECT count(*) FROM t") == 0


def test_nullability_is_that_of_the_table(database: Database) -> None:
    database.execute("CREATE TABLE t (k int PRIMARY KEY, x int)")
    fields = source(database, table="t").describe(None).schema.fields
    assert [field.nullable for field in fields] == [False, True]


# Runs


ROWS = 60_000


@pytest.fixture
def filled(database: Database) -> Database:
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, amount numeric(10,2), at timestamptz)",
        f"INSERT INTO t SELECT i, 'v' || i % 10, i / 100.0, timestamptz '2024-01-01Z' + i * interval '1 s' "
        f"FROM generate_series(1, {ROWS}) i",
    )
    return database


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many rows the server sent so far."""
    heights, real = [], decoding.decode

    def decode(batch: Any, columns: Any) -> pl.DataFrame:
        heights.append(batch.num_rows)
        return real(batch, columns)

    monkeypatch.setattr(decoding, "decode", decode)
    return lambda: sum(heights)


def test_a_run_counts_refuses_and_balances(filled: Database) -> None:
    rules = {"id": "checked", "type": "validate", "rules": [{"name": "even", "check": "id % 2 = 0"}]}
    run = pipeline(filled, {"type": "filter", "where": "id > 10"}, rules, table="t")
    report = run.run()
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (
        ROWS,
        ROWS // 2 - 5,
        ROWS // 2 - 5,
    )
    assert report.balanced
    assert report.sources[0].location.endswith("t")
    letters = run.dead_letters.read().collect()
    assert letters.height == letters["id"].n_unique() == ROWS // 2 - 5
    assert b'"id":11' in b"".join(letters["record"].to_list())


@pytest.mark.parametrize(
    ("where", "most"),
    [
        ("id <= 100", 100),
        ("id IN (1, 2, 3)", 3),
        ("v = 'v3' AND id % 2 = 1", ROWS // 10),
        ("amount > 599.99", 1),
        ("at < TIMESTAMP '2024-01-01 00:01:00'", 59),
        ("id < 5 OR id > 59990", 14),
        ("id IS NULL", 0),
        ("length(v) = 7", ROWS),
        ("at < '2024-01-01 00:01:00'", ROWS),
    ],
)
def test_conditions_are_pushed_to_the_server_and_mean_the_same(
    filled: Database, arrived: Callable[[], int], where: str, most: int
) -> None:
    pipeline(filled, table="t").run()
    whole = pl.read_parquet("out/*.parquet")
    expected = Pipeline.from_dict(
        {
            "name": "files",
            "extract": {"type": "files", "path": "out", "format": "parquet"},
            "transform": [{"type": "filter", "where": where}],
            "load": {"type": "files", "path": "expected"},
        }
    )
    expected.run()
    before = arrived()
    report = pipeline(
        filled, {"type": "filter", "where": where}, table="t", load={"type": "files", "path": "some"}
    ).run()
    assert arrived() - before <= most
    assert report.rows_read == whole.height == ROWS, "what was not sent counts as read and filtered"
    found = pl.read_parquet("some/*.parquet")
    assert found.sort("id").equals(pl.read_parquet("expected/*.parquet").sort("id"))


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
    report = pipeline(filled, where, other, table="t", load=loads).run()
    assert changed
    assert [load.rows for load in report.loads] == [2000, ROWS - 2000]
    assert report.rows_read == ROWS


def test_a_preview_takes_some_rows_only(filled: Database, arrived: Callable[[], int]) -> None:
    assert pipeline(filled, table="t").preview(rows=5).num_rows == 5
    assert arrived() == 5


def test_an_empty_table_gives_an_empty_result_with_its_columns(database: Database) -> None:
    database.execute("CREATE TABLE t (id int, a int[])")
    assert pipeline(database, table="t").run().rows_read == 0
    assert pl.read_parquet("out/*.parquet").schema == {"id": pl.Int32, "a": pl.List(pl.Int32)}


# Connections


def test_nothing_listening_is_said_at_once_with_what_to_type(database: Database) -> None:
    nowhere = database.through(free_port())
    begun = time.monotonic()
    with pytest.raises(Retryable) as told:
        pipeline(nowhere, table="t").check()
    assert time.monotonic() - begun < 5
    assert f"127.0.0.1:{nowhere.port} cannot be reached: Connection refused" in str(told.value)
    assert f"pg_isready -h 127.0.0.1 -p {nowhere.port}" in str(told.value)
    assert told.value.endpoint == f"postgres 127.0.0.1:{nowhere.port}"


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"password": "wrong-canary"}, CredentialError, "refuses the user"),
        ({"user": "nobody"}, CredentialError, "refuses the user 'nobody'"),
        ({"database": "nowhere"}, CredentialError, 'database "nowhere" does not exist'),
        ({"host": "no-such-host.invalid"}, Retryable, "could not translate host name"),
        ({"sslmode": "verify-full"}, CredentialError, "SSL"),
        ({"table": "missing"}, ConfigError, 'relation "missing" does not exist'),
    ],
)
def test_what_is_wrong_with_a_connection_is_said_plainly(
    database: Database, fields: dict[str, Any], kind: type[Exception], said: str
) -> None:
    config = {**database.config, "table": "pg_class", **fields}
    with pytest.raises(kind, match=said) as told:
        Pipeline.from_dict(
            {"name": "p", "extract": {"type": "postgres", **config}, "load": {"type": "files", "path": "out"}}
        ).check()
    assert "canary" not in str(told.value)
    assert database.password not in str(told.value)


def test_a_credential_opens_the_connection(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for field, value in {**database.config, "port": str(database.port)}.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_WAREHOUSE__{field.upper()}", value)
    named = {"type": "postgres", "credential": "warehouse", "query": "SELECT 1 AS x"}
    load = {"type": "files", "path": "out"}
    assert Pipeline.from_dict({"name": "p", "extract": named, "load": load}).run().rows_read == 1
    monkeypatch.delenv("RAYETL_CREDENTIAL_WAREHOUSE__DATABASE")
    with pytest.raises(CredentialError, match="has no field 'database'"):
        Pipeline.from_dict({"name": "p", "extract": named, "load": load}).check()


def test_off_this_machine_certificates_are_verified_unless_told_otherwise() -> None:
    def settings(**fields: Any) -> dict[str, str]:
        model = source(Database("db.example.com", 1, "d", "u", "p"), table="t", **fields)
        from rayetl.secrets import Credential

        return model._settings(Credential.of("", "", {}))

    assert settings()["sslmode"] == "verify-full"
    assert settings()["sslrootcert"]
    assert settings(sslmode="require")["sslmode"] == "require"
    for here in ("localhost", "127.0.0.1", "::1", "/var/run/postgresql"):
        assert settings(host=here)["sslmode"] == "prefer"
    assert settings(host="10.0.0.1")["sslmode"] == "verify-full"


def test_a_run_without_a_database_imports_no_driver(tmp_path: Path) -> None:
    code = "import sys, rayetl.connectors\nprint([m for m in sys.modules if 'adbc' in m or m == 'pyarrow'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_connection_that_breaks_while_rows_come_in_is_made_again(
    postgres_server: Postgres, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("CREATE TABLE t AS SELECT i, repeat('x', 200) AS v FROM generate_series(1, 200000) i")
    monkeypatch.setattr(postgres_source, "BATCH", 1 << 16)
    real, cut = decoding.decode, []

    def decode(batch: Any, columns: Any) -> pl.DataFrame:
        if not cut:
            cut.append(postgres_server.crash())
            postgres_server.start()
        return real(batch, columns)

    monkeypatch.setattr(decoding, "decode", decode)
    run = Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"type": "postgres", **database.config, "table": "t"},
            "load": {"type": "files", "path": "out", "format": "parquet"},
            "resilience": {"retry": {"initial_delay": "10ms"}},
        }
    )
    report = run.run()
    assert (report.retries, report.rows_read, report.rows_loaded) == (1, 200_000, 200_000)
    assert pl.read_parquet("out/*.parquet")["i"].n_unique() == 200_000


def test_an_error_of_the_server_while_rows_come_in_is_told_in_its_words(database: Database) -> None:
    query = "SELECT 1 / (50000 - i) AS x FROM generate_series(1, 100000) i"
    with pytest.raises(SourceError, match=r"rows: reading .* query failed: division by zero"):
        pipeline(database, query=query).run()
