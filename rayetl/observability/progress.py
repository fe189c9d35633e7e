"""How far a run is: the listener that engines and the pipeline tell, and nothing about how it looks."""

from __future__ import annotations

from typing import Protocol


class ProgressListener(Protocol):
    """Told about a run while it is under way. Calls may come from any thread, many times a second;
    implementations must be quick and must not raise."""

    def stage_started(self, stage: str) -> None:
        """A stage begins: `plan`, `run`, `rejects` or `commit`."""

    def stage_finished(self, stage: str, seconds: float) -> None:
        """A stage ended after `seconds` of wall time."""

    def rows(self, name: str, rows: int, total: int | None = None) -> None:
        """`rows` have passed the source, step or load `name` so far, of `total` where that is known."""


class Silent:
    """Listens and says nothing."""

    def stage_started(self, stage: str) -> None:
        del stage

    def stage_finished(self, stage: str, seconds: float) -> None:
        del stage, seconds

    def rows(self, name: str, rows: int, total: int | None = None) -> None:
        del name, rows, total
