"""String functions of single letters: their case, their codes, and how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayetl.sql.expr import Call, Column
from rayetl.sql.functions.base import Context, Table, of, takes
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import BINARY, INT, LONG, STRING

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()


def _initcap(value: pl.Expr) -> pl.Expr:
    """Upper case after a blank and at the start, lower case elsewhere. Java's title case is one character
    for one, so the sharp s, whose upper case is two, stays."""
    first = pl.element().str.slice(0, 1)
    upper = first.str.to_uppercase()
    title = pl.when(upper.str.len_chars() == 1).then(upper).otherwise(first)
    words = value.str.to_lowercase().str.split(" ")
    return words.list.eval(title + pl.element().str.slice(1)).list.join(" ")


def _ascii(value: pl.Expr) -> pl.Expr:
    from rayetl.sql.lower.texts import elementwise

    first = value.str.slice(0, 1)
    return elementwise(
        first,
        lambda s: pl.Series([None if v is None else ord(v) if v else 0 for v in s], dtype=pl.Int32),
        pl.Int32,
    )


def _chr(value: pl.Expr) -> pl.Expr:
    from rayetl.sql.lower.texts import elementwise

    def run(s: Any) -> Any:
        return pl.Series([None if v is None else "" if v < 0 else chr(v & 255) for v in s], dtype=pl.String)

    return elementwise(value, run, pl.String)


def _length(ctx: Context, call: Call) -> pl.Expr:
    value = ctx.expr(call.args[0])
    return (value.bin.size() if call.args[0].type == BINARY else value.str.len_chars()).cast(pl.Int32)


def _bytes(factor: int) -> Any:
    def lower(ctx: Context, call: Call) -> pl.Expr:
        value = ctx.expr(call.args[0])
        size = value.bin.size() if call.args[0].type == BINARY else value.str.len_bytes()
        return (size.cast(pl.Int32) * factor).cast(pl.Int32)

    return lower


def _in_case(method: str) -> Any:
    """Spark drops the inner of two changes of case, which a sharp s does not survive; of constants, which it
    works out before, it drops none."""

    def lower(ctx: Context, call: Call) -> pl.Expr:
        (arg,) = call.args
        while isinstance(arg, Call) and arg.function in ("upper", "lower"):
            if not any(isinstance(part, Column) for part in arg.walk()):
                break
            arg = arg.args[0]
        found: pl.Expr = getattr(ctx.expr(arg).str, method)()
        return found

    return lower


_string = of(STRING)
_text = takes(_string, returns=STRING)
TABLE.add("upper", _text, _in_case("to_uppercase"), raw=True, aliases="ucase")
TABLE.add("lower", _text, _in_case("to_lowercase"), raw=True, aliases="lcase")
TABLE.add(
    "length",
    takes(of(STRING, BINARY), returns=INT),
    _length,
    raw=True,
    aliases="char_length character_length len",
)
TABLE.add("octet_length", takes(of(STRING, BINARY), returns=INT), _bytes(1), raw=True)
TABLE.add("bit_length", takes(of(STRING, BINARY), returns=INT), _bytes(8), raw=True)
TABLE.add("initcap", _text, _initcap)
TABLE.add("ascii", takes(_string, returns=INT), _ascii)
TABLE.add("chr", takes(of(LONG), returns=STRING), _chr, aliases="char")
