"""Where the files of a load wait on this machine before they are sent: a directory for each target.

    .rayetl/staging/<target>/lock                held by the one run here that loads into the target
    .rayetl/staging/<target>/attempt-<token>/    one attempt: `data` holds its files
    .rayetl/staging/<target>/parked-<epoch>/     finished parts of an epoch that is not committed yet

Nothing of it is needed once an epoch is decided: whoever completes it finds all at the service.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Container
from pathlib import Path

from rayetl.connectors.commit.layout import Attempt
from rayetl.connectors.commit.ledger import Ledger
from rayetl.connectors.commit.lock import Lock
from rayetl.connectors.commit.publish import remove_tree
from rayetl.connectors.commit.session import FORGOTTEN
from rayetl.records import dataclass

_ATTEMPT, _PARKED = "attempt-", "parked-"


@dataclass(frozen=True, slots=True)
class Desk:
    """The directory of one target, which need not exist."""

    root: Path
    target: str

    @classmethod
    def of(cls, staging: str, target: str) -> Desk:
        named = hashlib.sha256(target.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return cls(Path(staging).absolute() / named, target)

    def lock(self, run: str) -> Lock:
        """Take the lock of the target on this machine. Raises `CommitConflict`."""
        self.root.mkdir(parents=True, exist_ok=True)
        return Lock.acquire(self.root / "lock", run, self.target)

    def attempt(self, number: int) -> Attempt:
        """The directory of a new attempt at the epoch `number`."""
        name = f"{number:06d}-{secrets.token_hex(4)}"
        made = Attempt(self.root / f"{_ATTEMPT}{name}", name)
        made.data.mkdir(parents=True)
        return made

    def parking(self, mark: str) -> Path:
        """Where finished parts of the epoch of that mark wait for its commit."""
        return self.root / f"{_PARKED}{mark}"

    def clear(self, ledger: Ledger) -> None:
        """Remove what dead attempts left, while the lock is held, and parts that nobody waits for."""
        done = {self.parking(mark) for mark in ledger.standing}
        for place in self.root.iterdir():
            if place.name.startswith(_ATTEMPT) or (place.name.startswith(_PARKED) and _is_over(place, done)):
                remove_tree(place)


def _is_over(parking: Path, done: Container[Path]) -> bool:
    return parking in done or time.time() - parking.stat().st_mtime > FORGOTTEN
