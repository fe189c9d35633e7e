"""Spark 3.5's implicit type conversions with ANSI mode off.

Two families: *wider types* unify branches and list items (CASE, coalesce, IN, array), *operand types*
serve arithmetic and comparison, where a string yields to the other side. Decimal precision and scale
follow Spark with `spark.sql.decimalOperations.allowPrecisionLoss` at its default, true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce

from rayetl.sql.expr import Cast, Expr, Literal
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    BYTE,
    CALENDAR_INTERVAL,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    INTEGRAL,
    LONG,
    MAX_PRECISION,
    NULL,
    SHORT,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    ArrayType,
    AtomicType,
    DataType,
    DecimalType,
    Field,
    MapType,
    StructType,
)

_NUMBER_ORDER = (BYTE, SHORT, INT, LONG, FLOAT, DOUBLE)
_DIGITS = {BYTE: 3, SHORT: 5, INT: 10, LONG: 20}
_MIN_SCALE = 6


def is_numeric(type: DataType) -> bool:  # noqa: A002
    return type in _NUMBER_ORDER or isinstance(type, DecimalType)


def is_day_time(type: DataType) -> bool:  # noqa: A002
    """A day-time interval of whatever fields (`interval day`, `interval hour to second`...)."""
    return isinstance(type, AtomicType) and type.name.startswith(
        ("interval day", "interval hour", "interval minute", "interval second")
    )


def is_year_month(type: DataType) -> bool:  # noqa: A002
    return isinstance(type, AtomicType) and type.name.startswith(("interval year", "interval month"))


def is_interval(type: DataType) -> bool:  # noqa: A002
    return is_day_time(type) or is_year_month(type) or type == CALENDAR_INTERVAL


def is_datetime(type: DataType) -> bool:  # noqa: A002
    return type in (DATE, TIMESTAMP, TIMESTAMP_NTZ)


def is_orderable(type: DataType) -> bool:  # noqa: A002
    match type:
        case MapType():
            return False
        case ArrayType(element):
            return is_orderable(element)
        case StructType(fields):
            return all(is_orderable(field.type) for field in fields)
    return type != CALENDAR_INTERVAL


def is_comparable(type: DataType) -> bool:  # noqa: A002
    """Whether `=`, grouping and DISTINCT work on it: all but maps."""
    match type:
        case MapType():
            return False
        case ArrayType(element):
            return is_comparable(element)
        case StructType(fields):
            return all(is_comparable(field.type) for field in fields)
    return True


def implicit_cast(expr: Expr, target: DataType) -> Expr:
    """The expression as `target`, unchanged when it has the type already."""
    if expr.type == target:
        return expr
    if isinstance(expr, Literal) and expr.value is None:
        return Literal(target, True, None)
    if isinstance(expr, Literal) and isinstance(expr.value, int) and expr.type in INTEGRAL:
        fits = _folded_number(expr.value, target) is not None
        return Cast(target, not fits and cast_nullable(expr, target), expr, implicit=True)
    return Cast(target, cast_nullable(expr, target), expr, implicit=True)


def folded(expr: Expr) -> Expr:
    """A cast of a whole number that was written out, as the literal it makes; all else unchanged. (The
    cast stays in the plan, because Spark names the column after the number as written.)"""
    if not isinstance(expr, Cast) or not isinstance(expr.child, Literal) or expr.child.type not in INTEGRAL:
        return expr
    value = expr.child.value
    return (_folded_number(value, expr.type) if isinstance(value, int) else None) or expr


def _folded_number(value: int, target: DataType) -> Literal | None:
    if isinstance(target, DecimalType):
        fits = len(str(abs(value))) <= target.precision - target.scale or value == 0
        return Literal(target, False, value * 10**target.scale) if fits else None
    if target in (INT, LONG) and abs(value) < 2**31:
        return Literal(target, False, value)
    return Literal(target, False, float(value)) if target == DOUBLE else None


def cast_nullable(expr: Expr, target: DataType) -> bool:
    """Whether the cast may give NULL: its input does, or the conversion itself can fail."""
    return expr.nullable or _can_fail(expr.type, target)


def _can_fail(source: DataType, target: DataType) -> bool:
    if source == target:
        return False
    if source == STRING:
        return target != BINARY
    if isinstance(target, DecimalType):
        bound = as_decimal(source)
        return bound is None or not _holds(target, bound)
    if source in (FLOAT, DOUBLE):
        return target == TIMESTAMP
    if source in (TIMESTAMP, DATE, TIMESTAMP_NTZ):
        return target not in (
            STRING,
            DATE,
            TIMESTAMP,
            TIMESTAMP_NTZ,
            *(INT, LONG, BYTE, SHORT) * (source == TIMESTAMP),
        )
    return isinstance(source, DecimalType) and target in INTEGRAL and False


def _holds(outer: DecimalType, inner: DecimalType) -> bool:
    return outer.precision - outer.scale >= inner.precision - inner.scale and outer.scale >= inner.scale


# Decimals


def as_decimal(type: DataType) -> DecimalType | None:  # noqa: A002
    """The decimal that holds every value of an integer type; a decimal itself; else None."""
    if isinstance(type, DecimalType):
        return type
    digits = _DIGITS.get(type)  # type: ignore[call-overload]
    return DecimalType(digits, 0) if digits else None


def bounded(precision: int, scale: int) -> DecimalType:
    return DecimalType(min(precision, MAX_PRECISION), min(scale, MAX_PRECISION))


def adjusted(precision: int, scale: int) -> DecimalType:
    """Spark's precision-loss rule: past 38 digits the scale gives way, but not below 6."""
    if precision <= MAX_PRECISION:
        return DecimalType(precision, scale)
    whole = precision - scale
    return DecimalType(MAX_PRECISION, max(MAX_PRECISION - whole, min(scale, _MIN_SCALE)))


def wider_decimal(left: DecimalType, right: DecimalType) -> DecimalType:
    scale = max(left.scale, right.scale)
    whole = max(left.precision - left.scale, right.precision - right.scale)
    return bounded(whole + scale, scale)


def decimal_result(operator: str, left: DecimalType, right: DecimalType) -> DecimalType:
    """Type of `left operator right` for + - * / %, and `div` before it becomes bigint."""
    p1, s1, p2, s2 = left.precision, left.scale, right.precision, right.scale
    scale = max(s1, s2)
    match operator:
        case "+" | "-":
            return adjusted(max(p1 - s1, p2 - s2) + scale + 1, scale)
        case "*":
            return adjusted(p1 + p2 + 1, s1 + s2)
        case "/":
            scale = max(_MIN_SCALE, s1 + p2 + 1)
            return adjusted(p1 - s1 + s2 + scale, scale)
        case "div":
            return bounded(max(p1 - s1 + s2, 1), 0)
    return adjusted(min(p1 - s1, p2 - s2) + scale, scale)


def decimal_of_literal(value: int) -> DecimalType:
    """The smallest decimal for an integer literal: 7 is decimal(1,0)."""
    return DecimalType(min(len(str(abs(value))), MAX_PRECISION), 0)


# Wider types


def tightest(left: DataType, right: DataType) -> DataType | None:
    """The common type without any loss and without strings, None if there is none."""
    if left == right:
        return left
    if left == NULL or right == NULL:
        return right if left == NULL else left
    if left in _NUMBER_ORDER and right in _NUMBER_ORDER:
        return max(left, right, key=_NUMBER_ORDER.index)
    if is_datetime(left) and is_datetime(right):
        return TIMESTAMP if TIMESTAMP in (left, right) else TIMESTAMP_NTZ
    if is_day_time(left) and is_day_time(right):
        return _span(left, right, ("day", "hour", "minute", "second"))
    if is_year_month(left) and is_year_month(right):
        return _span(left, right, ("year", "month"))
    return _complex(left, right, tightest)


def _span(left: DataType, right: DataType, units: tuple[str, ...]) -> DataType:
    used = [units.index(word) for word in f"{left} {right}".split() if word in units]
    first, last = units[min(used)], units[max(used)]
    return AtomicType(f"interval {first}" if first == last else f"interval {first} to {last}")


def _complex(
    left: DataType, right: DataType, rule: Callable[[DataType, DataType], DataType | None]
) -> DataType | None:
    match left, right:
        case ArrayType(), ArrayType():
            element = rule(left.element, right.element)
            return ArrayType(element, left.contains_null or right.contains_null) if element else None
        case MapType(), MapType():
            key, value = rule(left.key, right.key), rule(left.value, right.value)
            contains_null = left.value_contains_null or right.value_contains_null
            return MapType(key, value, contains_null) if key and value else None
        case StructType(), StructType() if len(left) == len(right):
            fields = [_wider_field(a, b, rule) for a, b in zip(left, right, strict=True)]
            return StructType(tuple(f for f in fields if f)) if all(fields) else None
    return None


def _wider_field(a: Field, b: Field, rule: Callable[[DataType, DataType], DataType | None]) -> Field | None:
    type_ = rule(a.type, b.type) if a.name.lower() == b.name.lower() else None
    return Field(a.name, type_, a.nullable or b.nullable) if type_ else None


def _wider_number(left: DataType, right: DataType) -> DataType | None:
    one, two = as_decimal(left), as_decimal(right)
    if one and two:
        return wider_decimal(one, two)
    pair = (left, right)
    if any(isinstance(t, DecimalType) for t in pair) and any(t in (FLOAT, DOUBLE) for t in pair):
        return DOUBLE
    return None


def wider_without_strings(left: DataType, right: DataType) -> DataType | None:
    return tightest(left, right) or _wider_number(left, right) or _complex(left, right, wider_without_strings)


def wider(left: DataType, right: DataType) -> DataType | None:
    """As `wider_without_strings`, but a string and another atom meet as strings."""
    found = tightest(left, right) or _wider_number(left, right)
    if found:
        return found
    if STRING in (left, right):
        other = right if left == STRING else left
        if isinstance(other, AtomicType | DecimalType) and other not in (BINARY, BOOLEAN):
            return STRING
    return _complex(left, right, wider)


def common_type(types: Iterable[DataType], strings: bool = True) -> DataType | None:
    """One type for all branches of a CASE or all items of a list, None if there is none."""
    rule = wider if strings else wider_without_strings
    # Spark widens strings first, so that the outcome does not hang on the order of the items.
    ordered = sorted(types, key=lambda t: not _has_string(t)) if strings else list(types)
    return reduce(lambda a, b: rule(a, b) if a is not None else None, ordered[1:], ordered[0])  # type: ignore


def _has_string(type: DataType) -> bool:  # noqa: A002
    return type == STRING or (isinstance(type, ArrayType) and _has_string(type.element))


def unify(exprs: Sequence[Expr], strings: bool = True) -> list[Expr] | None:
    """All expressions cast to their common type, None if there is none."""
    if not exprs:
        return []
    target = common_type([e.type for e in exprs], strings)
    return None if target is None else [implicit_cast(e, target) for e in exprs]


# Operands


def _promotable(type: DataType) -> bool:  # noqa: A002
    return isinstance(type, AtomicType | DecimalType) and not is_interval(type)


def arithmetic_operands(left: Expr, right: Expr) -> tuple[Expr, Expr] | None:
    """Both sides of + - * % brought to one kind of number; decimals keep their own precisions."""
    left, right = _string_as_double(left), _string_as_double(right)
    if left.type == NULL and right.type == NULL:
        return implicit_cast(left, DOUBLE), implicit_cast(right, DOUBLE)
    if NULL in (left.type, right.type):
        other = right.type if left.type == NULL else left.type
        return (implicit_cast(left, other), implicit_cast(right, other)) if is_numeric(other) else None
    if not (is_numeric(left.type) and is_numeric(right.type)):
        return None
    if isinstance(left.type, DecimalType) or isinstance(right.type, DecimalType):
        return decimal_operands(left, right)
    target = tightest(left.type, right.type)
    assert target is not None
    return implicit_cast(left, target), implicit_cast(right, target)


def _string_as_double(expr: Expr) -> Expr:
    return implicit_cast(expr, DOUBLE) if expr.type == STRING else expr


def decimal_operands(left: Expr, right: Expr) -> tuple[Expr, Expr]:
    """A decimal with another number: floats win, integers become decimals (literals the smallest)."""
    if left.type in (FLOAT, DOUBLE) or right.type in (FLOAT, DOUBLE):
        return implicit_cast(left, DOUBLE), implicit_cast(right, DOUBLE)
    return _to_decimal(left), _to_decimal(right)


def _to_decimal(expr: Expr) -> Expr:
    if isinstance(expr, Literal) and expr.type in INTEGRAL[1:] and isinstance(expr.value, int):
        # Spark looks at the digits of whole numbers that were written out, but not at those of a tinyint.
        return implicit_cast(expr, decimal_of_literal(expr.value))
    target = as_decimal(expr.type)
    assert target is not None
    return implicit_cast(expr, target)


def comparison_operands(left: Expr, right: Expr) -> tuple[Expr, Expr] | None:
    """Both sides of a comparison as one type; None if Spark refuses to compare them."""
    target = _comparison_type(left.type, right.type)
    if target is not None:
        return implicit_cast(left, target), implicit_cast(right, target)
    if is_numeric(left.type) and is_numeric(right.type):
        one, two = decimal_operands(left, right)
        both = one.type if one.type == two.type else wider_without_strings(one.type, two.type)
        assert both is not None
        return implicit_cast(one, both), implicit_cast(two, both)
    return None


def _comparison_type(left: DataType, right: DataType) -> DataType | None:
    if left == right:
        return left
    if STRING in (left, right):
        other = right if left == STRING else left
        if isinstance(other, DecimalType):
            return DOUBLE
        if other == NULL:
            return STRING
        return other if _promotable(other) else None
    return tightest(left, right) or _complex(left, right, _comparison_type)


def boolean_operands(left: Expr, right: Expr) -> tuple[Expr, Expr] | None:
    """`flag = 1`: a boolean meets a number, for = and <=> alone."""
    for one, two in ((left, right), (right, left)):
        if one.type == BOOLEAN and is_numeric(two.type):
            return implicit_cast(left, two.type), implicit_cast(right, two.type)
    return None


# Function arguments


def implicit(expr: Expr, target: DataType) -> Expr | None:
    """The expression as a function's parameter of a concrete type, None if Spark would not convert it."""
    source = expr.type
    if source == target:
        return expr
    allowed = (
        source == NULL
        or (isinstance(source, AtomicType | DecimalType) and target == STRING)
        or (source == STRING and (is_numeric(target) or is_datetime(target) or target == BINARY))
        or (is_numeric(source) and is_numeric(target))
        or (is_datetime(source) and is_datetime(target))
    )
    if allowed:
        return implicit_cast(expr, target)
    if isinstance(source, ArrayType) and isinstance(target, ArrayType) and source.element == target.element:
        return replace(expr, type=target)
    return None
