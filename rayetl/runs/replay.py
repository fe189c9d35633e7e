"""Refused source records through the present config, each once.

A replay reads the stored records in place of their source and appends what they become. Which records a
replay takes is written down before it starts; a replay that was cut off is completed by the next call with
the very same records, and so under the same run key, before new ones are taken.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from rayetl.connectors.base import Epoch, FilesScan, InputFile
from rayetl.connectors.dead_letters import DeadLetters
from rayetl.connectors.formats.options import JsonOptions
from rayetl.engines.base import Engine
from rayetl.errors import RayetlError
from rayetl.names import ROW
from rayetl.observability.progress import ProgressListener
from rayetl.observability.report import RunReport
from rayetl.observability.store import write_whole
from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.resilience.retry import Retrier
from rayetl.runs.execute import Run, new_id
from rayetl.runs.rejects import REFUSED, Places, picked
from rayetl.steps.base import TRACEABLE

if TYPE_CHECKING:
    from rayetl.config.models import PipelineConfig

_ADDING = ("append", "upsert", "insert_ignore")
"""The modes in which a few rows more are loaded as they would have been with all the others."""

RUN_AGAIN = "mend the cause and run the pipeline again with --force"


def replay(
    plan: Plan,
    config: PipelineConfig,
    letters: DeadLetters,
    engine: Engine,
    ids: Sequence[str],
    progress: ProgressListener,
) -> RunReport:
    """Replay the pending letters, or those of `ids`. Raises what a run raises, and `RayetlError` where a
    replay could not append once: no source record, a step that mixes rows, a load that is no append."""
    state = Path(config.state)
    intents = state / "replays" / config.name
    for intent in sorted(intents.glob("*.json")):
        _replay(plan, config, letters, engine, intent, progress)
    chosen = letters.read(list(ids) or None, pending=True).select("id").collect()["id"].sort().to_list()
    if not chosen:
        raise RayetlError(
            "there is nothing to replay", hint="`rayetl dlq list` shows what is stored and replayed"
        )
    found = letters.read(chosen).collect()
    _check(_lacking(plan, found), found)
    key = "replay-" + hashlib.sha256("\n".join(chosen).encode()).hexdigest()[:32]
    intents.mkdir(parents=True, exist_ok=True)
    intent = intents / f"{key}.json"
    write_whole(intent, orjson.dumps(chosen))
    return _replay(plan, config, letters, engine, intent, progress)


def _replay(
    plan: Plan,
    config: PipelineConfig,
    letters: DeadLetters,
    engine: Engine,
    intent: Path,
    progress: ProgressListener,
) -> RunReport:
    key, ids = intent.stem, orjson.loads(intent.read_bytes())
    chosen = letters.read(ids).sort("source", "file", "row", "id").collect()
    plan = _lacking(plan, chosen)
    run = new_id()
    with tempfile.TemporaryDirectory(prefix="rayetl-replay-") as directory:
        replayed = _with_records(plan, chosen, Path(directory))

        def places(source: SourceNode) -> Places:
            return _origins(chosen.filter(pl.col("source") == source.id), key)

        execution = Run(
            plan=replayed,
            engine=engine,
            dead_letters=letters,
            key=key,
            id=run,
            state=Path(config.state),
            progress=progress,
            max_reject_share=config.max_reject_share,
            places=places,
            retrier=Retrier(config.resilience.retry),
            breaker=config.resilience.circuit_breaker,
        )
        report = execution.execute()
    letters.mark_replayed(ids, Epoch(plan.name, "replayed", key, run))
    intent.unlink(missing_ok=True)
    return report


def _lacking(plan: Plan, chosen: pl.DataFrame) -> Plan:
    """The plan with the loads that lack these records: all, or the one whose store refused them. Raises
    `RayetlError` where that is not the same for all of them."""
    by_store = pl.col("reasons").list.eval(pl.element().struct.field("kind") == REFUSED).list.any()
    places = chosen.select(pl.when(by_store).then("step")).to_series().unique().sort().to_list()
    if len(places) > 1:
        named = ", ".join("a rule or source" if place is None else f"the load {place}" for place in places)
        raise RayetlError(
            f"the dead letters were refused at several places: {named}",
            hint="replay those of one place at a time: rayetl dlq replay CONFIG --step ID",
        )
    if places[0] is None:
        return plan
    loads = tuple(load for load in plan.loads if load.id == places[0])
    if not loads:
        raise RayetlError(f"the config has no load {places[0]!r} any more, which refused these rows")
    return replace(plan, loads=loads)


def _check(plan: Plan, chosen: pl.DataFrame) -> None:
    """Raise where replayed rows could not be appended as if they had been right at once."""
    lost = chosen.filter(pl.col("source").is_null())
    if lost.height:
        raise RayetlError(
            f"{lost.height} of the dead letters have no source record, the first is {lost['id'][0]}",
            hint=f"choose others by id, or {RUN_AGAIN}",
        )
    sources = set(chosen["source"])
    if unknown := sources - {source.id for source in plan.sources}:
        raise RayetlError(f"the config has no source {min(unknown)!r} any more, which dead letters are of")
    if len(sources) > 1:
        raise RayetlError(
            f"the dead letters are of several sources: {', '.join(sorted(sources))}",
            hint="replay those of one source at a time, by id",
        )
    source = sources.pop()
    for load in plan.loads:
        if load.load.mode not in _ADDING:
            raise RayetlError(
                f"the load {load.id} is in mode {load.load.mode}; a replay appends", hint=RUN_AGAIN
            )
        node = plan.nodes[load.input]
        while isinstance(node, StepNode):
            if node.effect not in TRACEABLE:
                raise RayetlError(
                    f"the step {node.id} mixes rows, so that single ones cannot follow", hint=RUN_AGAIN
                )
            node = plan.nodes[node.main]
        if node.id != source:
            raise RayetlError(f"the load {load.id} does not take the rows of {source}", hint=RUN_AGAIN)


def _origins(letters: pl.DataFrame, key: str) -> Places:
    """Where the records of `letters` came from, by their place among them."""
    files = letters["file"].unique(maintain_order=True)
    indexes = {file: index for index, file in enumerate(files)}
    file = letters["file"].replace_strict(indexes, return_dtype=pl.Int64)
    place = pl.col(ROW)
    return Places(files.to_list(), picked(file, place), picked(letters["row"], place), key)


def _with_records(plan: Plan, chosen: pl.DataFrame, directory: Path) -> Plan:
    """The plan with stored records in place of their source."""
    sources = []
    for source in plan.sources:
        mine = chosen.filter(pl.col("source") == source.id)
        if mine.height:
            assert isinstance(source.scan, FilesScan), "only records of files have positions"
            scan = _scan_of(source.scan, mine["record"].to_list(), directory / source.id)
            source = replace(source, scan=scan)
        sources.append(source)
    return replace(plan, sources=tuple(sources))


def _scan_of(scan: FilesScan, records: Sequence[bytes], path: Path) -> FilesScan:
    """A scan of the stored records with the schema and options of their source."""
    options: Any = scan.options
    if scan.format in ("parquet", "avro"):
        scan, options = replace(scan, format="json"), JsonOptions()
    header = _header(scan, options)
    path.write_bytes(b"".join(record.rstrip(b"\r\n") + b"\n" for record in (*header, *records)))
    stat = path.stat()
    return replace(scan, files=(InputFile(str(path), stat.st_size, stat.st_mtime_ns),), options=options)


def _header(scan: FilesScan, options: Any) -> list[bytes]:
    if scan.format != "csv" or not options.header:
        return []
    names = ('"' + name.replace('"', '""') + '"' for name in scan.schema.names)
    return [options.sep.join(names).encode(options.encoding)]
