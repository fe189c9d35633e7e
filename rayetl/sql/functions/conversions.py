"""Type names as functions: `int(x)` is `CAST(x AS INT)`, and shows so in names."""

from __future__ import annotations

from collections.abc import Callable

from rayetl.sql import coerce
from rayetl.sql.castable import check_cast
from rayetl.sql.expr import Cast, Expr
from rayetl.sql.functions.base import Table, Typed, TypeFault, check_count
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    BYTE,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    SHORT,
    STRING,
    TIMESTAMP,
    DataType,
    DecimalType,
)

TABLE = Table()


def _to(target: DataType) -> Callable[[tuple[Expr, ...]], Typed]:
    def rule(args: tuple[Expr, ...]) -> Typed:
        check_count(args, 1, 1)
        refusal = check_cast(args[0].type, target)
        if refusal is not None:
            raise TypeFault(f"{args[0].type} cannot be cast to {target}", refused=refusal == "unsupported")
        nullable = coerce.cast_nullable(args[0], target)
        return Typed((), target, nullable, rewritten=Cast(target, nullable, args[0]))

    return rule


for _name, _target in (
    ("boolean", BOOLEAN),
    ("tinyint", BYTE),
    ("smallint", SHORT),
    ("int", INT),
    ("bigint", LONG),
    ("float", FLOAT),
    ("double", DOUBLE),
    ("decimal", DecimalType()),
    ("string", STRING),
    ("binary", BINARY),
    ("date", DATE),
    ("timestamp", TIMESTAMP),
):
    TABLE.add(_name, _to(_target))
