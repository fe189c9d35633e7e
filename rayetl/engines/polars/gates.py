"""Refused rows are set aside and counted while all rows stream by: nothing is read or judged twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from pathlib import Path

import polars as pl

from rayetl.names import BAD, ROW

PART = 32 * 1024 * 1024
"""Bytes of refused rows that are held before they are written."""

Refused = Callable[[pl.DataFrame], pl.Series]


def malformed(batch: pl.DataFrame) -> pl.Series:
    """Which rows of a source could not be read."""
    return batch[BAD].is_not_null()


def flagged(flags: Sequence[str]) -> Refused:
    """Which rows have one of `flags`, which are never NULL."""
    if not flags:
        return lambda batch: pl.Series([False], dtype=pl.Boolean).new_from_index(0, batch.height)
    return lambda batch: reduce(or_, (batch[flag] for flag in flags))


class Gate:
    """Lets the good rows of a checking node through, as the columns `names`, and counts.

    `rows` came in, `refused` of them were set aside, `failing` says how many had each of `flags`. With a
    directory `store` the refused rows are kept there, all columns of them, in the Arrow files `parts`.
    Batches come from several threads at once.
    """

    def __init__(
        self, names: Sequence[str], flags: Sequence[str], refused: Refused, store: Path | None
    ) -> None:
        self.rows = 0
        self.refused = 0
        self.failing = [0] * len(flags)
        self.parts: list[Path] = []
        self._names = names
        self._flags = flags
        self._refused = refused
        self._store = store
        self._held: list[bytes] = []
        self._size = 0
        self._lock = threading.Lock()

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        failing = [int(batch[flag].sum()) for flag in self._flags]
        refused = self._refused(batch)
        count = int(refused.sum())
        with self._lock:
            self.rows += batch.height
            self.refused += count
            self.failing = [before + found for before, found in zip(self.failing, failing, strict=True)]
        good = batch.select(self._names)
        if not count:
            return good
        if self._store is not None:
            self._keep(batch.filter(refused))
        return good.filter(~refused)

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
        # A text column that was filtered still holds on to the buffers of the whole batch; written out, it
        # is as small as it looks.
        packed = rows.write_ipc(None).getvalue()
        with self._lock:
            self._held.append(packed)
            self._size += len(packed)
            if self._size < PART:
                return
            full, self._held, self._size = self._held, [], 0
            self._write(full)

    def _write(self, held: Sequence[bytes]) -> None:
        assert self._store is not None
        self._store.mkdir(exist_ok=True)
        rows = pl.concat(pl.read_ipc(packed) for packed in held)
        part = self._store / f"{len(self.parts):08d}.arrow"
        (rows.sort(ROW) if ROW in rows.columns else rows).write_ipc(part)
        self.parts.append(part)
