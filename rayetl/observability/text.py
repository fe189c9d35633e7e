"""Reports as text: tables drawn with rich on a terminal, aligned plain columns anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rayetl.observability.report import (
    CheckReport,
    LoadReport,
    ParityReport,
    RunReport,
    SplitsReport,
    StepReport,
    TableDiff,
    TestReport,
)
from rayetl.records import dataclass

TOP_REASONS = 10


def clean(text: str, keep: str = "") -> str:
    """`text` with control characters written out, so that a name from the data cannot steer a terminal."""
    return "".join(
        char if char in keep or char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


def count(value: int | None) -> str:
    """`1234567` as `1,234,567`; a dash where nothing was counted."""
    return "-" if value is None else f"{value:,}"


def many(value: int, noun: str) -> str:
    """`1 run`, `2,000 runs`."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def size(value: float) -> str:
    """Bytes with a decimal unit: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """`340 ms`, `1.24 s`, `2 min 5 s` or `3 h 12 min`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60} s"
    return f"{minutes // 60} h {minutes % 60} min"


def rate(rows: int, seconds: float) -> str:
    """Rows a second, rounded to three digits: `1.23 M rows/s`."""
    if seconds <= 0:
        return "-"
    value = rows / seconds
    for unit in ("", "k", "M", "G"):
        if value < 1000 or unit == "G":
            break
        value /= 1000
    return f"{value:.3g} {unit}{' ' if unit else ''}rows/s"


def share(value: float | None) -> str:
    """A share of 0 to 1 in percent, small ones not rounded to nothing."""
    if value is None:
        return "-"
    return f"{value:.2%}" if value == 0 or value >= 0.0001 else f"{value * 100:.2g}%"


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of text cells; columns in `right` hold numbers."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()


def headline(report: RunReport) -> str:
    """One sentence: what became of the run."""
    said = {
        "done": "done",
        "skipped": "skipped: this run key was committed before, nothing was written",
        "nothing_new": "nothing new: every file was taken before, nothing was written",
        "failed": f"failed, {_visible(report)}",
        "aborted": f"stopped by a quality rule, {_visible(report)}",
        "rejects_over_share": "done, but more rows were rejected than allowed",
        "stopped": "stopped by a signal",
    }
    return f"{report.pipeline}: {said[report.status]}"


def _visible(report: RunReport) -> str:
    done = [load.load for load in report.loads if load.status == "committed"]
    return f"only {', '.join(done)} was committed before" if done else "nothing of it is visible in any load"


def splits(found: SplitsReport) -> str:
    """Of how many parts a run was made, and how many were there already."""
    kept = f", {count(found.kept)} of them finished by an earlier run" if found.kept else ""
    return f"{count(found.total)} splits{kept}"


def totals(report: RunReport) -> str:
    """Rows and speed of the whole run in one line."""
    parts = [
        f"{count(report.rows_read)} read",
        f"{count(report.rows_loaded)} loaded",
        f"{count(report.rows_rejected)} rejected",
        f"{count(report.rows_filtered)} filtered",
    ]
    speed = f"{duration(report.seconds)}, {rate(report.rows_read, report.seconds)}"
    memory = f", peak memory {size(report.peak_memory_bytes)}" if report.peak_memory_bytes else ""
    return f"{' · '.join(parts)} rows in {speed}{memory}"


def effect(step: StepReport) -> str:
    """What a step did to the rows, in words, without the parts that are zero."""
    named = (
        (step.rejected, "rejected"),
        (step.filtered, "filtered"),
        (step.deduplicated, "deduplicated"),
        (step.folded, "folded"),
        (step.added, "added"),
        (step.limited, "beyond the limit"),
    )
    return ", ".join(f"{count(number)} {what}" for number, what in named if number) or "kept all"


def tables(report: RunReport) -> list[Table]:
    """Everything worth a table in `report`, in reading order; empty ones are left out."""
    found = [_sources(report), _steps(report), _loads(report), _reasons(report), _checks(report)]
    found += [_stages(report), _books(report)]
    found += [_schema(load) for load in report.loads]
    return [table for table in found if table.rows]


def _sources(report: RunReport) -> Table:
    rows = tuple(
        (source.id, source.location, count(source.files), size(source.bytes), count(source.rows_read))
        for source in report.sources
    )
    return Table("Sources", ("source", "location", "files", "size", "rows read"), rows, frozenset({2, 3, 4}))


def _steps(report: RunReport) -> Table:
    rows = tuple(
        (step.id, step.kind, count(step.rows_in), count(step.rows_out), effect(step)) for step in report.steps
    )
    return Table("Steps", ("step", "kind", "rows in", "rows out", "of these"), rows, frozenset({2, 3}))


def _loads(report: RunReport) -> Table:
    headers = ("load", "location", "mode", "status", "rows", "files", "size", "rate")
    return Table("Loads", headers, tuple(map(_load, report.loads)), frozenset({4, 5, 6, 7}))


def _load(load: LoadReport) -> tuple[str, ...]:
    speed = rate(load.rows, load.seconds)
    status = load.status.replace("_", " ")
    numbers = (count(load.rows), count(load.files), size(load.bytes), speed)
    return (load.load, load.location, load.mode, status, *numbers)


def _reasons(report: RunReport) -> Table:
    top = sorted(report.rejects, key=lambda reason: -reason.rows)
    rows = tuple(
        (count(reason.rows), reason.step, reason.rule, reason.field or "", reason.reason)
        for reason in top[:TOP_REASONS]
    )
    more = f" (the top {TOP_REASONS} of {len(top)})" if len(top) > TOP_REASONS else ""
    return Table("Reject reasons" + more, ("rows", "step", "rule", "field", "reason"), rows, frozenset({0}))


def _checks(report: RunReport) -> Table:
    rows = tuple(
        (
            _verdict(check),
            check.step,
            check.rule,
            check.field,
            check.on_failure,
            check.observed if check.failed_rows is None else count(check.failed_rows),
            share(check.share),
            "any" if check.allowed is None and check.on_failure != "abort" else share(check.allowed or 0.0),
        )
        for check in report.checks
        if not check.passed or check.failed_rows
    )
    shown = tuple(tuple(cell or "" for cell in row) for row in rows)
    headers = ("result", "step", "rule", "field", "on failure", "failing", "share", "allowed")
    return Table("Checks that found something", headers, shown, frozenset({5, 6, 7}))


def _verdict(check: CheckReport) -> str:
    """A failing check is only called so where it has consequences for the run."""
    over = check.allowed is not None and (check.share or 0.0) > check.allowed
    if check.passed:
        return "passed"
    if check.on_failure == "abort" or over or check.failed_rows is None:
        return "FAILED"
    return "set aside" if check.on_failure == "quarantine" else "counted"


def _stages(report: RunReport) -> Table:
    whole = sum(stage.seconds for stage in report.stages) or 1.0
    rows = tuple(
        (stage.name, duration(stage.seconds), share(stage.seconds / whole)) for stage in report.stages
    )
    return Table("Time", ("stage", "time", "share"), rows, frozenset({1, 2}))


def _books(report: RunReport) -> Table:
    rows = tuple(
        (
            line.what,
            *map(count, (line.rows_read, line.added, line.loaded, line.rejected, line.filtered)),
            *map(count, (line.deduplicated, line.folded, line.limited)),
            "yes" if line.balanced else "NO",
        )
        for line in report.books
    )
    title = "Books, had it gone on" if report.status in ("failed", "aborted", "stopped") else "Books"
    headers = ("books of", "read", "+ added", "loaded", "rejected", "filtered", "deduplicated", "folded")
    return Table(title, (*headers, "limited", "balanced"), rows, frozenset(range(1, 9)))


def _schema(load: LoadReport) -> Table:
    rows = tuple((column.name, column.type, "" if column.nullable else "not null") for column in load.schema)
    return Table(f"Schema of {load.load}", ("column", "type", "nulls"), rows)


def write_report(report: RunReport, stream: TextIO | None = None, *, error: bool = True) -> None:
    """Show a run: headline, totals, tables, warnings, and unless told otherwise its error."""
    out = Writer(stream or sys.stdout)
    out.line(headline(report))
    out.line(totals(report))
    identity = f"run {report.run}, run key {report.run_key}, engine {report.engine} on {report.runtime}"
    out.line(identity)
    if report.engine_log:
        out.line(f"log of {report.engine}: {report.engine_log}")
    if report.splits:
        out.line(splits(report.splits))
    for table in tables(report):
        out.table(table)
    for warning in report.warnings:
        out.line(f"warning: {warning}")
    if report.error and error:
        place = f"{report.error.step}: " if report.error.step else ""
        out.line(f"error: {place}{report.error.message}")
        if report.error.hint:
            out.line(f"hint: {report.error.hint}")


def write_tests(report: TestReport, stream: TextIO | None = None) -> None:
    """Show a test run: a line for each case, the row diffs of failed ones, the sum."""
    out = Writer(stream or sys.stdout)
    for case in report.cases:
        verdict = "passed" if case.passed else "FAILED"
        out.line(f"{verdict}  {case.name}  ({case.engine}, {duration(case.seconds)})")
        if case.error:
            out.line(f"  error: {case.error}")
        for diff in case.diffs:
            out.table(diff_table(diff))
    failed = sum(not case.passed for case in report.cases)
    out.line(f"{len(report.cases) - failed} passed, {failed} failed")


def write_parity(report: ParityReport, stream: TextIO | None = None) -> None:
    """Show how two engines compare: what was compared, and every difference."""
    out = Writer(stream or sys.stdout)
    first, second = report.engines
    took = ", ".join(
        f"{engine} {duration(seconds)}"
        for engine, seconds in zip(report.engines, report.seconds, strict=True)
    )
    loads = ", ".join(f"{load} {count(rows)}" for load, rows in report.rows)
    out.line(f"{report.pipeline}: rows of {loads}; {count(report.rejects)} rejects; {took}")
    for diff in report.diffs:
        out.table(diff_table(diff))
    verdict = "give the same" if report.same else "DIFFER"
    out.line(f"{first} and {second} {verdict}")


def diff_table(diff: TableDiff) -> Table:
    """Expected and actual rows under each other, only what differs marked by an arrow."""
    rows: list[tuple[str, ...]] = []
    for row in diff.rows:
        if row.expected is not None and row.actual is not None:
            cells = (
                left.text if left == right else f"{_pair(left.text, left.type, right.text, right.type)}"
                for left, right in zip(row.expected, row.actual, strict=True)
            )
            rows.append(("~", *cells))
        elif row.expected is not None:
            rows.append(("- missing", *(cell.text for cell in row.expected)))
        elif row.actual is not None:
            rows.append(("+ extra", *(cell.text for cell in row.actual)))
    more = f", {diff.more} more differing rows" if diff.more else ""
    title = f"{diff.what}: {diff.expected_rows} rows expected, {diff.actual_rows} came{more}"
    return Table(title, ("", *diff.columns), tuple(rows))


def _pair(left: str, left_type: str, right: str, right_type: str) -> str:
    if left == right:
        return f"{left} ({left_type}) => {right} ({right_type})"
    return f"{left} => {right}"


class Writer:
    """Lines and tables to one stream, in colour and with rules only where a terminal shows them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()

    def line(self, text: str) -> None:
        self._stream.write(clean(text, keep="\n") + "\n")

    def table(self, table: Table) -> None:
        shown = Table(
            clean(table.title),
            tuple(map(clean, table.headers)),
            tuple(tuple(clean(cell) for cell in row) for row in table.rows),
            table.right,
        )
        self._stream.write("\n")
        if self._terminal:
            _rich(shown, self._stream)
        else:
            self._stream.writelines(f"{line}\n" for line in plain(shown))


def plain(table: Table) -> Iterable[str]:
    """A table in aligned columns: title, headers, rows."""
    every = (table.headers, *table.rows)
    widths = [max(len(row[index]) for row in every) for index in range(len(table.headers))]
    yield f"{table.title}:"
    for row in every:
        yield "  " + _aligned(row, widths, table.right).rstrip()


def _aligned(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    return "  ".join(
        cell.rjust(width) if index in right else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    )


def _rich(table: Table, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=Text(table.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    for index, header in enumerate(table.headers):
        drawn.add_column(Text(header), justify="right" if index in table.right else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    Console(file=stream).print(drawn)


def _style(cell: str) -> str:
    if cell in ("FAILED", "NO", "not committed") or cell.startswith("- missing"):
        return "red"
    return "green" if cell in ("passed", "yes", "committed") else ""
