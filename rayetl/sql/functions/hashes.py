"""Digests and encodings."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayetl.sql.expr import Call, Expr
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    check_count,
    fit,
    of,
    takes,
)
from rayetl.sql.functions.constants import constant, value_of
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import BINARY, INT, LONG, STRING

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()
_SIZES = {
    0: hashlib.sha256,
    224: hashlib.sha224,
    256: hashlib.sha256,
    384: hashlib.sha384,
    512: hashlib.sha512,
}


def _of_bytes(function: Callable[[bytes], Any], dtype: Callable[[], Any]) -> Callable[[pl.Expr], pl.Expr]:
    """Digests are computed value by value: Polars has none."""

    def lower(value: pl.Expr) -> pl.Expr:
        from rayetl.sql.lower.texts import elementwise

        def run(s: Any) -> Any:
            return pl.Series([None if v is None else function(v) for v in s], dtype=dtype())

        return elementwise(value, run, dtype())

    return lower


def _sha2_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 2)
    size = fit(constant(of(INT)), args[1], 1)
    value = fit(of(BINARY), args[0], 0)
    return Typed((value, size), STRING, True)


def _sha2(ctx: Context, call: Call) -> pl.Expr:
    digest = _SIZES.get(value_of(call.args[1]))
    if digest is None:
        return pl.when(False).then(ctx.expr(call.args[0]).bin.encode("hex"))
    return _of_bytes(lambda b: digest(b).hexdigest(), lambda: pl.String)(ctx.expr(call.args[0]))


_bytes = of(BINARY)
TABLE.add(
    "md5", takes(_bytes, returns=STRING), _of_bytes(lambda b: hashlib.md5(b).hexdigest(), lambda: pl.String)
)
TABLE.add(
    "sha1",
    takes(_bytes, returns=STRING),
    _of_bytes(lambda b: hashlib.sha1(b).hexdigest(), lambda: pl.String),
    aliases="sha",
)
TABLE.add("sha2", _sha2_rule, _sha2, raw=True, strict=True)
TABLE.add("crc32", takes(_bytes, returns=LONG), _of_bytes(zlib.crc32, lambda: pl.Int64))
TABLE.add("base64", takes(_bytes, returns=STRING), lambda b: b.bin.encode("base64"))
