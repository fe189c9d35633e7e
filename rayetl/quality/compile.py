"""From conditions to one flagged query: what contracts and rules have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from sqlglot import exp

from rayetl import sql
from rayetl.names import PREFIX
from rayetl.quality.base import Checked, OnFailure, RowCheck, TableCheck
from rayetl.records import dataclass
from rayetl.sql import types as t


def quoted(name: str) -> str:
    """A column or table name as Spark SQL takes it, whatever is in it."""
    return "`" + name.replace("`", "``") + "`"


def text(value: str) -> str:
    """A string literal of Spark SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def ddl(kind: t.DataType) -> str:
    """A type as CAST takes it, whatever the names of its fields are."""
    if isinstance(kind, t.StructType):
        return "struct<" + ", ".join(f"{quoted(each.name)}: {ddl(each.type)}" for each in kind) + ">"
    if isinstance(kind, t.ArrayType):
        return f"array<{ddl(kind.element)}>"
    if isinstance(kind, t.MapType):
        return f"map<{ddl(kind.key)}, {ddl(kind.value)}>"
    return str(kind)


@dataclass(slots=True)
class Flags:
    """Collects checks of rows; each becomes a BOOLEAN column that is never NULL."""

    checks: list[RowCheck] = field(default_factory=list)
    columns: list[exp.Expression] = field(default_factory=list)

    def add(
        self,
        fails: exp.Expression | str,
        *,
        rule: str,
        kind: str,
        column: str | None,
        reason: str,
        on_failure: OnFailure,
        max_share: float | None = None,
    ) -> None:
        """A check; `fails` is TRUE for a row that fails and never NULL."""
        flag = f"{PREFIX}f{len(self.checks)}"
        condition = sql.parse_expression(fails) if isinstance(fails, str) else fails
        self.columns.append(exp.Alias(this=condition, alias=exp.to_identifier(flag, quoted=True)))
        self.checks.append(RowCheck(rule, kind, column, reason, flag, on_failure, max_share))

    def checked(self, query: exp.Select, tables: Sequence[TableCheck] = ()) -> Checked:
        """`query` with the flags behind its columns."""
        return Checked(query.select(*self.columns, copy=False), tuple(self.checks), tuple(tables))


def select_all(table: str, joins: str = "") -> exp.Select:
    """Every column of a table, as the start of a flagged query."""
    star = f"{quoted(table)}.*" if joins else "*"
    query = sql.parse_query(f"SELECT {star} FROM {quoted(table)} {joins}")
    assert isinstance(query, exp.Select)
    return query


def never_null(condition: exp.Expression) -> exp.Expression:
    """`condition` with FALSE for NULL."""
    return exp.Anonymous(this="coalesce", expressions=[condition, exp.false()])
