"""The charts of the HTML report, as inline SVG: no script, colours from the page's style."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from rayetl.observability.report import RunReport, StepReport
from rayetl.observability.text import clean, count, duration, share
from rayetl.records import dataclass

WIDTH = 1000
LABEL = 230
BAR = 560
ROW = 52
THICK = 26
NOTE = 27

PARTS = ("rejected", "filtered", "deduplicated", "folded", "limited")
"""What can become of rows that a step does not hand on, in drawing order; also names of colours."""


def esc(text: str) -> str:
    """Text for HTML: markup and control characters are written out."""
    return html.escape(clean(text), quote=True)


def cut(text: str, length: int) -> str:
    """`text` shortened in the middle to `length` characters."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the flow: rows handed on, and those that were not, by reason."""

    name: str
    kind: str
    passed: int
    lost: tuple[tuple[str, int], ...] = ()
    inputs: tuple[str, ...] = ()
    added: int = 0

    @property
    def total(self) -> int:
        return self.passed + sum(rows for _, rows in self.lost)


def flow(report: RunReport) -> str:
    """Rows on their way from the sources through the steps to the loads; empty where nothing was counted."""
    bars = _bars(report)
    widest = max((bar.total for bar in bars), default=0)
    if not widest:
        return ""
    drawn = [_flow_bar(bars, index, widest) for index in range(len(bars))]
    alternative = f"{count(report.rows_read)} rows read, {count(report.rows_loaded)} loaded"
    return _svg(len(bars) * ROW, f"Rows from step to step: {alternative}", drawn) + _legend(bars)


def _bars(report: RunReport) -> list[Bar]:
    bars = [Bar(source.id, "source", source.rows_read) for source in report.sources]
    bars += [_step_bar(step) for step in report.steps if step.rows_out is not None]
    for load in report.loads:
        inputs = (load.input,) if load.input else ()
        kind = "load" if load.status == "committed" else f"{load.status.replace('_', ' ')} load"
        bars.append(Bar(load.load, kind, load.rows, inputs=inputs))
    return bars


def _step_bar(step: StepReport) -> Bar:
    numbers = (step.rejected, step.filtered, step.deduplicated, step.folded, step.limited)
    lost = tuple((part, rows) for part, rows in zip(PARTS, numbers, strict=True) if rows)
    return Bar(step.id, step.kind, step.rows_out or 0, lost, step.inputs, step.added)


def _flow_bar(bars: Sequence[Bar], index: int, widest: int) -> str:
    bar, top = bars[index], index * ROW + (ROW - THICK) / 2
    previous = bars[index - 1] if index else None
    follows = previous is not None and bar.inputs[:1] == (previous.name,)
    band = _band(previous, bar, widest, top) if follows and previous is not None else ""
    tooltip = f"{bar.name}: {count(bar.passed)} rows" + "".join(
        f", {count(rows)} {part}" for part, rows in bar.lost
    )
    return (
        f"<g><title>{esc(tooltip)}</title>{band}"
        f'<text x="0" y="{top + 10:g}" font-weight="600">{esc(cut(bar.name, 24))}</text>'
        f'<text x="0" y="{top + 26:g}" class="soft">{esc(cut(_origin(bar, follows), 30))}</text>'
        f"{_segments(bar, widest, top)}{_numbers(bar, top)}</g>"
    )


def _origin(bar: Bar, follows: bool) -> str:
    if not bar.inputs or (follows and len(bar.inputs) == 1):
        return bar.kind
    return f"{bar.kind} of {', '.join(bar.inputs)}"


def _band(previous: Bar, bar: Bar, widest: int, top: float) -> str:
    before, now = (BAR * rows / widest for rows in (previous.passed, min(bar.total, previous.passed)))
    above = top - (ROW - THICK)
    points = f"{LABEL},{above:g} {LABEL + before:.1f},{above:g} {LABEL + now:.1f},{top:g} {LABEL},{top:g}"
    return f'<polygon points="{points}" fill="var(--band)"/>'


def _segments(bar: Bar, widest: int, top: float) -> str:
    drawn = [f'<rect x="{LABEL}" y="{top:g}" width="{BAR}" height="{THICK}" rx="4" fill="var(--track)"/>']
    left = float(LABEL)
    for part, rows in (("rows", bar.passed), *bar.lost):
        width = max(BAR * rows / widest, 1.5) if rows else 0.0
        drawn.append(
            f'<rect x="{left:.1f}" y="{top:g}" width="{width:.1f}" height="{THICK}" fill="var(--{part})"/>'
        )
        left += width
    return "".join(drawn)


def _numbers(bar: Bar, top: float) -> str:
    x = LABEL + BAR + 16
    notes = [f"−{count(rows)} {part}" for part, rows in bar.lost]
    notes += [f"+{count(bar.added)} added"] if bar.added else []
    shown = ", ".join(notes)
    if len(shown) > NOTE:
        shown = f"−{count(bar.total - bar.passed)} in all"
    middle = top + THICK / 2 + 5
    first = top + 10 if notes else middle
    second = f'<text x="{x}" y="{top + 26:g}" class="soft num">{esc(shown)}</text>' if notes else ""
    return f'<text x="{x}" y="{first:g}" class="num" font-weight="600">{count(bar.passed)}</text>{second}'


def _legend(bars: Iterable[Bar]) -> str:
    used = {part for bar in bars for part, _ in bar.lost}
    named = [("rows", "handed on"), *((part, part) for part in PARTS if part in used)]
    return legend(named)


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Colour names with what they stand for."""
    items = "".join(
        f'<li><i style="background:var(--{colour})"></i>{esc(name)}</li>' for colour, name in entries
    )
    return f'<ul class="legend">{items}</ul>'


STAGE_COLOURS = ("rows", "deduplicated", "folded", "limited", "added", "filtered")


def stages(report: RunReport) -> str:
    """Time per stage as one divided bar."""
    whole = sum(stage.seconds for stage in report.stages)
    if not whole:
        return ""
    left, drawn, entries = 0.0, [], []
    for index, stage in enumerate(report.stages):
        colour = STAGE_COLOURS[index % len(STAGE_COLOURS)]
        width = WIDTH * stage.seconds / whole
        label = f"{stage.name}: {duration(stage.seconds)} ({share(stage.seconds / whole)})"
        drawn.append(
            f'<rect x="{left:.1f}" y="0" width="{max(width, 1):.1f}" height="28" fill="var(--{colour})">'
            f"<title>{esc(label)}</title></rect>"
        )
        entries.append((colour, label))
        left += width
    return _svg(28, f"Time per stage, {duration(whole)} in all", drawn) + legend(entries)


def reasons(report: RunReport, top: int = 10) -> str:
    """Refused rows by reason, most first."""
    found = sorted(report.rejects, key=lambda reason: -reason.rows)[:top]
    most = max((reason.rows for reason in found), default=0)
    if not most:
        return ""
    drawn = []
    for index, reason in enumerate(found):
        y = index * 46
        place = " · ".join(part for part in (reason.step, reason.rule, reason.field) if part)
        width = max((WIDTH - 130) * reason.rows / most, 2)
        drawn.append(
            f"<g><title>{esc(f'{reason.reason} ({place}): {count(reason.rows)} rows')}</title>"
            f'<text x="0" y="{y + 13}">{esc(cut(reason.reason, 80))}'
            f'<tspan class="soft" dx="8">{esc(cut(place, 60))}</tspan></text>'
            f'<rect x="0" y="{y + 21}" width="{width:.1f}" height="12" rx="3" fill="var(--rejected)"/>'
            f'<text x="{width + 10:.1f}" y="{y + 32}" class="num" font-weight="600">'
            f"{count(reason.rows)}</text></g>"
        )
    return _svg(len(found) * 46, "Rejected rows by reason", drawn)


def _svg(height: int, label: str, parts: Iterable[str]) -> str:
    return (
        f'<div class="scroll"><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{esc(label)}">'
        f"{''.join(parts)}</svg></div>"
    )
