"""What every step is: a config model that turns itself into one Spark SQL query over named inputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field
from sqlglot import exp

from rayetl.errors import ConfigPath
from rayetl.model import Model
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
    `None` at check time, when nothing may be read.
    """

    inputs: tuple[Input, ...]
    path: ConfigPath = ()
    carry: tuple[str, ...] = ()
    found: Callable[[exp.Query], Sequence[Any] | None] = field(default=lambda _: None)

    @property
    def main(self) -> Input:
        return self.inputs[0]


class Step(Model):
    """Fields that every step has."""

    id: str | None = Field(default=None, description="Name of the step; other steps and loads refer to it.")
    from_: str | None = Field(
        default=None,
        alias="from",
        description="Id of the source or step to read; by default the step before this one.",
    )

    effect: ClassVar[RowEffect]

    def other_inputs(self) -> tuple[tuple[ConfigPath, str], ...]:
        """Ids of further inputs, each with the path of the field that names it."""
        return ()

    def offset_of(self, name: str) -> int | None:  # noqa: ARG002
        """Where in its field the name of another input stands, if that field is an SQL text."""
        return None

    def reads_previous(self) -> bool:
        """Whether the step before this one is an input when `from` is not given."""
        return True

    def carries(self) -> bool:
        """Whether every row of the result stems from a single row of the main input."""
        return self.effect in TRACEABLE

    def waits(self) -> bool:
        """Whether the query depends on values that `StepContext.found` looks up in the data."""
        return False

    @abstractmethod
    def to_query(self, context: StepContext) -> exp.Query:
        """This step as one Spark SQL query over `context.inputs`.

        Raises `SqlError` with the config path and offset of every fault found on the way.
        """
