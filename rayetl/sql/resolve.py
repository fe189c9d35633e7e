"""sqlglot expressions to typed expressions.

Every handler names the node args it reads through `take`; an arg nobody reads is refused, because a
dropped argument is a silently different answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Protocol

from sqlglot import exp

from rayetl.sql import casting, literals, predicates, references
from rayetl.sql.castable import check_cast
from rayetl.sql.expr import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Expr,
    GeneratorCall,
    GetField,
    LambdaVariable,
    Literal,
    Subquery,
    null,
)
from rayetl.sql.faults import collect, fault, label, take, unsupported
from rayetl.sql.functions.base import Function, TypeFault
from rayetl.sql.functions.table import function_called, functions
from rayetl.sql.lambdas import lambda_args
from rayetl.sql.types import (
    BOOLEAN,
    NULL,
    STRING,
    Field,
    StructType,
)
from rayetl.sql.windowing import filter_, ignore_nulls, window, within_group

_LONG_CHAIN = 32


class Scope(Protocol):
    """What the names in an expression can mean; the analyzer implements it."""

    @property
    def time_zone(self) -> str:
        """The session time zone, an IANA name or offset."""

    def column(self, parts: Sequence[str], node: exp.Expression) -> tuple[Expr, int]:
        """The column for a dotted name and how many of the parts it took (`t.s.x` may be column `s` of
        table `t` with the field `x` left over). Raises SqlError when there is none or more than one."""

    def subquery(self, node: exp.Expression, kind: str, args: tuple[Expr, ...]) -> Subquery:
        """Analyze the subquery in `node` (an exp.Subquery or exp.Query). Raises SqlError."""

    def window(self, name: str, node: exp.Expression) -> exp.Expression:
        """The exp.Window that a WINDOW clause gave that name. Raises SqlError."""


def resolve(node: exp.Expression, scope: Scope) -> Expr:
    """The typed form of one expression. Raises SqlError with every problem found in it, or
    UnsupportedSqlError when Spark could run it but the embedded engine cannot."""
    return Resolver(scope).resolve(node)


class Resolver:
    """Resolves expressions in one scope; lambda parameters in force are kept here."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.lambdas: list[dict[str, LambdaVariable]] = []

    def resolve(self, node: exp.Expression) -> Expr:
        handler = _HANDLERS.get(type(node))
        if handler is None:
            raise unsupported(node, f"{label(node)} is not supported in an expression")
        return handler(self, node)

    def all(self, nodes: Sequence[exp.Expression]) -> tuple[Expr, ...]:
        return tuple(collect(self.resolve, nodes))

    # literals

    def literal(self, node: exp.Expression) -> Expr:
        text, is_string = take(node, "this", "is_string")
        if is_string:
            return Literal(STRING, False, text)
        found = literals.number(text)
        if found is None:
            raise fault(node, f"the number {text} is out of range")
        return found

    def negative(self, node: exp.Expression) -> Expr:
        (inner,) = take(node, "this")
        if isinstance(inner, exp.Literal) and not inner.args.get("is_string"):
            found = literals.number("-" + inner.this)
            if found is None:
                raise fault(node, f"the number -{inner.this} is out of range")
            return found
        child = self.resolve(inner)
        return self.make("negative", (child,), node)

    # operators and special forms

    def binary(self, node: exp.Expression) -> Expr:
        left, right, _ = take(node, "this", "expression", "safe")
        return self.make(_OPERATORS[type(node)], self.all((left, right)), node)

    def connector(self, node: exp.Expression) -> Expr:
        """AND and OR chains can be thousands long. They are walked without recursion, and a long one is one
        call of many arguments, so that nothing after it has to go down a step for each of them. Short ones
        stay the pairs that Spark makes: a GROUP BY may name the front part of one."""
        nodes: list[exp.Expression] = []
        current = node
        while type(current) is type(node):
            left, right = take(current, "this", "expression")
            nodes.append(right)
            current = left
        exprs = self.all([current, *reversed(nodes)])
        name = _OPERATORS[type(node)]
        if len(exprs) > _LONG_CHAIN:
            return self.make(name, exprs, node)
        return reduce(lambda found, item: self.make(name, (found, item), node), exprs)

    def not_equal(self, node: exp.Expression) -> Expr:
        left, right = take(node, "this", "expression")
        return self.negate(self.make("=", self.all((left, right)), node), node)

    def distinct_from(self, node: exp.Expression) -> Expr:
        left, right = take(node, "this", "expression")
        return self.negate(self.make("<=>", self.all((left, right)), node), node)

    def negate(self, child: Expr, node: exp.Expression) -> Expr:
        return self.make("not", (child,), node)

    def not_(self, node: exp.Expression) -> Expr:
        (this,) = take(node, "this")
        if isinstance(this, exp.Is) and isinstance(this.expression, exp.Null):
            inner, _ = take(this, "this", "expression")
            return self.make("isnotnull", (self.resolve(inner),), node)
        return self.negate(self.resolve(this), node)

    def extract(self, node: exp.Expression) -> Expr:
        unit, source = take(node, "this", "expression")
        return self.make("extract", (Literal(STRING, False, unit.name), self.resolve(source)), node)

    def trim(self, node: exp.Expression) -> Expr:
        this, position, chars = take(node, "this", "position", "expression")
        name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(position or "", "trim_from")
        child = self.resolve(this)
        if chars is None:
            return self.make("trim" if name == "trim_from" else name, (child,), node)
        typed = self.resolve(chars)
        return self.make(name, (child, typed) if name == "trim_from" else (typed, child), node)

    def adjacent_strings(self, node: exp.Expression) -> Expr:
        parts, _, _ = take(node, "expressions", "coalesce", "safe")
        return Literal(STRING, False, "".join(part.name for part in parts))

    def tuple_(self, node: exp.Expression) -> Expr:
        (items,) = take(node, "expressions")
        if not items:
            raise fault(node, "() is empty")
        return self.struct_(node, "struct", items)

    # functions

    def anonymous(self, node: exp.Expression) -> Expr:
        name, nodes = take(node, "this", "expressions")
        return self.call(node, str(name), nodes)

    def call(self, node: exp.Expression, name: str, nodes: Sequence[exp.Expression]) -> Expr:
        """A function call as written: aggregate, window-only, generator or scalar."""
        entry = function_called(name, node)
        distinct = ignore_nulls = False
        if len(nodes) == 1 and isinstance(nodes[0], exp.Distinct):
            (nodes,), distinct = take(nodes[0], "expressions"), True
        nodes = list(nodes)
        if nodes and isinstance(nodes[-1], exp.IgnoreNulls | exp.RespectNulls):
            ignore_nulls = isinstance(nodes[-1], exp.IgnoreNulls)
            nodes[-1] = take(nodes[-1], "this")[0]
        if distinct and entry.kind != "aggregate":
            raise fault(node, f"DISTINCT is for aggregate functions, {name} is none")
        if name.lower() == "count" and len(nodes) == 1 and isinstance(nodes[0], exp.Star):
            nodes = []
        special = _SPECIAL.get(entry.name)
        if special is not None:
            return special(self, node, name, nodes)
        args = lambda_args(self, entry, nodes, node) if entry.lambdas else self.all(nodes)
        return self.apply(entry, name, args, node, distinct, ignore_nulls)

    def make(self, name: str, args: tuple[Expr, ...], node: exp.Expression) -> Expr:
        """A call by canonical name over typed arguments."""
        return self.apply(functions()[name], name, args, node)

    def apply(
        self,
        entry: Function,
        name: str,
        args: tuple[Expr, ...],
        node: exp.Expression,
        distinct: bool = False,
        ignore_nulls: bool = False,
    ) -> Expr:
        try:
            typed = entry.rule(args)
        except TypeFault as error:
            raise (unsupported if error.refused else fault)(node, f"{name}: {error.message}") from None
        self.check_coercions(typed.args, node)
        shown = name.lower() if entry.keeps_alias else entry.name
        if isinstance(typed.rewritten, Expr):
            return typed.rewritten
        if entry.kind == "aggregate":
            return AggregateCall(
                typed.type, typed.nullable, entry.name, typed.args, shown, distinct, ignore_nulls=ignore_nulls
            )
        if ignore_nulls and entry.kind != "window":
            raise fault(node, f"IGNORE NULLS does not go with {name}")
        if entry.kind == "generator":
            outputs, outer = typed.outputs, name.lower().endswith("_outer")
            return GeneratorCall(outputs[0].type, True, entry.name, typed.args, shown, outputs, outer)
        return Call(typed.type, typed.nullable, entry.name, typed.args, shown, ignore_nulls)

    def check_coercions(self, args: Sequence[Expr], node: exp.Expression) -> None:
        """Raise for an argument that Spark converts without being asked and this engine cannot."""
        for arg in args:
            if isinstance(arg, Cast) and arg.implicit and check_cast(arg.child.type, arg.type):
                raise unsupported(node, f"{arg.child.type} becomes {arg.type} here, which only Spark does")

    # special calls

    def if_(self, node: exp.Expression, name: str, nodes: list[exp.Expression]) -> Expr:
        if len(nodes) != 3:
            raise fault(node, f"{name}: it takes 3 arguments, {len(nodes)} given")
        condition, yes, no = self.all(nodes)
        if condition.type == NULL:
            condition = null(BOOLEAN)
        case = predicates.make_case(self, [condition], [yes, no], True, node, word=name)
        assert isinstance(case, Case)
        args = (case.branches[0][0], case.branches[0][1], case.otherwise or null(case.type))
        return Call(case.type, case.nullable, "if", args, "if")

    def struct_(self, node: exp.Expression, _name: str, nodes: list[exp.Expression]) -> Expr:
        if not nodes:
            raise unsupported(node, "a struct without fields is not supported in the embedded engine")
        names = [item.alias if isinstance(item, exp.Alias) else None for item in nodes]
        values = self.all([take(i, "this", "alias")[0] if isinstance(i, exp.Alias) else i for i in nodes])
        fields = tuple(
            Field(given or _field_name(written, value, i), value.type, value.nullable)
            for i, (given, value, written) in enumerate(zip(names, values, nodes, strict=True))
        )
        if len({field.name for field in fields}) < len(fields):
            raise unsupported(node, "a struct with two fields of one name is not supported here")
        return Call(StructType(fields), False, "struct", values, "struct")

    def with_unit(self, node: exp.Expression, name: str, nodes: list[exp.Expression]) -> Expr:
        """`dateadd(DAY, 1, d)` and `datediff(DAY, a, b)`: the unit is a bare word; with two arguments the
        names mean date_add and datediff."""
        adds = "add" in name.lower()
        if len(nodes) != 3:
            if name.lower().startswith("timestamp"):
                raise fault(node, f"{name}: it takes 3 arguments, {len(nodes)} given")
            simple = "date_add" if adds else "datediff"
            return self.apply(functions()[simple], name, self.all(nodes), node)
        entry = functions()["timestampadd" if adds else "timestampdiff"]
        unit = Literal(STRING, False, nodes[0].name.upper())
        return self.apply(entry, name, (unit, *self.all(nodes[1:])), node)


def _field_name(node: exp.Expression, value: Expr, index: int) -> str:
    written = node.unnest()  # parentheses take no name away
    if isinstance(written, exp.Column):
        return written.name
    if isinstance(value, GetField | LambdaVariable):
        return value.name
    return f"col{index + 1}"


_OPERATORS: dict[type[exp.Expression], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.IntDiv: "div",
    exp.Mod: "%",
    exp.EQ: "=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NullSafeEQ: "<=>",
    exp.And: "and",
    exp.Or: "or",
    exp.BitwiseAnd: "&",
    exp.BitwiseOr: "|",
    exp.BitwiseXor: "^",
    exp.DPipe: "concat",
}
_SPECIAL: dict[str, Callable[[Resolver, exp.Expression, str, list[exp.Expression]], Expr]] = {
    "if": Resolver.if_,
    "struct": Resolver.struct_,
    "timestampadd": Resolver.with_unit,
    "timestampdiff": Resolver.with_unit,
    "date_add": Resolver.with_unit,
    "datediff": Resolver.with_unit,
}
_HANDLERS: dict[type[exp.Expression], Callable[[Resolver, exp.Expression], Expr]] = {
    **dict.fromkeys((exp.Column, exp.Identifier, exp.Dot), references.name),
    exp.Star: references.star,
    **dict.fromkeys(_OPERATORS, Resolver.binary),
    **dict.fromkeys((exp.And, exp.Or), Resolver.connector),
    **dict.fromkeys((exp.Like, exp.ILike, exp.RegexpLike), predicates.like),
    **dict.fromkeys((exp.Cast, exp.TryCast), casting.cast),
    **dict.fromkeys((exp.IgnoreNulls, exp.RespectNulls), ignore_nulls),
    exp.Bracket: references.bracket,
    exp.Literal: Resolver.literal,
    exp.Neg: Resolver.negative,
    exp.BitwiseNot: lambda self, node: self.make("~", (self.resolve(take(node, "this")[0]),), node),
    exp.Interval: casting.interval,
    exp.NEQ: Resolver.not_equal,
    exp.NullSafeNEQ: Resolver.distinct_from,
    exp.Not: Resolver.not_,
    exp.Is: predicates.is_,
    exp.Between: predicates.between,
    exp.In: predicates.in_,
    exp.Escape: predicates.escape,
    exp.Case: predicates.case,
    exp.Extract: Resolver.extract,
    exp.Trim: Resolver.trim,
    exp.Concat: Resolver.adjacent_strings,
    exp.Tuple: Resolver.tuple_,
    exp.Anonymous: Resolver.anonymous,
    exp.Filter: filter_,
    exp.WithinGroup: within_group,
    exp.Window: window,
    exp.Paren: lambda self, node: self.resolve(take(node, "this")[0]),
    exp.Null: lambda _, __: Literal(NULL, True, None),
    exp.Boolean: lambda _, node: Literal(BOOLEAN, False, bool(take(node, "this")[0])),
    exp.HexString: lambda _, node: literals.hexadecimal(take(node, "this", "is_integer")[0]),
    exp.RawString: lambda _, node: Literal(STRING, False, take(node, "this")[0]),
    exp.Exists: lambda self, node: self.scope.subquery(take(node, "this")[0], "exists", ()),
    exp.Subquery: lambda self, node: self.scope.subquery(node, "scalar", ()),
    exp.Select: lambda self, node: self.scope.subquery(node, "scalar", ()),
    exp.DataType: lambda _, node: _type_name_as_column(node),
}


def _type_name_as_column(node: exp.Expression) -> Expr:
    raise unsupported(
        node, f"the type name {node} stands where a value is expected", hint="quote it if it is a column"
    )
