"""`rayetl preview`"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rayetl.cli import shared
from rayetl.observability.text import Table, Writer, many

if TYPE_CHECKING:
    import pyarrow as pa


def preview(
    config: shared.Config,
    assignments: shared.Assignments = None,
    step: Annotated[
        str | None, typer.Option(help="Source or step to look at; by default the last.", metavar="ID")
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows to show.", min=0)] = 20,
    as_json: shared.Json = False,
) -> int:
    """Show the first rows that a step hands on, without writing anything.

    \b
    Examples:
      rayetl preview flights.yaml
      rayetl preview flights.yaml --step daily --rows 5
      rayetl preview flights.yaml --json | jq .carrier

    With --json each row is one JSON object on its own line.
    """
    table = shared.load(config, assignments).preview(step, rows)
    if as_json:
        for row in table.to_pylist():
            sys.stdout.write(json.dumps(row, default=str, ensure_ascii=False) + "\n")
    else:
        Writer(sys.stdout).table(_shown(table, step))
    return 0


def _shown(table: pa.Table, step: str | None) -> Table:
    from rayetl.sql.interop import from_arrow
    from rayetl.sql.types import FRACTIONAL, INTEGRAL, DecimalType

    fields = from_arrow(table.schema).fields
    headers = tuple(f"{field.name}: {field.type}" for field in fields)
    rows = tuple(tuple(_text(row[field.name]) for field in fields) for row in table.to_pylist())
    numbers = (*INTEGRAL, *FRACTIONAL)
    numeric = frozenset(
        place
        for place, field in enumerate(fields)
        if field.type in numbers or isinstance(field.type, DecimalType)
    )
    return Table(f"{step or 'last step'}, {many(table.num_rows, 'row')}", headers, rows, numeric)


def _text(value: object) -> str:
    return "NULL" if value is None else str(value)
