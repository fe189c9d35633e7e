"""Pieces of queries: names quoted where Spark needs it, and SQL texts of a config read with their place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import TypeVar

from sqlglot import exp

from rayetl.errors import Problem, SqlError
from rayetl.names import PREFIX
from rayetl.sql.dialect import RaySql
from rayetl.sql.parse import as_expression, parse_expression, parse_projection, parse_query, placed
from rayetl.sql.types import Schema
from rayetl.steps.base import StepContext

Tree = TypeVar("Tree", bound=exp.Expr)

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ORDER = re.compile(r"(?:\s+(?P<way>asc|desc))?(?:\s+nulls\s+(?P<nulls>first|last))?\s*\Z", re.IGNORECASE)
_WINDOW_PREFIX = "SELECT count(*) OVER (ORDER BY 1 "

_AGGREGATES = """
any any_value approx_count_distinct approx_percentile array_agg avg bit_and bit_or bit_xor
bitmap_construct_agg bitmap_or_agg bool_and bool_or collect_list collect_set corr count count_if
count_min_sketch covar_pop covar_samp every first first_value grouping grouping_id histogram_numeric
hll_sketch_agg hll_union_agg kurtosis last last_value max max_by mean median min min_by mode percentile
percentile_approx percentile_cont percentile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2
regr_slope regr_sxx regr_sxy regr_syy skewness some std stddev stddev_pop stddev_samp sum try_avg try_sum
var_pop var_samp variance
"""
_RANKINGS = "cume_dist dense_rank lag lead ntile percent_rank rank row_number"
_GENERATORS = "explode explode_outer inline inline_outer json_tuple posexplode posexplode_outer stack"
_KEYWORDS = "current_date current_timestamp current_user interval localtimestamp now user"
AGGREGATES = frozenset(_AGGREGATES.split())
RANKINGS = frozenset(_RANKINGS.split())
GENERATORS = frozenset(_GENERATORS.split())
FRAMED = AGGREGATES | {"nth_value"}
_WORDS = frozenset(_KEYWORDS.split())


def name(text: str) -> exp.Identifier:
    """An identifier, in backticks unless it is a plain word that means nothing else in SQL."""
    return exp.to_identifier(text, quoted=not (_PLAIN.fullmatch(text) and _means_nothing(text)))


def _means_nothing(word: str) -> bool:
    return word.upper() not in RaySql.Tokenizer.KEYWORDS and word.lower() not in _WORDS


def table(text: str, alias: str | None = None) -> exp.Table:
    return exp.Table(this=name(text), alias=exp.TableAlias(this=name(alias)) if alias else None)


def column(text: str, of: str | None = None) -> exp.Column:
    return exp.Column(this=name(text), table=name(of) if of else None)


def aliased(expression: exp.Expression, alias: str) -> exp.Expression:
    """`expression AS alias`, or the bare column where that is the same."""
    if isinstance(expression, exp.Column) and expression.name == alias:
        return expression
    return exp.Alias(this=expression, alias=name(alias))


def columns(names: Iterable[str], of: str | None = None) -> list[exp.Expression]:
    return [column(text, of) for text in names]


def select(expressions: Sequence[exp.Expression], source: exp.Expression | str) -> exp.Select:
    """`SELECT expressions FROM source`."""
    tree = exp.Select(expressions=list(expressions))
    tree.set("from_", exp.From(this=table(source) if isinstance(source, str) else source))
    return tree


def star() -> list[exp.Expression]:
    return [exp.Star()]


def everything(context: StepContext, extra: Sequence[exp.Expression]) -> list[exp.Expression]:
    """All columns of the main input, then `extra`, the carried hidden columns last."""
    if not context.carry:
        return [exp.Star(), *extra]
    return [*columns(visible(context).names), *extra, *columns(context.carry)]


def visible(context: StepContext) -> Schema:
    """The main input's columns without the hidden ones."""
    return visible_part(context.main.schema)


def visible_part(schema: Schema | None) -> Schema:
    assert schema is not None, "a step writes its query when its inputs are known"
    return Schema(tuple(field for field in schema if not field.name.startswith(PREFIX)))


def called(node: exp.Expression) -> str:
    """The lower-case name of a function call, the empty string for anything else."""
    return node.name.lower() if isinstance(node, exp.Anonymous) else ""


def calls(tree: exp.Expression, names: frozenset[str]) -> Iterator[exp.Expression]:
    """The outermost calls of `names` in `tree`, those of subqueries and windows left out; with their FILTER
    and IGNORE NULLS."""
    waiting = [tree]
    while waiting:
        node = inner = waiting.pop()
        if isinstance(node, (exp.Query, exp.Window)):
            continue
        while isinstance(inner, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
            inner = inner.this
        if called(inner) in names:
            yield node
        else:
            waiting += map(as_expression, node.iter_expressions(reverse=True))


def replaced(
    tree: exp.Expression, names: frozenset[str], change: Callable[[exp.Expression], exp.Expression]
) -> exp.Expression:
    """A copy of `tree` in which every outermost call of `names` is changed."""
    tree = tree.copy()
    for call in list(calls(tree, names)):
        new = change(call.copy())
        if call is tree:
            return new
        call.replace(new)
    return tree


def nearest(text: str, known: Iterable[str]) -> str | None:
    """A hint with the name that was probably meant."""
    folded = {other.lower(): other for other in known}
    near = get_close_matches(text.lower(), list(folded), 1, 0.6)
    return f"did you mean `{folded[near[0]]}`?" if near else None


def without_order(text: str) -> str:
    """A text without `ASC`, `DESC` and `NULLS FIRST` at its end; one that is nothing else as it is."""
    found = _ORDER.search(text)
    assert found is not None
    return text[: found.start()] or text


class Reader:
    """Reads the SQL texts of one step and gathers every fault before any is raised.

    A text that cannot be read is stood for by NULL until `done`.
    """

    def __init__(self, context: StepContext) -> None:
        self._context = context
        self._errors: list[Problem] = []

    def fault(
        self, message: str, *field: str | int, hint: str | None = None, offset: int | None = None
    ) -> None:
        path = (*self._context.path, *field)
        self._errors.append(Problem("step", message, path=path, hint=hint, offset=offset))

    def _read(self, parse: Callable[[], Tree], instead: Tree) -> Tree:
        try:
            return parse()
        except SqlError as error:
            self._errors.extend(error.problems)
            return instead

    def expression(self, text: str, *field: str | int) -> exp.Expression:
        origin = (*self._context.path, *field)
        nothing: exp.Expression = exp.null()
        return self._guarded(self._read(lambda: parse_expression(text, origin), nothing), *field)

    def projection(self, text: str, *field: str | int) -> exp.Expression:
        """An expression that may have a name; the hidden columns are kept out of its stars."""
        origin = (*self._context.path, *field)
        nothing: exp.Expression = exp.null()
        tree = self._read(lambda: parse_projection(text, origin), nothing)
        return self._guarded(tree, *field)

    def query(self, text: str, *field: str | int) -> exp.Query:
        origin = (*self._context.path, *field)
        nothing: exp.Query = exp.select("1")
        return self._guarded(self._read(lambda: parse_query(text, origin), nothing), *field)

    def parsed(self, query: exp.Query, *field: str | int) -> exp.Query:
        """A query that was read before, as `query` would give it for its text."""
        return self._guarded(placed(query, (*self._context.path, *field)), *field)

    def scalar(self, text: str, *field: str | int) -> exp.Expression:
        """An expression over single rows: no aggregate and no generator."""
        return self.single(self.expression(text, *field), *field)

    def single(self, tree: exp.Expression, *field: str | int) -> exp.Expression:
        for call in calls(tree, AGGREGATES | GENERATORS):
            what = called(call) or called(call.this)
            verb = "flatten" if what in GENERATORS else "aggregate"
            self.fault(
                f"`{what}` does not give one value for each row",
                *field,
                hint=f"use a step of type `{verb}`" + ("" if verb == "flatten" else " or `window`"),
                offset=call.meta.get("start"),
            )
        return tree

    def projections(self, texts: Sequence[str], *field: str | int) -> list[exp.Expression]:
        return [self.projection(text, *field, index) for index, text in enumerate(texts)]

    def ordered(self, text: str, *field: str | int) -> exp.Ordered:
        """`expression [ASC | DESC] [NULLS FIRST | LAST]`, with Spark's defaults."""
        found = _ORDER.search(text)
        assert found is not None
        tree = self.expression(without_order(text), *field)
        descending = (found["way"] or "asc").lower() == "desc"
        first = found["nulls"].lower() == "first" if found["nulls"] else not descending
        return exp.Ordered(this=tree, desc=descending or None, nulls_first=first)

    def order(self, texts: Sequence[str], *field: str | int) -> list[exp.Ordered]:
        return [self.ordered(text, *field, index) for index, text in enumerate(texts)]

    def frame(self, text: str, *field: str | int) -> exp.WindowSpec | None:
        """`ROWS BETWEEN ... AND ...` or `RANGE BETWEEN ... AND ...`."""
        try:
            query = parse_query(f"{_WINDOW_PREFIX}{text})")
        except SqlError as error:
            offset = min(max(0, (error.problems[0].offset or 0) - len(_WINDOW_PREFIX)), max(0, len(text) - 1))
            hint = "write for example `ROWS BETWEEN 6 PRECEDING AND CURRENT ROW`"
            self.fault("this is not a window frame", *field, hint=hint, offset=offset)
            return None
        window = query.find(exp.Window)
        return window.args.get("spec") if window else None

    def known(self, text: str, schema: Schema | None, where: str, *field: str | int) -> str:
        """The spelling of a column in the input; a fault when there is no such column."""
        assert schema is not None
        found = schema.get(text)
        if found is None:
            hint = nearest(text, schema.names) or f"its columns are {', '.join(schema.names) or 'none'}"
            self.fault(f"`{where}` has no column `{text}`", *field, hint=hint)
        return found.name if found else text

    def own(self, text: str, *field: str | int) -> str:
        """`known` for the visible columns of the main input."""
        return self.known(text, visible(self._context), self._context.main.name, *field)

    def _guarded(self, tree: Tree, *field: str | int) -> Tree:
        for node in tree.find_all(exp.Identifier):
            if node.name.lower().startswith(PREFIX):
                message = f"`{node.name}`: names that begin with `{PREFIX}` are kept for rayetl's own columns"
                self.fault(message, *field, offset=node.meta.get("start"))
        return tree

    def done(self, query: exp.Query) -> exp.Query:
        """The query, unless something was wrong."""
        self.check()
        return query

    def check(self) -> None:
        """Raise `SqlError` with everything that was wrong."""
        if self._errors:
            raise SqlError(self._errors)
