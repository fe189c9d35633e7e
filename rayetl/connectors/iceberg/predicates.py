"""Conditions of a query as Iceberg compares them with the figures of files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from rayetl.connectors.conditions import Conditions
from rayetl.lazy import lazily
from rayetl.sql.types import DataType

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression

_expressions: Any = lazily("pyiceberg.expressions")

_WORDS = {
    "=": "EqualTo",
    "<>": "NotEqualTo",
    "<": "LessThan",
    "<=": "LessThanOrEqual",
    ">": "GreaterThan",
    ">=": "GreaterThanOrEqual",
}


class FileConditions(Conditions["BooleanExpression"]):
    """See `Conditions`."""

    def both(self, left: BooleanExpression, right: BooleanExpression) -> BooleanExpression:
        return _made("And", left, right)

    def either(self, left: BooleanExpression, right: BooleanExpression) -> BooleanExpression:
        return _made("Or", left, right)

    def is_null(self, name: str) -> BooleanExpression:
        return _made("IsNull", name)

    def is_not_null(self, name: str) -> BooleanExpression:
        return _made("NotNull", name)

    def compared(self, name: str, kind: DataType, word: str, value: Any) -> BooleanExpression | None:
        del kind
        return comparison(name, word, value)

    def among(self, name: str, kind: DataType, values: Sequence[Any]) -> BooleanExpression:
        del kind
        return _made("In", name, values)


def comparison(name: str, word: str, value: Any) -> BooleanExpression | None:
    """A comparison; `None` where the library, which looks at the value before or after, would find none."""
    edges: tuple[Any, ...] = (date.min, date.max)
    if isinstance(value, datetime):
        edges = tuple(edge.replace(tzinfo=value.tzinfo) for edge in (datetime.min, datetime.max))
    return None if value in edges else _made(_WORDS[word], name, value)


def _made(kind: str, *given: Any) -> BooleanExpression:
    made: BooleanExpression = getattr(_expressions, kind)(*given)
    return made
