"""Which epochs are committed: a table beside the targets, written in the transaction of the rows."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

from rayetl.connectors.base import Epoch
from rayetl.connectors.databases.connection import Connection
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.errors import CommitConflict, LoadError
from rayetl.records import dataclass

TRACKER = "rayetl_epochs"

WAIT = 30
"""Seconds that a run waits for another one that loads into the same table."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A committed epoch."""

    run: str
    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Tracker(ABC):
    """The epochs of one load into one table; `target` has its schema."""

    epoch: Epoch
    target: QualifiedName

    @property
    def table(self) -> QualifiedName:
        """The tracker itself, in the schema of the target."""
        return type(self.target)(self.target.schema, TRACKER)

    @abstractmethod
    def exists(self, connection: Connection) -> bool:
        """Whether the tracker is there."""

    @abstractmethod
    def prepare(self, connection: Connection) -> None:
        """Make the tracker if it is not there, apart from every load."""

    @abstractmethod
    def by_hand(self) -> str:
        """A query that shows this epoch to a person, if it is committed."""

    @abstractmethod
    def find(self, connection: Connection) -> Entry | None:
        """This epoch, if it is committed."""

    @abstractmethod
    def add(self, connection: Connection, mode: str, entry: Entry) -> None:
        """Enter the epoch, in the transaction of its rows."""

    def fence(self, connection: Connection) -> None:
        """Take the right to load, which the server takes back when the transaction or connection ends,
        however it ends.

        Raises `CommitConflict` where another run holds it for longer than `WAIT` seconds, and `LoadError`
        where another load of this run does: each would wait for the other's rows for ever.
        """
        epoch, target = self.epoch, str(self.target)
        if not self.lock(connection, epoch.pipeline, epoch.load, target):
            raise CommitConflict(
                f"another run of {epoch.pipeline} has been loading into {target} for more than {WAIT} s",
                hint=f"run again when it has ended; who it is: {self._who()}",
            )
        if not self.lock(connection, epoch.run, target):
            raise LoadError(
                f"two loads of this run write into {target}",
                hint="bring their rows together in a union step, and load them once",
            )

    @abstractmethod
    def lock(self, connection: Connection, *names: str) -> bool:
        """Take the lock that stands for `names`; `False` where that lasts longer than `WAIT` seconds."""

    @abstractmethod
    def _who(self) -> str:
        """A query that shows a person who holds the lock."""


def digest(*names: str) -> bytes:
    """32 bytes that stand for names."""
    return hashlib.sha256("\x1f".join(("rayetl", *names)).encode("utf-8", "surrogateescape")).digest()
