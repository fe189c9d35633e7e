"""Row diffs of config tests."""

from datetime import date
from decimal import Decimal

import pytest

from rayetl.observability.diff import SHOWN, diff_rows
from rayetl.observability.text import diff_table


def kinds(expected, actual, **options):
    found = diff_rows("out", expected, actual, **options)
    return [] if found is None else [row.kind for row in found.rows]


ROWS = [{"id": 1, "name": "Ada"}, {"id": 2, "name": None}]


@pytest.mark.parametrize(
    ("expected", "actual", "found"),
    [
        (ROWS, ROWS, []),
        (ROWS, ROWS[::-1], []),
        ([], [], []),
        (ROWS, ROWS[:1], ["missing"]),
        (ROWS[:1], ROWS, ["extra"]),
        (ROWS[:1], ROWS[:1] * 2, ["extra"]),
        (ROWS[:1], [{"id": 1, "name": "Bob"}], ["changed"]),
        ([{"id": 1}], [{"id": 2}], ["missing", "extra"]),
        ([{"id": 1}], [{"id": 1, "name": "not asked for"}], []),
        ([{"id": 1, "name": "x"}], [{"id": 1}], ["changed"]),
        ([{"n": 1}], [{"n": "1"}], ["missing", "extra"]),
        ([{"n": 1}], [{"n": True}], ["missing", "extra"]),
        ([{"n": float("nan")}], [{"n": float("nan")}], []),
        ([{"n": Decimal("1.0")}], [{"n": Decimal("1.00")}], ["missing", "extra"]),
        ([{"d": date(2024, 1, 1)}], [{"d": date(2024, 1, 1)}], []),
        ([{"n": None}], [{"n": "NULL"}], ["missing", "extra"]),
    ],
)
def test_what_differs(expected, actual, found) -> None:
    assert kinds(expected, actual) == found


def test_order_counts_only_when_asked() -> None:
    assert kinds(ROWS, ROWS[::-1], ordered=True) == ["changed", "changed"]
    assert kinds(ROWS, ROWS[:1], ordered=True) == ["missing"]
    assert kinds(ROWS[:1], ROWS, ordered=True) == ["extra"]


def test_types_are_shown_where_the_text_is_the_same() -> None:
    found = diff_rows("out", [{"id": 1, "n": date(2024, 1, 1)}], [{"id": 1, "n": Shown("2024-01-01")}])
    assert found is not None
    assert diff_table(found).rows == (("~", "1", "2024-01-01 (date) => 2024-01-01 (Shown)"),)


class Shown:
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


def test_a_changed_value_stands_beside_the_expected_one() -> None:
    found = diff_rows("out", [{"id": 1, "name": "Ada"}], [{"id": 1, "name": "Bob"}])
    assert found is not None
    assert diff_table(found).rows == (("~", "1", "'Ada' => 'Bob'"),)


def test_many_differences_are_counted_not_kept() -> None:
    found = diff_rows("out", [{"id": n} for n in range(100)], [])
    assert found is not None
    assert len(found.rows) == SHOWN
    assert found.more == 100 - SHOWN
    assert "80 more differing rows" in diff_table(found).title
