"""The board of a supervisor also keeps its metrics and its log."""

from __future__ import annotations

from collections.abc import Mapping

from rayetl.cluster.board import Board
from rayetl.cluster.metrics import Meters
from rayetl.observability.logs import get_logger

_LOG = get_logger(__name__)


class MeteredBoard(Board):
    """See `Board`. Whoever looks at the dashboard sees what the driver is retold."""

    def __init__(self, meters: Meters) -> None:
        super().__init__(meters.run)
        self.meters = meters

    def stage_started(self, stage: str) -> None:
        super().stage_started(stage)
        _LOG.info("stage begins", stage=stage)

    def stage_finished(self, stage: str, seconds: float) -> None:
        super().stage_finished(stage, seconds)
        self.meters.stage(stage, seconds)
        _LOG.info("stage ended", stage=stage, seconds=round(seconds, 3))

    def begin(self, parts: int, kept: int) -> None:
        super().begin(parts, kept)
        self.meters.splits(kept, parts)
        _LOG.info("work begins", splits=parts, kept=kept)

    def finish(self, part: int, rows: Mapping[str, int]) -> None:
        super().finish(part, rows)
        status = self.status()
        self.meters.splits(status.done, status.parts)
        _LOG.info("split done", split=part, done=status.done, splits=status.parts, rows=sum(rows.values()))
