"""The whole config of a pipeline."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Union

from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from rayetl.config.document import ONLY_SOURCE
from rayetl.config.engines import EngineChoice
from rayetl.connectors import LETTER_STORES, LOADS, SOURCES
from rayetl.connectors.base import Load, Source
from rayetl.connectors.dead_letter_files import DeadLetterFiles
from rayetl.connectors.dead_letters import DeadLetterStore
from rayetl.connectors.places import LocalPath
from rayetl.contracts import Share
from rayetl.model import Identifier, Model, OneOrMany
from rayetl.quality import ValidateStep
from rayetl.resilience.breaker import BreakerPolicy
from rayetl.resilience.retry import RetryPolicy
from rayetl.sql.literals import known_time_zone
from rayetl.steps import Verb


def _one_of(models: tuple[type[Model], ...]) -> Any:
    if len(models) == 1:
        return models[0]
    return Annotated[Union[models], Field(discriminator="type")]  # noqa: UP007 - a union of a tuple


if TYPE_CHECKING:
    AnySource = Source
    AnyLoad = Load
    AnyStore = DeadLetterStore
else:
    AnySource = _one_of(SOURCES)
    AnyLoad = _one_of(LOADS)
    AnyStore = _one_of(LETTER_STORES)

AnyStep = Annotated[Verb | ValidateStep, Field(discriminator="type")]
"""Every step that a config may have."""

Row = dict[str, JsonValue]
"""A row of a test: column to value, as it would be written in JSON."""


class OneOrMap:
    """Beside the type of a map by id: a single thing may stand alone, its id is `ONLY_SOURCE`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_many, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        many = handler(schema)
        one = next(iter(many["patternProperties"].values()))
        return {"anyOf": [one, many]}


def _many(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    mappings = sum(isinstance(inner, Mapping) for inner in value.values())
    has_type = "type" in value and not isinstance(value["type"], Mapping)
    is_one = bool(value) and (has_type or 2 * mappings < len(value))
    return {ONLY_SOURCE: value} if is_one else value


class FilesByDefault:
    """Beside the type of a dead letter store: one without a `type` is of files."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_of_files, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        # Where `type` decides between models it has to be given, which it has not here.
        return {name: value for name, value in handler(schema).items() if name != "discriminator"}


def _of_files(value: object) -> object:
    return {"type": "files", **value} if isinstance(value, Mapping) else value


class Resilience(Model):
    """What happens to what goes wrong."""

    retry: RetryPolicy = Field(
        default_factory=RetryPolicy,
        description="How faults that may pass (a lost connection, a lost worker) are tried again.",
        examples=[{"max_attempts": 5, "initial_delay": "200ms"}],
    )
    circuit_breaker: BreakerPolicy = Field(
        default_factory=BreakerPolicy,
        description="When a service that keeps failing is left alone. Files of this machine have no circuit.",
        examples=[{"failure_threshold": 5, "reset_timeout": "30s"}],
    )

    dead_letter: Annotated[AnyStore, FilesByDefault()] = Field(
        default_factory=DeadLetterFiles,
        description="The store that takes every refused row with its reasons and its place in the source; "
        "without a `type` it is `files`.",
        examples=[
            {"type": "files", "path": "out/rejects"},
            {"type": "postgres", "credential": "warehouse", "table": "ops.rejects"},
        ],
    )


class ExpectedReject(Model):
    """A reject that a test waits for. What is left out may be anything; `reason` is a part of the text."""

    step: str | None = Field(
        default=None,
        description="Id of the source, step or load that refused the row.",
        examples=["checked"],
    )
    rule: str | None = Field(default=None, description="Name of the rule.", examples=["delay_range"])
    reason: str | None = Field(
        default=None, description="Text that one of the reasons contains.", examples=["arr_delay"]
    )
    row: Row | None = Field(
        default=None,
        description="Columns of the refused row with their values; other columns are not looked at.",
        examples=[{"carrier": "UA", "arr_delay": 5000}],
    )

    @model_validator(mode="after")
    def _something(self) -> ExpectedReject:
        if all(each is None for each in (self.step, self.rule, self.reason, self.row)):
            raise ValueError("say which reject is expected: give `step`, `rule`, `reason` or `row`")
        return self


class PipelineTest(Model):
    """Given rows in, expected rows out; run by `rayetl test` without touching any source or load.

    Sources without given rows are empty. Rows of `expect` are compared as a set with duplicates, by the
    columns that the expected rows name, after their values are cast to the types of the columns.
    """

    __test__: ClassVar[bool] = False

    name: str = Field(
        min_length=1, description="What the test shows, in words.", examples=["late flights are averaged"]
    )
    given: dict[Identifier, tuple[Row, ...]] = Field(
        default={},
        description="Rows of each source, by its id (`source` where the config has one without an id).",
        examples=[{"flights": [{"carrier": "UA", "arr_delay": 10}]}],
    )
    expect: dict[Identifier, tuple[Row, ...]] = Field(
        default={},
        description="Rows that come out of sources, steps or loads, by their ids.",
        examples=[{"daily": [{"name": "United", "flights": 1}]}],
    )
    expect_rejects: tuple[ExpectedReject, ...] | None = Field(
        default=None,
        description="All rejects of the run, in any order; `[]` expects none.",
        examples=[[{"rule": "delay_range"}]],
    )
    expect_error: str | None = Field(
        default=None,
        min_length=1,
        description="Text that the message of the failing run contains, for instance the name of an "
        "`abort` rule.",
        examples=["has_carrier"],
    )

    @model_validator(mode="after")
    def _expects_something(self) -> PipelineTest:
        if not self.expect and self.expect_rejects is None and self.expect_error is None:
            raise ValueError("nothing is expected: give `expect`, `expect_rejects` or `expect_error`")
        if self.expect_error is not None and (self.expect or self.expect_rejects is not None):
            raise ValueError("a run that fails gives no rows: `expect_error` stands alone")
        return self


class PipelineConfig(Model):
    """One pipeline: where rows come from, what is done to them, where they go."""

    name: Identifier = Field(
        description="Name of the pipeline; the ledger and the reports know it by this name.",
        examples=["flight_delays"],
    )
    description: str | None = Field(
        default=None, description="What the pipeline is for.", examples=["Delays of each carrier by day."]
    )
    vars: dict[Identifier, str | int | float | bool] = Field(
        default={},
        description="Variables for `${name}` anywhere in the config. `--set name=value` comes before them, "
        "the environment after them.",
        examples=[{"year": 2013, "out": "out/2013"}],
    )
    extract: Annotated[dict[Identifier, AnySource], OneOrMap()] = Field(
        min_length=1,
        description=f"The sources by id. A single source may stand alone; its id is `{ONLY_SOURCE}` then.",
        examples=[{"flights": {"type": "files", "path": "data/flights/*.csv"}}],
    )
    transform: tuple[AnyStep, ...] = Field(
        default=(),
        description="The steps in order. Each takes the one before it, the first the first source, unless "
        "`from` names another.",
        examples=[[{"type": "filter", "where": "dep_delay IS NOT NULL"}]],
    )
    load: Annotated[tuple[AnyLoad, ...], OneOrMany()] = Field(
        min_length=1,
        description="Where rows go: one load or a list of them. Each takes the last step unless `from` names "
        "another step or source.",
        examples=[{"type": "files", "path": "out/daily", "format": "parquet", "mode": "overwrite"}],
    )
    engine: EngineChoice = Field(  # type: ignore[assignment]
        default="auto",
        description="What runs the queries: `polars` in this process, `spark` on a Ray cluster, by its name "
        "or with its settings. `auto` is `polars`.",
        examples=["spark", {"type": "spark", "executors": 4, "cores": 2, "memory": "2g"}],
    )
    time_zone: Annotated[str, AfterValidator(known_time_zone)] = Field(
        default="UTC",
        description="Session time zone, as `spark.sql.session.timeZone`: where timestamps without one are.",
        examples=["UTC", "America/New_York"],
    )
    resilience: Resilience = Field(
        default_factory=Resilience,
        description="What happens to what goes wrong.",
        examples=[{"dead_letter": {"type": "files", "path": "out/rejects"}}],
    )
    max_reject_share: Share | None = Field(
        default=None,
        description="The share of read rows that may be rejected (0 to 1, or `1%`). The rows are loaded all "
        "the same; a run above it ends with exit code 4.",
        examples=["1%"],
    )
    state: Annotated[LocalPath, AfterValidator(os.path.expanduser)] = Field(
        default=".rayetl",
        min_length=1,
        description="Directory for the reports of runs and for work under way.",
        examples=[".rayetl"],
    )
    run_key: str | None = Field(
        default=None,
        min_length=1,
        description="Names the epoch of a run, as `--run-key` does: a key that is committed is skipped. By "
        "default it is made from the plan and the exact inputs.",
        examples=["${logical_date}"],
    )
    tests: tuple[PipelineTest, ...] = Field(
        default=(),
        description="Tests of the pipeline, run by `rayetl test`.",
        examples=[
            [
                {
                    "name": "rows without a carrier are dropped",
                    "given": {"flights": [{"carrier": None}]},
                    "expect": {"known": []},
                }
            ]
        ],
    )
