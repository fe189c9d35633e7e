"""The names that Spark gives to unnamed columns: the expression, written out in Spark's own way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from functools import reduce
from typing import Any

from rayetl.sql.coerce import is_interval
from rayetl.sql.expr import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expr,
    Frame,
    GeneratorCall,
    GetField,
    Lambda,
    LambdaVariable,
    Literal,
    SortKey,
    Subquery,
    WindowCall,
)
from rayetl.sql.functions.constants import value_of
from rayetl.sql.java_floats import java_float
from rayetl.sql.types import (
    BINARY,
    DATE,
    DOUBLE,
    FLOAT,
    MAX_PRECISION,
    STRING,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    AtomicType,
    DataType,
    DecimalType,
    StructType,
)

_INFIX = {"+", "-", "*", "/", "%", "div", "=", "<=>", "<", "<=", ">", ">=", "&", "|", "^"}
_VARIABLE = "namedlambdavariable()"
_EXACT = Context(prec=MAX_PRECISION)
"""Python's own context would round a decimal to 28 digits."""

_UPPER = frozenset(
    (
        *(
            "acos",
            "asin",
            "atan",
            "atan2",
            "cbrt",
            "ceil",
            "cos",
            "cosh",
            "cot",
            "csc",
            "degrees",
            "e",
            "exp",
        ),
        *("expm1", "floor", "hypot", "log", "log10", "log1p", "log2", "pi", "power", "radians", "sec"),
        *("signum", "sin", "sinh", "sqrt", "tan", "tanh"),
    )
)
_DEFAULTS: dict[str, dict[int, tuple[str, ...]]] = {
    "round": {1: ("0",)},
    "bround": {1: ("0",)},
    "locate": {2: ("1",)},
    "position": {2: ("1",)},
    "lpad": {2: (" ",)},
    "rpad": {2: (" ",)},
    "substring": {2: ("2147483647",)},
    "substr": {2: ("2147483647",)},
    "replace": {2: ("",)},
    "overlay": {3: ("-1",)},
    "regexp_replace": {3: ("1",)},
    "split": {2: ("-1",)},
    "months_between": {2: ("true",)},
    "unix_timestamp": {1: ("yyyy-MM-dd HH:mm:ss",)},
    "from_unixtime": {1: ("yyyy-MM-dd HH:mm:ss",)},
    "sort_array": {1: ("true",)},
}
_UNIT_MICROS = {"day": 86_400_000_000, "hour": 3_600_000_000, "minute": 60_000_000, "second": 1_000_000}


def spark_name(expr: Expr) -> str:
    """The column name that Spark 3.5 derives from an expression without AS."""
    return _WRITERS[type(expr)](expr)


def _cast(expr: Cast) -> str:
    inner = spark_name(expr.child)
    return inner if expr.implicit else f"CAST({inner} AS {str(expr.type).upper()})"


def _call(expr: Call) -> str:
    args = [spark_name(arg) for arg in expr.args]
    if expr.function == "struct" and isinstance(expr.type, StructType):
        args = [_member(*pair) for pair in zip(expr.args, args, expr.type.names, strict=True)]
    if expr.function in "+-" and is_interval(expr.args[1].type) and not is_interval(expr.args[0].type):
        return f"{args[0]} {expr.function} {args[1]}"
    written = _SPECIAL.get(expr.function)
    if written is not None:
        return written(args)
    name = expr.shown.upper() if expr.shown in _UPPER else expr.shown
    args += _DEFAULTS.get(expr.function, {}).get(len(args), ())
    if expr.function == "log" and len(args) == 1:
        args = ["E()", *args]
    if expr.function in _INFIX and len(args) == 2 and expr.shown in (expr.function, expr.function.upper()):
        return f"({args[0]} {expr.function} {args[1]})"
    return f"{name}({', '.join(args)})"


def _member(value: Expr, text: str, name: str) -> str:
    plain = isinstance(value, Column | GetField) and value.name.lower() == name.lower()
    return text if plain or name.startswith("col") else f"{text} AS {name}"


def _like(args: list[str], word: str) -> str:
    return f"{args[0]} {word} {args[1]}" + (f" ESCAPE '{args[2]}'" if len(args) > 2 else "")


def _chain(word: str) -> Callable[[list[str]], str]:
    return lambda args: reduce(lambda left, right: f"({left} {word} {right})", args)


_SPECIAL: dict[str, Callable[[list[str]], str]] = {
    "and": _chain("AND"),
    "or": _chain("OR"),
    "not": lambda args: f"(NOT {args[0]})",
    "negative": lambda args: f"(- {args[0]})",
    "positive": lambda args: f"(+ {args[0]})",
    "rank": lambda _: "RANK()",
    "dense_rank": lambda _: "DENSE_RANK()",
    "percent_rank": lambda _: "PERCENT_RANK()",
    "~": lambda args: f"~{args[0]}",
    "isnull": lambda args: f"({args[0]} IS NULL)",
    "isnotnull": lambda args: f"({args[0]} IS NOT NULL)",
    "in": lambda args: f"({args[0]} IN ({', '.join(args[1:])}))",
    "like": lambda args: _like(args, "LIKE"),
    "ilike": lambda args: f"ilike({args[0]}, {args[1]})",
    "rlike": lambda args: f"RLIKE({args[0]}, {args[1]})",
    "getitem": lambda args: f"{args[0]}[{args[1]}]",
    "extract": lambda args: f"extract({args[0]} FROM {args[1]})",
    "trim_from": lambda args: f"TRIM(BOTH {args[1]} FROM {args[0]})",
    "ltrim": lambda args: _trim("LEADING", args) if args[1:] else f"ltrim({args[0]})",
    "rtrim": lambda args: _trim("TRAILING", args) if args[1:] else f"rtrim({args[0]})",
    "if": lambda args: f"(IF({', '.join(args)}))",
}


def _trim(side: str, args: list[str]) -> str:
    return f"TRIM({side} {args[0]} FROM {args[1]})"


def _case(expr: Case) -> str:
    branches = "".join(f" WHEN {spark_name(test)} THEN {spark_name(value)}" for test, value in expr.branches)
    rest = f" ELSE {spark_name(expr.otherwise)}" if expr.otherwise is not None else ""
    return f"CASE{branches}{rest} END"


def _aggregate(expr: AggregateCall) -> str:
    args = [spark_name(arg) for arg in expr.args] or (["1"] if expr.function == "count" else [])
    distinct = "DISTINCT " if expr.distinct else ""
    name = "collect_list" if expr.shown == "array_agg" else expr.shown
    if expr.function in ("first", "last"):
        args = args[:1]
    if expr.function == "percentile" and expr.shown == "percentile":
        args.append("1")
    text = f"{name}({distinct}{', '.join(args)})"
    if expr.order:
        key = expr.order[0]
        rest = args[1:] or args
        inner = f"ORDER BY {spark_name(key.expr)}{' DESC' if key.descending else ''}"
        text = f"{expr.shown}({', '.join(rest)}) WITHIN GROUP ({inner})"
    return f"{text} FILTER (WHERE {spark_name(expr.filter)})" if expr.filter is not None else text


def _window(expr: WindowCall) -> str:
    parts = []
    if expr.partition:
        parts.append("PARTITION BY " + ", ".join(spark_name(key) for key in expr.partition))
    if expr.order:
        parts.append("ORDER BY " + ", ".join(_sort_key(key) for key in expr.order))
    parts.append(_offset_frame(expr) or _frame(expr.frame))
    ignore = " IGNORE NULLS" if expr.function.ignore_nulls and isinstance(expr.function, Call) else ""
    return f"{spark_name(expr.function)}{ignore} OVER ({' '.join(parts)})"


def _offset_frame(expr: WindowCall) -> str | None:
    """lag and lead show the one row they look at."""
    call = expr.function
    if call.function not in ("lag", "lead"):
        return None
    offset = value_of(call.args[1])
    row = f"{-offset if call.function == 'lag' else offset} FOLLOWING"
    return f"ROWS BETWEEN {row} AND {row}"


def _sort_key(key: SortKey) -> str:
    direction = "DESC" if key.descending else "ASC"
    return f"{spark_name(key.expr)} {direction} NULLS {'FIRST' if key.nulls_first else 'LAST'}"


def _frame(frame: Frame) -> str:
    start, end = _bound(frame.start, "PRECEDING"), _bound(frame.end, "FOLLOWING")
    return f"{frame.unit.upper()} BETWEEN {start} AND {end}"


def _bound(value: int | float | None, side: str) -> str:
    if value is None:
        return f"UNBOUNDED {side}"
    if value == 0:
        return "CURRENT ROW"
    return f"{abs(value)} {'PRECEDING' if value < 0 else 'FOLLOWING'}"


def _generator(expr: GeneratorCall) -> str:
    return f"{expr.shown}({', '.join(spark_name(arg) for arg in expr.args)})"


def _lambda(expr: Lambda) -> str:
    variables = ", ".join([_VARIABLE] * len(expr.parameters))
    return f"lambdafunction({spark_name(expr.body)}, {variables})"


def _subquery(expr: Subquery) -> str:
    if expr.kind == "in":
        values = ", ".join(spark_name(arg) for arg in expr.args)
        left = values if len(expr.args) == 1 else f"named_struct({values})"
        return f"({left} IN (listquery()))"
    return "exists()" if expr.kind == "exists" else "scalarsubquery()"


def _literal(expr: Literal) -> str:
    value: Any = expr.value
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(expr.type, DecimalType):
        return f"{Decimal(value).scaleb(-expr.type.scale, _EXACT):f}"
    if expr.type in (DOUBLE, FLOAT):
        return java_double(value)
    if expr.type == BINARY:
        return f"X'{value.hex().upper()}'"
    if expr.type == DATE:
        return f"DATE '{date(1970, 1, 1) + timedelta(days=value)}'"
    if expr.type in (TIMESTAMP, TIMESTAMP_NTZ):
        return _timestamp(value, expr.type)
    if isinstance(expr.type, AtomicType) and expr.type.name.startswith("interval"):
        return _interval(value, expr.type.name)
    return str(value) if expr.type != STRING else value


def java_double(value: float) -> str:
    """A double as Java prints it: 1000.0, 1.0E10, 1.0E-5, Infinity, NaN."""
    if value != value:
        return "NaN"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        text = f"{Decimal(repr(value)):f}"
        return text if "." in text else f"{text}.0"
    return java_float(value, single=False)


def _timestamp(micros: int, kind: DataType) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    word = "TIMESTAMP" if kind == TIMESTAMP else "TIMESTAMP_NTZ"
    return f"{word} '{text}{fraction}'"


def _interval(value: Any, kind: str) -> str:
    units = kind.removeprefix("interval ").upper()
    if not isinstance(value, int):
        return str(value)
    sign, rest = ("-" if value < 0 else ""), abs(value)
    first, _, last = units.partition(" TO ")
    if first in ("YEAR", "MONTH"):
        text = (
            {"YEAR": f"{rest // 12}", "MONTH": f"{rest}"}[first] if not last else f"{rest // 12}-{rest % 12}"
        )
        return f"INTERVAL '{sign}{text}' {units}"
    return f"INTERVAL '{sign}{_day_time(rest, first.lower(), (last or first).lower())}' {units}"


def _day_time(micros: int, first: str, last: str) -> str:
    names = list(_UNIT_MICROS)
    shown = names[names.index(first) : names.index(last) + 1]
    text = ""
    for name in shown:
        amount, micros = divmod(micros, _UNIT_MICROS[name])
        number = f"{amount}" if name == first else f"{amount:02d}"
        text += (
            "" if not text else " " if text.isdigit() and first == "day" and name == "hour" else ":"
        ) + number
    return text + (f".{micros:06d}".rstrip("0") if last == "second" and micros else "")


_WRITERS: dict[type[Expr], Callable[[Any], str]] = {
    Column: lambda expr: expr.name,
    Literal: _literal,
    Cast: _cast,
    Call: _call,
    Case: _case,
    GetField: lambda expr: f"{spark_name(expr.child)}.{expr.name}",
    AggregateCall: _aggregate,
    WindowCall: _window,
    GeneratorCall: _generator,
    Lambda: _lambda,
    LambdaVariable: lambda _: _VARIABLE,
    Subquery: _subquery,
}
