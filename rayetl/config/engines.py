"""Which engine runs a pipeline's queries, and what a Spark session is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from rayetl.config.interpolate import names_secret
from rayetl.model import Model, Size

NAMES = ("auto", "polars", "spark")
_OWNED = {
    "spark.executor.instances": "executors",
    "spark.executor.cores": "cores",
    "spark.executor.memory": "memory",
    "spark.sql.session.timezone": "time_zone",
    "spark.sql.autobroadcastjointhreshold": "broadcast_below",
}
"""Settings that a field of the config stands for."""

_RUNTIME = (
    "spark.master",
    "spark.submit.",
    "spark.ray.",
    "spark.ui.",
    "spark.driver.host",
    "spark.driver.bindaddress",
    "spark.driver.extrajavaoptions",
    "spark.executor.extrajavaoptions",
    "spark.dynamicallocation.",
    "spark.sql.ansi.enabled",
    "spark.sql.casesensitive",
    "spark.sql.parquet.outputtimestamptype",
    "spark.sql.parquet.datetimerebasemode",
    "spark.sql.parquet.int96rebasemode",
    "spark.sql.legacy.",
)
"""Settings, or beginnings of settings, that decide about rows or about who may reach the session."""

_PASSWORD_IN_URL = re.compile(r"://[^/\s:]*:[^/\s]*@")


def _spark_size(value: object) -> object:
    """`1g`, as Spark writes sizes, is 1 GiB."""
    if isinstance(value, str) and (short := re.fullmatch(r"\s*(\d+)\s*([kmgtKMGT])\s*", value)):
        return f"{short[1]}{short[2]}ib"
    return value


class LocalEngine(Model):
    """The engine of this process, or the choice left to rayetl."""

    type: Literal["auto", "polars"] = Field(
        default="auto", description="`polars`, or `auto`, which chooses it.", examples=["polars"]
    )


class SparkSettings(Model):
    """Spark on Ray: its executors are Ray actors. It starts with the first pipeline of a process that needs
    it, serves those after it, and ends with the process."""

    type: Literal["spark"] = Field(description="Spark on Ray.")
    executors: int = Field(default=1, ge=1, le=10_000, description="Executors.", examples=[4])
    cores: int = Field(default=1, ge=1, le=1_000, description="Cores of each executor.", examples=[2])
    memory: Annotated[Size, BeforeValidator(_spark_size)] = Field(
        default=1024**3, ge=450 * 1024**2, description="Heap of each executor.", examples=["2g"]
    )
    broadcast_below: Size = Field(
        default=10 * 1024**2,
        description="Inputs of joins below this size go whole to every executor, unless the join says "
        "otherwise; 0 for none.",
        examples=["64MiB"],
    )
    conf: dict[str, str | int | float | bool] = Field(
        default={},
        description="Further settings of Spark by their full names. Settings that would change rows, open "
        "ports or hold secrets are refused: Spark shows all of them to every user of the machine.",
        examples=[{"spark.sql.shuffle.partitions": 64}],
    )

    @field_validator("conf")
    @classmethod
    def _allowed(cls, conf: dict[str, Any]) -> dict[str, Any]:
        for key, value in conf.items():
            if reason := _refused(key, value):
                raise ValueError(reason)
        return conf


def _refused(key: str, value: object) -> str | None:
    folded = key.lower()
    if not folded.startswith("spark."):
        return f"{key!r} is no setting of Spark; their names begin with `spark.`"
    if names_secret(key) or folded.endswith("key") or _PASSWORD_IN_URL.search(str(value)):
        return f"{key!r} would show a secret in the process list; name a `credential` on the source or load"
    if folded in _OWNED:
        return f"{key!r} is what `{_OWNED[folded]}` says; remove it from `conf`"
    if folded.startswith(_RUNTIME):
        return f"{key!r} is set by rayetl, so that rows and access stay the same; remove it from `conf`"
    return None


class ByName:
    """Beside the type of an engine: its name alone may stand for one without further settings."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_named, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"enum": list(NAMES)}, handler(schema)]}


def _named(value: object) -> object:
    return value if isinstance(value, (Model, Mapping)) else {"type": value}


EngineChoice = Annotated[LocalEngine | SparkSettings, Field(discriminator="type"), ByName()]
