"""Contracts and validate steps as the plan sees them: anything that turns itself into a `Checked`."""

from __future__ import annotations

from rayetl.connectors.base import Load, Source
from rayetl.contracts import ContractConfig
from rayetl.names import PREFIX
from rayetl.quality.base import Checked, OnFailure
from rayetl.quality.validate import ValidateStep
from rayetl.sql.types import Schema
from rayetl.steps.base import Step

REFUSING = frozenset({OnFailure.ABORT, OnFailure.QUARANTINE})


PlanStep = Step | ValidateStep
"""A step of a plan: a verb, or the one that flags rows instead of changing them."""


def contract_of(owner: Source | Load) -> ContractConfig | None:
    """The contract that is to be kept, if one is set and switched on."""
    contract = getattr(owner, "contract", None)
    return contract if isinstance(contract, ContractConfig) and contract.enabled else None


def refuses(checked: Checked) -> bool:
    """Whether some row may be set aside by it."""
    return any(check.on_failure in REFUSING for check in checked.rows)


def visible(schema: Schema) -> Schema:
    """A schema without flags and other hidden columns."""
    return Schema(tuple(field for field in schema if not field.name.startswith(PREFIX)))
