"""The rows of one query on their way, which can step aside for another query on the same connection."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.mysql import decoding
from rayetl.connectors.mysql.types import ServerColumn
from rayetl.lazy import lazily

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from rayetl.connectors.mysql.wire import Rows
else:
    pl, pa = lazily("polars"), lazily("pyarrow")


class Flow:
    """Frames of the batches of a query. One thread at a time calls it; `leave` may come from any."""

    def __init__(self, batches: Iterator[Rows], columns: Sequence[ServerColumn]) -> None:
        self._frames: Iterator[pl.DataFrame] = (decoding.decode(batch, columns) for batch in batches)
        self._batches = batches
        self._left = False

    def next(self) -> pl.DataFrame | None:
        """The next frame, `None` after the last."""
        return next(self._frames, None)

    def leave(self) -> None:
        """Nobody wants what is still to come."""
        self._left = True

    def step_aside(self) -> None:
        """Fetch all that is still to come: into a file for the reader, or for nobody."""
        if self._left:
            for _ in self._batches:
                pass
            return
        self._frames = _kept(self._frames)


def _kept(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 (its reader closes it)
    writer: Any = None
    for frame in frames:
        table = frame.to_arrow()
        writer = writer or pa.ipc.new_stream(file, table.schema)
        writer.write_table(table)
    if writer is None:
        file.close()
        return iter(())
    writer.close()
    return _read(file)


def _read(file: Any) -> Iterator[pl.DataFrame]:
    with file:
        file.seek(0)
        for batch in pa.ipc.open_stream(file):
            yield pl.DataFrame(batch)
