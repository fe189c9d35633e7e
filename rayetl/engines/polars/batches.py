"""Rows of services as lazy frames: one reading for a whole run, whatever is asked of it how often."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from typing import Self

import polars as pl
from polars.io.plugins import register_io_source

from rayetl.connectors.base import BatchScan, Reading
from rayetl.connectors.formats.reading import MORSEL
from rayetl.errors import BooksError, at_step
from rayetl.sql.interop import to_polars


class Batches:
    """The readings of a run by source. A source without one is read anew each time it is scanned."""

    def __init__(self, opened: Mapping[str, Reading] | None = None) -> None:
        self.opened = opened or {}
        self._counted: dict[str, int] = {}
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def reading(cls, scans: Mapping[str, BatchScan]) -> Iterator[Self]:
        """Readings of all of these, closed in the end."""
        with ExitStack() as stack:
            opened = {}
            for node, scan in scans.items():
                with at_step(node):
                    opened[node] = stack.enter_context(closing(scan.open()))
            yield cls(opened)

    def count(self, node: str) -> int:
        """The rows of a source: as they came in where all of them did, else as its service counts them."""
        if node not in self._counted:
            with at_step(node):
                self._counted[node] = self.opened[node].count()
        return self._counted[node]

    def scan(self, node: str, scan: BatchScan) -> pl.LazyFrame:
        """The rows of a source, columns in the order of its schema."""
        schema = to_polars(scan.schema)

        def batches(
            columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
        ) -> Iterator[pl.DataFrame]:
            del size
            limit = rows
            names = list(schema) if columns is None else columns
            others = [] if predicate is None else predicate.meta.root_names()
            # A frame without columns has no rows, so one is read where none is asked for.
            needed = list(dict.fromkeys([*names, *others])) or list(schema)[:1]
            opened = self.opened.get(node)
            with nullcontext(opened) if opened else closing(scan.open()) as reading, at_step(node):
                seen = 0
                for frame in reading.frames(needed, predicate, rows):
                    seen += frame.height
                    found = (frame if predicate is None else frame.filter(predicate)).select(names)
                    if rows is not None:
                        found = found.head(rows)
                        rows -= found.height
                    yield from found.iter_slices(MORSEL)
                    if rows == 0:
                        return
                if predicate is None and limit is None:
                    self._note(node, seen)

        return register_io_source(batches, schema=schema, is_pure=True)

    def _note(self, node: str, rows: int) -> None:
        """Every row of a source came in; it is the same number each time, or somebody lost some."""
        with self._lock:
            known = self._counted.setdefault(node, rows)
        if known != rows:
            raise BooksError(
                f"the same moment of {node} had {known} rows once and {rows} rows again",
                hint="nothing was committed; please report this with the config and the run's report",
            )
