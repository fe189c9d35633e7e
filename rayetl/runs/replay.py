"""Refused source records through the present config, each once.

A replay reads the stored records in place of their source and appends what they become. Which records a
replay takes is written down before it starts; a replay that was cut off is completed by the next call with
the very same records, and so under the same run key, before new ones are taken.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import orjson
import polars as pl

from rayetl.connectors.base import Epoch, FilesScan, Scan, Source
from rayetl.connectors.commit.durable import replace_synced, sync_new_directories
from rayetl.connectors.commit.lock import Lock
from rayetl.connectors.dead_letters import DeadLetters
from rayetl.engines.base import Engine
from rayetl.errors import ConfigError, QualityAbort, RayetlError
from rayetl.names import ROW, ROW_BITS
from rayetl.observability.progress import ProgressListener
from rayetl.observability.report import RunReport
from rayetl.plan.build import Describe
from rayetl.plan.growing import ADDING
from rayetl.plan.nodes import LoadNode, Plan, StepNode
from rayetl.plan.streaming import loads_behind, mixing
from rayetl.resilience.retry import Retrier
from rayetl.runs.execute import Run, new_id, unwritable
from rayetl.runs.rejects import REFUSED, Places, picked
from rayetl.runs.stored import stored
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    from rayetl.config.models import PipelineConfig

_PLACE = ["source", "file", "row", "id", "step"]

_PART = 50_000
"""Records that are in memory at a time."""

_NOTHING_LAID = pl.DataFrame(schema={"place": pl.Int64, "length": pl.Int64, "start": pl.Int64})

RUN_AGAIN = "mend the cause, empty the loads that append, and run the pipeline again with --force"
WITHOUT = f"{RUN_AGAIN}; or leave that out of the config for the replay, if the rows are right without it"


def replay(
    plan_with: Callable[[Describe], Plan],
    config: PipelineConfig,
    letters: DeadLetters,
    engine: Engine,
    ids: Sequence[str],
    progress: ProgressListener,
) -> RunReport:
    """Replay the pending letters, or those of `ids`. Raises what a run raises, and `RayetlError` where a
    replay could not append once: no source record, a step that mixes rows, a load that is no append."""
    if ids and (unknown := sorted(set(ids).difference(letters.read(ids).select("id").collect()["id"]))):
        raise RayetlError(
            f"the store of dead letters has none with the id {unknown[0]!r}",
            hint="`rayetl dlq list` shows what is stored and replayed",
        )
    with _alone(config) as intents:
        return _complete(plan_with, config, letters, engine, ids, intents, progress)


@contextmanager
def _alone(config: PipelineConfig) -> Iterator[Path]:
    """The directory of what replays intend, for one replay at a time: two that choose at once would both take
    the same letters. Raises `CommitConflict`."""
    intents, state = Path(config.state) / "replays" / config.name, Path(config.state)
    try:
        intents.mkdir(parents=True, exist_ok=True)
        lock = Lock.acquire(intents / "lock", new_id(), f"the loads of {config.name}, replaying,")
    except OSError as error:
        raise unwritable(state, error) from error
    try:
        yield intents
    finally:
        lock.release()


def _complete(
    plan_with: Callable[[Describe], Plan],
    config: PipelineConfig,
    letters: DeadLetters,
    engine: Engine,
    ids: Sequence[str],
    intents: Path,
    progress: ProgressListener,
) -> RunReport:
    completed = None
    for intent in sorted(intents.glob("*.json")):
        plan, chosen = _of_intent(plan_with, letters, intent)
        completed = _replay(plan, config, letters, engine, chosen, intent, progress)
    chosen = _chosen(letters, ids or None, pending=True)
    if chosen.is_empty():
        if completed is not None:
            return completed
        raise RayetlError(
            "there is nothing to replay", hint="`rayetl dlq list` shows what is stored and replayed"
        )
    wanted: str = chosen["id"].sort().str.join("\n").item()
    key = "replay-" + hashlib.sha256(wanted.encode()).hexdigest()[:32]
    plan = _planned(plan_with, chosen)
    return _replay(plan, config, letters, engine, chosen, intents / f"{key}.json", progress)


def _chosen(letters: DeadLetters, ids: Sequence[str] | None, *, pending: bool = False) -> pl.DataFrame:
    """Letters in the order of their records in the source. The records themselves are left where they are:
    all together they may be more than fits into memory."""
    refused = pl.col("reasons").list.eval(pl.element().struct.field("kind") == REFUSED).list.any()
    found = letters.read(ids, pending=pending).select(*_PLACE, by_store=refused)
    few = pl.col("source", "file", "step").cast(pl.Categorical)
    return found.with_columns(few).sort(_PLACE).collect()


def _records(letters: DeadLetters, chosen: pl.DataFrame, path: Path) -> Iterator[pl.DataFrame]:
    """Id, file and record of `chosen`, in its order, some at a time. A store gives letters in any order, and
    to sort their records would take all of them into memory: they are laid down in a file, and taken up
    from there."""
    ids = chosen["id"] if chosen.height <= _PART else None
    places = chosen.lazy().select("id", place=pl.int_range(pl.len()))
    # The order is that of the left side, so that of the two it is not taken into memory.
    found = letters.read(ids).select("id", "record").join(places, on="id", maintain_order="left")
    with path.open("w+b") as file:
        laid = pl.concat([_NOTHING_LAID, *(_laid(batch, file) for batch in found.collect_batches())])
        if gone := chosen.height - laid.height:
            raise RayetlError(
                f"{gone} of the dead letters are not in their store any more",
                hint="nothing was loaded; call it again, and do not delete letters meanwhile",
            )
        file.flush()
        spans = laid.sort("place").select("length", "start")
        for part, span in zip(chosen.iter_slices(_PART), spans.iter_slices(_PART), strict=True):
            records = [os.pread(file.fileno(), length, start) for length, start in span.iter_rows()]
            yield part.select("id", "file", record=pl.Series(records, dtype=pl.Binary))


def _laid(batch: pl.DataFrame, file: BinaryIO) -> pl.DataFrame:
    """Write the records of a batch behind the others, and say where they are."""
    begun = file.tell()
    file.write(b"".join(batch["record"]))
    length = pl.col("record").bin.size().cast(pl.Int64)
    return batch.select("place", length=length, start=begun + length.cum_sum() - length)


def _of_intent(
    plan_with: Callable[[Describe], Plan], letters: DeadLetters, intent: Path
) -> tuple[Plan, pl.DataFrame]:
    """The letters of a replay that was cut off, and their plan. Raises `RayetlError` where it cannot go on as
    it began: the config may be another one by now."""
    ids = orjson.loads(intent.read_bytes())
    chosen = _chosen(letters, ids)
    try:
        if chosen.height < len(ids):
            raise RayetlError(
                f"{len(ids) - chosen.height} of its {len(ids)} dead letters are not where letters are now",
                hint="let `dead_letter` name the place where they are",
            )
        plan = _planned(plan_with, chosen)
    except ConfigError:
        raise
    except RayetlError as error:
        raise RayetlError(
            f"a replay that was cut off cannot be completed: {error.message}",
            hint=f"{error.hint or 'change the config back'}; or give it up and remove {intent}, "
            "if none of its loads is committed",
        ) from error
    return plan, chosen


def _replay(
    plan: Plan,
    config: PipelineConfig,
    letters: DeadLetters,
    engine: Engine,
    chosen: pl.DataFrame,
    intent: Path,
    progress: ProgressListener,
) -> RunReport:
    key, run = intent.stem, new_id()
    source = next(source for source in plan.sources if source.id == chosen["source"][0])
    assert isinstance(source.scan, FilesScan), "only records of files have positions"
    with tempfile.TemporaryDirectory(prefix="rayetl-replay-") as directory:
        parts = _records(letters, chosen, Path(directory) / "all")
        records = stored(source.scan, parts, Path(directory) / "records")
        mode = records.scan.mode
        # Columns may have other types by now, in which records that were rows cannot be read.
        stand_in = replace(
            source,
            scan=records.scan,
            reads_positions=source.reads_positions or mode == "permissive",
            reads_reasons=mode != "fail",
        )
        execution = Run(
            plan=replace(plan, sources=tuple(stand_in if each is source else each for each in plan.sources)),
            engine=engine,
            dead_letters=letters,
            key=key,
            id=run,
            state=Path(config.state),
            progress=progress,
            max_reject_share=config.max_reject_share,
            places=lambda _: _origins(chosen, records.starts, key),
            retrier=Retrier(config.resilience.retry),
            breaker=config.resilience.circuit_breaker,
        )
        report = _execute(execution, chosen["id"], intent)
    letters.mark_replayed(chosen["id"], Epoch(plan.name, "replayed", key, run))
    intent.unlink(missing_ok=True)
    return report


def _execute(execution: Run, ids: pl.Series, intent: Path) -> RunReport:
    """Run with the intent written down. One that a rule stopped has not begun to commit, and must not stand
    in the way of a replay of other letters, or of these under another config."""
    begun = intent.exists()
    if not begun:
        try:
            replace_synced(intent, orjson.dumps(ids.sort().to_list()))
            sync_new_directories(intent.parent, execution.state)
        except OSError as error:
            raise unwritable(execution.state, error) from error
    try:
        return execution.execute()
    except QualityAbort:
        if not begun:
            intent.unlink(missing_ok=True)
        raise


def _lacking(plan: Plan, chosen: pl.DataFrame) -> Plan:
    """The plan with the loads that lack these records: the others have them already. Raises `RayetlError`
    where that is not the same for all of them."""
    places = chosen.select("step", "by_store").unique().sort("step").rows()
    lacking = {_loads_without(plan, step, by_store=by_store) for step, by_store in places}
    if len(lacking) > 1:
        named = ", ".join(dict.fromkeys(step for step, _ in places))
        raise RayetlError(
            f"the dead letters were refused at several places, which different loads are behind: {named}",
            hint="replay those of one place at a time: rayetl dlq replay CONFIG --step ID",
        )
    return replace(plan, loads=lacking.pop())


def _loads_without(plan: Plan, step: str, *, by_store: bool) -> tuple[LoadNode, ...]:
    """The loads that rows did not get to which were refused at `step`, by a check or by the store of a load.
    The contract of a source or load may not be in the plan any more."""
    node = step if step in plan.nodes else step.removesuffix(".contract")
    known = [load for load in plan.loads if load.id == node]
    if by_store and not known:
        raise RayetlError(f"the config has no load {step!r} any more, which refused these rows")
    found = tuple(known or loads_behind(plan, node))
    if node not in plan.nodes and len({load.input for load in plan.loads}) == 1:
        return plan.loads
    if not found:
        raise RayetlError(
            f"the config has no step {step!r} any more that loads are behind, so that nobody knows which of "
            "them lack the rows that it refused",
            hint="give the step that name again for the replay",
        )
    return found


def _planned(plan_with: Callable[[Describe], Plan], chosen: pl.DataFrame) -> Plan:
    """The plan for these records, with the loads that lack them. Raises `RayetlError` where rows could not be
    appended as if they had been right at once."""
    lost = chosen.filter(pl.col("source").is_null())
    if lost.height:
        raise RayetlError(
            f"{lost.height} of the dead letters have no source record, the first is {lost['id'][0]}",
            hint=f"choose others by id, or {RUN_AGAIN}",
        )
    wanted = chosen["source"].unique().sort().to_list()
    if len(wanted) > 1:
        raise RayetlError(
            f"the dead letters are of several sources: {', '.join(wanted)}",
            hint="replay those of one source at a time, by id",
        )
    files = chosen["file"].unique().to_list()

    def describe(name: str, source: Source, promised: Schema | None) -> Scan:
        return source.recall(promised, files) if [name] == wanted else source.describe(promised)

    plan = plan_with(describe)
    if wanted[0] not in {source.id for source in plan.sources}:
        raise RayetlError(f"the config has no source {wanted[0]!r} any more, which dead letters are of")
    plan = _lacking(plan, chosen)
    _check(plan, wanted[0])
    return plan


def _check(plan: Plan, source: str) -> None:
    for load in plan.loads:
        if load.load.mode not in ADDING:
            raise RayetlError(
                f"the load {load.id} is in mode {load.load.mode}; a replay appends", hint=RUN_AGAIN
            )
        node = plan.nodes[load.input]
        while isinstance(node, StepNode):
            node = plan.nodes[node.main]
        if node.id != source:
            raise RayetlError(f"the load {load.id} does not take the rows of {source}", hint=RUN_AGAIN)
    if why := mixing(plan, source):
        raise RayetlError(f"{why}, so that single ones cannot follow", hint=WITHOUT)


def _origins(letters: pl.DataFrame, starts: Sequence[int], key: str) -> Places:
    """Where the records of `letters` came from, by their place in the files that stand in for the source."""
    # What an id says behind the row is of one version of a file.
    origins = letters.select("file", version=pl.col("id").str.strip_prefix(pl.format("{}-", "row")))
    files = origins.unique(maintain_order=True).with_row_index("index")
    file = origins.join(files, on=["file", "version"], maintain_order="left")["index"].cast(pl.Int64)
    start = picked(pl.Series(starts, dtype=pl.Int64), pl.col(ROW) // (1 << ROW_BITS))
    place = start + pl.col(ROW) % (1 << ROW_BITS)
    versions = [f"{key} {version}" for version in files["version"]]
    return Places(files["file"].to_list(), versions, picked(file, place), picked(letters["row"], place))
