"""Plans that run split by split: what is cut and why not, the same rows, rejects and books, and what is kept."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import ray

from rayetl import Pipeline, failpoints
from rayetl.cluster import engine as on_cluster
from rayetl.cluster import supervisor as supervising
from rayetl.cluster.board import Status
from rayetl.cluster.engine import OnCluster, Window
from rayetl.cluster.metered import MeteredBoard
from rayetl.cluster.metrics import Meters
from rayetl.cluster.tasks import Site
from rayetl.connectors.base import FilesScan, FilesTarget, InputFile
from rayetl.engines.base import Job, Measured
from rayetl.engines.polars import PolarsEngine
from rayetl.errors import (
    BooksError,
    CommitConflict,
    LoadError,
    QualityAbort,
    Retryable,
    RunError,
    SourceError,
)
from rayetl.model import Model
from rayetl.observability.progress import Silent
from rayetl.plan import splits as splitting
from rayetl.plan.splits import Split, Splits, cut
from rayetl.runs.parked import ABANDONED, Parking, added
from rayetl.sql.types import Schema
from tests.cluster.test_ways_in import comparable

N = 4_000


@pytest.fixture
def inputs(here: Path) -> Path:
    """One Parquet file of eight row groups, five CSV files, and a small table to join."""
    table = pa.table(
        {
            "id": list(range(N)),
            "k": [row % 7 for row in range(N)],
            "v": [None if row % 97 == 0 else f"v{row}" for row in range(N)],
        }
    )
    pq.write_table(table, "in.parquet", row_group_size=N // 8)
    Path("csv").mkdir()
    for part in range(5):
        with open(f"csv/{part}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "k", "v"])
            for row in range(part * 200, part * 200 + 200):
                writer.writerow(["bad" if row % 50 == 3 else row, row % 7, f"v{row}" if row % 9 else ""])
    pq.write_table(pa.table({"k": [0, 1, 2, 3], "name": ["zero", "one", "two", "three"]}), "names.parquet")
    return here


PARQUET = {"type": "files", "path": "in.parquet"}
CSV = {"type": "files", "path": "csv/*.csv", "schema": "id INT, k INT, v STRING", "options": {"header": True}}
NAMES = {"type": "files", "path": "names.parquet"}
CHECK = {"type": "validate", "rules": [{"name": "has_v", "not_null": ["v"]}]}


def config(source: dict[str, Any] = PARQUET, steps: Any = (CHECK,), **changes: Any) -> dict[str, Any]:
    return {
        "name": "split",
        "extract": {"rows": source, "names": NAMES},
        "transform": list(steps),
        "load": {"id": "out", "type": "files", "path": "out", "format": "parquet", "mode": "append"},
        "resilience": {"dead_letter": {"type": "files", "path": "rejects"}},
        **changes,
    }


def rows(path: str) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row.values()) for row in ds.dataset(path, format="parquet").to_table().to_pylist())


def letters(path: str) -> list[tuple[Any, ...]]:
    found = ds.dataset(f"{path}/split/rejects", format="parquet").to_table().to_pylist()
    return sorted((row["id"], row["file"], row["row"], bytes(row["record"])) for row in found)


# What can be cut


def sql(query: str) -> dict[str, Any]:
    return {"id": "step", "type": "sql", "query": query}


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, upper(v) AS v FROM rows WHERE k > 2",
        "SELECT id, explode(array(k, k + 1)) AS k FROM rows",
        "SELECT r.id, n.name FROM rows r JOIN names n ON r.k = n.k",
        "SELECT r.id, n.name FROM rows r LEFT JOIN names n ON r.k = n.k",
        "SELECT r.id, n.name FROM names n RIGHT JOIN rows r ON r.k = n.k",
        "SELECT id FROM rows WHERE k IN (SELECT k FROM names)",
        "SELECT id FROM rows r WHERE NOT EXISTS (SELECT 1 FROM names n WHERE n.k = r.k)",
        "SELECT r.id, n.c FROM rows r JOIN (SELECT k, count(*) AS c FROM names GROUP BY k) n ON r.k = n.k",
        "SELECT id, k FROM rows WHERE k = 1 UNION ALL SELECT id, -k FROM rows WHERE k = 2",
        "SELECT id, (SELECT max(k) FROM names) AS m FROM rows",
    ],
)
def test_what_streams_gives_the_same_rows_in_splits(inputs: Path, query: str) -> None:
    plan = Pipeline.from_dict(config(steps=[sql(query)])).plan()
    splits = cut(plan, 1)
    assert isinstance(splits, Splits)
    assert len(splits.parts) == 8
    whole = Counter(map(str, PolarsEngine().rows(plan, "step").to_pylist()))
    parts: Counter[str] = Counter()
    for split in splits.parts:
        parts.update(map(str, PolarsEngine().rows(splits.plan_of(plan, split), "step").to_pylist()))
    assert parts == whole
    assert parts


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("SELECT k, count(*) AS c FROM rows GROUP BY k", "aggregate"),
        ("SELECT DISTINCT k FROM rows", "needs all rows at once"),
        ("SELECT id FROM rows ORDER BY id", "sort"),
        ("SELECT id FROM rows LIMIT 5", "limit"),
        ("SELECT id, row_number() OVER (ORDER BY id) AS n FROM rows", "window"),
        ("SELECT a.id FROM rows a JOIN rows b ON a.id = b.k", "with one another"),
        ("SELECT n.name FROM names n LEFT JOIN rows r ON r.k = n.k", "keeps rows of the other side"),
        ("SELECT n.name FROM rows r FULL JOIN names n ON r.k = n.k", "keeps rows of the other side"),
        ("SELECT name FROM names n WHERE EXISTS (SELECT 1 FROM rows r WHERE r.k = n.k)", "semi join"),
        ("SELECT k FROM rows UNION ALL SELECT k FROM names", "adds rows of another source"),
        ("SELECT k FROM rows UNION SELECT k FROM rows", "needs all rows at once"),
        ("SELECT k FROM rows EXCEPT SELECT k FROM names", "needs all rows at once"),
        ("SELECT id, (SELECT max(k) FROM rows) AS m FROM rows", "looks up a value of all rows"),
        ("SELECT name FROM names", "takes no rows of rows"),
    ],
)
def test_what_needs_all_rows_is_not_cut_and_explain_says_why(inputs: Path, query: str, why: str) -> None:
    pipeline = Pipeline.from_dict(config(steps=[sql(query)]))
    assert why in str(cut(pipeline.plan(), 1))
    assert "runtime ray: one task, because " in pipeline.explain(runtime="ray", split_size=1)


def test_a_rule_over_all_rows_is_not_cut(inputs: Path) -> None:
    rule = {"name": "enough", "row_count": {"min": 1}}
    found = cut(Pipeline.from_dict(config(steps=[{"type": "validate", "rules": [rule]}])).plan(), 1)
    assert "checks all rows together" in str(found)


def test_what_every_split_would_read_again_may_not_be_large(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Pipeline.from_dict(config(steps=[sql("SELECT id FROM rows SEMI JOIN names USING (k)")])).plan()
    size = Path("names.parquet").stat().st_size
    monkeypatch.setattr(splitting, "FIXED_BYTES", size)
    assert isinstance(cut(plan, 1), Splits)
    monkeypatch.setattr(splitting, "FIXED_BYTES", size - 1)
    assert "of other sources again" in str(cut(plan, 1))


def test_explain_says_that_a_file_of_text_is_not_cut(inputs: Path) -> None:
    Path("long.csv").write_text("1\n" * 9_000)
    source = {"type": "files", "path": "long.csv", "schema": "k INT"}
    pipeline = Pipeline.from_dict(config(source, [sql("SELECT k FROM rows")]))
    assert "rows cannot be cut: splits are whole files" in pipeline.explain(runtime="ray", split_size=1)
    assert "rows is small enough for one task" in pipeline.explain(runtime="ray", split_size=10**6)


def test_explain_says_which_part_runs_where(inputs: Path) -> None:
    query = "SELECT r.id, n.name FROM rows r JOIN names n ON r.k = n.k"
    told = Pipeline.from_dict(config(steps=[sql(query)])).explain(runtime="ray", split_size=1)
    assert "runtime ray: 8 splits of rows" in told
    assert "  split by split: step\n" in told
    assert "  again for every split: names\n" in told
    small = Pipeline.from_dict(config(steps=[sql(query)])).explain(runtime="ray")
    assert "one task, because rows is small enough" in small


@pytest.mark.parametrize("size", [1, 2_000, 5_000, 12_000, 10**9])
def test_cuts_cover_every_row_once(inputs: Path, size: int) -> None:
    Path("many").mkdir()
    for part in range(3):
        pq.write_table(pq.read_table("in.parquet").slice(part * 50, 50), f"many/a{part}.parquet")
    shutil.copy("in.parquet", "many/b.parquet")
    shutil.copy("names.parquet", "many/c.parquet")
    source = {"type": "files", "path": "many/*.parquet", "schema": "k BIGINT"}
    plan = Pipeline.from_dict(config(source, [sql("SELECT k FROM rows")])).plan()
    scan = plan.sources[0].scan
    assert isinstance(scan, FilesScan)
    splits = cut(plan, size)
    if isinstance(splits, str):
        assert size == 10**9
        return
    seen: dict[str, list[tuple[int, int | None]]] = {}
    for number, split in enumerate(splits.parts):
        assert split.number == number
        assert isinstance(split.scan, FilesScan)
        for index, file in enumerate(split.scan.files, split.scan.first_file):
            assert scan.files[index].path == file.path
            seen.setdefault(file.path, []).append((file.first, file.count))
    assert list(seen) == [file.path for file in scan.files]
    for path, pieces in seen.items():
        reached = 0
        for first, count in pieces:
            assert first == reached
            reached += pq.read_metadata(path).num_rows if count is None else count
        assert reached == pq.read_metadata(path).num_rows


def test_work_under_way_is_bounded_by_bytes_and_number() -> None:
    def split(size: int) -> Split:
        return Split(0, FilesScan("csv", (), Schema(), Model()), size)

    window = Window(bytes=100, parts=3)
    assert window.has_room([], split(500)), "one that is larger than the window goes alone"
    assert window.has_room([split(60)], split(40))
    assert not window.has_room([split(60)], split(41))
    assert not window.has_room([split(1)] * 3, split(1))


# The same on both runtimes


CASES = {
    "parquet": config(),
    "csv": config(CSV),
    "csv, drop": config(CSV | {"mode": "drop"}),
    "join": config(
        CSV, [CHECK, sql("SELECT r.id, r.v, n.name FROM validate_1 r LEFT JOIN names n ON r.k = n.k")]
    ),
    "partitions": config(
        load={
            "id": "out",
            "type": "files",
            "path": "out",
            "format": "parquet",
            "mode": "overwrite",
            "partition_by": ["k"],
        }
    ),
    "no rows": config(steps=[sql("SELECT id FROM rows WHERE k = 99")]),
}


@pytest.mark.parametrize("case", CASES)
def test_splits_on_ray_are_the_run_of_this_process(cluster: str, inputs: Path, case: str) -> None:
    here = CASES[case]
    there = {
        **here,
        "state": "l",
        "load": here["load"] | {"path": "l_out"},
        "resilience": {"dead_letter": {"type": "files", "path": "l_rejects"}},
    }
    local = Pipeline.from_dict(there).run()
    report = Pipeline.from_dict(here).run(runtime="ray", split_size=1)
    assert report.splits is not None
    assert report.splits.total == (
        5 if here["extract"]["rows"] is CASES["csv"]["extract"]["rows"] else report.splits.total
    )
    assert report.splits.total >= 5
    alike = [replace(comparable(each), splits=None) for each in (report, local)]
    alike = [replace(r, loads=tuple(replace(x, files=0) for x in r.loads)) for r in alike]
    assert alike[0] == alike[1]
    assert report.balanced
    if case == "no rows":
        assert len(list(Path("out").glob("*.parquet"))) == 1
        return
    assert rows("out") == rows("l_out")
    if report.rows_rejected:
        assert letters("rejects") == letters("l_rejects")
    else:
        assert case == "csv, drop"
    assert not list(Path().glob(".out.*")), "nothing waits beside the target any more"
    assert not list(Path(".rayetl/parked").glob("*"))
    assert Pipeline.from_dict(here).run().status == "skipped", "one epoch, whatever the runtime"


def test_a_failed_rule_stops_all_splits_and_leaves_nothing(cluster: str, inputs: Path) -> None:
    rule = {"name": "has_v", "not_null": ["v"], "on_failure": "abort"}
    with pytest.raises(QualityAbort, match="42 rows"):
        Pipeline.from_dict(config(steps=[{"type": "validate", "rules": [rule]}])).run(
            runtime="ray", split_size=1
        )
    assert not Path("out").exists()
    assert not list(Path().glob(".out.*"))


def test_a_run_that_fails_and_never_comes_again_leaves_nothing_of_its_splits(
    cluster: str, inputs: Path
) -> None:
    bad = config(CSV | {"mode": "fail"}, load={"id": "out", "type": "files", "path": "out"})
    for force, left in ((True, 0), (False, 1)):
        with pytest.raises(SourceError, match="not a valid INT"):
            Pipeline.from_dict(bad).run(runtime="ray", split_size=1, force=force)
        assert len(list(Path().glob(".out.*"))) == left
        assert len(list(Path(".rayetl/parked").glob("*"))) == left
    abandoned = next(Path(".rayetl/parked").glob("*/*")) / "000004-00000000"
    abandoned.mkdir()
    os.utime(abandoned, (0, time.time() - 2 * ABANDONED))
    with pytest.raises(SourceError, match="not a valid INT"):
        Pipeline.from_dict(bad).run(runtime="ray", split_size=1)
    assert not abandoned.exists()


def test_splits_of_a_run_that_nobody_came_back_to_are_removed(inputs: Path) -> None:
    made, splits, session = job(inputs)
    for records, days in (("new", 6), ("old", 8)):
        Parking.of(inputs / "parked" / records, made, splits).do(0, PolarsEngine(), Silent())
        for place in (inputs / "parked" / records, *(inputs / "parked" / records).rglob("*")):
            os.utime(place, (0, time.time() - days * 24 * 3600))
    Parking.of(inputs / "parked" / "next", made, splits)
    assert sorted(os.listdir("parked")) == ["new", "next"]
    session.abort()


# Killed anywhere


def job(tmp: Path, steps: Any = (CHECK,)) -> tuple[Job, Splits, Any]:
    plan = Pipeline.from_dict(config(steps=steps)).plan()
    from rayetl.connectors.base import Epoch

    schema = plan.loads[0].schema
    assert schema is not None
    session = plan.loads[0].load.open(Epoch("split", "out", "key", "run"), schema)
    assert session.committed() is None
    target = session.begin()
    assert target is not None
    splits = cut(plan, 1)
    assert isinstance(splits, Splits)
    return Job(plan, {"out": target}, tmp / "refused"), splits, session


def test_a_split_done_twice_counts_once_and_lost_files_are_done_anew(inputs: Path) -> None:
    made, splits, session = job(inputs)
    parking = Parking.of(inputs / "state", made, splits)
    for number in (0, 0, 1, 2):
        parking.do(number, PolarsEngine(), Silent())
    assert sorted(parking.kept()) == [0, 1, 2]
    with pytest.raises(LoadError, match="5 finished splits are not there"):
        parking.gather(0)
    token = parking.kept()[1].token
    next(Path(made.targets["out"].parking).glob(f"*/{token}/*.parquet")).unlink()
    assert sorted(parking.kept()) == [0, 2]
    for number in (1, 3, 4, 5, 6, 7):
        parking.do(number, PolarsEngine(), Silent())
    measured = parking.gather(2)
    assert measured.staged == {"out": N - 42}
    session.commit(measured.staged["out"])
    in_order = [pq.read_table(path)["id"].to_pylist() for path in sorted(Path("out").glob("*.parquet"))]
    assert list(chain.from_iterable(in_order)) == [row for row in range(N) if row % 97]
    assert sorted(row[0] for row in rows("out")) == [row for row in range(N) if row % 97]
    parking.forget()
    assert not list(Path().glob(".out.*"))


def test_what_is_left_of_splits_that_were_not_finished_is_removed_once_it_is_quiet(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, splits, session = job(inputs)
    parking = Parking.of(inputs / "parked" / "epoch", made, splits)
    parking.do(0, PolarsEngine(), Silent())
    parking.do(1, PolarsEngine(), Silent())
    with monkeypatch.context() as armed:
        armed.setenv("RAYETL_FAILPOINT", "split.staged:raise@1,split.staged:raise@2")
        failpoints.rearm()
        for number in (2, 3):
            with pytest.raises(failpoints.FailpointError):
                parking.do(number, PolarsEngine(), Silent())
    failpoints.rearm()
    places = [*Path("parked/epoch").glob("*/0*-*"), *Path(made.targets["out"].parking).glob("*/0*-*")]
    assert len(places) == 8
    for place in places:
        for each in (place, *place.rglob("*")):
            if not place.name.startswith("000003"):
                os.utime(each, (0, time.time() - 2 * ABANDONED))
    parking.clear(parking.kept())
    assert sorted(place.name[:6] for place in places if place.exists()) == [
        *("000000", "000000", "000001", "000001", "000003", "000003")
    ]
    assert sorted(parking.kept()) == [0, 1]
    session.abort()


def test_a_split_whose_files_were_taken_away_meanwhile_is_not_recorded(inputs: Path) -> None:
    made, splits, session = job(inputs)
    parking = Parking.of(inputs / "state", made, splits)

    class Slow(PolarsEngine):
        def run(self, job: Job) -> Measured:
            measured = super().run(job)
            assert isinstance(job.targets["out"], FilesTarget)
            shutil.rmtree(job.targets["out"].directory)
            return measured

    with pytest.raises(LoadError, match="cannot set down a finished split: No such file"):
        parking.do(0, Slow(), Silent())
    assert parking.kept() == {}
    session.abort()


def test_a_disk_that_is_full_is_told(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, splits, session = job(inputs)
    parking = Parking.of(inputs / "state", made, splits)
    with monkeypatch.context() as armed:
        armed.setenv("RAYETL_FAILPOINT", "split.staged:enospc")
        failpoints.rearm()
        with pytest.raises(LoadError, match="cannot set down a finished split: No space left on device"):
            parking.do(0, PolarsEngine(), Silent())
    failpoints.rearm()
    session.abort()


@pytest.mark.parametrize("place", ["state", "out"])
def test_a_node_with_a_disk_of_its_own_is_told(inputs: Path, place: str) -> None:
    """The work for a split finds nothing of what the supervisor has made, or the supervisor nothing of it."""
    made, splits, _ = job(inputs)
    parking = Parking.of(inputs / "state", made, splits)
    with pytest.raises(LoadError, match=r"000003\.json, which another node of the cluster has just made"):
        parking.record(3)
    parked = {"state": parking.records, "out": Path(made.targets["out"].parking)}[place]
    shutil.rmtree(parked)
    with pytest.raises(
        LoadError, match=f"(?s)has no .*{parked.name}.*must be directories that all nodes share"
    ):
        parking.do(0, PolarsEngine(), Silent())


def test_splits_of_another_input_plan_cut_or_moment_are_not_taken(inputs: Path) -> None:
    made, splits, session = job(inputs)
    Parking.of(inputs / "state", made, splits).do(0, PolarsEngine(), Silent())
    other = Pipeline.from_dict(config(steps=[CHECK, sql("SELECT id, k, v FROM rows")])).plan()
    larger = cut(made.plan, 12_000)
    assert isinstance(larger, Splits)
    assert 1 < len(larger.parts) < len(splits.parts)
    for job_, splits_ in (
        (replace(made, plan=other), splits),
        (made, larger),
        (made, replace(splits, moment="later")),
    ):
        assert Parking.of(inputs / "state", job_, splits_).kept() == {}
    assert list(Parking.of(inputs / "state", made, splits).kept()) == [0]
    session.abort()
    os.utime("in.parquet")
    made, splits, session = job(inputs)
    assert Parking.of(inputs / "state", made, splits).kept() == {}
    session.abort()


def test_a_split_is_taken_with_all_its_bytes_and_loads_only(inputs: Path) -> None:
    made, splits, session = job(inputs)
    parking = Parking.of(inputs / "state", made, splits)
    parking.do(0, PolarsEngine(), Silent())
    two = Parking.of(
        inputs / "state", replace(made, targets={**made.targets, "more": made.targets["out"]}), splits
    )
    assert two.kept() == {}
    parking.do(0, PolarsEngine(), Silent())
    (file,) = Path(made.targets["out"].parking, parking.layout, parking.kept()[0].token).iterdir()
    os.truncate(file, file.stat().st_size - 1)
    assert parking.kept() == {}
    session.abort()


def test_what_every_split_reads_again_must_be_the_same_in_all(inputs: Path) -> None:
    query = "SELECT r.id, n.name FROM rows r LEFT JOIN names n ON r.k = n.k"
    made, splits, session = job(inputs, [sql(query)])
    parking = Parking.of(inputs / "state", made, splits)
    for number in (0, 1):
        parking.do(number, PolarsEngine(), Silent())
    first, second = parking.kept().values()
    assert added([first, second], splits.streaming).read == {"rows": N // 4, "names": 4}
    later = replace(second.measured, rows={**second.measured.rows, "names": 2})
    with pytest.raises(BooksError, match="names had 4 rows in one split and 2 in another"):
        added([first, replace(second, measured=later)], splits.streaming)
    session.abort()


CONFIG = """
name: split
extract: {rows: {type: files, path: in.parquet}}
transform: [{type: validate, rules: [{name: has_v, not_null: [v]}]}]
load: {id: out, type: files, path: out, format: parquet, mode: append}
resilience: {dead_letter: {type: files, path: rejects}}
"""


def start(address: str, failpoint: str = "") -> subprocess.Popen[str]:
    Path("c.yaml").write_text(CONFIG)
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "rayetl",
            "run",
            "c.yaml",
            "--address",
            address,
            "--split-size",
            "1",
            "--json",
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "RAYETL_FAILPOINT": failpoint},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def whole_and_once() -> None:
    """By a reader that knows nothing of rayetl."""
    assert sorted(row[0] for row in rows("out")) == [row for row in range(N) if row % 97]
    found = ds.dataset("rejects/split/rejects", format="parquet").to_table()
    assert sorted(found["row"].to_pylist()) == list(range(0, N, 97))


def parked() -> set[str]:
    return {path.name for path in Path(".rayetl/parked").glob("*/*/*.json")}


def wait_for(splits: int) -> None:
    until = time.monotonic() + 30
    while len(parked()) < splits:
        assert time.monotonic() < until, "no split was finished"
        time.sleep(0.02)


@pytest.fixture
def slow(inputs: Path) -> Path:
    """The rows in forty splits."""
    wide = pq.read_table("in.parquet")
    pq.write_table(wide, "in.parquet", row_group_size=N // 40)
    return inputs


def test_a_killed_driver_is_followed_by_the_rest_only(cluster: str, slow: Path) -> None:
    process = start(cluster)
    wait_for(5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("out").exists() or not list(Path("out").glob("*.parquet"))
    report = Pipeline.load("c.yaml").run(runtime="ray", split_size=1)
    assert report.splits is not None
    assert report.splits.total == 40
    assert 5 <= report.splits.kept < 40
    whole_and_once()


def running() -> tuple[Any, Status]:
    """The supervisor of the one run that is under way, and its status with work in it."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for named in ray.util.list_named_actors(all_namespaces=True):
            if named["name"].startswith("rayetl-run-"):
                try:
                    found = supervising.status(named["name"].removeprefix("rayetl-run-"))
                except RunError:
                    continue
                if found.work and found.done > 3:
                    return named["name"], found
        time.sleep(0.02)
    raise AssertionError("no run was seen at work")


def test_a_killed_worker_costs_its_split_only(cluster: str, slow: Path) -> None:
    process = start(cluster)
    _, status = running()
    os.kill(status.work[0].pid, signal.SIGKILL)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert '"total":40' in out.replace(" ", "")
    whole_and_once()


def test_a_killed_supervisor_is_started_anew_and_goes_on(cluster: str, slow: Path) -> None:
    process = start(cluster)
    name, status = running()
    actor = ray.get_actor(name, supervising.NAMESPACE)
    ray.kill(actor, no_restart=False)
    out, err = process.communicate()
    assert process.returncode == 0, err
    kept = int(out.split('"kept":')[1].split("}")[0])
    assert kept >= status.done - 1
    whole_and_once()


@ray.remote(num_cpus=0)
class Listens:
    """Stands for the supervisor that tasks report to."""

    def note(self, *_: object) -> None:
        pass


def on_cluster_by(split_size: int) -> OnCluster:
    """The engine of a supervisor, in this process."""
    board, site = MeteredBoard(Meters("split", "run")), Site("run", "split", os.getcwd(), None)
    return OnCluster(board, Listens.remote(), site, Path("state").absolute(), split_size)  # type: ignore[attr-defined]


def test_what_is_under_way_when_a_run_tries_again_is_kept_and_not_done_twice(
    cluster: str, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _, session = job(inputs)
    engine = on_cluster_by(1)

    def lost(_: object) -> None:
        raise Retryable("the connection is lost")

    with monkeypatch.context() as store:
        store.setattr(on_cluster.Pours, "step", lost)
        with pytest.raises(Retryable):
            engine.run(made)
    measured = engine.run(made)
    assert measured.staged == {"out": N - 42}
    assert len(list((inputs / "state").glob("*/0*-*"))) == 8, "each split was done once"
    session.abort()


def test_lives_of_a_supervisor_do_not_write_into_the_same_files(cluster: str, inputs: Path) -> None:
    """The one task of a run whose supervisor was killed goes on for seconds, beside that of the next life."""
    made, _, session = job(inputs)
    made.rejects.mkdir()
    first, second = (on_cluster_by(1 << 30).run(made).rejects["validate_1"] for _ in range(2))
    assert len(first) == len(second) == 1
    assert first != second
    session.abort()


def test_positions_of_a_cut_file_are_those_of_the_whole(inputs: Path) -> None:
    from rayetl.connectors.formats import scan_files
    from rayetl.names import ROW

    plan = Pipeline.from_dict(config()).plan()
    scan = plan.sources[0].scan
    assert isinstance(scan, FilesScan)
    stat = Path("in.parquet").stat()
    piece = InputFile("in.parquet", stat.st_size, stat.st_mtime_ns, first=N // 8, count=N // 4)
    found = scan_files(replace(scan, files=(piece,), first_file=3), position=True).collect()
    assert found["id"].to_list() == list(range(N // 8, 3 * N // 8))
    assert found[ROW].to_list() == [(3 << 40) + row for row in range(N // 8, 3 * N // 8)]


def test_two_runs_of_a_pipeline_at_once_are_told_apart_from_one_without_a_driver(
    cluster: str, slow: Path
) -> None:
    """The second is refused by the lock of the first, whose driver lives, and does not wait for it."""
    process = start(cluster)
    _, status = running()
    os.kill(status.work[0].pid, signal.SIGSTOP)
    try:
        with pytest.raises(CommitConflict, match="is loading into"):
            Pipeline.load("c.yaml").run(runtime="ray", split_size=1)
        assert process.poll() is None
    finally:
        os.kill(status.work[0].pid, signal.SIGCONT)
    _, err = process.communicate()
    assert process.returncode == 0, err
    whole_and_once()


def test_a_supervisor_that_is_killed_at_every_commit_stores_letters_and_rows_once(inputs: Path) -> None:
    """It dies when the letters are committed, is started again, dies when the rows are, is started again, and
    finds that all is done. The cluster is the run's own, so that its processes know of the failpoint."""
    Path("c.yaml").write_text(CONFIG)
    log = inputs / "passed"
    done = subprocess.run(
        [sys.executable, "-m", "rayetl", "run", "c.yaml", "--runtime", "ray", "--split-size", "1", "--json"],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "RAYETL_FAILPOINT": "commit.cleared:kill9",
            "RAYETL_FAILPOINT_LOG": str(log),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert log.read_text().split().count("commit.cleared") == 2
    whole_and_once()
    report = json.loads(done.stdout)
    assert [source["rows_read"] for source in report["sources"]] == [N]
    assert [book["balanced"] for book in report["books"]] == [True]
    assert report["rejected_rows"] == 42
    assert len(list(Path("rejects/split/rejects/_rayetl/epochs").glob("*.json"))) == 1


@pytest.mark.usefixtures("cluster")
def test_files_that_come_are_taken_once(inputs: Path) -> None:
    made = Pipeline.from_dict(config({**CSV, "incremental": True}))
    first = made.run(runtime="ray", split_size=1000)
    assert first.splits is not None
    assert first.splits.total > 1
    shutil.copy("csv/1.csv", "csv/more.csv")
    second = made.run(runtime="ray")
    assert (second.run_key, second.sources[0].rows_read) == ("incremental-2", 200)
    assert made.run(runtime="ray").status == "nothing_new"
    assert made.run().status == "nothing_new"
    assert ds.dataset("out").count_rows() == first.rows_loaded + second.rows_loaded
