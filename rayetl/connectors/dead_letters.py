"""The dead letter store on files: every refused record with its reasons and its place in the source.

Below `<path>/<pipeline>/`, `rejects` holds the letters as Parquet and `replayed` the ids that were run
again. Both are loads of their own, committed by the protocol of all files loads, so that an epoch's
rejects exist exactly once and a replay counts once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from pydantic import Field as ConfigField

from rayetl.connectors.base import Epoch, LoadResult
from rayetl.connectors.commit import DirectorySession
from rayetl.connectors.files_load import FilesLoad
from rayetl.connectors.places import LocalPath
from rayetl.connectors.sealed_parquet import scan_sealed, sealed_with, write_sealed
from rayetl.errors import SourceError
from rayetl.model import Identifier, Model
from rayetl.secrets.keyring import Keyring
from rayetl.sql.types import BINARY, LONG, STRING, TIMESTAMP, ArrayType, Field, Schema, StructType

if TYPE_CHECKING:
    import polars as pl

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

GROUP = 50_000
"""Letters in a row group, which is held in memory whole until it is packed."""

REPLAYED = Schema((Field("id", STRING, nullable=False), Field("epoch", STRING, nullable=False)))


def digest(*names: str) -> str:
    """What letters of the same origin have in common in their ids: 96 bits of SHA-256, as hex digits."""
    return hashlib.sha256("\x1f".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:24]


def row_ids(row: pl.Expr, origin: pl.Expr) -> pl.Expr:
    """The ids of letters by row number and `digest` of the origin, as in `12-3f2a...`: the same record
    refused at the same step has the same id in every run."""
    import polars as pl

    return pl.format("{}-{}", row, origin)


def content_ids(record: pl.Expr, pipeline: str, step: str) -> pl.Expr:
    """The ids of letters whose records have no place: equal records have the same id."""
    import polars as pl

    begun = hashlib.sha256("\x1f".join((pipeline, step, "")).encode())

    def ids(records: pl.Series) -> pl.Series:
        return pl.Series(records.name, [_continued(begun, value) for value in records], dtype=pl.String)

    return record.map_batches(ids, return_dtype=pl.String(), is_elementwise=True)


def _continued(begun: hashlib._Hash, content: bytes) -> str:
    whole = begun.copy()
    whole.update(content)
    return whole.hexdigest()[:24]


class DeadLetterFiles(Model):
    """Keeps refused records in Parquet files."""

    type: Literal["files"] = ConfigField(default="files", description="The kind of store.")
    path: LocalPath = ConfigField(
        default=".rayetl/rejects",
        min_length=1,
        description="The directory; one below it for each pipeline.",
        examples=["out/rejects"],
    )

    encrypt: Identifier | None = ConfigField(
        default=None,
        description="Name of the credential whose current key encrypts the refused records; `rayetl vault "
        "new-key NAME` makes one. Older keys in it open what was encrypted with them.",
        examples=["rejects_key"],
    )

    def of(self, pipeline: str) -> DeadLetters:
        """The letters of one pipeline."""
        return DeadLetters(pipeline, Path(self.path) / quote(pipeline, safe=" "), self.encrypt)


class DeadLetters:
    """The stored rejects of one pipeline, below `directory`; `encrypt` names the keys that new records are
    encrypted with."""

    def __init__(self, pipeline: str, directory: Path, encrypt: str | None = None) -> None:
        self.pipeline = pipeline
        self._encrypt = encrypt
        self._rejects = directory / "rejects"
        self._replayed = directory / "replayed"

    def assert_ready(self) -> None:
        """Raise what would keep letters from being written: `CredentialError` for a key that is not there."""
        self._ring()

    def _ring(self) -> Keyring | None:
        return None if self._encrypt is None else Keyring.find(self._encrypt)

    def open(self, epoch: Epoch) -> DirectorySession:
        """A session for the rejects of one epoch: stage Parquet of `DEAD_LETTER` rows, then commit."""
        return _append(self._rejects, epoch, DEAD_LETTER)

    def write(self, session: DirectorySession, frames: Iterable[pl.LazyFrame]) -> int:
        """Stage frames of `DEAD_LETTER` rows, a file each, in a session that has begun; returns how many
        rows. Frames are streamed: how much memory that takes does not depend on how many rows they have."""
        import polars as pl

        from rayetl.sql.interop import to_polars

        rows, types, ring = 0, to_polars(DEAD_LETTER), self._ring()
        for index, frame in enumerate(frames):
            path = Path(session.target.directory, f"{index:08d}.parquet")
            typed = frame.select(DEAD_LETTER.names).cast(types)  # type: ignore[arg-type]
            if ring is not None:
                rows += write_sealed(path, typed, "record", ring, GROUP)
                continue
            # Records are most of a letter, and seldom read: the fastest level packs them nearly as well.
            typed.sink_parquet(path, compression="zstd", compression_level=1, row_group_size=GROUP)
            rows += pl.scan_parquet(path).select(pl.len()).collect().item()
        return rows

    def read(
        self,
        ids: Sequence[str] | None = None,
        *,
        run: str | None = None,
        step: str | None = None,
        pending: bool = False,
    ) -> pl.LazyFrame:
        """The letters with those ids, of that run and step; `pending` leaves out what was replayed. The
        column `replayed` (BOOLEAN) says what was."""
        import polars as pl

        done = _scan(self._replayed, REPLAYED).select("id").unique().with_columns(replayed=pl.lit(True))
        letters = _scan(self._rejects, DEAD_LETTER).unique("id", keep="last", maintain_order=True)
        letters = letters.join(done, on="id", how="left", maintain_order="left")
        letters = letters.with_columns(pl.col("replayed").fill_null(False))
        if ids is not None:
            letters = letters.filter(pl.col("id").is_in(list(ids)))
        if run is not None:
            letters = letters.filter(pl.col("run") == run)
        if step is not None:
            letters = letters.filter(pl.col("step") == step)
        return letters.filter(~pl.col("replayed")) if pending else letters

    def list(self) -> pl.DataFrame:
        """How many letters there are, and how many were replayed, by run, step, rule and reason. A letter
        with several reasons counts under each."""
        import polars as pl

        reasons = self.read().explode("reasons").unnest("reasons")
        groups = reasons.group_by("run", "step", "rule", "field", "reason")
        counts = groups.agg(letters=pl.len(), replayed=pl.col("replayed").sum(), last=pl.col("time").max())
        return counts.sort("last", "letters", descending=True).collect()

    def show(self, letter: str) -> dict[str, Any]:
        """One letter, by its id or the unmistakable beginning of it. Raises `SourceError`."""
        import polars as pl

        found = self.read().filter(pl.col("id").str.starts_with(letter)).head(2).collect()
        if found.height != 1:
            what = "several dead letters begin" if found.height else "no dead letter begins"
            raise SourceError(
                f"{what} with {letter!r} in the store of the pipeline {self.pipeline!r}",
                hint="`rayetl dlq list` shows what is there",
            )
        return found.row(0, named=True)

    def mark_replayed(self, ids: Iterable[str], epoch: Epoch) -> LoadResult:
        """Record that `epoch` took these letters up again; calling it twice changes nothing.

        Raises `CommitConflict` and `LoadError` like any load.
        """
        import polars as pl

        session = _append(self._replayed, epoch, REPLAYED)
        if done := session.committed():
            return done
        target = session.begin()
        if target is None:
            raise RuntimeError("an append always has something to do")
        marks = pl.DataFrame({"id": sorted(set(ids))}, schema={"id": pl.String})
        marks = marks.with_columns(epoch=pl.lit(epoch.key))
        marks.write_parquet(Path(target.directory, "0.parquet"))
        return session.commit(marks.height)


def _append(directory: Path, epoch: Epoch, schema: Schema) -> DirectorySession:
    load = FilesLoad.model_validate({"type": "files", "path": str(directory), "mode": "append"})
    return load.open_directory(epoch, schema)


def _scan(directory: Path, schema: Schema) -> pl.LazyFrame:
    import polars as pl

    from rayetl.sql.interop import to_polars

    types = to_polars(schema)
    files = sorted(directory.glob("part-*.parquet"))
    # In the order of their names, which is that of time: of two letters the later one is kept.
    scans = [
        scan_sealed(list(group), "record", types) if sealed else pl.scan_parquet(list(group), schema=types)
        for sealed, group in groupby(files, lambda path: sealed_with(path) is not None)
    ]
    return pl.concat(scans) if scans else pl.LazyFrame(schema=types)
