"""The sources of all databases against real servers: pushed conditions, whole runs, plain errors."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.base import free_port
from services.databases import DatabaseServer, SqlDatabase

from rayetl import Pipeline
from rayetl.errors import ConfigError, CredentialError, Retryable, SourceError
from tests.integration.database_runs import out_of, read, source

POSTGRES, MARIADB, MYSQL = "postgres_server", "mariadb_server", "mysql8_server"


def both(*case: Any) -> list[tuple[Any, ...]]:
    """A case of each kind of server."""
    return [(POSTGRES, *case), *mysql(*case)]


def mysql(*case: Any) -> list[tuple[Any, ...]]:
    return [(MARIADB, *case), (MYSQL, *case)]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def of(store: SqlDatabase, part: str) -> Any:
    """A module of the connectors of a database."""
    return importlib.import_module(f"rayetl.connectors.{store.kind}.{part}")


def test_a_run_without_a_key_that_appends_all_rows_again_says_so(store: SqlDatabase) -> None:
    store.execute("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    kept = {"type": "files", "path": "other", "mode": "overwrite"}

    def warned(pipeline: Pipeline, **given: str) -> list[str]:
        return [each for each in pipeline.run(**given).warnings if "appends all rows again" in each]

    (once,) = warned(out_of(store, table="t"))
    assert once.startswith("`load_1` ")
    assert "whether `rows` changed" in once
    assert (
        warned(out_of(store, table="t"), run_key="monday")
        == warned(out_of(store, table="t", load=kept))
        == []
    )


@pytest.mark.parametrize(
    ("store_server", "server", "value", "said"),
    [
        (POSTGRES, "numeric(5,1)", "'NaN'", "holds nan, which decimal(5,1) cannot hold"),
        (POSTGRES, "numeric", "'Infinity'", "holds inf"),
        (POSTGRES, "numeric", "1e-19", "0.0000000000000000001"),
        (POSTGRES, "numeric", "1e30", "1000000000000000000000000000000"),
        (POSTGRES, "numeric(60,2)", f"{10**50}", "100000"),
        (POSTGRES, "date", "'infinity'", "holds infinity, which date cannot hold"),
        (POSTGRES, "date", "'-infinity'", "holds infinity"),
        (POSTGRES, "timestamp", "'infinity'", "holds infinity"),
        (POSTGRES, "timestamptz", "'-infinity'", "holds infinity"),
        (POSTGRES, "timestamptz[]", "'{infinity}'", "holds infinity"),
        (POSTGRES, "timestamp", "'294276-12-31'", "holds infinity"),
        (POSTGRES, "numeric[]", "'{NaN}'", "holds NaN"),
        (POSTGRES, "int[]", "'{{1,2},{3,4}}'", "has 2 dimensions"),
        *mysql("date NULL", "'0000-00-00'", "holds 0000-00-00, which date cannot hold"),
        *mysql("date NULL", "'2024-00-10'", "holds 2024-00-10"),
        *mysql("date NULL", "'2024-02-31'", "holds 2024-02-31"),
        *mysql("datetime NULL", "'0000-00-00 00:00:00'", "holds 0000-00-00, which timestamp_ntz cannot hold"),
        *mysql("timestamp NULL", "'0000-00-00 00:00:00'", "holds 0000-00-00, which timestamp cannot hold"),
        *mysql("tinyint(1) NULL", "5", "holds 5, which boolean cannot hold"),
        *mysql("decimal(65,30) NULL", f"{10**20}", "holds 100000000000000000000.0"),
    ],
    indirect=["store_server"],
)  # fmt: skip
def test_a_value_that_no_type_holds_stops_the_run_and_is_named(
    store: SqlDatabase, server: str, value: str, said: str
) -> None:
    store.execute(
        *(["SET sql_mode = 'ALLOW_INVALID_DATES'"] if store.kind == "mysql" else []),
        f"CREATE TABLE t (x {server})",
        f"INSERT INTO t VALUES (NULL), ({value})",
    )
    with pytest.raises(SourceError, match="'x'") as told:
        out_of(store, table="t").run()
    assert said in str(told.value)
    assert "rows: " in str(told.value), "the source is named"
    assert "SELECT" in str(told.value.hint), "and what to type"
    assert not list(Path().glob("out/*"))


@pytest.mark.parametrize(
    ("store_server", "server", "named"),
    [
        *(
            (POSTGRES, kind, kind.removesuffix("[]"))
            for kind in ("money", "pair", "xid", "money[]", "pair[]")
        ),
        *mysql("point", "geometry"),
        *mysql("polygon", "geometry"),
    ],
    indirect=["store_server"],
)
def test_a_type_that_cannot_be_read_is_refused_by_name_at_check_time(
    store: SqlDatabase, server: str, named: str
) -> None:
    made = ["CREATE TYPE pair AS (a int, b text)"] if store.kind == "postgres" else []
    store.execute(*made, f"CREATE TABLE t (good int, odd {server})")
    with pytest.raises(ConfigError, match=f"cannot be read: 'odd' of type .*{named}") as told:
        out_of(store, table="t").check()
    assert told.value.problems[0].path == ("extract", "rows", "table")


@pytest.mark.parametrize(
    "fields",
    [
        {"table": "a.b.c"},
        {"table": "a b"},
        {"table": ""},
        {"table": "too long"},
        {},
        {"table": "t", "query": "SELECT 1"},
    ],
)
def test_what_makes_no_sense_is_refused_before_the_server_is_asked(
    nowhere: SqlDatabase, fields: dict[str, Any]
) -> None:
    if fields == {"table": "too long"}:
        out_of(nowhere, table="k" * nowhere.longest)
        fields = {"table": "k" * (nowhere.longest + 1)}
    with pytest.raises(ConfigError):
        out_of(nowhere, **fields)


@pytest.mark.parametrize(
    ("store_server", "writes"),
    [
        (POSTGRES, "RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING x'"),
        *mysql("RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO t VALUES (1); RETURN 1; END"),
    ],
    indirect=["store_server"],
)
def test_a_query_may_end_in_a_comment_or_semicolon_and_cannot_write(store: SqlDatabase, writes: str) -> None:
    store.execute("CREATE TABLE t (x int)", f"CREATE FUNCTION w() {writes}")
    assert read(store, query="WITH a AS (SELECT 1 AS x) SELECT x FROM a; ").rows() == [(1,)]
    assert read(store, query="SELECT '50%' AS x, '?' AS y -- two").rows() == [("50%", "?")]
    with pytest.raises(SourceError, match=r"(?i)read.only transaction"):
        read(store, query="SELECT w() AS x")
    assert store.value("SELECT count(*) FROM t") == 0


def test_nullability_is_that_of_the_table(store: SqlDatabase) -> None:
    store.execute("CREATE TABLE t (k int PRIMARY KEY, x int)")
    fields = source(store, table="t").describe(None).schema.fields
    assert [field.nullable for field in fields] == [False, True]


# Runs


ROWS = 6_000
VALUES = {
    "postgres": "seq, 'v' || seq % 10, seq / 100.0, timestamptz '2024-01-01Z' + seq * interval '1 s', "
    "date '2024-01-01' + seq % 100",
    "mysql": "seq, concat('v', seq % 10), seq / 100, '2024-01-01' + INTERVAL seq SECOND, "
    "'2024-01-01' + INTERVAL seq % 100 DAY",
}


@pytest.fixture
def filled(store: SqlDatabase) -> SqlDatabase:
    store.execute(
        "CREATE TABLE t "
        f"(id int PRIMARY KEY, v varchar(20), amount decimal(10,2), at {store.moment}, d date)",
        f"INSERT INTO t SELECT {VALUES[store.kind]} FROM {store.series(ROWS)}",
    )
    return store


@pytest.fixture
def arrived(store: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many rows the server sent so far."""
    decoding, heights = of(store, "decoding"), []
    real = decoding.decode

    def decode(rows: Any, columns: Any) -> pl.DataFrame:
        heights.append(rows.num_rows if store.kind == "postgres" else len(rows.starts))
        return real(rows, columns)

    monkeypatch.setattr(decoding, "decode", decode)
    return lambda: sum(heights)


def test_a_run_counts_refuses_and_balances(filled: SqlDatabase) -> None:
    rules = {"id": "checked", "type": "validate", "rules": [{"name": "even", "check": "id % 2 = 0"}]}
    run = out_of(filled, {"type": "filter", "where": "id > 10"}, rules, table="t")
    report = run.run()
    half = ROWS // 2 - 5
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (ROWS, half, half)
    assert report.balanced
    assert report.sources[0].location.endswith("t")
    letters = run.dead_letters.read().collect()
    assert letters.height == letters["id"].n_unique() == half
    assert b'"id":11' in b"".join(letters["record"].to_list())


@pytest.mark.parametrize(
    ("where", "most"),
    [
        ("id <= 100", 100),
        ("id IN (1, 2, 3)", 3),
        ("v = 'v3' AND id % 2 = 1", ROWS // 10),
        ("amount > 59.99", 1),
        ("at < TIMESTAMP '2024-01-01 00:01:00'", 59),
        ("d = DATE '2024-01-05'", ROWS // 100),
        ("id < 5 OR id > 5990", 14),
        ("id IS NULL", 0),
        ("v = 'it''s \\\\'", 0),
        ("length(v) = 7", ROWS),
        ("at < '2024-01-01 00:01:00'", ROWS),
    ],
)
def test_conditions_are_pushed_to_the_server_and_mean_the_same(
    filled: SqlDatabase, arrived: Callable[[], int], where: str, most: int
) -> None:
    out_of(filled, table="t").run()
    whole = pl.read_parquet("out/*.parquet")
    expected = {
        "name": "files",
        "extract": {"type": "files", "path": "out", "format": "parquet"},
        "transform": [{"type": "filter", "where": where}],
        "load": {"type": "files", "path": "expected"},
    }
    Pipeline.from_dict(expected).run()
    before = arrived()
    some = {"type": "files", "path": "some"}
    report = out_of(filled, {"type": "filter", "where": where}, table="t", load=some).run()
    assert arrived() - before <= most
    assert report.rows_read == whole.height == ROWS, "what was not sent counts as read and filtered"
    found = pl.read_parquet("some/*.parquet")
    assert found.sort("id").equals(pl.read_parquet("expected/*.parquet").sort("id"))


@pytest.mark.parametrize("word", ["=", ">=", "<=", "IN"])
def test_a_decimal_is_compared_by_all_of_its_digits(store: SqlDatabase, word: str) -> None:
    number = "12345678901234567890.123456789012345678"
    store.execute("CREATE TABLE t (d decimal(38, 18))", f"INSERT INTO t VALUES ({number})")
    out_of(store, {"type": "filter", "where": f"d {word} ({number})"}, table="t").run()
    assert [f"{found:f}" for found in pl.read_parquet("out/*.parquet")["d"]] == [number]


def test_a_preview_takes_some_rows_only(filled: SqlDatabase, arrived: Callable[[], int]) -> None:
    assert out_of(filled, table="t").preview(rows=5).num_rows == 5
    assert arrived() == 5


@pytest.mark.parametrize(
    ("store_server", "column", "kind"),
    [*both("v text", pl.String), (POSTGRES, "v int[]", pl.List(pl.Int32))],
    indirect=["store_server"],
)
def test_an_empty_table_gives_an_empty_result_with_its_columns(
    store: SqlDatabase, column: str, kind: pl.DataType
) -> None:
    store.execute(f"CREATE TABLE t (id int, {column})")
    assert out_of(store, table="t").run().rows_read == 0
    assert pl.read_parquet("out/*.parquet").schema == {"id": pl.Int32, "v": kind}


# Connections


def test_nothing_listening_is_said_at_once_with_what_to_type(nowhere: SqlDatabase) -> None:
    closed = nowhere.through(free_port())
    server, probe = {"postgres": ("PostgreSQL", "pg_isready -h {} -p {}"), "mysql": ("MySQL", "mysql -h {} -P {}")}[
        nowhere.kind
    ]  # fmt: skip
    begun = time.monotonic()
    with pytest.raises(Retryable) as told:
        out_of(closed, table="t").check()
    assert time.monotonic() - begun < 5
    assert f"{server} at 127.0.0.1:{closed.port} cannot be reached" in str(told.value)
    assert "Connection refused" in str(told.value)
    assert probe.format("127.0.0.1", closed.port) in str(told.value)
    assert told.value.endpoint == f"{nowhere.kind} 127.0.0.1:{closed.port}"


@pytest.mark.parametrize(
    ("store_server", "fields", "kind", "said"),
    [
        *both({"password": "wrong-canary"}, CredentialError, "refuses the user"),
        *both({"user": "nobody"}, CredentialError, "refuses the user 'nobody'"),
        (POSTGRES, {"database": "nowhere"}, CredentialError, 'database "nowhere" does not exist'),
        (POSTGRES, {"host": "no-such-host.invalid"}, Retryable, "could not translate host name"),
        (POSTGRES, {"sslmode": "verify-full"}, CredentialError, "SSL"),
        (POSTGRES, {"table": "missing"}, ConfigError, 'relation "missing" does not exist'),
        *mysql(
            {"database": "nowhere"}, CredentialError, r"no such database for this user: .*\n.* -p -e 'SHOW"
        ),
        *mysql({"host": "no-such-host.invalid", "sslmode": "prefer"}, Retryable, "cannot be reached"),
        *mysql({"sslmode": "verify-full"}, CredentialError, "is not trusted"),
        *mysql({"sslmode": "verify-ca", "sslrootcert": "/nowhere.pem"}, CredentialError, "sslrootcert"),
        *mysql({"table": "missing"}, ConfigError, "doesn't exist"),
    ],
    indirect=["store_server"],
)
def test_what_is_wrong_with_a_connection_is_said_plainly(
    store: SqlDatabase, fields: dict[str, Any], kind: type[Exception], said: str
) -> None:
    store.execute("CREATE TABLE t (x int)")
    with pytest.raises(kind, match=said) as told:
        out_of(store, **{"table": "t", **fields}).check()
    assert "canary" not in str(told.value)
    assert store.password not in str(told.value)


def test_a_credential_opens_the_connection(store: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    for field, value in store.config.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_WAREHOUSE__{field.upper()}", str(value))
    named = {"type": store.kind, "credential": "warehouse", "query": "SELECT 1 AS x"}
    config = {"name": "p", "extract": named, "load": {"type": "files", "path": "out"}}
    assert Pipeline.from_dict(config).run().rows_read == 1
    monkeypatch.delenv("RAYETL_CREDENTIAL_WAREHOUSE__DATABASE")
    with pytest.raises(CredentialError, match="has no field 'database'"):
        Pipeline.from_dict(config).check()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("sslmode", "verify_full", r"it is one of disable, prefer, require, verify-ca, verify-full"),
        ("port", "usual", r"it is a number such as \d+"),
    ],
)
def test_a_field_of_a_credential_that_says_nothing_known_is_named(
    nowhere: SqlDatabase, field: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, given in {"host": "localhost", "database": "d", field: value}.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_WAREHOUSE__{name.upper()}", given)
    named = {"type": nowhere.kind, "credential": "warehouse", "table": "t"}
    config = {"name": "p", "extract": named, "load": {"type": "files", "path": "out"}}
    with pytest.raises(CredentialError, match=f"the field '{field}' of the credential 'warehouse'") as told:
        Pipeline.from_dict(config).check()
    assert re.fullmatch(said, str(told.value.hint))


def test_a_run_without_a_database_imports_no_driver() -> None:
    drivers = {"adbc_driver_manager", "adbc_driver_postgresql", "pymysql", "numpy", "pyarrow"}
    code = f"import sys, rayetl.connectors\nprint(sorted({drivers} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_connection_that_breaks_while_rows_come_in_is_made_again(
    store_server: DatabaseServer, store: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.execute(f"CREATE TABLE t AS SELECT seq AS i, repeat('x', 200) AS v FROM {store.series(200_000)}")
    monkeypatch.setattr(of(store, "source"), "BATCH", 1 << 16)
    decoding, cut = of(store, "decoding"), []
    real = decoding.decode

    def decode(rows: Any, columns: Any) -> pl.DataFrame:
        if not cut:
            cut.append(store_server.crash())
            store_server.start()
        return real(rows, columns)

    monkeypatch.setattr(decoding, "decode", decode)
    report = out_of(store, table="t", resilience={"retry": {"initial_delay": "10ms"}}).run()
    assert (report.retries, report.rows_read, report.rows_loaded) == (1, 200_000, 200_000)
    assert pl.read_parquet("out/*.parquet")["i"].n_unique() == 200_000


@pytest.mark.parametrize(
    ("store_server", "made", "query", "said"),
    [
        (POSTGRES, [], "SELECT 1 / (50000 - id) AS x FROM t", "division by zero"),
        *mysql(
            [
                "CREATE FUNCTION f(i int) RETURNS int BEGIN IF i = 90000 THEN SIGNAL SQLSTATE '45000' "
                "SET MESSAGE_TEXT = 'no more'; END IF; RETURN i; END",
            ],
            "SELECT f(id) AS x FROM t",
            r"no more \(error 1644, SQLSTATE 45000",
        ),
    ],
    indirect=["store_server"],
)
def test_an_error_of_the_server_while_rows_come_in_is_told_in_its_words(
    store: SqlDatabase, made: list[str], query: str, said: str
) -> None:
    store.execute(f"CREATE TABLE t AS SELECT seq AS id FROM {store.series(100_000)}", *made)
    with pytest.raises(SourceError, match=f"rows: reading .* query failed: {said}"):
        out_of(store, query=query).run()
