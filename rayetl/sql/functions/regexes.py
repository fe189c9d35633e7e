"""LIKE and regular expressions. Patterns are constants, checked when the query is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rayetl.sql.expr import Call, Expr, Literal
from rayetl.sql.functions.base import (
    Accept,
    Context,
    Rule,
    Table,
    Typed,
    TypeFault,
    check_count,
    fit,
    of,
    takes,
)
from rayetl.sql.functions.constants import constant, text_of, value_of
from rayetl.sql.functions.patterns import (
    LINE_ENDS,
    check_replacement,
    groups_and_ends,
    groups_of,
    java_replacement,
    like_regex,
    rust_regex,
)
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import BOOLEAN, INT, STRING, ArrayType, DataType

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

TABLE = Table()
_string, _int = of(STRING), of(INT)
_constant_text, _constant_int = constant(_string), constant(_int)


def _like_rule(args: tuple[Expr, ...]) -> Typed:
    check_count(args, 2, 3)
    if len(args) > 2 and not (isinstance(args[2], Literal) and args[2].type == STRING):
        raise TypeFault("the escape must be one character, written out")
    fitted = (fit(_string, args[0], 0), *(fit(_constant_text, a, i + 1) for i, a in enumerate(args[1:])))
    pattern = text_of(fitted[1])
    if pattern is not None:
        like_regex(pattern, _escape(fitted))
    return Typed(fitted, BOOLEAN, any(a.nullable for a in fitted))


def _escape(args: tuple[Expr, ...]) -> str:
    escape = str(value_of(args[2])) if len(args) > 2 else "\\"
    if len(escape) != 1:
        raise TypeFault("the escape must be one character")
    return escape


def _like(ctx: Context, call: Call) -> pl.Expr:
    value, pattern = ctx.expr(call.args[0]), value_of(call.args[1])
    escape, ignore_case = _escape(call.args), call.function == "ilike"
    body = pattern.strip("%")
    if not ignore_case and not re.search(r"[%_]", body) and escape not in pattern:
        if pattern == body:
            equal: pl.Expr = value == pattern
            return equal
        if pattern in (body + "%", "%" + body):
            return (
                value.str.starts_with(body)
                if pattern.endswith("%") and body
                else (
                    value.str.ends_with(body)
                    if body
                    else value.is_not_null() | pl.lit(None, dtype=pl.Boolean)
                )
            )
        if pattern == f"%{body}%":
            return value.str.contains(body, literal=True)
    return value.str.contains(like_regex(pattern, escape, ignore_case))


def _checked(*accepts: Accept, returns: DataType, required: int) -> Rule:
    base = takes(*accepts, returns=returns, required=required)

    def rule(args: tuple[Expr, ...]) -> Typed:
        typed = base(args)
        pattern = text_of(typed.args[1])
        if pattern is not None:
            rust_regex(pattern)
        return typed

    return rule


def _pattern(call: Call) -> str:
    return rust_regex(value_of(call.args[1]))


def _rlike(ctx: Context, call: Call) -> pl.Expr:
    return ctx.expr(call.args[0]).str.contains(_pattern(call))


def _extract(ctx: Context, call: Call) -> pl.Expr:
    group = value_of(call.args[2]) if len(call.args) > 2 else 1
    value = ctx.expr(call.args[0])
    pattern, by = value_of(call.args[1]), _pattern(call)
    if group == 0 and _ends_in_dollar(pattern):
        # The end of the last line is behind what $ found, not in it.
        by, group = f"({rust_regex(pattern[:-1])}){rust_regex('$')}", 1
    found = value.str.extract(by, group)
    return pl.when(value.is_not_null()).then(found.fill_null(""))


def _extract_rule(args: tuple[Expr, ...]) -> Typed:
    typed = _checked(_string, _constant_text, _constant_int, returns=STRING, required=2)(args)
    group = value_of(typed.args[2]) if len(typed.args) > 2 else 1
    pattern = text_of(typed.args[1])
    if pattern is None or group is None:
        return typed
    groups = groups_of(pattern)
    if not 0 <= group <= groups:
        raise TypeFault(f"the pattern has {groups} group{'s' * (groups != 1)}, group {group} is asked for")
    ends = groups_and_ends(pattern)
    if "!" in ends or (group == 0 and "$" in ends and not _ends_in_dollar(pattern)):
        raise TypeFault("a $ within what is extracted is not supported in the embedded engine", refused=True)
    return typed


def _ends_in_dollar(pattern: str) -> bool:
    """Whether the pattern is one without alternatives that has a $ at its end and nowhere else."""
    bare = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "", pattern)
    return groups_and_ends(pattern).replace("(", "") == "$" and bare.endswith("$") and "|" not in bare


_replaces = _checked(_string, _constant_text, _constant_text, returns=STRING, required=3)


def _replace_rule(args: tuple[Expr, ...]) -> Typed:
    typed = _replaces(args)
    pattern, replacement = text_of(typed.args[1]), text_of(typed.args[2])
    if pattern is not None and replacement is not None:
        check_replacement(replacement, groups_of(pattern))
        if replacement != "":
            _refuse_nothing_after_something(pattern)
        ends = groups_and_ends(pattern)
        if "!" in ends:
            raise TypeFault("a $ within a group is not supported in the embedded engine", refused=True)
        if "$" in ends and any(map(_finds_line_end, _alternatives(pattern))):
            raise TypeFault(
                "a $ behind what matches the end of a line is not supported in the embedded engine",
                refused=True,
            )
    return typed


def _refuse_nothing_after_something(pattern: str) -> None:
    """Java finds nothing once more right after it found something (`x*` three times in `ax`), Rust does
    not. A pattern that begins with ^ is found once."""
    if pattern.strip("^$") and _matches_nothing(pattern) and not re.match(r"\^[^|]*$", pattern):
        raise TypeFault(
            "a pattern that also matches nothing is not supported in the embedded engine", refused=True
        )


def _replace(ctx: Context, call: Call) -> pl.Expr:
    pattern, replacement = (value_of(arg) for arg in call.args[1:])
    return ctx.expr(call.args[0]).str.replace_all(
        rust_regex(pattern, named_ends=True), java_replacement(replacement, pattern)
    )


def _split(ctx: Context, call: Call) -> pl.Expr:
    """Java's split: a limit keeps the rest in the last part; -1 keeps empty parts at the end."""
    limit = value_of(call.args[2]) if len(call.args) > 2 else -1
    value, pattern = ctx.expr(call.args[0]), value_of(call.args[1])
    plain = re.sub(r"\\([.|*+?^$()\[\]{}\\])", "", pattern)
    literal = plain == re.sub(r"[.|*+?^$()\[\]{}\\]", "", plain)
    by = re.sub(r"\\(.)", r"\1", pattern) if literal else rust_regex(pattern)
    if limit > 0:
        parts = value.str.splitn(by, limit)
        found = pl.concat_list([parts.struct.field(f"field_{i}") for i in range(limit)]).list.drop_nulls()
        return pl.when(value.is_not_null()).then(found)
    return value.str.split(by, literal=literal)


def _split_rule(args: tuple[Expr, ...]) -> Typed:
    typed = _checked(_string, _constant_text, _constant_int, returns=ArrayType(STRING, False), required=2)(
        args
    )
    pattern = text_of(typed.args[1])
    if pattern is None:
        return typed
    special = re.sub(r"\\.", "", pattern)
    if (
        pattern == ""
        or re.search(r"\\[bB]", pattern)
        or re.search("[$^]", special)
        or _matches_nothing(pattern)
    ):
        raise TypeFault(
            "a separator that matches nothing is not supported in the embedded engine", refused=True
        )
    if (
        len(typed.args) > 2
        and (value_of(typed.args[2]) or 0) > 0
        and (re.search(r"[.|*+?^$()\[\]{}]", special) or re.search(r"\\[A-Za-z]", pattern))
    ):
        raise TypeFault(
            "a limit with a regular expression is not supported in the embedded engine", refused=True
        )
    return typed


def _alternatives(pattern: str) -> list[str]:
    """The parts between |, but the whole of a pattern in which a | may mean something else."""
    return [pattern] if re.search(r"[\\(\[]", pattern.replace("\\s", "")) else pattern.split("|")


def _finds_line_end(pattern: str) -> bool:
    """Whether `$` finds twice: `[^a]$` in a `b` that ends its line first the `b`, then the end of the line,
    where Rust, which took the end in, is through. Repeated as often as it can be, it takes both at once."""
    if "$" not in groups_and_ends(pattern) or re.search(r"[*+]\$$", pattern) or _matches_nothing(pattern):
        return False
    return bool(pl.Series(LINE_ENDS).str.contains(f"^(?:{rust_regex(pattern)})$").any())


def _matches_nothing(pattern: str) -> bool:
    return bool(pl.Series([""]).str.contains(f"^(?:{rust_regex(pattern)})$")[0])


def _count_rule(args: tuple[Expr, ...]) -> Typed:
    typed = _checked(_string, _constant_text, returns=INT, required=2)(args)
    pattern = text_of(typed.args[1])
    if pattern is not None:
        _refuse_nothing_after_something(pattern)
    return typed


def _count(ctx: Context, call: Call) -> pl.Expr:
    return ctx.expr(call.args[0]).str.count_matches(_pattern(call)).cast(pl.Int32)


_two = _checked(_string, _constant_text, returns=BOOLEAN, required=2)
TABLE.add("like", _like_rule, _like, raw=True, strict=True)
TABLE.add("ilike", _like_rule, _like, raw=True, strict=True)
TABLE.add("rlike", _two, _rlike, raw=True, strict=True, aliases="regexp_like regexp")
TABLE.add("regexp_extract", _extract_rule, _extract, raw=True, strict=True)
TABLE.add("regexp_replace", _replace_rule, _replace, raw=True, strict=True)
TABLE.add("regexp_count", _count_rule, _count, raw=True, strict=True)
TABLE.add("split", _split_rule, _split, raw=True, strict=True)
