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
    runtime: Annotated[shared.Runtime, typer.Option(help="Where it would run.")] = "local",
    split_size: shared.SplitSize = None,
) -> int:
    """Show the plan of a pipeline: what is read, what each step does, what is written.

    \b
    Examples:
      rayetl explain flights.yaml
      rayetl explain flights.yaml --sql
      rayetl explain flights.yaml --runtime ray
    """
    splits = shared.splitting(split_size, runtime)
    told = shared.load(config, assignments).explain(sql=sql, runtime=runtime, **splits)
    sys.stdout.write(told.rstrip("\n") + "\n")
    return 0
