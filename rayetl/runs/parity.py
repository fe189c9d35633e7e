"""One plan on two engines: the same rows, rejects and counts, or the rows that differ.

Nothing is committed. Rows are compared as multisets; floating point numbers to twelve digits, because the
order in which Spark adds them is not fixed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from rayetl.connectors.base import FilesScan, FilesTarget, InputFile
from rayetl.connectors.commit.layout import data_files
from rayetl.connectors.files_load import WriteOptions
from rayetl.connectors.formats import row_json
from rayetl.connectors.formats.options import ParquetOptions
from rayetl.engines.base import Engine, Job, Measured
from rayetl.errors import RayetlError
from rayetl.observability.diff import SHOWN, diff_rows
from rayetl.observability.report import ParityReport, TableDiff
from rayetl.plan.nodes import LoadNode, Plan, SourceNode
from rayetl.records import dataclass
from rayetl.runs import books
from rayetl.runs.rejects import reasons_of
from rayetl.sql.interop import from_polars
from rayetl.sql.relations import SparkOnly

DIGITS = 12


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What an engine made of the plan: rows of loads and of rejecting nodes, counts, seconds."""

    loads: Mapping[str, pl.LazyFrame]
    rejects: Mapping[str, pl.LazyFrame]
    measured: Measured
    seconds: float


def compare(plan: Plan, engines: tuple[Engine, Engine], sample: int | None = None) -> ParityReport:
    """Run `plan` on both engines and compare; with `sample` over the first rows of every source only.

    Raises `RayetlError` for a step that Spark alone can run, and what stops a run.
    """
    for step in plan.steps:
        for analyzed in filter(None, (step.analyzed, *step.tables)):
            if isinstance(analyzed.plan, SparkOnly):
                raise RayetlError(
                    f"{step.id} has nothing to be compared with: {analyzed.plan.why}",
                    hint="parity is for pipelines that both engines run",
                )
    with tempfile.TemporaryDirectory(prefix="rayetl-parity-") as directory:
        root = Path(directory)
        chosen = plan if sample is None else _sampled(plan, engines[0], sample, root)
        first, second = (_run(chosen, engine, root / str(place)) for place, engine in enumerate(engines))
        diffs = [_counts(first.measured, second.measured)]
        for load in chosen.loads:
            diffs.append(_differences(load.id, first.loads[load.id], second.loads[load.id]))
        for node in sorted(first.rejects.keys() | second.rejects.keys()):
            nothing = pl.LazyFrame()
            ours, theirs = first.rejects.get(node, nothing), second.rejects.get(node, nothing)
            diffs.append(_differences(f"rejects of {node}", ours, theirs))
        return ParityReport(
            pipeline=plan.name,
            engines=(engines[0].name, engines[1].name),
            rows=tuple((load.id, first.measured.staged[load.id]) for load in chosen.loads),
            rejects=sum(first.measured.refused.values()),
            seconds=(first.seconds, second.seconds),
            diffs=tuple(diff for diff in diffs if diff is not None),
        )


def _run(plan: Plan, engine: Engine, directory: Path) -> _Outcome:
    rejects = directory / "rejects"
    rejects.mkdir(parents=True)
    targets = {load.id: _target(load, directory / f"load-{load.id}") for load in plan.loads}
    began = time.perf_counter()
    measured = engine.run(Job(plan, targets, rejects))
    seconds = time.perf_counter() - began
    books.balance(plan, measured)
    loads = {name: _staged(Path(target.directory)) for name, target in targets.items()}
    refused = {node: _refused(plan, node, parts) for node, parts in measured.rejects.items() if parts}
    return _Outcome(loads, refused, measured, seconds)


def _target(load: LoadNode, directory: Path) -> FilesTarget:
    """Parquet whatever the load's own format, so that types are compared too."""
    directory.mkdir()
    assert load.schema is not None
    return FilesTarget(str(directory), "parquet", WriteOptions(compression="zstd"), schema=load.schema)


def _staged(directory: Path) -> pl.LazyFrame:
    return pl.scan_parquet([directory / file for file in sorted(data_files(directory))], glob=False)


def _refused(plan: Plan, name: str, parts: Sequence[Path]) -> pl.LazyFrame:
    """Refused rows as the engine kept them, with their reasons in words."""
    node = plan.nodes[name]
    assert not isinstance(node, LoadNode)
    rows = pl.scan_ipc(list(parts), glob=False).collect()
    said = ["; ".join(f"{each['rule']}: {each['reason']}" for each in why) for why in reasons_of(node, rows)]
    return rows.with_columns(pl.Series("reasons", said, dtype=pl.String)).lazy()


def _counts(first: Measured, second: Measured) -> TableDiff | None:
    return diff_rows("counts", list(_counted(first)), list(_counted(second)))


def _counted(measured: Measured) -> Iterator[dict[str, Any]]:
    kinds: dict[str, Mapping[str, Any]] = {
        "read": measured.read,
        "rows": measured.rows,
        "refused": measured.refused,
        "failing": measured.failing,
        "tables": measured.tables,
        "staged": measured.staged,
    }
    for kind, counts in kinds.items():
        for node, value in counts.items():
            yield {"count": kind, "node": node, "value": str(value)}


def _differences(what: str, first: pl.LazyFrame, second: pl.LazyFrame) -> TableDiff | None:
    """How two results differ: in their columns and types, or else in their rows."""
    ours, theirs = first.collect_schema(), second.collect_schema()
    if ours != theirs:
        shown = [[{"column": name, "type": str(kind)} for name, kind in s.items()] for s in (ours, theirs)]
        return diff_rows(f"{what}, columns", shown[0], shown[1], ordered=True)
    (lefts, missing), (rights, extra) = _odd(first, second), _odd(second, first)
    if not lefts and not rights:
        return None
    diff = diff_rows(what, lefts, rights)
    if diff is None:
        return None
    totals = [int(frame.select(pl.len()).collect().item()) for frame in (first, second)]
    more = max(missing, extra) - len(diff.rows)
    return replace(diff, expected_rows=totals[0], actual_rows=totals[1], more=max(more, 0))


def _odd(frame: pl.LazyFrame, other: pl.LazyFrame) -> tuple[list[dict[str, Any]], int]:
    """The first rows that `frame` has more often than `other`, and how many there are."""
    keys = frame.collect_schema().names()
    if not keys:
        return [], 0
    mine, theirs = _numbered(frame), _numbered(other)
    left = mine.join(theirs, on=[*keys, "\0"], how="anti", nulls_equal=True)
    shown = left.select(keys).sort(keys[:1]).head(SHOWN * 5)
    rows, number = pl.collect_all([shown, left.select(pl.len())])
    return rows.to_dicts(), int(number.item())


def _numbered(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Comparable rows, and which of several equal ones each is."""
    comparable = _comparable(frame)
    keys = comparable.collect_schema().names()
    return comparable.with_columns(pl.int_range(pl.len()).over(keys).alias("\0"))


def _comparable(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Nested columns as JSON text, floating point numbers cut to what can be compared."""
    schema = frame.collect_schema()
    nested = [name for name, kind in schema.items() if kind.is_nested()]
    texts = [row_json(from_polars({name: schema[name]})).cast(pl.String).alias(name) for name in nested]
    flat = frame.with_columns(texts)
    return flat.with_columns(cs.float().round_sig_figs(DIGITS) + 0.0)


def _sampled(plan: Plan, engine: Engine, rows: int, root: Path) -> Plan:
    """The plan over the first `rows` readable rows of each source."""
    return replace(plan, sources=tuple(_sample(plan, source, engine, rows, root) for source in plan.sources))


def _sample(plan: Plan, source: SourceNode, engine: Engine, rows: int, root: Path) -> SourceNode:
    path = root / f"sample-{source.id}.parquet"
    table = pl.from_arrow(engine.rows(plan, source.id, rows))
    assert isinstance(table, pl.DataFrame)
    table.write_parquet(path)
    stat = path.stat()
    file = InputFile(str(path), stat.st_size, stat.st_mtime_ns)
    scan = FilesScan("parquet", (file,), source.schema, ParquetOptions())
    return replace(source, scan=scan, reads_reasons=False, reads_positions=source.carries_row)
