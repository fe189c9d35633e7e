"""`rayetl report`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rayetl.cli import shared
from rayetl.cli.run import write_file
from rayetl.observability.report import RunReport
from rayetl.observability.text import Table, Writer, count, duration, many, write_report


def report(
    run: Annotated[
        str, typer.Argument(help="Run id, the start of one, or `last`.", metavar="[RUN]")
    ] = "last",
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the HTML page here.", metavar="PATH")
    ] = None,
    as_json: shared.Json = False,
    listed: Annotated[bool, typer.Option("--list", help="List all runs, the latest first.")] = False,
    state: shared.State = Path(".rayetl"),
) -> int:
    """Show the report of a run that is over.

    \b
    Examples:
      rayetl report
      rayetl report --list
      rayetl report last --html report.html
      rayetl report 20130101 --json | jq .rejects
    """
    from rayetl.observability.store import list_reports, load_report

    if listed:
        _list(list_reports(state), as_json)
        return 0
    found = load_report(state, run)
    if html is not None:
        write_file(found, html.with_suffix(".html") if html.suffix == ".json" else html)
    if as_json:
        shared.write_json(found)
    elif html is None:
        write_report(found, sys.stdout)
    return 0


def _list(reports: list[RunReport], as_json: bool) -> None:
    if as_json:
        shared.write_json(tuple(reports))
        return
    rows = tuple(
        (
            found.run,
            found.pipeline,
            f"{found.started:%Y-%m-%d %H:%M:%S}",
            found.status.replace("_", " "),
            count(found.rows_loaded),
            count(found.rows_rejected),
            duration(found.seconds),
        )
        for found in reports
    )
    headers = ("run", "pipeline", "started (UTC)", "status", "loaded", "rejected", "time")
    Writer(sys.stdout).table(Table(many(len(rows), "run"), headers, rows, frozenset({4, 5, 6})))
