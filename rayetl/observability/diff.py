"""Expected rows against actual ones, for the `tests` of a config."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rayetl.observability.report import Cell, RowDiff, TableDiff

Row = Mapping[str, object]

SHOWN = 20
"""Differing rows that a diff holds; further ones are only counted."""


def diff_rows(
    what: str, expected: Sequence[Row], actual: Sequence[Row], *, ordered: bool = False
) -> TableDiff | None:
    """How `actual` differs from `expected`, or `None` if it does not.

    Rows are a multiset unless `ordered`. Columns that no expected row names are not compared. A row that
    was expected and the most similar one that came instead are shown as one changed row.
    """
    columns = tuple(dict.fromkeys(name for row in expected or actual for name in row))
    wanted = [_cells(row, columns) for row in expected]
    came = [_cells(row, columns) for row in actual]
    differing = _ordered(wanted, came) if ordered else _unordered(wanted, came)
    if not differing:
        return None
    more = max(len(differing) - SHOWN, 0)
    return TableDiff(what, columns, len(expected), len(actual), tuple(differing[:SHOWN]), more)


def _cells(row: Row, columns: Sequence[str]) -> tuple[Cell, ...]:
    return tuple(_cell(row[name]) if name in row else Cell("(absent)", "") for name in columns)


def _cell(value: object) -> Cell:
    """Text that tells values apart as SQL does: `1` and `1.0` have equal text when they are equal numbers,
    and their types are told apart by the reader's eye only when the texts are the same."""
    if value is None:
        return Cell("NULL", "null")
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 1e15:
        return Cell(f"{value:.1f}", "double")
    return Cell(_text(value), type(value).__name__)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return f"X'{value.hex().upper()}'"
    return repr(value) if isinstance(value, str | list | dict | tuple) else str(value)


def _ordered(wanted: list[tuple[Cell, ...]], came: list[tuple[Cell, ...]]) -> list[RowDiff]:
    paired = [
        RowDiff("changed", left, right) for left, right in zip(wanted, came, strict=False) if left != right
    ]
    missing = [RowDiff("missing", left, None) for left in wanted[len(came) :]]
    return paired + missing + [RowDiff("extra", None, right) for right in came[len(wanted) :]]


def _unordered(wanted: list[tuple[Cell, ...]], came: list[tuple[Cell, ...]]) -> list[RowDiff]:
    extra = list(came)
    missing = []
    for row in wanted:
        if row in extra:
            extra.remove(row)
        else:
            missing.append(row)
    return _pair(missing, extra)


def _pair(missing: list[tuple[Cell, ...]], extra: list[tuple[Cell, ...]]) -> list[RowDiff]:
    differing = []
    left_over = list(extra)
    for row in missing:
        near = max(left_over, key=lambda other: _alike(row, other), default=None)
        if near is not None and _alike(row, near):
            left_over.remove(near)
            differing.append(RowDiff("changed", row, near))
        else:
            differing.append(RowDiff("missing", row, None))
    return differing + [RowDiff("extra", None, row) for row in left_over]


def _alike(left: tuple[Cell, ...], right: tuple[Cell, ...]) -> int:
    return sum(a == b for a, b in zip(left, right, strict=True))
