"""What a subquery in an expression is: a relation, and the conditions that tie it to the query around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlglot import exp

from rayetl.records import dataclass
from rayetl.sql.expr import Column, Expr
from rayetl.sql.relations import Relation


@dataclass(frozen=True, slots=True)
class Plan:
    """The relation of a subquery, without the conditions that tie it to the query around it."""

    relation: Relation
    ties: tuple[Expr, ...]
    node: exp.Expression

    def retied(self, change: Callable[[Expr], Expr | None]) -> Plan:
        """The same, tied to what `change` makes of the query around it."""
        own = produced(self.relation)

        def swap(part: Expr) -> Expr | None:
            return part if isinstance(part, Column) and part.id in own else change(part)

        return replace(self, ties=tuple(tie.transform(swap) for tie in self.ties))

    def meaning(self) -> tuple[object, ...]:
        """Equal for the same words over the same columns around it: its own columns have other ids in each
        place where it is written."""
        own = produced(self.relation)

        def unnumbered(part: Expr) -> Expr | None:
            return replace(part, id="") if isinstance(part, Column) and part.id in own else None

        return self.node, *(tie.transform(unnumbered) for tie in self.ties)


def produced(relation: Relation) -> set[str]:
    """The ids of all columns in a relation and below it."""
    return {column.id for part in relation.walk() for column in part.columns}
