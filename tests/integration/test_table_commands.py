"""`rayetl table`: what it says of tables, what it changes of them, and what it must never touch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, TableFeatures
from lakes import DeltaOnS3, IcebergLake, Lake, numbers

from rayetl.cli import main

Told = tuple[int, str, str]
Call = Callable[..., Told]
OLD = 30 * 24 * 3600


@pytest.fixture(params=["delta", "delta on S3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.chdir(tmp_path)
    if request.param == "delta on S3":
        return DeltaOnS3(request.getfixturevalue("bucket"), request.getfixturevalue("s3_server"))
    return Lake()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """A command of `rayetl table`: its exit code, and what it prints."""

    def called(*given: str) -> Told:
        capsys.readouterr()
        code = main(["table", *given])
        found = capsys.readouterr()
        return code, found.out, found.err

    return called


def config(lake: Lake, **more: Any) -> str:
    """A config with one load into the table."""
    load = {"id": "lake", **lake.settings, "mode": "append"}
    made = {"name": "p", "extract": {"type": "files", "path": "in.parquet"}, "load": load, **more}
    Path("p.json").write_text(json.dumps(made))
    return "p.json"


def loaded(lake: Lake, *rounds: int) -> None:
    for round_ in rounds:
        lake.load(numbers(round_), mode="append", key=str(round_))


def test_history_says_which_run_made_what(lake: Lake, call: Call) -> None:
    loaded(lake, 1, 2, 3)
    code, out, _ = call("history", config(lake), "--json")
    assert code == 0
    changes = json.loads(out)
    assert [change["version"] for change in changes] == [2, 1, 0]
    assert {(change["pipeline"], change["load"], change["rows"]) for change in changes} == {("p", "lake", 1)}
    assert len({change["run"] for change in changes}) == 3
    assert call("history", "p.json", "lake", "--limit", "1")[1].count("p: lake") == 1


def test_small_files_are_put_together_and_loads_go_on(lake: Lake, call: Call) -> None:
    loaded(lake, 1, 2, 3)
    code, out, err = call("optimize", config(lake))
    assert code == 0, err
    assert "3 files of" in out
    assert "are now 1 of" in out
    assert "in version 3" in out
    assert sorted(lake.seen()["id"]) == [1, 2, 3]
    assert "nothing to put together" in call("optimize", "p.json")[1]
    assert call("history", "p.json", "--limit", "1")[1].split()[-1] == "OPTIMIZE"
    again = lake.load(numbers(3), mode="append", key="3")
    assert again.loads[0].status == "skipped", "the epochs of the table are known as before"
    loaded(lake, 4)
    assert sorted(lake.read()["id"]) == [1, 2, 3, 4]


@pytest.fixture
def aged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A table of this machine whose three first files were replaced long ago, with a file that belongs to
    nobody and is as old."""
    monkeypatch.chdir(tmp_path)
    lake = Lake()
    loaded(lake, 1, 2, 3)
    DeltaTable("lake").optimize.compact()
    commit = Path("lake/_delta_log/00000000000000000003.json")
    then = int((time.time() - OLD) * 1000)
    lines = [json.loads(line) for line in commit.read_text().splitlines()]
    for line in lines:
        if "remove" in line:
            line["remove"]["deletionTimestamp"] = then
    commit.write_text("\n".join(map(json.dumps, lines)))
    Path("lake/part-00000-0rphan.parquet").write_bytes(b"x" * 100)
    for path in Path("lake").glob("*.parquet"):
        os.utime(path, (time.time() - OLD,) * 2)
    return lake


def test_a_vacuum_counts_first_and_removes_on_request(aged: Lake, call: Call) -> None:
    before = set(Path("lake").rglob("*.parquet"))
    code, out, _ = call("vacuum", config(aged))
    assert code == 0
    assert "4 files of" in out
    assert "--delete does it" in out
    assert set(Path("lake").rglob("*.parquet")) == before
    told = json.loads(call("vacuum", "p.json", "--json")[1])
    assert (told["files"], told["deleted"], told["retention"]) == (4, False, 7 * 24 * 3600)
    assert told["bytes"] == sum(path.stat().st_size for path in before if "c000" not in path.name)
    assert "4 files of" in call("vacuum", "p.json", "--delete")[1]
    assert [path.name[-12:] for path in Path("lake").rglob("*.parquet")] == ["zstd.parquet"]
    assert sorted(aged.read()["id"]) == [1, 2, 3]
    assert "no file is older" in call("vacuum", "p.json", "--delete")[1]
    loaded(aged, 4)
    assert sorted(aged.seen()["id"]) == [1, 2, 3, 4]


def test_a_vacuum_leaves_the_files_of_a_load_that_is_about_to_commit(
    aged: Lake, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the most dangerous moment: the files lie in the table, and the log does not know them yet."""
    from rayetl.connectors.delta.session import DeltaSession

    real = DeltaSession._write
    vacuumed: list[Told] = []

    def write(*given: Any) -> None:
        # The vacuum enters itself into the log, so the load looks at the table anew and tries once more.
        if not vacuumed:
            there = set(Path("lake").rglob("*.parquet"))
            vacuumed.append(call("vacuum", "p.json", "--retention", "1h", "--shorten", "--delete"))
            assert len(there - set(Path("lake").rglob("*.parquet"))) == 4
        real(*given)

    config(aged)
    monkeypatch.setattr(DeltaSession, "_write", write)
    loaded(aged, 4)
    assert vacuumed[0][0] == 0
    assert sorted(aged.seen()["id"]) == [1, 2, 3, 4]


def test_a_short_retention_must_be_meant(aged: Lake, call: Call) -> None:
    code, _, err = call("vacuum", config(aged), "--retention", "2h")
    assert code == 1
    assert "keeps files for 7d" in err
    assert "add --shorten if that is meant" in err
    code, _, err = call("vacuum", "p.json", "--retention", "10m", "--shorten")
    assert code == 1
    assert "could remove files that a load has just put" in err
    for keeps in ("interval 60 days", "INTERVAL 8 weeks 4 days"):
        DeltaTable("lake").alter.set_table_properties({"delta.deletedFileRetentionDuration": keeps})
        assert "no file is older" in call("vacuum", "p.json")[1]
    assert "4 files" in call("vacuum", "p.json", "--retention", "20d", "--shorten")[1]


def test_what_a_vacuum_does_not_understand_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """Spark's deletion vectors are files that the library takes for nobody's."""
    monkeypatch.chdir(tmp_path)
    lake = Lake()
    loaded(lake, 1)
    DeltaTable("lake").alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
    vector = Path("lake/deletion_vector_0.bin")
    vector.touch()
    os.utime(vector, (time.time() - OLD,) * 2)
    code, _, err = call("vacuum", config(lake), "--delete")
    assert (code, vector.exists()) == (1, True)
    assert "lake may have deletion vectors" in err


def test_a_retention_that_is_not_understood_is_no_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    lake = Lake()
    loaded(lake, 1)
    log = Path("lake/_delta_log/00000000000000000000.json")
    keeps = '"configuration":{"delta.deletedFileRetentionDuration":"for a long time"}'
    log.write_text(log.read_text().replace('"configuration":{}', keeps))
    code, _, err = call("vacuum", config(lake))
    assert (code, "keeps files for 'for a long time'" in err) == (1, True)


def while_compacting(monkeypatch: pytest.MonkeyPatch, other: Callable[[], object]) -> None:
    """Another program comes in between, once, just before a compaction is committed."""
    waiting = [other]

    def passed(name: str) -> None:
        if name == "delta.compacting" and waiting:
            waiting.pop()()

    monkeypatch.setattr("rayetl.connectors.delta.compacting.failpoint", passed)


@pytest.mark.parametrize("other", ["compacts", "deletes"])
def test_a_compaction_that_loses_a_race_says_so(
    aged: Lake, call: Call, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """The library lets a second compaction of the same files through, and each row is there twice."""
    loaded(aged, 4)
    rivals = {
        "compacts": lambda: DeltaTable("lake").optimize.compact(),
        "deletes": lambda: DeltaTable("lake").delete("id = 4"),
    }
    while_compacting(monkeypatch, rivals[other])
    code, _, err = call("optimize", config(aged))
    assert code == 1
    assert "another writer changed files of the Delta table" in err
    assert "run it again" in err
    assert sorted(aged.seen()["id"]) == [1, 2, 3, 4][: 4 if other == "compacts" else 3]


def test_rows_that_come_while_a_compaction_goes_on_are_no_conflict(
    lake: Lake, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(lake, 1, 2)
    while_compacting(monkeypatch, lambda: loaded(lake, 3))
    assert "2 files of" in call("optimize", config(lake))[1]
    assert sorted(lake.seen()["id"]) == [1, 2, 3]


def test_a_compaction_whose_answer_is_lost_is_looked_up(
    lake: Lake, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deltalake.exceptions import CommitFailedError

    loaded(lake, 1, 2)
    commit = DeltaTable.create_write_transaction

    def unheard(*given: Any, **more: Any) -> None:
        commit(*given, **more)
        raise CommitFailedError("there is such a version already")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", unheard)
    code, out, err = call("optimize", config(lake))
    assert code == 0, err
    assert "in version 2" in out
    assert sorted(lake.seen()["id"]) == [1, 2]


def test_files_are_put_together_by_partition_and_size(lake: Lake, call: Call) -> None:
    for part in ("a b/%", None, "a b/%", None, "c"):
        lake.load(
            numbers(1).with_columns(p=pl.lit(part, pl.String)), mode="append", partition_by="p", force=True
        )
    lake.load(numbers(1, 2).with_columns(p=pl.lit("c"), w=pl.lit(0.5)), mode="append", add_columns=True)
    before = lake.seen()
    assert "nothing to put together" in call("optimize", config(lake), "--target-size", "10")[1]
    code, out, err = call("optimize", "p.json")
    assert code == 0, err
    assert "6 files of" in out
    assert "are now 3 of" in out
    order = {"by": before.columns, "nulls_last": True}
    assert lake.seen().sort(**order).equals(before.sort(**order))  # type: ignore[arg-type]
    assert lake.read().sort(**order).equals(before.sort(**order))  # type: ignore[arg-type]


def test_a_table_is_chosen_by_its_id(lake: Lake, call: Call) -> None:
    loaded(lake, 1)
    extract = {"mine": lake.settings, "other": {"type": "files", "path": "in.parquet"}}
    made = config(lake, extract=extract, transform=[{"type": "limit", "from": "mine", "rows": 1}])
    code, _, err = call("history", made)
    assert code == 1
    assert "say which table is meant" in err
    assert "tables of p: mine, lake" in err
    assert call("history", made, "mine")[0] == 0
    code, _, err = call("history", made, "other")
    assert (code, "'other' is no table of a lake" in err) == (1, True)
    plain = config(lake, load={"type": "files", "path": "out"}, extract=extract["other"], transform=[])
    code, _, err = call("history", plain)
    assert (code, "p has no table of a lake" in err) == (1, True)


def test_what_is_not_there_and_what_is_no_size_is_said(lake: Lake, call: Call) -> None:
    made = config(lake)
    for command in ("history", "optimize", "vacuum"):
        code, _, err = call(command, made)
        assert (code, "there is no Delta table at" in err) == (1, True)
    assert call("optimize", made, "--target-size", "12q")[0] == 2
    assert call("vacuum", made, "--retention", "soon")[0] == 2


def test_iceberg_tables_have_a_history_and_no_more(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lake = IcebergLake()
    code, _, err = call("history", config(lake))
    assert (code, "there is no Iceberg table shop.daily" in err) == (1, True)
    lake.load(numbers(1, 2), mode="append", key="1")
    lake.load(numbers(3), mode="overwrite", key="2")
    changes = json.loads(call("history", "p.json", "--json")[1])
    assert [change["rows"] for change in changes if change["load"] == "lake"] == [1, 2]
    assert changes[0]["version"] == lake.table().current_snapshot().snapshot_id
    for command, procedure in (("optimize", "rewrite_data_files"), ("vacuum", "expire_snapshots")):
        code, _, err = call(command, "p.json")
        assert code == 1
        assert f"in Spark: CALL system.{procedure}(table => 'shop.daily')" in err


def test_a_vacuum_on_s3_counts_what_a_merge_left(
    lake: Lake, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a table on S3 can be made old by a test: all is younger than any retention."""
    loaded(lake, 1)
    lake.load(numbers(1), mode="upsert", keys="id", key="2")
    told = json.loads(call("vacuum", config(lake), "--retention", "1h", "--shorten", "--delete", "--json")[1])
    assert (told["files"], told["deleted"]) == (0, True)
    assert lake.seen()["id"].to_list() == [1]
