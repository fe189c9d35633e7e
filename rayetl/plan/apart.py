"""What a pipeline writes has places of its own: each load, and what is kept beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rayetl.connectors.base import FilesScan, Load, Source
from rayetl.connectors.places import is_on_s3
from rayetl.errors import Problem
from rayetl.plan.graph import DEAD_LETTER, LoadDraft

if TYPE_CHECKING:
    from rayetl.config.models import PipelineConfig
    from rayetl.plan.nodes import SourceNode


def apart(
    config: PipelineConfig, sources: Iterable[SourceNode], loads: Sequence[LoadDraft]
) -> Iterator[Problem]:
    """Loads that share a place, and sources, dead letters and reports that would be among the rows of one, or
    gone with what it overwrites."""
    yield from _targets(loads)
    yield from _sources_in_loads(sources, loads)
    yield from _letters_in_loads(config, loads)
    yield from _state_in_loads(config, loads)


def _sources_in_loads(sources: Iterable[SourceNode], loads: Sequence[LoadDraft]) -> Iterator[Problem]:
    """Files that are read would be gone with what a load overwrites, and what it adds would be read by the
    next run, and added once more."""
    placed = [(draft, target) for draft in loads if (target := draft.load.location()) is not None]
    for source in sources:
        directories = _directories(source)
        for draft, target in placed:
            if draft.load.type == "files" and any(
                f"{each}/".startswith(f"{target.rstrip('/')}/") for each in directories
            ):
                message = f"`{draft.id}` writes to {target}, where `{source.id}` reads"
                hint = "a load has its directory for itself: name another one"
                yield Problem("plan", message, (*draft.path, place_field(draft.load)), hint)


def _directories(source: SourceNode) -> set[str]:
    """Where the files of a source lie."""
    if not isinstance(source.scan, FilesScan):
        return set()
    found = {os.path.dirname(file.path) for file in source.scan.files}
    return {each if is_on_s3(each) else os.path.realpath(each) for each in found}


def _letters_in_loads(config: PipelineConfig, loads: Sequence[LoadDraft]) -> Iterator[Problem]:
    """Dead letters in the place of a load would be among its rows, and wait for its commit for ever; below it
    they would be gone with what it overwrites."""
    store = config.resilience.dead_letter
    for draft in loads:
        if store.is_place_of(draft.load, config.name):
            message = f"the dead letters would go where `{draft.id}` puts its rows, {draft.load.location()}"
            place = next(name for name in ("table", "path") if hasattr(store, name))
            yield Problem("plan", message, (*DEAD_LETTER, place), f"give them a {place} of their own")


def _state_in_loads(config: PipelineConfig, loads: Sequence[LoadDraft]) -> Iterator[Problem]:
    """Reports, and what is written down of replays, would be gone with what a load overwrites."""
    state = os.path.realpath(config.state)
    for draft in loads:
        load, target = draft.load, draft.load.location()
        if target is None or not f"{state}/".startswith(f"{target.rstrip('/')}/"):
            continue
        if load.type == "files" and load.mode == "overwrite":
            message = f"the reports of runs in {state} would be gone with what `{draft.id}` overwrites"
            yield Problem("plan", message, ("state",), "let `state` name a directory outside of it")


def _targets(loads: Sequence[LoadDraft]) -> Iterator[Problem]:
    """Two loads into one place, or one into a directory of the other's, would take each other's rows away."""
    placed = [(draft, target) for draft in loads if (target := draft.load.location()) is not None]
    for number, (draft, target) in enumerate(placed):
        for other, taken in placed[:number]:
            if target == taken:
                message = f"`{draft.id}` and `{other.id}` both write to {target}"
            elif f"{target}/".startswith(f"{taken}/"):
                message = f"`{draft.id}` writes to {target}, inside {taken} of `{other.id}`"
            elif f"{taken}/".startswith(f"{target}/"):
                message = f"`{draft.id}` writes to {target}, around {taken} of `{other.id}`"
            else:
                continue
            place = place_field(draft.load)
            yield Problem("plan", message, path=(*draft.path, place), hint=f"give each load its own {place}")
            break


def place_field(connector: Source | Load) -> str:
    """The field of a source or load that says where the rows are."""
    return next((name for name in ("path", "table", "query") if getattr(connector, name, None)), "type")
