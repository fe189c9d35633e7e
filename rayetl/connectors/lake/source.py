"""What the sources of tables of a lake are told alike."""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime
from typing import ClassVar, Self

from pydantic import Field, model_validator

from rayetl.connectors.base import Source
from rayetl.connectors.lake.upkeep import Upkeep
from rayetl.contracts import ContractConfig


class LakeSource(Source):
    """The part of a source that is the same for all tables of a lake."""

    numbered: ClassVar[str]
    """The setting that names a version by its number or id."""

    timestamp: datetime | None = Field(
        default=None,
        description="Read the table as it was at this moment; without a zone, in UTC.",
        examples=["2026-11-25T06:00:00Z"],
    )
    contract: ContractConfig | None = Field(
        default=None,
        description="The Avro schema that the rows must satisfy.",
        examples=["schemas/flight.avsc"],
    )

    @model_validator(mode="after")
    def _one_moment(self) -> Self:
        if getattr(self, self.numbered) is not None and self.timestamp is not None:
            raise ValueError(f"give `{self.numbered}` or `timestamp`, not both")
        return self

    @property
    def moment(self) -> datetime | None:
        """`timestamp` with its zone."""
        if self.timestamp is None or self.timestamp.tzinfo:
            return self.timestamp
        return self.timestamp.replace(tzinfo=UTC)

    @abstractmethod
    def upkeep(self) -> Upkeep:
        """The table itself."""
