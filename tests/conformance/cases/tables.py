"""The tables of the conformance suite: small, and full of NULL, NaN, -0.0, edges and duplicates."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa

_NAN = float("nan")


def _t(**columns: tuple[list[object], pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array(values, type=kind) for name, (values, kind) in columns.items()})


_KEYS = [1, 2, 3, 4, None, 6]
people = _t(
    id=(_KEYS, pa.int64()),
    name=(["ann", "Bob", "ann", None, "Éva ", ""], pa.string()),
    grp=(["a", "a", "b", None, "b", "b"], pa.string()),
    n=([10, 20, 30, -40, None, 7], pa.int32()),
    x=([1.5, None, 3.0, _NAN, -0.0, 0.0], pa.float64()),
    d=(
        [Decimal("1.10"), Decimal("2.25"), None, Decimal("-4.40"), Decimal("0.00"), Decimal("99.99")],
        pa.decimal128(10, 2),
    ),
    born=(
        [
            date(1990, 1, 31),
            date(2000, 2, 29),
            None,
            date(1969, 12, 31),
            date(2024, 12, 30),
            date(1990, 1, 31),
        ],
        pa.date32(),
    ),
    seen=(
        [
            datetime(2024, 1, 1, 0, 0, 0, 1, UTC),
            None,
            datetime(2024, 3, 31, 1, 59, 59, 999999, UTC),
            datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
            datetime(2024, 12, 31, 12, 30, tzinfo=UTC),
            datetime(2024, 1, 1, 0, 0, 0, 1, UTC),
        ],
        pa.timestamp("us", "UTC"),
    ),
    ok=([True, False, None, True, None, False], pa.bool_()),
)
orders = _t(
    oid=([1, 2, 3, 4, 5, 6, 7], pa.int64()),
    id=([1, 1, 3, None, 9, 2, 1], pa.int32()),
    grp=(["a", "b", "b", None, "c", "a", "a"], pa.string()),
    amount=([10.0, 20.5, None, 40.0, _NAN, -5.25, 10.0], pa.float64()),
    price=(
        [
            Decimal("10.00"),
            Decimal("20.50"),
            None,
            Decimal("40.00"),
            Decimal("1.01"),
            Decimal("-5.25"),
            Decimal("10.00"),
        ],
        pa.decimal128(12, 2),
    ),
    day=([date(2024, 1, d) if d else None for d in (1, 1, 2, None, 5, 9, 9)], pa.date32()),
    at=(
        [
            datetime(2024, 1, d, h, tzinfo=UTC) if d else None
            for d, h in ((1, 0), (1, 5), (2, 1), (0, 0), (5, 5), (9, 9), (9, 9))
        ],
        pa.timestamp("us", "UTC"),
    ),
    qty=([1, 2, 3, 4, 5, None, 7], pa.int16()),
)
nested = _t(
    k=([1, 2, 3, 4], pa.int32()),
    xs=([[1, None, 3], [], None, [3, 3, 1]], pa.list_(pa.int32())),
    names=([["b", "a"], None, [None], []], pa.list_(pa.string())),
    s=(
        [{"a": 1, "b": "x"}, {"a": None, "b": "y"}, None, {"a": 4, "b": None}],
        pa.struct([("a", pa.int64()), ("b", pa.string())]),
    ),
    items=(
        [[{"p": 1.5, "q": 2}], [{"p": None, "q": 1}, {"p": 0.5, "q": None}], [], None],
        pa.list_(pa.struct([("p", pa.float64()), ("q", pa.int32())])),
    ),
    m=([[("a", 1), ("b", None)], [], None, [("c", 3)]], pa.map_(pa.string(), pa.int32())),
)
empty = people.slice(0, 0)
blanks = _t(
    i=([None, None], pa.int32()),
    s=([None, None], pa.string()),
    f=([None, None], pa.float64()),
    d=([None, None], pa.decimal128(10, 2)),
    t=([None, None], pa.timestamp("us", "UTC")),
)

TABLES = {"people": people, "orders": orders, "nested": nested, "empty": empty, "blanks": blanks}
