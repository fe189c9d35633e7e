"""One epoch of one load into a table of a lake: files are staged, then one commit names them.

The commit is optimistic and tried once: if anybody has committed since the version that was looked at, the
new version is looked at, and judged anew, before the next try. So what was found out about the table (that
the epoch is not in it, that no other attempt of the load was faster, that the rows fit) holds at the very
moment of the commit. A commit whose outcome is unknown is looked up by its attempt's token.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from functools import cached_property
from typing import Generic, TypeVar

from rayetl.connectors.base import Epoch, FilesTarget, LoadResult, LoadSession
from rayetl.connectors.commit.lock import Lock
from rayetl.connectors.commit.publish import remove_tree
from rayetl.connectors.files_load import WriteOptions
from rayetl.connectors.lake.fitting import assert_complete, assert_fits
from rayetl.connectors.lake.keys import assert_keys
from rayetl.connectors.lake.load import KEYED, LakeLoad
from rayetl.connectors.lake.staging import Attempt, StagedFile, Staging
from rayetl.connectors.lake.version import Entry, LakeVersion
from rayetl.errors import BooksError, CommitConflict, LoadError, Retryable
from rayetl.failpoints import failpoint
from rayetl.records import dataclass
from rayetl.sql.types import Schema

TRIES = 50
"""Commits that are tried while other writers keep coming in between."""

V = TypeVar("V", bound=LakeVersion)
C = TypeVar("C")


@dataclass()
class LakeSession(LoadSession, Generic[V, C]):
    """See `LoadSession`. `V` is a version of the table, `C` what one commit changes in it."""

    load: LakeLoad
    epoch: Epoch
    schema: Schema
    _lock: Lock | None = field(init=False, default=None)
    _attempt: Attempt | None = field(init=False, default=None)
    _is_put: bool = field(init=False, default=False)
    _cut: tuple[str, ...] = field(init=False, default=())
    _started: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        spelled = (field.name for key in self.load.keys if (field := self.schema.get(key)))
        self.load = self.load.model_copy(update={"keys": tuple(spelled)})

    @cached_property
    def _staging(self) -> Staging:
        return self._place()

    # What each kind of table does in its own way

    @abstractmethod
    def _place(self) -> Staging:
        """Where the load stages its files."""

    @abstractmethod
    def _told(self) -> AbstractContextManager[None]:
        """Turns what the library raises into errors of ours."""

    @abstractmethod
    def _now(self) -> V | None:
        """The newest version of the table, `None` where there is none."""

    @abstractmethod
    def _number(self, found: V | None) -> int:
        """How many epochs of the load were committed up to this version."""

    @abstractmethod
    def _entry(self, found: V | None) -> Entry | None:
        """This epoch, if it is committed and, under `overwrite`, not replaced by a later one of the load."""

    @abstractmethod
    def _holder(self, found: V | None, number: int) -> str | None:
        """The token of the attempt that committed epoch `number` of the load, `None` if that is unknown."""

    @abstractmethod
    def _assert_ours(self) -> None:
        """Raises `LoadError` for a directory with files that belong to no table."""

    @abstractmethod
    def _cuts(self, found: V | None) -> tuple[str, ...]:
        """By what the files are cut."""

    @abstractmethod
    def _target(self, attempt: Attempt) -> FilesTarget:
        """What the engine is told."""

    @abstractmethod
    def _change(self, found: V | None, attempt: Attempt, files: Sequence[StagedFile]) -> C:
        """What is to be committed on top of this version; its files have their names in the table."""

    @abstractmethod
    def _write(self, found: V | None, change: C, entry: Entry) -> None:
        """Commit it, once."""

    @abstractmethod
    def _is_conflict(self, error: Exception) -> bool:
        """Whether an error of `_write` says that another writer was faster, so that nothing was committed."""

    @abstractmethod
    def _take_back(self, attempt: Attempt, change: C) -> None:
        """Clear what was made for a commit that came to nothing and is tried anew."""

    # The protocol

    def committed(self) -> LoadResult | None:
        with self._told():
            entry = self._entry(self._now())
        # A commit whose answer was lost is this run's own all the same.
        return None if entry is None else self._result(entry)

    def begin(self) -> FilesTarget | None:
        self._started = time.monotonic()
        try:
            with self._told():
                return self._begin()
        except BaseException:
            self.abort()
            raise

    def _begin(self) -> FilesTarget | None:
        self._assert_ours()
        self._lock = self._staging.lock(self.epoch.run)
        failpoint("lake.locked")
        found = self._now()
        number = self._number(found)
        self._staging.fence()
        self._clear(found)
        self._assert_ours()
        if self._entry(found) is not None:
            raise self._conflict()
        if not self._may_load(found):
            self.abort()
            return None
        if found is not None:
            assert_fits(self.load, found, self.schema)
        self._cut = self._cuts(found)
        self._attempt = self._staging.attempt(number)
        failpoint("lake.attempt_made")
        return self._target(self._attempt)

    def _files_target(self, attempt: Attempt) -> FilesTarget:
        return FilesTarget(
            directory=str(attempt.staging),
            format="parquet",
            options=WriteOptions(compression=self.load.compression),
            max_bytes=self.load.max_file_size,
            schema=self.schema,
            parking=str(self._staging.parking(self.epoch.key)),
        )

    def _clear(self, found: V | None) -> None:
        self._staging.clear(self._number(found), lambda number: self._holder(found, number))

    def _may_load(self, found: V | None) -> bool:
        """`False` where the mode says that there is nothing to do."""
        if found is None or self.load.mode not in ("ignore", "error_if_exists") or not found.has_rows():
            return True
        if self.load.mode == "ignore":
            return False
        raise LoadError(
            f"the {self.load.kind} table {self.load.name} holds rows already and the mode is error_if_exists",
            hint="choose another mode (append, overwrite, upsert, insert_ignore, ignore) or table",
        )

    # The decision

    def commit(self, rows: int) -> LoadResult:
        attempt = self._attempt
        if attempt is None:
            raise RuntimeError("commit was called before begin")
        try:
            entry = self._decided(attempt, rows)
            with self._told():
                attempt.settle()
                if self._staging.has_attempts():
                    self._clear(self._now())
                remove_tree(self._staging.parking(self.epoch.key))
        finally:
            self.abort()
        failpoint("lake.finished")
        return self._result(entry)

    def _decided(self, attempt: Attempt, rows: int) -> Entry:
        try:
            with self._told():
                return self._commit(attempt, rows)
        except (BooksError, LoadError) as error:
            if attempt.is_fenced:
                raise self._conflict() from error
            raise

    def _commit(self, attempt: Attempt, rows: int) -> Entry:
        failpoint("lake.staged")
        if attempt.is_fenced:
            raise self._conflict()
        files = attempt.staged()
        if (counted := sum(file.stats.rows for file in files)) != rows:
            raise BooksError(
                f"{rows} rows went to {self.load.name}, but its staged files hold {counted}",
                hint="this is a fault of rayetl; nothing was committed",
            )
        if self.load.mode in KEYED:
            assert_keys(self.load, files, self._blank())
        for _ in range(TRIES):
            found = self._now()
            entry = self._next(found, attempt, files, rows)
            if self._written(found, attempt, files, entry):
                return self._entry(self._now()) or entry
        raise Retryable(
            f"other writers into the {self.load.kind} table {self.load.name} were faster {TRIES} times"
        )

    def _blank(self) -> Sequence[str]:
        """The columns in which an empty text is NULL to the table."""
        return ()

    def _next(self, found: V | None, attempt: Attempt, files: Sequence[StagedFile], rows: int) -> Entry:
        """The entry to be committed on top of this version. Raises what keeps it from being committed."""
        number = self._number(found)
        if self._entry(found) is not None or number != attempt.number:
            raise self._conflict()
        if not self._may_load(found) or self._cut != self._cuts(found):
            raise CommitConflict(
                f"the {self.load.kind} table {self.load.name} was made or cut anew by another writer at the "
                "same moment",
                hint="run again",
            )
        if found is not None:
            assert_fits(self.load, found, self.schema)
            assert_complete(self.load, found, files)
        size, seconds = sum(file.size for file in files), round(time.monotonic() - self._started, 6)
        return Entry(number + 1, "", self.epoch.run, attempt.token, rows, len(files), size, seconds)

    def _written(self, found: V | None, attempt: Attempt, files: Sequence[StagedFile], entry: Entry) -> bool:
        """Try the commit; `False` if another writer was faster, so that nothing was committed."""
        change = self._change(found, attempt, files)
        failpoint("lake.deciding")
        try:
            self._write(found, change, entry)
        except Exception as error:
            now = self._now()
            committed = self._entry(now)
            if committed is not None and committed.attempt == attempt.token:
                return True
            if not self._is_conflict(error) and not (found is None and now is not None):
                raise
        else:
            return True
        finally:
            failpoint("lake.decided")
        self._take_back(attempt, change)
        return False

    def _put_once(self, attempt: Attempt, files: Sequence[StagedFile]) -> None:
        """Give staged files their names in the table before the first try; they are good for every other."""
        if not self._is_put:
            self._is_put = True
            attempt.put(files)

    def _conflict(self) -> CommitConflict:
        return CommitConflict(
            f"another run has just committed into the {self.load.kind} table {self.load.name}",
            hint="run again: an epoch that is committed is recognised and skipped",
        )

    def abort(self) -> None:
        attempt, self._attempt = self._attempt, None
        lock, self._lock = self._lock, None
        try:
            # Whether files that have their names in the table are committed, the next attempt finds out.
            if attempt is not None and not self._is_put:
                attempt.remove()
        finally:
            if lock is not None:
                lock.release()

    def _result(self, entry: Entry) -> LoadResult:
        return LoadResult(
            load=self.epoch.load,
            type=self.load.type,
            location=self.load.name,
            mode=self.load.mode,
            status="committed" if entry.run == self.epoch.run else "skipped",
            rows=entry.rows,
            files=entry.files,
            bytes=entry.bytes,
            seconds=entry.seconds,
            epoch=self.epoch.key,
            run=entry.run,
        )
