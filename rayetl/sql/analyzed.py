"""The result of analysis: a typed plan with its output schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sqlglot import exp

from rayetl.errors import Problem, SqlError
from rayetl.records import dataclass
from rayetl.sql.analyze.query import analyze as analyze_query
from rayetl.sql.analyze.scope import Context, Names
from rayetl.sql.expr import Column
from rayetl.sql.faults import collect
from rayetl.sql.functions.table import assert_repeatable
from rayetl.sql.parse import IN_PARTS, as_expression, parse_query
from rayetl.sql.relations import Input, Relation, SparkOnly
from rayetl.sql.types import Field, Schema


@dataclass(frozen=True, slots=True)
class AnalyzedQuery:
    """A query that is known to make sense: `schema` of its result, names of the `inputs` it reads. Its clock
    stands still at `now`, in microseconds since 1970."""

    plan: Relation
    schema: Schema
    inputs: frozenset[str]
    time_zone: str = "UTC"
    now: int = 0


def analyze(
    query: exp.Query | str, schemas: Mapping[str, Schema], *, time_zone: str = "UTC", now: int = 0
) -> AnalyzedQuery:
    """See `rayetl.sql.analyze`."""
    tree = as_expression(parse_query(query) if isinstance(query, str) else query)
    collect(assert_repeatable, tree.find_all(exp.Anonymous))
    tables = {name.lower(): (name, schema) for name, schema in schemas.items()}
    try:
        plan = analyze_query(tree, Context(tables, Names(), time_zone), None)
    except RecursionError:
        raise SqlError([Problem("sql.syntax", "the query is nested too deeply", hint=IN_PARTS)]) from None
    schema = Schema(tuple(Field(column.name, column.type, column.nullable) for column in plan.columns))
    inputs = frozenset(part.table for part in plan.walk() if isinstance(part, Input))
    return AnalyzedQuery(plan, schema, inputs, time_zone, now)


def known_by_spark(schemas: Mapping[str, Schema], schema: Schema, why: str) -> AnalyzedQuery:
    """See `rayetl.sql.known_by_spark`."""
    tables = tuple(Input(_columns(known), name, known.names) for name, known in schemas.items())
    return AnalyzedQuery(SparkOnly(_columns(schema), tables, why), schema, frozenset(schemas))


def _columns(schema: Schema) -> tuple[Column, ...]:
    return tuple(Column(field.type, field.nullable, field.name, field.name) for field in schema)


def unique_names(analyzed: AnalyzedQuery) -> tuple[str, ...]:
    """The output names. Raises `SqlError` when two are the same."""
    names = analyzed.schema.names
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        message = f"two columns of the result are called {twice[0]}"
        raise SqlError([Problem("sql.duplicate", message, hint="give one of them another name with AS")])
    return names
