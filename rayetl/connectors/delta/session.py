"""One epoch of one load into a Delta table: files are staged, then one commit of the log names them.

The commit is optimistic and tried once: if anybody has committed since the version that was looked at, the
new version is looked at, and judged anew, before the next try. So what was found out about the table (that
the epoch is not in it, that no other attempt of the load was faster, that the rows fit) holds at the very
moment of the commit. A commit whose outcome is unknown is looked up by its attempt's token.
"""

from __future__ import annotations

import time
from dataclasses import field

from rayetl.connectors.base import Epoch, FilesTarget, LoadResult, LoadSession
from rayetl.connectors.commit.lock import Lock
from rayetl.connectors.commit.publish import remove_tree
from rayetl.connectors.delta.fitting import assert_fits
from rayetl.connectors.delta.ledger import Entry, Ledger
from rayetl.connectors.delta.load import KEYED, DeltaLoad
from rayetl.connectors.delta.staging import Attempt, StagedFile, Staging
from rayetl.connectors.delta.table import DeltaVersion, told
from rayetl.connectors.delta.writing import assert_complete, assert_keys, write
from rayetl.connectors.files_load import WriteOptions
from rayetl.errors import BooksError, CommitConflict, LoadError, Retryable
from rayetl.failpoints import failpoint
from rayetl.records import dataclass
from rayetl.sql.types import Schema

TRIES = 50
"""Commits that are tried while other writers keep coming in between."""


@dataclass(slots=True)
class DeltaSession(LoadSession):
    """See `LoadSession`."""

    load: DeltaLoad
    epoch: Epoch
    schema: Schema
    _staging: Staging = field(init=False)
    _ledger: Ledger = field(init=False)
    _lock: Lock | None = field(init=False, default=None)
    _attempt: Attempt | None = field(init=False, default=None)
    _linked: bool = field(init=False, default=False)
    _partition_by: tuple[str, ...] = field(init=False, default=())
    _started: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._staging = Staging.of(self.load.path, self.epoch)
        self._ledger = Ledger(self.epoch)

    def committed(self) -> LoadResult | None:
        with told(self.load.path, LoadError):
            entry = self._entry(self._now())
        # A commit whose answer was lost is this run's own all the same.
        return None if entry is None else self._result(entry, skipped=entry.run != self.epoch.run)

    def begin(self) -> FilesTarget | None:
        self._started = time.monotonic()
        try:
            with told(self.load.path, LoadError):
                return self._begin()
        except BaseException:
            self.abort()
            raise

    def _begin(self) -> FilesTarget | None:
        self._assert_ours()
        self._lock = self._staging.lock(self.epoch.run)
        failpoint("delta.locked")
        found = self._now()
        number = self._ledger.number(found)
        self._staging.recover(number)
        self._assert_ours()
        if self._entry(found) is not None:
            raise self._conflict()
        if not self._may_load(found):
            self.abort()
            return None
        if found is not None:
            assert_fits(self.load, found, self.schema)
        self._partition_by = self._partitions(found)
        self._attempt = self._staging.attempt(number)
        failpoint("delta.attempt_made")
        return self._target(self._attempt)

    def _target(self, attempt: Attempt) -> FilesTarget:
        return FilesTarget(
            directory=str(attempt.data),
            format="parquet",
            options=WriteOptions(compression=self.load.compression),
            partition_by=self._partition_by,
            max_bytes=self.load.max_file_size,
            schema=self.schema,
            parking=str(self._staging.parking(self.epoch.key)),
        )

    def _partitions(self, found: DeltaVersion | None) -> tuple[str, ...]:
        """By which columns the files are cut; a merge cuts them itself."""
        if found is not None and self.load.mode in KEYED:
            return ()
        names = self.load.partition_by if found is None else found.partition_by
        return tuple(column.name for name in names if (column := self.schema.get(name)))

    def _now(self) -> DeltaVersion | None:
        return DeltaVersion.open(self.load.path, LoadError)

    def _entry(self, found: DeltaVersion | None) -> Entry | None:
        return self._ledger.find(found, standing=self.load.mode == "overwrite")

    def _assert_ours(self) -> None:
        """Raises `LoadError` for a directory with files that belong to no table."""
        root = self._staging.root
        if root.exists() and not root.is_dir():
            raise LoadError(f"{root} is a file; a Delta table is a directory", hint="choose another path")
        if (root / "_delta_log").is_dir() or self._staging.has_attempts():
            return
        others = [path.name for path in root.glob("*") if not path.name.startswith(("_", "."))]
        if others:
            raise LoadError(
                f"{root} holds files that belong to no Delta table, as {others[0]}",
                hint="choose an empty directory or one that does not exist",
            )

    def _may_load(self, found: DeltaVersion | None) -> bool:
        """`False` where the mode says that there is nothing to do."""
        if found is None or self.load.mode not in ("ignore", "error_if_exists") or not found.files():
            return True
        if self.load.mode == "ignore":
            return False
        raise LoadError(
            f"the Delta table {self.load.path} holds rows already and the mode is error_if_exists",
            hint="choose another mode (append, overwrite, upsert, insert_ignore, ignore) or path",
        )

    # The decision

    def commit(self, rows: int) -> LoadResult:
        if self._attempt is None:
            raise RuntimeError("commit was called before begin")
        try:
            with told(self.load.path, LoadError):
                entry = self._commit(self._attempt, rows)
                self._attempt.remove()
                remove_tree(self._staging.parking(self.epoch.key))
        except (BooksError, LoadError) as error:
            if self._attempt.is_fenced:
                raise self._conflict() from error
            raise
        finally:
            self.abort()
        failpoint("delta.finished")
        return self._result(entry, skipped=False)

    def _commit(self, attempt: Attempt, rows: int) -> Entry:
        failpoint("delta.staged")
        files = attempt.staged()
        if (counted := sum(file.stats.rows for file in files)) != rows:
            raise BooksError(
                f"{rows} rows went to {self.load.path}, but its staged files hold {counted}",
                hint="this is a fault of rayetl; nothing was committed",
            )
        if self.load.mode in KEYED:
            assert_keys(self.load, files)
        for _ in range(TRIES):
            found = self._now()
            entry = self._next(found, attempt, files, rows)
            if self._written(found, attempt, files, entry):
                return self._entry(self._now()) or entry
        raise Retryable(f"other writers into the Delta table {self.load.path} were faster {TRIES} times")

    def _next(
        self, found: DeltaVersion | None, attempt: Attempt, files: list[StagedFile], rows: int
    ) -> Entry:
        """The entry to be committed on top of this version. Raises what keeps it from being committed."""
        number = self._ledger.number(found)
        if self._entry(found) is not None or number != attempt.number:
            raise self._conflict()
        if not self._may_load(found) or self._partition_by != self._partitions(found):
            raise CommitConflict(
                f"the Delta table {self.load.path} was made by another writer at the same moment",
                hint="run again",
            )
        if found is not None:
            assert_fits(self.load, found, self.schema)
            assert_complete(self.load, found, files)
        size, seconds = sum(file.size for file in files), round(time.monotonic() - self._started, 6)
        return Entry(number + 1, "", self.epoch.run, attempt.token, rows, len(files), size, seconds)

    def _written(
        self, found: DeltaVersion | None, attempt: Attempt, files: list[StagedFile], entry: Entry
    ) -> bool:
        """Try the commit; `False` if another writer was faster, so that nothing was committed."""
        from deltalake.exceptions import CommitFailedError, DeltaError

        if not self._linked and (found is None or self.load.mode not in KEYED):
            self._linked = True
            attempt.link(files)
        failpoint("delta.deciding")
        try:
            write(self.load, found, self.schema, files, self._ledger.entered(entry))
        except (DeltaError, OSError) as error:
            committed = self._entry(self._now())
            if committed is not None and committed.attempt == attempt.token:
                return True
            if isinstance(error, CommitFailedError) or (found is None and self._now() is not None):
                return False
            raise
        finally:
            failpoint("delta.decided")
        return True

    def _conflict(self) -> CommitConflict:
        return CommitConflict(
            f"another run has just committed into the Delta table {self.load.path}",
            hint="run again: an epoch that is committed is recognised and skipped",
        )

    def abort(self) -> None:
        attempt, self._attempt = self._attempt, None
        # Whether files that have their names in the table are committed is for the next attempt to find out.
        if attempt is not None and not self._linked:
            attempt.remove()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _result(self, entry: Entry, *, skipped: bool) -> LoadResult:
        return LoadResult(
            load=self.epoch.load,
            type="delta",
            location=str(self._staging.root),
            mode=self.load.mode,
            status="skipped" if skipped else "committed",
            rows=entry.rows,
            files=entry.files,
            bytes=entry.bytes,
            seconds=entry.seconds,
            epoch=self.epoch.key,
        )
