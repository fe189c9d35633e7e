"""Run reports on disk: `<state>/runs/<run>/report.json` and `report.html`."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from rayetl.errors import RayetlError
from rayetl.observability.html import to_html
from rayetl.observability.report import RunReport
from rayetl.records import dataclass

STATE = Path(".rayetl")
"""Where state lives unless the config says otherwise, relative to the working directory."""


@dataclass(frozen=True, slots=True)
class SavedReport:
    """Where the two forms of one report are."""

    json: Path
    html: Path


def save_report(report: RunReport, state: str | Path = STATE) -> SavedReport:
    """Write both forms of `report`, each whole or not at all. Raises `OSError`."""
    directory = Path(state) / "runs" / report.run
    directory.mkdir(parents=True, exist_ok=True)
    saved = SavedReport(directory / "report.json", directory / "report.html")
    write_whole(saved.html, to_html(report).encode("utf-8", "backslashreplace"))
    write_whole(saved.json, report.to_json())
    return saved


def write_whole(path: Path, data: bytes) -> None:
    """Replace `path` in one step, so that a reader sees the old content or the new. Raises `OSError`."""
    staged = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        staged.write_bytes(data)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def list_reports(state: str | Path = STATE) -> list[RunReport]:
    """All readable reports, the latest first; damaged ones are left out."""
    found = []
    for path in (Path(state) / "runs").glob("*/report.json"):
        try:
            found.append(RunReport.from_json(path.read_bytes()))
        except (OSError, ValueError):
            continue
    return sorted(found, key=lambda report: report.started, reverse=True)


def load_report(state: str | Path = STATE, run: str = "last") -> RunReport:
    """The report of a run id, of an unambiguous start of one, or of the `last` run.

    Raises `RayetlError` naming the runs there are, or the damaged file.
    """
    runs = Path(state) / "runs"
    if run == "last":
        return _last(state)
    names = [path.parent.name for path in runs.glob("*/report.json")]
    matches = [run] if run in names else [name for name in names if name.startswith(run)]
    if len(matches) == 1:
        return _read(runs / matches[0] / "report.json")
    if matches:
        raise RayetlError(f"run {run!r} is ambiguous: {', '.join(sorted(matches)[:5])}")
    near = get_close_matches(run, names, 1)
    hint = f"did you mean {near[0]}?" if near else "rayetl report --list shows the runs there are"
    raise RayetlError(f"there is no report of run {run!r} in {runs}", hint=hint)


def _last(state: str | Path) -> RunReport:
    reports = list_reports(state)
    if not reports:
        raise RayetlError(
            f"there are no run reports in {Path(state) / 'runs'}",
            hint="run a pipeline first, or name its state directory with --state",
        )
    return reports[0]


def _read(path: Path) -> RunReport:
    try:
        return RunReport.from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RayetlError(f"the report {path} cannot be read: {error}") from error
