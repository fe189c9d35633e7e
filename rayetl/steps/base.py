"""What every step is: a config model that turns itself into one Spark SQL query over named inputs."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from pydantic import Field
from sqlglot import exp

from rayetl.errors import ConfigPath, Problem
from rayetl.model import Identifier, Model
from rayetl.stepping import TRACEABLE, Input, RowEffect, StepContext

__all__ = ["TRACEABLE", "Input", "RowEffect", "Step", "StepContext"]


class Step(Model):
    """Fields that every step has."""

    id: Identifier | None = Field(
        default=None, description="Name of the step; other steps and loads refer to it.", examples=["daily"]
    )
    from_: Identifier | None = Field(
        default=None,
        alias="from",
        description="Id of the source or step to read; by default the step before this one.",
        examples=["flights"],
    )
    cache: bool | None = Field(
        default=None,
        description="Spark only: whether the rows are kept for further readers instead of computed again. By "
        "default they are where several read them and they cost more than reading a file again.",
        examples=[True],
    )

    effect: ClassVar[RowEffect]

    def other_inputs(self) -> tuple[tuple[ConfigPath, str], ...]:
        """Ids of further inputs, each with the path of the field that names it."""
        return ()

    def offset_of(self, name: str) -> int | None:  # noqa: ARG002
        """Where in its field the name of another input stands, if that field is an SQL text."""
        return None

    def unreadable(self) -> tuple[Problem, ...]:
        """Why the step's inputs cannot be told, if they stand in an SQL text with a fault."""
        return ()

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
