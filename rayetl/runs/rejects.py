"""Refused rows become dead letters: all reasons, the step, the source position, the source record.

The engine leaves refused rows with their flags and position. Only if there are any are their source
records fetched by position; a row that has none any more (after an aggregation, say) is kept as the step
saw it, as JSON.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from rayetl.connectors.base import Epoch
from rayetl.connectors.dead_letters import DEAD_LETTER, DeadLetterFiles
from rayetl.connectors.formats import fetch_records
from rayetl.connectors.formats.writing import sink_files
from rayetl.engines.base import Measured
from rayetl.names import BAD, ROW
from rayetl.observability.report import RejectReason
from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.quality.base import RowCheck
from rayetl.sql import interop

if TYPE_CHECKING:
    from rayetl.connectors.base import LoadSession

BATCH = 50_000
"""Dead letters that are put together at a time."""


@dataclass(frozen=True, slots=True)
class Written:
    """The dead letters of a run: how many, and how often each reason."""

    rows: int = 0
    reasons: tuple[RejectReason, ...] = ()


def write(plan: Plan, measured: Measured, store: DeadLetterFiles, epoch: Epoch) -> Written:
    """Commit the refused rows of a run to the dead letter store, once for the epoch."""
    session = store.open(epoch)
    reasons: Counter[tuple[str, str, str | None, str]] = Counter()
    rows = sum(measured.refused[node] for node in measured.rejects)
    if session.committed() is None:
        _commit(session, _letters(plan, measured, epoch, reasons), rows)
    else:
        for batch in _letters(plan, measured, epoch, reasons):
            del batch
    found = (RejectReason(*reason, rows=count) for reason, count in reasons.most_common())
    return Written(rows, tuple(found))


def _commit(session: LoadSession, letters: Iterator[pl.DataFrame], rows: int) -> None:
    target = session.begin()
    assert target is not None
    try:
        sink_files(_lazy(letters), target).collect()
    except BaseException:
        session.abort()
        raise
    session.commit(rows)


def _lazy(batches: Iterator[pl.DataFrame]) -> pl.LazyFrame:
    """The batches as a scan that holds one of them at a time."""
    schema = interop.to_polars(DEAD_LETTER)

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        del rows, size
        for batch in batches:
            shown = batch if columns is None else batch.select(columns)
            yield shown if predicate is None else shown.filter(predicate)

    return pl.io.plugins.register_io_source(read, schema=schema)


def _letters(
    plan: Plan, measured: Measured, epoch: Epoch, reasons: Counter[tuple[str, str, str | None, str]]
) -> Iterator[pl.DataFrame]:
    for node, path in measured.rejects.items():
        if not measured.refused[node]:
            continue
        for batch in pl.scan_ipc(path).collect_batches(chunk_size=BATCH):
            yield from _letters_of(plan, plan.nodes[node], batch, epoch, reasons)


def _letters_of(
    plan: Plan,
    node: Any,
    batch: pl.DataFrame,
    epoch: Epoch,
    reasons: Counter[tuple[str, str, str | None, str]],
) -> Iterator[pl.DataFrame]:
    source = _source(plan, node)
    told = reasons_of(node, batch)
    for reason in (each for row in told for each in row):
        reasons[node.id, reason["rule"], reason["field"], reason["reason"]] += 1
    letters = [
        _letter(position, record, seen, node.id, epoch, source)
        for (position, record), seen in zip(_records(node, source, batch), told, strict=True)
    ]
    yield pl.DataFrame(letters, schema=interop.to_polars(DEAD_LETTER), orient="row")


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
) -> dict[str, Any]:
    file, row = (None, None) if position is None or source is None else _place(source, position)
    where = f"{file}:{row}".encode() if file is not None else record
    identity = b"\0".join((epoch.pipeline.encode(), epoch.key.encode(), step.encode(), where))
    return {
        "id": hashlib.sha256(identity).hexdigest()[:24],
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
        "time": datetime.now(UTC),
    }


def _place(source: SourceNode, position: int) -> tuple[str, int]:
    file, row = source.scan.locate(position)
    return file.path, row


def clear(directory: Path) -> None:
    """Remove the engine's files of refused rows."""
    for path in directory.glob("*.arrow"):
        path.unlink()
