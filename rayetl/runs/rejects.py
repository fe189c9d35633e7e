"""Refused rows become dead letters: all reasons, the step, the source position, the source record.

The engine leaves refused rows with their flags and position. Only if there are any are their source
records fetched by position; a row that has none any more (after an aggregation, say) is kept as the step
saw it, as JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from rayetl.connectors.base import Epoch
from rayetl.connectors.commit import DirectorySession
from rayetl.connectors.dead_letters import DEAD_LETTER, DeadLetters, letter_id
from rayetl.connectors.formats import fetch_records
from rayetl.engines.base import Measured
from rayetl.names import BAD, ROW
from rayetl.observability.report import RejectReason
from rayetl.plan.checks import contract_of
from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.quality.avro import Contract
from rayetl.quality.base import RowCheck
from rayetl.sql import interop

BATCH = 50_000
"""Dead letters that are put together at a time."""


@dataclass(frozen=True, slots=True)
class Written:
    """The dead letters of a run: how many, and how often each reason."""

    rows: int = 0
    reasons: tuple[RejectReason, ...] = ()


def write(plan: Plan, measured: Measured, store: DeadLetters, epoch: Epoch, places: Places) -> Written:
    """Commit the refused rows of a run to the dead letter store, once for the epoch.

    `places` says where the records of a source really lie, for sources that stand in for others.
    """
    reasons: Counter[tuple[str, str, str | None, str]] = Counter()
    letters = _letters(plan, measured, epoch, reasons, places)
    session = store.open(epoch)
    if session.committed() is None:
        _commit(session, store, letters)
    else:
        for batch in letters:
            del batch
    found = (RejectReason(*reason, rows=count) for reason, count in reasons.most_common())
    return Written(sum(measured.refused[node] for node in measured.rejects), tuple(found))


def _commit(session: DirectorySession, store: DeadLetters, letters: Iterator[pl.DataFrame]) -> None:
    session.begin()
    try:
        rows = store.write(session, letters)
    except BaseException:
        session.abort()
        raise
    session.commit(rows)


def _letters(
    plan: Plan,
    measured: Measured,
    epoch: Epoch,
    reasons: Counter[tuple[str, str, str | None, str]],
    places: Places,
) -> Iterator[pl.DataFrame]:
    for node, path in measured.rejects.items():
        if not measured.refused[node]:
            continue
        for batch in pl.scan_ipc(path).collect_batches(chunk_size=BATCH):
            yield _letters_of(plan, _checking(plan, node), batch, epoch, reasons, places)


def _checking(plan: Plan, node: str) -> SourceNode | StepNode:
    found = plan.nodes[node]
    assert isinstance(found, SourceNode | StepNode)
    return found


def _letters_of(
    plan: Plan,
    node: SourceNode | StepNode,
    batch: pl.DataFrame,
    epoch: Epoch,
    reasons: Counter[tuple[str, str, str | None, str]],
    places: Places,
) -> pl.DataFrame:
    source = _source(plan, node)
    fingerprint = _fingerprint(source)
    told = reasons_of(node, batch)
    for reason in (each for row in told for each in row):
        reasons[node.id, str(reason["rule"]), reason["field"], str(reason["reason"])] += 1
    letters = [
        _letter(position, record, seen, node.id, epoch, source, fingerprint, places)
        for (position, record), seen in zip(_records(node, source, batch), told, strict=True)
    ]
    return pl.DataFrame(letters, schema=interop.to_polars(DEAD_LETTER), orient="row")


def _fingerprint(source: SourceNode | None) -> str | None:
    contract = contract_of(source.source) if source else None
    return Contract.load(contract.schema_).fingerprint if contract else None


def _source(plan: Plan, node: SourceNode | StepNode) -> SourceNode | None:
    """The source that the positions of a node's rows point into."""
    found: Any = node
    while isinstance(found, StepNode):
        if not found.carries_row:
            return None
        found = plan.nodes[found.main]
    return found if isinstance(found, SourceNode) else None


def reasons_of(node: SourceNode | StepNode, refused: pl.DataFrame) -> list[list[dict[str, Any]]]:
    """All reasons of each refused row."""
    return refused.select(_why(node).alias("reasons"))["reasons"].to_list()


def _why(node: SourceNode | StepNode) -> pl.Expr:
    """All reasons of a refused row as a list of structs, warnings included."""
    if isinstance(node, SourceNode):
        reason = pl.struct(
            rule=pl.lit("readable"),
            kind=pl.lit("malformed"),
            field=pl.lit(None, pl.String),
            reason=pl.col(BAD),
        )
        return pl.concat_list(reason)
    assert node.checked is not None
    return pl.concat_list([_flagged(check) for check in node.checked.rows]).list.drop_nulls()


def _flagged(check: RowCheck) -> pl.Expr:
    reason = pl.struct(
        rule=pl.lit(check.rule),
        kind=pl.lit(check.kind),
        field=pl.lit(check.field, pl.String),
        reason=pl.lit(check.reason),
    )
    return pl.when(pl.col(check.flag)).then(reason)


def _records(
    node: SourceNode | StepNode, source: SourceNode | None, batch: pl.DataFrame
) -> Iterator[tuple[int | None, bytes]]:
    """Position and source record of each row; the row itself as JSON where it has no position."""
    if source is None or ROW not in batch.columns:
        shown = batch.select(node.schema.names if node.schema else batch.columns)
        for line in shown.write_ndjson().encode().splitlines():
            yield None, line
        return
    positions = batch[ROW].to_list()
    found = dict(fetch_records(source.scan, sorted(set(positions))))
    for position in positions:
        yield position, found[position]


def _letter(
    position: int | None,
    record: bytes,
    reasons: list[dict[str, str | None]],
    step: str,
    epoch: Epoch,
    source: SourceNode | None,
    fingerprint: str | None,
    places: Places,
) -> dict[str, Any]:
    file, row, place = None, None, record.decode("utf-8", "surrogateescape")
    if position is not None and source is not None:
        file, row, place = places(source, position)
    return {
        "id": letter_id(epoch.pipeline, step, source.id if source else None, place),
        "pipeline": epoch.pipeline,
        "run": epoch.run,
        "epoch": epoch.key,
        "step": step,
        "reasons": reasons,
        "source": source.id if source else None,
        "file": file,
        "row": row,
        "record": record,
        "record_format": source.scan.format if source else "row",
        "contract_fingerprint": fingerprint,
        "time": datetime.now(UTC),
        "trace_id": None,
    }


Places = Callable[[SourceNode, int], tuple[str, int, str]]
"""From a source and a position in its scan to file, row, and a text that names the record for good."""


def as_scanned(source: SourceNode, position: int) -> tuple[str, int, str]:
    """The file and row of the scan itself."""
    file, row = source.scan.locate(position)
    return file.path, row, f"{file.path}:{row}"
