"""The load `postgres` against a real server: types, modes, tables that do not fit, rows that are refused."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.postgres import Database, Postgres
from services.proxy import Proxy

from rayetl import Pipeline
from rayetl.connectors.databases import tracker, writing
from rayetl.connectors.databases.faults import Refused, Server
from rayetl.connectors.postgres import connection, faults, session
from rayetl.errors import ConfigError, LoadError, RayetlError
from rayetl.secrets import Credentials
from rayetl.secrets.provider import Fields, Provider


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pipeline(database: Database, frame: pl.DataFrame, *steps: dict[str, Any], **load: Any) -> Pipeline:
    frame.write_parquet("in.parquet")
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"rows": {"type": "files", "path": "in.parquet"}},
            "transform": list(steps),
            "load": {
                "id": "into",
                "type": "postgres",
                "table": "t",
                "mode": "append",
                **database.config,
                **load,
            },
            "resilience": {"retry": {"max_attempts": 1}},
        }
    )


def ids(*values: int) -> pl.DataFrame:
    return pl.DataFrame({"id": values, "v": [f"v{value}" for value in values]})


EVERY = pl.DataFrame(
    {
        "n": pl.Series([1, 2, 3], dtype=pl.Int32),
        "tiny": pl.Series([-128, 127, None], dtype=pl.Int8),
        "small": pl.Series([-32768, 32767, None], dtype=pl.Int16),
        "big": pl.Series([-(2**63), 2**63 - 1, None], dtype=pl.Int64),
        "f": pl.Series([1.5, float("nan"), None], dtype=pl.Float32),
        "d": pl.Series([5e-324, float("-inf"), None], dtype=pl.Float64),
        "yes": [True, False, None],
        "money": pl.Series([Decimal("-99999999.99"), Decimal("0.10"), None], dtype=pl.Decimal(10, 2)),
        "wide": pl.Series([Decimal(10**38 - 1), Decimal(-1), None], dtype=pl.Decimal(38, 0)),
        "text": ["", "tab\t \u00e9 \U0001f600 'q' \\N", None],
        "raw": pl.Series([b"\x00\xff", b"", None], dtype=pl.Binary),
        "day": [dt.date(1, 1, 1), dt.date(9999, 12, 31), None],
        "at": pl.Series([dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(9999, 1, 1), None]).dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
        "local": pl.Series([dt.datetime(1, 1, 1), dt.datetime(2024, 2, 29, 1, 2, 3, 4), None]).dt.cast_time_unit("us"),
        "list": pl.Series([[1, None], [], None], dtype=pl.List(pl.Int32)),
        "words": pl.Series([["a,b", None, '"'], [], None], dtype=pl.List(pl.String)),
        "parts": pl.Series([[Decimal("1.5")], [], None], dtype=pl.List(pl.Decimal(5, 1))),
    }
)  # fmt: skip


def test_a_table_is_made_and_every_value_comes_back(database: Database) -> None:
    report = pipeline(database, EVERY).run()
    assert report.loads[0].rows == 3
    types = dict(
        database.rows("SELECT column_name, udt_name FROM information_schema.columns WHERE table_name = 't'")
    )
    assert types == {
        "n": "int4", "tiny": "int2", "small": "int2", "big": "int8", "f": "float4", "d": "float8", "yes": "bool",
        "money": "numeric", "wide": "numeric", "text": "text", "raw": "bytea", "day": "date", "at": "timestamptz",
        "local": "timestamp", "list": "_int4", "words": "_text", "parts": "_numeric",
    }  # fmt: skip
    back = Pipeline.from_dict(
        {
            "name": "back",
            "extract": {"type": "postgres", **database.config, "table": "t"},
            "load": {"type": "files", "path": "back"},
        }
    )
    back.run()
    found = pl.read_parquet("back/*.parquet").sort("n")
    widened = EVERY.with_columns(
        pl.col("tiny").cast(pl.Int16), pl.col("parts").cast(pl.List(pl.Decimal(38, 18)))
    )
    assert found.equals(widened)
    assert database.value('SELECT "raw"::text || text FROM t WHERE n = 1') == "\\x00ff"


def test_texts_become_what_the_table_wants(database: Database) -> None:
    database.execute(
        "CREATE TYPE mood AS ENUM ('happy', 'sad')",
        "CREATE TABLE t (id int PRIMARY KEY, u uuid, j jsonb, k json, m mood, i inet, at time, v varchar(3), "
        "c char(3), r int4range, b bit varying(5), ms mood[], l interval)",
    )
    row = {
        "id": 1, "u": "00000000-0000-0000-0000-0000000000ff", "j": '{"b": 1, "a": "x"}', "k": '{"b":  1}', "m": "sad",
        "i": "10.0.0.1", "at": "10:00:01.5", "v": "abc", "c": "ab", "r": "[1,5)", "b": "101", "ms": ["happy"],
        "l": "1 day 02:00",
    }  # fmt: skip
    frame = pl.DataFrame([row]).with_columns(pl.col("id").cast(pl.Int32))
    report = pipeline(database, frame).run()
    assert report.rows_rejected == 0
    names = "u::text, j::text, k::text, m::text, i::text, at::text, v, c, r::text, b::text, ms::text, l::text"
    assert database.rows(f"SELECT {names} FROM t") == [
        ("00000000-0000-0000-0000-0000000000ff", '{"a": "x", "b": 1}', '{"b":  1}', "sad", "10.0.0.1/32",
         "10:00:01.5", "abc", "ab ", "[1,5)", "101", "{happy}", "1 day 02:00:00")
    ]  # fmt: skip


def test_columns_are_found_by_name_in_any_order_and_defaults_hold(database: Database) -> None:
    database.execute('CREATE TABLE t ("V" text, made timestamptz DEFAULT now(), id bigint NOT NULL)')
    pipeline(database, ids(1, 2)).run()
    assert database.rows('SELECT id, "V", made IS NOT NULL FROM t ORDER BY id') == [
        (1, "v1", True),
        (2, "v2", True),
    ]


# Modes


def modes(database: Database, **load: Any) -> list[tuple[Any, ...]]:
    report = pipeline(database, ids(2, 3), **load).run()
    assert report.balanced
    return database.rows("SELECT id, v FROM t ORDER BY id, v")


@pytest.fixture
def filled(database: Database) -> Database:
    database.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'old'), (2, 'old')"
    )
    return database


def test_append_keeps_what_is_there(database: Database) -> None:
    database.execute("CREATE TABLE t (id bigint, v text)", "INSERT INTO t VALUES (2, 'old')")
    assert modes(database) == [(2, "old"), (2, "v2"), (3, "v3")]


def test_overwrite_replaces_all(filled: Database) -> None:
    assert modes(filled, mode="overwrite") == [(2, "v2"), (3, "v3")]


def test_upsert_replaces_rows_of_the_same_key(filled: Database) -> None:
    assert modes(filled, mode="upsert", keys=["ID"]) == [(1, "old"), (2, "v2"), (3, "v3")]


@pytest.mark.parametrize(("mode", "counted"), [("upsert", 2), ("insert_ignore", 1)])
def test_rows_of_nothing_but_keys(database: Database, mode: str, counted: int) -> None:
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    report = pipeline(database, ids(1, 2).select("id"), mode=mode, keys="id").run()
    assert database.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
    assert report.loads[0].rows == counted


def test_insert_ignore_leaves_known_keys_alone(filled: Database) -> None:
    assert modes(filled, mode="insert_ignore") == [(1, "old"), (2, "old"), (3, "v3")]


def test_error_if_exists_and_ignore_look_for_rows(filled: Database) -> None:
    with pytest.raises(LoadError, match=r"public\.t holds rows already"):
        modes(filled, mode="error_if_exists")
    assert modes(filled, mode="ignore") == [(1, "old"), (2, "old")]
    filled.execute("DELETE FROM t")
    assert modes(filled, mode="error_if_exists") == [(2, "v2"), (3, "v3")]


def test_a_table_that_an_upsert_makes_has_the_keys(database: Database) -> None:
    modes(database, mode="upsert", keys=["id"])
    assert modes(database, mode="upsert", keys=["id"]) == [(2, "v2"), (3, "v3")]
    with pytest.raises(Exception, match="duplicate key"):
        database.execute("INSERT INTO t VALUES (2, 'x')")


def test_the_same_epoch_is_loaded_once(database: Database) -> None:
    load = pipeline(database, ids(1))
    assert (load.run().status, load.run().status) == ("done", "skipped")
    load.run(force=True)
    assert database.value("SELECT count(*) FROM t") == 2
    epochs = database.rows(
        "SELECT pipeline, load, target, number, rows, mode FROM rayetl_epochs ORDER BY number"
    )
    assert epochs == [("p", "into", "public.t", 1, 1, "append"), ("p", "into", "public.t", 2, 1, "append")]


def test_repeated_keys_are_no_matter_of_chance(filled: Database) -> None:
    with pytest.raises(LoadError, match=r"1 keys \(\"id\"\) come more than once, for example \(7\)") as told:
        pipeline(filled, ids(7, 8, 7), mode="upsert", keys=["id"]).run()
    assert "deduplicate" in str(told.value.hint)
    assert filled.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


UUID = "00000000-0000-0000-0000-0000000000"


def test_keys_are_the_same_where_the_table_says_so(database: Database) -> None:
    database.execute("CREATE TABLE t (u uuid PRIMARY KEY, v varchar(3))")
    good = pl.DataFrame({"u": [UUID + "ff", UUID + "FF"], "v": ["a", "b"]})
    bad = pl.DataFrame({"u": [UUID + "aa", "no uuid"], "v": ["too long", "c"]})
    for frame in (good, pl.concat([good, bad])):
        with pytest.raises(LoadError, match=rf"1 keys \(\"u\"\) come more .* example \({UUID}ff\)"):
            pipeline(database, frame, mode="upsert", keys="u").run()
        assert database.value("SELECT count(*) FROM t") == 0
    once = pl.DataFrame({"u": [UUID + "aa", UUID + "AA", UUID + "bb"], "v": ["too long", "ok", "ok"]})
    report = pipeline(database, once, mode="upsert", keys="u").run()
    assert (report.rows_loaded, report.rows_rejected) == (2, 1), "a refused row is no repetition"


def test_keys_may_hold_commas(database: Database) -> None:
    database.execute('CREATE TABLE t ("a,z" bigint, c bigint, v bigint, UNIQUE (c, "a,z"))')
    frame = pl.DataFrame({"a,z": [1], "c": [1], "v": [1]})
    assert pipeline(database, frame, mode="upsert", keys=["a,z", "c"]).run().rows_loaded == 1
    with pytest.raises(LoadError, match='on \\("a,z"\\)') as told:
        pipeline(database, frame, mode="upsert", keys=["a,z"]).run(force=True)
    assert 'keys there: "a,z", "c"' in str(told.value.hint)


# Tables that do not fit


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("id bigint", "it has no column 'v' (`add_columns: true` would add it)"),
        ("id bigint, vv text", "it has no column 'v' (did you mean 'vv'?)"),
        ("id int, v text", "'id' is bigint, which does not go into integer"),
        ("id bigint, v int", "'v' is string, which does not go into integer"),
        ("id bigint, v text, w int NOT NULL", "its column 'w' must have a value"),
        ("id bigint GENERATED ALWAYS AS IDENTITY, v text", "the server itself gives the values of 'id'"),
        ("id bigint, v timestamptz", "'v' is string, which does not go into timestamp with time zone"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_before_a_row_is_read(
    database: Database, columns: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute(f"CREATE TABLE t ({columns})")
    monkeypatch.setattr(session.PostgresSession, "write", lambda *_: pytest.fail("rows were read"))
    with pytest.raises(LoadError) as told:
        pipeline(database, ids(1)).run()
    assert said in str(told.value)
    assert "no row was read" in str(told.value.hint)


def test_columns_are_added_on_request(database: Database) -> None:
    database.execute("CREATE TABLE t (id bigint)", "INSERT INTO t VALUES (0)")
    pipeline(database, ids(1).with_columns(w=pl.lit(1.5)), add_columns=True).run()
    assert database.rows("SELECT id, v, w FROM t ORDER BY id") == [(0, None, None), (1, "v1", 1.5)]


def test_an_upsert_needs_a_constraint_on_its_keys(database: Database) -> None:
    database.execute("CREATE TABLE t (id bigint, v text UNIQUE)")
    with pytest.raises(LoadError, match=r"no primary key or unique constraint on \(\"id\"\)") as told:
        pipeline(database, ids(1), mode="upsert", keys=["id"]).run()
    assert 'ALTER TABLE "public"."t" ADD UNIQUE ("id")' in str(told.value.hint)


@pytest.mark.parametrize("make", ["CREATE VIEW t AS SELECT 1 AS id", "CREATE SEQUENCE t"])
def test_only_tables_are_written_into(database: Database, make: str) -> None:
    database.execute(make)
    with pytest.raises(LoadError, match="t is not a table"):
        pipeline(database, ids(1)).run()


def test_a_user_who_may_not_is_told_so(postgres_server: Postgres, database: Database) -> None:
    other = postgres_server.create()
    database.execute("CREATE SCHEMA closed", "CREATE TABLE closed.t (id bigint, v text)")
    stranger = Database(other.host, other.port, database.database, other.user, other.password)
    with pytest.raises(LoadError, match="permission denied for schema closed") as told:
        pipeline(stranger, ids(1), table="closed.t").run()
    assert "let the owner grant it" in str(told.value.hint)
    postgres_server.drop(other)


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
def test_configs_that_cannot_be_are_refused_without_a_server(load: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as told:
        pipeline(Database("127.0.0.1", 1, "d", "u", "p"), ids(1), **load).check()
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pl.DataFrame({"s": [{"a": 1}]}), "PostgreSQL has no column for 's' of type struct<a:bigint>"),
        (pl.DataFrame({"s": [[[1]]]}), "array<array<bigint>>"),
        (pl.DataFrame({"k" * 64: [1]}), "more than 63 bytes"),
        (pl.DataFrame({"\u00fc" * 32: [1]}), "more than 63 bytes"),
        (pl.DataFrame({f"c{n}": [n] for n in range(1601)}), "1601 columns are more than the 1600"),
    ],
)
def test_rows_that_no_table_holds_are_refused_at_check_time(frame: pl.DataFrame, said: str) -> None:
    with pytest.raises(ConfigError) as told:
        pipeline(Database("127.0.0.1", 1, "d", "u", "p"), frame).check()
    assert said in str(told.value)


def test_names_may_be_anything_else(database: Database) -> None:
    names = ["select", 'a"b;--', "\u00fc", "Mixed Case", "k" * 63, "ctid2", "'"]
    frame = pl.DataFrame({name: [place] for place, name in enumerate(names)})
    database.execute('CREATE SCHEMA "odd.""one"')
    pipeline(database, frame, table='"odd.""one"."ta;ble"', mode="upsert", keys=["select", 'a"b;--']).run()
    assert database.rows('SELECT * FROM "odd.""one"."ta;ble"') == [tuple(range(7))]
    pipeline(database, frame, table='"odd.""one"."ta;ble"', mode="overwrite").run()
    assert database.rows('SELECT * FROM "odd.""one"."ta;ble"') == [tuple(range(7))]


def test_two_loads_into_one_table_are_refused(database: Database) -> None:
    load = {"type": "postgres", "table": "t", "mode": "append", **database.config}
    pl.DataFrame({"a": [1]}).write_parquet("in.parquet")
    config = {
        "name": "p",
        "extract": {"type": "files", "path": "in.parquet"},
        "load": [load, {**load, "table": "T"}],
    }
    with pytest.raises(ConfigError, match="both write to"):
        Pipeline.from_dict(config).check()


def test_two_loads_into_one_table_do_not_wait_for_each_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server alone knows that these are one table."""
    monkeypatch.setattr(tracker, "WAIT", 1)
    load = {"type": "postgres", "mode": "overwrite", **database.config}
    pl.DataFrame({"a": [1]}).write_parquet("in.parquet")
    config = {
        "name": "p",
        "extract": {"type": "files", "path": "in.parquet"},
        "load": [{**load, "id": "one", "table": "t"}, {**load, "id": "other", "table": "public.t"}],
        "resilience": {"retry": {"max_attempts": 1}},
    }
    with pytest.raises(LoadError, match=r"^other: two loads of this run write into public\.t"):
        Pipeline.from_dict(config).run()
    assert database.value("SELECT to_regclass('t') IS NULL")


def test_a_fault_names_the_load(database: Database) -> None:
    with pytest.raises(RayetlError, match=r"^into: PostgreSQL at .* cannot be reached"):
        pipeline(database.through(1), ids(1)).run()
    database.execute("CREATE TABLE t (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED, v text)")
    with pytest.raises(LoadError, match=r"^into: checking constraints"):
        pipeline(database, ids(1, 1)).run()


def test_tests_of_a_config_touch_no_database() -> None:
    nowhere = Database("127.0.0.1", 1, "d", "u", "p")
    config = pipeline(nowhere, ids(1))._loaded.config.model_dump(by_alias=True, exclude_unset=True)
    config["load"][0]["password"] = "p"
    config["tests"] = [
        {"name": "rows pass", "given": {"rows": [{"id": 1, "v": "a"}]}, "expect": {"into": [{"id": 1}]}},
        {"name": "rows fail", "given": {"rows": [{"id": 1, "v": "a"}]}, "expect": {"into": [{"id": 2}]}},
    ]
    report = Pipeline.from_dict(config).test()
    assert [case.passed for case in report.cases] == [True, False]


def test_explain_says_who_pours_the_rows_of_spark() -> None:
    config = pipeline(Database("127.0.0.1", 1, "d", "u", "p"), ids(1))._loaded.config
    document = config.model_dump(by_alias=True, exclude_unset=True)
    document["load"][0]["password"] = "p"
    told = Pipeline.from_dict({**document, "engine": "spark"}).explain()
    assert "    poured by this process, which holds the transaction\n" in told


# Rows that are refused


MANY = 100_000
BAD = (0, 777, 50_000, 50_001, 77_777, 99_998, 99_999)


def many(bad: str | None, good: str = "ok") -> pl.DataFrame:
    values = pl.when(pl.col("id").is_in(BAD)).then(pl.lit(bad)).otherwise(pl.lit(good))
    return pl.DataFrame({"id": range(MANY)}).with_columns(v=values)


REFUSED = [
    ("id bigint PRIMARY KEY, v varchar(5)", "far too long", "sqlstate 22001", "value too long"),
    ("id bigint PRIMARY KEY, v text NOT NULL", None, "sqlstate 23502", "null value in column"),
    (
        "id bigint PRIMARY KEY, v text CHECK (v <> 'bad')",
        "bad",
        "sqlstate 23514",
        "violates check constraint",
    ),
    ("id bigint PRIMARY KEY, v text", "nul \0", "sqlstate 22021", "invalid byte sequence"),
    ("id bigint PRIMARY KEY, v text REFERENCES known", "unknown", "sqlstate 23503", "violates foreign key"),
    ("id bigint PRIMARY KEY, v jsonb", "{bad", "sqlstate 22P02", "invalid input syntax for type json"),
    ("id bigint PRIMARY KEY, v mood", "angry", "sqlstate 22P02", "invalid input value for enum"),
]


@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize(
    ("columns", "text", "rule", "reason"), REFUSED, ids=[each[2] + each[0][-6:] for each in REFUSED]
)
def test_single_rows_are_refused_and_all_others_loaded(
    database: Database, columns: str, text: str | None, rule: str, reason: str, mode: str
) -> None:
    database.execute(
        "CREATE TYPE mood AS ENUM ('ok')",
        "CREATE TABLE known (v text PRIMARY KEY)",
        "INSERT INTO known VALUES ('ok')",
        f"CREATE TABLE t ({columns})",
    )
    frame = many(text, '"ok"' if "json" in columns else "ok")
    run = pipeline(database, frame, mode=mode, **({"keys": ["id"]} if mode == "upsert" else {}))
    report = run.run()
    assert (report.loads[0].rows, report.rows_rejected, report.balanced) == (MANY - 7, 7, True)
    assert database.rows("SELECT count(*), count(DISTINCT id) FROM t") == [(MANY - 7, MANY - 7)]
    assert database.value(f"SELECT count(*) FROM t WHERE id IN {BAD}") == 0
    letters = run.dead_letters.read().sort("row").collect()
    assert letters["row"].to_list() == list(BAD), "each with its place in the source"
    assert [json.loads(record)["id"] for record in letters["record"]] == list(BAD)
    told = letters["reasons"].to_list()[0][0]
    assert told["rule"] == rule
    assert reason in told["reason"]
    assert letters["step"].unique().to_list() == ["into"]


def test_a_key_that_is_there_already_refuses_the_row_only(filled: Database) -> None:
    run = pipeline(filled, ids(5, 2, 6, 6, 7))
    report = run.run()
    assert filled.rows("SELECT id, v FROM t ORDER BY id") == [
        (1, "old"),
        (2, "old"),
        (5, "v5"),
        (6, "v6"),
        (7, "v7"),
    ]
    assert [(reason.rule, reason.rows) for reason in report.rejects] == [("sqlstate 23505", 2)]


def test_a_refused_row_without_a_place_is_kept_as_it_was_sent(filled: Database) -> None:
    grouped = {"type": "aggregate", "group_by": ["id"], "metrics": {"v": "max(v)"}}
    run = pipeline(filled, ids(2, 9), grouped)
    run.run()
    letter = run.dead_letters.read().collect().row(0, named=True)
    assert (json.loads(letter["record"]), letter["record_format"]) == ({"id": 2, "v": "v2"}, "row")


def test_refused_rows_are_replayed_into_the_load_that_lacks_them(database: Database) -> None:
    database.execute("CREATE TABLE t (id bigint, v text CHECK (v <> 'v2'))")
    config = pipeline(database, ids(1, 2, 3))._loaded.config.model_dump(by_alias=True, exclude_unset=True)
    config["load"][0]["password"] = database.password
    other = {"id": "other", "from": "rows", "type": "files", "path": "other", "mode": "append"}
    config["load"] = [*config["load"], other]
    run = Pipeline.from_dict(config)
    run.run()
    database.execute("ALTER TABLE t DROP CONSTRAINT t_v_check")
    assert run.replay().rows_loaded == 1
    assert database.rows("SELECT id, v FROM t ORDER BY id") == [(1, "v1"), (2, "v2"), (3, "v3")]
    assert sorted(pl.read_parquet("other/**/*.parquet")["id"]) == [1, 2, 3], "not a second time"
    with pytest.raises(RayetlError, match="nothing to replay"):
        run.replay()


def test_a_replayed_row_that_is_refused_again_keeps_its_place(filled: Database) -> None:
    run = pipeline(filled, ids(5, 2))
    run.run()
    assert run.replay().rows_rejected == 1
    letters = run.dead_letters.read(pending=True).collect()
    assert letters.select("step", "row").rows() == [("into", 1)]


def test_what_rules_and_stores_refused_is_replayed_apart(filled: Database) -> None:
    positive = {"type": "validate", "rules": [{"name": "few", "check": "id < 9", "on_failure": "quarantine"}]}
    run = pipeline(filled, ids(5, 2, 9), positive)
    run.run()
    with pytest.raises(RayetlError, match="at several places: a rule or source, the load into") as told:
        run.replay()
    assert "--step" in str(told.value.hint)


def test_a_replay_of_one_step_by_command(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.execute("CREATE TABLE t (id bigint, v text CHECK (v <> 'v2'))")
    ids(1, 2, 9).write_parquet("in.parquet")
    for name, value in database.config.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_WAREHOUSE__{name.upper()}", str(value))
    Path("p.yaml").write_text(
        "name: p\nextract: {type: files, path: in.parquet}\n"
        "transform: [{id: few, type: validate, rules: [{name: r, check: id < 9, on_failure: quarantine}]}]\n"
        "load: {id: into, type: postgres, credential: warehouse, table: t, mode: append}\n"
    )

    def rayetl(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "rayetl", *words], capture_output=True, text=True)

    assert rayetl("run", "p.yaml").returncode == 0
    database.execute("ALTER TABLE t DROP CONSTRAINT t_v_check")
    several = rayetl("dlq", "replay", "p.yaml")
    assert (several.returncode, "--step ID" in several.stderr) == (1, True)
    assert rayetl("dlq", "replay", "p.yaml", "--step", "into").returncode == 0
    assert database.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
    nothing = rayetl("dlq", "replay", "p.yaml", "--step", "into")
    assert nothing.returncode == 1
    assert "nothing that was refused at 'into' waits" in nothing.stderr
    assert "rayetl dlq list" in nothing.stderr


def test_a_fault_that_is_in_no_row_stops_the_load(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id bigint, v text)",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW.nope; END'",
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    )
    with pytest.raises(
        LoadError, match=r"into public\.t failed: record \"new\" has no field \"nope\" \(SQLSTATE 42703\)"
    ):
        pipeline(database, ids(1, 2)).run()
    assert database.value("SELECT count(*) FROM t") == 0


def test_a_constraint_that_waits_for_the_commit_is_asked_before_it(database: Database) -> None:
    database.execute("CREATE TABLE t (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED, v text)")
    with pytest.raises(LoadError, match="checking constraints failed: duplicate key"):
        pipeline(database, ids(1, 1)).run()
    assert database.value(
        "SELECT to_regclass('rayetl_epochs') IS NULL OR NOT EXISTS (SELECT FROM rayetl_epochs)"
    )


def test_what_stands_before_a_table_may_change_rows_and_refuse_them(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id bigint, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10)",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.v := upper(NEW.v); RETURN NEW; END'",
        "CREATE TRIGGER g BEFORE INSERT ON low FOR EACH ROW EXECUTE FUNCTION f()",
    )
    report = pipeline(database, ids(1, 10, 2)).run()
    assert database.rows("SELECT id, v FROM low ORDER BY id") == [(1, "V1"), (2, "V2")]
    assert [(reason.rule, reason.rows) for reason in report.rejects] == [("sqlstate 23514", 1)]


def test_a_trigger_that_swallows_rows_does_not_pass_unseen(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id bigint, v text)",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    )
    with pytest.raises(Exception, match=r"2 rows went to .* the server counted 0"):
        pipeline(database, ids(1, 2)).run()


def test_too_many_refused_rows_are_no_single_rows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST", 50)
    database.execute("CREATE TABLE t (id bigint, v varchar(1))")
    with pytest.raises(
        LoadError, match=r"more than 50 rows for public\.t were refused; the last because: value too"
    ):
        pipeline(database, ids(*range(1000))).run()
    assert database.value("SELECT count(*) FROM t") == 0
    assert not Path(".rayetl/rejects/p/rejects").exists()


def test_rows_go_from_database_to_database(database: Database) -> None:
    database.execute(
        "CREATE TABLE a AS SELECT i AS id, repeat('x', i % 50) AS v FROM generate_series(1, 250000) i"
    )
    config = {
        "name": "copy",
        "extract": {"type": "postgres", "table": "a", **database.config},
        "load": {"type": "postgres", "table": "b", "mode": "append", **database.config},
    }
    report = Pipeline.from_dict(config).run()
    assert (report.rows_read, report.rows_loaded) == (250_000, 250_000)
    assert (
        database.value("SELECT count(*) FROM ((TABLE a EXCEPT TABLE b) UNION ALL (TABLE b EXCEPT TABLE a)) d")
        == 0
    )


# Whole runs through faults


def retried(database: Database, frame: pl.DataFrame) -> Pipeline:
    frame.write_parquet("in.parquet")
    load = {"id": "into", "type": "postgres", "table": "t", "mode": "append", **database.config}
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"rows": {"type": "files", "path": "in.parquet"}},
            "load": load,
            "resilience": {"retry": {"max_attempts": 3, "initial_delay": "10ms"}},
        }
    )


@pytest.mark.parametrize(("after", "retries"), [(True, 0), (False, 1)])
def test_a_run_whose_commit_is_cut_off_ends_well(database: Database, after: bool, retries: int) -> None:
    database.execute("CREATE TABLE t (id bigint, v text CHECK (v <> 'v3'))")
    pipeline(database, ids(0)).run()
    with Proxy(database.port, after=after) as proxy:
        run = retried(database.through(proxy.port), ids(1, 2, 3))
        proxy.arm()
        report = run.run()
        assert (report.status, report.retries, proxy.cuts) == ("done", retries, 1)
        assert report.rows_rejected == 1
        assert run.run().status == "skipped"
    assert database.rows("SELECT id FROM t ORDER BY id") == [(0,), (1,), (2,)]
    assert run.dead_letters.read().collect()["row"].to_list() == [2], "once, however often it was tried"
    assert database.value("SELECT count(*) FROM rayetl_epochs") == 2


class Kept(Provider):
    """A provider whose credential the test changes."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def find(self, name: str) -> Fields:
        return dict(self._fields)

    def place(self, name: str) -> str:
        return "the test"


def test_a_password_that_changes_while_a_run_is_under_way_costs_no_row(
    postgres_server: Postgres, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {name: str(value) for name, value in database.config.items()}
    monkeypatch.setattr(Credentials, "here", lambda: Credentials([Kept(kept)]))
    database.execute("CREATE TABLE a AS SELECT i AS id FROM generate_series(1, 1000) i")
    config = {
        "name": "copy",
        "extract": {"type": "postgres", "table": "a", "credential": "warehouse"},
        "load": {"type": "postgres", "table": "b", "mode": "append", "credential": "warehouse"},
        "resilience": {"retry": {"max_attempts": 3, "initial_delay": "10ms"}},
    }
    refusals = []

    def finishing(self: session.PostgresSession) -> pl.DataFrame | None:
        monkeypatch.setattr(session.PostgresSession, "finish", finish)
        postgres_server.superuser.execute(
            f"ALTER ROLE {database.user} PASSWORD 'another'",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{database.user}'",
        )
        return finish(self)

    def refuse(error: Exception, server: Server) -> Exception:
        # Whoever keeps the credential is a moment later than the server.
        refusals.append(fault := connect_fault(error, server))
        kept["password"] = "another"
        return fault

    finish, connect_fault = session.PostgresSession.finish, faults.connect_fault
    monkeypatch.setattr(session.PostgresSession, "finish", finishing)
    monkeypatch.setattr(connection, "connect_fault", refuse)
    report = Pipeline.from_dict(config).run()
    assert (report.status, report.rows_loaded, report.rows_rejected, report.retries) == ("done", 1000, 0, 1)
    assert [type(error) for error in refusals] == [Refused], "asked once more, not more often"
    owner = Database(database.host, database.port, database.database, database.user, "another")
    assert owner.rows("SELECT count(*), count(DISTINCT id) FROM b") == [(1000, 1000)]
