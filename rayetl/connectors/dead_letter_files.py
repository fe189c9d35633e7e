"""The dead letter store on files.

Below `<path>/<pipeline>/`, `rejects` holds the letters as Parquet and `replayed` the ids that were run
again. Both are loads of their own, committed by the protocol of all files loads.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from pydantic import Field

from rayetl.connectors.base import Epoch, FilesTarget, Load, LoadSession, Target
from rayetl.connectors.dead_letters import LETTERS, REPLAYED, DeadLetters, DeadLetterStore, Part
from rayetl.connectors.files_load import FilesLoad
from rayetl.connectors.places import LocalPath
from rayetl.connectors.sealed_parquet import scan_sealed, sealed_with, write_sealed
from rayetl.lazy import lazily
from rayetl.model import Identifier
from rayetl.secrets.keyring import Keyring
from rayetl.sql.interop import to_polars

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")

GROUP = 50_000
"""Letters in a row group, which is held in memory whole until it is packed."""


class DeadLetterFiles(DeadLetterStore):
    """Keeps refused records in Parquet files."""

    type: Literal["files"] = Field(default="files", description="The kind of store.")
    path: LocalPath = Field(
        default=".rayetl/rejects",
        min_length=1,
        description="The directory; one below it for each pipeline.",
        examples=["out/rejects"],
    )

    encrypt: Identifier | None = Field(
        default=None,
        description="Name of the credential whose current key encrypts the refused records; `rayetl vault "
        "new-key NAME` makes one. Older keys in it open what was encrypted with them.",
        examples=["rejects_key"],
    )

    def of(self, pipeline: str) -> FileLetters:
        return FileLetters(pipeline, self)

    def directory(self) -> str | None:
        return self.path

    def is_place_of(self, load: Load, pipeline: str) -> bool:
        return load.location() in [self.load(part, pipeline).location() for part in (LETTERS, REPLAYED)]

    def load(self, part: Part, pipeline: str) -> FilesLoad:
        """The load that appends rows of a part."""
        path = f"{self.path}/{quote(pipeline, safe=' ')}/{part.name}"
        return FilesLoad.model_validate({"type": "files", "path": path, "mode": "append"})


class FileLetters(DeadLetters):
    """See `DeadLetters`."""

    def __init__(self, pipeline: str, store: DeadLetterFiles) -> None:
        super().__init__(pipeline, None)
        self._store = store

    def assert_ready(self, epoch: Epoch) -> None:
        del epoch
        self._ring()

    def _ring(self) -> Keyring | None:
        return None if self._store.encrypt is None else Keyring.find(self._store.encrypt)

    def _open(self, part: Part, epoch: Epoch) -> LoadSession:
        return self._store.load(part, self.pipeline).open(epoch, part.schema)

    def _fill(self, target: Target, part: Part, frames: Iterable[pl.LazyFrame]) -> int:
        assert isinstance(target, FilesTarget)
        rows, types, ring = 0, to_polars(part.schema), self._ring() if part is LETTERS else None
        for index, frame in enumerate(frames):
            path = Path(target.directory, f"{index:08d}.parquet")
            typed = frame.select(part.schema.names).cast(types)  # type: ignore[arg-type]
            if ring is not None:
                rows += write_sealed(path, typed, "record", ring, GROUP)
                continue
            # Records are most of a letter, and seldom read: the fastest level packs them nearly as well.
            typed.sink_parquet(path, compression="zstd", compression_level=1, row_group_size=GROUP)
            rows += pl.scan_parquet(path).select(pl.len()).collect().item()
        return rows

    def _scan(self, part: Part) -> pl.LazyFrame:
        types = to_polars(part.schema)
        files = sorted(Path(self._store.load(part, self.pipeline).path).glob("part-*.parquet"))
        # In the order of their names, which is that of time: of two letters the later one is kept.
        scans = [
            scan_sealed(list(group), "record", types)
            if sealed
            else pl.scan_parquet(list(group), schema=types)
            for sealed, group in groupby(files, lambda path: sealed_with(path) is not None)
        ]
        return pl.concat(scans) if scans else pl.LazyFrame(schema=types)
