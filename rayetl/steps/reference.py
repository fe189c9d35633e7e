"""The page `docs/steps.md`: every verb with its fields, an example, and the SQL the example turns into.

`python -m rayetl.steps.reference > docs/steps.md` writes it.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import TypeAdapter
from sqlglot import exp

from rayetl.sql import types as t
from rayetl.sql.parse import render
from rayetl.steps import AnyStep, Input, Step, StepContext, Verb

_INTRO = """# Steps

Written by `python -m rayetl.steps.reference`; do not edit.

Each step of `transform` turns itself into one Spark SQL query, which Spark 3.5 runs unchanged and the
embedded engine compiles to Polars. A step reads the step before it, the first one the first source; `from`
names another. The SQL shown is what `rayetl explain --sql` prints for the example. Names inside SQL texts
that are no plain words stand in backticks. The step `validate` is described with the
[config](reference/config.md).

`current_timestamp`, `current_date` and their like give the time at which the plan of the run was made, the
same in every row, step and rule, and do not make a run new. What would give other values each time it is
asked (`rand`, `uuid`) is refused.
"""

FLIGHTS = t.Schema(
    (
        t.Field("carrier", t.STRING),
        t.Field("origin", t.STRING),
        t.Field("time_hour", t.TIMESTAMP),
        t.Field("dep_delay", t.INT),
        t.Field("arr_delay", t.INT),
        t.Field("tags", t.ArrayType(t.STRING)),
    )
)
AIRLINES = t.Schema((t.Field("carrier", t.STRING), t.Field("name", t.STRING)))
ARCHIVE = t.Schema((t.Field("origin", t.STRING), t.Field("carrier", t.STRING), t.Field("pilot", t.STRING)))
_INPUTS = {"flights": FLIGHTS, "airlines": AIRLINES, "archive": ARCHIVE}

EXAMPLES: tuple[dict[str, Any], ...] = (
    {"type": "filter", "where": "dep_delay IS NOT NULL AND origin = 'JFK'"},
    {"type": "select", "columns": ["carrier", "dep_delay / 60.0 AS hours"]},
    {
        "type": "select",
        "add": {"late": "arr_delay > 15"},
        "cast": {"dep_delay": "smallint"},
        "rename": {"carrier": "airline"},
        "drop": ["tags"],
    },
    {"type": "deduplicate", "keys": ["carrier", "time_hour"], "order_by": ["dep_delay DESC"]},
    {
        "type": "aggregate",
        "group_by": ["carrier", "to_date(time_hour) AS day"],
        "metrics": {"flights": "count(*)", "mean_delay": "avg(arr_delay)"},
        "having": "flights > 10",
    },
    {"type": "join", "with": "airlines", "on": "carrier", "how": "left"},
    {
        "type": "join",
        "with": "airlines",
        "condition": "flights.carrier = airlines.carrier AND flights.dep_delay > 0",
        "suffix": "_airline",
    },
    {
        "type": "window",
        "partition_by": ["carrier"],
        "order_by": ["time_hour"],
        "frame": "ROWS BETWEEN 6 PRECEDING AND CURRENT ROW",
        "columns": {"place": "row_number()", "mean_of_7": "avg(dep_delay)"},
    },
    {
        "type": "pivot",
        "group_by": ["carrier"],
        "column": "origin",
        "values": ["EWR", "JFK"],
        "aggregates": {"flights": "count(*)"},
    },
    {"type": "unpivot", "ids": ["carrier"], "columns": ["dep_delay", "arr_delay"], "name": "kind"},
    {"type": "flatten", "column": "tags", "as": "tag", "outer": True},
    {"type": "union", "with": "archive", "allow_missing": True},
    {"type": "sort", "by": ["carrier", "dep_delay DESC NULLS LAST"]},
    {"type": "limit", "rows": 100},
    {"type": "fill", "value": {"dep_delay": 0, "origin": "unknown"}},
    {"type": "sql", "query": "SELECT carrier, max(dep_delay) AS worst FROM input GROUP BY carrier"},
)

VERBS: tuple[type[Step], ...] = get_args(Verb)
_COMMON = frozenset(Step.model_fields) | {"type"}


def page() -> str:
    """The whole page."""
    parts = [_INTRO]
    for verb in VERBS:
        parts.extend(_section(verb))
    return "\n".join(parts)


def _section(verb: type[Step]) -> Iterator[str]:
    name = verb.model_fields["type"].default
    yield f"## {name}\n\n{inspect.getdoc(verb)}\n"
    yield "| field | | what it says |\n|---|---|---|"
    for field, info in verb.model_fields.items():
        if field not in _COMMON:
            yield _row(info.alias or field, info.is_required(), info.description or "")
    for example in EXAMPLES:
        if example["type"] == name:
            yield f"\n```yaml\n{_yaml(example)}```\n```sql\n{sql_of(example)}\n```"
    yield ""


def _row(field: str, required: bool, description: str) -> str:
    told = description.replace("|", "\\|")
    return f"| `{field}` | {'required' if required else ''} | {told} |"


def _yaml(example: dict[str, Any]) -> str:
    """The example as a list item in flow-free YAML; JSON scalars and lists are YAML."""
    lines = []
    for key, value in example.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines += [f"  {inner}: {_scalar(item)}" for inner, item in value.items()]
        else:
            lines.append(f"{key}: {_scalar(value)}")
    return "".join(f"{'- ' if index == 0 else '  '}{line}\n" for index, line in enumerate(lines))


def _scalar(value: object) -> str:
    if isinstance(value, str) and value.isidentifier():
        return value
    return json.dumps(value, ensure_ascii=False)


def sql_of(example: dict[str, Any]) -> str:
    """The SQL of an example over the page's inputs."""
    step: Step = TypeAdapter(AnyStep).validate_python(example)
    others = [Input(name, _INPUTS[name]) for _, name in step.other_inputs()]
    query = step.to_query(StepContext((Input("flights", FLIGHTS), *others)))
    assert isinstance(query, exp.Expression)
    return render(query)


if __name__ == "__main__":
    sys.stdout.write(page())
