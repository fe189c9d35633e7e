"""The load `mysql` against a real server: types, modes, tables that do not fit, rows that are refused."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.mariadb import MariaDatabase, Mariadb
from services.proxy import Proxy

from rayetl import Pipeline
from rayetl.connectors.databases import tracker, writing
from rayetl.connectors.databases.faults import Refused, Server
from rayetl.connectors.databases.session import DatabaseSession
from rayetl.connectors.mysql import connection, faults, session
from rayetl.connectors.mysql.load import MysqlLoad
from rayetl.errors import ConfigError, LoadError, RayetlError
from rayetl.secrets import Credentials
from rayetl.secrets.provider import Fields, Provider

NOWHERE = MariaDatabase("127.0.0.1", 1, "d", "u", "p")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pipeline(database: MariaDatabase, frame: pl.DataFrame, *steps: dict[str, Any], **load: Any) -> Pipeline:
    frame.write_parquet("in.parquet")
    into = {"id": "into", "type": "mysql", "table": "t", "mode": "append", **database.config, **load}
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"rows": {"type": "files", "path": "in.parquet"}},
            "transform": list(steps),
            "load": into,
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
        "f": pl.Series([1.5, 0.1, None], dtype=pl.Float32),
        "d": pl.Series([5e-324, -1.7976931348623157e308, None], dtype=pl.Float64),
        "yes": [True, False, None],
        "money": pl.Series([Decimal("-99999999.99"), Decimal("0.10"), None], dtype=pl.Decimal(10, 2)),
        "wide": pl.Series([Decimal(10**38 - 1), Decimal(-1), None], dtype=pl.Decimal(38, 0)),
        "text": ["", "tab\t \u00e9 \U0001f600 'q' \"q\" \\N \0 , \r\n \\", None],
        "word": ["NULL", "\\N", None],
        "raw": pl.Series([b"\x00\xff\n\\", b"", None], dtype=pl.Binary),
        "day": [dt.date(1, 1, 1), dt.date(9999, 12, 31), None],
        "at": pl.Series([dt.datetime(1970, 1, 1, 0, 0, 1, 999999), dt.datetime(2038, 1, 19, 3, 14, 7), None]).dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
        "local": pl.Series([dt.datetime(1, 1, 1), dt.datetime(2024, 2, 29, 1, 2, 3, 4), None]).dt.cast_time_unit("us"),
    }
)  # fmt: skip


def back(database: MariaDatabase, table: str) -> pl.DataFrame:
    extract = {"type": "mysql", **database.config, "table": table}
    load = {"type": "files", "path": f"back_{table}", "mode": "overwrite"}
    Pipeline.from_dict({"name": "back", "extract": extract, "load": load}).run()
    return pl.read_parquet(f"back_{table}/*.parquet")


@pytest.mark.parametrize(
    "mode", [{"mode": "append"}, {"mode": "upsert", "keys": "n"}], ids=["straight", "staged"]
)
def test_a_table_is_made_and_every_value_comes_back(maria: MariaDatabase, mode: dict[str, Any]) -> None:
    report = pipeline(maria, EVERY, **mode).run()
    assert report.loads[0].rows == 3
    types = dict(
        maria.rows(
            "SELECT column_name, column_type FROM information_schema.columns WHERE table_name = 't' "
            "AND table_schema = database()"
        )
    )
    assert types == {
        "n": "int(11)", "tiny": "tinyint(4)", "small": "smallint(6)", "big": "bigint(20)", "f": "float",
        "d": "double", "yes": "tinyint(1)", "money": "decimal(10,2)", "wide": "decimal(38,0)", "text": "longtext",
        "word": "longtext", "raw": "longblob", "day": "date", "at": "timestamp(6)", "local": "datetime(6)",
    }  # fmt: skip
    assert back(maria, "t").sort("n").equals(EVERY)


def test_what_is_read_goes_back_into_the_same_types(maria: MariaDatabase) -> None:
    maria.execute(
        "CREATE TABLE a (id int unsigned PRIMARY KEY, t tinyint unsigned, s smallint unsigned, m mediumint unsigned,"
        " b bigint unsigned, o bit(1), n bit(9), c char(3), v varchar(9) character set latin1, e enum('x','1'), "
        "st set('p','q'), j json, u uuid, i inet6, ti time(1), h datetime, ts timestamp(3) NULL, bl varbinary(4), "
        "dn decimal(12,4))",
        "INSERT INTO a VALUES (4294967295, 255, 65535, 16777215, 18446744073709551615, b'1', b'100000001', 'ab', "
        "'\u00e9', '1', 'p,q', '[1]', '00000000-0000-0000-0000-0000000000ff', '::1', '-10:00:01.5', "
        "'2024-01-01 01:02:03', '2024-01-01 01:02:03.125', X'00ff', 1.25)",
        "INSERT INTO a (id) VALUES (1)",
        "CREATE TABLE b LIKE a",
        "CREATE TABLE c LIKE a",
    )
    for table, mode in (("b", {"mode": "append"}), ("c", {"mode": "upsert", "keys": ["id"]})):
        load = {"type": "mysql", "table": table, **mode, **maria.config}
        extract = {"type": "mysql", "table": "a", **maria.config}
        report = Pipeline.from_dict({"name": "copy", "extract": extract, "load": load}).run()
        assert (report.rows_loaded, report.rows_rejected) == (2, 0)
        assert maria.value(f"SELECT count(*) FROM (SELECT * FROM a EXCEPT SELECT * FROM {table}) AS d") == 0


def test_columns_are_found_by_name_in_any_order_and_defaults_hold(maria: MariaDatabase) -> None:
    maria.execute(
        "CREATE TABLE t (no int AUTO_INCREMENT PRIMARY KEY, V text, made datetime DEFAULT now(), id bigint NOT NULL)"
    )
    pipeline(maria, ids(1, 2)).run()
    assert maria.rows("SELECT no, id, V, made IS NOT NULL FROM t ORDER BY id") == [
        (1, 1, "v1", 1),
        (2, 2, "v2", 1),
    ]


def test_a_zero_stays_a_zero_in_a_column_that_counts(maria: MariaDatabase) -> None:
    maria.execute("CREATE TABLE t (id bigint AUTO_INCREMENT PRIMARY KEY, v text)")
    pipeline(maria, ids(0, 5)).run()
    assert maria.rows("SELECT id FROM t ORDER BY id") == [(0,), (5,)]


# Modes


def modes(database: MariaDatabase, **load: Any) -> list[tuple[Any, ...]]:
    report = pipeline(database, ids(2, 3), **load).run()
    assert report.balanced
    return database.rows("SELECT id, v FROM t ORDER BY id, v")


@pytest.fixture
def filled(maria: MariaDatabase) -> MariaDatabase:
    maria.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'old'), (2, 'old')"
    )
    return maria


def test_append_keeps_what_is_there(maria: MariaDatabase) -> None:
    maria.execute("CREATE TABLE t (id bigint, v text)", "INSERT INTO t VALUES (2, 'old')")
    assert modes(maria) == [(2, "old"), (2, "v2"), (3, "v3")]


def test_overwrite_replaces_all(filled: MariaDatabase) -> None:
    assert modes(filled, mode="overwrite") == [(2, "v2"), (3, "v3")]


def test_upsert_replaces_rows_of_the_same_key(filled: MariaDatabase) -> None:
    assert modes(filled, mode="upsert", keys=["ID"]) == [(1, "old"), (2, "v2"), (3, "v3")]


@pytest.mark.parametrize(("mode", "counted"), [("upsert", 2), ("insert_ignore", 1)])
def test_rows_of_nothing_but_keys(maria: MariaDatabase, mode: str, counted: int) -> None:
    maria.execute("CREATE TABLE t (id bigint PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    report = pipeline(maria, ids(1, 2).select("id"), mode=mode, keys="id").run()
    assert maria.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
    assert report.loads[0].rows == counted


@pytest.mark.parametrize("keys", [{"keys": "id"}, {}], ids=["by keys", "by any"])
def test_insert_ignore_leaves_known_keys_alone(filled: MariaDatabase, keys: dict[str, str]) -> None:
    assert modes(filled, mode="insert_ignore", **keys) == [(1, "old"), (2, "old"), (3, "v3")]


def test_insert_ignore_ignores_no_other_fault(maria: MariaDatabase) -> None:
    maria.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(3))", "INSERT INTO t VALUES (2, 'old')")
    frame = pl.DataFrame({"id": [2, 3, 4], "v": ["new", "too long", "ok"]})
    report = pipeline(maria, frame, mode="insert_ignore", keys="id").run()
    assert (report.rows_loaded, report.rows_rejected, report.balanced) == (1, 1, True)
    assert maria.rows("SELECT * FROM t ORDER BY id") == [(2, "old"), (4, "ok")]


def test_error_if_exists_and_ignore_look_for_rows(filled: MariaDatabase) -> None:
    with pytest.raises(LoadError, match=r"\.t holds rows already"):
        modes(filled, mode="error_if_exists")
    assert modes(filled, mode="ignore") == [(1, "old"), (2, "old")]
    filled.execute("DELETE FROM t")
    assert modes(filled, mode="error_if_exists") == [(2, "v2"), (3, "v3")]


def test_a_table_that_an_upsert_makes_has_the_keys(maria: MariaDatabase) -> None:
    modes(maria, mode="upsert", keys=["id"])
    assert modes(maria, mode="upsert", keys=["id"]) == [(2, "v2"), (3, "v3")]
    with pytest.raises(Exception, match="Duplicate entry"):
        maria.execute("INSERT INTO t VALUES (2, 'x')")


def test_keys_of_text_are_told_apart_by_letter_case_in_a_table_that_is_made(maria: MariaDatabase) -> None:
    frame = pl.DataFrame({"k": ["a", "A"], "v": [1, 2]})
    assert pipeline(maria, frame, mode="upsert", keys="k").run().rows_loaded == 2


def test_the_same_epoch_is_loaded_once(maria: MariaDatabase) -> None:
    load = pipeline(maria, ids(1))
    assert (load.run().status, load.run().status) == ("done", "skipped")
    load.run(force=True)
    assert maria.value("SELECT count(*) FROM t") == 2
    target = f"{maria.database}.t"
    epochs = maria.rows(
        "SELECT pipeline, `load`, target, number, `rows`, mode FROM rayetl_epochs ORDER BY number"
    )
    assert epochs == [("p", "into", target, 1, 1, "append"), ("p", "into", target, 2, 1, "append")]


def test_repeated_keys_are_no_matter_of_chance(filled: MariaDatabase) -> None:
    with pytest.raises(LoadError, match=r"1 keys \(`id`\) come more than once, for example \(7\)") as told:
        pipeline(filled, ids(7, 8, 7), mode="upsert", keys=["id"]).run()
    assert "deduplicate" in str(told.value.hint)
    assert filled.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


UUID = "00000000-0000-0000-0000-0000000000"


@pytest.mark.parametrize(
    ("kind", "same", "other"),
    [
        ("varchar(40) collate utf8mb4_general_ci", ("a", "A"), ("b", "c")),
        ("varchar(40) character set latin1", ("\u00e9", "E"), ("b", "c")),
        ("uuid", (UUID + "ff", UUID + "FF"), (UUID + "aa", UUID + "bb")),
    ],
)
def test_keys_are_the_same_where_the_table_says_so(
    maria: MariaDatabase, kind: str, same: tuple[str, str], other: tuple[str, str]
) -> None:
    maria.execute(f"CREATE TABLE t (u {kind} PRIMARY KEY, v varchar(3))")
    good = pl.DataFrame({"u": same, "v": ["a", "b"]})
    bad = pl.DataFrame({"u": [other[0], other[1] * 30], "v": ["too long", "c"]})
    for frame in (good, pl.concat([good, bad])):
        with pytest.raises(LoadError, match=r"1 keys \(`u`\) come more than once"):
            pipeline(maria, frame, mode="upsert", keys="u").run()
        assert maria.value("SELECT count(*) FROM t") == 0
    once = pl.DataFrame({"u": [*same, other[0]], "v": ["too long", "ok", "ok"]})
    report = pipeline(maria, once, mode="upsert", keys="u").run()
    assert (report.rows_loaded, report.rows_rejected) == (2, 1), "a refused row is no repetition"


def test_an_upsert_into_a_table_with_a_further_unique_index_is_refused(maria: MariaDatabase) -> None:
    """The server would replace whatever row the other index finds."""
    maria.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(9) UNIQUE)")
    with pytest.raises(LoadError, match=r"has a further unique index v on \(`v`\)"):
        pipeline(maria, ids(1), mode="upsert", keys="id").run()
    maria.execute("CREATE TABLE u (no int AUTO_INCREMENT PRIMARY KEY, id bigint UNIQUE, v text)")
    for _ in range(2):
        pipeline(maria, ids(1, 2), mode="upsert", keys="id", table="u").run(force=True)
    assert maria.rows("SELECT no, id FROM u ORDER BY no") == [(1, 1), (2, 2)]


# Tables that do not fit


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("id bigint", "it has no column 'v' (`add_columns: true` would add it)"),
        ("id bigint, vv text", "it has no column 'v' (did you mean 'vv'?)"),
        ("id int, v text", "'id' is bigint, which does not go into int(11)"),
        ("id year, v text", "'id' is bigint, which does not go into year(4)"),
        ("id bigint, v int", "'v' is string, which does not go into int(11)"),
        ("id bigint, v blob", "'v' is string, which does not go into blob"),
        ("id bigint, v datetime", "'v' is string, which does not go into datetime"),
        ("id bigint, v text, w int NOT NULL", "its column 'w' must have a value"),
        ("w int, id bigint AS (w + 1) STORED, v text", "the server itself gives the values of 'id'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_before_a_row_is_read(
    maria: MariaDatabase, columns: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    maria.execute(f"CREATE TABLE t ({columns})")
    monkeypatch.setattr(DatabaseSession, "write", lambda *_: pytest.fail("rows were read"))
    with pytest.raises(LoadError) as told:
        pipeline(maria, ids(1)).run()
    assert said in str(told.value)
    assert "no row was read" in str(told.value.hint)


@pytest.mark.parametrize("engine", ["MyISAM", "Aria"])
def test_a_table_without_transactions_is_refused_by_name(maria: MariaDatabase, engine: str) -> None:
    maria.execute(f"CREATE TABLE t (id bigint, v text) ENGINE = {engine}")
    with pytest.raises(LoadError, match=f"the table t is one of {engine}, which has no transactions") as told:
        pipeline(maria, ids(1)).run()
    assert "ENGINE = InnoDB" in str(told.value.hint)


def test_columns_are_added_on_request(maria: MariaDatabase) -> None:
    maria.execute("CREATE TABLE t (id bigint)", "INSERT INTO t VALUES (0)")
    moment = pl.lit(dt.datetime(2024, 1, 1)).dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    pipeline(maria, ids(1).with_columns(w=pl.lit(1.5), at=moment), add_columns=True).run()
    assert maria.rows("SELECT id, v, w, at FROM t ORDER BY id") == [
        (0, None, None, None),
        (1, "v1", 1.5, dt.datetime(2024, 1, 1)),
    ]


def test_an_upsert_needs_a_constraint_on_its_keys(maria: MariaDatabase) -> None:
    maria.execute("CREATE TABLE t (id bigint, v text, UNIQUE (v(5)))")
    with pytest.raises(LoadError, match=r"no primary key or unique constraint on \(`id`\)") as told:
        pipeline(maria, ids(1), mode="upsert", keys=["id"]).run()
    assert f"ALTER TABLE `{maria.database}`.`t` ADD UNIQUE (`id`); keys there: none" in str(told.value.hint)


@pytest.mark.parametrize("make", ["CREATE VIEW t AS SELECT 1 AS id", "CREATE SEQUENCE t"])
def test_only_tables_are_written_into(maria: MariaDatabase, make: str) -> None:
    maria.execute(make)
    with pytest.raises(LoadError, match="t is not a table"):
        pipeline(maria, ids(1)).run()


def test_a_user_who_may_not_is_told_so(mariadb_server: Mariadb, maria: MariaDatabase) -> None:
    other = mariadb_server.create()
    with pytest.raises(LoadError, match=r"command denied to user|Access denied for user") as told:
        pipeline(maria, ids(1), table=f"{other.database}.t").run()
    assert "let an administrator grant it" in str(told.value.hint)
    mariadb_server.drop(other)


def test_a_server_that_takes_no_local_data_is_said_before_a_row_is_read(
    mariadb_server: Mariadb, maria: MariaDatabase
) -> None:
    mariadb_server.superuser.execute("SET GLOBAL local_infile = 0")
    try:
        with pytest.raises(LoadError, match="does not allow LOAD DATA LOCAL") as told:
            pipeline(maria, ids(1)).run()
    finally:
        mariadb_server.superuser.execute("SET GLOBAL local_infile = 1")
    assert "SET GLOBAL local_infile = 1" in str(told.value.hint)


def test_a_server_that_asks_for_a_file_gets_none(maria: MariaDatabase, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("1\n")
    maria.execute("CREATE TABLE t (id text)")
    load = MysqlLoad.model_validate({"type": "mysql", "table": "t", **maria.config})
    with load.connect(LoadError) as opened, pytest.raises(LoadError, match="reading failed"):
        opened.execute(f"LOAD DATA LOCAL INFILE '{tmp_path}/secret' INTO TABLE t", "reading")
    assert maria.value("SELECT count(*) FROM t") == 0


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
        pipeline(NOWHERE, ids(1), **load).check()
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pl.DataFrame({"s": [{"a": 1}]}), "MySQL has no column for 's' of type struct<a:bigint>"),
        (pl.DataFrame({"s": [[1]]}), "array<bigint>"),
        (pl.DataFrame({"k" * 65: [1]}), "more than 64 characters"),
        (pl.DataFrame({f"c{n}": [n] for n in range(1018)}), "1018 columns are more than the 1017"),
    ],
)
def test_rows_that_no_table_holds_are_refused_at_check_time(frame: pl.DataFrame, said: str) -> None:
    with pytest.raises(ConfigError) as told:
        pipeline(NOWHERE, frame).check()
    assert said in str(told.value)


def test_names_may_be_anything_else(maria: MariaDatabase) -> None:
    names = ["select", "a`b;--", "\u00fc", "Mixed Case", "k" * 64, "%s", "'", '"']
    frame = pl.DataFrame({name: [place] for place, name in enumerate(names)})
    for mode in ({"mode": "upsert", "keys": ["select", "a`b;--"]}, {"mode": "overwrite"}):
        pipeline(maria, frame, table="`odd;``one`", **mode).run()
        assert maria.rows("SELECT * FROM `odd;``one`") == [tuple(range(8))]


def test_two_loads_into_one_table_do_not_wait_for_each_other(
    maria: MariaDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server alone knows that these are one table."""
    monkeypatch.setattr(tracker, "WAIT", 1)
    load = {"type": "mysql", "mode": "overwrite", **maria.config}
    pl.DataFrame({"a": [1]}).write_parquet("in.parquet")
    config = {
        "name": "p",
        "extract": {"type": "files", "path": "in.parquet"},
        "load": [
            {**load, "id": "one", "table": "t"},
            {**load, "id": "other", "table": f"{maria.database}.t"},
        ],
        "resilience": {"retry": {"max_attempts": 1}},
    }
    with pytest.raises(LoadError, match=r"^other: two loads of this run write into .*\.t"):
        Pipeline.from_dict(config).run()
    assert maria.value("SELECT count(*) FROM t") == 0


# Values that the server would change without a word


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("datetime", dt.datetime(2024, 1, 1, 0, 0, 0, 5), "which datetime would change"),
        ("datetime(3)", dt.datetime(2024, 1, 1, 0, 0, 0, 1005), r"which datetime\(3\) would change"),
        ("time", "10:00:00.5", "holds 10:00:00.5, which time would change"),
        ("time", "101500", "holds 101500, which time would change"),
        ("enum('a','b')", "1", "holds 1, which enum"),
        ("set('a','b')", "2", "holds 2, which set"),
    ],
)
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_value_that_would_be_changed_stops_the_load(
    maria: MariaDatabase, column: str, value: Any, said: str, mode: str
) -> None:
    maria.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, v {column})")
    keys = {"keys": "id"} if mode == "upsert" else {}
    with pytest.raises(LoadError, match=said):
        pipeline(maria, pl.DataFrame({"id": [1], "v": [value]}), mode=mode, **keys).run()
    assert maria.value("SELECT count(*) FROM t") == 0


# Rows that are refused


MANY = 20_000
BAD = (0, 777, 5_000, 5_001, 17_777, 19_998, 19_999)


def many(bad: Any, good: Any = "ok") -> pl.DataFrame:
    values = pl.when(pl.col("id").is_in(BAD)).then(pl.lit(bad)).otherwise(pl.lit(good))
    return pl.DataFrame({"id": range(MANY)}).with_columns(v=values)


REFUSED = [
    ("v varchar(5)", "far too long", "ok", "sqlstate 22001", "Data too long for column 'v'"),
    ("v text NOT NULL", None, "ok", "sqlstate 23000", "Column 'v' cannot be null"),
    ("v varchar(9) CHECK (v <> 'bad')", "bad", "ok", "sqlstate 23000", "CONSTRAINT `t.v` failed"),
    ("v varchar(9), FOREIGN KEY (v) REFERENCES known (v)", "unknown", "ok", "sqlstate 23000", "foreign key constraint fails"),
    ("v json", "{bad", "{}", "sqlstate 23000", "CONSTRAINT `t.v` failed"),
    ("v enum('ok')", "angry", "ok", "sqlstate 01000", "Data truncated for column 'v'"),
    ("v varchar(9) character set latin1", "\u20ac\u0416", "ok", "sqlstate 22007", "Incorrect string value"),
    ("v double", float("nan"), 1.5, "sqlstate 22007", "Incorrect double value: 'NaN'"),
    ("v int unsigned", -1, 1, "sqlstate 22003", "Out of range value for column 'v'"),
    ("v timestamp(6) NULL", dt.datetime(2050, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "sqlstate 22007", "Incorrect datetime value"),
    ("v uuid", "no uuid", UUID + "01", "sqlstate 22007", "Incorrect uuid value"),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize(
    ("columns", "bad", "good", "rule", "reason"), REFUSED, ids=[each[0][2:20] for each in REFUSED]
)
def test_single_rows_are_refused_and_all_others_loaded(
    maria: MariaDatabase, columns: str, bad: Any, good: Any, rule: str, reason: str, mode: str
) -> None:
    maria.execute(
        "CREATE TABLE known (v varchar(9) PRIMARY KEY)",
        "INSERT INTO known VALUES ('ok')",
        f"CREATE TABLE t (id bigint PRIMARY KEY, {columns})",
    )
    run = pipeline(maria, many(bad, good), mode=mode, **({"keys": ["id"]} if mode == "upsert" else {}))
    report = run.run()
    assert (report.loads[0].rows, report.rows_rejected, report.balanced) == (MANY - 7, 7, True)
    assert maria.rows("SELECT count(*), count(DISTINCT id) FROM t") == [(MANY - 7, MANY - 7)]
    assert maria.value(f"SELECT count(*) FROM t WHERE id IN {BAD}") == 0
    letters = run.dead_letters.read().sort("row").collect()
    assert letters["row"].to_list() == list(BAD), "each with its place in the source"
    assert [json.loads(record)["id"] for record in letters["record"]] == list(BAD)
    told = letters["reasons"].to_list()[0][0]
    assert told["rule"] == rule
    assert reason in told["reason"]
    assert "at row" not in told["reason"], "a row of a statement that nobody sees"
    assert letters["step"].unique().to_list() == ["into"]


def test_a_key_that_is_there_already_refuses_the_row_only(filled: MariaDatabase) -> None:
    report = pipeline(filled, ids(5, 2, 6, 6, 7)).run()
    assert filled.rows("SELECT id, v FROM t ORDER BY id") == [
        (1, "old"),
        (2, "old"),
        (5, "v5"),
        (6, "v6"),
        (7, "v7"),
    ]
    told = sorted((each.rule, each.reason) for each in report.rejects)
    assert told == [("sqlstate 23000", f"Duplicate entry '{key}' for key 'PRIMARY'") for key in (2, 6)]


def test_faults_of_all_kinds_in_one_chunk_find_their_rows(maria: MariaDatabase) -> None:
    maria.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, v varchar(4) CHECK (v <> 'bad'), d double NOT NULL)"
    )
    frame = pl.DataFrame(
        {
            "id": [1, 2, 2, 3, 4, 5, 6, 6],
            "v": ["ok", "ok", "ok", "bad", "too long", "ok", "bad", "ok"],
            "d": [1.0, 1.0, 1.0, 1.0, 1.0, None, float("inf"), 1.0],
        }
    )
    report = pipeline(maria, frame).run()
    assert maria.rows("SELECT id, v FROM t ORDER BY id") == [(1, "ok"), (2, "ok"), (6, "ok")]
    assert report.rows_rejected == 5


def test_a_refused_row_without_a_place_is_kept_as_it_was_sent(filled: MariaDatabase) -> None:
    day = {
        "type": "select",
        "columns": ["id", "v", "DATE '2024-02-29' AS day", "TIMESTAMP '2024-01-01 00:00:00.5' AS at"],
    }
    grouped = {"type": "aggregate", "group_by": ["id", "day", "at"], "metrics": {"v": "max(v)"}}
    filled.execute("ALTER TABLE t ADD COLUMN day date, ADD COLUMN at timestamp(6) NULL")
    run = pipeline(filled, ids(2, 9), day, grouped)
    run.run()
    letter = run.dead_letters.read().collect().row(0, named=True)
    record = json.loads(letter["record"])
    assert (record["id"], record["v"], record["day"], letter["record_format"]) == (
        2,
        "v2",
        "2024-02-29",
        "row",
    )
    assert "2024-01-01" in record["at"]
    assert "00:00:00.5" in record["at"]


def test_refused_rows_are_replayed_into_the_load(maria: MariaDatabase) -> None:
    maria.execute("CREATE TABLE t (id bigint, v varchar(9), CONSTRAINT c CHECK (v <> 'v2'))")
    run = pipeline(maria, ids(1, 2, 3))
    run.run()
    maria.execute("ALTER TABLE t DROP CONSTRAINT c")
    assert run.replay().rows_loaded == 1
    assert maria.rows("SELECT id, v FROM t ORDER BY id") == [(1, "v1"), (2, "v2"), (3, "v3")]
    with pytest.raises(RayetlError, match="nothing to replay"):
        run.replay()


def test_what_a_trigger_signals_refuses_the_row(maria: MariaDatabase) -> None:
    maria.execute(
        "CREATE TABLE t (id bigint, v text)",
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW BEGIN SET NEW.v = upper(NEW.v); "
        "IF NEW.id = 2 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no twos'; END IF; END",
    )
    report = pipeline(maria, ids(1, 2, 3)).run()
    assert maria.rows("SELECT id, v FROM t ORDER BY id") == [(1, "V1"), (3, "V3")]
    assert [(each.rule, each.reason) for each in report.rejects] == [("sqlstate 45000", "no twos")]


def test_a_fault_that_is_in_no_row_stops_the_load(maria: MariaDatabase) -> None:
    maria.execute(
        "CREATE TABLE t (id bigint, v text)",
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW INSERT INTO nowhere VALUES (1)",
    )
    with pytest.raises(LoadError, match=r"into .*\.t failed: Table .*nowhere.* doesn't exist"):
        pipeline(maria, ids(1, 2)).run()
    assert maria.value("SELECT count(*) FROM t") == 0


def test_a_lock_that_others_hold_is_waited_for_and_then_told(
    maria: MariaDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement alone is rolled back by the server: rayetl ends the whole transaction."""
    maria.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'old')")
    monkeypatch.setitem(connection._SETTINGS, "innodb_lock_wait_timeout", "1")
    with maria.connect() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE t SET v = 'held'")
        with pytest.raises(RayetlError, match="Lock wait timeout exceeded"):
            pipeline(maria, ids(2), mode="overwrite").run()
        cursor.execute("ROLLBACK")
    assert maria.rows("SELECT id, v FROM t") == [(1, "old")]
    assert maria.value("SELECT count(*) FROM rayetl_epochs") == 0


def test_too_many_refused_rows_are_no_single_rows(
    maria: MariaDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST", 50)
    maria.execute("CREATE TABLE t (id bigint, v varchar(1))")
    with pytest.raises(
        LoadError, match=r"more than 50 rows for .*\.t were refused; the last because: Data too"
    ):
        pipeline(maria, ids(*range(1000))).run()
    assert maria.value("SELECT count(*) FROM t") == 0
    assert not Path(".rayetl/rejects/p/rejects").exists()


def test_rows_go_from_database_to_database(maria: MariaDatabase) -> None:
    maria.execute("CREATE TABLE a AS SELECT seq AS id, repeat('x', seq % 50) AS v FROM seq_1_to_150000")
    config = {
        "name": "copy",
        "extract": {"type": "mysql", "table": "a", **maria.config},
        "load": {"type": "mysql", "table": "b", "mode": "append", **maria.config},
    }
    report = Pipeline.from_dict(config).run()
    assert (report.rows_read, report.rows_loaded) == (150_000, 150_000)
    found = "SELECT count(*), sum(id), sum(length(v)), count(DISTINCT id) FROM"
    assert maria.rows(f"{found} a") == maria.rows(f"{found} b")


# Whole runs through faults


@pytest.mark.parametrize(("after", "retries"), [(True, 0), (False, 1)])
def test_a_run_whose_commit_is_cut_off_ends_well(maria: MariaDatabase, after: bool, retries: int) -> None:
    maria.execute("CREATE TABLE t (id bigint, v varchar(9) CHECK (v <> 'v3'))")
    pipeline(maria, ids(0)).run()
    with Proxy(maria.port, after=after, answered=b"") as proxy:
        ids(1, 2, 3).write_parquet("in.parquet")
        load = {"id": "into", "type": "mysql", "table": "t", "mode": "append"}
        run = Pipeline.from_dict(
            {
                "name": "p",
                "extract": {"rows": {"type": "files", "path": "in.parquet"}},
                "load": {**load, **maria.through(proxy.port).config},
                "resilience": {"retry": {"max_attempts": 3, "initial_delay": "10ms"}},
            }
        )
        proxy.arm()
        report = run.run()
        assert (report.status, report.retries, proxy.cuts) == ("done", retries, 1)
        assert report.rows_rejected == 1
        assert run.run().status == "skipped"
    assert maria.rows("SELECT id FROM t ORDER BY id") == [(0,), (1,), (2,)]
    assert run.dead_letters.read().collect()["row"].to_list() == [2], "once, however often it was tried"
    assert maria.value("SELECT count(*) FROM rayetl_epochs") == 2


class Kept(Provider):
    """A provider whose credential the test changes."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def find(self, name: str) -> Fields:
        return dict(self._fields)

    def place(self, name: str) -> str:
        return "the test"


def test_a_password_that_changes_while_a_run_is_under_way_costs_no_row(
    mariadb_server: Mariadb, maria: MariaDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {name: str(value) for name, value in maria.config.items()}
    monkeypatch.setattr(Credentials, "here", lambda: Credentials([Kept(kept)]))
    maria.execute("CREATE TABLE a AS SELECT seq AS id FROM seq_1_to_1000")
    config = {
        "name": "copy",
        "extract": {"type": "mysql", "table": "a", "credential": "warehouse"},
        "load": {"type": "mysql", "table": "b", "mode": "append", "credential": "warehouse"},
        "resilience": {"retry": {"max_attempts": 3, "initial_delay": "10ms"}},
    }
    refusals = []

    def finishing(self: session.MysqlSession) -> pl.DataFrame | None:
        monkeypatch.setattr(session.MysqlSession, "finish", finish)
        root = mariadb_server.superuser
        root.execute(f"ALTER USER {maria.user}@127.0.0.1 IDENTIFIED BY 'another'")
        for (number,) in root.rows(
            f"SELECT id FROM information_schema.processlist WHERE user = '{maria.user}'"
        ):
            root.execute(f"KILL {number}")
        return finish(self)

    def refuse(error: Exception, server: Server) -> Exception:
        # Whoever keeps the credential is a moment later than the server.
        refusals.append(fault := connect_fault(error, server))
        kept["password"] = "another"
        return fault

    finish, connect_fault = session.MysqlSession.finish, faults.connect_fault
    monkeypatch.setattr(session.MysqlSession, "finish", finishing)
    monkeypatch.setattr(connection, "connect_fault", refuse)
    report = Pipeline.from_dict(config).run()
    assert (report.status, report.rows_loaded, report.rows_rejected, report.retries) == ("done", 1000, 0, 1)
    assert [type(error) for error in refusals] == [Refused], "asked once more, not more often"
    owner = MariaDatabase(maria.host, maria.port, maria.database, maria.user, "another")
    assert owner.rows("SELECT count(*), count(DISTINCT id) FROM b") == [(1000, 1000)]


def test_the_example_config_holds(maria: MariaDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    for field, value in maria.config.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_WAREHOUSE__{field.upper()}", str(value))
    maria.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, shop varchar(20), amount decimal(10,2), paid bool, "
        "ordered_at datetime)",
        "INSERT INTO orders SELECT seq, if(seq % 2, 'north', 'south'), seq, seq > 10, "
        "'2024-01-01' + INTERVAL seq HOUR FROM seq_1_to_100",
    )
    run = Pipeline.load(Path(__file__).parents[2] / "configs/shop_mysql.yaml")
    assert [case.passed for case in run.test().cases] == [True]
    for key in ("one", "two"):
        assert run.run(run_key=key).rows_read == 90
        assert maria.rows("SELECT count(*), sum(turnover), sum(orders) FROM daily") == [
            (10, Decimal(5050 - 55), 90)
        ]
