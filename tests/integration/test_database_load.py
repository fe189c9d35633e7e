"""The loads of all databases against real servers: modes, tables that do not fit, rows that are refused."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.databases import DatabaseServer, SqlDatabase
from services.mariadb import MariaDatabase
from services.postgres import Database
from services.proxy import Proxy

from rayetl import Pipeline
from rayetl.connectors.databases import session, tracker, writing
from rayetl.connectors.databases.faults import Refused, Server
from rayetl.connectors.databases.session import DatabaseSession
from rayetl.errors import ConfigError, LoadError, RayetlError
from rayetl.secrets import Credentials
from tests.integration.database_runs import Kept, ids, into

POSTGRES, MARIADB, MYSQL = "postgres_server", "mariadb_server", "mysql8_server"
UUID = "00000000-0000-0000-0000-0000000000"


def both(*case: Any) -> list[tuple[Any, ...]]:
    """A case of each kind of server."""
    return [(POSTGRES, *case), *mysql(*case)]


def mysql(*case: Any) -> list[tuple[Any, ...]]:
    return [(MARIADB, *case), (MYSQL, *case)]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_columns_are_found_by_name_in_any_order_and_defaults_hold(store: SqlDatabase) -> None:
    store.execute(
        f"CREATE TABLE t (no serial, {store.quoted('V')} text, made timestamp DEFAULT now(), id bigint NOT NULL)"
    )
    into(store, ids(1, 2)).run()
    assert store.rows(f"SELECT no, id, {store.quoted('V')}, made IS NOT NULL FROM t ORDER BY id") == [
        (1, 1, "v1", True),
        (2, 2, "v2", True),
    ]


# Modes


def modes(store: SqlDatabase, **load: Any) -> list[tuple[Any, ...]]:
    report = into(store, ids(2, 3), **load).run()
    assert report.balanced
    return store.rows("SELECT id, v FROM t ORDER BY id, v")


@pytest.fixture
def filled(store: SqlDatabase) -> SqlDatabase:
    store.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'old'), (2, 'old')"
    )
    return store


def test_append_keeps_what_is_there(store: SqlDatabase) -> None:
    store.execute("CREATE TABLE t (id bigint, v text)", "INSERT INTO t VALUES (2, 'old')")
    assert modes(store) == [(2, "old"), (2, "v2"), (3, "v3")]


def test_overwrite_replaces_all(filled: SqlDatabase) -> None:
    assert modes(filled, mode="overwrite") == [(2, "v2"), (3, "v3")]


def test_upsert_replaces_rows_of_the_same_key(filled: SqlDatabase) -> None:
    assert modes(filled, mode="upsert", keys=["ID"]) == [(1, "old"), (2, "v2"), (3, "v3")]


@pytest.mark.parametrize(("mode", "counted"), [("upsert", 2), ("insert_ignore", 1)])
def test_rows_of_nothing_but_keys(store: SqlDatabase, mode: str, counted: int) -> None:
    store.execute("CREATE TABLE t (id bigint PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    report = into(store, ids(1, 2).select("id"), mode=mode, keys="id").run()
    assert store.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
    assert report.loads[0].rows == counted


@pytest.mark.parametrize("keys", [{"keys": "id"}, {}], ids=["by keys", "by any"])
def test_insert_ignore_leaves_known_keys_alone(filled: SqlDatabase, keys: dict[str, str]) -> None:
    assert modes(filled, mode="insert_ignore", **keys) == [(1, "old"), (2, "old"), (3, "v3")]


def test_insert_ignore_ignores_no_other_fault(store: SqlDatabase) -> None:
    store.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(3))", "INSERT INTO t VALUES (2, 'old')")
    frame = pl.DataFrame({"id": [2, 3, 4], "v": ["new", "too long", "ok"]})
    report = into(store, frame, mode="insert_ignore", keys="id").run()
    assert (report.rows_loaded, report.rows_rejected, report.balanced) == (1, 1, True)
    assert store.rows("SELECT * FROM t ORDER BY id") == [(2, "old"), (4, "ok")]


def test_error_if_exists_and_ignore_look_for_rows(filled: SqlDatabase) -> None:
    with pytest.raises(LoadError, match=rf"{filled.schema}\.t holds rows already"):
        modes(filled, mode="error_if_exists")
    assert modes(filled, mode="ignore") == [(1, "old"), (2, "old")]
    filled.execute("DELETE FROM t")
    assert modes(filled, mode="error_if_exists") == [(2, "v2"), (3, "v3")]


def test_a_table_that_an_upsert_makes_has_the_keys(store: SqlDatabase) -> None:
    modes(store, mode="upsert", keys=["id"])
    assert modes(store, mode="upsert", keys=["id"]) == [(2, "v2"), (3, "v3")]
    with pytest.raises(Exception, match=r"(?i)duplicate (key|entry)"):
        store.execute("INSERT INTO t VALUES (2, 'x')")


def test_keys_of_text_are_told_apart_by_letter_case_in_a_table_that_is_made(store: SqlDatabase) -> None:
    frame = pl.DataFrame({"k": ["a", "A"], "v": [1, 2]})
    assert into(store, frame, mode="upsert", keys="k").run().rows_loaded == 2


def test_the_same_epoch_is_loaded_once(store: SqlDatabase) -> None:
    load = into(store, ids(1))
    assert (load.run().status, load.run().status) == ("done", "skipped")
    load.run(force=True)
    assert store.value("SELECT count(*) FROM t") == 2
    target = f"{store.schema}.t"
    names = ", ".join(map(store.quoted, ("pipeline", "load", "target", "number", "rows", "mode")))
    epochs = store.rows(f"SELECT {names} FROM rayetl_epochs ORDER BY number")
    assert epochs == [("p", "into", target, 1, 1, "append"), ("p", "into", target, 2, 1, "append")]


def test_repeated_keys_are_no_matter_of_chance(filled: SqlDatabase) -> None:
    said = f"1 key ({filled.quoted('id')}) comes more than once, for example (7)"
    with pytest.raises(LoadError, match=re.escape(said)) as told:
        into(filled, ids(7, 8, 7), mode="upsert", keys=["id"]).run()
    assert "deduplicate" in str(told.value.hint)
    assert filled.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("store_server", "kind", "same", "other"),
    [
        (POSTGRES, "uuid", (UUID + "ff", UUID + "FF"), (UUID + "aa", UUID + "bb")),
        (MARIADB, "uuid", (UUID + "ff", UUID + "FF"), (UUID + "aa", UUID + "bb")),
        *mysql("varchar(40) collate utf8mb4_general_ci", ("a", "A"), ("b", "c")),
        *mysql("varchar(40) character set latin1", ("\u00e9", "E"), ("b", "c")),
        *mysql("varchar(40) collate utf8mb4_general_ci", ("a", "a "), ("b", "c")),
        (MARIADB, "text collate utf8mb4_general_ci UNIQUE, x bigint", ("a", "A"), ("b", "c")),
        # No trailing space is left out of this one, MySQL's own.
        (MYSQL, "varchar(40) collate utf8mb4_0900_ai_ci", ("a", "\u00e1"), ("a ", "c")),
    ],
    indirect=["store_server"],
)
def test_keys_are_the_same_where_the_table_says_so(
    store: SqlDatabase, kind: str, same: tuple[str, str], other: tuple[str, str]
) -> None:
    key = "" if "UNIQUE" in kind else " PRIMARY KEY"
    store.execute(f"CREATE TABLE t (u {kind}{key}, v varchar(3))")
    good = pl.DataFrame({"u": same, "v": ["a", "b"]})
    bad = pl.DataFrame({"u": [other[0], other[1] * 30], "v": ["too long", "c"]})
    said = f"1 key ({store.quoted('u')}) comes more than once, for example ("
    for frame in (good, pl.concat([good, bad])):
        with pytest.raises(LoadError, match=re.escape(said)) as told:
            into(store, frame, mode="upsert", keys="u").run()
        assert any(f"{said}{key})" in str(told.value) for key in same)
        assert store.value("SELECT count(*) FROM t") == 0
    once = pl.DataFrame({"u": [*same, other[0]], "v": ["too long", "ok", "ok"]})
    report = into(store, once, mode="upsert", keys="u").run()
    assert (report.rows_loaded, report.rows_rejected) == (2, 1), "a refused row is no repetition"


# Tables that do not fit


@pytest.mark.parametrize(
    ("store_server", "columns", "said"),
    [
        *both("id bigint", "it has no column 'v'\nhint: cast, rename or leave out columns in a select step, or change the table (`add_columns"),
        *both("id bigint, vv text", "it has no column 'v' (did you mean 'vv'?)"),
        *both("id bigint, v text, w int NOT NULL", "its column 'w' must have a value"),
        (POSTGRES, "id int, v text", "'id' is bigint, which does not go into integer"),
        (POSTGRES, "id bigint, v int", "'v' is string, which does not go into integer"),
        (POSTGRES, "id bigint GENERATED ALWAYS AS IDENTITY, v text", "the server itself gives the values of 'id'"),
        (POSTGRES, "id bigint, v timestamptz", "'v' is string, which does not go into timestamp with time zone"),
        *mysql("id int, v text", "'id' is bigint, which does not go into int(11)"),
        *mysql("id year, v text", "'id' is bigint, which does not go into year(4)"),
        *mysql("id bigint, v int", "'v' is string, which does not go into int(11)"),
        *mysql("id bigint, v blob", "'v' is string, which does not go into blob"),
        *mysql("id bigint, v datetime", "'v' is string, which does not go into datetime"),
        *mysql("w int, id bigint AS (w + 1) STORED, v text", "the server itself gives the values of 'id'"),
    ],
    indirect=["store_server"],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused_before_a_row_is_read(
    store: SqlDatabase, columns: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.execute(f"CREATE TABLE t ({columns})")
    monkeypatch.setattr(DatabaseSession, "write", lambda *_: pytest.fail("rows were read"))
    with pytest.raises(LoadError) as told:
        into(store, ids(1)).run()
    assert said in str(told.value)
    assert "no row was read" in str(told.value.hint)


def test_columns_are_added_on_request(store: SqlDatabase) -> None:
    store.execute("CREATE TABLE t (id bigint)", "INSERT INTO t VALUES (0)")
    moment = pl.lit(dt.datetime(2024, 1, 1)).dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    into(store, ids(1).with_columns(w=pl.lit(1.5), at=moment), add_columns=True).run()
    old, new = store.rows("SELECT id, v, w, at FROM t ORDER BY id")
    assert old == (0, None, None, None)
    assert (*new[:3], new[3].replace(tzinfo=None)) == (1, "v1", 1.5, dt.datetime(2024, 1, 1))


def test_an_upsert_needs_a_constraint_on_its_keys(store: SqlDatabase) -> None:
    store.execute("CREATE TABLE t (id bigint, v varchar(9) UNIQUE)")
    key = store.quoted("id")
    with pytest.raises(LoadError, match=rf"no primary key or unique constraint on \({key}\)") as told:
        into(store, ids(1), mode="upsert", keys=["id"]).run()
    table = f"{store.quoted(store.schema)}.{store.quoted('t')}"
    assert f"ALTER TABLE {table} ADD UNIQUE ({key}); keys there: {store.quoted('v')}" in str(told.value.hint)


@pytest.mark.parametrize(
    ("store_server", "make"),
    [
        *both("CREATE VIEW t AS SELECT 1 AS id"),
        (POSTGRES, "CREATE SEQUENCE t"),
        (MARIADB, "CREATE SEQUENCE t"),
    ],
    indirect=["store_server"],
)
def test_only_tables_are_written_into(store: SqlDatabase, make: str) -> None:
    store.execute(make)
    with pytest.raises(LoadError, match="t is not a table"):
        into(store, ids(1)).run()


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ({"mode": "upsert"}, "`upsert` needs `keys`"),
        ({"keys": ["id"]}, "`keys` are for the modes"),
        ({"mode": "upsert", "keys": ["idd"]}, "did you mean id"),
        ({"mode": "upsert", "keys": ["id", "ID"]}, "`keys` name a column twice"),
        ({"mode": "merge"}, "merge"),
        ({"table": "a.b.c"}, "is not the name of a table"),
    ],
)
def test_configs_that_cannot_be_are_refused_without_a_server(
    nowhere: SqlDatabase, load: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as told:
        into(nowhere, ids(1), **load).check()
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("nowhere", "frame", "said"),
    [
        (Database, {"s": [{"a": 1}]}, "PostgreSQL has no column for 's' of type struct<a:bigint>"),
        (Database, {"s": [[[1]]]}, "array<array<bigint>>"),
        (Database, {"k" * 64: [1]}, "more than 63 bytes"),
        (Database, {"\u00fc" * 32: [1]}, "more than 63 bytes"),
        (Database, {f"c{n}": [n] for n in range(1601)}, "1601 columns are more than the 1600"),
        (MariaDatabase, {"s": [{"a": 1}]}, "MySQL has no column for 's' of type struct<a:bigint>"),
        (MariaDatabase, {"s": [[1]]}, "array<bigint>"),
        (MariaDatabase, {"k" * 65: [1]}, "more than 64 characters"),
        (MariaDatabase, {"\U0001f389": [1]}, "which no name in MySQL may have"),
        (MariaDatabase, {"k ": [1]}, "a space at its end, which no name in MySQL may have"),
        (MariaDatabase, {f"c{n}": [n] for n in range(1018)}, "1018 columns are more than the 1017"),
    ],
    ids=range(11),
    indirect=["nowhere"],
)
def test_rows_that_no_table_holds_are_refused_at_check_time(
    nowhere: SqlDatabase, frame: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as told:
        into(nowhere, pl.DataFrame(frame)).check()
    assert said in str(told.value)


def test_two_loads_into_one_table_are_refused(nowhere: SqlDatabase) -> None:
    document = _document(nowhere, ids(1))
    (load,) = document["load"]
    # PostgreSQL folds the letters of a name; to MySQL these may be two tables.
    again = "T" if nowhere.kind == "postgres" else "t"
    document["load"] = [load, {**load, "id": "other", "table": again}]
    with pytest.raises(ConfigError, match="both write to"):
        Pipeline.from_dict(document).check()


def test_two_loads_into_one_table_do_not_wait_for_each_other(
    store: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server alone knows that these are one table."""
    monkeypatch.setattr(tracker, "WAIT", 1)
    document = _document(store, pl.DataFrame({"a": [1]}), mode="overwrite")
    (load,) = document["load"]
    document["load"] = [load, {**load, "id": "other", "table": f"{store.schema}.t"}]
    with pytest.raises(LoadError, match=rf"^other: two loads of this run write into .*{store.schema}\.t"):
        Pipeline.from_dict(document).run()
    made = store.rows(
        f"SELECT 1 FROM information_schema.tables WHERE table_schema = '{store.schema}' AND table_name = 't'"
    )
    # MySQL cannot take back that a table was made.
    assert not made if store.kind == "postgres" else store.value("SELECT count(*) FROM t") == 0


def _document(store: SqlDatabase, frame: pl.DataFrame, **load: Any) -> dict[str, Any]:
    """The config of a load, for a test to change; a config that is written out keeps its password to itself."""
    document = into(store, frame, **load)._loaded.config.model_dump(by_alias=True, exclude_unset=True)
    document["load"][0]["password"] = store.password
    return document


def test_tests_of_a_config_touch_no_database(nowhere: SqlDatabase) -> None:
    config = _document(nowhere, ids(1))
    config["tests"] = [
        {"name": "rows pass", "given": {"rows": [{"id": 1, "v": "a"}]}, "expect": {"into": [{"id": 1}]}},
        {"name": "rows fail", "given": {"rows": [{"id": 1, "v": "a"}]}, "expect": {"into": [{"id": 2}]}},
    ]
    report = Pipeline.from_dict(config).test()
    assert [case.passed for case in report.cases] == [True, False]


def test_explain_says_who_pours_the_rows_of_spark(nowhere: SqlDatabase) -> None:
    told = Pipeline.from_dict({**_document(nowhere, ids(1)), "engine": "spark"}).explain()
    assert f": {nowhere.kind} t " in told
    assert "    poured by this process, which holds the transaction\n" in told


# Rows that are refused


MANY = 10_000


def guilty(rows: int) -> list[int]:
    """Both ends, two side by side, and some between."""
    return [0, rows // 130, rows // 2, rows // 2 + 1, rows * 7 // 9, rows - 2, rows - 1]


def many(rows: int, bad: Any, good: Any = "ok") -> pl.DataFrame:
    values = pl.when(pl.col("id").is_in(guilty(rows))).then(pl.lit(bad)).otherwise(pl.lit(good))
    return pl.DataFrame({"id": range(rows)}).with_columns(v=values)


REFUSED = [
    (POSTGRES, "v varchar(5)", "far too long", "ok", "sqlstate 22001", "value too long"),
    (POSTGRES, "v text NOT NULL", None, "ok", "sqlstate 23502", "null value in column"),
    (POSTGRES, "v text CHECK (v <> 'bad')", "bad", "ok", "sqlstate 23514", "violates check constraint"),
    (POSTGRES, "v text", "nul \0", "ok", "sqlstate 22021", "invalid byte sequence"),
    (POSTGRES, "v varchar(9) REFERENCES known", "unknown", "ok", "sqlstate 23503", "violates foreign key"),
    (POSTGRES, "v jsonb", "{bad", "{}", "sqlstate 22P02", "invalid input syntax for type json"),
    (POSTGRES, "v mood", "angry", "ok", "sqlstate 22P02", "invalid input value for enum"),
    *mysql("v varchar(5)", "far too long", "ok", "sqlstate 22001", "Data too long for column 'v'"),
    *mysql("v text NOT NULL", None, "ok", "sqlstate 23000", "Column 'v' cannot be null"),
    (MARIADB, "v varchar(9) CHECK (v <> 'bad')", "bad", "ok", "sqlstate 23000", "CONSTRAINT `t.v` failed"),
    *mysql("v varchar(9), FOREIGN KEY (v) REFERENCES known (v)", "unknown", "ok", "sqlstate 23000", "foreign key constraint fails"),
    (MARIADB, "v json", "{bad", "{}", "sqlstate 23000", "CONSTRAINT `t.v` failed"),
    (MYSQL, "v json", "{bad", "{}", "sqlstate 22032", "Invalid JSON text"),
    *mysql("v enum('ok')", "angry", "ok", "sqlstate 01000", "Data truncated for column 'v'"),
    (MARIADB, "v varchar(9) character set latin1", "\u20ac\u0416", "ok", "sqlstate 22007", "Incorrect string value"),
    (MYSQL, "v varchar(9) character set latin1", "\u20ac\u0416", "ok", "sqlstate HY000", "Incorrect string value"),
    (MARIADB, "v double", float("nan"), 1.5, "sqlstate 22007", "Incorrect double value: 'NaN'"),
    (MYSQL, "v double", float("nan"), 1.5, "sqlstate 01000", "Data truncated for column 'v'"),
    *mysql("v int unsigned", -1, 1, "sqlstate 22003", "Out of range value for column 'v'"),
    *mysql("v timestamp(6) NULL", dt.datetime(2050, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "sqlstate 22007", "Incorrect datetime value"),
    (MARIADB, "v uuid", "no uuid", UUID + "01", "sqlstate 22007", "Incorrect uuid value"),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize(
    ("store_server", "column", "bad", "good", "rule", "reason"),
    REFUSED,
    ids=[f"{each[0].split('_')[0]} {each[1][2:20]} {each[4][-5:]}" for each in REFUSED],
    indirect=["store_server"],
)
def test_single_rows_are_refused_and_all_others_loaded(
    store: SqlDatabase,
    column: str,
    bad: Any,
    good: Any,
    rule: str,
    reason: str,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # They fill one chunk to the last row, as those of the next test do.
    monkeypatch.setattr(session, "CHUNK_ROWS", MANY)
    store.execute(
        *(["CREATE TYPE mood AS ENUM ('ok')"] if store.kind == "postgres" else []),
        "CREATE TABLE known (v varchar(9) PRIMARY KEY)",
        "INSERT INTO known VALUES ('ok')",
        f"CREATE TABLE t (id bigint PRIMARY KEY, {column})",
    )
    run = into(store, many(MANY, bad, good), mode=mode, **({"keys": ["id"]} if mode == "upsert" else {}))
    report = run.run()
    assert (report.loads[0].rows, report.rows_rejected, report.balanced) == (MANY - 7, 7, True)
    assert store.rows("SELECT count(*), count(DISTINCT id) FROM t") == [(MANY - 7, MANY - 7)]
    assert store.value(f"SELECT count(*) FROM t WHERE id IN {tuple(guilty(MANY))}") == 0
    letters = run.dead_letters.read().sort("row").collect()
    assert letters["row"].to_list() == guilty(MANY), "each with its place in the source"
    assert [json.loads(record)["id"] for record in letters["record"]] == guilty(MANY)
    told = letters["reasons"].to_list()[0][0]
    assert told["rule"] == rule
    assert reason in told["reason"]
    assert "at row" not in told["reason"], "a row of a statement that nobody sees"
    assert letters["step"].unique().to_list() == ["into"]


def test_single_rows_of_a_chunk_of_the_usual_size_are_refused(store: SqlDatabase) -> None:
    rows = session.CHUNK_ROWS
    store.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(5))")
    run = into(store, many(rows, "far too long"))
    assert run.run().rows_rejected == 7
    assert store.rows("SELECT count(*), count(DISTINCT id) FROM t") == [(rows - 7, rows - 7)]
    assert store.value(f"SELECT count(*) FROM t WHERE id IN {tuple(guilty(rows))}") == 0
    assert run.dead_letters.read().collect()["row"].sort().to_list() == guilty(rows)


def test_a_key_that_is_there_already_refuses_the_row_only(filled: SqlDatabase) -> None:
    report = into(filled, ids(5, 2, 6, 6, 7)).run()
    found = filled.rows("SELECT id, v FROM t ORDER BY id")
    assert found == [(1, "old"), (2, "old"), (5, "v5"), (6, "v6"), (7, "v7")]
    told = sorted((each.rule, each.reason, each.rows) for each in report.rejects)
    if filled.kind == "postgres":
        assert [(rule, rows) for rule, _, rows in told] == [("sqlstate 23505", 2)]
    else:
        said = "Duplicate entry '{}' for key 'PRIMARY'"
        assert told == [("sqlstate 23000", said.format(key), 1) for key in (2, 6)]


def test_a_refused_row_without_a_place_is_kept_as_it_was_sent(filled: SqlDatabase) -> None:
    columns = ["id", "v", "DATE '2024-02-29' AS day", "TIMESTAMP '2024-01-01 00:00:00.5' AS at"]
    grouped = {"type": "aggregate", "group_by": ["id", "day", "at"], "metrics": {"v": "max(v)"}}
    filled.execute(f"ALTER TABLE t ADD COLUMN day date, ADD COLUMN at {filled.moment}")
    run = into(filled, ids(2, 9), {"type": "select", "columns": columns}, grouped)
    run.run()
    letter = run.dead_letters.read().collect().row(0, named=True)
    record = json.loads(letter["record"])
    kept = (record["id"], record["v"], record["day"], letter["record_format"])
    assert kept == (2, "v2", "2024-02-29", "row")
    assert "2024-01-01" in record["at"]
    assert "00:00:00.5" in record["at"]


def without_v2(store: SqlDatabase) -> None:
    store.execute(
        "CREATE TABLE known (v varchar(9) PRIMARY KEY)",
        "INSERT INTO known VALUES ('v1'), ('v3')",
        "CREATE TABLE t (id bigint, v varchar(9), FOREIGN KEY (v) REFERENCES known (v))",
    )


def test_refused_rows_are_replayed_into_the_load_that_lacks_them(store: SqlDatabase) -> None:
    without_v2(store)
    config = _document(store, ids(1, 2, 3))
    other = {"id": "other", "from": "rows", "type": "files", "path": "other", "mode": "append"}
    config["load"] = [*config["load"], other]
    run = Pipeline.from_dict(config)
    run.run()
    store.execute("INSERT INTO known VALUES ('v2')")
    assert run.replay().rows_loaded == 1
    assert store.rows("SELECT id, v FROM t ORDER BY id") == [(1, "v1"), (2, "v2"), (3, "v3")]
    assert sorted(pl.read_parquet("other/**/*.parquet")["id"]) == [1, 2, 3], "not a second time"
    with pytest.raises(RayetlError, match="nothing to replay"):
        run.replay()


def test_a_replayed_row_that_is_refused_again_keeps_its_place(filled: SqlDatabase) -> None:
    run = into(filled, ids(5, 2))
    run.run()
    assert run.replay().rows_rejected == 1
    letters = run.dead_letters.read(pending=True).collect()
    assert letters.select("step", "row").rows() == [("into", 1)]


def test_what_rules_and_stores_refused_is_replayed_apart(filled: SqlDatabase) -> None:
    positive = {"type": "validate", "rules": [{"name": "few", "check": "id < 9", "on_failure": "quarantine"}]}
    config = {**_document(filled, ids(5, 2, 9)), "transform": [{"id": "low", **positive}]}
    other = {"id": "other", "type": "files", "path": "other", "mode": "append"}
    run = Pipeline.from_dict({**config, "load": [*config["load"], other]})
    run.run()
    with pytest.raises(RayetlError, match=r"at several places, which different loads .*: into, low") as told:
        run.replay()
    assert "--step" in str(told.value.hint)


def test_a_replay_of_one_step_by_command(store: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    without_v2(store)
    ids(1, 2, 9).write_parquet("in.parquet")
    for name, value in store.config.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_WAREHOUSE__{name.upper()}", str(value))
    Path("p.yaml").write_text(
        "name: p\nextract: {type: files, path: in.parquet}\n"
        "transform: [{id: few, type: validate, rules: [{name: r, check: id < 9, on_failure: quarantine}]}]\n"
        f"load: {{id: into, type: {store.kind}, credential: warehouse, table: t, mode: append}}\n"
    )

    def rayetl(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "rayetl", *words], capture_output=True, text=True)

    assert rayetl("run", "p.yaml").returncode == 0
    store.execute("INSERT INTO known VALUES ('v2')")
    assert rayetl("dlq", "replay", "p.yaml", "--step", "into").returncode == 0
    assert store.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
    nothing = rayetl("dlq", "replay", "p.yaml", "--step", "into")
    assert nothing.returncode == 1
    assert "nothing that was refused at 'into' waits" in nothing.stderr
    assert "rayetl dlq list" in nothing.stderr


@pytest.mark.parametrize(
    ("store_server", "triggers", "said"),
    [
        (
            POSTGRES,
            [
                "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW.nope; END'",
                "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
            ],
            r"into public\.t failed: record \"new\" has no field \"nope\" \(SQLSTATE 42703\)",
        ),
        *mysql(
            ["CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW INSERT INTO nowhere VALUES (1)"],
            r"into .*\.t failed: Table .*nowhere.* doesn't exist",
        ),
    ],
    indirect=["store_server"],
)
def test_a_fault_that_is_in_no_row_stops_the_load(store: SqlDatabase, triggers: list[str], said: str) -> None:
    store.execute("CREATE TABLE t (id bigint, v text)", *triggers)
    with pytest.raises(LoadError, match=said):
        into(store, ids(1, 2)).run()
    assert store.value("SELECT count(*) FROM t") == 0


def test_too_many_refused_rows_are_no_single_rows(
    store: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST", 50)
    store.execute("CREATE TABLE t (id bigint, v varchar(1))")
    said = rf"more than 50 rows for {store.schema}\.t were refused; the last because: (value|Data) too"
    with pytest.raises(LoadError, match=said):
        into(store, ids(*range(1000))).run()
    assert store.value("SELECT count(*) FROM t") == 0
    assert not Path(".rayetl/rejects/p/rejects").exists()


def test_rows_go_from_database_to_database(store: SqlDatabase) -> None:
    rows = 250_000
    store.execute(f"CREATE TABLE a AS SELECT seq AS id, repeat('x', seq % 50) AS v FROM {store.series(rows)}")
    config = {
        "name": "copy",
        "extract": {"type": store.kind, "table": "a", **store.config},
        "load": {"type": store.kind, "table": "b", "mode": "append", **store.config},
    }
    report = Pipeline.from_dict(config).run()
    assert (report.rows_read, report.rows_loaded) == (rows, rows)
    assert store.value("SELECT count(DISTINCT id) FROM b") == store.value("SELECT count(*) FROM b") == rows
    sums = "SELECT sum(id), sum(id * length(v)) FROM "
    assert store.rows(sums + "b") == store.rows(sums + "a")


# Whole runs through faults


@pytest.mark.parametrize(("after", "retries"), [(True, 0), (False, 1)])
def test_a_run_whose_commit_is_cut_off_ends_well(
    store_server: DatabaseServer, store: SqlDatabase, after: bool, retries: int
) -> None:
    store.execute("CREATE TABLE t (id bigint, v varchar(2))")
    into(store, ids(0)).run()
    with Proxy(store.port, after=after, answered=store_server.answered) as proxy:
        patience = {"retry": {"max_attempts": 3, "initial_delay": "10ms"}}
        # Under TLS nobody could tell a COMMIT from other bytes.
        run = into(store.through(proxy.port), ids(1, 2, 333), resilience=patience, sslmode="disable")
        proxy.arm()
        report = run.run()
        assert (report.status, report.retries, proxy.cuts) == ("done", retries, 1)
        assert report.rows_rejected == 1
        assert run.run().status == "skipped"
    assert store.rows("SELECT id FROM t ORDER BY id") == [(0,), (1,), (2,)]
    assert run.dead_letters.read().collect()["row"].to_list() == [2], "once, however often it was tried"
    assert store.value("SELECT count(*) FROM rayetl_epochs") == 2


def test_a_password_that_changes_while_a_run_is_under_way_costs_no_row(
    store_server: DatabaseServer, store: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {name: str(value) for name, value in store.config.items()}
    monkeypatch.setattr(Credentials, "here", lambda: Credentials([Kept(kept)]))
    store.execute(f"CREATE TABLE a AS SELECT seq AS id FROM {store.series(1000)}")
    config = {
        "name": "copy",
        "extract": {"type": store.kind, "table": "a", "credential": "warehouse"},
        "load": {"type": store.kind, "table": "b", "mode": "append", "credential": "warehouse"},
        "resilience": {"retry": {"max_attempts": 3, "initial_delay": "10ms"}},
    }
    refusals = []

    def finishing(self: DatabaseSession) -> pl.DataFrame | None:
        monkeypatch.setattr(DatabaseSession, "finish", finish)
        store_server.change_password(store, "another")
        store_server.cut(store)
        return finish(self)

    def refuse(error: Exception, server: Server) -> Exception:
        # Whoever keeps the credential is a moment later than the server.
        refusals.append(fault := connect_fault(error, server))
        kept["password"] = "another"
        return fault

    connection = importlib.import_module(f"rayetl.connectors.{store.kind}.connection")
    finish, connect_fault = DatabaseSession.finish, connection.connect_fault
    monkeypatch.setattr(DatabaseSession, "finish", finishing)
    monkeypatch.setattr(connection, "connect_fault", refuse)
    report = Pipeline.from_dict(config).run()
    assert (report.status, report.rows_loaded, report.rows_rejected, report.retries) == ("done", 1000, 0, 1)
    assert [type(error) for error in refusals] == [Refused], "asked once more, not more often"
    owner = replace(store, password="another")
    assert owner.rows("SELECT count(*), count(DISTINCT id) FROM b") == [(1000, 1000)]
