"""What a pipeline keeps must not lie where its loads put rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rayetl.errors import Problem
from rayetl.plan.graph import DEAD_LETTER, LoadDraft

if TYPE_CHECKING:
    from rayetl.config.models import PipelineConfig


def kept_in_loads(config: PipelineConfig, loads: Sequence[LoadDraft]) -> Iterator[Problem]:
    """Dead letters and reports that would be among the rows of a load, or gone with what it overwrites."""
    yield from _letters_in_loads(config, loads)
    yield from _state_in_loads(config, loads)


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
