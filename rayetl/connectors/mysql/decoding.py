"""Rows as the server sends them, as frames with the declared types; what these cannot hold stops the run.

A row is a byte 0, a bitmap of NULLs, and its values one after the other: numbers of a fixed size, moments by
a length and their parts, all else as bytes behind their length. All rows of a batch are taken apart together,
column by column, so that no value is a Python object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.mysql.types import BIG_UNSIGNED, ServerColumn
from rayetl.errors import SourceError
from rayetl.lazy import lazily
from rayetl.sql.interop import polars_type
from rayetl.sql.types import BINARY, BOOLEAN, DATE, STRING, TIMESTAMP, DecimalType

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa

    from rayetl.connectors.mysql.wire import Rows
else:
    np, pl, pa = lazily("numpy"), lazily("polars"), lazily("pyarrow")

_BESIDE = bytes(16)
"""Bytes behind a batch: values are fetched by their widest form, also where there is a NULL."""

_LONGER = {0xFC: 2, 0xFD: 3, 0xFE: 8}
"""First bytes of a length that is behind them in so many bytes."""


def decode(rows: Rows, columns: Sequence[ServerColumn]) -> pl.DataFrame:
    """A frame of `columns`, in the order they were asked for. Raises `SourceError` naming the column."""
    batch = _Batch(rows, len(columns))
    return pl.DataFrame([_series(batch, at, column) for at, column in enumerate(columns)])


def _series(batch: _Batch, at: int, column: ServerColumn) -> pl.Series:
    nulls = batch.nulls(at)
    if column.sent == "moment":
        return _moments(batch, nulls, column)
    if column.sent == "text":
        return _texts(batch, nulls, column)
    return _numbers(batch.numbers(column.sent, nulls), nulls, column)


class _Batch:
    """The rows of a batch; values are taken from them from left to right."""

    def __init__(self, rows: Rows, columns: int) -> None:
        rows.data.extend(_BESIDE)
        self._bytes = np.frombuffer(rows.data, np.uint8)
        self._starts = np.frombuffer(rows.starts, np.int64)
        self._at = self._starts + 1 + (columns + 9) // 8

    def nulls(self, at: int) -> Any:
        """Which rows have a NULL in the column number `at`."""
        place = at + 2
        return (self._bytes[self._starts + 1 + place // 8] >> (place % 8) & 1).astype(bool)

    def numbers(self, sent: str, nulls: Any) -> Any:
        """Numbers of a fixed size; whatever where there is a NULL."""
        size = int(sent[1:])
        found = self._fetch(self._at, size).view(f"<{sent}").reshape(-1)
        self._at = self._at + np.where(nulls, 0, size)
        return found

    def spans(self, nulls: Any) -> tuple[Any, Any]:
        """Where values begin and end that stand behind their length."""
        first = self._bytes[self._at].astype(np.int64)
        begins, lengths = self._at + 1, np.where(nulls, 0, first)
        for mark, size in _LONGER.items():
            (here,) = np.nonzero((first == mark) & ~nulls)
            if here.size:
                wide = np.zeros((here.size, 8), np.uint8)
                wide[:, :size] = self._fetch(begins[here], size)
                lengths[here] = wide.view("<i8").reshape(-1)
                begins[here] += size
        begins = np.where(nulls, self._at, begins)
        self._at = begins + lengths
        return begins, self._at

    def taken(self, begins: Any, ends: Any, nulls: Any) -> Any:
        """The bytes of spans as one Arrow array: every other value between the ends and beginnings."""
        height = len(begins)
        offsets = np.empty(2 * height + 1, np.int64)
        offsets[0:-1:2], offsets[1::2], offsets[-1] = begins, ends, ends[-1]
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self._bytes)]
        every = pa.Array.from_buffers(pa.large_binary(), 2 * height, buffers)
        return every.take(pa.array(np.arange(0, 2 * height, 2), mask=nulls))

    def parts(self, begins: Any, size: int) -> Any:
        """`size` bytes from each beginning on."""
        return self._fetch(begins, size)

    def _fetch(self, places: Any, size: int) -> Any:
        return np.lib.stride_tricks.sliding_window_view(self._bytes, size)[places]


def _numbers(values: Any, nulls: Any, column: ServerColumn) -> pl.Series:
    made = pl.Series(column.name, pa.array(values, mask=nulls))
    if column.type == BOOLEAN:
        odd = made.filter(made.is_not_null() & ~made.is_in([0, 1]))
        if odd.len():
            raise _unfit(column, str(odd[0]), f"CAST({column.name} AS SIGNED)")
        return made.cast(pl.Boolean)
    if column.type == BIG_UNSIGNED:
        return made.cast(pl.Int128).cast(polars_type(column.type))
    return made.cast(polars_type(column.type))


def _texts(batch: _Batch, nulls: Any, column: ServerColumn) -> pl.Series:
    found = batch.taken(*batch.spans(nulls), nulls)
    if column.type == BINARY:
        return pl.Series(column.name, found)
    texts = pl.Series(column.name, found.cast(pa.large_string()))
    if isinstance(column.type, DecimalType):
        return _decimals(texts, column, column.type)
    return texts if column.type == STRING else texts.cast(pl.Int64).cast(polars_type(column.type))


def _decimals(texts: pl.Series, column: ServerColumn, kind: DecimalType) -> pl.Series:
    numbers = texts.cast(pl.Decimal(kind.precision, kind.scale), strict=False)
    bad = numbers.is_null() & texts.is_not_null()
    if not column.exact:
        # Polars would round what it has no digits for.
        bad |= texts.str.contains(rf"\.\d{{{kind.scale}}}\d*[1-9]").fill_null(False)
    if bad.any():
        raise _unfit(column, str(texts.filter(bad)[0]), f"ROUND({column.name}, {kind.scale})")
    return numbers


def _moments(batch: _Batch, nulls: Any, column: ServerColumn) -> pl.Series:
    begins, ends = batch.spans(nulls)
    parts, lengths = batch.parts(begins, 11), ends - begins
    year = parts[:, 0:2].copy().view("<u2").reshape(-1).astype(np.int64)
    month, day = parts[:, 2].astype(np.int64), parts[:, 3].astype(np.int64)
    bad = ~nulls & ((lengths < 4) | (month == 0) | (day == 0))
    months = (np.where(bad, 0, (year - 1970) * 12 + month - 1)).astype("M8[M]")
    days = months.astype("M8[D]") + (day - 1)
    # With ALLOW_INVALID_DATES there may be a 31st of February.
    bad |= ~nulls & (days.astype("M8[M]") != months)
    if bad.any():
        place = int(np.nonzero(bad)[0][0])
        y, m, d = (int(part[place]) if lengths[place] >= 4 else 0 for part in (year, month, day))
        raise _unfit(column, f"{y:04}-{m:02}-{d:02}", f"NULLIF({column.name}, 0)")
    if column.type == DATE:
        return pl.Series(
            column.name, pa.array(days.astype(np.int64).astype(np.int32), pa.int32(), mask=nulls)
        ).cast(pl.Date)
    clock = parts[:, 4:7].astype(np.int64)
    seconds = np.where(lengths >= 7, clock[:, 0] * 3600 + clock[:, 1] * 60 + clock[:, 2], 0)
    micros = np.where(lengths >= 11, parts[:, 7:11].copy().view("<u4").reshape(-1).astype(np.int64), 0)
    moments = days.astype(np.int64) * 86_400_000_000 + seconds * 1_000_000 + micros
    made = pl.Series(column.name, pa.array(moments, mask=nulls)).cast(pl.Datetime("us"))
    return made.dt.replace_time_zone("UTC") if column.type == TIMESTAMP else made


def _unfit(column: ServerColumn, value: str, instead: str) -> SourceError:
    return SourceError(
        f"the column {column.name!r} holds {value}, which {column.type} cannot hold",
        hint=f"say in a `query` what it shall be: SELECT {instead} AS {column.name}, ...",
    )
