"""The judges: replay the metadata of a table by themselves and read its files with pyarrow alone."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fastavro
import pyarrow.parquet as pq
from fault_checker import Verdict

Row = tuple[str, str, int]


class DeltaTruth:
    """A Delta table at `root`, by its JSON log."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    @property
    def exists(self) -> bool:
        return Path(self.root, "_delta_log").exists()

    def live(self) -> dict[str, dict[str, str | None]]:
        """The files of the newest version with the values of partition columns that are not in them."""
        live: dict[str, dict[str, str | None]] = {}
        for action in self._actions():
            if "add" in action:
                live[action["add"]["path"]] = action["add"]["partitionValues"]
            elif "remove" in action:
                live.pop(action["remove"]["path"], None)
        return {unquote(name): partition for name, partition in live.items()}

    def named(self) -> set[str]:
        """The files of all versions."""
        return {unquote(action["add"]["path"]) for action in self._actions() if "add" in action}

    def _actions(self) -> Iterator[dict[str, Any]]:
        for log in sorted(Path(self.root, "_delta_log").glob("*.json")):
            yield from map(json.loads, log.read_text().splitlines())


class IcebergTruth:
    """The table `shop.daily` of an SQLite catalog, by its manifests. `root` is the warehouse, or a copy of it,
    of which the catalog in the directory `catalog` says `address`."""

    def __init__(self, root: str, catalog: str | None = None, address: str | None = None) -> None:
        self.catalog = Path(catalog or root, "catalog.db")
        self.root = Path(root, "shop", "daily")
        self._address = f"{address or f'file://{root}'}/shop/daily/"

    @property
    def exists(self) -> bool:
        return self._metadata() is not None

    def live(self) -> dict[str, dict[str, str | None]]:
        metadata = self._metadata()
        assert metadata is not None
        current = metadata.get("current-snapshot-id")
        snapshots = [each for each in metadata["snapshots"] if each["snapshot-id"] == current]
        return {name: {} for snapshot in snapshots for name in self._files(snapshot)}

    def named(self) -> set[str]:
        metadata = self._metadata()
        assert metadata is not None
        return {name for snapshot in metadata["snapshots"] for name in self._files(snapshot)}

    def _metadata(self) -> dict[str, Any] | None:
        if not self.catalog.exists():
            return None
        with closing(sqlite3.connect(f"file:{self.catalog}?mode=ro", uri=True, timeout=30)) as catalog:
            if not catalog.execute("SELECT 1 FROM sqlite_master WHERE name = 'iceberg_tables'").fetchone():
                return None
            found = catalog.execute("SELECT metadata_location FROM iceberg_tables").fetchone()
        return None if found is None else json.loads(self._path(found[0]).read_text())

    def _files(self, snapshot: dict[str, Any]) -> Iterator[str]:
        for manifest in self._records(snapshot["manifest-list"]):
            for entry in self._records(manifest["manifest_path"]):
                if entry["status"] != 2:
                    yield self._path(entry["data_file"]["file_path"]).relative_to(self.root).as_posix()

    def _path(self, address: str) -> Path:
        if not address.startswith(self._address):
            raise Verdict(f"{address} is not below {self._address}")
        return self.root / address.removeprefix(self._address)

    def _records(self, address: str) -> list[Any]:
        with self._path(address).open("rb") as file:
            return list(fastavro.reader(file))


class HadoopTruth(IcebergTruth):
    """The table `shop.daily` of a hadoop catalog, by the file of its highest version. None in between may lack."""

    def _metadata(self) -> dict[str, Any] | None:
        found = {int(path.name[1:-14]): path for path in self.root.glob("metadata/v*.metadata.json")}
        if not found:
            return None
        if len(found) != max(found) - min(found) + 1:
            raise Verdict(f"the versions are {sorted(found)}")
        return json.loads(found[max(found)].read_text())


Truth = DeltaTruth | IcebergTruth


def read(truth: Truth) -> list[Row]:
    """All rows of the newest version."""
    rows: list[Row] = []
    for name, partition in truth.live().items():
        try:
            columns = pq.ParquetFile(truth.root / name).read().to_pydict()
        except FileNotFoundError as error:
            raise Verdict(f"the table names {name}, which is not there") from error
        height = len(columns["row"])
        parts = [partition["part"]] * height if "part" in partition else columns["part"]
        rows += zip(columns["key"], parts, columns["row"], strict=True)
    return rows


def assert_exactly(truth: Truth, oracle: list[Row]) -> None:
    """Nothing missing, nothing twice, nothing extra."""
    seen, wanted = Counter(read(truth)), Counter(oracle)
    if seen != wanted:
        raise Verdict(f"missing {wanted - seen}, extra {seen - wanted}")


def assert_whole(truth: Truth, *states: list[Row]) -> None:
    """What is visible is one of the whole states, never part of a batch."""
    seen = Counter(read(truth))
    if all(seen != Counter(state) for state in states):
        raise Verdict(f"part of a batch is visible: {sum(seen.values())} rows")


def assert_clean(truth: Truth) -> None:
    """Every data file is named by some version, and no attempt left anything behind."""
    files = {path.relative_to(truth.root).as_posix() for path in truth.root.rglob("*.parquet")}
    if beside := files - truth.named():
        raise Verdict(f"nobody's files: {sorted(beside)}")
