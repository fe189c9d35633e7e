"""Whole plans: random chains of steps have the schema that Spark gives them, and `explain --sql` runs there."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from rayetl import sql
from rayetl.config.models import PipelineConfig
from rayetl.plan.build import build_plan
from rayetl.plan.explain import explain
from rayetl.plan.nodes import Plan
from rayetl.sql import interop
from rayetl.sql.types import Schema
from rayetl.steps import AnyStep, Input, Step, StepContext
from tests.conformance.judge import Judge

STEP: TypeAdapter[Any] = TypeAdapter(AnyStep)
CHAINS = 25
LONGEST = 6

BASE = pa.table(
    {
        "i": pa.array([1, 2, None], pa.int32()),
        "l": pa.array([1, None, 3], pa.int64()),
        "f": pa.array([1.5, None, 2.5], pa.float64()),
        "t": pa.array(["a", None, "b"]),
        "d c": pa.array([None, Decimal("1.10"), Decimal("2.00")], pa.decimal128(10, 2)),
        "ok": pa.array([True, None, False]),
        "xs": pa.array([[1, 2], None, []], pa.list_(pa.int32())),
        "st": pa.array([{"a": 1, "b": "x"}] * 3, pa.struct([("a", pa.int32()), ("b", pa.string())])),
    }
)
NUMBERS = ("int", "bigint", "double", "smallint")


@dataclass
class Chance:
    """Makes steps that fit a schema."""

    dice: random.Random
    count: int = field(default=0)

    def fresh(self) -> str:
        self.count += 1
        return self.dice.choice(
            [f"new{self.count}", f"new {self.count}", f"NEW_{self.count}", f"order.{self.count}"]
        )

    def column(self, schema: Schema, *kinds: str) -> str | None:
        fitting = [f.name for f in schema if not kinds or any(str(f.type).startswith(k) for k in kinds)]
        return self.dice.choice(fitting) if fitting else None

    def number(self, schema: Schema) -> str:
        name = self.column(schema, *NUMBERS, "decimal")
        return f"`{name}`" if name else "1"

    def plain(self, schema: Schema) -> str | None:
        return self.column(schema, *NUMBERS, "string", "boolean", "decimal")

    def step(self, schema: Schema) -> dict[str, Any] | None:
        makers = [self.filter, self.add, self.rename, self.aggregate, self.window, self.flatten, self.unpivot]
        makers += [self.fill, self.join, self.union, self.distinct, self.drop, self.pivot]
        return self.dice.choice(makers)(schema)

    def filter(self, schema: Schema) -> dict[str, Any]:
        return {"type": "filter", "where": f"{self.number(schema)} > 1 OR {self.number(schema)} IS NULL"}

    def add(self, schema: Schema) -> dict[str, Any]:
        operator = self.dice.choice(["+", "*", "/", "%", "-"])
        other = self.dice.choice([self.number(schema), "2", "1.5", "1L", "cast(3 AS decimal(5,1))"])
        return {"type": "select", "add": {self.fresh(): f"{self.number(schema)} {operator} {other}"}}

    def rename(self, schema: Schema) -> dict[str, Any]:
        return {"type": "select", "rename": {self.column(schema): self.fresh()}}

    def drop(self, schema: Schema) -> dict[str, Any] | None:
        return {"type": "select", "drop": [self.column(schema)]} if len(schema) > 3 else None

    def aggregate(self, schema: Schema) -> dict[str, Any] | None:
        key = self.plain(schema)
        if key is None:
            return None
        function = self.dice.choice(["sum", "avg", "min", "max", "count", "stddev", "collect_list"])
        metrics = {self.fresh(): f"{function}({self.number(schema)})", self.fresh(): "count(*)"}
        return {"type": "aggregate", "group_by": [f"`{key}`"], "metrics": metrics}

    def window(self, schema: Schema) -> dict[str, Any]:
        number = self.number(schema)
        function = self.dice.choice(
            [f"sum({number})", "rank()", f"lag({number})", f"{number} - avg({number})"]
        )
        return {"type": "window", "order_by": [number], "columns": {self.fresh(): function}}

    def flatten(self, schema: Schema) -> dict[str, Any] | None:
        found = self.column(schema, "array", "struct")
        if found is None:
            return None
        field = schema.get(found)
        assert field is not None
        if str(field.type).startswith("struct"):
            return {"type": "flatten", "column": found, "as": [self.fresh(), self.fresh()]}
        return {
            "type": "flatten",
            "column": found,
            "outer": self.dice.random() < 0.5,
            "position": self.fresh(),
        }

    def unpivot(self, schema: Schema) -> dict[str, Any] | None:
        numbers = [f.name for f in schema if str(f.type) in NUMBERS]
        if len(numbers) < 2:
            return None
        return {"type": "unpivot", "columns": numbers[:2], "name": self.fresh(), "value": self.fresh()}

    def pivot(self, schema: Schema) -> dict[str, Any] | None:
        by, key = self.column(schema, "string"), self.plain(schema)
        if by is None or key is None:
            return None
        cells = {"n": "count(*)", "s": f"sum({self.number(schema)})"}
        return {
            "type": "pivot",
            "group_by": [f"`{key}`"],
            "column": f"`{by}`",
            "values": ["a", "q"],
            "aggregates": cells,
        }

    def fill(self, schema: Schema) -> dict[str, Any]:
        return {"type": "fill", "value": self.dice.choice([0, 1.5, "none", True])}

    def distinct(self, schema: Schema) -> dict[str, Any] | None:
        key = self.plain(schema)
        return {"type": "deduplicate", "keys": [key], "order_by": [self.number(schema)]} if key else None

    def join(self, schema: Schema) -> dict[str, Any] | None:
        if schema.get("t") is None or str(schema.get("t").type) != "string":  # type: ignore[union-attr]
            return None
        how = self.dice.choice(["inner", "left", "right", "full", "semi", "anti"])
        return {"type": "join", "with": "base", "on": "t", "how": how, "suffix": f"_{self.count}"}

    def union(self, schema: Schema) -> dict[str, Any] | None:
        mine = {f.name.lower(): f.type for f in schema}
        base = interop.from_arrow(BASE.schema)
        clashing = any(mine.get(f.name, f.type) != f.type for f in base)
        return None if clashing else {"type": "union", "with": "base", "allow_missing": True}


def query_of(fields: dict[str, Any], main: str, schema: Schema) -> Any:
    step: Step = STEP.validate_python(fields)
    base = interop.from_arrow(BASE.schema)
    others = [Input(name, base) for _, name in step.other_inputs()]
    return step.to_query(StepContext((Input(main, schema), *others)))


@pytest.fixture(scope="module")
def base(judge: Judge, tmp_path_factory: pytest.TempPathFactory) -> Schema:
    path = str(tmp_path_factory.mktemp("chains") / "base.parquet")
    pq.write_table(BASE, path)
    judge.spark.read.parquet(path).createOrReplaceTempView("base")
    return interop.from_arrow(BASE.schema)


@pytest.mark.parametrize("seed", range(CHAINS))
def test_a_random_chain_has_sparks_schema(seed: int, judge: Judge, base: Schema) -> None:
    chance = Chance(random.Random(seed))
    schema, main, told = base, "base", []
    for position in range(LONGEST):
        fields = chance.step(schema)
        if fields is None:
            continue
        query = query_of(fields, main, schema)
        text = sql.render(query)
        told.append(text)
        frame = judge.spark.sql(text)
        schemas = {main: schema, "base": base}
        schema = sql.analyze(query, schemas).schema
        theirs = [(f.name, f.dataType.simpleString()) for f in frame.schema]
        assert [(f.name, str(f.type)) for f in schema] == theirs, "\n\n".join(told)
        main = f"step_{position}"
        frame.createOrReplaceTempView(main)


def plan_of(folder: Any, *steps: dict[str, Any]) -> Plan:
    pq.write_table(BASE, folder / "base.parquet")
    source = {"type": "files", "path": str(folder / "base.parquet")}
    load = {"type": "files", "path": str(folder / "out"), "format": "parquet"}
    config = {"name": "p", "extract": {"base": source}, "transform": steps, "load": load}
    return build_plan(PipelineConfig.model_validate(config))


def test_explained_sql_runs_on_spark_as_it_is(tmp_path: Any, judge: Judge, base: Schema) -> None:
    plan = plan_of(
        tmp_path,
        {"type": "filter", "where": "i > 0 OR `d c` IS NULL", "id": "kept"},
        {"type": "validate", "rules": [{"name": "known", "check": "f > 0", "on_failure": "quarantine"}]},
        {"type": "join", "with": "base", "on": "i", "how": "left", "suffix": "_base", "id": "wide-one"},
        {"type": "window", "partition_by": ["t"], "order_by": ["i"], "columns": {"r": "row_number()"}},
        {"type": "aggregate", "group_by": ["t"], "metrics": {"n": "count(*)"}},
    )
    statements = [part for part in explain(plan, sql=True).split(";\n") if part.strip()]
    assert len(statements) == len(plan.steps)
    judge.spark.sql("SELECT *, 0L AS _rayetl_row FROM base").createOrReplaceTempView("base_with_row")
    for step, statement in zip(plan.steps, statements, strict=True):
        text = statement.replace("FROM base\n", "FROM base_with_row\n") if step.id == "kept" else statement
        frame = judge.spark.sql(text)
        assert step.analyzed is not None
        ours = [(f.name, str(f.type)) for f in step.analyzed.schema]
        assert ours == [(f.name, f.dataType.simpleString()) for f in frame.schema]
        names = [field.name for field in step.schema or ()] + (["_rayetl_row"] if step.id == "kept" else [])
        visible = frame.select(*(f"`{name}`" for name in names))
        visible.createOrReplaceTempView(f"`{step.id}`")
