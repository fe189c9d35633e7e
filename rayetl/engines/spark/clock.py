"""Queries whose clock stands still: a run asks Spark several times and must get the same time each time."""

from __future__ import annotations

from collections.abc import Container

from sqlglot import exp

from rayetl.sql.parse import as_expression, parse_expression
from rayetl.sql.references import BARE_FUNCTIONS

_FORMS = {
    **dict.fromkeys(("current_timestamp", "now"), "timestamp_micros({now})"),
    **dict.fromkeys(("current_date", "curdate"), "CAST(timestamp_micros({now}) AS DATE)"),
    "localtimestamp": "CAST(timestamp_micros({now}) AS TIMESTAMP_NTZ)",
    "unix_timestamp": "unix_seconds(timestamp_micros({now}))",
}


def stopped(query: exp.Expression, now: int, columns: Container[str]) -> exp.Expression:
    """The query with `now`, microseconds since 1970, in the place of the clock. `columns` are the names in
    lower case that are columns, whatever function is called so."""

    def replaced(node: exp.Expr) -> exp.Expr:
        name = node.name.lower()
        called = isinstance(node, exp.Anonymous) and not node.expressions
        bare = isinstance(node, exp.Column) and not node.table and name in BARE_FUNCTIONS
        if name not in _FORMS or not (called or (bare and name not in columns)):
            return node
        return parse_expression(_FORMS[name].format(now=now))

    return as_expression(query.transform(replaced))
