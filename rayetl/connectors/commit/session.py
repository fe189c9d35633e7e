"""One epoch of one load into a local directory: stage, decide, publish, and recover what others left."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field, replace
from pathlib import Path

from rayetl.connectors.base import FilesTarget, LoadResult
from rayetl.connectors.commit.durable import cannot_exchange, sync
from rayetl.connectors.commit.epochs import LedgerSession
from rayetl.connectors.commit.layout import Attempt, Layout, data_files
from rayetl.connectors.commit.ledger import DataFile, Ledger, Manifest
from rayetl.connectors.commit.lock import Lock
from rayetl.connectors.commit.publish import (
    build_next,
    commit_by_exchange,
    commit_in_place,
    publish,
    remove_tree,
    rescue_strays,
    settle_exchange,
    unless_overtaken,
    write_manifest,
)
from rayetl.connectors.commit.writeback import Writeback
from rayetl.errors import CommitConflict, LoadError
from rayetl.failpoints import failpoint
from rayetl.records import dataclass

_SYNCS = 16
"""Files that are forced to disk at a time: a journal takes many together in the time of one."""

FORGOTTEN = 7 * 24 * 3600.0
"""Seconds after which finished parts of an epoch are no longer waited for."""


@dataclass(slots=True)
class DirectorySession(LedgerSession):
    """A `LedgerSession` for local directories."""

    path: str
    _layout: Layout = field(init=False)
    _lock: Lock | None = field(init=False, default=None)
    _made: list[Path] = field(init=False, default_factory=list)
    _writeback: Writeback | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        with _told(self.path):
            self._layout = Layout.of(self.path)

    @property
    def where(self) -> str:
        return str(self._layout.root)

    def committed(self) -> LoadResult | None:
        with _told(self.path):
            try:
                ledger = self._read_ledger()
            except LoadError:
                if not self._layout.lock.is_file():
                    raise
                ledger = self._read_locked()
            manifest = ledger.find(self.epoch)
            if manifest is None:
                return None
            if manifest in ledger.unpublished:
                try:
                    self._recover()
                finally:
                    self._release()
            # A commit whose answer was lost is this run's own all the same.
            return manifest.result(self._layout.root, self.epoch.run)

    def begin(self) -> FilesTarget | None:
        self._started = time.monotonic()
        with _told(self.path):
            try:
                return self._begin()
            except FileNotFoundError as error:
                self.abort()
                raise CommitConflict(
                    f"another run changed {self._layout.root} at the same moment",
                    hint="run again: what it committed is recognised",
                ) from error
            except BaseException:
                self.abort()
                raise

    def _begin(self) -> FilesTarget | None:
        self._recover()
        if not self._may_stage():
            self.abort()
            return None
        self._attempt = self._layout.new_attempt(self._ledger.head + 1)
        failpoint("stage.attempt_made")
        parking = self._layout.parking(self.epoch.mark)
        self.target = replace(self.target, directory=str(self._attempt.data), parking=str(parking))
        self._writeback = Writeback(self._attempt.data)
        return self.target

    def commit(self, rows: int) -> LoadResult:
        if self._attempt is None:
            raise RuntimeError("commit was called before begin")
        self._stop_writeback()
        with _told(self.path):
            try:
                with unless_overtaken(self._attempt):
                    manifest = self._described(self._attempt, rows)
                self._decide(self._attempt, manifest)
            except BaseException:
                self.abort()
                raise
        return manifest.result(self._layout.root, self.epoch.run)

    def abort(self) -> None:
        try:
            self._stop_writeback()
            attempt, self._attempt = self._attempt, None
            if attempt is not None:
                remove_tree(attempt.directory)
                failpoint("abort.removed")
            if self._lock is not None:
                self._remove_made()
        finally:
            self._release()

    def _stop_writeback(self) -> None:
        if self._writeback is not None:
            self._writeback.stop()
            self._writeback = None

    def _read_ledger(self) -> Ledger:
        self._assert_directory()
        return Ledger.read(self._layout.epochs, self._layout.published)

    def _read_locked(self) -> Ledger:
        """The ledger while nobody commits: a reader without the lock may see half of an exchange."""
        self._lock = Lock.acquire(self._layout.lock, self.epoch.run)
        try:
            return self._read_ledger()
        finally:
            self._release()

    def _has_data(self) -> bool:
        return bool(self._ledger.manifests) or any(data_files(self._layout.root))

    def _recover(self) -> None:
        """Take the lock, fence dead attempts, complete what they decided, and clear the rest."""
        self._lock = self._take_lock()
        failpoint("recover.locked")
        dead = {}
        for attempt in self._layout.attempts():
            dead[attempt.token] = attempt.fence()
            failpoint("recover.fenced")
        self._ledger = self._read_ledger()
        for manifest in self._ledger.unpublished:
            lost = Attempt(self._layout.control / f"lost-{manifest.attempt}", manifest.attempt)
            publish(self._layout, dead.get(manifest.attempt, lost), manifest)
            failpoint("recover.rolled_forward")
        for attempt in dead.values():
            if self._ledger.manifests and self._ledger.manifests[0].attempt == attempt.token:
                self._rescue(attempt, self._ledger.manifests[0])
            remove_tree(attempt.directory)
            failpoint("recover.cleared")
        self._clear_parkings()

    def _clear_parkings(self) -> None:
        """Remove finished parts of epochs that are committed, and of those that nobody came back to."""
        for mark, parking in self._layout.parkings():
            if mark in self._ledger.standing or time.time() - parking.stat().st_mtime > FORGOTTEN:
                remove_tree(parking)

    def _take_lock(self) -> Lock:
        while True:
            self._make_root()
            try:
                return Lock.acquire(self._layout.lock, self.epoch.run)
            except FileNotFoundError:
                # A run that gave up has just removed the directories it had made.
                continue

    def _rescue(self, attempt: Attempt, manifest: Manifest) -> None:
        if attempt.next.is_dir() and not manifest.replaces:
            rescue_strays(self._layout, attempt)

    def _assert_directory(self) -> None:
        root, control = self._layout.root, self._layout.control
        if root.exists() and not root.is_dir():
            raise LoadError(f"{root} is a file; a files load writes a directory", hint="choose another path")
        if control.is_symlink():
            raise LoadError(f"{control} is a symbolic link; the ledger must lie in the target itself")

    def _make_root(self) -> None:
        self._assert_directory()
        root, control = self._layout.root, self._layout.control
        for directory in (*reversed(root.parents), root, control, self._layout.epochs):
            if not directory.exists():
                self._make(directory)
                self._made.append(directory)

    def _make(self, directory: Path) -> None:
        try:
            directory.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            if not directory.parent.is_dir():
                raise
            raise LoadError(
                f"the file system of {directory.parent} makes no directories", hint="choose another path"
            ) from error

    def _remove_made(self) -> None:
        """Take back the directories this session made, if they stayed empty of everything but the lock."""
        held = self._lock is not None and self._lock.is_held
        empty = held and not any(self._layout.epochs.iterdir()) and not any(data_files(self._layout.root))
        if empty and self._layout.control in self._made:
            self._layout.lock.unlink(missing_ok=True)
            for directory in reversed(self._made):
                try:
                    directory.rmdir()
                except OSError:
                    break
        self._made.clear()

    def _described(self, attempt: Attempt, rows: int) -> Manifest:
        """Make the staged files durable and describe them."""
        failpoint("stage.written")
        with ThreadPoolExecutor(_SYNCS) as beside:
            durable = beside.map(sync, self._undurable(attempt))
            staged, counted = self._staged(attempt, rows)
            failpoint("stage.counted")
            list(durable)
        failpoint("stage.synced")
        files = (
            DataFile(
                staged=name.as_posix(),
                path=self._published_name(attempt, index, name),
                bytes=(attempt.data / name).stat().st_size,
                rows=counted[index],
            )
            for index, name in enumerate(staged)
        )
        return self._manifest(attempt, rows, tuple(files))

    def _undurable(self, attempt: Attempt) -> list[Path]:
        """What is staged, the name of the attempt, which a decided epoch is completed from, and where a first
        epoch goes: one who made the directories may have been killed before he had forced them to disk."""
        staged = [
            Path(directory, name) for directory, _, names in os.walk(attempt.data) for name in (*names, "")
        ]
        new = () if self._ledger.manifests else (self._layout.control, self._layout.epochs)
        return [*staged, *{directory.parent for directory in (attempt.directory, *self._made, *new)}]

    def _decide(self, attempt: Attempt, manifest: Manifest) -> None:
        """Commit, publish and let go. Past the decision nothing is undone: what fails is completed by the
        next run."""
        one_step = len(manifest.files) <= 1 and not manifest.replaces
        if not one_step and self._layout.swap and self._swapped(attempt, manifest):
            settle_exchange(self._layout, attempt, manifest)
            self._finish(attempt)
            return
        if manifest.replaces:
            old = tuple(name.as_posix() for name in data_files(self._layout.root))
            manifest = replace(manifest, removes=old)
        write_manifest(attempt, manifest)
        with self._deciding(attempt):
            commit_in_place(self._layout, attempt, manifest)
        failpoint("commit.decided")
        publish(self._layout, attempt, manifest)
        self._finish(attempt)

    def _swapped(self, attempt: Attempt, manifest: Manifest) -> bool:
        """Commit by exchanging directories; `False`, and nothing done, where that cannot be."""
        try:
            build_next(self._layout, attempt, manifest)
            with self._deciding(attempt):
                commit_by_exchange(self._layout, attempt)
        except OSError as error:
            if not cannot_exchange(error):
                raise
            remove_tree(attempt.next)
            return False
        return True

    @contextlib.contextmanager
    def _deciding(self, attempt: Attempt) -> Iterator[None]:
        """Around the deciding call: unless it says that it failed, nobody may remove the attempt's files."""
        self._attempt = None
        try:
            yield
        except (OSError, CommitConflict):
            self._attempt = attempt
            raise

    def _finish(self, attempt: Attempt) -> None:
        self._attempt = None
        remove_tree(attempt.directory)
        failpoint("commit.cleared")
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class _told:  # noqa: N801
    """Turns an `OSError` from the file system into a sentence for the user."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            name = error.filename2 or error.filename or self.path
            cause = (
                "allow more open files (ulimit -n), or let a column with fewer values make partitions,"
                if error.errno == errno.EMFILE or f"os error {errno.EMFILE})" in str(error)
                else "mend the cause"
            )
            raise LoadError(
                f"cannot load into {self.path}: {error.strerror or error} ({os.fsdecode(name)})",
                hint=f"{cause} and run again: the load is then completed or begun anew, never both",
            ) from error
