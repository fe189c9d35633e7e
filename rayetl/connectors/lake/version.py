"""A table of a lake at one version, as far as a load has to know it, and the record of an epoch in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rayetl.records import dataclass
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    import pyarrow as pa

    from rayetl.connectors.lake.load import LakeLoad


@dataclass(frozen=True, slots=True)
class Entry:
    """A committed epoch: its number, and the run and attempt that committed it. `bytes` on disk."""

    number: int
    epoch: str
    run: str = ""
    attempt: str = ""
    rows: int = 0
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0


class LakeVersion(ABC):
    """One version of a table."""

    @property
    @abstractmethod
    def schema(self) -> Schema:
        """The columns in the table's order, NULL allowed everywhere: files do not keep promises."""

    @property
    @abstractmethod
    def arrow(self) -> pa.Schema:
        """The columns in Arrow's types, which say what of them may not be NULL."""

    @property
    def required(self) -> frozenset[str]:
        """The columns that may not be NULL."""
        return frozenset(field.name for field in self.arrow if not field.nullable)

    @property
    @abstractmethod
    def partition_by(self) -> tuple[str, ...]:
        """By what the table is partitioned, as a config says it."""

    @abstractmethod
    def has_rows(self) -> bool:
        """Whether any file belongs to this version."""

    @abstractmethod
    def unwritable(self) -> str | None:
        """Why no files can be added to this table, in words; `None` if they can."""

    @abstractmethod
    def objections(self, load: LakeLoad, rows: Schema) -> Iterator[str]:
        """What else of this table keeps the rows of a load out, each in words."""
