"""The sinks that the state machine loads into: each with its own worker, its oracle and an outsider's eye."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import database_checker
import fault_checker
import fault_worker
import lake_checker
import s3_worker
from database_worker import Load
from fault_checker import Verdict
from lake_worker import LakeWork
from lake_worker import rows_of as lake_rows
from services.databases import SqlDatabase
from services.s3 import Bucket
from state_machine import Row, Sink, World

PARTS = (("0.json",), ("0.json", "1.json"), ("0.json", "1.json", "2.json"), ("1.json",))
Start = Callable[[Any], BaseProcess]


def _stands(work: Any, world: World) -> bool:
    """Whether the epoch is there and none that came later replaced all rows: what the ledger of files promises."""
    for key, mode in reversed(world.epochs):
        if key == work.key:
            return True
        if mode == "overwrite":
            return False
    return False


@dataclass
class _Started(Sink):
    """A sink whose workers are started as the tests of its kind start them."""

    starter: Start
    numbers: itertools.count[int] = field(default_factory=itertools.count, init=False)

    def start(self, work: Any) -> BaseProcess:
        return self.starter(work)


@dataclass
class FilesSink(_Started):
    directory: Path
    name = "files"
    early = (
        "stage.attempt_made",
        "stage.written",
        "stage.synced",
        "commit.before_decision",
        "swap.before_decision",
    )
    late = (
        "commit.manifest_written", "commit.decided", "publish.before_rename", "publish.renamed",
        "publish.ledger_synced", "publish.removed_old", "publish.marked", "swap.staged_linked",
        "swap.kept_linked", "swap.synced", "swap.decided", "swap.ledger_written", "recover.locked",
        "recover.fenced", "recover.rolled_forward", "recover.cleared",
    )  # fmt: skip
    held = "stage.synced"
    appears = "whole"

    def fresh(self, keyed: bool) -> list[Row]:
        self.root = str(self.directory / str(next(self.numbers)) / "daily")
        Path(self.root).parent.mkdir()
        return []

    def modes(self, keyed: bool) -> Sequence[str]:
        return ("append", "overwrite")

    def work(self, key: str, mode: str, variant: int) -> Any:
        return fault_worker.Work(self.root, key, mode, PARTS[variant % len(PARTS)], rows=2)

    def after(self, work: Any, rows: Sequence[Row]) -> Iterable[Row]:
        return [*(rows if work.mode == "append" else ()), *fault_worker.rows_of(work)]

    def skips(self, work: Any, world: World) -> bool:
        return _stands(work, world)

    def read(self) -> Iterable[Row]:
        return fault_checker.read(self.root)

    def assert_clean(self) -> None:
        fault_checker.assert_clean(self.root)


@dataclass
class S3Sink(_Started):
    bucket: Bucket
    endpoint: str
    directory: Path
    name = "s3"
    early = (
        "s3.locked",
        "s3.attempt_made",
        "s3.staged",
        "s3.upload_begun",
        "s3.part_sent",
        "s3.sent",
        "s3.before_decision",
    )
    late = (
        "s3.decided", "s3.before_complete", "s3.completed_one", "s3.completed", "s3.removed_one",
        "s3.removed_old", "s3.dead_aborted", "s3.marked", "s3.finished", "s3.rolled_forward", "s3.cleared",
    )  # fmt: skip
    held = "s3.before_decision"
    appears = "in parts"

    def fresh(self, keyed: bool) -> list[Row]:
        self.prefix = f"t{next(self.numbers)}"
        return []

    def modes(self, keyed: bool) -> Sequence[str]:
        return ("append", "overwrite")

    def work(self, key: str, mode: str, variant: int) -> Any:
        staging = str(self.directory / "here")
        parts = PARTS[variant % len(PARTS)]
        return s3_worker.Work(self.bucket.name, self.prefix, self.endpoint, staging, key, mode, parts, rows=2)

    def after(self, work: Any, rows: Sequence[Row]) -> Iterable[Row]:
        return [*(rows if work.mode == "append" else ()), *s3_worker.rows_of(work)]

    def skips(self, work: Any, world: World) -> bool:
        return _stands(work, world)

    def read(self) -> Iterable[Row]:
        for key in self.bucket.keys(f"{self.prefix}/"):
            for line in map(json.loads, self.bucket.get(key).splitlines()):
                yield line["key"], line["part"], line["row"]

    def assert_clean(self) -> None:
        if left := [key for key in self.bucket.uploads() if key.startswith(f"{self.prefix}/")]:
            raise Verdict(f"left behind: {left}")


@dataclass
class DatabaseSink(_Started):
    database: SqlDatabase
    early = (
        "database.fenced",
        "database.prepared",
        "database.sent",
        "database.written",
        "database.merged",
        "database.tracked",
    )
    late = ("database.tracked", "database.committed")
    held = "database.tracked"

    def __post_init__(self) -> None:
        self.name = self.database.kind

    def fresh(self, keyed: bool) -> list[Row]:
        rows = [(number, "old") for number in range(-3, 3)]
        self.database.execute(
            "DROP TABLE IF EXISTS t, rayetl_epochs",
            f"CREATE TABLE t (id bigint{' PRIMARY KEY' * keyed}, epoch text CHECK (epoch <> 'bad'))",
            f"INSERT INTO t VALUES {', '.join(map(str, rows))}",
        )
        return rows

    def modes(self, keyed: bool) -> Sequence[str]:
        return ("upsert", "overwrite", "insert_ignore") if keyed else ("append", "overwrite")

    def work(self, key: str, mode: str, variant: int) -> Any:
        first = 50 * variant
        bad = (first + 7,) if variant == 2 else ()
        return Load(self.database.kind, self.database.config, key, mode, first, bad)

    def after(self, work: Any, rows: Sequence[Row]) -> Iterable[Row]:
        new = [(each, work.key) for each in work.ids if each not in work.bad]
        if work.mode == "upsert":
            return list({**dict(rows), **dict(new)}.items())  # type: ignore[arg-type]
        if work.mode == "insert_ignore":
            return list({**dict(new), **dict(rows)}.items())  # type: ignore[arg-type]
        return [*(rows if work.mode == "append" else ()), *new]

    def read(self) -> Iterable[Row]:
        return database_checker.read(self.database)

    def epochs(self) -> tuple[str, ...] | None:
        here = database_checker.HERE[type(self.database)].replace("'t'", "'rayetl_epochs'")
        if not self.database.rows(f"SELECT 1 FROM information_schema.tables WHERE {here}"):
            return ()
        found = self.database.rows("SELECT epoch FROM rayetl_epochs ORDER BY number, epoch")
        return tuple(str(epoch) for (epoch,) in found)

    def assert_clean(self) -> None:
        """The epochs are numbered without a gap."""
        numbers = self.database.rows("SELECT number FROM rayetl_epochs ORDER BY number")
        if numbers != [(number,) for number in range(1, len(numbers) + 1)]:
            raise Verdict(f"the tracker's numbers are {numbers}")


_CUT = (("partition_by", "part"),)
_LAKE_PARTS = (("a", "b"), ("a", "c"), ("b",), ("a", "b", "c"))


@dataclass
class LakeSink(_Started):
    kind: str
    directory: Path
    early = ("lake.locked", "lake.fenced", "lake.attempt_made", "lake.staged", "lake.linked", "lake.deciding")
    late = ("lake.deciding", "lake.decided", "lake.finished", "lake.cleared")
    held = "lake.deciding"

    def __post_init__(self) -> None:
        self.name = self.kind

    def fresh(self, keyed: bool) -> list[Row]:
        self.keyed = keyed
        self.root = str(self.directory / str(next(self.numbers)))
        made = {"delta": lake_checker.DeltaTruth, "iceberg": lake_checker.IcebergTruth}
        self.truth = made[self.kind](self.root)
        return []

    def modes(self, keyed: bool) -> Sequence[str]:
        return ("upsert", "overwrite", "partitions") if keyed else ("append", "overwrite")

    def work(self, key: str, mode: str, variant: int) -> Any:
        own = {"upsert": (("keys", ("part", "row")),), "partitions": (("replace", "partitions"),)}.get(
            mode, ()
        )
        real = "overwrite" if mode == "partitions" else mode
        parts = _LAKE_PARTS[variant % len(_LAKE_PARTS)]
        return LakeWork(self.kind, self.root, key, mode=real, parts=parts, rows=2, settings=(*_CUT, *own))

    def after(self, work: Any, rows: Sequence[Row]) -> Iterable[Row]:
        new = lake_rows(work)
        if work.mode == "append":
            return [*rows, *new]
        if ("replace", "partitions") in work.settings or work.mode == "upsert":
            return [*new, *(row for row in rows if row[1] not in work.parts)]
        return new

    def skips(self, work: Any, world: World) -> bool:
        """Under `overwrite` only the newest epoch stands."""
        if work.mode == "overwrite":
            return world.keys[-1:] == (work.key,)
        return work.key in world.keys

    def read(self) -> Iterable[Row]:
        return lake_checker.read(self.truth) if self.truth.exists else []

    def assert_clean(self) -> None:
        # What a merge of deltalake that was overtaken leaves is for a vacuum.
        if not (self.kind == "delta" and self.keyed):
            lake_checker.assert_clean(self.truth)
