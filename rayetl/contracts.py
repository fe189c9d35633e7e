"""How a source or a load names the contract that its rows must keep: the config side only.

What a contract means and how it is checked is in `rayetl.quality`.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from rayetl.model import Model


def _to_share(value: object) -> object:
    """`"1%"` as 0.01; everything else is left to pydantic."""
    if isinstance(value, str) and value.strip().endswith("%"):
        number = value.strip()[:-1].strip()
        try:
            # The number nearest to the share: 0.7 / 100 as floats is less than 7 of 1,000 rows.
            return float(Decimal(number).scaleb(-2))
        except ArithmeticError:
            raise ValueError(f"{value!r} is not a share: write it as `1%` or 0.01") from None
    return value


Share = Annotated[
    float,
    BeforeValidator(_to_share),
    Field(ge=0, le=1, allow_inf_nan=False),
    WithJsonSchema(
        {
            "title": "Share",
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^\s*[0-9.]+\s*%\s*$"},
            ],
        }
    ),
]
"""A part of a whole, 0 to 1; in a config `0.01` and `1%` are the same."""


class OnMismatch(StrEnum):
    """What a row that breaks the contract does."""

    ABORT = "abort"
    QUARANTINE = "quarantine"
    COERCE = "coerce"


class ExtraFields(StrEnum):
    """What becomes of columns that the contract does not name."""

    KEEP = "keep"
    DROP = "drop"
    REJECT = "reject"


class ContractConfig(Model):
    """The Avro schema that rows must satisfy. A plain string is the path of an `.avsc` file."""

    schema_: str | dict[str, Any] = Field(
        alias="schema",
        description="Path of an Avro schema file (.avsc), or the Avro record schema itself.",
        examples=["schemas/flight.avsc"],
    )
    on_mismatch: OnMismatch = Field(
        default=OnMismatch.ABORT,
        description=(
            "What a row that breaks the contract does: `abort` stops the run with nothing visible in any "
            "load; `quarantine` sets the row aside with its reasons; `coerce` casts values to the "
            "contract's types where nothing is lost and sets aside the rows where that fails."
        ),
    )
    extra_fields: ExtraFields = Field(
        default=ExtraFields.KEEP,
        description=(
            "Columns the contract does not name: `keep` them, `drop` them, or `reject` the input "
            "because of them."
        ),
    )
    max_share: Share | None = Field(
        default=None,
        description=(
            "The share of failing rows, for each field and reason, that is allowed (`1%` or 0.01). "
            "Above it the run fails: with exit code 3 under `abort`, 4 otherwise."
        ),
        examples=["1%"],
    )
    enabled: bool = Field(default=True, description="`false` switches the contract off.")

    @model_validator(mode="before")
    @classmethod
    def _accept_path(cls, value: object) -> object:
        return {"schema": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        path = {"type": "string", "description": "Path of an Avro schema file (.avsc)."}
        return {"anyOf": [path, handler(core_schema)]}
