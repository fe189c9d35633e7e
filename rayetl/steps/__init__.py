"""The verbs of a pipeline: each turns itself into one Spark SQL query over named inputs.

A new verb is one file and one name in `AnyStep`. `validate` is a verb too; it lives in `rayetl.quality`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rayetl.steps.aggregate import Aggregate
from rayetl.steps.base import Input, RowEffect, Step, StepContext
from rayetl.steps.deduplicate import Deduplicate
from rayetl.steps.fill import Fill
from rayetl.steps.filter import Filter
from rayetl.steps.flatten import Flatten
from rayetl.steps.join import Join
from rayetl.steps.pivot import Pivot, Unpivot
from rayetl.steps.rows import Limit, Sort
from rayetl.steps.select import Select
from rayetl.steps.sql import Sql
from rayetl.steps.union import Union
from rayetl.steps.window import Window

Verb = (
    Filter
    | Select
    | Deduplicate
    | Aggregate
    | Join
    | Window
    | Pivot
    | Unpivot
    | Flatten
    | Union
    | Sort
    | Limit
    | Fill
    | Sql
)
"""Every verb of this package: the one list."""

AnyStep = Annotated[Verb, Field(discriminator="type")]

__all__ = [
    "Aggregate",
    "AnyStep",
    "Deduplicate",
    "Fill",
    "Filter",
    "Flatten",
    "Input",
    "Join",
    "Limit",
    "Pivot",
    "RowEffect",
    "Select",
    "Sort",
    "Sql",
    "Step",
    "StepContext",
    "Union",
    "Unpivot",
    "Verb",
    "Window",
]
