"""The load `mysql` where it is like no other: its types, engines, indexes, triggers, and LOAD DATA LOCAL."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.mariadb import MariaDatabase, Mariadb

from rayetl import Pipeline
from rayetl.connectors.mysql import connection, tables
from rayetl.connectors.mysql.load import MysqlLoad
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
def test_a_table_is_made_and_every_value_comes_back(mysql: MariaDatabase, mode: dict[str, Any]) -> None:
    report = into(mysql, EVERY, **mode).run()
    assert report.loads[0].rows == 3
    types = dict(
        mysql.rows(
            "SELECT column_name, column_type FROM information_schema.columns WHERE table_name = 't' "
            "AND table_schema = database()"
        )
    )
    assert types == {
        "n": "int(11)", "tiny": "tinyint(4)", "small": "smallint(6)", "big": "bigint(20)", "f": "float",
        "d": "double", "yes": "tinyint(1)", "money": "decimal(10,2)", "wide": "decimal(38,0)", "text": "longtext",
        "word": "longtext", "raw": "longblob", "day": "date", "at": "timestamp(6)", "local": "datetime(6)",
    }  # fmt: skip
    assert back(mysql, "t").sort("n").equals(EVERY)


def test_what_is_read_goes_back_into_the_same_types(mysql: MariaDatabase) -> None:
    mysql.execute(
        "CREATE TABLE a (id int unsigned PRIMARY KEY, t tinyint unsigned, s smallint unsigned, m mediumint unsigned,"
        " b bigint unsigned, o bit(1), n bit(9), c char(3), v varchar(9) character set latin1, e enum('x','1'), "
        "st set('p','q'), j json, ti time(1), h datetime, ts timestamp(3) NULL, bl varbinary(4), "
        "dn decimal(12,4))",
        "INSERT INTO a VALUES (4294967295, 255, 65535, 16777215, 18446744073709551615, b'1', b'100000001', 'ab', "
        "'\u00e9', '1', 'p,q', '[1]', '-10:00:01.5', '2024-01-01 01:02:03', "
        "'2024-01-01 01:02:03.125', X'00ff', 1.25)",
        "INSERT INTO a (id) VALUES (1)",
        "CREATE TABLE b LIKE a",
        "CREATE TABLE c LIKE a",
    )
    for table, mode in (("b", {"mode": "append"}), ("c", {"mode": "upsert", "keys": ["id"]})):
        load = {"type": "mysql", "table": table, **mode, **mysql.config}
        extract = {"type": "mysql", "table": "a", **mysql.config}
        report = Pipeline.from_dict({"name": "copy", "extract": extract, "load": load}).run()
        assert (report.rows_loaded, report.rows_rejected) == (2, 0)
        assert mysql.rows(f"SELECT * FROM {table} ORDER BY id") == mysql.rows("SELECT * FROM a ORDER BY id")


def test_a_zero_stays_a_zero_in_a_column_that_counts(mysql: MariaDatabase) -> None:
    mysql.execute("CREATE TABLE t (id bigint AUTO_INCREMENT PRIMARY KEY, v text)")
    into(mysql, ids(0, 5)).run()
    assert mysql.rows("SELECT id FROM t ORDER BY id") == [(0,), (5,)]


@pytest.mark.parametrize(
    ("kind", "key", "near"),
    [
        ("date", dt.date(2024, 2, 29), dt.date(2024, 3, 1)),
        ("datetime(6)", dt.datetime(2024, 1, 1, 0, 0, 0, 1), dt.datetime(2024, 1, 1, 0, 0, 0, 2)),
        ("timestamp(6)", dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 2, tzinfo=dt.UTC)),
        ("double", 0.1, 0.1 + 2**-56),
        ("decimal(38,2)", Decimal(10**35), Decimal(f"{10**35}.01")),
        ("bigint", 2**62, 2**62 + 1),
        ("varbinary(9)", b"a", b"a\0"),
        ("char(3)", "a", "b"),
        ("varchar(700)", "x" * 699, "x" * 699 + "y"),
        ("enum('a','b')", "a", "b"),
    ],
)
def test_of_keys_of_every_type_those_are_repeated_that_are_the_same(
    mysql: MariaDatabase, kind: str, key: Any, near: Any
) -> None:
    mysql.execute(f"CREATE TABLE t (k {kind} NOT NULL, n int, v bigint, PRIMARY KEY (k, n))")
    rows = pl.DataFrame({"k": [key, near, key], "n": pl.Series([1, 1, 2], dtype=pl.Int32), "v": [1, 2, 3]})
    assert into(mysql, rows, mode="upsert", keys=["k", "n"]).run().rows_loaded == 3
    twice = pl.concat([rows, rows.head(1).with_columns(v=pl.lit(4, dtype=pl.Int64))])
    with pytest.raises(LoadError, match=r"1 key .* comes more than once"):
        into(mysql, twice, mode="upsert", keys=["k", "n"]).run()
    assert mysql.value("SELECT sum(v) FROM t") == 6


def test_an_upsert_into_a_table_with_a_further_unique_index_is_refused(mysql: MariaDatabase) -> None:
    """The server would replace whatever row the other index finds."""
    mysql.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(9) UNIQUE)")
    with pytest.raises(LoadError, match=r"has a further unique index v on \(`v`\)"):
        into(mysql, ids(1), mode="upsert", keys="id").run()
    mysql.execute("CREATE TABLE u (no int AUTO_INCREMENT PRIMARY KEY, id bigint UNIQUE, v text)")
    for _ in range(2):
        into(mysql, ids(1, 2), mode="upsert", keys="id", table="u").run(force=True)
    assert mysql.rows("SELECT no, id FROM u ORDER BY no") == [(1, 1), (2, 2)]


@pytest.mark.parametrize("engine", ["MyISAM", "MEMORY"])
def test_a_table_without_transactions_is_refused_by_name(mysql: MariaDatabase, engine: str) -> None:
    mysql.execute(f"CREATE TABLE t (id bigint, v varchar(9)) ENGINE = {engine}")
    with pytest.raises(LoadError, match=f"the table t is one of {engine}, which has no transactions") as told:
        into(mysql, ids(1)).run()
    assert "ENGINE = InnoDB" in str(told.value.hint)


def test_an_index_of_the_first_letters_is_no_key(mysql: MariaDatabase) -> None:
    mysql.execute("CREATE TABLE t (id bigint, v text, UNIQUE (v(5)))")
    with pytest.raises(LoadError, match=r"no primary key or unique constraint on \(`id`\)") as told:
        into(mysql, ids(1), mode="upsert", keys=["id"]).run()
    assert f"ALTER TABLE `{mysql.database}`.`t` ADD UNIQUE (`id`); keys there: none" in str(told.value.hint)


def test_a_user_who_may_not_is_told_so(mysql_server: Mariadb, mysql: MariaDatabase) -> None:
    other = mysql_server.create()
    with pytest.raises(LoadError, match=r"command denied to user|Access denied for user") as told:
        into(mysql, ids(1), table=f"{other.database}.t").run()
    assert "let an administrator grant it" in str(told.value.hint)
    mysql_server.drop(other)


def test_a_server_that_takes_no_local_data_is_said_before_a_row_is_read(
    mysql_server: Mariadb, mysql: MariaDatabase
) -> None:
    mysql_server.superuser.execute("SET GLOBAL local_infile = 0")
    try:
        with pytest.raises(LoadError, match="does not allow LOAD DATA LOCAL") as told:
            into(mysql, ids(1)).run()
    finally:
        mysql_server.superuser.execute("SET GLOBAL local_infile = 1")
    assert "SET GLOBAL local_infile = 1" in str(told.value.hint)


def test_a_server_that_asks_for_a_file_gets_none(mysql: MariaDatabase, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("1\n")
    mysql.execute("CREATE TABLE t (id text)")
    load = MysqlLoad.model_validate({"type": "mysql", "table": "t", **mysql.config})
    with load.connect(LoadError) as opened, pytest.raises(LoadError, match="reading failed"):
        opened.execute(f"LOAD DATA LOCAL INFILE '{tmp_path}/secret' INTO TABLE t", "reading")
    assert mysql.value("SELECT count(*) FROM t") == 0


def test_names_may_be_anything_else(mysql: MariaDatabase) -> None:
    names = ["select", "a`b;--", "\u00fc", "Mixed Case", "k" * 64, "%s", "'", '"']
    frame = pl.DataFrame({name: [place] for place, name in enumerate(names)})
    for mode in ({"mode": "upsert", "keys": ["select", "a`b;--"]}, {"mode": "overwrite"}):
        into(mysql, frame, table="`odd;``one`", **mode).run()
        assert mysql.rows("SELECT * FROM `odd;``one`") == [tuple(range(8))]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("datetime", dt.datetime(2024, 1, 1, 0, 0, 0, 5), "which datetime would change"),
        ("datetime(3)", dt.datetime(2024, 1, 1, 0, 0, 0, 1005), r"which datetime\(3\) would change"),
        ("time", "10:00:00.5", "holds 10:00:00.5, which time would change"),
        ("time", "101500", "holds 101500, which time would change"),
        ("enum('a','b')", "1", "holds 1, which enum"),
        ("set('a','b')", "2", "holds 2, which set"),
        ("enum('a','b')", "A", "holds A, which enum"),
        ("enum('a','b') collate utf8mb4_bin", "a ", "holds a , which enum"),
        ("set('a','b')", "b,A", "holds b,A, which set"),
        ("varchar(3)", "abc ", r"holds abc , which varchar\(3\)"),
        ("double(7,2)", 1.239, r"holds 1.239, which double\(7,2\)"),
        ("float(7,2)", pl.Series([1.239], dtype=pl.Float32), r"holds 1.23\d*, which float\(7,2\)"),
        ("binary(4)", b"abc", r"which binary\(4\) would change"),
        ("bit(64)", -1, r"holds -1, which bit\(64\)"),
        ("bit(8)", -1, r"holds -1, which bit\(8\)"),
    ],
)
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_value_that_would_be_changed_stops_the_load(
    mysql: MariaDatabase, column: str, value: Any, said: str, mode: str
) -> None:
    mysql.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, v {column})")
    keys = {"keys": "id"} if mode == "upsert" else {}
    values = value if isinstance(value, pl.Series) else [value]
    with pytest.raises(LoadError, match=said):
        into(mysql, pl.DataFrame({"id": [1], "v": values}), mode=mode, **keys).run()
    assert mysql.value("SELECT count(*) FROM t") == 0


@pytest.mark.parametrize(
    ("column", "value", "loaded"),
    [
        ("datetime", dt.datetime(2024, 1, 1, 0, 0, 0, 5), "2024-01-01 00:00:00"),
        ("time", "100:00:00.5", "100:00:00"),
        ("time", "1500", "00:15:00"),
        ("enum('a','b')", "1", None),
        ("enum('Red','b')", "RED", "Red"),
        ("set('a','b')", "b,A", "b"),
        ("varchar(3)", "abc ", "abc"),
        ("double(7,2)", 1.239, "1.24"),
        ("bit(64)", -1, ""),
    ],
)
def test_what_the_hint_says_to_type_makes_rows_that_are_loaded(
    mysql: MariaDatabase, column: str, value: Any, loaded: str | None
) -> None:
    mysql.execute(f"CREATE TABLE t (v {column})")
    frame = pl.DataFrame({"v": [value]})
    with pytest.raises(LoadError) as told:
        into(mysql, frame).run()
    shall_be, _, _ = str(told.value.hint).partition("; or change the table")
    typed = shall_be.removeprefix("say in a select step what it shall be: ").replace("...", loaded or "")
    assert into(mysql, frame, {"type": "select", "columns": [typed]}).run().rows_loaded == 1
    assert mysql.value("SELECT trim(CHAR(0) FROM CAST(v AS CHAR)) FROM t") == loaded


def test_values_that_stay_as_they_are_do_not_stop_a_load(mysql: MariaDatabase) -> None:
    mysql.execute(
        "CREATE TABLE t (e enum('a','B,c'), s set('a','b'), v varchar(3), d double(7,2), f float(7,2), "
        "b binary(4), n bit(63))"
    )
    rows = pl.DataFrame(
        {
            "e": ["B,c", None],
            "s": ["a,b", ""],
            "v": ["ab ", "\U0001f600\U0001f600\U0001f600"],
            "d": [1.24, -0.1],
            "f": pl.Series([1.24, 1e5 / 3], dtype=pl.Float32).round(2),
            "b": [b"abcd", None],
            "n": [2**63 - 1, 0],
        }
    )
    assert into(mysql, rows).run().rows_loaded == 2
    assert mysql.rows("SELECT e, s, v, d, n + 0 FROM t") == [
        ("B,c", "a,b", "ab ", 1.24, 2**63 - 1),
        (None, "", "\U0001f600\U0001f600\U0001f600", -0.1, 0),
    ]


@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
def test_rows_that_are_left_out_start_no_trigger(mysql: MariaDatabase, when: str) -> None:
    does = "SET NEW.v = 'changed'" if when == "BEFORE" else "INSERT INTO seen VALUES (NEW.id)"
    mysql.execute(
        "CREATE TABLE seen (id bigint)",
        "CREATE TABLE t (id bigint PRIMARY KEY, v varchar(9))",
        "INSERT INTO t VALUES (1, 'old'), (2, 'changed')",
        f"CREATE TRIGGER g {when} UPDATE ON t FOR EACH ROW {does}",
    )
    with pytest.raises(LoadError, match="has a trigger for UPDATE"):
        into(mysql, ids(1, 2, 3), mode="insert_ignore").run()
    assert mysql.rows("SELECT id, v FROM t ORDER BY id") == [(1, "old"), (2, "changed")]
    assert mysql.value("SELECT count(*) FROM seen") == 0


def test_a_trigger_that_nobody_may_see_changes_no_row_that_is_left_out(
    mysql: MariaDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "has_update_triggers", lambda *_: False)
    mysql.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, v varchar(9))",
        "INSERT INTO t VALUES (1, 'old'), (2, 'changed')",
        "CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW SET NEW.v = 'changed'",
    )
    with pytest.raises(LoadError, match="has a trigger for UPDATE"):
        into(mysql, ids(1, 2, 3), mode="insert_ignore").run()
    assert mysql.rows("SELECT id, v FROM t ORDER BY id") == [(1, "old"), (2, "changed")]


def test_times_that_are_the_same_are_one_key(mysql: MariaDatabase) -> None:
    mysql.execute("CREATE TABLE t (k time PRIMARY KEY, v bigint)")
    rows = pl.DataFrame({"k": ["1:00:00", "01:00:00"], "v": [1, 2]})
    with pytest.raises(LoadError, match=r"1 key .* comes more than once"):
        into(mysql, rows, mode="upsert", keys="k").run()
    assert mysql.value("SELECT count(*) FROM t") == 0


def test_faults_of_all_kinds_in_one_chunk_find_their_rows(mysql: MariaDatabase) -> None:
    mysql.execute(
        "CREATE TABLE known (v varchar(4) PRIMARY KEY)",
        "INSERT INTO known VALUES ('ok')",
        "CREATE TABLE t (id bigint PRIMARY KEY, v varchar(4), d double NOT NULL, "
        "FOREIGN KEY (v) REFERENCES known (v))",
    )
    frame = pl.DataFrame(
        {
            "id": [1, 2, 2, 3, 4, 5, 6, 6],
            "v": ["ok", "ok", "ok", "bad", "too long", "ok", "bad", "ok"],
            "d": [1.0, 1.0, 1.0, 1.0, 1.0, None, float("inf"), 1.0],
        }
    )
    report = into(mysql, frame).run()
    assert mysql.rows("SELECT id, v FROM t ORDER BY id") == [(1, "ok"), (2, "ok"), (6, "ok")]
    assert report.rows_rejected == 5


def test_what_a_trigger_signals_refuses_the_row(mysql: MariaDatabase) -> None:
    mysql.execute(
        "CREATE TABLE t (id bigint, v text)",
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW BEGIN SET NEW.v = upper(NEW.v); "
        "IF NEW.id = 2 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no twos'; END IF; END",
    )
    report = into(mysql, ids(1, 2, 3)).run()
    assert mysql.rows("SELECT id, v FROM t ORDER BY id") == [(1, "V1"), (3, "V3")]
    assert [(each.rule, each.reason) for each in report.rejects] == [("sqlstate 45000", "no twos")]


def test_a_lock_that_others_hold_is_waited_for_and_then_told(
    mysql: MariaDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement alone is rolled back by the server: rayetl ends the whole transaction."""
    mysql.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'old')")
    monkeypatch.setitem(connection._SETTINGS, "innodb_lock_wait_timeout", "1")
    with mysql.connect() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE t SET v = 'held'")
        with pytest.raises(RayetlError, match="Lock wait timeout exceeded"):
            into(mysql, ids(2), mode="overwrite").run()
        cursor.execute("ROLLBACK")
    assert mysql.rows("SELECT id, v FROM t") == [(1, "old")]
    assert mysql.value("SELECT count(*) FROM rayetl_epochs") == 0


def test_the_example_config_holds(mysql: MariaDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    for field, value in mysql.config.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_WAREHOUSE__{field.upper()}", str(value))
    mysql.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, shop varchar(20), amount decimal(10,2), paid bool, "
        "ordered_at datetime)",
        "INSERT INTO orders SELECT seq, if(seq % 2, 'north', 'south'), seq, seq > 10, "
        f"'2024-01-01' + INTERVAL seq HOUR FROM {mysql.series(100)}",
    )
    run = Pipeline.load(Path(__file__).parents[2] / "configs/shop_mysql.yaml")
    assert [case.passed for case in run.test().cases] == [True]
    for key in ("one", "two"):
        assert run.run(run_key=key).rows_read == 90
        assert mysql.rows("SELECT count(*), sum(turnover), sum(orders) FROM daily") == [
            (10, Decimal(5050 - 55), 90)
        ]
