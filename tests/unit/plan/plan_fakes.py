"""Sources and loads without files, so that plans are tested alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from rayetl.config.models import AnyStep, Resilience
from rayetl.connectors.base import Epoch, FilesScan, InputFile, Load, LoadSession, Source
from rayetl.contracts import ContractConfig
from rayetl.errors import Problem, SourceError
from rayetl.model import Model
from rayetl.plan import nodes
from rayetl.plan.build import Found, build_plan
from rayetl.sql.interop import parse_ddl
from rayetl.sql.types import Schema
from rayetl.steps import Step


class NoOptions(Model):
    pass


class FakeSource(Source):
    """A source whose schema is given in DDL; an empty one is missing."""

    type: str = "fake"
    path: str = "in.parquet"
    ddl: str = ""
    format: str = "parquet"
    mode: Literal["permissive", "drop", "fail"] = "permissive"
    contract: ContractConfig | None = None

    def describe(self, promised: Schema | None) -> FilesScan:
        if not self.ddl:
            raise SourceError(f"no file matches {self.path}", hint="is it there?")
        file = InputFile(self.path, 1024, 1)
        return FilesScan(self.format, (file,), parse_ddl(self.ddl), NoOptions(), self.mode)

    def identity(self, scan: FilesScan) -> str | None:
        return "".join(file.path for file in scan.files)


class FakeLoad(Load):
    type: str = "fake"
    path: str = "out"
    mode: str = "overwrite"
    refuse: str | None = None
    contract: ContractConfig | None = None

    def check(self, schema: Schema) -> Sequence[Problem]:
        return [Problem("load", self.refuse, ("mode",))] if self.refuse else []

    def open(self, epoch: Epoch, schema: Schema) -> LoadSession:
        raise NotImplementedError


@dataclass
class FakeConfig:
    extract: Mapping[str, Source]
    transform: Sequence[Step] = ()
    load: Sequence[Load] = (FakeLoad(),)
    name: str = "p"
    time_zone: str = "UTC"
    state: str = ".rayetl"
    run_key: str | None = None
    resilience: Resilience = field(default_factory=Resilience)


_STEP: TypeAdapter[Any] = TypeAdapter(AnyStep)
DDL = "k INT, g STRING, x DOUBLE, day DATE"


def step(**fields: Any) -> Step:
    if fields["type"] == "validate" and "check" in fields:
        rule = {
            "name": "r",
            "check": fields.pop("check"),
            "on_failure": fields.pop("on_failure", "quarantine"),
        }
        fields["rules"] = [rule]
    return _STEP.validate_python(fields)  # type: ignore[no-any-return]


def config(*steps: Mapping[str, Any], sources: Mapping[str, str] | None = None, **more: Any) -> Any:
    ddl = {"src": DDL} if sources is None else sources
    return FakeConfig(
        {name: FakeSource(ddl=text) for name, text in ddl.items()}, [step(**s) for s in steps], **more
    )


def plan_of(*steps: Mapping[str, Any], found: Found | None = None, **more: Any) -> nodes.Plan:
    return build_plan(config(*steps, **more), found=found)
