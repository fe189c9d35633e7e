"""What the compiler of one rule may ask for, and what it answers with."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from sqlglot import exp

from rayetl import sql
from rayetl.errors import ConfigPath, Problem, SqlError
from rayetl.names import PREFIX
from rayetl.quality.compile import text
from rayetl.quality.fitting import TIMES, WHOLE
from rayetl.records import dataclass
from rayetl.sql import types as t
from rayetl.stepping import StepContext


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition on single rows. With `fits` it is TRUE for right rows and may be NULL; otherwise it is
    TRUE for wrong rows and never NULL."""

    column: str | None
    reason: str
    condition: exp.Expression
    fits: bool = True


@dataclass(frozen=True, slots=True)
class Measure:
    """One value of the whole input, and the condition on it (as the column `observed`) of a right input.
    `identity` stands for the condition where that holds the time of the run."""

    column: str | None
    reason: str
    value: exp.Expression
    fits: str
    identity: str | None = None


@dataclass(slots=True)
class Asked:
    """One rule being compiled: `path` is its place in the config. Problems and joins are the step's."""

    context: StepContext
    path: ConfigPath
    null_fails: bool
    problems: list[Problem] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)

    @property
    def schema(self) -> t.Schema:
        """The visible columns of the main input."""
        schema = self.context.main.schema
        assert schema is not None, "rules are compiled when the columns of their input are known"
        return t.Schema(tuple(each for each in schema if not each.name.startswith(PREFIX)))

    def fault(
        self, message: str, *place: str | int, hint: str | None = None, offset: int | None = None
    ) -> None:
        """Something wrong at `place` below the rule, at `offset` of the text there."""
        self.problems.append(Problem("rule", message, (*self.path, *place), hint, offset))

    def column(self, name: str, *place: str | int, of: t.Schema | None = None) -> t.Field:
        """The column of that name; where there is none, a fault and a column of type VOID."""
        known = self.schema if of is None else of
        found = known.get(name)
        if found is None:
            near = difflib.get_close_matches(name.lower(), [each.lower() for each in known.names], n=1)
            exact = next((each for each in known.names if near and each.lower() == near[0]), None)
            hint = f"did you mean `{exact}`?" if exact else f"its columns are {', '.join(known.names)}"
            self.fault(f"there is no column `{name}`", *place, hint=hint)
        return found or t.Field(name, t.NULL)

    def expect(
        self, column: t.Field, wanted: Sequence[t.DataType | type], words: str, *place: str
    ) -> t.Field:
        """The column if it has one of the wanted types; otherwise a fault and a column of type VOID."""
        kinds = tuple(each for each in wanted if isinstance(each, type))
        if column.type == t.NULL or column.type in wanted or isinstance(column.type, kinds):
            return column
        self.fault(f"`{column.name}` is {column.type}, {words} is needed", *place)
        return t.Field(column.name, t.NULL)

    def literal(self, value: object, column: t.Field, *place: str | int) -> str:
        """`value` as a literal to compare the column with, a fault where that makes no sense."""
        try:
            return literal(value, column.type)
        except ValueError as error:
            self.fault(f"`{column.name}` is {column.type}, {error}", *place)
            return "NULL"

    def condition(self, fits: str, *place: str | int) -> exp.Expression:
        """A generated condition; what is found wrong with it later has the place `place`."""
        tree = sql.parse_expression(fits)
        for node in tree.walk():
            node.meta["origin"] = (*self.path, *place)
            node.meta.pop("start", None)
        return tree

    def expression(self, written: str, *place: str | int) -> exp.Expression:
        """A text of the config; a syntax error is kept and NULL stands for it."""
        try:
            tree = sql.parse_expression(written, origin=(*self.path, *place))
        except SqlError as error:
            self.problems.extend(error.problems)
            return exp.null()
        for node in tree.find_all(exp.Identifier):
            if node.name.lower().startswith(PREFIX):
                message = f"`{node.name}`: names that begin with `{PREFIX}` are kept for rayetl's own columns"
                self.fault(message, *place, offset=node.meta.get("start"))
        return tree


def literal(value: object, kind: t.DataType) -> str:
    """`value` as Spark SQL, to be compared with a column of type `kind`.

    Raises `ValueError` whose text goes on after "x is bigint, ".
    """
    if kind == t.NULL:
        return "NULL"
    if kind == t.FLOAT:
        # As a double, 0.1 would be less than the float 0.1.
        return f"CAST({number(value)} AS float)"
    if kind in WHOLE or kind == t.DOUBLE or isinstance(kind, t.DecimalType):
        return number(value)
    if kind == t.BOOLEAN and isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if kind == t.STRING:
            return text(value)
        if kind == t.DATE:
            return f"DATE '{_day(value)}'"
        if kind in TIMES:
            return _moment(value, kind)
    if kind == t.STRING:
        raise ValueError(f"{value!r} is not a text (put it in quotes)")
    raise ValueError(f"{value!r} cannot be compared with it")


def number(value: object) -> str:
    """A number, or a text that is one, as a literal. Raises `ValueError` as `literal` does."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no bound")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    try:
        found = Decimal(str(value).strip()) if isinstance(value, str) else None
    except InvalidOperation:
        found = None
    if found is None or not found.is_finite():
        raise ValueError(f"{value!r} is not a number")
    return f"{found:f}BD"


def _day(value: str) -> str:
    try:
        return date.fromisoformat(value.strip()).isoformat()
    except ValueError:
        raise ValueError(f"{value!r} is not a date (2013-01-31)") from None


def _moment(value: str, kind: t.DataType) -> str:
    try:
        found = datetime.fromisoformat(value.strip())
    except ValueError:
        raise ValueError(f"{value!r} is not a time (2013-01-31 06:00:00)") from None
    if kind == t.TIMESTAMP_NTZ:
        if found.tzinfo is not None:
            raise ValueError(f"which has no time zone, but {value!r} has one")
        return f"TIMESTAMP_NTZ '{found.isoformat(sep=' ')}'"
    return f"TIMESTAMP '{found.isoformat(sep=' ')}'"
