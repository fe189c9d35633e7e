"""The dead letter store on files, of this machine or on S3.

Below `<path>/<pipeline>/`, `rejects` holds the letters as Parquet and `replayed` the ids that were run
again. Both are loads of their own, committed by the protocol of all files loads.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import quote

from pydantic import Field, model_validator

from rayetl.connectors.base import Epoch, FilesTarget, Load, LoadSession, Target
from rayetl.connectors.dead_letters import LETTERS, REPLAYED, DeadLetters, DeadLetterStore, Part
from rayetl.connectors.files_load import FilesLoad
from rayetl.connectors.places import TargetPath, holds, is_on_s3
from rayetl.connectors.s3.settings import S3LoadSettings, UsesS3
from rayetl.connectors.sealed_parquet import scan_sealed, write_sealed
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


class DeadLetterFiles(UsesS3, DeadLetterStore):
    """Keeps refused records in Parquet files, in a directory of this machine or below a prefix on S3."""

    type: Literal["files"] = Field(default="files", description="The kind of store.")
    path: TargetPath = Field(
        default=".rayetl/rejects",
        min_length=1,
        description="The directory, or `s3://bucket/prefix`; one below it for each pipeline.",
        examples=["out/rejects", "s3://lake/rejects"],
    )
    encrypt: Identifier | None = Field(
        default=None,
        description="Name of the credential whose current key encrypts the refused records; `rayetl vault "
        "new-key NAME` makes one. Older keys in it open what was encrypted with them.",
        examples=["rejects_key"],
    )
    s3: S3LoadSettings | None = Field(
        default=None,
        description="The service of an `s3://` path, and how files are protected there; by default AWS. "
        "`credential` names the keys, by default those that AWS's own tools find on this machine.",
        examples=[{"endpoint": "https://minio.example.com:9000", "encryption": "AES256"}],
    )

    @model_validator(mode="after")
    def _known_place(self) -> Self:
        self.assert_places([self.path])
        return self

    def of(self, pipeline: str) -> FileLetters:
        return FileLetters(pipeline, self)

    def directory(self) -> str | None:
        return self.load(LETTERS, "").directory() if is_on_s3(self.path) else self.path

    def is_place_of(self, load: Load, pipeline: str) -> bool:
        parts = (self.load(part, pipeline).location() for part in (LETTERS, REPLAYED))
        place = load.location()
        return place is not None and any(part is not None and holds(place, part) for part in parts)

    def assert_found(self) -> None:
        super().assert_found()
        self.ring()

    def ring(self) -> Keyring | None:
        """The keys that records are encrypted with, if they are. Raises as `Keyring.find` does."""
        return None if self.encrypt is None else Keyring.find(self.encrypt)

    def load(self, part: Part, pipeline: str) -> FilesLoad:
        """The load that appends rows of a part."""
        path = f"{self.path.rstrip('/')}/{quote(pipeline, safe=' ')}/{part.name}"
        there = {"credential": self.credential, "s3": self.s3}
        return FilesLoad.model_validate({"type": "files", "path": path, "mode": "append", **there})


class FileLetters(DeadLetters):
    """See `DeadLetters`."""

    def __init__(self, pipeline: str, store: DeadLetterFiles) -> None:
        super().__init__(pipeline, store.load(LETTERS, pipeline).endpoint())
        self._store = store

    def assert_ready(self, epoch: Epoch) -> None:
        self._store.ring()
        session = self._open(LETTERS, epoch)
        if self.endpoint is not None and session.committed() is None:
            session.begin()
            session.abort()

    def _open(self, part: Part, epoch: Epoch) -> LoadSession:
        return self._store.load(part, self.pipeline).open(epoch, part.schema)

    def _fill(self, target: Target, part: Part, frames: Iterable[pl.LazyFrame]) -> int:
        assert isinstance(target, FilesTarget)
        rows, types, ring = 0, to_polars(part.schema), self._store.ring() if part is LETTERS else None
        for index, frame in enumerate(frames):
            path = Path(target.directory, f"{index:08d}.parquet")
            typed = frame.select(part.schema.names).cast(types)  # type: ignore[arg-type]
            if ring is not None:
                rows += write_sealed(path, typed, "record", ring, GROUP)
                continue
            # Records are most of a letter, and seldom read: the fastest level packs them nearly as well.
            typed.sink_parquet(path, compression="zstd", compression_level=1, row_group_size=GROUP)
            rows += pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
        return rows

    def _scan(self, part: Part, since: datetime | None = None) -> pl.LazyFrame:
        del since
        types, load = to_polars(part.schema), self._store.load(part, self.pipeline)
        if is_on_s3(load.path):
            from rayetl.connectors.s3.listing import parts_of

            return scan_sealed(parts_of(load.account, load.path), "record", types)
        return scan_sealed(sorted(Path(load.path).glob("part-*.parquet")), "record", types)
