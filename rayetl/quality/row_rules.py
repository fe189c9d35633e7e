"""Rules on single rows: one function for each kind, all of them in `ROW_RULES`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlglot import exp

from rayetl.names import PREFIX, ROW
from rayetl.quality.asking import Asked, Finding
from rayetl.quality.compile import quoted, text
from rayetl.quality.defaults import UUID
from rayetl.quality.fitting import EXACT_BITS, TIMES, WHOLE
from rayetl.quality.rules import Bound, Format, InSet, Length, Pattern, Range, References
from rayetl.sql import types as t
from rayetl.sql.functions.table import functions

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?"
FORMS = {
    "email": r"\A[^@\s]+@[^@\s.]+([.][^@\s.]+)+\z",
    "uuid": UUID,
    "ipv4": rf"\A{_OCTET}([.]{_OCTET}){{3}}\z",
    "url": r"\A[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/?#]+[^\s]*\z",
    "date": rf"\A{_DATE}\z",
    "timestamp": rf"\A{_DATE}[T ]{_TIME}\z",
}
ORDERED: tuple[t.DataType | type, ...] = (*WHOLE, *EXACT_BITS, *TIMES, t.DATE, t.STRING, t.DecimalType)
WRONG_EVERYWHERE = ("missing )", "unbalanced parenthesis", "unterminated character set", "nothing to repeat")


def not_null(columns: Sequence[str], asked: Asked) -> Iterator[Finding]:
    """Each column by itself."""
    for index, name in enumerate(columns):
        column = asked.column(name, "not_null", index)
        fails = asked.condition(f"{quoted(column.name)} IS NULL", "not_null", index)
        yield Finding(column.name, f"{column.name} is NULL", fails, fits=False)


def unique(columns: Sequence[str], asked: Asked) -> Iterator[Finding]:
    """The first row in source order is right. Where rows have no position any more, one of them is."""
    found = [asked.column(name, "unique", index) for index, name in enumerate(columns)]
    names = [quoted(column.name) for column in found]
    order = quoted(ROW) if ROW in asked.context.carry else names[0]
    repeated = f"row_number() OVER (PARTITION BY {', '.join(names)} ORDER BY {order}) > 1"
    told = ", ".join(column.name for column in found)
    fails = asked.condition(_of_present(names, repeated, null_fails=asked.null_fails), "unique")
    yield Finding(told, f"{told} was there before", fails, fits=False)


def _of_present(names: Sequence[str], fails: str, *, null_fails: bool) -> str:
    """`fails` for rows where all of `names` are there; the others fail or pass as told."""
    if null_fails:
        return " OR ".join([*(f"{name} IS NULL" for name in names), fails])
    return " AND ".join([*(f"{name} IS NOT NULL" for name in names), fails])


def references(rule: References, asked: Asked) -> Iterator[Finding]:
    """A left join against the distinct keys of the other input, which cannot multiply rows."""
    other = next(given for given in asked.context.inputs if given.name == rule.source)
    place = "columns" if rule.to is None else "to"
    ours, theirs, keys = [], [], []
    alias = f"{PREFIX}r{len(asked.joins)}"
    for index, (name, name_there) in enumerate(zip(rule.columns, rule.to or rule.columns, strict=True)):
        column = asked.column(name, "references", "columns", index)
        there = asked.column(name_there, "references", place, index, of=other.schema)
        common = _common(column.type, there.type)
        if common is None:
            message = f"`{column.name}` is {column.type}, `{there.name}` of `{rule.source}` is {there.type}"
            asked.fault(message, "references", place, index, hint="cast one of them in a step before")
            common = column.type
        ours.append(f"{quoted(asked.context.main.name)}.{quoted(column.name)}")
        theirs.append(f"CAST({quoted(there.name)} AS {common}) AS {alias}_{index}")
        keys.append(f"CAST({ours[-1]} AS {common}) = {alias}.{alias}_{index}")
    asked.joins.append(
        f"LEFT JOIN (SELECT DISTINCT {', '.join(theirs)} FROM {quoted(other.name)}) AS {alias} "
        f"ON {' AND '.join(keys)}"
    )
    told = ", ".join(rule.columns)
    missing = _of_present(ours, f"{alias}.{alias}_0 IS NULL", null_fails=asked.null_fails)
    fails = asked.condition(missing, "references")
    yield Finding(told, f"{told} does not exist in {other.name}", fails, fits=False)


def _common(left: t.DataType, right: t.DataType) -> t.DataType | None:
    """The type that both are compared in without a value changing."""
    if left == right or t.NULL in (left, right):
        return left if left != t.NULL else right
    if left in WHOLE and right in WHOLE:
        return t.LONG
    if left in EXACT_BITS and right in EXACT_BITS:
        return t.DOUBLE
    decimals = [_as_decimal(each) for each in (left, right)]
    if decimals[0] is None or decimals[1] is None:
        return None
    scale = max(decimals[0].scale, decimals[1].scale)
    whole = max(each.precision - each.scale for each in decimals if each)
    return t.DecimalType(whole + scale, scale) if whole + scale <= t.MAX_PRECISION else None


def _as_decimal(kind: t.DataType) -> t.DecimalType | None:
    if isinstance(kind, t.DecimalType):
        return kind
    return t.DecimalType(19, 0) if kind in WHOLE else None


def check(predicate: str, asked: Asked) -> Iterator[Finding]:
    """Any predicate on one row."""
    fits = asked.expression(predicate, "check")
    for call in _many_valued(fits):
        message = f"`{call.name}` does not give one value for each row"
        hint = "a rule of kind `aggregate` bounds a value of the whole input"
        asked.fault(message, "check", hint=hint, offset=call.meta.get("start"))
    yield Finding(None, f"not true: {' '.join(predicate.split())}", fits)


def _many_valued(tree: exp.Expr) -> Iterator[exp.Expr]:
    """Aggregates and generators that are neither over a window nor in a subquery."""
    if isinstance(tree, exp.Query):
        return
    entry = functions().get(tree.name.lower()) if isinstance(tree, exp.Anonymous) else None
    if entry is not None and entry.kind in ("aggregate", "generator"):
        yield tree
    if not isinstance(tree, exp.Window):
        for child in tree.iter_expressions():
            yield from _many_valued(child)


def value_range(rule: Range, asked: Asked) -> Iterator[Finding]:
    """Bounds of a column."""
    column = asked.column(rule.column, "range", "column")
    column = asked.expect(column, ORDERED, "a number, a date, a time or a text", "range", "column")
    ends = []
    for side, sign, bound in (("min", ">", rule.min), ("max", "<", rule.max)):
        if bound is not None:
            limit = asked.literal(bound, column, "range", side)
            ends.append(f"{quoted(column.name)} {sign}{'' if rule.exclusive else '='} {limit}")
    fits = asked.condition(" AND ".join(ends), "range")
    yield Finding(column.name, f"{column.name} is not {told(rule.min, rule.max, rule.exclusive)}", fits)


def pattern(rule: Pattern, asked: Asked) -> Iterator[Finding]:
    """A regular expression that is found somewhere in the text."""
    column = asked.column(rule.column, "pattern", "column")
    asked.expect(column, (t.STRING,), "a text", "pattern", "column")
    fault = _regex_fault(rule.regex)
    if fault is not None:
        asked.fault(f"{rule.regex!r} is not a regular expression: {fault}", "pattern", "regex")
    fits = asked.condition(f"{quoted(column.name)} RLIKE {text(rule.regex)}", "pattern", "regex")
    yield Finding(column.name, f"{column.name} does not match {rule.regex}", fits)


def _regex_fault(regex: str) -> str | None:
    """What is wrong in every dialect of regular expressions; the rest is for the engine to say."""
    try:
        re.compile(regex)
    except re.error as error:
        return error.msg if error.msg.startswith(WRONG_EVERYWHERE) else None
    return None


def in_set(rule: InSet, asked: Asked) -> Iterator[Finding]:
    """One of a few values."""
    column = asked.column(rule.column, "in_set", "column")
    values = [asked.literal(each, column, "in_set", "values", i) for i, each in enumerate(rule.values)]
    fits = asked.condition(f"{quoted(column.name)} IN ({', '.join(values)})", "in_set")
    shown = ", ".join(str(value) for value in rule.values[:8])
    more = f" and {len(rule.values) - 8} more" if len(rule.values) > 8 else ""
    yield Finding(column.name, f"{column.name} is none of {shown}{more}", fits)


def length(rule: Length, asked: Asked) -> Iterator[Finding]:
    """Characters of a text, bytes of a BINARY, members of an array or map."""
    column = asked.column(rule.column, "length", "column")
    sized = (t.STRING, t.BINARY, t.ArrayType, t.MapType)
    asked.expect(column, sized, "a text, a binary, an array or a map", "length", "column")
    name = quoted(column.name)
    # size(NULL) is -1 in Spark.
    size = f"length({name})"
    if isinstance(column.type, (t.ArrayType, t.MapType)):
        size = f"CASE WHEN {name} IS NOT NULL THEN size({name}) END"
    fits = asked.condition(within(size, rule.min, rule.max), "length")
    yield Finding(column.name, f"the length of {column.name} is not {told(rule.min, rule.max)}", fits)


def form(rule: Format, asked: Asked) -> Iterator[Finding]:
    """A known form of text; dates and times must exist in the calendar too."""
    column = asked.column(rule.column, "format", "column")
    asked.expect(column, (t.STRING,), "a text", "format", "column")
    name = quoted(column.name)
    fits = f"{name} RLIKE {text(FORMS[rule.is_])}"
    if rule.is_ in ("date", "timestamp"):
        fits += f" AND ({name} IS NULL OR CAST({name} AS {rule.is_}) IS NOT NULL)"
    reason = f"{column.name} is not in the form of {'an' if rule.is_[0] in 'ei' else 'a'} {rule.is_}"
    yield Finding(column.name, reason, asked.condition(fits, "format"))


def within(value: str, low: int | None, high: int | None) -> str:
    """The condition that `value` lies between two numbers."""
    ends = [f"{value} >= {low}"] if low is not None else []
    return " AND ".join([*ends, *([f"{value} <= {high}"] if high is not None else [])])


def told(low: Bound | None, high: Bound | None, exclusive: bool = False) -> str:
    """The bounds in words."""
    if low is None:
        return f"{'below' if exclusive else 'at most'} {high}"
    if high is None:
        return f"{'above' if exclusive else 'at least'} {low}"
    return f"between {low} and {high}{', both excluded' if exclusive else ''}"


ROW_RULES: Mapping[str, Callable[[Any, Asked], Iterator[Finding]]] = {
    "not_null": not_null,
    "unique": unique,
    "range": value_range,
    "pattern": pattern,
    "in_set": in_set,
    "length": length,
    "format": form,
    "check": check,
    "references": references,
}
