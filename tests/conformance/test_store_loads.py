"""What every store does with a load that cannot be, or that is stopped in the middle."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import polars as pl
import pytest

from rayetl import failpoints
from rayetl.cli import main
from rayetl.errors import LoadError
from tests.conformance.stores import LIKE_ICEBERG, STORES, Store, store

__all__ = ["store"]

every_table = pytest.mark.parametrize(
    "store", [name for name in STORES if name not in ("files", "s3")], indirect=True
)
ROWS = pl.DataFrame({"id": [1, 2], "v": ["a", "b"]})
MISFITS = {
    "a column that is missing": (ROWS.drop("v"), ROWS, "it has no column 'v'"),
    "a column of another type": (ROWS.with_columns(v=pl.col("id")), ROWS, "'v' is string"),
    "a column of a narrower type": (ROWS.cast({"id": pl.Int32}), ROWS, "'id' is bigint"),
}


def unreadable(rows: pl.DataFrame) -> None:
    """Rows whose columns are known, and of which none can be read."""
    rows.write_parquet("in.parquet")
    data = Path("in.parquet").read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    Path("in.parquet").write_bytes(data[:4] + bytes(len(data) - 4 - footer) + data[-footer:])


@every_table
@pytest.mark.parametrize("misfit", MISFITS)
def test_a_table_that_does_not_fit_is_named_before_a_row_is_read(store: Store, misfit: str) -> None:
    there, rows, said = MISFITS[misfit]
    store.fill(there)
    unreadable(rows)
    with pytest.raises(LoadError, match=r"the rows do not fit into the .*table") as told:
        store.filling().run(force=True)
    assert said in told.value.message
    assert "no row was read" in (told.value.hint or "")
    assert store.drain().equals(there)


@every_table
def test_a_column_that_must_have_a_value_is_named_before_a_row_is_read(store: Store) -> None:
    assert store.require is not None
    store.require()
    unreadable(ROWS)
    with pytest.raises(LoadError, match=r"the rows do not fit into the .*table .*'w'"):
        store.filling().run(force=True)


@every_table
def test_an_upsert_finds_its_rows_or_names_the_constraint_that_it_lacks(store: Store) -> None:
    store.fill(ROWS)
    if not store.has_constraints:
        store.fill(ROWS.with_columns(v=pl.lit("new")), mode="upsert", keys="id")
        assert store.drain()["v"].to_list() == ["new", "new"]
        return
    unreadable(ROWS)
    with pytest.raises(LoadError, match=r"has no primary key or unique constraint on \(.id.\)"):
        store.filling(mode="upsert", keys="id").run(force=True)


@pytest.mark.parametrize("store", [*STORES, *LIKE_ICEBERG], indirect=True)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_load_that_is_stopped_leaves_nothing(store: Store, number: signal.Signals, code: int) -> None:
    more = pl.DataFrame({"id": range(10, 250_010)}).with_columns(v=pl.format("v{}", "id"))
    store.fill(ROWS)
    more.write_parquet("in.parquet", row_group_size=100_000)
    Path("p.json").write_text(json.dumps(store.config()))

    def stop(_: str) -> None:
        os.kill(os.getpid(), number)
        # The signal is for the main thread, wherever this is.
        time.sleep(1)

    with pytest.MonkeyPatch.context() as armed:
        armed.setitem(failpoints._ACTIONS, "stop", stop)
        armed.setenv("RAYETL_FAILPOINT", f"{store.middle}:stop")
        failpoints.rearm()
        assert main(["run", "p.json", "-q"]) == code
    failpoints.rearm()
    assert store.drain().equals(ROWS), "nothing is visible"
    # Files that a stopped attempt has given to a table of a lake, the next one takes back.
    if store.name not in ("delta", "delta on s3", "iceberg", *LIKE_ICEBERG):
        assert gone(store)
    assert main(["run", "p.json", "-q"]) == 0
    assert store.drain().equals(pl.concat([ROWS, more])), "the next run has it all"
    assert gone(store)


def gone(store: Store) -> bool:
    """Whether nothing is left of loads; a server may take a moment to notice that a connection has ended."""
    deadline = time.monotonic() + 10
    while left := store.left():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    return True
