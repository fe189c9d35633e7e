"""`sql`: a whole query."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, Literal

from pydantic import Field
from sqlglot import exp

from rayetl.errors import ConfigPath, Problem, SqlError
from rayetl.model import SqlText
from rayetl.sql.parse import parse_query
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import (
    AGGREGATES,
    GENERATORS,
    Reader,
    calls,
    columns,
    name,
    visible,
)

INPUT = "input"
_SIMPLE = {"kind", "hint", "expressions", "from_", "where", "order", "operation_modifiers"}


class Sql(Step):
    """A Spark SQL query. Its tables are sources and steps by their ids; `input` is the step before.

    A CTE or a step that is read in several places is written out in each. Several in a row that each read the
    one before twice double the query each time: up to 10,000 places that read a source are taken."""

    type: Literal["sql"] = Field(default="sql", description="A whole Spark SQL query.")
    query: SqlText = Field(
        description="SELECT ... FROM ids of sources and steps, or `input` for the step before this one.",
        examples=["SELECT carrier, count(*) AS flights FROM input GROUP BY carrier"],
    )

    effect: ClassVar[RowEffect] = RowEffect.FREE

    @cached_property
    def _read(self) -> exp.Query | tuple[Problem, ...]:
        try:
            return parse_query(self.query)
        except SqlError as error:
            return error.problems

    @property
    def _tree(self) -> exp.Query | None:
        return None if isinstance(self._read, tuple) else self._read

    def unreadable(self) -> tuple[Problem, ...]:
        if not isinstance(self._read, tuple):
            return ()
        return tuple(problem.under(("query",)) for problem in self._read)

    @cached_property
    def _tables(self) -> dict[str, int | None]:
        """Names of the tables that are read, with the offset of the first mention."""
        if self._tree is None:
            return {}
        own = {cte.alias.lower() for cte in self._tree.find_all(exp.CTE)}
        found: dict[str, int | None] = {}
        for table in self._tree.find_all(exp.Table):
            if isinstance(table.this, exp.Identifier) and not table.db and table.name.lower() not in own:
                found.setdefault(table.name, table.this.meta.get("start"))
        return dict(sorted(found.items(), key=lambda item: item[1] or 0))

    def other_inputs(self) -> tuple[tuple[ConfigPath, str], ...]:
        return tuple((("query",), table) for table in self._tables if table.lower() != INPUT)

    def offset_of(self, name: str) -> int | None:
        return self._tables.get(name)

    def reads_previous(self) -> bool:
        return any(table.lower() == INPUT for table in self._tables)

    def carries(self) -> bool:
        tree = self._tree
        if not isinstance(tree, exp.Select) or len(self._tables) != 1:
            return False
        used = {key for key, value in tree.args.items() if value}
        source = tree.args.get("from_")
        if not used <= _SIMPLE or source is None or not isinstance(source.this, exp.Table):
            return False
        folding = AGGREGATES | GENERATORS
        return not any(found for item in tree.expressions for found in calls(item, folding))

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        tree = self._tree
        query = read.query(self.query, "query") if tree is None else read.parsed(tree, "query")
        for table in list(query.find_all(exp.Table)):
            if table.name.lower() == INPUT and not table.db and context.main.name.lower() != INPUT:
                if not table.alias:
                    table.set("alias", exp.TableAlias(this=exp.to_identifier(INPUT)))
                table.this.replace(name(context.main.name))
        if context.carry and isinstance(query, exp.Select):
            self._carry(query, context)
        return read.done(query)

    def _carry(self, query: exp.Select, context: StepContext) -> None:
        items: list[exp.Expression] = []
        for item in query.expressions:
            items.extend(columns(visible(context).names) if item.is_star else [item])
        query.set("expressions", [*items, *columns(context.carry)])
