"""The test server itself, and what the driver does that a load will rest on."""

from __future__ import annotations

import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from services.postgres import Database, Postgres


def test_committed_rows_outlive_a_crash(postgres_server: Postgres, database: Database) -> None:
    database.execute("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    postgres_server.crash()
    with pytest.raises(Exception, match="refused"):
        database.value("SELECT 1")
    postgres_server.start()
    assert database.rows("SELECT id FROM t") == [(1,)]


def test_databases_are_apart(postgres_server: Postgres, database: Database) -> None:
    other = postgres_server.create()
    other.execute("CREATE TABLE t (id int)")
    assert database.value("SELECT to_regclass('t')::text") is None
    postgres_server.drop(other)


def test_a_refused_copy_says_which_line_and_leaves_the_savepoint_whole(database: Database) -> None:
    """The driver's error carries SQLSTATE and COPY line, and a copy takes part in BEGIN and SAVEPOINT."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with driven(database) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.adbc_ingest("t", _ids(1, 2), mode="append")
        cursor.execute("SAVEPOINT s")
        with pytest.raises(connection.IntegrityError) as refused:
            cursor.adbc_ingest("t", _ids(3, 2), mode="append")
        assert refused.value.sqlstate == "23505"
        assert dict(refused.value.details)[b"PG_DIAG_CONTEXT"] == b"COPY t, line 2"
        cursor.execute("ROLLBACK TO s")
        cursor.execute("COMMIT")
    assert database.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]


def test_a_copy_is_rolled_back_with_its_transaction_after_a_read(database: Database) -> None:
    database.execute("CREATE TABLE t (id int)")
    with driven(database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchall()
        cursor.execute("BEGIN")
        cursor.adbc_ingest("t", _ids(1), mode="append")
        cursor.execute("ROLLBACK")
    assert database.value("SELECT count(*) FROM t") == 0


def test_arrays_of_two_dimensions_are_flattened_by_the_driver(database: Database) -> None:
    """Silently: a source must look at `array_ndims` itself."""
    with driven(database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ARRAY[[1, 2], [3, 4]]")
        assert cursor.fetchall() == [([1, 2, 3, 4],)]


def driven(database: Database) -> dbapi.Connection:
    """A connection of the driver that rayetl uses."""
    at = f"{database.host}:{database.port}/{database.database}"
    return dbapi.connect(f"postgresql://{database.user}:{database.password}@{at}", autocommit=True)


def _ids(*ids: int) -> pl.DataFrame:
    return pl.DataFrame({"id": ids}, schema={"id": pl.Int32})
