"""Refused rows become dead letters: all reasons, the step, the source position, the source record.

The engine leaves refused rows with their flags and position. Letters are made of them column by column, as
one stream from the engine's file to the store's. Source records are taken from the rows themselves where
these still hold them, else fetched by position; a row that has no position any more (after an aggregation,
say) is kept as the step saw it, as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from rayetl.connectors.base import Epoch, FilesScan
from rayetl.connectors.dead_letters import DeadLetters, content_ids, digest, place_of, row_ids
from rayetl.connectors.formats import fetch_records, row_json
from rayetl.connectors.listing import as_text, fingerprint
from rayetl.engines.base import Measured
from rayetl.names import BAD, FIELD, PREFIX, RECORD, ROW, ROW_BITS, RULE
from rayetl.observability.report import CheckReport, RejectReason
from rayetl.plan.checks import contract_of
from rayetl.plan.nodes import LoadNode, Node, Plan, SourceNode, StepNode
from rayetl.plan.origins import held_columns
from rayetl.quality.avro import Contract
from rayetl.quality.base import RowCheck
from rayetl.records import dataclass

GROUND = f"{PREFIX}ground"

REFUSED = "refused"
"""The kind of reason of a row that the store of a load refused."""


@dataclass(frozen=True, slots=True)
class Written:
    """The dead letters of a run: how many, and how often each reason."""

    rows: int = 0
    reasons: tuple[RejectReason, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    """Where the records of a source really lie: `file` gives the index in `files` for a position `ROW`, `row`
    the row number in that file. `versions` tells letters apart of what lay there at different times."""

    files: Sequence[str]
    versions: Sequence[str]
    file: pl.Expr
    row: pl.Expr


def as_scanned(source: SourceNode) -> Places:
    """The files and rows of the scan itself."""
    assert isinstance(source.scan, FilesScan)
    files = [file.path for file in source.scan.files]
    versions = [fingerprint([file]) for file in source.scan.files]
    return Places(files, versions, pl.col(ROW) // (1 << ROW_BITS), pl.col(ROW) % (1 << ROW_BITS))


@dataclass(frozen=True, slots=True)
class _Refused:
    """What one node refused. `source` is the source that the positions of the rows point into. `grounds` has
    a row for each set of checks that rows failed together: `reasons`, and how many `rows`, of which `lost`
    ones have no position. The column GROUND of the rows tells theirs by its number."""

    node: Node
    source: SourceNode | None
    rows: pl.LazyFrame
    grounds: pl.DataFrame


def write(
    plan: Plan,
    measured: Measured,
    store: DeadLetters,
    epoch: Epoch,
    places: Callable[[SourceNode], Places],
) -> Written:
    """Commit the refused rows of a run to the dead letter store, once for the epoch.

    `places` says where the records of a source really lie, for sources that stand in for others. Raises
    `SourceError` where a record cannot be read again, and what a commit raises.
    """
    refused = [
        _refused(plan, node, parts) for node, parts in measured.rejects.items() if measured.refused[node]
    ]
    rows = sum(measured.refused[node] for node in measured.rejects)
    store.write(epoch, (letters for each in refused for letters in _all(plan, each, epoch, places)), rows)
    return Written(rows, _counted(refused))


def first_place(
    plan: Plan, measured: Measured, places: Callable[[SourceNode], Places], check: CheckReport
) -> str | None:
    """Where the first of the refused rows lies that failed `check`; `None` where they have no place."""
    node = plan.nodes[check.step]
    assert isinstance(node, StepNode)
    assert node.checked is not None
    told = (check.rule, check.field, check.reason)
    flags = [each.flag for each in node.checked.rows if (each.rule, each.field, each.reason) == told]
    parts, source = measured.rejects.get(node.id), _source(plan, node)
    if not flags or not parts or source is None:
        return None
    failed = pl.scan_ipc(list(parts), glob=False).filter(pl.any_horizontal(flags))
    first = failed.select(pl.col(ROW).min()).drop_nulls().collect()
    if first.is_empty():
        return None
    place = places(source)
    file, row = first.select(file=place.file, row=place.row).row(0)
    return place_of(as_text(place.files[file]), row)


def _refused(plan: Plan, name: str, parts: Sequence[Path]) -> _Refused:
    node, rows = plan.nodes[name], pl.scan_ipc(list(parts), glob=False)
    columns = rows.collect_schema().names()
    source = _source(plan, node) if ROW in columns else None
    keys = _keys(node)
    lost = pl.col(ROW).null_count() if source else pl.len()
    counts = rows.group_by(keys).agg(rows=pl.len(), lost=lost)
    grounds = counts.with_columns(reasons=_why(node)).collect(engine="streaming").with_row_index(GROUND)
    # A number in place of keys, which may be texts: rows that have to be sorted are taken into memory.
    numbers = grounds.lazy().select(*keys, GROUND)
    numbered = rows.join(numbers, on=keys, how="left", nulls_equal=True, maintain_order="left")
    return _Refused(node, source, numbered.drop(keys), grounds)


def _source(plan: Plan, node: Node) -> SourceNode | None:
    """The source that the positions of a node's rows point into."""
    found: Any = _giver(plan, node)
    while isinstance(found, StepNode):
        if not found.carries_row:
            return None
        found = plan.nodes[found.main]
    return found if isinstance(found, SourceNode) else None


def _giver(plan: Plan, node: Node) -> SourceNode | StepNode:
    """The node whose rows these are: what a load refuses is of its input."""
    found = plan.nodes[node.input] if isinstance(node, LoadNode) else node
    assert isinstance(found, SourceNode | StepNode)
    return found


# Reasons


def reasons_of(node: SourceNode | StepNode, refused: pl.DataFrame) -> list[list[dict[str, Any]]]:
    """All reasons of each refused row."""
    return refused.select(_why(node).alias("reasons"))["reasons"].to_list()


def _keys(node: Node) -> tuple[str, ...]:
    """The columns that decide about the reasons of a refused row."""
    if isinstance(node, LoadNode):
        return (RULE, FIELD, BAD)
    if isinstance(node, SourceNode):
        return (BAD,)
    assert node.checked is not None
    return tuple(check.flag for check in node.checked.rows)


def _why(node: Node) -> pl.Expr:
    """All reasons of a refused row as a list of structs, warnings included."""
    if isinstance(node, LoadNode):
        said = pl.struct(rule=pl.col(RULE), kind=pl.lit(REFUSED), field=pl.col(FIELD), reason=pl.col(BAD))
        return pl.concat_list(said)
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


def _counted(refused: Sequence[_Refused]) -> tuple[RejectReason, ...]:
    """How many rows have each reason, the most frequent first."""
    found: list[RejectReason] = []
    for each in refused:
        reasons = each.grounds.select("rows", "reasons").explode("reasons").unnest("reasons")
        counts = reasons.group_by("rule", "field", "reason").agg(pl.col("rows").sum())
        ordered = counts.sort("rows", "rule", "field", "reason", descending=[True, False, False, False])
        found += [RejectReason(each.node.id, *row) for row in ordered.iter_rows()]
    return tuple(sorted(found, key=lambda reason: -reason.rows))


# Letters


def _all(
    plan: Plan, refused: _Refused, epoch: Epoch, places: Callable[[SourceNode], Places]
) -> Iterator[pl.LazyFrame]:
    """The letters of what one node refused: those with a place in the source, and those without."""
    source, rows = refused.source, refused.rows
    lost = int(refused.grounds["lost"].sum())
    if source is not None and lost < refused.grounds["rows"].sum():
        assert isinstance(source.scan, FilesScan), "only records of files have positions"
        placed = rows.filter(pl.col(ROW).is_not_null()) if lost else rows
        records = fetch_records(source.scan, placed, held_columns(plan, _giver(plan, refused.node)))
        yield _letters(refused, records, epoch, source, places(source))
    if lost:
        schema = refused.node.schema
        assert schema is not None
        others = rows.filter(pl.col(ROW).is_null()) if source is not None else rows
        records = others.select(pl.col(f"^{PREFIX}.*$"), row_json(schema).alias(RECORD))
        yield _letters(refused, records, epoch, None, None)


def _letters(
    refused: _Refused,
    records: pl.LazyFrame,
    epoch: Epoch,
    source: SourceNode | None,
    places: Places | None,
) -> pl.LazyFrame:
    """Letters of `records`, which hold the hidden columns of refused rows and `RECORD`."""
    grounds = refused.grounds.lazy().select(GROUND, "reasons")
    return records.join(grounds, on=GROUND, how="left").select(
        **_place(refused.node.id, epoch.pipeline, source, places),
        pipeline=pl.lit(epoch.pipeline),
        run=pl.lit(epoch.run),
        epoch=pl.lit(epoch.key),
        step=pl.lit(refused.node.id),
        reasons="reasons",
        source=pl.lit(source.id if source else None, pl.String),
        record=RECORD,
        record_format=pl.lit(source.scan.format if source else "row"),
        contract_fingerprint=pl.lit(_fingerprint(source), pl.String),
        time=pl.lit(datetime.now(UTC)),
        trace_id=pl.lit(None, pl.String),
    )


def _fingerprint(source: SourceNode | None) -> str | None:
    contract = contract_of(source.source) if source else None
    return Contract.load(contract.schema_).fingerprint if contract else None


def _place(step: str, pipeline: str, source: SourceNode | None, places: Places | None) -> dict[str, pl.Expr]:
    """Where a record is, and the id that follows from it, or from the record if it is nowhere."""
    if source is None or places is None:
        nowhere = {"file": pl.lit(None, pl.String), "row": pl.lit(None, pl.Int64)}
        return {"id": content_ids(pl.col(RECORD), pipeline, step), **nowhere}
    origins = [digest(pipeline, step, source.id, version) for version in places.versions]
    return {
        "id": row_ids(places.row, picked(pl.Series(origins), places.file)),
        "file": picked(pl.Series(map(as_text, places.files)), places.file),
        "row": places.row,
    }


def picked(values: pl.Series, index: pl.Expr) -> pl.Expr:
    """The value at an index, row by row."""
    if len(values) == 1:
        return pl.lit(values.item(), values.dtype)
    return index.map_batches(values.gather, return_dtype=values.dtype, is_elementwise=True)
