"""What several commands need: the config argument, `--set`, and JSON on stdout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rayetl.observability.codec import to_json

if TYPE_CHECKING:
    from rayetl.pipeline import Pipeline

Config = Annotated[Path, typer.Argument(help="The pipeline's config, YAML or JSON.", metavar="CONFIG")]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Set a variable of the config's `vars`; may be repeated.", metavar="KEY=VALUE"
    ),
]
State = Annotated[Path, typer.Option("--state", help="Directory of run reports.", metavar="DIR")]
Runtime = Literal["local", "ray"]
SplitSize = Annotated[
    str | None,
    typer.Option(help="On Ray, about how much input a split takes; 64MiB by default.", metavar="SIZE"),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")]


def variables(assignments: Sequence[str] | None) -> dict[str, str]:
    """`["day=2013-01-01"]` as a mapping. Raises a usage error for anything without `=`."""
    pairs = [assignment.partition("=") for assignment in assignments or ()]
    for name, equals, _ in pairs:
        if not equals or not name.strip():
            raise typer.BadParameter(f"{name!r} is not KEY=VALUE", param_hint="--set")
    return {name.strip(): value for name, _, value in pairs}


def splitting(size: str | None, runtime: Runtime) -> dict[str, int]:
    """`--split-size` as an argument, where it was given. Raises a usage error for what is no size, and where
    nothing is cut."""
    if size is None:
        return {}
    if runtime == "local":
        raise typer.BadParameter("the runtime local cuts nothing", param_hint="--split-size")
    from pydantic import TypeAdapter, ValidationError

    from rayetl.model import Size

    try:
        found: int = TypeAdapter(Size).validate_python(size)
    except ValidationError as error:
        raise typer.BadParameter(
            f"{size!r} is not a size such as 64MiB", param_hint="--split-size"
        ) from error
    if found < 1:
        raise typer.BadParameter("a split holds at least one byte", param_hint="--split-size")
    return {"split_size": found}


def load(config: Path, assignments: Sequence[str] | None = None) -> Pipeline:
    """The pipeline of a config file. Raises `ConfigError`."""
    chosen = variables(assignments)
    from rayetl.pipeline import Pipeline

    return Pipeline.load(config, variables=chosen)


def write_json(value: object) -> None:
    """`value` as JSON on stdout."""
    sys.stdout.write(to_json(value).decode("ascii") + "\n")
