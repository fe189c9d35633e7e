"""What a source and a load are. A scan is plain data: each engine knows how to run it."""

from __future__ import annotations

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rayetl.errors import Problem
from rayetl.model import Identifier, Model
from rayetl.names import ROW_BITS
from rayetl.records import dataclass
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from rayetl.connectors.formats.options import ListingOptions

EMPTY = Schema()


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of a scan: `size` in bytes, `modified_ns` since the epoch. `partition` has values by column
    name that no row holds and all of them share, as hive partition directories spell them (`None` for NULL).
    With `count`, only so many of its rows from the row `first` on, which are whole row groups of a Parquet
    file. A file that is not of this machine is in a `store`, which tells its versions apart by `tag`."""

    path: str
    size: int
    modified_ns: int
    partition: tuple[tuple[str, str | None], ...] = ()
    first: int = 0
    count: int | None = None
    store: FileStore | None = None
    tag: str = ""

    def open(self) -> io.RawIOBase:
        """Its bytes, unbuffered; of a store those of the very version that was listed. Raises `OSError`, and
        `SourceError`, `CredentialError` and `Retryable` of the store."""
        if self.store is not None:
            return self.store.open(self)
        return open(self.path, "rb", buffering=0)


class FileStore(ABC):
    """Where files are that are not of this machine: plain data without secrets, for any process to use."""

    @abstractmethod
    def files(self, path: str, options: ListingOptions) -> Iterable[InputFile]:
        """The files behind a path of this store. Raises `SourceError` where there is nothing,
        `CredentialError` and `Retryable`."""

    @abstractmethod
    def open(self, file: InputFile) -> io.RawIOBase:
        """The bytes of a file, to be read at any place. It and its reads raise `SourceError` for a file that
        is no longer the one that was listed, `CredentialError` and `Retryable`."""


@dataclass(frozen=True, slots=True)
class FilesScan:
    """Files of one format, read with one schema. `options` is the format's own frozen model. Positions number
    the files from `first_file` on: a scan of some files of another one keeps its numbers."""

    format: str
    files: tuple[InputFile, ...]
    schema: Schema
    options: Model
    mode: Literal["permissive", "drop", "fail"] = "permissive"
    first_file: int = 0

    def locate(self, position: int) -> tuple[InputFile, int]:
        """The file and the row number in it (from 0) behind a value of the hidden row column."""
        return self.files[(position >> ROW_BITS) - self.first_file], position & ((1 << ROW_BITS) - 1)

    def in_zone(self, zone: str) -> FilesScan:
        """With `zone` for timestamps that name none, unless the options say another one."""
        if getattr(self.options, "time_zone", zone) is not None:
            return self
        return replace(self, options=self.options.model_copy(update={"time_zone": zone}))

    def inside(self, file: InputFile) -> Schema:
        """The columns that are in a file itself: its partition does not name them."""
        if not file.partition:
            return self.schema
        outside = {name.lower() for name, _ in file.partition}
        return Schema(tuple(column for column in self.schema if column.name.lower() not in outside))


@dataclass(frozen=True, slots=True)
class BatchScan(ABC):
    """Rows of a service that come as batches. `format` names the kind of service, `place` what is read, as
    reports show it. A record that cannot be read stops the run: rows have no position to find them again."""

    format: str
    place: str
    schema: Schema
    mode: ClassVar[Literal["fail"]] = "fail"

    @abstractmethod
    def open(self) -> Reading:
        """Begin to read. Raises `SourceError`, `CredentialError` and `Retryable`."""

    @property
    def ranges(self) -> str | None:
        """What it can be cut by, to be read by several processes at once; `None` where it is read as one."""
        return None

    @contextmanager
    def parts(self) -> Iterator[Sequence[BatchScan]]:
        """Scans of its ranges, which have every row once, all as they are at one moment. Any process may open
        them, once or several times, until the context ends. Raises as `open` does."""
        yield [self]


class Reading(ABC):
    """The rows of a scan as they are at one moment, for as long as it is open; for threads to share."""

    @abstractmethod
    def frames(
        self, columns: Sequence[str], predicate: pl.Expr | None, rows: int | None
    ) -> Iterator[pl.DataFrame]:
        """The rows as frames of `columns` in that order, with the types of the scan's schema.

        Rows for which `predicate` is not TRUE may be among them or not, as the service can tell; it may look
        at any column. With `rows` and no predicate, the first so many are enough. Memory does not grow with
        the number of rows. Raises `SourceError` for a value that the schema cannot hold, and `Retryable`.
        """

    @abstractmethod
    def count(self) -> int:
        """How many rows there are in all, whatever was asked for."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the moment. Nothing may be read after it."""


Scan = FilesScan | BatchScan


class Source(Model):
    """The extract side of a pipeline."""

    @abstractmethod
    def describe(self, promised: Schema | None) -> Scan:
        """List what there is to read and settle its schema; reads headers, footers or a sample at most.

        `promised` is the schema of the source's contract, which text formats are read with.
        Raises `SourceError` naming the file where nothing can be read.
        """

    def recall(self, promised: Schema | None, files: Sequence[str]) -> Scan:
        """As `describe`, for records of `files` that somebody kept, whether the files are there any more or
        not. Raises `SourceError` where it takes them to settle the schema."""
        del files
        return self.describe(promised)

    def describe_drained(self, promised: Schema | None) -> Scan:
        """As `describe`, of a source that had files once: that there are none at a path is no mistake."""
        return self.describe(promised)

    def has_files(self) -> bool:
        """Whether there is a file to read; a service always has what it has."""
        return True

    @abstractmethod
    def identity(self, scan: Scan) -> str | None:
        """A fingerprint of the exact input (files: path, size, modification time); `None` if it has none."""

    def is_incremental(self) -> bool:
        """Whether a run takes the files that no run before it has taken. By default it reads them all."""
        return False

    def guesses_types(self, scan: Scan) -> bool:
        """Whether types of `scan` are those that its data look like, so that other data may have others."""
        del scan
        return False

    def endpoint(self) -> str | None:
        """The service that is read from, as errors and circuit breakers name it; `None` for files here."""
        return None


@dataclass(frozen=True, slots=True)
class Epoch:
    """The unit of commit. `key` is the run key; `run` the id of this attempt's run."""

    pipeline: str
    load: str
    key: str
    run: str

    @property
    def mark(self) -> str:
        """Short for all that tells the epoch from others: 16 characters that may be part of a file's name."""
        named = "\0".join((self.pipeline, self.load, self.key))
        return hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class FilesTarget:
    """Where and how an engine stages files: into `directory`, in `format`, below hive directories of
    `partition_by` and then of `derived`, which are computed and stand in no file; about `max_bytes` a file
    when given. What is put into `parking`, a directory of the same file system that nobody has made yet,
    outlives the attempt and is found again by the next one at the same epoch. With `columns`, Parquet files
    have exactly these types and what the metadata of these fields says (field ids)."""

    directory: str
    format: str
    options: Model
    partition_by: tuple[str, ...] = ()
    max_bytes: int | None = None
    schema: Schema = EMPTY
    parking: str = ""
    derived: tuple[tuple[str, pl.Expr], ...] = field(default=(), compare=False)
    columns: pa.Schema | None = field(default=None, compare=False)


class BatchesTarget(ABC):
    """A place that takes rows as they come, and may refuse some of them. One thread at a time calls it.

    Refused rows are given back with the hidden columns `RULE`, `FIELD` and `BAD` (all STRING), by the call
    that found them or a later one.
    """

    schema: Schema

    @abstractmethod
    def write(self, rows: pl.DataFrame) -> pl.DataFrame | None:
        """Take rows: the columns of `schema` in their order, then `ROW` where rows have a position. `None`
        if none was refused. Raises `LoadError` and `Retryable`."""

    @abstractmethod
    def finish(self) -> pl.DataFrame | None:
        """Judge what was taken to its end, so that nothing but the commit is left. As `write` otherwise."""


@dataclass(frozen=True, slots=True)
class SpoolTarget:
    """A directory that takes the rows of a load as Arrow files, in order and with the hidden column `ROW`
    where they have a position: the process that has the load's `BatchesTarget` pours them in later."""

    directory: str


Target = FilesTarget | BatchesTarget | SpoolTarget


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a load did. `status`: committed now, skipped (the epoch was committed before), or ignored
    (mode `ignore` found data). `bytes` on disk; `seconds` from begin to commit. `run` is the one that
    committed the epoch."""

    load: str
    type: str
    location: str
    mode: str
    status: Literal["committed", "skipped", "ignored"]
    rows: int
    files: int
    bytes: int
    seconds: float
    epoch: str
    run: str


class LoadSession(ABC):
    """One epoch of one load. Call order: `committed`, then `begin`, write into `target`, then `commit`
    or `abort`."""

    @abstractmethod
    def committed(self) -> LoadResult | None:
        """The recorded result if this epoch is committed already, after completing what a killed run
        left half published; `None` otherwise."""

    @abstractmethod
    def begin(self) -> Target | None:
        """Take the fence, clear what dead attempts left, and say where to stage; `None` when the mode
        says there is nothing to do (`ignore` with data present).

        Raises `LoadError` (`error_if_exists` with data present) and `CommitConflict`.
        """

    @abstractmethod
    def commit(self, rows: int) -> LoadResult:
        """Make all staged rows visible together with the epoch's token, or none of them.

        `rows` is what the engine counted on the way in; where the staged files can be counted
        themselves and disagree, raises `BooksError`. Raises `CommitConflict` when a newer attempt holds
        the fence.
        """

    @abstractmethod
    def abort(self) -> None:
        """Remove what was staged; nothing of it was ever visible."""


class Load(Model):
    """The sink side of a pipeline."""

    takes_batches: ClassVar[bool] = False
    """Whether its target is a `BatchesTarget`: rows then keep their position to the end, for those that the
    store refuses."""

    type: str
    mode: str
    id: Identifier | None = Field(
        default=None, description="Name of the load, in the report and the ledger.", examples=["daily_files"]
    )
    from_: Identifier | None = Field(
        default=None,
        alias="from",
        description="Id of the source or step to load; by default the last step.",
        examples=["daily"],
    )

    @abstractmethod
    def check(self, schema: Schema) -> Sequence[Problem]:
        """What makes this load impossible for rows of `schema`; paths are relative to the load."""

    def location(self) -> str | None:
        """The place that is written to, for telling that two loads share one; `None` if that cannot be.
        By default the load's `path`, by whatever name it goes."""
        path = getattr(self, "path", None)
        return os.path.realpath(path) if isinstance(path, str) else None

    def directory(self) -> str | None:
        """The directory of this machine that rows are put into or wait in, if there is one. By default the
        load's `path`."""
        path = getattr(self, "path", None)
        return path if isinstance(path, str) else None

    def endpoint(self) -> str | None:
        """The service that is written to, as errors and circuit breakers name it; `None` for files here."""
        return None

    @abstractmethod
    def open(self, epoch: Epoch, schema: Schema) -> LoadSession:
        """A session for one epoch. Touches nothing yet."""
