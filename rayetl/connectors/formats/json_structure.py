"""Where the commas and brackets of JSON are that is not read yet, found for many bytes at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayetl.lazy import lazily

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
else:
    pl, pa = lazily("polars"), lazily("pyarrow")

_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_QUOTE, _COMMA, _OPENING, _CLOSING = ord('"'), ord(","), tuple(b"[{"), tuple(b"]}")


def deepest(text: bytes) -> int:
    """How many arrays and objects lie in each other; right up to where the text is no JSON."""
    return int(_structure(text)[2].max() or 0)  # type: ignore[arg-type]


def signs_of(text: bytes) -> pl.Series:
    """The bytes as numbers, without a copy."""
    found: Any = pl.from_arrow(pa.Array.from_buffers(pa.uint8(), len(text), [None, pa.py_buffer(text)]))
    assert isinstance(found, pl.Series)
    return found


def commas_of(text: bytes) -> pl.Series:
    """The places of the commas that stand between whole elements, in text that begins with one."""
    places, sign, depth = _structure(text)
    return places.filter((sign == _COMMA) & (depth == 0))


def _structure(text: bytes) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Of the commas and brackets outside of strings: where they are, which they are, and how many arrays and
    objects are open behind them."""
    signs = signs_of(_ESCAPED.sub(b"__", text) if b"\\" in text else text)
    places = _any_of(signs, (_QUOTE, _COMMA, *_OPENING, *_CLOSING)).arg_true()
    sign = signs.gather(places)
    outside = ((sign == _QUOTE).cum_sum() % 2 == 0) & (sign != _QUOTE)
    places, sign = places.filter(outside), sign.filter(outside)
    opened, closed = (_any_of(sign, some).cast(pl.Int64).cum_sum() for some in (_OPENING, _CLOSING))
    return places, sign, opened - closed


def _any_of(signs: pl.Series, wanted: Sequence[int]) -> pl.Series:
    found = signs == wanted[0]
    for each in wanted[1:]:
        found |= signs == each
    return found
