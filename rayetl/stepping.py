"""What steps and quality checks are told when they write their queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlglot import exp

from rayetl.errors import ConfigPath
from rayetl.records import dataclass
from rayetl.sql.types import Schema


class RowEffect(StrEnum):
    """What a step may do to the number of rows; the books name the difference by it."""

    KEEPS = "keeps"
    FILTERS = "filters"
    DEDUPLICATES = "deduplicates"
    FOLDS = "folds"
    JOINS = "joins"
    EXPANDS = "expands"
    UNITES = "unites"
    LIMITS = "limits"
    FREE = "free"


TRACEABLE = frozenset(RowEffect) - {RowEffect.FOLDS, RowEffect.UNITES, RowEffect.FREE}
"""Effects after which every row still stems from a single row of the main input."""


SAME_COLUMNS = frozenset({RowEffect.FILTERS, RowEffect.DEDUPLICATES, RowEffect.LIMITS})
"""Effects of steps that hand on the columns of their main input as they are."""


@dataclass(frozen=True, slots=True)
class Input:
    """A named input of a step. `schema` is `None` while it can be known only at run time."""

    name: str
    schema: Schema | None


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step is told when it writes its query.

    `inputs[0]` is the main input. `path` is the step's place in the config, for the origin of parsed
    SQL. `carry` names hidden columns of the main input that the result must keep where rows still map
    to single input rows. `found` runs a one-column query over the inputs and returns its values, or
    `None` at check time, when nothing may be read. `now` is the time of the run, with its zone.
    """

    inputs: tuple[Input, ...]
    path: ConfigPath = ()
    carry: tuple[str, ...] = ()
    found: Callable[[exp.Query], Sequence[Any] | None] = field(default=lambda _: None)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def main(self) -> Input:
        return self.inputs[0]
