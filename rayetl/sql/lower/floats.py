"""Division of floats by one number, correctly rounded.

Polars turns `column / number` into `column * (1 / number)`, which is off in the last digit (49.0 / 49.0
gives 0.9999999999999999). A divisor that comes as a column is divided by.
"""

from __future__ import annotations

import polars as pl


def divided(above: pl.Expr, below: pl.Expr | float) -> pl.Expr:
    """`above / below` for a `below` that is the same for all rows; NULL where `above` is."""
    constant = below if isinstance(below, pl.Expr) else pl.lit(below)
    return above / (above.is_not_null().cast(pl.Float64) * constant)


def divided_series(above: pl.Series, below: float) -> pl.Series:
    """The same for values at hand."""
    return above / pl.repeat(below, len(above), dtype=pl.Float64, eager=True)
