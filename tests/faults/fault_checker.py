"""The judge: reads a target as any outsider would, with pyarrow alone, and compares it with an oracle."""

from __future__ import annotations

import os
from collections import Counter

import pyarrow.json as pj

Row = tuple[str, str, int]


class Verdict(AssertionError):
    """What the checker found wrong."""


def read(root: str) -> list[Row]:
    """All rows a reader sees that passes over hidden names, as Spark and Arrow do."""
    rows: list[Row] = []
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith((".", "_"))]
        for name in files:
            path = os.path.join(directory, name)
            if not name.startswith((".", "_")) and os.path.getsize(path):
                columns = pj.read_json(path).to_pydict()
                rows += zip(columns["key"], columns["part"], columns["row"], strict=True)
    return rows


def assert_exactly(root: str, oracle: list[Row]) -> None:
    """Nothing missing, nothing twice, nothing extra."""
    seen, wanted = Counter(read(root)), Counter(oracle)
    if seen != wanted:
        raise Verdict(f"missing {wanted - seen}, extra {seen - wanted}")


def assert_whole(root: str, *states: list[Row]) -> None:
    """What is visible is one of the whole states, never part of a batch."""
    seen = Counter(read(root))
    if all(seen != Counter(state) for state in states):
        raise Verdict(f"part of a batch is visible: {sum(seen.values())} rows")


def assert_clean(root: str) -> None:
    """No attempt left anything behind."""
    beside = [name for name in os.listdir(os.path.dirname(root)) if name != os.path.basename(root)]
    inside = [name for name in os.listdir(os.path.join(root, "_rayetl")) if name.startswith("attempt")]
    if beside or inside:
        raise Verdict(f"left behind: {beside + inside}")
