"""The books of a run: what became of every row, step by step and load by load."""

from __future__ import annotations

from dataclasses import fields

from rayetl.connectors.base import BatchScan, InputFile
from rayetl.engines.base import Measured
from rayetl.errors import BooksError
from rayetl.observability.report import BookLine, Column, SourceReport, StepReport
from rayetl.plan.nodes import LoadNode, Plan, SourceNode, StepNode
from rayetl.records import dataclass
from rayetl.sql.types import Schema
from rayetl.steps.base import RowEffect


@dataclass(slots=True)
class Tally:
    """Rows by what became of them on the way from a source to a load."""

    rejected: int = 0
    filtered: int = 0
    deduplicated: int = 0
    folded: int = 0
    limited: int = 0
    added: int = 0

    def gone(self) -> int:
        """Rows that did not come through, less those that came to exist."""
        lost = self.rejected + self.filtered + self.deduplicated + self.folded + self.limited
        return lost - self.added

    def __iadd__(self, other: Tally) -> Tally:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self


LESS = {
    RowEffect.DEDUPLICATES: "deduplicated",
    RowEffect.FOLDS: "folded",
    RowEffect.LIMITS: "limited",
}
"""What a step's missing rows are called; `filtered` where nothing else is said."""


def columns(schema: Schema | None) -> tuple[Column, ...]:
    """A schema as a report shows it."""
    return tuple(Column(field.name, str(field.type), field.nullable) for field in schema or ())


def source_reports(plan: Plan, measured: Measured) -> tuple[SourceReport, ...]:
    return tuple(
        SourceReport(
            id=source.id,
            location=_location(source),
            files=len(_files(source)),
            bytes=sum(file.size for file in _files(source)),
            rows_read=measured.read[source.id],
            schema=columns(source.schema),
        )
        for source in plan.sources
        if source.id in measured.read
    )


def _files(source: SourceNode) -> tuple[InputFile, ...]:
    return () if isinstance(source.scan, BatchScan) else source.scan.files


def _location(source: SourceNode) -> str:
    if isinstance(source.scan, BatchScan):
        return source.scan.place
    files = source.scan.files
    return files[0].path if len(files) == 1 else f"{files[0].path} and {len(files) - 1} more" if files else ""


def step_reports(plan: Plan, measured: Measured) -> tuple[StepReport, ...]:
    return tuple(
        _step_report(step, measured, tally(plan, step.id, measured))
        for step in plan.steps
        if step.id in measured.rows
    )


def _step_report(step: StepNode, measured: Measured, counted: Tally) -> StepReport:
    return StepReport(
        id=step.id,
        kind=step.kind,
        rows_in=rows_in(step, measured),
        rows_out=measured.rows[step.id],
        rejected=counted.rejected,
        filtered=counted.filtered,
        deduplicated=counted.deduplicated,
        folded=counted.folded,
        added=counted.added,
        limited=counted.limited,
        inputs=step.inputs,
    )


def rows_in(step: StepNode, measured: Measured) -> int:
    """The rows that a step got; of a union, from all its inputs."""
    if step.effect is RowEffect.UNITES:
        return sum(measured.rows[node] for node in step.inputs)
    return measured.rows[step.main]


def tally(plan: Plan, node: str, measured: Measured) -> Tally:
    """What became of the rows between the main input of a node and what it hands on."""
    found = plan.nodes[node]
    if isinstance(found, SourceNode):
        refused = measured.refused.get(node, 0)
        return Tally(filtered=refused) if found.scan.mode == "drop" else Tally(rejected=refused)
    assert isinstance(found, StepNode)
    refused = measured.refused.get(node, 0)
    less = measured.rows[found.main] - refused - measured.rows[node]
    counted = Tally(rejected=refused)
    if less < 0:
        counted.added = -less
    else:
        setattr(counted, LESS.get(found.effect, "filtered"), less)
    return counted


def book(plan: Plan, load: LoadNode, measured: Measured) -> BookLine:
    """The line of one load: every row read by its main source, and what became of it.

    Rows that further inputs of joins and unions bring in count as added.
    """
    way: list[str] = []
    node = plan.nodes[load.input]
    while isinstance(node, StepNode):
        way.append(node.id)
        node = plan.nodes[node.main]
    read = measured.read[node.id]
    counted = Tally()
    for name in (node.id, *reversed(way)):
        counted += tally(plan, name, measured)
    counted += Tally(rejected=measured.refused.get(load.id, 0))
    loaded = measured.staged[load.id]
    return BookLine(
        what=f"{node.id} -> {load.id}",
        rows_read=read,
        loaded=loaded,
        rejected=counted.rejected,
        filtered=counted.filtered,
        deduplicated=counted.deduplicated,
        folded=counted.folded,
        added=counted.added,
        limited=counted.limited,
        balanced=read - counted.gone() == loaded,
    )


def balance(plan: Plan, measured: Measured) -> tuple[BookLine, ...]:
    """The books of all loads that were staged. Raises `BooksError` where one does not balance."""
    lines = tuple(book(plan, load, measured) for load in plan.loads if load.id in measured.staged)
    for line in lines:
        if not line.balanced:
            raise BooksError(
                f"the books of {line.what} do not balance: {line.rows_read} rows read, {line.loaded} loaded, "
                f"{line.rejected} rejected, {line.filtered} filtered, {line.deduplicated} deduplicated, "
                f"{line.folded} folded, {line.limited} limited, {line.added} added",
                hint="nothing was committed; please report this with the config",
            )
    return lines
