"""One epoch of one load into a bucket: staged here, sent and held back, decided by one conditional request.

Files are sent as uploads that are not completed, then the manifest is entered into the ledger under the next
number if that is still free, which decides, and then the uploads are completed. A run that is killed before
the decision leaves nothing that anybody sees; one that is killed after it is completed by the next.
"""

from __future__ import annotations

import time
from dataclasses import field, replace

from rayetl.connectors.base import FilesTarget, LoadResult
from rayetl.connectors.commit.epochs import LedgerSession, SaveMode
from rayetl.connectors.commit.layout import Attempt
from rayetl.connectors.commit.ledger import DataFile, Ledger, Manifest
from rayetl.connectors.commit.lock import Lock
from rayetl.connectors.commit.publish import remove_tree, unless_overtaken
from rayetl.connectors.s3.desk import Desk
from rayetl.connectors.s3.sending import send
from rayetl.connectors.s3.target import S3Target
from rayetl.errors import CommitConflict, LoadError
from rayetl.failpoints import failpoint
from rayetl.records import dataclass


@dataclass(slots=True)
class S3Session(LedgerSession):
    """A `LedgerSession` for a bucket; `staging` is where files wait on this machine."""

    place: S3Target
    staging: str
    _desk: Desk = field(init=False)
    _lock: Lock | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._desk = Desk.of(self.staging, str(self.place))

    @property
    def where(self) -> str:
        return str(self.place)

    def committed(self) -> LoadResult | None:
        ledger = self.place.ledger()
        manifest = ledger.find(self.epoch)
        if manifest is None:
            return None
        if manifest in ledger.unpublished:
            self.place.publish(manifest)
        # A commit whose answer was lost is this run's own all the same.
        return manifest.result(self.place, self.epoch.run)

    def begin(self) -> FilesTarget | None:
        self._started = time.monotonic()
        try:
            return self._begin()
        except OSError as error:
            self.abort()
            raise self._untold(error) from error
        except BaseException:
            self.abort()
            raise

    def _begin(self) -> FilesTarget | None:
        self._lock = self._desk.lock(self.epoch.run)
        failpoint("s3.locked")
        self._ledger = self._recovered()
        if not self._may_stage():
            self.abort()
            return None
        if not self._ledger.manifests:
            self.place.assert_conditional()
        self._attempt = self._desk.attempt(self._ledger.head + 1)
        failpoint("s3.attempt_made")
        parking = self._desk.parking(self.epoch.mark)
        self.target = replace(self.target, directory=str(self._attempt.data), parking=str(parking))
        return self.target

    def _recovered(self) -> Ledger:
        """The ledger, after what others have decided is completed."""
        ledger = self.place.ledger()
        for manifest in ledger.unpublished:
            self.place.publish(manifest)
            failpoint("s3.rolled_forward")
        self._desk.clear(ledger)
        failpoint("s3.cleared")
        return replace(ledger, published=ledger.head)

    def _has_data(self) -> bool:
        return bool(self._ledger.manifests) or next(self.place.data(), None) is not None

    def commit(self, rows: int) -> LoadResult:
        if self._attempt is None:
            raise RuntimeError("commit was called before begin")
        try:
            manifest = self._decided(self._attempt, rows)
            self.place.publish(manifest)
            remove_tree(self._attempt.directory)
        except OSError as error:
            raise self._untold(error) from error
        finally:
            self.abort()
        failpoint("s3.finished")
        return manifest.result(self.place, self.epoch.run)

    def _decided(self, attempt: Attempt, rows: int) -> Manifest:
        failpoint("s3.staged")
        with unless_overtaken(attempt):
            staged, counted = self._staged(attempt, rows)
            names = [self._published_name(attempt, index, name) for index, name in enumerate(staged)]
            paths = [attempt.data / name for name in staged]
            uploads = send(self.place, list(zip(paths, names, strict=True)))
        failpoint("s3.sent")
        try:
            sizes = [path.stat().st_size for path in paths]
            files = tuple(map(DataFile, uploads, names, sizes, counted))
            removes = tuple(self.place.data()) if self.mode is SaveMode.OVERWRITE else ()
            manifest = self._manifest(attempt, rows, files, removes)
            failpoint("s3.before_decision")
        except BaseException:
            self.place.give_up(zip(names, uploads, strict=True))
            raise
        try:
            self.place.decide(manifest)
        except CommitConflict:
            # After any other fault it may be decided all the same: the uploads are then left to the ledger.
            self.place.give_up(zip(names, uploads, strict=True))
            raise
        failpoint("s3.decided")
        return manifest

    def abort(self) -> None:
        attempt, self._attempt = self._attempt, None
        lock, self._lock = self._lock, None
        try:
            if attempt is not None:
                remove_tree(attempt.directory)
        finally:
            if lock is not None:
                lock.release()

    def _untold(self, error: OSError) -> LoadError:
        return LoadError(
            f"cannot stage for {self.place}: {error.strerror or error} ({error.filename or self.staging})",
            hint="mend the cause and run again; `s3.staging` names another directory",
        )
