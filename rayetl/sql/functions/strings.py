"""String functions. Positions count from 1 and characters are code points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayetl.sql import coerce
from rayetl.sql.expr import Call, Expr, Literal
from rayetl.sql.functions.base import (
    Context,
    Table,
    Typed,
    TypeFault,
    check_count,
    fit,
    of,
    takes,
)
from rayetl.sql.functions.constants import constant, value_of
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import BINARY, BOOLEAN, INT, STRING, ArrayType

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()
_string = of(STRING)
_int = of(INT)


def _substring(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 3)
    if args[0].type == BINARY:
        raise TypeFault("substring of binary is not supported in the embedded engine", refused=True)
    length = args[2] if len(args) > 2 else Literal(INT, False, 2**31 - 1)
    fitted = tuple(
        fit(a, e, i) for i, (a, e) in enumerate(zip((_string, _int, _int), (*args[:2], length), strict=True))
    )
    return Typed(fitted, STRING, any(a.nullable for a in fitted))


def _lower_substring(ctx: Context, call: Call) -> pl.Expr:
    value = ctx.expr(call.args[0])
    start, length = call.args[1:]
    if (
        isinstance(start, Literal)
        and isinstance(length, Literal)
        and isinstance(start.value, int)
        and start.value >= 0
    ):
        count = max(int(length.value), 0) if length.value is not None else None  # type: ignore[arg-type]
        if count is not None:
            return value.str.slice(max(start.value - 1, 0), None if count >= 2**31 - 1 else count)
    return slice_from(value, ctx.expr(start).cast(pl.Int64), ctx.expr(length).cast(pl.Int64))


def slice_from(value: pl.Expr, start: pl.Expr, length: pl.Expr) -> pl.Expr:
    """From a position that may be negative (from the end); what lies before the start is cut off."""
    size = value.str.len_chars().cast(pl.Int64)
    first = pl.when(start > 0).then(start - 1).when(start < 0).then(size + start).otherwise(0)
    last = pl.min_horizontal(first + length, size)
    begin = pl.max_horizontal(first, pl.lit(0, dtype=pl.Int64))
    count = pl.max_horizontal(last - begin, pl.lit(0, dtype=pl.Int64))
    known = start.is_not_null() & length.is_not_null()
    return pl.when(known).then(value.str.slice(begin, count))


def _concat(args: tuple[Expr, ...]) -> Typed:
    if args and all(isinstance(a.type, ArrayType) for a in args):
        fitted = coerce.unify(args)
        if fitted is None:
            raise TypeFault("the arrays have no common type")
        return Typed(tuple(fitted), fitted[0].type, any(a.nullable for a in fitted))
    if args and all(a.type == BINARY for a in args):
        raise TypeFault("concat of binary is not supported in the embedded engine", refused=True)
    fitted = [fit(_string, a, i) for i, a in enumerate(args)]
    return Typed(tuple(fitted), STRING, any(a.nullable for a in fitted))


def _lower_concat(ctx: Context, call: Call) -> pl.Expr:
    parts = [ctx.expr(a) for a in call.args]
    if isinstance(call.type, ArrayType):
        found = pl.concat_list(parts)
        return pl.when(pl.all_horizontal([p.is_not_null() for p in parts])).then(found)
    return pl.concat_str(parts) if parts else pl.lit("")


def _concat_ws(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, None)
    fitted = [fit(_string, args[0], 0)]
    for i, arg in enumerate(args[1:]):
        is_strings = isinstance(arg.type, ArrayType) and arg.type.element == STRING
        fitted.append(arg if is_strings else fit(_string, arg, i + 1))
    return Typed(tuple(fitted), STRING, fitted[0].nullable)


def _lower_concat_ws(ctx: Context, call: Call) -> pl.Expr:
    separator, *rest = call.args
    if not rest:
        return pl.when(ctx.expr(separator).is_not_null()).then(pl.lit(""))
    if (
        isinstance(separator, Literal)
        and separator.value is not None
        and not any(isinstance(a.type, ArrayType) for a in rest)
    ):
        return pl.concat_str([ctx.expr(a) for a in rest], separator=separator.value, ignore_nulls=True)  # type: ignore[arg-type]
    parts = [ctx.expr(a) if isinstance(a.type, ArrayType) else pl.concat_list(ctx.expr(a)) for a in rest]
    lists = [p.fill_null(pl.lit([], dtype=pl.List(pl.String))) for p in parts]
    return joined(pl.concat_list(lists), ctx.expr(separator))


def joined(lists: pl.Expr, mark: pl.Expr) -> pl.Expr:
    """The items that are not NULL with the mark between. Polars joins a list that is the same for all
    rows by the first mark alone, so the list is made one of each row."""
    return pl.when(mark.is_not_null()).then(lists).list.join(mark, ignore_nulls=True)


def _trim(method: str) -> Any:
    def lower(ctx: Context, call: Call) -> pl.Expr:
        if len(call.args) == 1:
            plain: pl.Expr = getattr(ctx.expr(call.args[0]).str, method)(" ")
            return plain
        chars, value = call.args if call.function != "trim_from" else (call.args[1], call.args[0])
        marks = ctx.expr(chars)
        found: pl.Expr = getattr(ctx.expr(value).str, method)(marks)
        # Polars takes a NULL for the blanks.
        return pl.when(marks.is_not_null()).then(found) if chars.nullable else found

    return lower


def _pad(ctx: Context, call: Call) -> pl.Expr:
    """Cut or fill to a length; an empty fill only cuts."""
    value, size = ctx.expr(call.args[0]), pl.max_horizontal(ctx.expr(call.args[1]), pl.lit(0, dtype=pl.Int32))
    size = pl.when(ctx.expr(call.args[1]).is_not_null()).then(size).cast(pl.Int64)
    fill = ctx.expr(call.args[2]) if len(call.args) > 2 else pl.lit(" ")
    missing = pl.max_horizontal(size - value.str.len_chars().cast(pl.Int64), pl.lit(0, dtype=pl.Int64))
    width = fill.str.len_chars().cast(pl.Int64)
    times = pl.when(width > 0).then((missing + width - 1) // width).otherwise(0)
    filling = fill.repeat_by(times).list.join("").str.slice(0, missing)
    cut = value.str.slice(0, size)
    found = filling + cut if call.function == "lpad" else cut + filling
    return pl.when(size.is_not_null() & fill.is_not_null()).then(found)


def _pad_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 3)
    if args[0].type == BINARY:
        raise TypeFault("padding binary is not supported in the embedded engine", refused=True)
    fitted = tuple(fit(a, e, i) for i, (a, e) in enumerate(zip((_string, _int, _string), args, strict=False)))
    return Typed(fitted, STRING, any(a.nullable for a in fitted))


def _position(value: pl.Expr, part: pl.Expr) -> pl.Expr:
    """1-based position of the first occurrence in code points, 0 when absent."""
    head = value.str.slice(0)
    bytes_before = head.str.find(part, literal=True)
    before = head.cast(pl.Binary).bin.slice(0, bytes_before).cast(pl.String).str.len_chars()
    found = pl.when(bytes_before.is_null()).then(0).otherwise(before + 1).cast(pl.Int32)
    return pl.when(value.is_not_null() & part.is_not_null()).then(found)


def _locate(ctx: Context, call: Call) -> pl.Expr:
    part, value = ctx.expr(call.args[0]), ctx.expr(call.args[1])
    if len(call.args) == 2:
        return _position(value, part)
    start = ctx.expr(call.args[2]).cast(pl.Int64)
    inside = _position(value.str.slice(pl.max_horizontal(start - 1, pl.lit(0, dtype=pl.Int64))), part).cast(
        pl.Int64
    )
    found = pl.when((inside > 0) & (start >= 1)).then(inside + start - 1).otherwise(0)
    found = pl.when((part == "") & (start >= 1)).then(1).otherwise(found)
    known = value.is_not_null() & part.is_not_null()
    return pl.when(start.is_null()).then(pl.lit(0, dtype=pl.Int32)).when(known).then(found.cast(pl.Int32))


def _reverse_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 1, 1)
    if isinstance(args[0].type, ArrayType):
        return Typed(args, args[0].type, args[0].nullable)
    value = fit(_string, args[0], 0)
    return Typed((value,), STRING, value.nullable)


def _reverse(ctx: Context, call: Call) -> pl.Expr:
    """Code point by code point; Polars' own keeps a letter and its accent together."""
    value = ctx.expr(call.args[0])
    if isinstance(call.type, ArrayType):
        return value.list.reverse()
    return value.str.extract_all("(?s).").list.reverse().list.join("")


def _translate(ctx: Context, call: Call) -> pl.Expr:
    source, target = value_of(call.args[1]), value_of(call.args[2])
    table: dict[str, str] = {}
    for i, char in enumerate(source):
        table.setdefault(char, target[i] if i < len(target) else "")
    value = ctx.expr(call.args[0])
    return value.str.replace_many(list(table), list(table.values())) if table else value


def _repeat(value: pl.Expr, times: pl.Expr) -> pl.Expr:
    found = value.repeat_by(pl.max_horizontal(times, pl.lit(0, dtype=pl.Int32))).list.join("")
    return pl.when(value.is_not_null() & times.is_not_null()).then(found)


def _ends(name: str) -> Any:
    return lambda value, part: getattr(value.str, name)(part)


def _left(value: pl.Expr, count: pl.Expr) -> pl.Expr:
    return pl.when(count.is_not_null()).then(
        value.str.slice(0, pl.max_horizontal(count, pl.lit(0, dtype=pl.Int32)))
    )


def _right(value: pl.Expr, count: pl.Expr) -> pl.Expr:
    size = pl.max_horizontal(count, pl.lit(0, dtype=pl.Int32)).cast(pl.Int64)
    return pl.when(count.is_not_null()).then(
        pl.when(size > 0).then(value.str.tail(size)).otherwise(pl.when(value.is_not_null()).then(pl.lit("")))
    )


def _overlay(ctx: Context, call: Call) -> pl.Expr:
    value, new, start = (ctx.expr(a) for a in call.args[:3])
    start = start.cast(pl.Int64)
    size = ctx.expr(call.args[3]).cast(pl.Int64) if len(call.args) > 3 else pl.lit(-1, dtype=pl.Int64)
    size = pl.when(size >= 0).then(size).when(size < 0).then(new.str.len_chars().cast(pl.Int64))
    before = slice_from(value, pl.lit(1, dtype=pl.Int64), start - 1)
    after = slice_from(value, start + size, pl.lit(2**31, dtype=pl.Int64))
    return before + new + after


_split_part_rule = takes(_string, constant(_string), constant(_int), returns=STRING)


def _split_part_number(args: tuple[Expr, ...]) -> Typed:
    typed = _split_part_rule(args)
    if value_of(typed.args[2]) == 0:
        raise TypeFault("parts count from 1, or from -1 at the end; 0 is none")
    return typed


def _split_part(ctx: Context, call: Call) -> pl.Expr:
    number = value_of(call.args[2])
    if value_of(call.args[1]) == "":
        # Nothing splits nothing: the whole text is the one part.
        value = ctx.expr(call.args[0])
        return value if abs(number) == 1 else pl.when(value.is_not_null()).then(pl.lit(""))
    parts = ctx.expr(call.args[0]).str.split(ctx.expr(call.args[1]))
    found = parts.list.get(number - 1 if number > 0 else number, null_on_oob=True)
    return pl.when(parts.is_not_null()).then(found.fill_null(""))


def _substring_index(ctx: Context, call: Call) -> pl.Expr:
    value, mark, count = ctx.expr(call.args[0]), value_of(call.args[1]), value_of(call.args[2])
    if count == 0 or mark == "":
        return pl.when(value.is_not_null()).then(pl.lit(""))
    parts = value.str.split(mark)
    kept = parts.list.head(count) if count > 0 else parts.list.tail(-count)
    return kept.list.join(mark)


def _btrim_rule(args: tuple[Expr, ...]) -> Typed:
    """Without characters it trims blanks."""
    check_count(args, 1, 2)
    return _two_texts(args if len(args) == 2 else (*args, Literal(STRING, False, " ")))


def _text_only(name: str, rule: Any) -> Any:
    """Spark gives binary for binary here."""

    def inner(args: tuple[Expr, ...]) -> Typed:
        if any(arg.type == BINARY for arg in args):
            raise TypeFault(f"{name} of binary is not supported in the embedded engine", refused=True)
        typed: Typed = rule(args)
        return typed

    return inner


_two_texts = takes(_string, _string, returns=STRING)


_test = takes(_string, _string, returns=BOOLEAN)
TABLE.add("concat", _concat, _lower_concat, raw=True)
TABLE.add("concat_ws", _concat_ws, _lower_concat_ws, raw=True)
TABLE.add("substring", _substring, _lower_substring, raw=True, aliases="substr")
for trim, method in (("trim", "strip_chars"), ("ltrim", "strip_chars_start"), ("rtrim", "strip_chars_end")):
    TABLE.add(trim, takes(_string, _string, returns=STRING, required=1), _trim(method), raw=True)
TABLE.add("trim_from", _btrim_rule, _trim("strip_chars"), raw=True, aliases="btrim")
TABLE.add("lpad", _pad_rule, _pad, raw=True)
TABLE.add("rpad", _pad_rule, _pad, raw=True)
TABLE.add("instr", takes(_string, _string, returns=INT), _position)
TABLE.add(
    "locate", takes(_string, _string, _int, returns=INT, required=2), _locate, raw=True, aliases="position"
)
TABLE.add(
    "translate",
    takes(_string, constant(_string), constant(_string), returns=STRING),
    _translate,
    raw=True,
    strict=True,
)
TABLE.add(
    "replace",
    takes(_string, constant(_string), _string, returns=STRING, required=2),
    lambda s, a, b=None: _replace(s, a, b),
    strict=True,
)
TABLE.add("repeat", takes(_string, _int, returns=STRING), _repeat)
TABLE.add("reverse", _reverse_rule, _reverse, raw=True)
TABLE.add("left", _text_only("left", takes(_string, _int, returns=STRING)), _left)
TABLE.add("right", takes(_string, _int, returns=STRING), _right)
TABLE.add(
    "overlay",
    _text_only("overlay", takes(_string, _string, _int, _int, returns=STRING, required=3)),
    _overlay,
    raw=True,
)
TABLE.add("startswith", _test, _ends("starts_with"))
TABLE.add("endswith", _test, _ends("ends_with"))
TABLE.add("contains", _test, lambda s, p: s.str.contains(p, literal=True))
TABLE.add("space", takes(_int, returns=STRING), lambda n: _repeat(pl.lit(" "), n))
TABLE.add("split_part", _split_part_number, _split_part, raw=True, strict=True)
TABLE.add(
    "substring_index",
    takes(_string, constant(_string), constant(_int), returns=STRING),
    _substring_index,
    raw=True,
    strict=True,
)


def _replace(value: pl.Expr, old: pl.Expr, new: pl.Expr | None) -> pl.Expr:
    by = pl.lit("") if new is None else new
    # One value for each replacement: Polars does not spread a single text.
    found = pl.when(by.is_not_null()).then(value).str.replace_all(old, by, literal=True)
    return pl.when((old == "") & by.is_not_null()).then(value).when(by.is_not_null()).then(found)
