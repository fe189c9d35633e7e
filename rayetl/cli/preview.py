"""`rayetl preview`"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rayetl.cli import shared
from rayetl.observability.text import Table, Writer

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
    names = table.column_names
    headers = tuple(f"{field.name}: {field.type}" for field in table.schema)
    rows = tuple(tuple(_text(row[name]) for name in names) for row in table.to_pylist())
    numeric = frozenset(
        index for index, field in enumerate(table.schema) if str(field.type).startswith(NUMERIC)
    )
    return Table(f"{step or 'last step'}, {table.num_rows} rows", headers, rows, numeric)


NUMERIC = ("int", "uint", "float", "double", "halffloat", "decimal")


def _text(value: object) -> str:
    return "NULL" if value is None else str(value)
