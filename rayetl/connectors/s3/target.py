"""The place of a load in a bucket: its ledger, its files, and uploads that are held back until a commit.

    daily/part-000001-9c96d0aa-00000.parquet   data: numbers of epoch and file, token of the attempt
    daily/_rayetl/epochs/000001.json           the ledger: one manifest for each committed epoch
    daily/_rayetl/published                    the last epoch whose files are all there

An upload that is not completed is no object: nobody sees it, and nothing has to be renamed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from rayetl.connectors.commit.layout import CONTROL, is_hidden
from rayetl.connectors.commit.ledger import DataFile, Ledger, Manifest, damaged, manifest_name
from rayetl.connectors.places import S3
from rayetl.connectors.s3.account import S3Account
from rayetl.connectors.s3.faults import Missing, Precondition
from rayetl.connectors.s3.listing import objects
from rayetl.errors import CommitConflict, LoadError, Retryable, RunError
from rayetl.failpoints import failpoint
from rayetl.records import dataclass

S = TypeVar("S")
T = TypeVar("T")

THREADS = 8
"""Requests at once."""

_OURS = re.compile(r"part-(\d{6})-[0-9a-f]{8}-\d{5,}\.")


@dataclass(frozen=True, slots=True)
class S3Target:
    """What lies below `prefix` in a bucket. `protection` are the parameters by which the service encrypts."""

    account: S3Account
    bucket: str
    prefix: str
    protection: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{S3}{self.bucket}/{self.prefix}"

    def call(self, operation: str, doing: str, **parameters: Any) -> dict[str, Any]:
        """See `S3Account.call`; faults are `LoadError`s."""
        return self.account.call(operation, doing, LoadError, Bucket=self.bucket, **parameters)

    def key(self, name: str) -> str:
        """The key of an object by its name in the target."""
        return f"{self.prefix}/{name}"

    def names(self, below: str = "") -> Iterator[str]:
        """The names in the target of all objects."""
        for found in objects(self.account, self.bucket, self.key(below), LoadError):
            yield str(found["Key"]).removeprefix(self.key(""))

    def data(self) -> Iterator[str]:
        """The names of all objects that readers do not pass over."""
        return (
            name for name in self.names() if not any(map(is_hidden, name.split("/"))) and name[-1:] != "/"
        )

    # The ledger

    def ledger(self) -> Ledger:
        """Read and verify the ledger. Raises `LoadError` naming the damaged object."""
        # The marker first: a run at work meanwhile can only add manifests to those it speaks of.
        published = self._published()
        head, newest = published, self._manifest(published) if published else None
        while (later := self._manifest(head + 1)) is not None:
            head, newest = head + 1, later

        def contents(numbers: Sequence[int]) -> Iterator[bytes | None]:
            yield newest if numbers[0] == head else self._manifest(numbers[0])
            yield from self.at_once(self._manifest, numbers[1:])

        # Nobody commits on top of an epoch that is not published.
        return Ledger.follow(head, max(published, head - 1), f"{self}/{CONTROL}/epochs", contents)

    def _manifest(self, number: int) -> bytes | None:
        return self.read(f"{CONTROL}/epochs/{manifest_name(number)}")

    def _published(self) -> int:
        data = self.read(f"{CONTROL}/published")
        try:
            return int(data or 0)
        except ValueError as error:
            raise damaged(f"{self}/{CONTROL}/published", "it does not hold a number") from error

    def read(self, name: str) -> bytes | None:
        """The bytes of an object, `None` if there is none of that name."""
        try:
            doing = f"reading {self}/{name}"
            return self.account.content(doing, LoadError, Bucket=self.bucket, Key=self.key(name))[0]
        except Missing:
            return None

    def decide(self, manifest: Manifest) -> None:
        """Enter the manifest into the ledger: the one request that decides.

        Raises `CommitConflict` where another attempt has taken its number; `Retryable` where nobody knows
        whether it was entered.
        """
        name = f"{CONTROL}/epochs/{manifest_name(manifest.number)}"
        try:
            self.write(name, manifest.to_bytes(), IfNoneMatch="*")
        except (Precondition, Retryable) as error:
            # A request that was sent again meets its own work, and one without an answer may have done it.
            there = self.read(name)
            if there == manifest.to_bytes():
                return
            if there is None and isinstance(error, Retryable):
                raise
            raise self.overtaken() from None

    def overtaken(self) -> CommitConflict:
        """What is said to a run whose number another one has taken."""
        return CommitConflict(
            f"another run has just committed into {self}",
            hint="run again: an epoch that is committed is recognised and skipped",
        )

    def write(self, name: str, data: bytes, **more: str) -> None:
        """Make an object; `more` are further parameters of the request."""
        self.call(
            "put_object",
            f"writing {self}/{name}",
            Key=self.key(name),
            Body=data,
            **dict(self.protection),
            **more,
        )

    def assert_conditional(self) -> None:
        """Raise `LoadError` for a service that lets two writers make the same object: it could not tell which
        of two runs has committed."""
        name = f"{CONTROL}/conditional"
        for _ in range(2):
            try:
                self.write(name, b"", IfNoneMatch="*")
            except Precondition:
                return
        raise LoadError(
            f"{self.account.service} ignores the condition If-None-Match, so that two runs could both commit",
            hint="use a service that knows it, as AWS S3 does, or load elsewhere",
        )

    # Uploads

    def begin_upload(self, name: str) -> str:
        """Begin an upload that is held back; its id."""
        doing = f"beginning to write {self}/{name}"
        return str(
            self.call("create_multipart_upload", doing, Key=self.key(name), **dict(self.protection))[
                "UploadId"
            ]
        )

    def publish(self, manifest: Manifest) -> None:
        """Complete the uploads of a committed epoch, remove what it replaces and what is dead; may be
        repeated from any point on. Raises `LoadError` for a file that is neither uploaded nor there."""
        self.at_once(lambda file: self._complete(file, manifest.number), manifest.files)
        failpoint("s3.completed")
        self.at_once(self.remove, manifest.removes)
        failpoint("s3.removed_old")
        self._abort_dead(manifest)
        failpoint("s3.dead_aborted")
        self.write(f"{CONTROL}/published", str(manifest.number).encode())
        failpoint("s3.marked")

    def _complete(self, file: DataFile, number: int) -> None:
        failpoint("s3.before_complete")
        there = self.complete(file.path, file.staged, file.bytes)
        # Where another run has published this epoch, a later one may have replaced it since.
        if not there and self._published() < number:
            raise self._lost(file, number)
        failpoint("s3.completed_one")

    def complete(self, name: str, upload_id: str, size: int) -> bool:
        """Complete an upload of `size` bytes, which may be done already; `False` where neither it nor what it
        would become is there."""
        doing = f"completing {self}/{name}"
        upload = {"Key": self.key(name), "UploadId": upload_id}
        try:
            parts = list(self._parts(doing, upload))
            if sum(part["Size"] for part in parts) != size:
                return False
            kept = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]
            self.call("complete_multipart_upload", doing, MultipartUpload={"Parts": kept}, **upload)
        except Missing:
            # It was completed already, by this request before its answer was lost or by another run.
            return self._size(name) == size
        return True

    def _parts(self, doing: str, upload: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        after = 0
        while True:
            found = self.call("list_parts", doing, PartNumberMarker=after, **upload)
            yield from found.get("Parts", ())
            if not found.get("IsTruncated"):
                return
            after = int(found["NextPartNumberMarker"])

    def _size(self, name: str) -> int | None:
        # From a listing: what is wrong with a request for the head of an object, no service says.
        first = next(objects(self.account, self.bucket, self.key(name), LoadError, MaxKeys=1), None)
        return int(first["Size"]) if first is not None and first["Key"] == self.key(name) else None

    def _lost(self, file: DataFile, number: int) -> LoadError:
        manifest = f"{CONTROL}/epochs/{manifest_name(number)}"
        return LoadError(
            f"{self}/{file.path} belongs to a committed epoch, but neither it nor its whole upload is there",
            hint="does a rule of the bucket drop uploads that are not completed? To load the epoch anew, "
            f"remove the objects part-{number:06d}-* and then {self}/{manifest}",
        )

    def remove(self, name: str) -> None:
        """Remove an object; one that is gone already is fine."""
        with suppress(Missing):
            self.call("delete_object", f"removing {self}/{name}", Key=self.key(name))
        failpoint("s3.removed_one")

    def _abort_dead(self, manifest: Manifest) -> None:
        """Uploads of attempts that cannot commit any more: their number is taken."""
        alive = {file.staged for file in manifest.files}
        self.abort(
            (name, upload)
            for name, upload in self.uploads()
            if (ours := _OURS.match(name.rpartition("/")[2]))
            and int(ours[1]) <= manifest.number
            and upload not in alive
        )

    def abort(self, uploads: Iterable[tuple[str, str]]) -> None:
        """Drop uploads by name and id; one that is gone already is fine."""
        self.at_once(self._drop, list(uploads))

    def _drop(self, upload: tuple[str, str]) -> None:
        name, found = upload
        with suppress(Missing):
            self.call("abort_multipart_upload", f"dropping {self}/{name}", Key=self.key(name), UploadId=found)
        failpoint("s3.dropped")

    def give_up(self, uploads: Iterable[tuple[str, str]]) -> None:
        """Drop what an attempt has begun; where the service cannot be asked, a later commit does it."""
        with suppress(RunError):
            self.abort(uploads)

    def uploads(self) -> Iterator[tuple[str, str]]:
        """Name and id of the uploads that are not completed."""
        asked: dict[str, Any] = {"Prefix": self.key("")}
        while True:
            found = self.call("list_multipart_uploads", f"looking for uploads in {self}", **asked)
            for upload in found.get("Uploads", ()):
                yield str(upload["Key"]).removeprefix(self.key("")), str(upload["UploadId"])
            if not found.get("IsTruncated"):
                return
            asked |= {"KeyMarker": found["NextKeyMarker"], "UploadIdMarker": found["NextUploadIdMarker"]}

    def at_once(self, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """What `work` makes of the items, several at once. After a fault, which is raised, none is begun."""
        if len(items) < 2:
            return [work(item) for item in items]
        with ThreadPoolExecutor(THREADS, "s3") as pool:
            return list(pool.map(work, items))
