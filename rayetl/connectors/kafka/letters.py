"""The dead letter store `kafka`: each letter is a message, its value a JSON document.

Beside the topic of the letters, `<topic>_replayed` has what was run again and `<topic>_epochs` a mark for
each committed epoch. A transaction holds the messages and the mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from rayetl.connectors.base import BatchesTarget, Epoch, Load, LoadSession, Target
from rayetl.connectors.dead_letters import (
    LETTERS,
    REPLAYED,
    DeadLetters,
    DeadLetterStore,
    Part,
    pour,
)
from rayetl.connectors.kafka.cluster import Cluster
from rayetl.connectors.kafka.connection import UsesKafka
from rayetl.connectors.scanning import scan
from rayetl.errors import SourceError
from rayetl.lazy import lazily
from rayetl.sql.interop import to_polars

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")

_TOPIC = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST = 249 - len("_replayed")
_MOMENT = "%Y-%m-%dT%H:%M:%S%.6fZ"

_CLOCKS = timedelta(minutes=10)
"""How much the clocks of this machine and of brokers may differ."""

_KEPT = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
_COMPACTED = {"cleanup.policy": "compact"}


class KafkaDeadLetters(UsesKafka, DeadLetterStore):
    """Keeps refused records as messages of a Kafka topic, which many pipelines may share."""

    type: Literal["kafka"]

    topic: str = Field(
        default="rayetl_dead_letters",
        description="The topic of the letters of all pipelines. It is made if it does not exist, with one "
        "partition and without an end of its letters; beside it, `<topic>_replayed` and `<topic>_epochs`.",
        examples=["ops.rejects"],
    )

    @field_validator("topic")
    @classmethod
    def _possible_name(cls, value: str) -> str:
        if not _TOPIC.fullmatch(value) or value.startswith("."):
            raise ValueError(
                f"{value!r} is not the name of a topic: it has letters, digits, `.`, `_` and `-` only"
            )
        if len(value) > _LONGEST:
            raise ValueError(
                f"the name has more than {_LONGEST} characters, the most with `_replayed` behind it"
            )
        return value

    @property
    def epochs(self) -> str:
        """The topic of the marks of epochs."""
        return f"{self.topic}_epochs"

    def named(self, part: Part) -> str:
        """The topic of a part."""
        return self.topic if part is LETTERS else f"{self.topic}_{part.name}"

    def make_topics(self, cluster: Cluster) -> None:
        """Make the topics that are not there."""
        cluster.make(self.topic, _KEPT)
        cluster.make(self.named(REPLAYED), _COMPACTED)
        cluster.make(self.epochs, _COMPACTED)

    def of(self, pipeline: str) -> DeadLetters:
        return TopicLetters(pipeline, self)

    def is_place_of(self, load: Load, pipeline: str) -> bool:
        del load, pipeline
        return False


class TopicLetters(DeadLetters):
    """See `DeadLetters`."""

    def __init__(self, pipeline: str, store: KafkaDeadLetters) -> None:
        super().__init__(pipeline, store.endpoint())
        self._store = store

    def assert_ready(self, epoch: Epoch) -> None:
        del epoch
        self._store.make_topics(self._store.connect())

    def _open(self, part: Part, epoch: Epoch) -> LoadSession:
        from rayetl.connectors.kafka.session import KafkaSession

        return KafkaSession(self._store, epoch, self._store.named(part), part.schema)

    def _fill(self, target: Target, part: Part, frames: Iterable[pl.LazyFrame]) -> int:
        assert isinstance(target, BatchesTarget)
        types = to_polars(part.schema)
        typed = (frame.select(part.schema.names).cast(types) for frame in frames)  # type: ignore[arg-type]
        return pour(target, (self._messages(frame, part) for frame in typed))

    def _messages(self, frame: pl.LazyFrame, part: Part) -> pl.LazyFrame:
        """Keys and values: of a topic that is compacted, the last letter of each id would stay."""
        if part is LETTERS:
            record, moment = pl.col("record").bin.encode("base64"), pl.col("time").dt.strftime(_MOMENT)
            frame = frame.with_columns(record=record, time=moment)
        else:
            frame = frame.with_columns(pipeline=pl.lit(self.pipeline))
        key = pl.format("{} {}", pl.lit(self.pipeline), "id")
        return frame.select(key=key, value=pl.struct(pl.all()).struct.json_encode())

    def _scan(self, part: Part, since: datetime | None = None) -> pl.LazyFrame:
        # A message is later than what it tells.
        moment = None if since is None else since - _CLOCKS

        def read(columns: list[str], predicate: pl.Expr | None) -> Iterator[pl.DataFrame]:
            del predicate
            for batch in self._store.connect().read(self._store.named(part), moment):
                yield self._decoded([value for _, value in batch], part).select(columns)

        return scan(read, to_polars(part.schema))

    def _decoded(self, values: list[bytes], part: Part) -> pl.DataFrame:
        """The letters of this pipeline among messages. Raises `SourceError` for one that is none."""
        types: dict[str, pl.DataType] = dict(to_polars(part.schema))
        if part is LETTERS:
            kind = pl.Struct(types | {"record": pl.String(), "time": pl.String()})
        else:
            kind = pl.Struct(types | {"pipeline": pl.String()})
        try:
            texts = pl.Series("value", values, dtype=pl.Binary).cast(pl.String)
            found = texts.str.json_decode(kind).struct.unnest().filter(pl.col("pipeline") == self.pipeline)
            if part is LETTERS:
                moment = pl.col("time").str.to_datetime(_MOMENT, time_unit="us", time_zone="UTC")
                found = found.with_columns(pl.col("record").str.decode("base64"), time=moment)
        except pl.exceptions.PolarsError as error:
            raise SourceError(
                f"the topic {self._store.named(part)} holds a message that is no letter: "
                f"{str(error).splitlines()[0][:200]}",
                hint="does somebody else write there? give the dead letters a topic of their own",
            ) from None
        return found
