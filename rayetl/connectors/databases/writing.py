"""Rows into a table inside a transaction; rows that the server refuses are found and set aside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from rayetl.connectors.databases.faults import Fault
from rayetl.connectors.databases.naming import QualifiedName
from rayetl.errors import LoadError
from rayetl.lazy import lazily
from rayetl.names import BAD, FIELD, PREFIX, ROW, RULE
from rayetl.records import dataclass

if TYPE_CHECKING:
    import polars as pl
else:
    pl = lazily("polars")

MOST = 10_000
"""Rows that one load may have refused by the server. More of them are no single rows: the whole is wrong."""

NUMBER = f"{PREFIX}number"
"""BIGINT: the rows of a stage in the order they came, from 0."""

STAGE = f"{PREFIX}stage"
"""The name of a temporary table from which one statement moves rows into the target."""


@dataclass(slots=True)
class Refusals:
    """The rows that the server refused, with the hidden columns that say why."""

    table: QualifiedName
    count: int = 0
    _held: list[pl.DataFrame] = field(default_factory=list)

    def add(self, row: pl.DataFrame, fault: Fault) -> None:
        """Set a row aside. Raises `LoadError` when there are too many."""
        self.count += row.height
        if self.count > MOST:
            raise LoadError(
                f"more than {MOST} rows for {self.table} were refused; the last because: "
                f"{fault.message} (SQLSTATE {fault.state})",
                hint="nothing was committed; check or cast the rows in steps before the load",
            ) from None
        why = {RULE: f"sqlstate {fault.state}", FIELD: fault.column, BAD: fault.message}
        self._held.append(
            row.drop(NUMBER, strict=False).with_columns(
                pl.lit(value, dtype=pl.String).alias(name) for name, value in why.items()
            )
        )

    def taken(self) -> pl.DataFrame | None:
        """The rows set aside since the last call."""
        held, self._held = self._held, []
        return pl.concat(held) if held else None


class Writer(ABC):
    """Takes the rows of a load in the order they come."""

    refusals: Refusals

    @abstractmethod
    def take(self, rows: pl.DataFrame) -> None:
        """Send `rows`; those that are refused go to `refusals`, now or in the end. Raises `LoadError` for a
        fault that lies in no row, and `Retryable`."""

    @abstractmethod
    def written(self) -> int:
        """Rows that came to be or were changed in the table so far."""

    def finish(self) -> None:  # noqa: B027
        """Move what waits to be moved. Raises as `take` does."""


@dataclass(slots=True)
class Merger(ABC):
    """Moves the rows of a stage into the target. What is refused is split where the server says, else by
    halves, until each guilty row stands alone; all other rows go in. `keys` are those of an upsert or
    `insert_ignore`, if any."""

    mode: str
    keys: Sequence[str]
    refusals: Refusals
    merged: int = 0

    def merge(self, low: int, high: int) -> None:
        """Move the rows from number `low` up to `high`. Raises `LoadError` for a fault that lies in no row
        and for an upsert with a key twice, and `Retryable`."""
        parts = [(low, high)]
        while parts:
            first, end = parts.pop()
            done = self._move(first, end)
            if not isinstance(done, Fault):
                self.merged += done
            elif end - first == 1:
                self.refusals.add(self._row(first), done)
                self._drop(first)
            else:
                parts += self._split(first, end, done.line)

    def _split(self, low: int, high: int, line: int | None) -> list[tuple[int, int]]:
        """The parts of a refused part, the first one last."""
        if line is None or line > high - low:
            half = (low + high) // 2
            return [(half, high), (low, half)]
        guilty = low + line - 1
        pieces = [(low, guilty), (guilty, guilty + 1), (guilty + 1, high)]
        return [(first, end) for first, end in reversed(pieces) if end > first]

    @abstractmethod
    def _move(self, low: int, high: int) -> int | Fault:
        """Move a part by one statement; how many rows came to be or were changed."""

    @abstractmethod
    def _row(self, number: int) -> pl.DataFrame:
        """A row of the stage as it was sent there."""

    @abstractmethod
    def _drop(self, number: int) -> None:
        """Take a refused row out of the stage."""

    def _refuse_repeated(self, count: int, example: str) -> None:
        """Raise `LoadError` where `count` keys of an upsert come more than once, such as `example`."""
        if count:
            keys = ", ".join(map(self.refusals.table.spelling.identifier, self.keys))
            named = f"1 key ({keys}) comes" if count == 1 else f"{count} keys ({keys}) come"
            raise LoadError(
                f"{named} more than once, for example {example}; which row wins would be up to chance",
                hint="keep one row of each before the load: {type: deduplicate, keys: [...], order_by: ...}",
            ) from None


def numbered(rows: pl.DataFrame, first: int) -> pl.DataFrame:
    """Rows as a stage takes them: numbered from `first`, and with a place even where they have none."""
    number = pl.int_range(first, first + rows.height, dtype=pl.Int64).alias(NUMBER)
    position = [] if ROW in rows.columns else [pl.lit(None, dtype=pl.Int64).alias(ROW)]
    return rows.with_columns(number, *position)
