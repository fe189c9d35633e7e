"""`rayetl table history`, `optimize` and `vacuum`"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rayetl.cli import settings, shared
from rayetl.observability.text import Table, Writer, count, size

if TYPE_CHECKING:
    from rayetl.connectors.lake.upkeep import Change

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look back at tables of a lake, put their small files together, clear what nobody needs.",
)

Id = Annotated[
    str | None,
    typer.Argument(
        help="The source or load that names the table; not needed for the only one.", metavar="[ID]"
    ),
]


@app.command("history", epilog=settings.EPILOG)
def history(
    config: shared.Config,
    name: Id = None,
    assignments: shared.Assignments = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 20,
    as_json: shared.Json = False,
) -> int:
    """Show the changes of a table, newest first, and which run of which load made them.

    \b
    Examples:
      rayetl table history flights_lake.yaml
      rayetl table history flights_lake.yaml daily --limit 5
      rayetl table history flights_lake.yaml --json | jq '.[].version'
    """
    changes = shared.load(config, assignments).table(name).history(limit)
    if as_json:
        shared.write_json(tuple(changes))
        return 0
    headers = ("version", "time (UTC)", "operation", "rows", "load", "run")
    rows = tuple(map(_row, changes))
    Writer(sys.stdout).table(Table("Changes, newest first", headers, rows, frozenset({0, 3})))
    return 0


def _row(change: Change) -> tuple[str, ...]:
    load = f"{change.pipeline}: {change.load}" if change.load is not None else ""
    rows = "" if change.rows is None else count(change.rows)
    time = f"{change.time:%Y-%m-%d %H:%M:%S}"
    return (str(change.version), time, change.operation, rows, load, change.run or "")


@app.command("optimize", epilog=settings.EPILOG)
def optimize(
    config: shared.Config,
    name: Id = None,
    assignments: shared.Assignments = None,
    target_size: Annotated[
        str | None,
        typer.Option(
            help="About how large files get; by default as the table says, or 100MB.", metavar="SIZE"
        ),
    ] = None,
    as_json: shared.Json = False,
) -> int:
    """Put the small files of a Delta table together; its rows stay what they are.

    \b
    Examples:
      rayetl table optimize flights_lake.yaml
      rayetl table optimize flights_lake.yaml daily --target-size 256MiB

    Loads may go on meanwhile. The old files stay until a vacuum removes them. A pipeline that reads the
    table takes the new files for a new input.
    """
    wanted = None if target_size is None else _parsed(target_size, "Size", "--target-size", "64MiB")
    done = shared.load(config, assignments).table(name).optimize(wanted)
    if as_json:
        shared.write_json(done)
    elif not done.removed_files:
        typer.echo(f"{done.table}: nothing to put together, no file was changed")
    else:
        typer.echo(
            f"{done.table}: {count(done.removed_files)} files of {size(done.removed_bytes)} are now "
            f"{count(done.added_files)} of {size(done.added_bytes)}, in version {done.version}"
        )
    return 0


@app.command("vacuum", epilog=settings.EPILOG)
def vacuum(
    config: shared.Config,
    name: Id = None,
    assignments: shared.Assignments = None,
    retention: Annotated[
        str | None,
        typer.Option(
            help="Keep what versions of this time need; by default as the table says.", metavar="TIME"
        ),
    ] = None,
    shorten: Annotated[
        bool, typer.Option("--shorten", help="Allow a retention shorter than the table's own.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the files, not only count them.")] = False,
    as_json: shared.Json = False,
) -> int:
    """Count files of a Delta table that no version within the retention needs, and remove them on request.

    \b
    Examples:
      rayetl table vacuum flights_lake.yaml
      rayetl table vacuum flights_lake.yaml daily --delete
      rayetl table vacuum flights_lake.yaml --retention 24h --shorten --delete

    Versions older than the retention cannot be read any more afterwards.
    """
    wanted = None if retention is None else _parsed(retention, "Duration", "--retention", "7d")
    done = shared.load(config, assignments).table(name).vacuum(wanted, shorten=shorten, delete=delete)
    if as_json:
        shared.write_json(done)
        return 0
    what = f"{count(done.files)} files of {size(done.bytes)}"
    if not done.files:
        typer.echo(f"{done.table}: no file is older than the retention and needed by no version")
    elif done.deleted:
        typer.echo(f"{done.table}: {what} removed")
    else:
        typer.echo(f"{done.table}: {what} could be removed; --delete does it")
    return 0


def _parsed(text: str, kind: str, option: str, example: str) -> Any:
    """A size or a duration. Raises a usage error for what is none."""
    from pydantic import TypeAdapter, ValidationError

    from rayetl import model

    try:
        return TypeAdapter(getattr(model, kind)).validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(
            f"{text!r} is not a {kind.lower()} such as {example}", param_hint=option
        ) from error
