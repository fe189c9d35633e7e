"""Values that a server would take in another form than they have, without a word: they stop the load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayetl.errors import LoadError

if TYPE_CHECKING:
    import polars as pl


def shall_be(expression: str) -> str:
    """The hint to compute the column in the pipeline, `expression` being SQL with a place `{0}` for its name
    and, where the value itself is in it, `{1}`."""
    return f"say in a select step what it shall be: {expression} AS {{0}}; or change the table"


def would_change(name: str, value: object, shown: str, hint: str) -> LoadError:
    """The error for a value of the column `name` that a column of the type `shown` would change. `hint` has
    the places of `shall_be`."""
    column = name if name.isidentifier() else "`" + name.replace("`", "``") + "`"
    literal = "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
    return LoadError(
        f"the column {name!r} holds {value}, which {shown} would change without a word",
        hint=hint.format(column, literal),
    )


def refuse_changes(rows: pl.DataFrame, name: str, shown: str, changed: pl.Expr, hint: str) -> None:
    """Raise `LoadError` for the first of `rows` for which `changed` holds; see `would_change`."""
    found = rows.filter(changed).head(1)
    if found.height:
        raise would_change(name, found[name].to_list()[0], shown, hint)
