"""The nodes of a plan as Spark queries: one for the rows a node hands on, one with flags where it checks."""

from __future__ import annotations

from collections.abc import Container, Mapping
from contextlib import suppress
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from rayetl import sql
from rayetl.engines.polars.frames import handed_on, refusing
from rayetl.engines.spark.clock import stopped
from rayetl.engines.spark.exchange import check_types, named
from rayetl.engines.spark.failing import told_plainly
from rayetl.plan.nodes import LoadNode, Plan, SourceNode, StepNode, with_row
from rayetl.quality.compile import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from sqlglot import exp

    from rayetl.sql.types import Schema


class Tables:
    """Queries of the nodes that are asked for, each built once; nothing is run.

    `good` holds the rows that a node hands on. `flagged` holds all rows of a checking step with their flag
    columns. `verdicts` holds the queries of a step's checks on whole tables. The rows of a node in `kept`
    are computed once for all that read them. The checks of `proved` nodes are not looked at.
    """

    def __init__(
        self,
        spark: SparkSession,
        plan: Plan,
        sources: Mapping[str, DataFrame],
        kept: Container[str] = (),
        proved: Container[str] = (),
    ) -> None:
        self._spark = spark
        self._plan = plan
        self._sources = sources
        self._kept = kept
        self._proved = proved
        self._persisted: list[DataFrame] = []
        self.good: dict[str, DataFrame] = {}
        self.flagged: dict[str, DataFrame] = {}
        self.verdicts: dict[str, list[DataFrame]] = {}

    def add(self, node: str) -> DataFrame:
        """The rows of `node`, after those of everything it reads."""
        if node not in self.good:
            found = self._plan.nodes[node]
            if isinstance(found, SourceNode):
                self.good[node] = self._sources[node]
            elif isinstance(found, StepNode):
                with told_plainly(self._plan, found.id):
                    self._add_step(found)
            else:
                return self.visible(found.input)
        return self.good[node]

    def visible(self, node: str) -> DataFrame:
        """The rows of `node` without hidden columns."""
        schema = self._plan.schema(node)
        assert schema is not None, f"{node} is not known before the run"
        return self.add(node).select(*named(schema.names))

    def placed(self, load: str) -> tuple[DataFrame, Schema]:
        """The rows that a load takes and what they are, with their position where they have one."""
        node = self._plan.nodes[load]
        assert isinstance(node, LoadNode)
        giver = self._plan.nodes[node.input]
        assert isinstance(giver, SourceNode | StepNode)
        assert giver.schema is not None, f"{giver.id} is not known before the run"
        schema = with_row(giver.schema) if giver.carries_row else giver.schema
        return self.add(giver.id).select(*named(schema.names)), schema

    def ask(self, node: StepNode, query: exp.Query) -> DataFrame:
        """A query over the table names of a step."""
        from sqlglot import exp

        columns: set[str] = set()
        for binding, schema in node.visible():
            assert schema is not None, f"{binding.node} is not known before the run"
            rows = _only(self.add(binding.node), schema.names)
            rows.createOrReplaceTempView(quoted(binding.name))
            columns.update(map(str.lower, schema.names))
        assert isinstance(query, exp.Expression)
        return self._spark.sql(sql.render(stopped(query, self._plan.now, columns), spent=True))

    def refused(self, node: StepNode) -> DataFrame:
        """The rows of a checking step that it does not hand on, with their flags."""
        assert node.checked is not None
        flags = refusing(node.checked)
        return self.flagged[node.id].filter(any_of(flags)) if flags else self.flagged[node.id].limit(0)

    def release(self) -> None:
        """Let go of the rows that were kept."""
        from py4j.protocol import Py4JError

        # Where the session is lost, so is what it kept.
        with suppress(Py4JError, OSError):
            for frame in self._persisted:
                frame.unpersist()

    def _add_step(self, node: StepNode) -> None:
        assert node.query is not None
        assert node.analyzed is not None
        names = node.analyzed.schema.names
        frame = self.ask(node, node.query)
        frame = frame if tuple(frame.columns) == names else frame.toDF(*names)
        check_types(frame, node.analyzed.schema, node.id)
        if node.id in self._kept:
            frame = frame.persist()
            self._persisted.append(frame)
        if node.checked is not None:
            self.verdicts[node.id] = [self.ask(node, check.query) for check in node.checked.tables]
        if node.id in self._proved:
            frame = frame.select(*named(handed_on(node)))
        elif node.checked is not None and node.checked.rows:
            self.flagged[node.id] = frame
            flags = refusing(node.checked)
            good = frame.filter(~any_of(flags)) if flags else frame
            frame = good.select(*named(handed_on(node)))
        self.good[node.id] = frame


def _only(rows: DataFrame, names: tuple[str, ...]) -> DataFrame:
    """These columns. Spark looks at all steps so far for every one that is put on top, so none is in vain."""
    return rows if tuple(rows.columns) == names else rows.select(*named(names))


def any_of(flags: tuple[str, ...]) -> Column:
    """TRUE where one of the flag columns is; flags are never NULL."""
    return reduce(or_, named(flags))
