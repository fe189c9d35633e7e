"""Loads into Delta and Iceberg tables of a bucket: killed at every named point, raced, overtaken and lied to. An
outsider copies the bucket and reads the table by its log or manifests."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import lake_worker
import pytest
from fault_checker import Verdict
from lake_checker import (
    DeltaTruth,
    HadoopTruth,
    IcebergTruth,
    Truth,
    assert_clean,
    assert_exactly,
    assert_whole,
)
from lake_worker import COMMITTED, CONFLICT, SKIPPED, LakeWork, rows_of
from services.s3 import Account, Bucket, S3Server
from test_lake_faults import CUT, after, passages
from test_races import Controller

WAYS = {
    "make": {"settings": CUT},
    "append": {},
    "append widened": {"wide": True, "settings": (("add_columns", True),)},
    "overwrite": {"mode": "overwrite"},
    "overwrite partitions": {"mode": "overwrite", "settings": (("replace", "partitions"),)},
    "upsert": {"mode": "upsert", "settings": (("keys", ("part", "row")),)},
}
COMMON = {
    "lake.locked", "lake.fenced", "lake.cleared", "lake.attempt_made", "lake.staged", "lake.noted", "lake.linked",
    "s3.upload_begun", "s3.part_sent", "s3.dropped", "s3.removed_one", "lake.deciding", "lake.decided",
    "lake.finished",
}  # fmt: skip
POINTS = {
    "delta": COMMON | {"delta.widened"},
    "iceberg": COMMON | {"iceberg.manifests_written", "iceberg.rewritten"},
}
LOG = {"delta": "_delta_log/", "iceberg": "/metadata/", "hadoop": "/metadata/v"}
"""What stands in the keys of a table's own records."""


@dataclass
class Place:
    """Tables below a bucket, each under a prefix of its own. The catalogs of Iceberg's are files here."""

    kind: str
    bucket: Bucket
    server: S3Server
    directory: Path
    environment: tuple[tuple[str, str], ...]
    seen: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """What was copied out of the bucket, by key and tag."""

    def work(self, name: str, key: str = "k1", machine: str = "here", way: str = "append") -> LakeWork:
        like = WAYS[way]
        s3 = {"endpoint": self.server.endpoint, "staging": str(self.directory / machine)}
        root = f"{self.bucket.url}/{name}"
        if self.kind == "delta":
            own = (("credential", "lake"), ("s3", s3))
        else:
            uri = f"sqlite:///{self.directory}/catalogs/{name}/catalog.db"
            catalog = {"type": "sql", "uri": uri, "warehouse": root}
            if self.kind == "hadoop":
                catalog = {"type": "hadoop", "warehouse": root}
            own = (("catalog", catalog), ("s3", {"credential": "lake", **s3}))
        settings = (*like.get("settings", ()), *own)
        return LakeWork(self.kind, root, key, environment=self.environment, **{**like, "settings": settings})

    def seeded(self, name: str, way: str) -> list[tuple[str, str, int]]:
        """Brings a table into the state before a way of loading."""
        if way == "make":
            return []
        seed = replace(self.work(name, "k0", way="make"), parts=("a", "c"))
        assert lake_worker.attempt(seed) == COMMITTED
        return rows_of(seed)

    def truth(self, work: LakeWork) -> Truth:
        """The table as it is now, copied out of the bucket."""
        root, prefix = self.directory / "copy", work.root.removeprefix(f"{self.bucket.url}/")
        shutil.rmtree(root, ignore_errors=True)
        for key, tag in self.bucket.tags(f"{prefix}/").items():
            if (key, tag) not in self.seen:
                self.seen[key, tag] = self.bucket.get(key)
            path = root / key.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.seen[key, tag])
        if self.kind == "delta":
            return DeltaTruth(str(root))
        kind = HadoopTruth if self.kind == "hadoop" else IcebergTruth
        return kind(str(root), str(self.directory / "catalogs" / prefix), work.root)

    def assert_clean(self, work: LakeWork, *, merged: bool = False) -> None:
        """No file that no version names, no upload, no note, and nothing staged is left."""
        truth = self.truth(work)
        if not merged or self.kind != "delta":  # what a merge of deltalake leaves is for a vacuum
            assert_clean(truth)
        prefix = work.root.removeprefix(f"{self.bucket.url}/")
        kept = self.bucket.keys(f"{prefix}/", hidden=True)
        notes = [key for key in kept if "/_rayetl/" in key and key.endswith(".json")]
        uploads = [key for key in self.bucket.uploads() if key.startswith(f"{prefix}/")]
        if left := [*notes, *uploads]:
            raise Verdict(f"left behind: {left}")


@pytest.fixture
def worker() -> Callable[..., None]:
    return lake_worker.run


@pytest.fixture
def execute(start) -> Callable[[LakeWork], int]:
    """Runs a worker to its end: in a process of its own where it dies, else in this one."""

    def runner(work: LakeWork) -> int:
        if not work.bug and work.lock and "kill9" not in work.arm:
            return lake_worker.attempt(work)
        process = start(work)
        process.join(60)
        return process.exitcode

    return runner


@pytest.fixture(params=["delta", "iceberg"])
def place(request: pytest.FixtureRequest, bucket: Bucket, s3_account: Account, tmp_path: Path) -> Place:
    return place_of(request.param, bucket, s3_account, tmp_path)


def place_of(kind: str, bucket: Bucket, account: Account, directory: Path) -> Place:
    return Place(kind, bucket, account.server, directory, account.environment)


DECISIVE = {"lake.noted", "s3.part_sent", "lake.linked", "lake.deciding", "lake.decided"}


@pytest.mark.parametrize("way", ["make", "append", "upsert"])
def test_a_kill_at_any_point_loses_nothing_and_doubles_nothing(way, execute, place, tmp_path):
    """The next run is on another machine, which knows nothing of what the dead one had staged."""
    place.seeded("probe", way)
    passed = set(passages(execute, place.work("probe", way=way), tmp_path / "log"))
    for number, name in enumerate(sorted(passed if way == "append" else passed & DECISIVE)):
        work = place.work(str(number), way=way)
        before = place.seeded(str(number), way)
        assert execute(replace(work, arm=f"{name}:kill9")) == -signal.SIGKILL
        if (truth := place.truth(work)).exists:
            assert_whole(truth, before, after(way, work, before))
        elsewhere = place.work(str(number), machine="elsewhere", way=way)
        code = execute(elsewhere)
        assert code in (COMMITTED, SKIPPED)
        done = after(way, work, before)
        assert_exactly(place.truth(work), done)
        further = replace(place.work(str(number), "k2", machine="elsewhere"), parts=("d",))
        assert execute(further) == COMMITTED
        assert_exactly(place.truth(work), [*done, *rows_of(further)])
        place.assert_clean(work, merged=way == "upsert")


def test_every_point_is_struck(execute, place, tmp_path):
    struck: set[str] = set()
    for way in WAYS:
        place.seeded(way, way)
        struck |= set(passages(execute, place.work(way, way=way), tmp_path / "log"))
    # What clears after others: an attempt that sent its files and died, and one that died while it sent.
    place.seeded("dead", "append")
    execute(replace(place.work("dead"), arm="s3.part_sent:kill9"))
    execute(replace(place.work("dead"), arm="lake.deciding:kill9"))
    struck |= set(passages(execute, place.work("dead"), tmp_path / "log"))
    assert struck == POINTS[place.kind]
    print(f"{place.kind} on S3: {len(struck)} of {len(POINTS[place.kind])} points struck")


@pytest.mark.parametrize("died", ["lake.deciding", "lake.decided", "s3.part_sent"])
def test_a_kill_while_a_dead_attempt_is_cleared(died, execute, place):
    before, work = place.seeded("t", "append"), place.work("t")
    execute(replace(work, arm=f"{died}:kill9"))
    again = work if died != "lake.decided" else replace(work, key="k3")
    assert execute(replace(again, arm="lake.cleared:kill9")) == -signal.SIGKILL
    assert execute(work) == SKIPPED
    assert_exactly(place.truth(work), [*before, *rows_of(work)])
    assert execute(replace(work, key="k4")) == COMMITTED
    place.assert_clean(work)


def test_files_stay_until_somebody_else_has_committed(execute, place):
    """A commit that was sent may arrive after its sender has died, so what it names must be there."""
    place.seeded("t", "append")
    work = place.work("t")
    kept = set(place.bucket.keys("t/"))
    execute(replace(work, arm="lake.deciding:kill9"))
    sent = set(place.bucket.keys("t/")) - kept
    assert sent
    elsewhere = place.work("t", machine="elsewhere")
    execute(replace(elsewhere, arm="lake.staged:kill9"))
    assert sent <= set(place.bucket.keys("t/"))
    assert execute(elsewhere) == COMMITTED
    assert not sent & set(place.bucket.keys("t/"))


@pytest.mark.parametrize(("way", "runs"), [("append", 2), ("append", 4), ("make", 3), ("upsert", 2)])
def test_of_several_machines_at_once_one_wins(way, runs, start, place):
    before = place.seeded("t", way)
    at = time.time() + 0.5 + runs * 0.1
    racers = [start(place.work("t", machine=str(number), way=way), at) for number in range(runs)]
    for racer in racers:
        racer.join(60)
    codes = Counter(racer.exitcode for racer in racers)
    assert set(codes) <= {COMMITTED, CONFLICT, SKIPPED}
    assert codes[COMMITTED] == 1
    work = place.work("t", machine="0", way=way)
    assert_exactly(place.truth(work), after(way, work, before))


@pytest.mark.parametrize("key", ["k1", "k2"])
@pytest.mark.parametrize("way", ["append", "overwrite"])
def test_an_attempt_that_wakes_up_late_cannot_commit(way, key, start, execute, place, tmp_path):
    before, work = place.seeded("t", way), place.work("t", way=way)
    following = place.work("t", key, machine="elsewhere", way=way)
    controller = Controller(str(tmp_path / "socket"))
    held = start(replace(work, arm="lake.deciding:barrier", socket=controller.path))
    _, connection = controller.wait()
    assert execute(following) == COMMITTED
    connection.close()
    held.join(60)
    assert held.exitcode == CONFLICT
    assert_exactly(place.truth(work), after(way, following, before))


@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize("status", [0, 503])
@pytest.mark.parametrize("way", ["make", "append", "upsert"])
def test_a_commit_whose_answer_is_lost_is_looked_up(way, status, times, execute, place):
    """The library sends it again and meets its own work; or gives up, and it is there all the same. What Iceberg
    sends decides nothing: if no answer comes at all, the catalog is not asked."""
    before, work = place.seeded("t", way), place.work("t", way=way)
    fault = place.server.break_down("PUT", LOG[place.kind], status=status, after=True, times=times)
    decides = place.kind != "iceberg" or times == 1
    assert execute(work) == (COMMITTED if decides else CONFLICT)
    assert fault.struck
    place.server.mend()
    assert execute(work) == (SKIPPED if decides else COMMITTED)
    assert_exactly(place.truth(work), after(way, work, before))
    if not decides:
        assert execute(replace(work, key="k2")) == COMMITTED
    place.assert_clean(work, merged=way == "upsert")


def test_a_commit_that_never_arrives_leaves_all_as_it_was(execute, place):
    before, work = place.seeded("t", "append"), place.work("t")
    place.server.break_down("PUT", LOG[place.kind], status=503, times=50)
    assert execute(work) == CONFLICT
    place.server.mend()
    assert_exactly(place.truth(work), before)
    assert execute(work) == COMMITTED
    assert_exactly(place.truth(work), [*before, *rows_of(work)])
    assert execute(replace(work, key="k2")) == COMMITTED
    place.assert_clean(work)


def test_the_copy_is_read_by_its_own_records(place):
    place.seeded("t", "append")
    truth = place.truth(place.work("t"))
    assert truth.exists
    token = {"delta": '"txn"', "iceberg": '"rayetl"'}[place.kind]
    assert any(token in found.read_text() for found in truth.root.rglob("*.json"))
