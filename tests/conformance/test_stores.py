"""What every store keeps: as many rows, columns, long values and odd names as a table has, through its load and
back through its source."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from rayetl.errors import ConfigError
from tests.conformance.stores import Store

STORES = ("files", "s3", "postgres", "mysql", "delta", "delta on s3", "iceberg")
NAMES = (
    "a b", "a ", "select", "ORDER", "a;b", "a--b", "it's", 'a"b', "a`b", "a\\b", "a.b", "a,b", "100%", "%s", "{x}", "$1", "ä", "日本",
    "🎉", "null", "n" * 63, "n" * 64, "ü" * 40, "n" * 200,
)  # fmt: skip


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store that the parameter names, empty."""
    monkeypatch.chdir(tmp_path)
    name: str = request.param
    if name in ("postgres", "mysql"):
        database = request.getfixturevalue({"postgres": "database", "mysql": "maria"}[name])
        both = {"type": name, "table": "t", **database.config}
        most = 1000 if name == "postgres" else 500
        plain = name == "mysql"
        return Store(name, both, both, database.longest, not plain, most, plain=plain)
    if "s3" in name:
        bucket, server = request.getfixturevalue("bucket"), request.getfixturevalue("s3_server")
        where = {"path": f"{bucket.url}/t", "credential": "lake", "s3": {"endpoint": server.endpoint}}
    else:
        where = {"path": "t"}
    if name == "iceberg":
        where = {"catalog": {"type": "sql", "uri": "sqlite:///t/c.db", "warehouse": "t"}, "table": "shop.t"}
    kind = name.split()[0] if name.startswith(("delta", "iceberg")) else "files"
    both = {"type": kind, **where}
    source = {**both, "format": "parquet"} if kind == "files" else both
    return Store(name, both, source, never=" ,;{}()\n\t=" if kind == "delta" else "")


every_store = pytest.mark.parametrize("store", STORES, indirect=True)


def numbered(rows: int) -> pl.DataFrame:
    frame = pl.DataFrame({"id": pl.int_range(rows, eager=True)})
    return frame.with_columns(
        v=pl.format("v{}", "id"), x=pl.when(pl.col("id") % 7 != 0).then(pl.col("id") / 4)
    )


@every_store
@pytest.mark.parametrize("rows", [0, 1, 100_000])
def test_as_many_rows_come_back_as_went_in(store: Store, rows: int) -> None:
    wanted = numbered(rows)
    assert store.fill(wanted).rows_loaded == rows
    assert store.drain().equals(wanted)


@every_store
def test_many_columns_come_back_in_their_order(store: Store) -> None:
    columns = [f"c{number}" for number in range(store.most_columns - 1)]
    wanted = pl.DataFrame({"id": [1, 2], **{name: [number, None] for number, name in enumerate(columns)}})
    store.fill(wanted)
    assert store.drain().equals(wanted)


@every_store
def test_rows_of_a_megabyte_come_back_whole(store: Store) -> None:
    wanted = pl.DataFrame({"id": range(6), "v": [f"{number}ä\n" * 260_000 for number in range(6)]})
    assert wanted["v"].str.len_bytes().min() > 1_000_000
    store.fill(wanted)
    assert store.drain().equals(wanted)


@every_store
def test_columns_may_have_any_name_that_the_store_can_keep(store: Store) -> None:
    names = [name for name in NAMES if store.may_be_called(name)]
    assert len(names) >= len(NAMES) - 5
    wanted = pl.DataFrame({"id": [1, 2], **{name: [number, None] for number, name in enumerate(names)}})
    store.fill(wanted)
    store.fill(wanted.with_columns(pl.col("id") + 2))
    assert store.drain().equals(pl.concat([wanted, wanted.with_columns(pl.col("id") + 2)]))


@every_store
def test_names_that_the_store_cannot_keep_are_refused_before_a_row_is_read(store: Store) -> None:
    names = [name for name in NAMES if not store.may_be_called(name)]
    if not names:
        assert store.name in ("files", "s3", "iceberg")
        return
    with pytest.raises(ConfigError) as refused:
        store.fill(pl.DataFrame({"id": [1], **{name: [1] for name in names}}))
    assert all(repr(name) in str(refused.value) for name in names)
