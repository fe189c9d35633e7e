"""Contracts and validate steps as the plan sees them: anything that turns itself into a `Checked`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from rayetl.connectors.base import Load, Source
from rayetl.contracts import ContractConfig
from rayetl.names import PREFIX
from rayetl.quality.base import Checked, OnFailure
from rayetl.sql.types import Schema
from rayetl.steps.base import StepContext

REFUSING = frozenset({OnFailure.ABORT, OnFailure.QUARANTINE})


@runtime_checkable
class Checking(Protocol):
    """A step that flags rows instead of changing them."""

    def to_checked(self, context: StepContext) -> Checked:
        """The flagged query. Raises `SqlError` with every fault found on the way."""


def contract_of(owner: Source | Load) -> ContractConfig | None:
    """The contract that is to be kept, if one is set and switched on."""
    contract = getattr(owner, "contract", None)
    return contract if isinstance(contract, ContractConfig) and contract.enabled else None


def promised_schema(contract: ContractConfig) -> Schema:
    """The columns that a contract promises."""
    from rayetl.quality import contract as quality

    return quality.promised_schema(contract)


def check_contract(contract: ContractConfig, context: StepContext) -> Checked:
    """A contract over `context.main`."""
    from rayetl.quality import contract as quality

    return quality.check_contract(contract, context)


def refuses(checked: Checked) -> bool:
    """Whether some row may be set aside by it."""
    return any(check.on_failure in REFUSING for check in checked.rows)


def visible(schema: Schema) -> Schema:
    """A schema without flags and other hidden columns."""
    return Schema(tuple(field for field in schema if not field.name.startswith(PREFIX)))
