"""`rayetl explain`"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rayetl.cli import shared


def explain(
    config: shared.Config,
    assignments: shared.Assignments = None,
    sql: Annotated[bool, typer.Option("--sql", help="The Spark SQL query of every step.")] = False,
) -> int:
    """Show the plan of a pipeline: what is read, what each step does, what is written.

    \b
    Examples:
      rayetl explain flights.yaml
      rayetl explain flights.yaml --sql
    """
    sys.stdout.write(shared.load(config, assignments).explain(sql=sql).rstrip("\n") + "\n")
    return 0
