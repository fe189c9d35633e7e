"""Parts are poured in the order of the source, a few rows at a time, whichever is finished first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("ray", reason="the runtime ray is an extra")

from rayetl.cluster.pouring import Pours
from rayetl.connectors.base import BatchesTarget, FilesScan, SpoolTarget
from rayetl.engines.base import Job, Measured
from rayetl.engines.polars.pouring import sink_spool, spooled
from rayetl.model import Model
from rayetl.names import BAD, FIELD, ROW, RULE
from rayetl.plan.splits import Split
from rayetl.sql.types import Schema


class Store(BatchesTarget):
    """Takes rows; refuses odd ones when it is finished."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.rows: list[pl.DataFrame] = []
        self.meters = Refused()

    def write(self, rows: pl.DataFrame) -> pl.DataFrame | None:
        self.taken += rows["id"].to_list()
        self.rows.append(rows)
        return None

    def finish(self) -> pl.DataFrame | None:
        odd = pl.concat(self.rows).filter(pl.col("id") % 2 == 1)
        return odd.with_columns(pl.lit("odd").alias(name) for name in (RULE, FIELD, BAD))


class Refused:
    def __init__(self) -> None:
        self.heard: dict[str, int] = {}

    def refused(self, load: str, rows: int) -> None:
        self.heard[load] = rows


def spool(place: Path, *ids: int) -> dict[str, Path]:
    place.mkdir()
    frame = pl.LazyFrame({"id": ids, ROW: ids}, schema={"id": pl.Int64, ROW: pl.Int64})
    pl.collect_all([sink_spool(frame, SpoolTarget(str(place)))])
    return {"into": place}


def split(number: int) -> Split:
    return Split(number, FilesScan("csv", (), Schema(), Model()), 10)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def pours(store: Store, tmp_path: Path) -> Any:
    (tmp_path / "rejects").mkdir()
    plan: Any = None
    meters: Any = Refused()
    store.meters = meters
    return Pours(Job(plan, {"into": store}, tmp_path / "rejects"), meters)


def test_parts_are_poured_in_their_order(pours: Pours, store: Store, tmp_path: Path) -> None:
    pours.offer(1, spool(tmp_path / "b", 3, 4), split(1))
    assert not pours.ready
    pours.step()
    assert store.taken == []
    assert [part.number for part in pours.waiting] == [1], "it counts as under way until it is poured"
    pours.offer(0, spool(tmp_path / "a", 1, 2), split(0))
    while pours.ready:
        pours.step()
    assert store.taken == [1, 2, 3, 4]
    assert not pours.waiting


def test_rows_that_the_store_refuses_are_counted_and_kept(pours: Pours, store: Store, tmp_path: Path) -> None:
    pours.offer(0, spool(tmp_path / "a", 1, 2, 3, 4), None)
    while pours.ready:
        pours.step()
    before = Measured({}, {}, {"rows": 1}, {}, {}, {"into": 4}, {"rows": []})
    after = pours.finished(before)
    assert after.staged == {"into": 2}
    assert after.refused == {"rows": 1, "into": 2}
    assert store.meters.heard == {"into": 2}
    kept = pl.concat(pl.read_ipc(part) for part in after.rejects["into"])
    assert kept[ROW].to_list() == [1, 3]


def test_parts_of_an_earlier_attempt_hold_no_new_ones_back(
    pours: Pours, store: Store, tmp_path: Path
) -> None:
    pours.offer(5, spool(tmp_path / "a", 1), None)
    assert not pours.waiting


def test_a_directory_may_have_characters_of_a_pattern_in_its_name(tmp_path: Path) -> None:
    (place,) = spool(tmp_path / "state[1]", 1, 2).values()
    assert pl.concat(spooled(place))["id"].to_list() == [1, 2]
