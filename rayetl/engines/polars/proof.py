"""Checks that need not look at a row: the footers of the files say that none of them can fail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlglot import exp

from rayetl.connectors.base import FilesScan
from rayetl.connectors.formats import never_null
from rayetl.plan.nodes import Plan, SourceNode, StepNode


def proved(plan: Plan, nodes: Iterable[str]) -> frozenset[str]:
    """Those of `nodes` that check the rows of a source, and which no row of its files can break."""
    return frozenset(node for node in nodes if _cannot_fail(plan, plan.nodes[node]))


def _cannot_fail(plan: Plan, node: object) -> bool:
    if not isinstance(node, StepNode) or node.checked is None or not node.checked.rows:
        return False
    source = plan.nodes[node.main]
    if not isinstance(source, SourceNode) or not isinstance(source.scan, FilesScan) or source.reads_reasons:
        return False
    wanted = set(_must_not_be_null(node.checked.query, {check.flag for check in node.checked.rows}))
    return None not in wanted and wanted <= never_null(source.scan)


def _must_not_be_null(query: exp.Query, flags: set[str]) -> Iterator[str | None]:
    """The column that each flag finds NULL in, `None` for a flag that asks for anything else."""
    for flag in query.selects:
        if flag.alias in flags:
            fails = flag.unalias()
            asks = isinstance(fails, exp.Is) and isinstance(fails.expression, exp.Null)
            yield fails.this.name if asks and isinstance(fails.this, exp.Column) else None
