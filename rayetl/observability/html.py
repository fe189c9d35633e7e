"""A run report as one HTML page that needs nothing but itself: no script, no fonts, no network."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template

from rayetl.observability import charts
from rayetl.observability.charts import esc
from rayetl.observability.report import RunReport
from rayetl.observability.text import Table, count, duration, rate, size, splits, tables

PILLS = {
    "done": ("good", "done"),
    "skipped": ("note", "skipped, committed before"),
    "nothing_new": ("note", "no new files"),
    "failed": ("bad", "failed"),
    "aborted": ("bad", "stopped by a quality rule"),
    "rejects_over_share": ("note", "done, too many rejects"),
    "stopped": ("note", "stopped by a signal"),
}
CELLS = {
    "committed": "good",
    "passed": "good",
    "yes": "good",
    "skipped": "note",
    "ignored": "note",
    "set aside": "note",
    "counted": "note",
    "not committed": "bad",
    "FAILED": "bad",
    "NO": "bad",
}
"""Words that are shown as a pill where they fill a cell of one of the `VERDICTS` columns."""

VERDICTS = frozenset({"status", "result", "balanced"})


@cache
def _page() -> Template:
    return Template(files("rayetl.observability").joinpath("page.html").read_text("utf-8"))


def to_html(report: RunReport) -> str:
    """The page; every value in it is escaped."""
    body = [
        _header(report),
        _error(report),
        _tiles(report),
        *(_message("note", f"warning: {warning}") for warning in report.warnings),
        _section("Rows from source to load", charts.flow(report)),
        _section("Rejected rows by reason", charts.reasons(report)),
        _section("Time per stage", charts.stages(report)),
        *_tables(report),
        _footer(report),
    ]
    title = esc(f"{report.pipeline}: {PILLS[report.status][1]}")
    return _page().substitute(title=title, body="\n".join(part for part in body if part))


def _header(report: RunReport) -> str:
    colour, text = PILLS[report.status]
    when = f"{report.started:%Y-%m-%d %H:%M:%S} UTC"
    where = f"engine {report.engine}, runtime {report.runtime}"
    if report.splits:
        where += f" · {splits(report.splits)}"
    meta = f"{when} · run {report.run} · run key {report.run_key} · {where}"
    return (
        f'<header><h1>{esc(report.pipeline)}</h1><span class="pill {colour}">{esc(text)}</span>'
        f'{_books_pill(report)}</header><p class="meta">{esc(meta)}</p>'
    )


def _books_pill(report: RunReport) -> str:
    if not report.books:
        return ""
    colour, text = ("good", "books balance") if report.balanced else ("bad", "books do not balance")
    return f'<span class="pill {colour}">{text}</span>'


def _error(report: RunReport) -> str:
    error = report.error
    if error is None:
        return ""
    place = f"{error.step}: " if error.step else ""
    return _message("bad", f"{place}{error.message}", f"hint: {error.hint}" if error.hint else None)


def _message(colour: str, text: str, more: str | None = None) -> str:
    second = f"<p>{esc(more)}</p>" if more else ""
    return f'<div class="message {colour}" role="status"><p>{esc(text)}</p>{second}</div>'


def _tiles(report: RunReport) -> str:
    shown = [
        ("rows read", count(report.rows_read)),
        ("rows loaded", count(report.rows_loaded)),
        ("rejected", count(report.rows_rejected)),
        ("filtered", count(report.rows_filtered)),
        ("time", duration(report.seconds)),
        ("speed", rate(report.rows_read, report.seconds)),
    ]
    if report.peak_memory_bytes:
        shown.append(("peak memory", size(report.peak_memory_bytes)))
    tiles = "".join(f'<div class="tile"><dt>{name}</dt><dd>{esc(value)}</dd></div>' for name, value in shown)
    return f'<dl class="tiles">{tiles}</dl>'


def _section(title: str, content: str) -> str:
    return f"<section><h2>{esc(title)}</h2>{content}</section>" if content else ""


def _tables(report: RunReport) -> list[str]:
    every = [table for table in tables(report) if table.title != "Time"]
    plain = [table for table in every if not table.title.startswith("Schema of ")]
    schemas = [table for table in every if table.title.startswith("Schema of ")]
    shown = [f"<section>{_table(table)}</section>" for table in plain]
    folded = "".join(
        f"<details><summary>{esc(table.title.removeprefix('Schema of '))} "
        f"<span>{count(len(table.rows))} columns</span></summary>{_table(table)}</details>"
        for table in schemas
    )
    return [*shown, _section("Schema of the outputs", folded)]


def _table(table: Table) -> str:
    right = [' class="right"' if index in table.right else "" for index in range(len(table.headers))]
    head = "".join(
        f'<th scope="col"{side}>{esc(name)}</th>' for name, side in zip(table.headers, right, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{side}>{_cell(header, cell)}</td>"
            for header, cell, side in zip(table.headers, row, right, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="scroll"><table><caption>{esc(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(header: str, cell: str) -> str:
    if header in VERDICTS and cell in CELLS:
        return f'<span class="pill {CELLS[cell]}">{esc(cell)}</span>'
    return esc(cell)


def _footer(report: RunReport) -> str:
    versions = ", ".join(f"{version.name} {version.version}" for version in report.versions)
    return f"<footer>Written by rayetl{esc(f' ({versions})' if versions else '')}.</footer>"
