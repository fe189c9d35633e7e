"""One machine for every sink: writes, kills, faults, replays and races in any order, as Hypothesis finds them.

The model is a list of rows. What the sink holds is read as an outsider reads it and compared after every
step, so a row that is lost, doubled or half there is found at the step that did it.
"""

from __future__ import annotations

import re
import shutil
import signal
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import database_checker
import database_worker
import fault_checker
import fault_worker
import lake_checker
import lake_worker
import pytest
import s3_worker
from fault_checker import Verdict
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from services.databases import SqlDatabase
from services.s3 import Account, Bucket

COMMITTED, SKIPPED, CONFLICT = 0, 10, 11
CONNECTORS = Path(__file__).parents[2] / "rayetl" / "connectors"
SINKS = ("files", "s3", "postgres", "mysql", "delta", "delta on s3", "iceberg", "hadoop")
MODES = ("append", "overwrite", "upsert")

Row = tuple[Any, ...]
Start = Callable[[Any, float], Any]


class Sink(ABC):
    """A target, the workers that load into it, and how an outsider sees it."""

    modes: Sequence[str] = MODES
    is_whole = True
    """Whether an outsider who knows nothing of rayetl sees an epoch as a whole, whatever dies in the middle."""
    is_seen_at_once = True
    """Whether an epoch is there from the moment it is decided; if not, whoever comes next completes it."""
    packages: Sequence[str]
    """The directories of the failpoints."""
    here: Callable[[Any], int] | None = None
    """Does a work in this process, where that costs less."""

    def __init__(self, start: Start, bug: str = "") -> None:
        self._start = start
        self.bug = bug

    @property
    def points(self) -> list[str]:
        """The failpoints that a load into the sink may pass."""
        files = (path for package in self.packages for path in sorted((CONNECTORS / package).glob("*.py")))
        found = (re.findall(r'failpoint\("([^"]+)"\)', path.read_text()) for path in files)
        return sorted({name for names in found for name in names})

    @abstractmethod
    def reset(self) -> None:
        """Begin with a target that is empty or not there."""

    @abstractmethod
    def work(self, number: int, mode: str) -> Any:
        """The load of a new epoch. Under `upsert` some of its keys are those of the epoch before."""

    @abstractmethod
    def after(self, work: Any, before: list[Row]) -> list[Row]:
        """What is there once `work` is done."""

    @abstractmethod
    def read(self) -> list[Row]:
        """What is there."""

    def execute(self, work: Any) -> int:
        """Do a work; its exit code. It gets a process of its own where it dies or is broken."""
        if self.here is not None and not self.bug and not work.arm:
            return self.here(work)
        return self.race([work])[0]

    def race(self, works: Sequence[Any]) -> list[int]:
        """Do several at the same moment."""
        at = time.time() + 0.02 * len(works) if len(works) > 1 else 0.0
        running = [self._start(replace(work, bug=self.bug), at) for work in works]
        for process in running:
            process.join(60)
        return [process.exitcode for process in running]


class Files(Sink):
    modes = ("append", "overwrite")
    is_seen_at_once = False
    packages = ("commit",)

    def __init__(self, start: Start, directory: Path, bug: str = "") -> None:
        super().__init__(start, bug)
        self._directory = directory

    def reset(self) -> None:
        self._root = str(self._directory / uuid.uuid4().hex / "out")
        Path(self._root).parent.mkdir()

    def work(self, number: int, mode: str) -> Any:
        return fault_worker.Work(self._root, f"k{number}", mode, parts=("0.json", "1.json"), rows=2)

    def after(self, work: Any, before: list[Row]) -> list[Row]:
        return (
            fault_worker.rows_of(work) if work.mode == "overwrite" else [*before, *fault_worker.rows_of(work)]
        )

    def read(self) -> list[Row]:
        return list(fault_checker.read(self._root)) if Path(self._root).exists() else []


class S3(Sink):
    modes = ("append", "overwrite")
    packages = ("s3",)
    is_whole = is_seen_at_once = False
    here = staticmethod(s3_worker.attempts)

    def __init__(
        self, start: Start, directory: Path, bucket: Bucket, account: Account, bug: str = ""
    ) -> None:
        super().__init__(start, bug)
        self._directory, self._bucket, self._account = directory, bucket, account

    def reset(self) -> None:
        self._prefix = uuid.uuid4().hex

    def work(self, number: int, mode: str) -> Any:
        staging = str(self._directory / f"machine-{number % 2}")
        parts = ("0.json", "1.json")
        return s3_worker.Work(
            *(self._bucket.name, self._prefix, self._account.server.endpoint, staging),
            *(f"k{number}", mode, parts),
            rows=2,
            environment=self._account.environment,
        )

    def after(self, work: Any, before: list[Row]) -> list[Row]:
        return s3_worker.rows_of(work) if work.mode == "overwrite" else [*before, *s3_worker.rows_of(work)]

    def read(self) -> list[Row]:
        import orjson

        lines = [
            orjson.loads(line)
            for key in self._bucket.keys(f"{self._prefix}/")
            for line in self._bucket.get(key).splitlines()
        ]
        return [(line["key"], line["part"], line["row"]) for line in lines]


class Table(Sink):
    """A table of a database with a primary key."""

    def __init__(self, start: Start, database: SqlDatabase, bug: str = "") -> None:
        super().__init__(start, bug)
        self._database = database
        self.packages = ("databases", database.kind)

    def reset(self) -> None:
        self._database.execute(
            "DROP TABLE IF EXISTS t, rayetl_epochs", "CREATE TABLE t (id bigint PRIMARY KEY, epoch text)"
        )

    def work(self, number: int, mode: str) -> Any:
        first = 1000 * number - (940 if mode == "upsert" else 0)
        return database_worker.Load(self._database.kind, self._database.config, f"k{number}", mode, first)

    def after(self, work: Any, before: list[Row]) -> list[Row]:
        new = [(each, work.key) for each in work.ids]
        if work.mode == "overwrite":
            return list(new)
        return list({**dict(before), **dict(new)}.items())

    def read(self) -> list[Row]:
        return list(database_checker.read(self._database))


class Lake(Sink):
    """A table of this machine: of Delta, or of Iceberg in either kind of catalog."""

    here = staticmethod(lake_worker.attempt)

    def __init__(self, start: Start, kind: str, directory: Path, bug: str = "") -> None:
        super().__init__(start, bug)
        self._kind, self._directory = kind, directory
        self.packages = ("lake", "iceberg" if kind == "hadoop" else kind)

    def reset(self) -> None:
        self._root = str(self._directory / uuid.uuid4().hex)

    def work(self, number: int, mode: str) -> Any:
        like = {"settings": (("keys", ("part", "row")),)} if mode == "upsert" else {}
        parts = (f"a{number - 1 if mode == 'upsert' else number}", f"b{number}")
        return lake_worker.LakeWork(self._kind, self._root, f"k{number}", mode=mode, parts=parts, **like)

    def after(self, work: Any, before: list[Row]) -> list[Row]:
        rows = lake_worker.rows_of(work)
        if work.mode == "overwrite":
            return list(rows)
        kept = before if work.mode == "append" else [row for row in before if row[1] not in work.parts]
        return [*kept, *rows]

    def read(self) -> list[Row]:
        truth = self._truth()
        return list(lake_checker.read(truth)) if truth.exists else []

    def _truth(self) -> Any:
        kinds: dict[str, Any] = {
            "delta": lake_checker.DeltaTruth,
            "iceberg": lake_checker.IcebergTruth,
            "hadoop": lake_checker.HadoopTruth,
        }
        return kinds[self._kind](self._root)


class DeltaOnS3(Lake):
    """A Delta table in a bucket, loaded by two machines in turn."""

    def __init__(
        self, start: Start, directory: Path, bucket: Bucket, account: Account, bug: str = ""
    ) -> None:
        super().__init__(start, "delta", directory, bug)
        self._bucket, self._account = bucket, account

    def reset(self) -> None:
        self._root = f"{self._bucket.url}/{uuid.uuid4().hex}"

    def work(self, number: int, mode: str) -> Any:
        made = super().work(number, mode)
        staging = str(self._directory / f"machine-{number % 2}")
        s3 = {"endpoint": self._account.server.endpoint, "staging": staging}
        settings = (*made.settings, ("credential", "lake"), ("s3", s3))
        return replace(made, settings=settings, environment=self._account.environment)

    def _truth(self) -> Any:
        copy, prefix = self._directory / "copy", self._root.removeprefix(f"{self._bucket.url}/")
        shutil.rmtree(copy, ignore_errors=True)
        for key in self._bucket.keys(f"{prefix}/", hidden=True):
            path = copy / key.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._bucket.get(key))
        return lake_checker.DeltaTruth(str(copy))


class Machine(RuleBasedStateMachine):
    """What may happen to a target, in any order."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink = sink
        self.rows: list[Row] = []
        self.standing: list[Any] = []
        self.unfinished: Any = None
        self.number = 0
        sink.reset()

    def _fresh(self, mode: str) -> Any:
        self.number += 1
        return self.sink.work(self.number, mode if mode in self.sink.modes else "append")

    def _done(self, work: Any) -> None:
        self.rows = self.sink.after(work, self.rows)
        self.standing = [work] if work.mode == "overwrite" else [*self.standing, work]

    def _recognised(self) -> list[Any]:
        """An overwrite that others came after may be loaded anew, so it is not asked for again."""
        return [work for work in self.standing if work.mode != "overwrite" or work is self.standing[-1]]

    def _struck(self, work: Any, how: str, point: int) -> None:
        """`work` is struck at a point, if it comes by there; then it is there as a whole or not at all."""
        name = self.sink.points[point % len(self.sink.points)]
        code = self.sink.execute(replace(work, arm=f"{name}:{how}"))
        if code == COMMITTED:
            self._done(work)
            return
        if how == "kill9" and code != -signal.SIGKILL:
            raise Verdict(f"killed at {name}, it ended with {code}")
        seen, then = Counter(self.sink.read()), Counter(self.sink.after(work, self.rows))
        if self.sink.is_whole and seen not in (Counter(self.rows), then):
            raise Verdict(f"after {how} at {name} a part of the epoch is there")
        if not self.sink.is_seen_at_once:
            if self.sink.execute(work) not in (COMMITTED, SKIPPED):
                raise Verdict(f"after {how} at {name} the next run fails")
            self._done(work)
        elif seen == then:
            self._done(work)
        else:
            self.unfinished = work

    @rule(mode=st.sampled_from(MODES))
    def write(self, mode: str) -> None:
        work = self._fresh(mode)
        if (code := self.sink.execute(work)) != COMMITTED:
            raise Verdict(f"a write ended with {code}")
        self._done(work)

    @rule(mode=st.sampled_from(MODES), point=st.integers(0, 40))
    def crash(self, mode: str, point: int) -> None:
        self._struck(self._fresh(mode), "kill9", point)

    @rule(mode=st.sampled_from(MODES), point=st.integers(0, 40))
    def fail_and_roll_back(self, mode: str, point: int) -> None:
        self._struck(self._fresh(mode), "raise", point)

    @precondition(lambda self: self._recognised())
    @rule(which=st.integers(0, 20))
    def replay(self, which: int) -> None:
        """An epoch that stands is recognised, however long ago it was loaded."""
        known = self._recognised()
        work = known[which % len(known)]
        if (code := self.sink.execute(work)) != SKIPPED:
            raise Verdict(f"a replay ended with {code}")

    @precondition(lambda self: self.unfinished is not None)
    @rule()
    def take_up(self) -> None:
        """An epoch that was killed before it was decided is loaded by the next run."""
        work, self.unfinished = self.unfinished, None
        if (code := self.sink.execute(work)) != COMMITTED:
            raise Verdict(f"taken up again, it ended with {code}")
        self._done(work)

    @rule(mode=st.sampled_from(MODES), runs=st.integers(2, 3))
    def run_several_at_once(self, mode: str, runs: int) -> None:
        work = self._fresh(mode)
        codes = Counter(self.sink.race([work] * runs))
        if codes[COMMITTED] != 1 or not set(codes) <= {COMMITTED, SKIPPED, CONFLICT}:
            raise Verdict(f"{runs} runs at once ended with {dict(codes)}")
        self._done(work)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        seen, wanted = Counter(self.sink.read()), Counter(self.rows)
        if seen != wanted:
            raise Verdict(f"missing {wanted - seen}, extra {seen - wanted}")


RUNS: dict[str, Callable[..., None]] = {
    "files": fault_worker.run,
    "s3": s3_worker.run,
    "postgres": database_worker.run,
    "mysql": database_worker.run,
}

Make = Callable[..., Sink]


@pytest.fixture
def sink(request: pytest.FixtureRequest, fork_server: Any, tmp_path: Path) -> Make:
    """Makes the sink of a name; with a `bug` its workers are broken."""

    def made(name: str, bug: str = "") -> Sink:
        def start(work: Any, at: float) -> Any:
            process = fork_server.Process(target=RUNS.get(name, lake_worker.run), args=(work, at))
            process.start()
            return process

        if name == "files":
            return Files(start, tmp_path, bug)
        if name in ("postgres", "mysql"):
            service = request.getfixturevalue(
                {"postgres": "postgres_server", "mysql": "mariadb_server"}[name]
            )
            database = service.create()
            request.addfinalizer(lambda: service.drop(database))
            return Table(start, database, bug)
        if name in ("s3", "delta on s3"):
            bucket, account = (request.getfixturevalue(each) for each in ("bucket", "s3_account"))
            return (S3 if name == "s3" else DeltaOnS3)(start, tmp_path, bucket, account, bug)
        return Lake(start, name, tmp_path, bug)

    return made


def play(sink: Sink, examples: int = 3, steps: int = 10) -> None:
    """Run the machine, the same way each time."""
    run_state_machine_as_test(
        lambda: Machine(sink),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            deadline=None,
            database=None,
            print_blob=False,
            # A step takes a process: to shrink what was found would take longer than to read it.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("name", SINKS)
def test_whatever_happens_nothing_is_lost_and_nothing_doubled(name: str, sink: Make) -> None:
    play(sink(name))


BUGS = {
    "files": ("part_by_part", "no_key_check"),
    "s3": ("no_key_check",),
    "postgres": ("dropped_chunk",),
    "mysql": ("delete_nothing",),
    "delta": ("no_token", "part_by_part"),
    "iceberg": ("no_token",),
}
"""Bugs that some steps in any order find; those of one moment are what the tests of that moment are for."""


@pytest.mark.parametrize(("name", "bug"), [(name, bug) for name, bugs in BUGS.items() for bug in bugs])
def test_a_planted_bug_is_found(name: str, bug: str, sink: Make) -> None:
    with pytest.raises(Verdict):
        # It ends with the first one that finds the bug.
        play(sink(name, bug), examples=40)
