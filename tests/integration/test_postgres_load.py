"""The load `postgres` where it is like no other: its types, schemas, constraints and triggers."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.postgres import Database, Postgres

from rayetl import Pipeline
from rayetl.errors import LoadError, RayetlError
from tests.integration.database_runs import ids, into


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
    report = into(database, EVERY).run()
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
    report = into(database, frame).run()
    assert report.rows_rejected == 0
    names = "u::text, j::text, k::text, m::text, i::text, at::text, v, c, r::text, b::text, ms::text, l::text"
    assert database.rows(f"SELECT {names} FROM t") == [
        ("00000000-0000-0000-0000-0000000000ff", '{"a": "x", "b": 1}', '{"b":  1}', "sad", "10.0.0.1/32",
         "10:00:01.5", "abc", "ab ", "[1,5)", "101", "{happy}", "1 day 02:00:00")
    ]  # fmt: skip


def test_keys_may_hold_commas(database: Database) -> None:
    database.execute('CREATE TABLE t ("a,z" bigint, c bigint, v bigint, UNIQUE (c, "a,z"))')
    frame = pl.DataFrame({"a,z": [1], "c": [1], "v": [1]})
    assert into(database, frame, mode="upsert", keys=["a,z", "c"]).run().rows_loaded == 1
    with pytest.raises(LoadError, match='on \\("a,z"\\)') as told:
        into(database, frame, mode="upsert", keys=["a,z"]).run(force=True)
    assert 'keys there: "a,z", "c"' in str(told.value.hint)


def test_a_user_who_may_not_is_told_so(postgres_server: Postgres, database: Database) -> None:
    other = postgres_server.create()
    database.execute("CREATE SCHEMA closed", "CREATE TABLE closed.t (id bigint, v text)")
    stranger = Database(other.host, other.port, database.database, other.user, other.password)
    with pytest.raises(LoadError, match="permission denied for schema closed") as told:
        into(stranger, ids(1), table="closed.t").run()
    assert "let the owner grant it" in str(told.value.hint)
    postgres_server.drop(other)


def test_names_may_be_anything_else(database: Database) -> None:
    names = ["select", 'a"b;--', "\u00fc", "Mixed Case", "k" * 63, "ctid2", "'"]
    frame = pl.DataFrame({name: [place] for place, name in enumerate(names)})
    database.execute('CREATE SCHEMA "odd.""one"')
    into(database, frame, table='"odd.""one"."ta;ble"', mode="upsert", keys=["select", 'a"b;--']).run()
    assert database.rows('SELECT * FROM "odd.""one"."ta;ble"') == [tuple(range(7))]
    into(database, frame, table='"odd.""one"."ta;ble"', mode="overwrite").run()
    assert database.rows('SELECT * FROM "odd.""one"."ta;ble"') == [tuple(range(7))]


def test_a_fault_names_the_load(database: Database) -> None:
    with pytest.raises(RayetlError, match=r"^into: PostgreSQL at .* cannot be reached"):
        into(database.through(1), ids(1)).run()
    database.execute("CREATE TABLE t (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED, v text)")
    with pytest.raises(LoadError, match=r"^into: checking constraints"):
        into(database, ids(1, 1)).run()


def test_a_constraint_that_waits_for_the_commit_is_asked_before_it(database: Database) -> None:
    database.execute("CREATE TABLE t (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED, v text)")
    with pytest.raises(LoadError, match="checking constraints failed: duplicate key"):
        into(database, ids(1, 1)).run()
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
    report = into(database, ids(1, 10, 2)).run()
    assert database.rows("SELECT id, v FROM low ORDER BY id") == [(1, "V1"), (2, "V2")]
    assert [(reason.rule, reason.rows) for reason in report.rejects] == [("sqlstate 23514", 1)]


def test_a_trigger_that_swallows_rows_does_not_pass_unseen(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id bigint, v text)",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    )
    with pytest.raises(Exception, match=r"2 rows went to .* the server counted 0"):
        into(database, ids(1, 2)).run()


@pytest.mark.parametrize(
    "mode", [{"mode": "append"}, {"mode": "upsert", "keys": "id"}], ids=["append", "upsert"]
)
def test_rows_against_a_policy_of_the_table_are_set_aside(database: Database, mode: dict[str, Any]) -> None:
    database.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, v text)",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "CREATE POLICY p ON t USING (true) WITH CHECK (id < 10)",
    )
    report = into(database, ids(1, 20, 3), **mode).run()
    assert database.rows("SELECT id FROM t ORDER BY id") == [(1,), (3,)]
    said = 'new row violates row-level security policy for table "t"'
    assert [(each.rule, each.reason) for each in report.rejects] == [("sqlstate 42501", said)]


def test_what_a_rule_does_beside_an_insert_is_done(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id bigint, v text)",
        "CREATE TABLE seen (id bigint)",
        "CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO seen VALUES (NEW.id)",
    )
    into(database, ids(1, 2)).run()
    assert database.rows("SELECT id FROM seen ORDER BY id") == [(1,), (2,)]
    assert database.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


@pytest.mark.parametrize(
    "keeps",
    [
        "CREATE TRIGGER g BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING",
    ],
)
def test_rows_that_a_table_does_not_let_go_stop_an_overwrite(database: Database, keeps: str) -> None:
    database.execute(
        "CREATE TABLE t (id bigint, v text)",
        "INSERT INTO t VALUES (7, 'old')",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        keeps,
    )
    with pytest.raises(LoadError, match="are there after they were deleted"):
        into(database, ids(1), mode="overwrite").run()
    assert database.rows("SELECT id FROM t") == [(7,)]


HALF = dt.datetime(2024, 1, 1, 0, 0, 0, 500_000)
SIZED = [
    ("timestamp(0)", HALF, HALF.replace(microsecond=0)),
    ("timestamptz(3)", HALF.replace(microsecond=500_001, tzinfo=dt.UTC), HALF.replace(tzinfo=dt.UTC)),
    ("timestamp(0)[]", [HALF], [HALF.replace(microsecond=0), None]),
    ("time(0)", "12:00:00.5", "12:00:00"),
    ("timetz(1)", "12:00:00.55+02", "12:00:00.5+02"),
    ("interval(0)", "1.5 seconds", "1.5 hours"),
    ("interval hour to minute", "1 day 00:00:59", "1 day 00:01"),
    ("time(0)[]", ["12:00:00.5"], ["12:00:00", None]),
    ("varchar(3)", "abc ", "ab "),
    ("varchar(3)[]", ["ab    "], ["ab ", None]),
    ('"char"', "ab", "b"),
    ('"char"[]', ["ab"], ["b", None]),
    ("short", "abc ", "ab "),
]


@pytest.mark.parametrize(("column", "changed", "kept"), SIZED)
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_value_that_would_be_changed_stops_the_load(
    database: Database, column: str, changed: object, kept: object, mode: str
) -> None:
    database.execute(
        "CREATE DOMAIN short AS varchar(3)", f"CREATE TABLE t (id bigint PRIMARY KEY, v {column})"
    )
    keys = {"keys": "id"} if mode == "upsert" else {}
    for rows in ([kept, changed], [changed, None]):
        frame = pl.DataFrame({"id": [1, 2], "v": rows})
        with pytest.raises(LoadError, match=r"the column 'v' holds .*, which .* would change without a word"):
            into(database, frame, mode=mode, **keys).run()
        assert database.value("SELECT count(*) FROM t") == 0
    fits = pl.DataFrame({"id": [1, 2], "v": [kept, None]})
    assert into(database, fits, mode=mode, **keys).run().rows_loaded == 2


@pytest.mark.parametrize(
    ("column", "value", "loaded"),
    [
        ("timestamp(0)", dt.datetime(2024, 1, 1, 0, 0, 0, 5), "2024-01-01 00:00:00"),
        ("timestamp(0)[]", [dt.datetime(2024, 1, 1, 0, 0, 0, 5)], '{"2024-01-01 00:00:00"}'),
        ("varchar(3)", "abc ", "abc"),
        ("varchar(3)[]", ["ab    "], "{ab}"),
    ],
)
def test_what_the_hint_says_to_type_makes_rows_that_are_loaded(
    database: Database, column: str, value: object, loaded: str
) -> None:
    database.execute(f'CREATE TABLE t ("the v" {column})')
    frame = pl.DataFrame({"the v": [value]})
    with pytest.raises(LoadError) as told:
        into(database, frame).run()
    shall_be, _, _ = str(told.value.hint).partition("; or change the table")
    typed = shall_be.removeprefix("say in a select step what it shall be: ")
    assert into(database, frame, {"type": "select", "columns": [typed]}).run().rows_loaded == 1
    assert database.value('SELECT "the v"::text FROM t') == loaded


def test_decimals_of_an_array_go_where_the_scale_holds_them(database: Database) -> None:
    database.execute("CREATE TABLE t (v numeric(5, 2)[])")
    wide = pl.DataFrame({"v": [[Decimal("1.2399")]]}, schema={"v": pl.List(pl.Decimal(10, 4))})
    with pytest.raises(LoadError, match=r"'v' is array<decimal\(10,4\)>, which does not go into numeric"):
        into(database, wide).run()
    into(database, pl.DataFrame({"v": [[Decimal("1.2")]]}, schema={"v": pl.List(pl.Decimal(4, 1))})).run()
    assert database.value("SELECT v::text FROM t") == "{1.20}"


@pytest.mark.parametrize("kind", ["json", "jsonb"])
def test_texts_of_an_array_become_documents(database: Database, kind: str) -> None:
    database.execute(f"CREATE TABLE t (id bigint, v {kind}[])")
    rows = pl.DataFrame({"id": [1, 2, 3], "v": [['{"a": 1}', None], [], ["{"]]})
    assert into(database, rows).run().rows_rejected == 1
    assert database.rows("SELECT id, v[1]->>'a' FROM t ORDER BY id") == [(1, "1"), (2, None)]


@pytest.mark.parametrize(
    ("key", "same"),
    [
        ("char(3) PRIMARY KEY", ("a", "a ")),
        ("text COLLATE ci PRIMARY KEY", ("a", "A")),
        ("varchar(9) COLLATE ci PRIMARY KEY", ("a", "A")),
        ("text, UNIQUE NULLS NOT DISTINCT (k)", (None, None)),
    ],
)
def test_keys_are_the_same_where_the_table_says_so(
    database: Database, key: str, same: tuple[str | None, str | None]
) -> None:
    database.execute(
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        f"CREATE TABLE t (k {key})",
        "ALTER TABLE t ADD v bigint CHECK (v < 9)",
    )
    rows = pl.DataFrame({"k": [*same, "b", "c"], "v": [1, 2, 3, 9]}, schema_overrides={"k": pl.String})
    for frame in (rows, rows.head(2)):
        with pytest.raises(LoadError, match=r"1 key .* comes more than once"):
            into(database, frame, mode="upsert", keys="k").run()
        assert database.value("SELECT count(*) FROM t") == 0
    assert into(database, rows.tail(3), mode="upsert", keys="k").run().rows_loaded == 2
