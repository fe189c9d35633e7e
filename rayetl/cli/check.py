"""`rayetl check`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rayetl.cli import shared
from rayetl.cli.faults import problems, warnings
from rayetl.errors import ConfigError, Problem, RunError
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

    What is doubtful is warned of. Exits with 2 when there are problems, with 1 when all there is are sources
    that cannot be looked at, or a credential that is not there.
    """
    found: list[Problem] = []
    doubtful: list[Problem] = []
    code = 0
    for config in configs:
        try:
            doubts = shared.load(config, assignments).check()
        except ConfigError as error:
            found += error.problems
            code = error.exit_code
        except RunError as error:
            at = f"{error.step}: " if error.step else ""
            found.append(Problem("plan", f"{at}{error.message}", hint=error.hint, file=str(config)))
            code = code or error.exit_code
        else:
            doubtful += doubts
            if not as_json:
                sys.stdout.write(f"{clean(str(config))}: ok\n")
                warnings(doubts)
    if as_json:
        shared.write_json({"ok": not found, "problems": tuple(found), "warnings": tuple(doubtful)})
    elif found:
        problems(found)
    return code
