"""What a reader takes from a prefix that a load of rayetl writes to: whole epochs, at any moment.

Between the decision of an epoch and the end of its completion, objects of it appear one by one, and objects
that it replaces go. The manifest names both, so a reader takes the state before or the one after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.commit.layout import CONTROL
from rayetl.connectors.commit.ledger import Manifest, manifest_name
from rayetl.connectors.places import S3
from rayetl.connectors.s3.faults import Missing
from rayetl.errors import Retryable, SourceError
from rayetl.records import dataclass

if TYPE_CHECKING:
    from rayetl.connectors.s3.account import S3Account

LOOKS = 5
"""How often a prefix is listed into which others commit meanwhile."""

Found = Sequence[dict[str, Any]]


def whole(account: S3Account, bucket: str, prefix: str) -> Found:
    """The objects below `prefix`, which ends with `/`, that make whole epochs, and all that is not ours.

    Raises `Retryable` where runs commit faster than it can be listed.
    """
    from rayetl.connectors.s3.listing import objects

    place = _Place(account, bucket, prefix)
    for _ in range(LOOKS):
        published = int(place.read(f"{CONTROL}/published") or 0)
        if (found := place.settled(list(objects(account, bucket, prefix)), published)) is not None:
            return found
    raise Retryable(
        f"runs commit into {place} faster than it can be listed",
        hint="read it when they have ended",
        endpoint=account.service,
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """A prefix that may be a load's."""

    account: S3Account
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{S3}{self.bucket}/{self.prefix}"

    def read(self, name: str) -> bytes | None:
        try:
            key = f"{self.prefix}{name}"
            return self.account.content(f"reading {self}{name}", Bucket=self.bucket, Key=key)[0]
        except Missing:
            return None

    def settled(self, found: Found, published: int) -> Found | None:
        """What of `found` makes whole epochs, where `published` was the last one in place before it was
        listed; `None` if it changed while it was listed."""
        epochs = f"{CONTROL}/epochs/"
        names = {str(each["Key"]).removeprefix(self.prefix) for each in found}
        manifests = [name for name in names if name.startswith(epochs) and name.endswith(".json")]
        if not manifests:
            return found
        head = max(manifests)
        number = len(manifests)
        if self.read(f"{epochs}{manifest_name(number + 1)}") is not None:
            return None
        if published >= number:
            return found
        hidden = self._hidden(head, names)
        if hidden is None:
            return None
        return [each for each in found if str(each["Key"]).removeprefix(self.prefix) not in hidden]

    def _hidden(self, head: str, names: set[str]) -> set[str] | None:
        """The names that are not to be seen of an epoch that is being completed; `None` if what it replaces
        is going already though not all of it was seen."""
        manifest = self._manifest(head)
        files, replaced = {file.path for file in manifest.files}, set(manifest.removes)
        if files <= names:
            return replaced
        return files if replaced <= names else None

    def _manifest(self, name: str) -> Manifest:
        try:
            return Manifest.from_bytes(self.read(name) or b"")
        except (ValueError, TypeError, KeyError) as error:
            raise SourceError(f"{self}{name} is damaged", hint="restore it from a backup") from error
