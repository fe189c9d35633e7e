"""Refused rows are set aside and counted while all rows stream by: nothing is read or judged twice."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from rayetl.lazy import lazily
from rayetl.names import PREFIX, ROW

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazily("pyarrow")

REFUSED = f"{PREFIX}refused"
"""Whether a row is refused; never NULL."""

PART = 32 * 1024 * 1024
"""Bytes of refused rows that are held before they are written."""


class Gate:
    """Sees all rows of a checking node with what each is refused for, and counts.

    `rows` came in, `refused` of them are TRUE in the column REFUSED, `failing` says how many had each of
    `flags`. With a directory `store` the refused rows are kept there, all columns of them, in the Arrow files
    `parts`. Batches come from several threads at once.
    """

    def __init__(self, flags: Sequence[str], store: Path | None) -> None:
        self.rows = 0
        self.refused = 0
        self.failing = [0] * len(flags)
        self.parts: list[Path] = []
        self._flags = flags
        self._store = store
        self._held: list[pa.Table] = []
        self._size = 0
        self._lock = threading.Lock()

    def passing(self, frame: pl.LazyFrame, refused: pl.Expr, names: Sequence[str]) -> pl.LazyFrame:
        """The rows of `frame` that are not `refused`, as the columns `names`. They are picked by the query,
        not in here: it can do it along with what comes next."""
        frame = frame.with_columns(refused.alias(REFUSED))
        schema = frame.collect_schema()
        seen = frame.map_batches(
            lambda batch: self._look(batch).select(*names, REFUSED),
            schema={name: schema[name] for name in (*names, REFUSED)},
            streamable=True,
        )
        return seen.filter(~pl.col(REFUSED)).select(names)

    def _look(self, batch: pl.DataFrame) -> pl.DataFrame:
        failing = [int(batch[flag].sum()) for flag in self._flags]
        count = int(batch[REFUSED].sum())
        with self._lock:
            self.rows += batch.height
            self.refused += count
            self.failing = [before + found for before, found in zip(self.failing, failing, strict=True)]
        if count and self._store is not None:
            self._keep(batch.filter(REFUSED).drop(REFUSED))
        return batch

    def set_aside(self, rows: pl.DataFrame) -> None:
        """Count and keep rows that were refused somewhere else."""
        with self._lock:
            self.refused += rows.height
        self._keep(rows)

    @property
    def keeps(self) -> bool:
        """Whether refused rows are kept, not only counted."""
        return self._store is not None

    def close(self) -> None:
        """Write what is still held."""
        if self._held:
            self._write(self._held)
            self._held = []

    def _keep(self, rows: pl.DataFrame) -> None:
        # By Arrow, not by Polars: its writers are queries of their own, and enough of them waiting inside
        # this one for a thread wait for ever. Without views a text column that was filtered lets go of the
        # buffers of the whole batch.
        packed = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        with self._lock:
            self._held.append(packed)
            self._size += packed.nbytes
            if self._size < PART:
                return
            full, self._held, self._size = self._held, [], 0
            self._write(full)

    def _write(self, held: Sequence[pa.Table]) -> None:
        assert self._store is not None
        self._store.mkdir(parents=True, exist_ok=True)
        rows = pa.concat_tables(held)
        part = self._store / f"{len(self.parts):08d}.arrow"
        with pa.ipc.new_file(part, rows.schema) as file:
            file.write_table(rows.sort_by(ROW) if ROW in rows.column_names else rows)
        self.parts.append(part)
