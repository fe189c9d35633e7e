"""The source `mysql` where it is like no other: its types, its protocol, and how it keeps to one moment."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from services.mariadb import MariaDatabase, Mariadb
from services.mysql import Mysql

from rayetl.connectors.mysql import decoding, wire
from rayetl.connectors.mysql import source as mysql_source
from rayetl.connectors.mysql.source import MysqlReading
from rayetl.errors import CredentialError, Retryable, SourceError
from rayetl.secrets import Credential
from tests.integration.database_runs import out_of, read, source


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


UTC = dt.UTC


VALUES: list[tuple[str, str, list[str], list[Any]]] = [
    ("tinyint", "tinyint", ["-128", "127"], [-128, 127]),
    ("tinyint unsigned", "smallint", ["0", "255"], [0, 255]),
    ("tinyint(1)", "boolean", ["true", "false"], [True, False]),
    ("smallint", "smallint", ["-32768", "32767"], [-32768, 32767]),
    ("smallint unsigned", "int", ["0", "65535"], [0, 65535]),
    ("mediumint", "int", ["-8388608", "8388607"], [-8388608, 8388607]),
    ("mediumint unsigned", "int", ["0", "16777215"], [0, 16777215]),
    ("int", "int", ["-2147483648", "2147483647"], [-(2**31), 2**31 - 1]),
    ("int unsigned", "bigint", ["0", "4294967295"], [0, 2**32 - 1]),
    ("bigint", "bigint", ["-9223372036854775808", "9223372036854775807"], [-(2**63), 2**63 - 1]),
    ("bigint unsigned", "decimal(20,0)", ["0", "18446744073709551615"], [Decimal(0), Decimal(2**64 - 1)]),
    ("float", "float", ["1.5", "-0.1"], [1.5, pytest.approx(-0.1)]),
    ("double", "double", ["5e-324", "1.7976931348623157e308"], [5e-324, 1.7976931348623157e308]),
    ("decimal(10,2)", "decimal(10,2)", ["-99999999.99", "0.10"], [Decimal("-99999999.99"), Decimal("0.10")]),
    ("decimal(10,2) unsigned", "decimal(10,2)", ["99999999.99", "0"], [Decimal("99999999.99"), Decimal(0)]),
    ("decimal(38,0)", "decimal(38,0)", [str(10**38 - 1), "-1"], [Decimal(10**38 - 1), Decimal(-1)]),
    ("decimal(65,30)", "decimal(38,30)", ["1.000000000000000000000000000001", "-2"], [Decimal("1.000000000000000000000000000001"), Decimal(-2)]),
    ("bit(1)", "boolean", ["b'1'", "b'0'"], [True, False]),
    ("bit(9)", "bigint", ["b'100000001'", "b'0'"], [257, 0]),
    ("bit(64)", "decimal(20,0)", [str(2**64 - 1), "0"], [Decimal(2**64 - 1), Decimal(0)]),
    ("varchar(20)", "string", ["''", "'tab\t \u00e9 \U0001f600 ''q'' '"], ["", "tab\t \u00e9 \U0001f600 'q' "]),
    ("varchar(20) character set latin1", "string", ["'\u00e9'", "'e'"], ["\u00e9", "e"]),
    ("char(3)", "string", ["'a'", "'abc'"], ["a", "abc"]),
    ("longtext", "string", ["repeat('x', 300)", "repeat('\u00e9', 70000)"], ["x" * 300, "\u00e9" * 70000]),
    ("varbinary(9)", "binary", ["X'00ff'", "''"], [b"\x00\xff", b""]),
    ("blob", "binary", ["X'fbfcfdfe'", "''"], [b"\xfb\xfc\xfd\xfe", b""]),
    ("date", "date", ["'0001-01-01'", "'9999-12-31'"], [dt.date.min, dt.date.max]),
    ("datetime", "timestamp_ntz", ["'2024-02-29 01:02:03'", "'1000-01-01'"], [dt.datetime(2024, 2, 29, 1, 2, 3), dt.datetime(1000, 1, 1)]),
    ("datetime(6)", "timestamp_ntz", ["'0001-01-01'", "'9999-12-31 23:59:59.999999'"], [dt.datetime.min, dt.datetime.max]),
    ("timestamp(6)", "timestamp", ["'1970-01-01 00:00:01.5'", "'2038-01-19 03:14:07.999999'"], [dt.datetime(1970, 1, 1, 0, 0, 1, 500000, UTC), dt.datetime(2038, 1, 19, 3, 14, 7, 999999, UTC)]),
    ("time(2)", "string", ["'-838:59:59'", "'10:00:01.5'"], ["-838:59:59.00", "10:00:01.50"]),
    ("year", "smallint", ["1901", "2155"], [1901, 2155]),
    ("enum('a','b''c')", "string", ["'a'", "'b''c'"], ["a", "b'c"]),
    ("set('a','b')", "string", ["'a,b'", "''"], ["a,b", ""]),
    ("json", "string", ["'{\"a\": [1, null]}'", "'null'"], ['{"a": [1, null]}', "null"]),
]  # fmt: skip


OF_MARIADB: list[tuple[str, str, list[str], list[Any]]] = [
    ("uuid", "string", ["'00000000-0000-0000-0000-0000000000FF'", "'00000000-0000-0000-0000-000000000001'"], ["00000000-0000-0000-0000-0000000000ff", "00000000-0000-0000-0000-000000000001"]),
    ("inet6", "string", ["'::1'", "'fe80::1'"], ["::1", "fe80::1"]),
]  # fmt: skip


@pytest.mark.parametrize(("server", "spark", "given", "expected"), VALUES, ids=[value[0] for value in VALUES])
def test_each_type_is_read_as_what_it_is(
    mysql: MariaDatabase, server: str, spark: str, given: list[str], expected: list[Any]
) -> None:
    assert_read(mysql, server, spark, given, expected)


@pytest.mark.parametrize(
    ("server", "spark", "given", "expected"), OF_MARIADB, ids=[value[0] for value in OF_MARIADB]
)
def test_types_of_mariadb_alone(
    maria: MariaDatabase, server: str, spark: str, given: list[str], expected: list[Any]
) -> None:
    assert_read(maria, server, spark, given, expected)


def assert_read(mysql: MariaDatabase, server: str, spark: str, given: list[str], expected: list[Any]) -> None:
    values = [*given, "NULL"]
    rows = ", ".join(f"({place}, {value}, {place})" for place, value in enumerate(values))
    mysql.execute(f"CREATE TABLE t (n int, x {server} NULL, m int)", f"INSERT INTO t VALUES {rows}")
    scan = source(mysql, table="t").describe(None)
    assert str(scan.schema.get("x").type) == spark
    found = read(mysql, table="t").sort("n")
    assert found["x"].to_list() == [*expected, None]
    assert found["m"].to_list() == [0, 1, 2], "what stands behind it is where it is looked for"


def test_names_of_tables_and_columns_may_be_anything(mysql: MariaDatabase) -> None:
    mysql.execute(
        'CREATE TABLE `a "b``;c` (`select` int, `x``y"` text, `\u00fc%s` int, `' + "k" * 64 + "` int)",
        "INSERT INTO `a \"b``;c` VALUES (1, 'v', 2, 3)",
    )
    for table in ('`a "b``;c`', f'{mysql.database}.`a "b``;c`'):
        found = read(mysql, table=table)
        assert found.rows() == [(1, "v", 2, 3)]
        assert found.columns == ["select", 'x`y"', "\u00fc%s", "k" * 64]


def test_rows_longer_than_a_packet_are_put_together(
    mysql_server: Mariadb, mysql: MariaDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packet ends at 16 MB; with a row just as long, an empty one follows."""
    mysql_server.superuser.execute("SET GLOBAL max_allowed_packet = 67108864")
    lengths = (3, (1 << 24) - 8, (1 << 24) - 7, (1 << 24) - 6, (1 << 25) + 5, 7)
    selects = [f"SELECT {place} AS n, repeat('x', {size}) AS v" for place, size in enumerate(lengths)]
    found = read(mysql, query=" UNION ALL ".join(selects))
    assert found.select("n", pl.col("v").str.len_bytes()).rows() == list(enumerate(lengths))


ROWS = 60_000


@pytest.fixture
def filled(mysql: MariaDatabase) -> MariaDatabase:
    mysql.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(20), amount decimal(10,2), at timestamp NULL, d date)",
        "INSERT INTO t SELECT seq, concat('v', seq % 10), seq / 100, '2024-01-01' + INTERVAL seq SECOND, "
        f"'2024-01-01' + INTERVAL seq % 100 DAY FROM {mysql.series(ROWS)}",
    )
    return mysql


def test_texts_that_the_server_alone_takes_for_equal_are_told_apart_here(mysql: MariaDatabase) -> None:
    mysql.execute("CREATE TABLE t (v varchar(9))", "INSERT INTO t VALUES ('a'), ('A'), ('a '), ('b')")
    out_of(mysql, {"type": "filter", "where": "v = 'a'"}, table="t").run()
    assert pl.read_parquet("out/*.parquet").rows() == [("a",)]


def test_all_rows_are_those_of_one_moment(filled: MariaDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others write meanwhile is in no part of a run: not in a second scan, which comes while the first is
    under way on the only connection that knows the moment, and not in the count."""
    monkeypatch.setattr(mysql_source, "BATCH", 1 << 15)
    scan = source(filled, table="t").describe(None)
    reading = scan.open()
    first = reading.frames(["id", "d"], None, None)
    begun = [next(first)]
    filled.execute("DELETE FROM t WHERE id <= 1000", "INSERT INTO t (id) VALUES (0)")
    second = pl.concat(reading.frames(["id"], pl.col("id") <= 2000, None))
    assert second["id"].sort().to_list() == list(range(1, 2001))
    assert reading.count() == ROWS
    assert begun[0].height < ROWS / 2, "the first was under way"
    assert pl.concat([*begun, *first])["id"].sort().to_list() == list(range(1, ROWS + 1))
    reading.close()


def test_two_branches_of_a_run_read_the_same_moment(filled: MariaDatabase) -> None:
    few = {"id": "few", "type": "filter", "where": "id <= 2000", "from": "rows"}
    many = {"id": "many", "type": "filter", "where": "id > 2000", "from": "rows"}
    loads = [{"type": "files", "path": name, "from": name} for name in ("few", "many")]
    report = out_of(filled, few, many, table="t", load=loads).run()
    assert [load.rows for load in report.loads] == [2000, ROWS - 2000]
    assert report.rows_read == ROWS


def test_what_nobody_wants_any_more_is_passed_over(
    filled: MariaDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_source, "BATCH", 1 << 15)
    reading = source(filled, table="t").describe(None).open()
    left = reading.frames(["id"], None, None)
    next(left)
    left.close()
    assert reading.count() == ROWS
    reading.close()


def test_memory_does_not_grow_with_the_rows(mysql: MariaDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_source, "BATCH", 1 << 16)
    sizes, real = [], decoding.decode

    def decode(rows: wire.Rows, columns: Any) -> pl.DataFrame:
        sizes.append(len(rows.data))
        return real(rows, columns)

    monkeypatch.setattr(decoding, "decode", decode)
    query = f"SELECT seq, repeat('x', 200) AS v FROM {mysql.series(50_000)}"
    reading = source(mysql, query=query).describe(None).open()
    assert sum(frame.height for frame in reading.frames(["seq", "v"], None, None)) == 50_000
    reading.close()
    assert len(sizes) > 5
    assert max(sizes) < (1 << 16) + (1 << 20) + 300, "a batch, and what one look into the socket may bring"


def test_a_password_may_be_in_any_script(mysql_server: Mariadb, mysql: MariaDatabase) -> None:
    mysql_server.superuser.execute(f"ALTER USER {mysql.user}@127.0.0.1 IDENTIFIED BY '\u043f\u0430\u0440'")
    assert read(mysql, password="\u043f\u0430\u0440", query="SELECT 1 AS x").rows() == [(1,)]


def test_off_this_machine_certificates_are_verified_unless_told_otherwise() -> None:
    def settings(**fields: Any) -> dict[str, Any]:
        model = source(MariaDatabase("db.example.com", 1, "d", "u", "p"), table="t", **fields)
        return model._settings(Credential.of("", "", {}))

    def checks(**fields: Any) -> tuple[str, bool]:
        context = settings(**fields)["ssl"]
        return context.verify_mode.name, context.check_hostname

    assert checks() == checks(host="10.0.0.1") == ("CERT_REQUIRED", True)
    assert checks(sslmode="verify-ca") == ("CERT_REQUIRED", False)
    assert checks(sslmode="require") == ("CERT_NONE", False)
    assert settings(sslmode="disable")["ssl_disabled"]
    for here in ("localhost", "127.0.0.1", "::1"):
        assert "ssl" not in settings(host=here)
    assert settings(host="/run/mysqld/mysqld.sock")["unix_socket"] == "/run/mysqld/mysqld.sock"


@pytest.fixture
def mysql8(mysql8_server: Mysql) -> Iterator[MariaDatabase]:
    made = mysql8_server.create()
    yield made
    mysql8_server.drop(made)


def test_a_server_is_known_by_its_certificate(mysql8_server: Mysql, mysql8: MariaDatabase) -> None:
    def protocol(**fields: Any) -> str:
        with source(mysql8, table="t", **fields).connect() as opened:
            return str(opened.rows("SHOW STATUS LIKE 'Ssl_version'", "asking")[0][1])

    signed = {"sslrootcert": str(mysql8_server.authority)}
    for known in ({"sslmode": "verify-ca", **signed}, {"sslmode": "require"}, {}):
        assert protocol(**known).startswith("TLS")
    assert protocol(sslmode="disable") == ""
    with pytest.raises(CredentialError, match=r"is not trusted: .*not valid for '127.0.0.1'"):
        protocol(sslmode="verify-full", **signed)
    with pytest.raises(CredentialError, match="is not trusted"):
        protocol(sslmode="verify-ca")


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_authorities_that_nobody_would_ask_are_not_read(mysql8: MariaDatabase, mode: str) -> None:
    """Each connection would take ten times as long."""
    with source(mysql8, table="t", sslmode=mode).connect() as opened:
        assert opened._wire.ctx.cert_store_stats()["x509"] == 0


def test_readings_are_ended_by_their_close(mysql: MariaDatabase) -> None:
    reading: MysqlReading = source(mysql, query="SELECT 1 AS x").describe(None).open()
    reading.close()
    with pytest.raises(Retryable):
        reading.count()


def test_a_decimal_of_more_digits_than_ours_is_read_where_its_value_has_few(maria: MariaDatabase) -> None:
    maria.execute("CREATE TABLE t (x decimal(65,38) NULL)", "INSERT INTO t VALUES (NULL), (1e-38)")
    assert read(maria, table="t")["x"].to_list() == [None, Decimal("1e-38")]


def test_a_query_with_a_parameter_is_refused(mysql: MariaDatabase) -> None:
    with pytest.raises(SourceError, match="the query has 1 `\\?` outside of quotes"):
        read(mysql, query="SELECT ? AS x")


@pytest.mark.parametrize("charset", ["latin1", "ascii", "utf8mb3", "ucs2"])
@pytest.mark.parametrize("where", ["v = '\u65e5\U0001f600'", "v IN ('a', '\U0001f600')", "v = '\\\\\u65e5'"])
def test_texts_that_a_column_has_no_letters_for_are_asked_for(
    mysql: MariaDatabase, charset: str, where: str
) -> None:
    mysql.execute(
        f"CREATE TABLE t (v varchar(9)) CHARACTER SET {charset}", "INSERT INTO t VALUES ('a'), ('b')"
    )
    out_of(mysql, {"type": "filter", "where": where}, table="t").run()
    assert pl.read_parquet("out/*.parquet")["v"].to_list() == (["a"] if "IN" in where else [])


def test_a_text_is_found_whatever_its_column_is_written_in(mysql: MariaDatabase) -> None:
    mysql.execute(
        "CREATE TABLE t (v varchar(9)) CHARACTER SET latin1", "INSERT INTO t VALUES ('\u00e9'), ('e')"
    )
    out_of(mysql, {"type": "filter", "where": "v = '\u00e9'"}, table="t").run()
    assert pl.read_parquet("out/*.parquet")["v"].to_list() == ["\u00e9"]
