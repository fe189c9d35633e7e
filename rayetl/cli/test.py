"""`rayetl test`"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rayetl.cli import shared
from rayetl.observability.text import write_tests


def run_tests(
    config: shared.Config,
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of tests; all by default.", metavar="[NAME]...")
    ] = None,
    assignments: shared.Assignments = None,
    as_json: shared.Json = False,
) -> int:
    """Run the config's own `tests`: given rows in, expected rows, rejects or error out.

    \b
    Examples:
      rayetl test flights.yaml
      rayetl test flights.yaml "late flights are averaged"

    Exits with 1 when a test fails, and shows which rows differ.
    """
    report = shared.load(config, assignments).test(tuple(names or ()))
    if as_json:
        shared.write_json(report)
    else:
        write_tests(report, sys.stdout)
    return 0 if report.passed else 1
