"""`rayetl parity`"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rayetl.cli import shared
from rayetl.observability.text import write_parity


def parity(
    config: shared.Config,
    assignments: shared.Assignments = None,
    sample: Annotated[
        int | None,
        typer.Option(help="Compare over the first N readable rows of each source.", metavar="N", min=1),
    ] = None,
    as_json: shared.Json = False,
) -> int:
    """Run a pipeline on Polars and on Spark, commit nothing, and show the rows that differ.

    \b
    Examples:
      rayetl parity flights.yaml
      rayetl parity flights.yaml --sample 10000

    Exits with 1 when anything differs: rows, types, rejects or counts.
    """
    report = shared.load(config, assignments).parity(sample)
    if as_json:
        shared.write_json(report)
    else:
        write_parity(report, sys.stdout)
    return 0 if report.same else 1
