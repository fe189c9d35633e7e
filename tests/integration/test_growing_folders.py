"""Folders that grow: each file is loaded once, whatever ends a run in between."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from services.databases import SqlDatabase
from services.postgres import Database as Postgres
from services.s3 import Bucket, S3Server

from rayetl import Pipeline
from rayetl.errors import CommitConflict, ConfigError, LoadError, QualityAbort, SourceError, Terminal
from rayetl.observability.progress import Silent
from rayetl.observability.report import RunReport

SOURCE = {
    "type": "files",
    "path": "in/*.csv",
    "schema": "n INT",
    "options": {"header": True},
    "incremental": True,
}
BOTH = tuple({"id": name, "type": "files", "path": name, "mode": "append"} for name in ("one", "two"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    return tmp_path


def config(*steps: Mapping[str, Any], load: Any = BOTH[0], **more: Any) -> dict[str, Any]:
    document = {"name": "p", "extract": {"rows": SOURCE}, "transform": list(steps), "load": load}
    return {**document, **more}


def run(*steps: Mapping[str, Any], force: bool = False, **more: Any) -> RunReport:
    return Pipeline.from_dict(config(*steps, **more)).run(force=force)


def put(name: str, *numbers: object) -> None:
    Path(f"in/{name}.csv").write_text("\n".join(["n", *map(str, numbers)]) + "\n")


def rows(load: str = "one") -> list[int]:
    return sorted(pl.read_parquet(f"{load}/*.parquet")["n"].to_list())


def test_a_run_loads_the_files_that_no_run_before_it_has_loaded() -> None:
    put("a", 1, 2)
    assert run().rows_loaded == 2
    assert run().status == "nothing_new"
    put("b", 3)
    put("c", 4, "x")
    report = run()
    assert (report.run_key, report.rows_read, report.rows_loaded) == ("incremental-2", 3, 2)
    assert [source.files for source in report.sources] == [2]
    assert rows() == [1, 2, 3, 4]
    # The file that had the record may go: what was rejected is in its letter.
    assert report.rejected_rows == 1
    for path in Path("in").iterdir():
        path.unlink()
    assert run().status == "nothing_new"


@pytest.mark.parametrize(
    ("source", "doubted"),
    [
        ({"path": "in", "options": None}, True),
        ({"path": "in", "options": None, "schema": "n INT"}, False),
        ({"options": {"header": True, "infer_schema": True}}, True),
        ({"options": {"header": True}}, False),
    ],
)
def test_types_that_a_later_batch_may_change_are_warned_of(source: dict[str, Any], doubted: bool) -> None:
    Path("in/a.csv" if "path" not in source else "in/a.json").write_text('{"n": 1}\n')
    taken = {"rows": {**SOURCE, "schema": None, **source}}
    told = Pipeline.from_dict(config(extract=taken)).check()
    assert [problem.message for problem in told] == [
        "files that come later may give `rows` other types"
    ] * doubted


def test_where_no_file_ever_was_the_path_is_wrong() -> None:
    with pytest.raises(ConfigError, match="no file fits the pattern"):
        run()


def test_a_folder_that_is_emptied_hides_no_files_of_another() -> None:
    more = {**SOURCE, "path": "more/*.csv"}
    two = {"rows": SOURCE, "more": more}
    union = {"type": "union", "with": ["more"], "from": "rows"}
    Path("more").mkdir()
    put("a", 1)
    put("../more/a", 2)
    run(union, extract=two)
    Path("in/a.csv").unlink()
    put("../more/b", 3)
    assert run(union, extract=two).rows_loaded == 1
    assert run(union, extract=two).status == "nothing_new"
    # A list of paths is as good as two sources.
    put("../more/c", 4)
    assert run(extract={"rows": {**SOURCE, "path": ["in/*.csv", "more/[c-z].csv"]}}).rows_loaded == 1
    assert rows() == [1, 2, 3, 4]


def test_what_does_not_grow_and_is_not_there_is_told() -> None:
    Path("fixed").mkdir()
    put("a", 1)
    put("../fixed/a", 1)
    join = {"type": "join", "with": "fixed", "on": ["n"], "how": "left", "from": "rows"}
    sources = {"rows": SOURCE, "fixed": {**SOURCE, "path": "fixed/*.csv", "incremental": False}}
    run(join, extract=sources)
    Path("fixed/a.csv").unlink()
    put("b", 2)
    with pytest.raises(ConfigError, match=r"no file fits the pattern fixed/\*\.csv"):
        run(join, extract=sources)
    wrong = {"rows": SOURCE, "more": {**SOURCE, "path": "moer/*.csv"}}
    with pytest.raises(ConfigError, match=r"no file fits the pattern moer/\*\.csv"):
        run({"type": "union", "with": ["more"], "from": "rows"}, extract=wrong)


def test_other_names_for_a_file_are_no_other_file(here: Path) -> None:
    put("a", 1)
    run()
    for source in ({"path": "./in/../in/*.csv"}, {"path": str(here / "in")}):
        assert run(extract={"rows": {**SOURCE, "format": "csv", **source}}).status == "nothing_new"
    assert run(extract={"renamed": SOURCE}).status == "nothing_new"
    two = {"rows": SOURCE, "more": {**SOURCE, "path": "in/a.csv"}}
    both = {"type": "union", "with": ["more"], "from": "rows"}
    assert run(both, extract=two).rows_read == 1, "what is new is a source, not the file"


def test_a_name_may_be_made_of_any_bytes() -> None:
    for number, name in enumerate((b"\xff", b"a\nb", "\u00fc b".encode(), b"%41")):
        Path(os.fsdecode(b"in/" + name + b".csv")).write_text(f"n\n{number}\nx\n")
    report = run()
    assert (report.rows_loaded, report.rejected_rows) == (4, 4)
    assert run().status == "nothing_new"
    letters = Pipeline.from_dict(config()).dead_letters.read().collect()
    assert sorted(letters["file"]) == ["in/%41.csv", "in/a\nb.csv", "in/\u00fc b.csv", "in/\ufffd.csv"]


def test_a_file_that_changes_is_refused_where_its_rows_would_be_there_twice() -> None:
    put("a", 1)
    put("b", 2)
    run()
    put("b", 2, 3)
    put("c", 4)
    with pytest.raises(SourceError, match=r"in/b\.csv changed since batch 1 took it"):
        run()
    assert rows() == [1, 2]
    Path("in/b.csv").rename("in/d.csv")
    assert run().rows_loaded == 3


@pytest.mark.parametrize("alike", ["size", "time"])
def test_a_file_that_changes_is_refused_though_it_is_of_the_same(alike: str) -> None:
    put("a", 1)
    before = os.stat("in/a.csv")
    run()
    put("a", 7 if alike == "size" else 70)
    if alike == "time":
        os.utime("in/a.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(SourceError, match=r"in/a\.csv changed since batch 1 took it"):
        run()


def test_a_file_is_known_as_it_was_taken_last() -> None:
    put("a", 1)
    run()
    put("a", 1, 2)
    assert run(force=True).rows_loaded == 2
    assert run().status == "nothing_new"


def test_a_file_that_changes_is_read_again_where_its_rows_replace_those_before() -> None:
    table = {"id": "one", "type": "delta", "path": "table", "mode": "upsert", "keys": ["n"]}
    most = {"type": "aggregate", "group_by": ["n"], "metrics": {"times": "count(*)"}}
    put("a", 1, 1)
    run(most, load=table)
    put("a", 1, 2, 2)
    put("b", 3)
    assert run(most, load=table).rows_read == 4
    assert sorted(pl.read_delta("table").rows()) == [(1, 1), (2, 2), (3, 1)]


def test_force_takes_every_file_again() -> None:
    put("a", 1)
    run()
    put("b", 2)
    assert run(force=True).rows_loaded == 2
    assert rows() == [1, 1, 2]
    assert run().status == "nothing_new"


def test_a_batch_that_was_given_up_is_found_again_with_what_came_meanwhile() -> None:
    put("a", 1, -1)
    stern = {"type": "validate", "rules": [{"name": "r", "check": "n > 0", "on_failure": "abort"}]}
    with pytest.raises(QualityAbort):
        run(stern)
    put("b", 2)
    put("a", 1)
    report = run(stern)
    assert (report.run_key, rows()) == ("incremental-1", [1, 2])


def test_the_letters_of_a_batch_that_was_given_up_are_not_taken_for_those_of_the_next() -> None:
    Path("both.json").write_bytes(orjson.dumps(config(load=BOTH)))
    put("a", 1, "x")
    kill("both.json", "commit.before_decision@2")
    put("b", 2, "y")
    assert run(load=BOTH).run_key == "incremental-1"
    letters = Pipeline.from_dict(config()).dead_letters.read().collect()
    assert sorted(letters["record"]) == [b"x", b"y"]


def test_a_load_that_failed_gets_the_files_that_the_others_have_got() -> None:
    put("a", 1)
    Path("two").write_text("a file, and no directory")
    with pytest.raises(LoadError):
        run(load=BOTH)
    # Nothing was committed yet: the loads are opened before a row is read.
    put("b", 2)
    Path("two").unlink()
    half(BOTH)
    assert rows("one") == [1, 2]
    put("c", 3)
    report = run(load=BOTH)
    assert [(load.load, load.status, load.rows) for load in report.loads] == [
        ("one", "skipped", 2),
        ("two", "committed", 2),
    ]
    run(load=BOTH)
    assert rows("one") == rows("two") == [1, 2, 3]


def test_a_load_without_the_batches_before_is_told_of() -> None:
    put("1.csv", 1, 2)
    assert run().warnings == ()
    put("2.csv", 3)
    later = run(load=[*BOTH]).warnings
    assert [warning.partition(":")[0] for warning in later] == [
        "two does not hold incremental-1, the batch before"
    ]
    assert run(load=[*BOTH]).warnings == ()
    assert (rows("one"), rows("two")) == ([1, 2, 3], [3])
    shutil.rmtree("two")
    emptied = run(load=[*BOTH])
    assert emptied.status == "nothing_new"
    assert emptied.warnings[0].startswith("two does not hold incremental-2")


def half(load: Any) -> None:
    """A run that is killed between the commits of its two loads."""
    Path("half.json").write_bytes(orjson.dumps(config(load=load)))
    kill("half.json", "publish.marked")


def kill(name: str, place: str) -> None:
    place, _, turn = place.partition("@")
    armed = {**os.environ, "RAYETL_FAILPOINT": f"{place}:kill9@{turn or 1}"}
    done = subprocess.run(
        [sys.executable, "-m", "rayetl", "run", name, "--quiet"], env=armed, capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr.decode()


def test_a_file_that_is_gone_before_all_loads_have_it_is_told() -> None:
    put("a", 1)
    half(BOTH)
    shutil.move("in/a.csv", "away.csv")
    for more in ((), ("b", 2)):
        if more:
            put(*more)  # type: ignore[arg-type]
        with pytest.raises(
            (SourceError, ConfigError), match=r"in/a.csv of batch 1 .* two has not|no file fits"
        ):
            run(load=BOTH)
    shutil.move("away.csv", "in/a.csv")
    run(load=BOTH)
    run(load=BOTH)
    assert rows("one") == rows("two") == [1, 2]


def test_a_source_that_comes_while_a_batch_is_half_loaded_waits_for_the_next_one() -> None:
    put("a", 1)
    half(BOTH)
    Path("more").mkdir()
    put("../more/b", 2)
    union = {"type": "union", "with": ["more"], "from": "rows"}
    two = {"rows": SOURCE, "more": {**SOURCE, "path": "more/*.csv"}}
    for _ in range(2):
        run(union, extract=two, load=BOTH)
    assert rows("one") == rows("two") == [1, 2]


PLACES = (
    "taken.noted",
    *("stage.written", "stage.written@2", "commit.before_decision", "commit.before_decision@2"),
    *("commit.decided", "commit.decided@2", "publish.marked", "publish.marked@2", "commit.cleared@2"),
    *("taken.loaded", "taken.added"),
)


@pytest.mark.parametrize("place", PLACES)
def test_a_kill_at_any_place_costs_no_row_and_adds_none(place: str) -> None:
    Path("both.json").write_bytes(orjson.dumps(config(load=BOTH)))
    put("a", 1, 2)
    run(load=BOTH)
    put("b", 3)
    kill("both.json", place)
    put("c", 4)
    for _ in range(2):
        run(load=BOTH)
    assert run(load=BOTH).status == "nothing_new"
    assert rows("one") == rows("two") == [1, 2, 3, 4]


@pytest.mark.parametrize("bug", ["forgets the batch", "notes it too late", "adds what came meanwhile"])
def test_the_kills_above_would_find(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayetl.runs.taken import Taken

    Path("both.json").write_bytes(orjson.dumps(config(load=BOTH)))
    put("b", 3)
    kill("both.json", "publish.marked")
    put("c", 4)
    if bug == "forgets the batch":
        monkeypatch.setattr(Taken, "_noted", lambda _: None)
        with pytest.raises(Terminal, match="one: it holds incremental-1 of the run"):
            run(load=BOTH)
        return
    if bug == "notes it too late":
        Path(".rayetl/incremental/p/batch.json").unlink()
        with pytest.raises(Terminal, match="know nothing"):
            run(load=BOTH)
        return
    whole = Taken._rest
    monkeypatch.setattr(
        Taken,
        "_rest",
        lambda self, plan, noted, holders: type(whole(self, plan, noted, holders))(
            noted["number"], {"rows": plan.sources[0].scan.files}, tuple(noted["runs"])
        ),
    )
    run(load=BOTH)
    run(load=BOTH)
    assert Counter(rows("one")) != Counter(rows("two"))


def test_a_state_that_is_older_than_a_load_stops_a_run_before_a_row_is_read() -> None:
    put("a", 1)
    run()
    put("b", 2)
    shutil.copytree(".rayetl", "backup")
    run()
    shutil.rmtree(".rayetl")
    shutil.move("backup", ".rayetl")
    for _ in range(2):
        with pytest.raises(Terminal, match=r"one: it holds incremental-2 of the run .* know nothing"):
            run()
    assert rows() == [1, 2]
    report = run(force=True)
    assert (report.run_key, report.rows_loaded) == ("incremental-3", 2)
    put("c", 3)
    assert run().rows_loaded == 1


@pytest.mark.parametrize("name", ["batch.json", "taken.parquet"])
def test_notes_that_cannot_be_written_stop_the_run_and_cost_nothing(name: str) -> None:
    put("a", 1)
    in_the_way = Path(f".rayetl/incremental/p/{name}.new")
    in_the_way.mkdir(parents=True)
    with pytest.raises(Terminal, match=r"the state directory .*incremental/p cannot be written"):
        run()
    in_the_way.rmdir()
    put("b", 2)
    run()
    run()
    assert rows() == [1, 2]


def test_two_runs_at_once_do_not_share_a_batch() -> None:
    put("a", 1)
    seen: list[str] = []

    class Meanwhile(Silent):
        def stage_started(self, stage: str) -> None:
            if stage == "run":
                with pytest.raises(CommitConflict, match="is loading into p at this moment"):
                    run()
                seen.append(stage)

    Pipeline.from_dict(config()).run(progress=Meanwhile())
    assert seen
    assert rows() == [1]


def test_notes_that_are_damaged_are_told() -> None:
    put("a", 1)
    run()
    taken = Path(".rayetl/incremental/p/taken.parquet")
    taken.write_bytes(taken.read_bytes()[:40])
    with pytest.raises(Terminal, match=r"taken.parquet, which says what files were taken, is damaged"):
        run()
    taken.unlink()
    for text in ("", "{}", "null"):
        taken.with_name("batch.json").write_text(text)
        with pytest.raises(Terminal, match=r"batch.json, which says what files were taken, is damaged"):
            run()


def test_on_s3_and_into_a_database(bucket: Bucket, s3_server: S3Server, store: SqlDatabase) -> None:
    def put_object(name: str, *numbers: object) -> None:
        bucket.put(f"in/day=1/{name}.csv", "\n".join(["n", *map(str, numbers)]).encode())

    where = {"path": f"{bucket.url}/in", "credential": "lake", "s3": {"endpoint": s3_server.endpoint}}
    source = {**SOURCE, "format": "csv", **where}
    kind = "postgres" if isinstance(store, Postgres) else "mysql"
    load = {"id": "one", "type": kind, **store.config, "table": "grown", "mode": "append"}
    put_object("a", 1, 2)
    assert run(extract={"rows": source}, load=load).rows_loaded == 2
    put_object("b", 3)
    assert run(extract={"rows": source}, load=load).rows_loaded == 1
    assert run(extract={"rows": source}, load=load).status == "nothing_new"
    put_object("b", 3, 3)
    with pytest.raises(SourceError, match=r"in/day=1/b.csv changed since batch 2"):
        run(extract={"rows": source}, load=load)
    assert store.value("SELECT count(*) FROM grown") == 3
