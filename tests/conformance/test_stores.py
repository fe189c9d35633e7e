"""What every store keeps: as many rows, columns, long values and odd names as a table has, through its load and
back through its source."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from rayetl.errors import ConfigError
from tests.conformance.stores import LIKE_ICEBERG, STORES, Store, store

__all__ = ["store"]

every_store = pytest.mark.parametrize("store", STORES, indirect=True)

NAMES = (
    "a b", "a ", "select", "ORDER", "a;b", "a--b", "it's", 'a"b', "a`b", "a\\b", "a.b", "a,b", "100%", "%s", "{x}", "$1", "ä", "日本",
    "🎉", "null", "n" * 63, "n" * 64, "ü" * 40, "n" * 200,
)  # fmt: skip


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


@pytest.mark.parametrize("store", [*STORES, *LIKE_ICEBERG], indirect=True)
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


ODD = {
    "nothing": (None, None),
    "empty": ("", 0.0),
    "below zero": ("-", -0.0),
    "space": ("  \t\r\n ", 5e-324),
    "quotes": ("'\"`\\N\\", 1.7976931348623157e308),
    "beyond the plane": ("e\u0301 ä 日本 🎉 \u202e", -1.7976931348623157e308),
    "nul": ("a\0b", 1.0),
    "infinity": ("i", float("inf")),
    "below infinity": ("j", float("-inf")),
    "not a number": ("n", float("nan")),
}


@every_store
def test_odd_values_come_back_or_their_rows_alone_are_refused(store: Store) -> None:
    texts, numbers = zip(*ODD.values(), strict=True)
    wanted = pl.DataFrame({"id": range(len(ODD)), "what": list(ODD), "v": texts, "x": numbers})
    report = store.fill(wanted)
    kept = wanted.filter(~pl.col("what").is_in(list(store.refuses)))
    assert (report.rows_loaded, report.rows_rejected) == (kept.height, len(store.refuses))
    found = store.drain()
    assert_frame_equal(found, kept, check_exact=True)
    assert math.copysign(1, found["x"][2]) == (-1 if store.signed_zero else 1)


TYPES = pl.DataFrame(
    {
        "id": [1, 2, 3],
        "bool": [True, False, None],
        "byte": pl.Series([127, -128, None], dtype=pl.Int8),
        "short": pl.Series([32767, -32768, None], dtype=pl.Int16),
        "int": pl.Series([2**31 - 1, -(2**31), None], dtype=pl.Int32),
        "long": [2**63 - 1, -(2**63), None],
        "float": pl.Series([0.1, -3.4028234663852886e38, None], dtype=pl.Float32),
        "bytes": [b"\x00\xff'\\", b"", None],
        "date": [dt.date(1000, 1, 1), dt.date(9999, 12, 31), None],
        "wall": [dt.datetime(1000, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None],
        "instant": pl.Series(
            [dt.datetime(1970, 1, 2, tzinfo=dt.UTC), dt.datetime(2038, 1, 1, 0, 0, 0, 1, dt.UTC), None],
            dtype=pl.Datetime("us", "UTC"),
        ),
        "large": pl.Series(
            [Decimal("-" + "9" * 20 + "." + "9" * 18), Decimal("1e-18"), None], dtype=pl.Decimal(38, 18)
        ),
    }
)


@every_store
def test_the_ends_of_every_type_come_back(store: Store) -> None:
    store.fill(TYPES)
    assert_frame_equal(store.drain(), TYPES.cast(store.widens))
