"""Random plans run whole on all engines: the same rows, rejects and counts, whatever stands behind what."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayetl import Pipeline
from rayetl.engines.base import Engine
from rayetl.errors import ConfigError
from rayetl.sql.types import Schema
from tests.conformance.test_chains import BASE, Chance
from tests.conformance.whole.test_parity import assert_same, files, loads

PLANS = 12
LONGEST = 5
FUNCTIONS = ("sum({0})", "avg({0})", "min({0})", "max({0})", "count({0})", "sort_array(collect_list({0}))")


class Settled(Chance):
    """Makes steps with one right answer: nothing in them is left to the order of rows."""

    def step(self, schema: Schema) -> dict[str, Any] | None:
        return self.validate(schema) if self.dice.random() < 0.25 else super().step(schema)

    def validate(self, schema: Schema) -> dict[str, Any]:
        large = {
            "name": "large",
            "check": f"{self.number(schema)} > 0",
            "null_fails": self.dice.random() < 0.5,
        }
        there = {"name": "there", "not_null": [self.column(schema)], "on_failure": "warn"}
        return {"type": "validate", "rules": [large, there]}

    def distinct(self, schema: Schema) -> dict[str, Any]:
        return {"type": "deduplicate"}

    def aggregate(self, schema: Schema) -> dict[str, Any] | None:
        key, function = self.plain(schema), self.dice.choice(FUNCTIONS)
        metrics = {self.fresh(): function.format(self.number(schema)), self.fresh(): "count(*)"}
        return {"type": "aggregate", "group_by": [f"`{key}`"], "metrics": metrics} if key else None


def plan_of(seed: int) -> dict[str, Any]:
    """A config of steps that pass the check, each behind the one before it or another."""
    chance = Settled(random.Random(seed))
    base = {"name": "r", "extract": {"base": files("base.parquet")}}
    schemas: dict[str, Any] = {
        "base": Pipeline.from_dict({**base, "load": loads("base")}).plan().schema("base")
    }
    steps: list[dict[str, Any]] = []
    while len(steps) < LONGEST:
        before = chance.dice.choice([list(schemas)[-1]] * 3 + list(schemas))
        made = chance.step(schemas[before])
        if made is None:
            continue
        step = {"id": f"s{chance.count}_{len(steps)}", "from": before, **made}
        try:
            plan = Pipeline.from_dict({**base, "transform": [*steps, step], "load": loads(step["id"])}).plan()
        except ConfigError:
            continue
        steps.append(step)
        schemas[step["id"]] = plan.schema(step["id"])
    return {**base, "transform": steps, "load": loads(*(step["id"] for step in steps[-2:]))}


@pytest.mark.parametrize("seed", range(PLANS))
def test_a_random_plan_is_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Engine, seed: int
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = pa.concat_tables([BASE, BASE.slice(1), BASE.slice(0, 1)])
    pq.write_table(rows, "base.parquet", row_group_size=2)
    assert_same(plan_of(seed), other)
