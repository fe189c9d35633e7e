"""What every dead letter store does: keep refused records with their reasons and their place in the source.

A store keeps two kinds of rows: the letters, and the ids of those that were run again. Both are committed
like the rows of a load, so that an epoch's letters exist exactly once and a replay counts once; letters are
durable before the loads of their run commit.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rayetl.connectors.base import BatchesTarget, Epoch, Load, LoadResult, LoadSession, Target
from rayetl.errors import LoadError, SourceError, Terminal
from rayetl.lazy import lazily
from rayetl.model import Model
from rayetl.names import BAD
from rayetl.records import dataclass
from rayetl.sql.types import BINARY, LONG, STRING, TIMESTAMP, ArrayType, Field, Schema, StructType

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")

REASON = StructType(tuple(Field(name, STRING) for name in ("rule", "kind", "field", "reason")))

DEAD_LETTER = Schema(
    (
        Field("id", STRING, nullable=False),
        Field("pipeline", STRING, nullable=False),
        Field("run", STRING, nullable=False),
        Field("epoch", STRING, nullable=False),
        Field("step", STRING, nullable=False),
        Field("reasons", ArrayType(REASON), nullable=False),
        Field("source", STRING),
        Field("file", STRING),
        Field("row", LONG),
        Field("record", BINARY),
        Field("record_format", STRING, nullable=False),
        Field("contract_fingerprint", STRING),
        Field("time", TIMESTAMP, nullable=False),
        Field("trace_id", STRING),
    )
)
"""One refused record. `record` is the source's own bytes, or the row as JSON (`record_format` says which);
`row` counts from 0 in `file`; `time` is when it was refused."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the two kinds of rows that a store keeps."""

    name: str
    schema: Schema


LETTERS = Part("rejects", DEAD_LETTER)
REPLAYED = Part(
    "replayed", Schema((Field("id", STRING, nullable=False), Field("epoch", STRING, nullable=False)))
)
"""The letters that were run again, each with the epoch that did so."""

_VERSION = ["id", "time", "run"]
"""What tells a letter apart. Two of one id and moment are of two runs."""

_ASKED_FOR = 1_000
"""Ids that a store is asked for by name. More are chosen from what it has: they are no condition for a
server, and a set of them would be made for every batch."""

_BATCH = 8_192
"""Letters that are handed to a service at a time."""


def digest(*names: str) -> str:
    """What letters of the same origin have in common in their ids: 96 bits of SHA-256, as hex digits."""
    return hashlib.sha256("\x1f".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:24]


def row_ids(row: pl.Expr, origin: pl.Expr) -> pl.Expr:
    """The ids of letters by row number and `digest` of the origin, as in `12-3f2a...`: the same record
    refused at the same step has the same id in every run."""
    return pl.format("{}-{}", row, origin)


def place_of(file: str, row: int) -> str:
    """The place of a record as people count, of the `row` that counts from 0."""
    return f"{file}, row {row + 1}"


def content_ids(record: pl.Expr, pipeline: str, step: str) -> pl.Expr:
    """The ids of letters whose records have no place: equal records have the same id."""
    begun = hashlib.sha256("\x1f".join((pipeline, step, "")).encode())

    def ids(records: pl.Series) -> pl.Series:
        return pl.Series(records.name, [_continued(begun, value) for value in records], dtype=pl.String)

    return record.map_batches(ids, return_dtype=pl.String(), is_elementwise=True)


def _continued(begun: hashlib._Hash, content: bytes) -> str:
    whole = begun.copy()
    whole.update(content)
    return whole.hexdigest()[:24]


class DeadLetterStore(Model):
    """Where refused rows are kept."""

    type: str

    @abstractmethod
    def of(self, pipeline: str) -> DeadLetters:
        """The letters of one pipeline."""

    def directory(self) -> str | None:
        """The directory of this machine that letters are put into, if there is one."""
        return None

    @abstractmethod
    def is_place_of(self, load: Load, pipeline: str) -> bool:
        """Whether the rows of `load` would go where the letters of the pipeline are, above or below them."""


class DeadLetters(ABC):
    """The stored rejects of one pipeline. `endpoint` is the service that keeps them, as errors and circuit
    breakers name it; `None` for files of this machine."""

    def __init__(self, pipeline: str, endpoint: str | None) -> None:
        self.pipeline = pipeline
        self.endpoint = endpoint

    @abstractmethod
    def assert_ready(self, epoch: Epoch) -> None:
        """Raise what would keep the letters of an epoch from being written: `CredentialError`, `LoadError`,
        `CommitConflict` and `Retryable`."""

    @abstractmethod
    def _open(self, part: Part, epoch: Epoch) -> LoadSession:
        """A session that appends rows of a part."""

    @abstractmethod
    def _fill(self, target: Target, part: Part, frames: Iterable[pl.LazyFrame]) -> int:
        """Put frames with the columns of `part` into the target of a session; how many rows that were."""

    @abstractmethod
    def _scan(self, part: Part, since: datetime | None = None) -> pl.LazyFrame:
        """All rows of a part, in any order; letters from before `since` may be left out by a store that saves
        work so."""

    def write(self, epoch: Epoch, frames: Iterable[pl.LazyFrame], rows: int) -> None:
        """Store frames of `DEAD_LETTER` rows durably, once for the epoch. They are streamed: how much memory
        that takes does not depend on how many rows they have.

        Raises `SourceError` where they are not `rows` in all, and what a load raises; nothing is stored then.
        """
        session = self._open(LETTERS, epoch)
        if session.committed() is None:
            self._commit(session, LETTERS, frames, rows)

    def mark_replayed(self, ids: Sequence[str] | pl.Series, epoch: Epoch) -> LoadResult:
        """Record that `epoch` took these letters up again; calling it twice changes nothing.

        Raises `CommitConflict` and `LoadError` like any load.
        """
        session = self._open(REPLAYED, epoch)
        if done := session.committed():
            return done
        marks = pl.DataFrame({"id": ids}, schema={"id": pl.String}).unique().sort("id")
        frames = [marks.lazy().with_columns(epoch=pl.lit(epoch.key))]
        return self._commit(session, REPLAYED, frames, marks.height)

    def _commit(
        self, session: LoadSession, part: Part, frames: Iterable[pl.LazyFrame], rows: int
    ) -> LoadResult:
        target = session.begin()
        if target is None:
            raise RuntimeError("an append always has something to do")
        try:
            written = self._fill(target, part, frames)
            if written != rows:
                raise SourceError(
                    f"{rows} rows were refused, but the records of {written} were found again",
                    hint="did an input change during the run? nothing was committed; run again",
                )
        except pl.exceptions.PolarsError as fault:
            session.abort()
            raise Terminal(
                f"the dead letters could not be written: {str(fault).splitlines()[0]}",
                hint="nothing was committed; see to the place of the dead letters and run again",
            ) from fault
        except BaseException:
            session.abort()
            raise
        return session.commit(rows)

    def read(
        self,
        ids: Sequence[str] | pl.Series | None = None,
        *,
        run: str | None = None,
        step: str | None = None,
        pending: bool = False,
        since: datetime | None = None,
    ) -> pl.LazyFrame:
        """The letters with those ids, of that run and step or its contract, refused at `since` (with a time
        zone) or later; `pending` leaves out what was replayed, which the BOOLEAN column `replayed` tells."""
        if ids is None:
            letters = self._found(pl.lit(True), since)
        elif len(ids) <= _ASKED_FOR:
            letters = self._found(pl.col("id").is_in(list(ids)), since)
        else:
            wanted = pl.LazyFrame({"id": ids}, schema={"id": pl.String})
            letters = self._found(pl.lit(True), since).join(
                wanted, on="id", how="semi", maintain_order="left"
            )
        if run is not None:
            letters = letters.filter(pl.col("run") == run)
        if step is not None:
            letters = letters.filter(pl.col("step").is_in([step, f"{step}.contract"]))
        return letters.filter(~pl.col("replayed")) if pending else letters

    def _found(self, narrowed: pl.Expr, since: datetime | None = None) -> pl.LazyFrame:
        """The last letter of each id, of ids for which `narrowed` is TRUE."""
        if since is not None:
            narrowed &= pl.col("time") >= since.astimezone(UTC)
        letters = _latest(self._scan(LETTERS, since).filter(narrowed))
        # Collected, so that of the two sides this one is taken into memory.
        done = self._scan(REPLAYED).select("id").unique().with_columns(replayed=pl.lit(True)).collect()
        letters = letters.join(done.lazy(), on="id", how="left", maintain_order="left")
        return letters.with_columns(pl.col("replayed").fill_null(False))

    def count(
        self,
        *,
        run: str | None = None,
        step: str | None = None,
        pending: bool = False,
        since: datetime | None = None,
    ) -> pl.DataFrame:
        """How many of the letters that `read` would give there are, and how many were replayed, by run, step,
        rule and reason. A letter with several reasons counts under each."""
        chosen = self.read(run=run, step=step, pending=pending, since=since)
        reasons = chosen.explode("reasons").unnest("reasons")
        groups = reasons.group_by("run", "step", "rule", "field", "reason")
        counts = groups.agg(letters=pl.len(), replayed=pl.col("replayed").sum(), last=pl.col("time").max())
        return counts.sort("last", "letters", descending=True).collect()

    def show(self, letter: str) -> dict[str, Any]:
        """One letter, by its id or the unmistakable beginning of it. Raises `SourceError`."""
        found = self._found(pl.col("id").str.starts_with(letter)).head(2).collect()
        if found.height != 1:
            what = "several dead letters begin" if found.height else "no dead letter begins"
            raise SourceError(
                f"{what} with {letter!r} in the store of the pipeline {self.pipeline!r}",
                hint="`rayetl dlq list` shows what is there",
            )
        return found.row(0, named=True)


def _latest(letters: pl.LazyFrame) -> pl.LazyFrame:
    """The last letter of each id. Letters may be more than fit into memory: kept there are hashes of their
    ids alone, and what tells those of one hash apart. A record that had become several rows before they were
    refused has a letter of each; shown is one, with the reasons of all, and such ones are kept whole."""
    hashed = pl.col("id").hash()
    seen = letters.select(hash=hashed).group_by("hash").len().filter(pl.col("len") > 1)
    repeated = seen.select("hash").collect()
    if repeated.is_empty():
        return letters
    alike = letters.select(_VERSION).with_columns(hash=hashed).join(repeated.lazy(), on="hash", how="semi")
    versions = alike.select(_VERSION).collect()
    last = versions.sort(_VERSION).unique("id", keep="last")
    left = letters.join(versions.join(last, on=_VERSION, how="anti").lazy(), on=_VERSION, how="anti")
    several = versions.filter(versions.is_duplicated()).unique()
    if several.is_empty():
        return left
    rows = left.join(several.lazy(), on=_VERSION, how="semi")
    reasons = rows.select(*_VERSION, "reasons").explode("reasons")
    every = reasons.group_by(_VERSION).agg(_all=pl.col("reasons").unique().sort()).collect()
    told = rows.unique(_VERSION).join(every.lazy(), on=_VERSION, how="left")
    told = told.with_columns(reasons=pl.coalesce("_all", "reasons")).drop("_all")
    return pl.concat([left.join(several.lazy(), on=_VERSION, how="anti"), told])


def as_text(column: str) -> pl.Expr:
    """Reasons as a JSON text, for stores without lists of structs."""
    text = pl.struct(pl.col(column).alias("_")).struct.json_encode()
    return text.str.strip_prefix('{"_":').str.strip_suffix("}").alias(column)


def as_reasons(column: str) -> pl.Expr:
    """Reasons from what `as_text` made of them."""
    from rayetl.sql.interop import polars_type

    return pl.col(column).str.json_decode(polars_type(ArrayType(REASON)))


def pour(target: BatchesTarget, frames: Iterable[pl.LazyFrame]) -> int:
    """Stream frames into a service to their end; how many rows they had. Raises `LoadError` for a letter that
    the service refuses: it has nowhere else to go."""
    rows = 0
    for frame in frames:
        for batch in frame.collect_batches(chunk_size=_BATCH, maintain_order=True):
            rows += batch.height
            _refuse(target.write(batch))
    _refuse(target.finish())
    return rows


def _refuse(refused: pl.DataFrame | None) -> None:
    if refused is not None and refused.height:
        raise LoadError(
            f"the store of the dead letters refuses {refused.height} of them, the first because: "
            f"{refused[BAD][0]}",
            hint="nothing was committed; see to the store and run again",
        )
