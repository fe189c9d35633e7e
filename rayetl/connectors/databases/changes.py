"""Values that a server would take in another form than they have, without a word: they stop the load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayetl.errors import LoadError

if TYPE_CHECKING:
    import polars as pl


def would_change(name: str, value: object, shown: str, instead: str) -> LoadError:
    """The error for a value of the column `name` that a column of the type `shown` would change. `instead` is
    an expression of SQL with a place for the name."""
    return LoadError(
        f"the column {name!r} holds {value}, which {shown} would change without a word",
        hint=f"say in a select step what it shall be: {instead.format(name)} AS {name}; or change the table",
    )


def refuse_changes(rows: pl.DataFrame, name: str, shown: str, changed: pl.Expr, instead: str) -> None:
    """Raise `LoadError` for the first of `rows` for which `changed` holds; see `would_change`."""
    found = rows.filter(changed).head(1)
    if found.height:
        raise would_change(name, found[name].to_list()[0], shown, instead)
