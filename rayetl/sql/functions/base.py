"""What an entry of the function table is, and the small language its type rules are written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from typing import Literal as OneOf

from rayetl.records import dataclass
from rayetl.sql import coerce
from rayetl.sql.expr import Column, Expr, Lambda
from rayetl.sql.lazy import LazyModule
from rayetl.sql.types import (
    BOOLEAN,
    DOUBLE,
    NULL,
    STRING,
    ArrayType,
    DataType,
    Field,
    MapType,
    StructType,
)

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")

Kind = OneOf["scalar", "aggregate", "window", "generator"]


class Context(Protocol):
    """What a lowering is given: see `lower.expressions.Lowering`."""

    @property
    def time_zone(self) -> str: ...

    @property
    def now(self) -> int: ...

    def expr(self, node: Expr) -> pl.Expr: ...

    def scaled(self, node: Expr) -> pl.Expr: ...

    def bind(self, values: dict[str, pl.Expr], /) -> Context: ...


class TypeFault(Exception):
    """The arguments do not fit; `refused` when Spark would take them and this engine does not."""

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Typed:
    """What a type rule answers: the arguments with their casts written out, and the result."""

    args: tuple[Expr, ...]
    type: DataType
    nullable: bool
    rewritten: Expr | None = None
    outputs: tuple[Field, ...] = ()


Rule = Callable[[tuple[Expr, ...]], Typed]
Accept = Callable[[Expr], Expr]
Lower = Callable[..., Any]


def no_lambda(
    _plain: tuple[Expr, ...], _before: tuple[Expr, ...], _count: int
) -> list[tuple[DataType, bool]]:
    raise TypeFault("it takes no lambda function")


@dataclass(frozen=True, slots=True)
class Function:
    """One function. `lower` takes the lowered arguments; with `raw` it takes (context, call) instead.
    A `strict` one is NULL as a whole where an argument is a constant NULL, and `lower` is not asked."""

    name: str
    rule: Rule
    lower: Lower | None
    kind: Kind = "scalar"
    raw: bool = False
    aliases: tuple[str, ...] = ()
    keeps_alias: bool = True
    strict: bool = False
    lambdas: bool = False
    lambda_types: Callable[..., list[tuple[DataType, bool]]] = no_lambda


class Table:
    """The entries of one family, in the order they are written."""

    def __init__(self) -> None:
        self.entries: list[Function] = []

    def add(self, name: str, rule: Rule, lower: Lower | None = None, **options: Any) -> None:
        aliases = tuple(options.pop("aliases", "").split())
        self.entries.append(Function(name, rule, lower, aliases=aliases, **options))


# Parameters: each takes an argument and answers it converted, or raises TypeFault


def of(*targets: DataType) -> Accept:
    """Anything that Spark converts to one of these types; an exact match wins."""

    def accept(arg: Expr) -> Expr:
        if arg.type in targets:
            return arg
        for target in targets:
            found = coerce.implicit(arg, target)
            if found is not None:
                return found
        raise TypeFault(f"{' or '.join(str(t) for t in targets)}")

    return accept


def anything(arg: Expr) -> Expr:
    return arg


def numeric(arg: Expr) -> Expr:
    """Any number; strings and NULL become double."""
    if coerce.is_numeric(arg.type):
        return arg
    if arg.type in (STRING, NULL):
        return coerce.implicit_cast(arg, DOUBLE)
    raise TypeFault("a number")


def exactly(*types: DataType) -> Accept:
    """One of these types, which Spark does not convert to here; a bare NULL takes the first."""

    def accept(arg: Expr) -> Expr:
        if arg.type == NULL:
            return coerce.implicit_cast(arg, types[0])
        if arg.type in types:
            return arg
        raise TypeFault(" or ".join(str(t) for t in types))

    return accept


def boolean(arg: Expr) -> Expr:
    if arg.type in (BOOLEAN, NULL):
        return coerce.implicit_cast(arg, BOOLEAN)
    raise TypeFault("boolean")


def array(arg: Expr) -> Expr:
    if isinstance(arg.type, ArrayType):
        return arg
    if arg.type == NULL:
        return coerce.implicit_cast(arg, ArrayType(NULL))
    raise TypeFault("an array")


def mapping(arg: Expr) -> Expr:
    if isinstance(arg.type, MapType):
        return arg
    raise TypeFault("a map")


def as_key(kind: MapType, key: Expr) -> Expr:
    """What a map is asked for, as its keys are; a text is no number here and a number no text."""
    if key.type == NULL:
        raise TypeFault("a key must not be a bare NULL")
    both = coerce.wider_without_strings(kind.key, key.type)
    if both is None:
        raise TypeFault(f"a {key.type} is no key of a {kind}")
    if both != kind.key:
        raise TypeFault(f"a {key.type} as key of a {kind} is not supported here", refused=True)
    return coerce.implicit_cast(key, both)


def struct(arg: Expr) -> Expr:
    if isinstance(arg.type, StructType):
        return arg
    raise TypeFault("a struct")


def orderable(arg: Expr) -> Expr:
    if coerce.is_orderable(arg.type):
        return arg
    raise TypeFault("a type that has an order")


Returns = DataType | Callable[[tuple[Expr, ...]], DataType]
Nullable = bool | Callable[[tuple[Expr, ...]], bool] | None


def takes(
    *params: Accept,
    returns: Returns,
    required: int | None = None,
    rest: Accept | None = None,
    nullable: Nullable = None,
) -> Rule:
    """A rule for fixed parameters, the last `len(params) - required` of them optional, and `rest` for
    any number more. NULL in gives NULL out unless `nullable` says otherwise."""
    least = len(params) if required is None else required

    def rule(args: tuple[Expr, ...]) -> Typed:
        check_count(args, least, None if rest else len(params))
        accepts = [*params, *([rest] * max(0, len(args) - len(params)) if rest else [])]
        fitted = tuple(
            fit(accept, arg, i) for i, (accept, arg) in enumerate(zip(accepts, args, strict=False))
        )
        return Typed(fitted, result(returns, fitted), may_be_null(nullable, fitted))

    return rule


def fit(accept: Accept, arg: Expr, index: int) -> Expr:
    """The argument as its parameter wants it; the fault names the place otherwise."""
    if isinstance(arg, Lambda) and accept is not anything:
        raise TypeFault(f"argument {index + 1} cannot be a lambda function")
    try:
        return accept(arg)
    except TypeFault as error:
        verb = "needs" if error.refused else "must be"
        raise TypeFault(
            f"argument {index + 1} {verb} {error.message}"
            + (" in the embedded engine" if error.refused else f", not {arg.type}"),
            error.refused,
        ) from None


def check_count(args: Sequence[Expr], least: int, most: int | None) -> None:
    if len(args) < least or (most is not None and len(args) > most):
        wanted = str(least) if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        plural = "" if wanted == "1" else "s"
        raise TypeFault(f"it takes {wanted} argument{plural}, {len(args)} given")


def result(returns: Returns, args: tuple[Expr, ...]) -> DataType:
    return returns if isinstance(returns, DataType) else returns(args)


def may_be_null(nullable: Nullable, args: tuple[Expr, ...]) -> bool:
    if nullable is None:
        return any(arg.nullable for arg in args)
    return nullable if isinstance(nullable, bool) else nullable(args)


def first_type(args: tuple[Expr, ...]) -> DataType:
    return args[0].type


def element_type(args: tuple[Expr, ...]) -> DataType:
    kind = args[0].type
    assert isinstance(kind, ArrayType)
    return kind.element


def same(*, least: int = 1, strings: bool = True, nullable: Nullable = None) -> Rule:
    """A rule for arguments that all take one common type, which is the result's."""

    def rule(args: tuple[Expr, ...]) -> Typed:
        check_count(args, least, None)
        fitted = coerce.unify(args, strings)
        if fitted is None:
            raise TypeFault("the arguments have no common type: " + ", ".join(str(a.type) for a in args))
        return Typed(tuple(fitted), fitted[0].type, may_be_null(nullable, tuple(fitted)))

    return rule


def is_constant(value: pl.Expr) -> bool:
    """Whether the expression reads no column, so that Polars computes one row of it."""
    return not value.meta.root_names()


def for_each_row(node: Expr, value: pl.Expr) -> pl.Expr:
    """What `node` was lowered to, a constant as one value for every row of the group."""
    if any(isinstance(part, Column) for part in node.walk()):
        return value
    return pl.when(pl.int_range(pl.len()) >= 0).then(value)


def equal(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    """a == b with a constant on the right: Polars gives one row for all the rows of a batch when it is on
    the left and `b`, though made from columns, has one value in the whole batch."""
    return b == a if is_constant(a) else a == b


def lit(value: Any, dtype: Any = None) -> pl.Expr:
    return pl.lit(value, dtype=dtype)
