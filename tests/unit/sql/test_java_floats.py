"""Numbers as Java 17 prints them; the texts below are a JVM's."""

from __future__ import annotations

import polars as pl
import pytest

from rayetl.sql.java_floats import java_float
from rayetl.sql.lower.texts import format_floats


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4.9e-324, "4.9E-324"),
        (2e23, "1.9999999999999998E23"),
        (1.2345678901235679e18, "1.23456789012356787E18"),
        (5.6729524129540076e25, "5.6729524129540076E25"),
        (1e300, "1.0E300"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_doubles(value: float, text: str) -> None:
    assert java_float(value, single=False) == text


def test_floats_show_digits_down_to_their_last_bit() -> None:
    values = pl.Series([1e11, 1e18, -922337203.0, 16777216.0, 1e10], dtype=pl.Float32)
    assert format_floats(values).to_list() == [
        "9.9999998E10",
        "9.9999998E17",
        "-9.2233722E8",
        "1.6777216E7",
        "1.0E10",
    ]
