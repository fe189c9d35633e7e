"""`rayetl check`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rayetl.cli import shared
from rayetl.cli.faults import problems
from rayetl.errors import ConfigError, Problem
from rayetl.observability.text import clean


def check(
    configs: Annotated[list[Path], typer.Argument(help="Configs, YAML or JSON.", metavar="CONFIG...")],
    assignments: shared.Assignments = None,
    as_json: shared.Json = False,
) -> int:
    """Find every problem of configs before a row is read: form, ids, SQL, columns, types, modes.

    \b
    Examples:
      rayetl check flights.yaml
      rayetl check configs/*.yaml
      rayetl check flights.yaml --json | jq '.problems[].message'
    """
    found: list[Problem] = []
    for config in configs:
        wrong = _problems(config, assignments)
        found += wrong
        if not wrong and not as_json:
            sys.stdout.write(f"{clean(str(config))}: ok\n")
    if as_json:
        shared.write_json({"ok": not found, "problems": tuple(found)})
    elif found:
        problems(found)
    return 2 if found else 0


def _problems(config: Path, assignments: list[str] | None) -> tuple[Problem, ...]:
    try:
        shared.load(config, assignments).check()
    except ConfigError as error:
        return error.problems
    return ()
