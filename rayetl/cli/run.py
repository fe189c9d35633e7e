"""`rayetl run`"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from rayetl.cli import faults, settings, shared
from rayetl.errors import RayetlError
from rayetl.observability import progress
from rayetl.observability.report import RunReport
from rayetl.observability.text import write_report

IN_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""What `ray job submit` sets in the environment of the command that it starts."""


def _report_file(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in (".html", ".json"):
        raise typer.BadParameter(f"{path} ends neither in .html nor in .json")
    return path


def _not_empty(key: str | None) -> str | None:
    if key == "":
        raise typer.BadParameter("a key is wanted, not an empty text")
    return key


RunKey = Annotated[
    str | None,
    typer.Option(
        help="Name of this run's epoch; a committed one is skipped.",
        metavar="KEY",
        callback=_not_empty,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Run although this key is committed.")]
ChosenRuntime = Annotated[
    shared.Runtime | None,
    typer.Option(help="This process, or a Ray cluster; by default local, in a Ray job ray."),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="The Ray cluster to join, `auto` for this machine's; by default that of "
        "RAY_ADDRESS, or one is started.",
        metavar="HOST:PORT",
    ),
]
ReportPath = Annotated[
    Path | None,
    typer.Option(
        "--report",
        help="Also write the report here: .html or .json.",
        metavar="PATH",
        callback=_report_file,
    ),
]


def run(
    context: typer.Context,
    config: shared.Config,
    assignments: shared.Assignments = None,
    run_key: RunKey = None,
    force: Force = False,
    runtime: ChosenRuntime = None,
    address: Address = None,
    split_size: shared.SplitSize = None,
    as_json: shared.Json = False,
    report_path: ReportPath = None,
) -> int:
    """Run a pipeline: read once, check, load, commit once, show the report.

    \b
    Examples:
      rayetl run flights.yaml
      rayetl run flights.yaml --set day=2013-01-01 --run-key 2013-01-01
      rayetl run flights.yaml --force --report flights.html
      rayetl run flights.yaml --json | jq .loads
      rayetl run flights.yaml --runtime ray --address auto

    \b
    Exit codes:
      0 done   1 failed   2 config   3 stopped by a quality rule
      4 more rejects than allowed   130, 143 stopped by a signal
    """
    chosen, place = settings.of(context), _runtime(runtime, address)
    splits = shared.splitting(split_size, place)
    pipeline = shared.load(config, assignments)

    def doing(listener: progress.ProgressListener) -> RunReport:
        return pipeline.run(
            run_key=run_key, force=force, progress=listener, runtime=place, address=address, **splits
        )

    return told(doing, chosen, as_json, report_path)


def told(
    doing: Callable[[progress.ProgressListener], RunReport],
    chosen: settings.Settings,
    as_json: bool,
    path: Path | None = None,
) -> int:
    """Do a run and show its report, also where it fails, in the form asked for; gives its exit code."""
    try:
        with progress.shown(quiet=chosen.quiet, as_log=chosen.json_logs) as listener:
            found = doing(listener)
    except RayetlError as error:
        if error.report is not None:
            try:
                _tell(error.report, as_json, path, chosen.quiet)
            except RayetlError as unwritten:
                # It must not stand in for what stopped the run.
                faults.show(unwritten, debug=chosen.debug)
        raise
    _tell(found, as_json, path, chosen.quiet)
    return int(found.exit_code)


def _runtime(chosen: shared.Runtime | None, address: str | None) -> shared.Runtime:
    """The runtime asked for. Raises a usage error for an address that nothing would join."""
    if chosen == "local" and address is not None:
        raise typer.BadParameter("the runtime local joins no cluster", param_hint="--address")
    in_job = IN_JOB in os.environ
    return chosen or ("ray" if address is not None or in_job else "local")


def _tell(report: RunReport, as_json: bool, path: Path | None, quiet: bool) -> None:
    """Show a report in the form asked for, and write it to `path`."""
    if as_json:
        shared.write_json(report)
    elif not quiet:
        # the error itself is on its way to stderr
        write_report(report, sys.stdout, error=False)
    if path is not None:
        write_file(report, path)


def write_file(report: RunReport, path: Path) -> None:
    """The report as JSON where `path` ends so, else as an HTML page. Raises `RayetlError`."""
    from rayetl.observability.html import to_html
    from rayetl.observability.store import write_whole

    html = path.suffix.lower() != ".json"
    data = to_html(report).encode("utf-8", "backslashreplace") if html else report.to_json()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise RayetlError(
            f"the report cannot be written to {path}: {error.strerror}",
            hint="what the run did stands; `rayetl report last --html PATH` writes it elsewhere",
        ) from error
