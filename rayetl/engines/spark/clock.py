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
    lower case that are columns of its tables, whatever function is called so."""
    query = query.copy()
    aliases = [each for each in query.find_all(exp.Alias, exp.TableAlias) if _names(each) & _FORMS.keys()]

    def replaced(node: exp.Expr) -> exp.Expr:
        name = node.name.lower()
        called = isinstance(node, exp.Anonymous) and not node.expressions
        bare = isinstance(node, exp.Column) and not node.table and name in BARE_FUNCTIONS
        if name not in _FORMS or not (called or (bare and name not in columns)):
            return node
        if bare and any(name in _names(alias) and _is_seen(alias, node) for alias in aliases):
            return node
        return parse_expression(_FORMS[name].format(now=now))

    return as_expression(query.transform(replaced, copy=False))


def _names(alias: exp.Expr) -> set[str]:
    """The columns that an alias names, in lower case."""
    columns = [alias.args["alias"]] if isinstance(alias, exp.Alias) else alias.args.get("columns") or []
    return {column.name.lower() for column in columns}


def _is_seen(alias: exp.Expr, column: exp.Expr) -> bool:
    """Whether a column may be what an alias names: in the list of the very `SELECT` that the alias is in, and
    in its `WHERE`, the function comes first."""
    if isinstance(alias, exp.TableAlias) or alias.parent_select is not column.parent_select:
        return True
    return column.find_ancestor(exp.Order, exp.Having, exp.Select) is not column.parent_select
