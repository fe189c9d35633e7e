"""Which columns of a node's rows still are columns of the source that its positions point into."""

from __future__ import annotations

from collections.abc import Mapping

from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.sql.expr import Column
from rayetl.sql.relations import Attach, Filter, Generate, Input, Join, Limit, Project, Relation, Sort, Window


def held_columns(plan: Plan, node: SourceNode | StepNode) -> Mapping[str, str]:
    """The columns of the main source that the rows of `node` hold unchanged: name in the source to name
    in the row."""
    if isinstance(node, SourceNode):
        return {name: name for name in node.schema.names}
    before = plan.nodes[node.main]
    assert isinstance(before, SourceNode | StepNode)
    passed = _passed(node)
    held = held_columns(plan, before)
    return {source: passed[name] for source, name in held.items() if name in passed}


def _passed(node: StepNode) -> dict[str, str]:
    """The columns of a step's main input that its rows hold unchanged: name there to name here."""
    assert node.analyzed is not None
    relation = node.analyzed.plan
    ids = _unchanged(relation, node.bindings[0].name)
    return {ids[column.id]: column.name for column in relation.columns if column.id in ids}


def _unchanged(relation: Relation, table: str) -> dict[str, str]:
    """The columns of `relation` that are columns of `table`: id to name in the table. Empty where rows may
    be of another table or of several rows."""
    match relation:
        case Input(_, name, sources):
            columns = zip(relation.columns, sources, strict=True)
            return {column.id: source for column, source in columns} if name == table else {}
        case Filter() | Sort() | Limit() | Window() | Attach() | Generate():
            return _unchanged(relation.input, table)
        case Join(kind="inner" | "left" | "semi" | "anti"):
            return _unchanged(relation.left, table)
        case Project(_, below, exprs):
            known = _unchanged(below, table)
            made = zip(relation.columns, exprs, strict=True)
            return {
                column.id: known[expr.id]
                for column, expr in made
                if isinstance(expr, Column) and expr.id in known
            }
    return {}
