"""The judge: replays the JSON log of a Delta table by itself and reads the files with pyarrow alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet as pq
from fault_checker import Verdict

Row = tuple[str, str, int]


def live_files(root: str) -> dict[str, dict[str, str | None]]:
    """The files of the newest version with their partition values."""
    live: dict[str, dict[str, str | None]] = {}
    for log in sorted(Path(root, "_delta_log").glob("*.json")):
        for action in map(json.loads, log.read_text().splitlines()):
            if "add" in action:
                live[action["add"]["path"]] = action["add"]["partitionValues"]
            elif "remove" in action:
                live.pop(action["remove"]["path"], None)
    return live


def read(root: str) -> list[Row]:
    """All rows of the newest version."""
    rows: list[Row] = []
    for name, partition in live_files(root).items():
        try:
            columns = pq.ParquetFile(Path(root, unquote(name))).read().to_pydict()
        except FileNotFoundError as error:
            raise Verdict(f"the log names {name}, which is not there") from error
        height = len(columns["row"])
        parts = [partition["part"]] * height if "part" in partition else columns["part"]
        rows += zip(columns["key"], parts, columns["row"], strict=True)
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
    """Every data file is named by some version, and no attempt left anything behind."""
    named = set()
    for log in Path(root, "_delta_log").glob("*.json"):
        named |= {
            unquote(action["add"]["path"])
            for action in map(json.loads, log.read_text().splitlines())
            if "add" in action
        }
    files = {path.relative_to(root).as_posix() for path in Path(root).rglob("*.parquet")}
    if files - named:
        raise Verdict(f"nobody's files: {sorted(files - named)}")
