"""Every dead letter store: exactly once, found again, replayed once, never beside the rows of a load."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from services.kafka import USER, Kafka
from services.mariadb import MariaDatabase
from services.postgres import Database
from services.s3 import Bucket, S3Server

from rayetl import Pipeline
from rayetl.cli import main
from rayetl.connectors.base import Epoch
from rayetl.connectors.dead_letters import DEAD_LETTER, DeadLetters
from rayetl.errors import ConfigError, LoadError, RayetlError, Retryable, SourceError
from rayetl.secrets.keyring import with_new_key
from rayetl.sql.interop import to_polars

ODD = "a'b\"c\\d;--\u2028 \0 ü😀\n"
"""What a reason may have to say."""


@dataclass
class Place:
    """A store as the config names it. `database` is where it is, for those that are in one."""

    config: Mapping[str, Any]
    database: Database | MariaDatabase | None = None


def in_kafka(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A topic of the listener that asks for user and password."""
    monkeypatch.setenv("RAYETL_CREDENTIAL_BUS__USER", USER)
    monkeypatch.setenv("RAYETL_CREDENTIAL_BUS__PASSWORD", kafka.password)
    there = {"brokers": f"127.0.0.1:{kafka.closed}", "credential": "bus", "sasl_mechanism": "PLAIN"}
    return Place({"type": "kafka", "topic": kafka.topic(), **there})


@pytest.fixture(params=["files", "s3", "postgres", "mysql", "kafka"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    if request.param == "files":
        yield Place({"type": "files", "path": "rejects"})
        return
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        server: S3Server = request.getfixturevalue("s3_server")
        there = {"credential": "lake", "s3": {"endpoint": server.endpoint}}
        yield Place({"type": "files", "path": f"{bucket.url}/letters", **there})
        return
    if request.param == "kafka":
        yield in_kafka(request.getfixturevalue("kafka"), monkeypatch)
        return
    server = request.getfixturevalue("postgres_server" if request.param == "postgres" else "mysql8_server")
    database = server.create()
    for field, value in database.config.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_STORE__{field.upper()}", str(value))
    yield Place({"type": request.param, "credential": "store", "table": "rejects"}, database)
    server.drop(database)


ON_A_SERVER = pytest.mark.parametrize("place", ["postgres", "mysql"], indirect=True)


def store(place: Place, pipeline: str = "p") -> DeadLetters:
    config = {
        "name": pipeline,
        "extract": {"type": "files", "path": "in.csv", "schema": "id INT"},
        "load": {"type": "files", "path": "out"},
        "resilience": {"dead_letter": place.config},
    }
    return Pipeline.from_dict(config).dead_letters


def letters(epoch: Epoch, ids: range, *, later: int = 0, reason: str = ODD) -> pl.LazyFrame:
    reasons = [
        {"rule": "r", "kind": "range", "field": "d", "reason": reason},
        {"rule": "r2", "kind": None, "field": None, "reason": None},
    ]
    rows = [
        {
            "id": f"{number}-{epoch.pipeline}",
            "pipeline": epoch.pipeline,
            "run": epoch.run,
            "epoch": epoch.key,
            "step": "checked" if number % 2 else "other",
            "reasons": reasons,
            "source": "s",
            "file": "a'b\\.csv",
            "row": number,
            "record": bytes(range(256)) if number else b"",
            "record_format": "csv",
            "time": datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=UTC) + timedelta(seconds=later),
        }
        for number in ids
    ]
    return pl.LazyFrame(rows, schema=to_polars(DEAD_LETTER))


def test_what_is_written_is_read_exactly(place: Place) -> None:
    epoch = Epoch("p", "rejects", "k1", "r1")
    store(place).write(epoch, [letters(epoch, range(3)), letters(epoch, range(3, 5))], 5)
    found = store(place).read().sort("row").collect()
    expected = letters(epoch, range(5)).with_columns(replayed=pl.lit(False)).collect()
    assert found.equals(expected)
    assert found.schema == expected.schema


def test_the_letters_of_an_epoch_exist_once(place: Place) -> None:
    first = Epoch("p", "rejects", "k1", "r1")
    store(place).write(first, [letters(first, range(3))], 3)
    again = Epoch("p", "rejects", "k1", "r2")
    store(place).write(again, [letters(again, range(3))], 3)
    assert store(place).read().collect()["run"].unique().to_list() == ["r1"]
    assert store(place).count()["letters"].to_list() == [2, 2, 1, 1]


def test_of_two_letters_the_later_one_is_kept(place: Place) -> None:
    for number, run in enumerate(("r1", "r2")):
        epoch = Epoch("p", "rejects", f"k{number}", run)
        store(place).write(epoch, [letters(epoch, range(2), later=number, reason=run)], 2)
    found = store(place).read().collect()
    assert found["run"].to_list() == ["r2", "r2"]
    assert found["reasons"].list.first().struct.field("reason").to_list() == ["r2", "r2"]
    assert store(place).read(run="r1").collect().is_empty()


def test_pipelines_share_a_store_and_see_their_own(place: Place) -> None:
    for name in ("p", "q-1"):
        epoch = Epoch(name, "rejects", "k", "r")
        store(place, name).write(epoch, [letters(epoch, range(2))], 2)
        store(place, name).mark_replayed([f"0-{name}"], Epoch(name, "replayed", "k2", "r2"))
    for name in ("p", "q-1"):
        found = store(place, name).read().sort("row").collect()
        assert found["id"].to_list() == [f"0-{name}", f"1-{name}"]
        assert found["replayed"].to_list() == [True, False]


def test_letters_are_chosen(place: Place) -> None:
    epoch = Epoch("p", "rejects", "k", "r")
    store(place).write(epoch, [letters(epoch, range(20))], 20)
    dead = store(place)
    assert dead.read(["3-p", "7-p", "nothing"]).collect()["row"].to_list() == [3, 7]
    assert dead.read(step="other").collect().height == 10
    assert dead.read(run="r").select(pl.len()).collect().item() == 20
    assert dead.show("7-")["record"] == bytes(range(256))
    late = Epoch("p", "rejects", "late", "r2")
    store(place).write(late, [letters(late, range(20, 22), later=60)], 2)
    moment = datetime(2026, 1, 1, 12, 31, tzinfo=UTC)
    assert sorted(dead.read(since=moment).collect()["row"].to_list()) == [20, 21]
    assert dead.count(since=moment)["letters"].to_list() == [1, 1, 1, 1]
    assert dead.count(run="r2", step="other")["letters"].to_list() == [1, 1]
    assert dead.read(since=datetime(2199, 1, 1, tzinfo=UTC)).collect().is_empty()
    with pytest.raises(SourceError, match="several dead letters begin with '1'"):
        dead.show("1")
    with pytest.raises(SourceError, match="no dead letter begins with 'zz'"):
        dead.show("zz")


def test_a_replay_is_marked_once(place: Place) -> None:
    epoch = Epoch("p", "rejects", "k", "r")
    store(place).write(epoch, [letters(epoch, range(3))], 3)
    ids = ["0-p", "1-p"]
    assert store(place).mark_replayed(ids, Epoch("p", "replayed", "again", "r2")).status == "committed"
    assert store(place).mark_replayed(ids, Epoch("p", "replayed", "again", "r3")).status == "skipped"
    assert store(place).read(pending=True).collect()["id"].to_list() == ["2-p"]
    assert store(place).count()["replayed"].sum() == 4


def test_an_empty_store_has_nothing_and_makes_nothing(place: Place) -> None:
    assert store(place).read().collect().is_empty()
    assert store(place).count().is_empty()
    if place.database is not None:
        assert (
            place.database.rows("SELECT 1 FROM information_schema.tables WHERE table_name = 'rejects'") == []
        )


def test_too_few_letters_are_not_stored(place: Place) -> None:
    epoch = Epoch("p", "rejects", "k", "r")
    with pytest.raises(SourceError, match="4 rows were refused, but the records of 3"):
        store(place).write(epoch, [letters(epoch, range(3))], 4)
    assert store(place).read().collect().is_empty()


def test_many_letters(place: Place) -> None:
    """More than are sent at once."""
    epoch, rows = Epoch("p", "rejects", "k", "r"), 120_001
    one = letters(epoch, range(1), reason="x")
    many = one.select(pl.all().repeat_by(rows).list.explode()).with_columns(
        id=pl.format("{}-p", pl.int_range(rows)), row=pl.int_range(rows), record=pl.lit(b"x" * 20)
    )
    store(place).write(epoch, [many], rows)
    assert store(place).read().select(pl.col("row").sum()).collect().item() == rows * (rows - 1) // 2


# Whole runs


def pipeline(place: Place, limit: int = 40, **changes: Any) -> dict[str, Any]:
    rule = {"name": "small", "check": f"id < {limit}", "on_failure": "quarantine"}
    return {
        "name": "p",
        "extract": {"type": "files", "path": "in.csv", "schema": "id INT, v STRING"},
        "transform": [{"id": "checked", "type": "validate", "rules": [rule]}],
        "load": {"type": "files", "path": "out", "format": "parquet", "mode": "append"},
        "resilience": {"retry": {"max_attempts": 1}, "dead_letter": place.config},
        **changes,
    }


@pytest.fixture
def source(place: Place) -> None:
    Path("in.csv").write_text("".join(f"{i},v{i}\n" for i in range(50)))


def loaded() -> list[int]:
    return sorted(pl.read_parquet("out/*.parquet")["id"].to_list())


@pytest.mark.usefixtures("source")
def test_a_replay_loads_each_record_once(place: Place) -> None:
    report = Pipeline.from_dict(pipeline(place)).run()
    assert (report.rows_loaded, report.rows_rejected) == (40, 10)
    assert Pipeline.from_dict(pipeline(place)).run().status == "skipped"
    again = Pipeline.from_dict(pipeline(place, limit=45)).replay()
    assert (again.rows_loaded, again.rows_rejected) == (5, 5)
    assert loaded() == list(range(45))
    last = Pipeline.from_dict(pipeline(place, limit=100)).replay()
    assert (last.rows_loaded, last.rows_rejected) == (5, 0)
    assert loaded() == list(range(50))
    with pytest.raises(RayetlError, match="there is nothing to replay"):
        Pipeline.from_dict(pipeline(place, limit=100)).replay()


@pytest.mark.usefixtures("source")
def test_the_commands_work(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.json").write_text(json.dumps(pipeline(place)))
    assert main(["run", "p.json", "-q"]) == 0
    assert main(["dlq", "list", "p.json", "--step", "checked"]) == 0
    assert "10 dead letters" in capsys.readouterr().out
    assert main(["dlq", "list", "p.json", "--since", "3h"]) == 0
    assert "10 dead letters" in capsys.readouterr().out
    assert main(["dlq", "list", "p.json", "--since", "2199-01-01"]) == 0
    assert "0 dead letters" in capsys.readouterr().out
    assert main(["dlq", "list", "p.json", "--since", "yesterday"]) == 2
    assert "'yesterday' is neither a length of time such as 2h nor a moment" in capsys.readouterr().err
    assert main(["dlq", "list", "p.json", "--counts", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["letters"] == 10
    assert main(["dlq", "show", "p.json", "41-"]) == 0
    assert "record (csv): 41,v41" in capsys.readouterr().out
    Path("p.json").write_text(json.dumps(pipeline(place, limit=45)))
    assert main(["dlq", "replay", "p.json", "41-", "-q"]) == 0
    capsys.readouterr()
    assert main(["dlq", "list", "p.json", "--pending", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 9


@ON_A_SERVER
@pytest.mark.usefixtures("source")
def test_letters_are_committed_beside_a_load_into_the_same_server(place: Place) -> None:
    assert place.database is not None
    kind = place.config["type"]
    load = {"type": kind, "credential": "store", "table": "t", "mode": "append"}
    report = Pipeline.from_dict(pipeline(place, load=load)).run()
    assert (report.rows_loaded, report.rows_rejected) == (40, 10)
    assert place.database.value("SELECT count(*) FROM t") == 40
    assert place.database.value("SELECT count(*) FROM rejects") == 10
    assert place.database.value("SELECT count(DISTINCT epoch) FROM rayetl_epochs") == 1


@ON_A_SERVER
@pytest.mark.parametrize("table", ["rejects", "rejects_replayed"])
@pytest.mark.usefixtures("source")
def test_a_load_into_the_table_of_the_letters_is_refused(place: Place, table: str) -> None:
    load = {"type": place.config["type"], "credential": "store", "table": table, "mode": "append"}
    with pytest.raises(ConfigError, match="the dead letters would go where `load_1` puts its rows"):
        Pipeline.from_dict(pipeline(place, load=load)).check()


@ON_A_SERVER
@pytest.mark.usefixtures("source")
def test_a_load_into_it_by_another_name_stops_before_anything_is_committed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.database is not None
    monkeypatch.setattr("rayetl.connectors.databases.tracker.WAIT", 1)
    load = {"type": place.config["type"], **place.database.config, "table": "rejects", "mode": "append"}
    with pytest.raises(LoadError, match="two loads of this run write into") as fault:
        Pipeline.from_dict(pipeline(place, load=load)).run()
    assert fault.value.step == "rejects"


@ON_A_SERVER
@pytest.mark.parametrize(("table", "what"), [("rejects", "letters"), ("rejects_replayed", "marks of")])
@pytest.mark.usefixtures("source")
def test_a_table_that_letters_do_not_fit_into_stops_the_run_before_a_row_is_read(
    place: Place, table: str, what: str
) -> None:
    assert place.database is not None
    place.database.execute(f"CREATE TABLE {table} (id int, mine int NOT NULL)")
    with pytest.raises(
        LoadError, match=f"the {what} .*do not fit into the table .*{table}: .*'mine'"
    ) as told:
        Pipeline.from_dict(pipeline(place)).run()
    assert "'pipeline'" in told.value.message, "all that is missing is said"
    assert "add_columns" not in str(told.value), "which letters do not have"
    assert told.value.hint is not None
    assert "name another `table` in `dead_letter`" in told.value.hint
    assert not list(Path("out").glob("part-*"))


@ON_A_SERVER
@pytest.mark.usefixtures("source")
def test_a_store_that_is_down_stops_the_run_before_a_row_is_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYETL_CREDENTIAL_STORE__PORT", "1")
    with pytest.raises(Retryable, match="cannot be reached") as fault:
        Pipeline.from_dict(pipeline(place)).run()
    assert fault.value.step == "rejects"
    assert not list(Path("out").glob("part-*"))
    monkeypatch.setenv("RAYETL_CREDENTIAL_STORE__PORT", str(place.database and place.database.port))
    assert Pipeline.from_dict(pipeline(place)).run().rows_rejected == 10
    assert loaded() == list(range(40))


@pytest.mark.parametrize("place", ["s3"], indirect=True)
@pytest.mark.usefixtures("source")
def test_a_bucket_that_fails_stops_the_run_with_nothing_committed(place: Place, s3_server: S3Server) -> None:
    s3_server.break_down("PUT", "letters/", status=403, code="AccessDenied", times=100)
    with pytest.raises(LoadError, match="AccessDenied") as fault:
        Pipeline.from_dict(pipeline(place)).run()
    assert fault.value.step == "rejects"
    s3_server.mend()
    assert not list(Path("out").glob("part-*"))
    assert Pipeline.from_dict(pipeline(place)).run().rows_rejected == 10
    assert loaded() == list(range(40))


@pytest.mark.parametrize("place", ["s3"], indirect=True)
@pytest.mark.usefixtures("source")
def test_records_are_encrypted_on_s3_too(
    place: Place, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in with_new_key({})[0].items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_SEAL__{name.upper()}", value)
    sealed = Place({**place.config, "encrypt": "seal"})
    Pipeline.from_dict(pipeline(place)).run()
    Pipeline.from_dict(pipeline(sealed)).run(force=True)
    (part,) = (key for key in bucket.keys("letters/") if "/part-000002-" in key)
    with pytest.raises(OSError, match="Cannot decrypt"):
        pq.read_table(io.BytesIO(bucket.get(part)))
    found = store(place).read().collect()
    assert found["run"].n_unique() == 1
    assert sorted(found["record"].to_list()) == [f"{i},v{i}".encode() for i in range(40, 50)]
    monkeypatch.delenv("RAYETL_CREDENTIAL_SEAL__CURRENT")
    assert store(place).read().drop("record").collect().height == 10
    assert store(place).count()["letters"].to_list() == [10]
