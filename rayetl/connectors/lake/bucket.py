"""A table below a prefix of a bucket: its files are staged on this machine and sent.

Before an attempt sends files it notes their names below the table, so that any machine can take them back
once another attempt has committed the epoch. Nobody sees them before: readers ask the table's log.

    _rayetl/<load>/00000002-9f3c01ab.json    what the attempt 9f3c01ab at the epoch after number 2 sends
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson

from rayetl.connectors.base import Epoch
from rayetl.connectors.lake.staging import CONTROL, Shelf, StagedFile, Staging, scope_of
from rayetl.connectors.s3.sending import send_whole
from rayetl.connectors.s3.target import S3Target
from rayetl.failpoints import failpoint
from rayetl.records import dataclass

_NOTE = ".json"


def staging(target: S3Target, here: str, epoch: Epoch, data: str = "") -> Staging:
    """The staging of a load into the table `target`, below the directory `here` of this machine; `data` as in
    `Staging`."""
    scope, table = scope_of(epoch), str(target)
    root = Path(here).absolute() / hashlib.sha256(table.encode()).hexdigest()[:16]
    return Staging(root, scope, Bucket(target, scope), table, data)


@dataclass(frozen=True, slots=True)
class Bucket(Shelf):
    """See `Shelf`. `scope` is the short name of the load."""

    target: S3Target
    scope: str

    @property
    def _notes(self) -> str:
        return f"{CONTROL}/{self.scope}/"

    def _note(self, attempt: str) -> str:
        return f"{self._notes}{attempt}{_NOTE}"

    def put(self, attempt: str, files: Sequence[StagedFile]) -> None:
        self.target.write(self._note(attempt), orjson.dumps([file.place.as_posix() for file in files]))
        failpoint("lake.noted")
        send_whole(self.target, [(file.source, file.place.as_posix()) for file in files])
        failpoint("lake.linked")

    def take_back(self, attempt: str, places: Iterable[Path]) -> None:
        del attempt
        names = {place.as_posix() for place in places}
        self.target.abort((name, upload) for name, upload in self.target.uploads() if name in names)
        self.target.at_once(self.target.remove, sorted(names))

    def left(self) -> dict[str, list[Path]]:
        found = {}
        for name in list(self.target.names(self._notes)):
            # Another run may clear it at the same time.
            if (data := self.target.read(name)) is not None:
                attempt = name.removeprefix(self._notes).removesuffix(_NOTE)
                found[attempt] = [Path(place) for place in orjson.loads(data)]
        return found

    def forget(self, attempt: str) -> None:
        self.target.remove(self._note(attempt))
