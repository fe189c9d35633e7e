"""One epoch of letters into a topic: messages and the mark of the epoch are of one transaction.

The right to write is taken before the marks are looked at: whoever had it cannot commit any more, and what it
left open is undone. So an epoch that has no mark then gets none from anybody else. A commit whose answer is
lost is looked up in the marks.
"""

from __future__ import annotations

import json
import time
from dataclasses import field
from typing import TYPE_CHECKING

from rayetl.connectors.base import BatchesTarget, Epoch, LoadResult, LoadSession
from rayetl.connectors.dead_letters import digest
from rayetl.connectors.kafka.cluster import Cluster, Transaction
from rayetl.connectors.kafka.faults import Lost
from rayetl.errors import CommitConflict, Retryable, RunError
from rayetl.failpoints import failpoint
from rayetl.records import dataclass
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    import polars as pl

    from rayetl.connectors.kafka.letters import KafkaDeadLetters

KEY, VALUE = "key", "value"
"""The columns that a session takes."""

_LONGEST, _SHORT = 300, 10
"""Seconds that the letters of an epoch may take, and the marks of a replay, which are few. So long do readers
wait for an attempt that died, where its pipeline does not run again."""


@dataclass()
class KafkaSession(LoadSession, BatchesTarget):
    """See `LoadSession`. The target of the rows is the session itself; `topic` takes them."""

    store: KafkaDeadLetters
    epoch: Epoch
    topic: str
    schema: Schema
    _cluster: Cluster | None = field(init=False, default=None)
    _transaction: Transaction | None = field(init=False, default=None)
    _started: float = field(init=False, default=0.0)
    _bytes: int = field(init=False, default=0)

    def committed(self) -> LoadResult | None:
        self._cluster = self.store.connect()
        self._transaction = self._writer(self._cluster)
        failpoint("kafka.fenced")
        return self._found(self._cluster)

    def _writer(self, cluster: Cluster) -> Transaction:
        """The right to write, taken from whoever had it."""
        seconds = _LONGEST if self.topic == self.store.topic else _SHORT
        return cluster.transaction(f"rayetl-{self._mark('')}", seconds)

    def _mark(self, key: str) -> str:
        """What stands for an epoch in this topic; without its key, for all of them."""
        return digest(self.topic, self.epoch.pipeline, self.epoch.load, key)

    def _found(self, cluster: Cluster) -> LoadResult | None:
        """This epoch, if it is committed."""
        wanted = self._mark(self.epoch.key).encode()
        for batch in cluster.read(self.store.epochs):
            for key, value in batch:
                if key == wanted:
                    mark = json.loads(value)
                    return self._result(mark["rows"], mark["bytes"], mark["seconds"], mark["run"])
        return None

    def begin(self) -> BatchesTarget | None:
        self._started = time.monotonic()
        try:
            self.store.make_topics(self._in_hand())
            self._writing().begin()
        except BaseException:
            self.abort()
            raise
        failpoint("kafka.begun")
        return self

    def write(self, rows: pl.DataFrame) -> pl.DataFrame | None:
        self._writing().send(self.topic, rows.select(KEY, VALUE).iter_rows())
        self._bytes += int(rows.estimated_size())
        failpoint("kafka.sent")
        return None

    def finish(self) -> pl.DataFrame | None:
        self._writing().flush(f"writing to {self.topic}")
        failpoint("kafka.flushed")
        return None

    def commit(self, rows: int) -> LoadResult:
        writing, seconds = self._writing(), round(time.monotonic() - self._started, 6)
        try:
            mark = {
                "pipeline": self.epoch.pipeline,
                "load": self.epoch.load,
                "topic": self.topic,
                "epoch": self.epoch.key,
                "run": self.epoch.run,
                "rows": rows,
                "bytes": self._bytes,
                "seconds": seconds,
            }
            writing.send(self.store.epochs, [(self._mark(self.epoch.key), json.dumps(mark))])
            writing.flush("entering the epoch")
            failpoint("kafka.marked")
            try:
                writing.commit()
            except (Lost, CommitConflict) as error:
                self._settle(error)
            failpoint("kafka.committed")
        finally:
            self.abort()
        return self._result(rows, self._bytes, seconds, self.epoch.run)

    def _settle(self, error: RunError) -> None:
        """Find out what became of a commit without an answer. Raises `error` if it was not decided."""
        try:
            cluster = self.store.connect()
            if isinstance(error, Lost):
                # Nobody else has taken over: what is not decided is undone by this.
                self._writer(cluster)
            found = self._found(cluster)
        except Retryable as away:
            raise Lost(
                f"{error.message}; whether it was decided cannot be looked up: {away.message}",
                hint="run again with the same run key, which looks it up",
                endpoint=self.store.endpoint(),
            ) from error
        if found is None or found.status == "skipped":
            raise error

    def abort(self) -> None:
        transaction, self._transaction, self._cluster = self._transaction, None, None
        if transaction is not None:
            transaction.abort()

    def _writing(self) -> Transaction:
        if self._transaction is None:
            raise RuntimeError("`committed` was not asked, or the session has ended")
        return self._transaction

    def _in_hand(self) -> Cluster:
        if self._cluster is None:
            raise RuntimeError("`committed` was not asked, or the session has ended")
        return self._cluster

    def _result(self, rows: int, size: int, seconds: float, run: str) -> LoadResult:
        return LoadResult(
            load=self.epoch.load,
            type="kafka",
            location=f"{self.store.endpoint()} {self.topic}",
            mode="append",
            status="committed" if run == self.epoch.run else "skipped",
            rows=rows,
            files=0,
            bytes=size,
            seconds=seconds,
            epoch=self.epoch.key,
            run=run,
        )
