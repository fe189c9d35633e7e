"""The step `validate`: its rules as one flagged query and queries over the whole input."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import Field
from sqlglot import exp

from rayetl import sql
from rayetl.errors import ConfigPath, Problem, SqlError
from rayetl.model import Identifier, Model
from rayetl.names import PREFIX, ROW
from rayetl.quality.base import Checked, OnFailure, TableCheck
from rayetl.quality.compile import Flags, never_null, quoted, select_all, text
from rayetl.quality.defaults import UUID
from rayetl.quality.rules import Bound, References, Rule
from rayetl.sql.types import Schema
from rayetl.stepping import RowEffect, StepContext

FORMS = {
    "email": r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$",
    "uuid": UUID,
    "ipv4": r"^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\.|$)){4}$",
    "url": r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/?#]+[^\s]*$",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "timestamp": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}",
}


class ValidateStep(Model):
    """Checks rules; rows that break one go to the dead letter store, stop the run, or are counted."""

    type: Literal["validate"]
    id: Identifier | None = Field(
        default=None, description="Name of the step; other steps and loads refer to it.", examples=["checked"]
    )
    from_: Identifier | None = Field(
        default=None,
        alias="from",
        description="Id of the source or step to read; by default the step before this one.",
        examples=["flights"],
    )
    rules: tuple[Rule, ...] = Field(
        min_length=1,
        description="The rules. All are looked at; a row is refused with all its reasons.",
        examples=[[{"name": "has_carrier", "not_null": ["carrier"]}]],
    )

    effect: ClassVar[RowEffect] = RowEffect.FILTERS

    def other_inputs(self) -> tuple[tuple[ConfigPath, str], ...]:
        """The sources that `references` rules look into."""
        return tuple(
            (("rules", index, "references", "source"), rule.references.source)
            for index, rule in enumerate(self.rules)
            if rule.references is not None
        )

    def offset_of(self, name: str) -> int | None:  # noqa: ARG002
        """Names of other inputs stand in fields of their own."""
        return None

    def reads_previous(self) -> bool:
        """The step before is the input unless `from` is given."""
        return True

    def carries(self) -> bool:
        """Every row stems from one row of the input."""
        return True

    def waits(self) -> bool:
        """Nothing is looked up in the data."""
        return False

    def to_checked(self, context: StepContext) -> Checked:
        """The rules over the main input. Raises `SqlError` with every fault found on the way."""
        compiler = _Compiler(context)
        for index, rule in enumerate(self.rules):
            compiler.add(rule, (*context.path, "rules", index))
        return compiler.checked()


@dataclass(slots=True)
class _Compiler:
    context: StepContext
    flags: Flags = field(default_factory=Flags)
    tables: list[TableCheck] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def schema(self) -> Schema:
        schema = self.context.main.schema
        assert schema is not None
        return schema

    def checked(self) -> Checked:
        if self.problems:
            raise SqlError(self.problems)
        return self.flags.checked(select_all(self.context.main.name, " ".join(self.joins)), self.tables)

    def add(self, rule: Rule, path: ConfigPath) -> None:
        if rule.kind in Rule.TABLE_KINDS:
            self._add_table(rule, path)
            return
        if rule.not_null is not None:
            for index, column in enumerate(rule.not_null):
                name = self._column(column, (*path, "not_null", index))
                self._flag(rule, column, f"{column} is NULL", f"{name} IS NULL")
        elif rule.unique is not None:
            self._add_unique(rule, rule.unique, (*path, "unique"))
        elif rule.references is not None:
            self._add_references(rule, rule.references, (*path, "references"))
        elif rule.check is not None:
            self._add_check(rule, rule.check, (*path, "check"))
        else:
            column, fits, reason = self._bounds(rule, path)
            self._predicate(rule, column, reason, sql.parse_expression(fits))

    def _flag(self, rule: Rule, column: str | None, reason: str, fails: exp.Expression | str) -> None:
        self.flags.add(
            fails,
            rule=rule.label,
            kind=rule.kind,
            column=column,
            reason=reason,
            on_failure=rule.on_failure or OnFailure.QUARANTINE,
            max_share=rule.max_share,
        )

    def _predicate(self, rule: Rule, column: str | None, reason: str, fits: exp.Expression) -> None:
        """A row fails where `fits` is false; where it is NULL only if the rule says so."""
        if rule.null_fails:
            fails: exp.Expression = exp.Not(this=exp.Paren(this=never_null(fits)))
        else:
            fails = never_null(exp.Not(this=exp.Paren(this=fits)))
        self._flag(rule, column, reason, fails)

    def _column(self, name: str, path: ConfigPath, schema: Schema | None = None) -> str:
        """The column as SQL, or a problem where the input has none of that name."""
        known = schema if schema is not None else self.schema
        if known.get(name) is None:
            near = difflib.get_close_matches(name, known.names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"columns: {', '.join(known.names)}"
            self.problems.append(Problem("sql.unknown_column", f"there is no column {name!r}", path, hint))
        return quoted(name)

    def _add_check(self, rule: Rule, predicate: str, path: ConfigPath) -> None:
        try:
            fits = sql.parse_expression(predicate, origin=path)
        except SqlError as error:
            self.problems.extend(error.problems)
            return
        self._predicate(rule, None, f"not true: {' '.join(predicate.split())}", fits)

    def _bounds(self, rule: Rule, path: ConfigPath) -> tuple[str, str, str]:
        """Column, condition of right rows, and reason of the kinds with bounds on one column."""
        if rule.range is not None:
            column = rule.range.column
            name = self._column(column, (*path, "range", "column"))
            fits = _within(name, rule.range.min, rule.range.max, strict=rule.range.exclusive)
            return column, fits, f"{column} is not {_told(rule.range.min, rule.range.max)}"
        if rule.pattern is not None:
            column = rule.pattern.column
            name = self._column(column, (*path, "pattern", "column"))
            return (
                column,
                f"{name} RLIKE {text(rule.pattern.regex)}",
                f"{column} does not match {rule.pattern.regex}",
            )
        if rule.in_set is not None:
            column = rule.in_set.column
            name = self._column(column, (*path, "in_set", "column"))
            values = ", ".join(_literal(value) for value in rule.in_set.values)
            return column, f"{name} IN ({values})", f"{column} is none of {values}"
        if rule.length is not None:
            column = rule.length.column
            name = self._column(column, (*path, "length", "column"))
            fits = _within(f"length({name})", rule.length.min, rule.length.max)
            return column, fits, f"the length of {column} is not {_told(rule.length.min, rule.length.max)}"
        assert rule.format is not None
        column = rule.format.column
        name = self._column(column, (*path, "format", "column"))
        return column, _form(name, rule.format.is_), f"{column} is not in the form of a {rule.format.is_}"

    def _add_unique(self, rule: Rule, columns: Sequence[str], path: ConfigPath) -> None:
        names = [self._column(column, (*path, index)) for index, column in enumerate(columns)]
        order = quoted(ROW) if ROW in self.context.carry else names[0]
        present = " AND ".join(f"{name} IS NOT NULL" for name in names)
        number = f"row_number() OVER (PARTITION BY {', '.join(names)} ORDER BY {order})"
        told = ", ".join(columns)
        self._flag(rule, told, f"{told} was there before", f"{number} > 1 AND {present}")

    def _add_references(self, rule: Rule, references: References, path: ConfigPath) -> None:
        other = next(given for given in self.context.inputs if given.name == references.source)
        to = references.to or references.columns
        place = "to" if references.to else "columns"
        names = [self._column(name, (*path, "columns", i)) for i, name in enumerate(references.columns)]
        theirs = [self._column(name, (*path, place, i), other.schema) for i, name in enumerate(to)]
        alias = f"{PREFIX}r{len(self.joins)}"
        keys = [f"{alias}_{index}" for index in range(len(names))]
        chosen = ", ".join(f"{their} AS {key}" for their, key in zip(theirs, keys, strict=True))
        main = quoted(self.context.main.name)
        equal = " AND ".join(f"{main}.{name} = {alias}.{key}" for name, key in zip(names, keys, strict=True))
        self.joins.append(
            f"LEFT JOIN (SELECT DISTINCT {chosen} FROM {quoted(other.name)}) AS {alias} ON {equal}"
        )
        present = " AND ".join(f"{main}.{name} IS NOT NULL" for name in names)
        told = ", ".join(references.columns)
        self._flag(
            rule, told, f"{told} does not exist in {other.name}", f"{alias}.{keys[0]} IS NULL AND {present}"
        )

    def _add_table(self, rule: Rule, path: ConfigPath) -> None:
        column, observed, fits, reason = self._table(rule, path)
        query = f"SELECT CAST({{observed}} AS STRING) AS observed, NOT coalesce({fits}, false) AS failed"
        try:
            value = sql.parse_expression(observed, origin=(*path, "aggregate", "expression"))
        except SqlError as error:
            self.problems.extend(error.problems)
            return
        parsed = sql.parse_query(
            query.replace("{observed}", "observed") + f" FROM {quoted(self.context.main.name)}"
        )
        filled = parsed.transform(lambda node: value.copy() if _is_observed(node) else node)
        on_failure = rule.on_failure or OnFailure.ABORT
        assert isinstance(filled, exp.Query)
        self.tables.append(TableCheck(rule.label, rule.kind, column, reason, filled, on_failure))

    def _table(self, rule: Rule, path: ConfigPath) -> tuple[str | None, str, str, str]:
        """Column, observed expression, condition on the column `observed`, and reason."""
        if rule.row_count is not None:
            low, high = rule.row_count.min, rule.row_count.max
            return (
                None,
                "count(*)",
                _within("observed", low, high),
                f"the number of rows is not {_told(low, high)}",
            )
        if rule.aggregate is not None:
            low_bound, high_bound = rule.aggregate.min, rule.aggregate.max
            reason = f"{rule.aggregate.expression} is not {_told(low_bound, high_bound)}"
            return None, rule.aggregate.expression, _within("observed", low_bound, high_bound), reason
        if rule.null_share is not None:
            column = rule.null_share.column
            name = self._column(column, (*path, "null_share", "column"))
            share = f"coalesce(avg(CASE WHEN {name} IS NULL THEN 1.0D ELSE 0.0D END), 0.0D)"
            reason = f"more than {rule.null_share.max:.2%} of {column} are NULL"
            return column, share, f"observed <= {rule.null_share.max}D", reason
        assert rule.freshness is not None
        column = rule.freshness.column
        name = self._column(column, (*path, "freshness", "column"))
        seconds = int(rule.freshness.max_age.total_seconds())
        oldest = f"current_timestamp() - INTERVAL '{seconds}' SECOND"
        newest = f"max(CAST({name} AS TIMESTAMP))"
        return (
            column,
            newest,
            f"observed >= {oldest}",
            f"the newest {column} is older than {rule.freshness.max_age}",
        )


def _is_observed(node: exp.Expression) -> bool:
    return isinstance(node, exp.Column) and node.name == "observed"


def _within(value: str, low: Bound | None, high: Bound | None, *, strict: bool = False) -> str:
    equal = "" if strict else "="
    ends = []
    if low is not None:
        ends.append(f"{value} >{equal} {_literal(low)}")
    if high is not None:
        ends.append(f"{value} <{equal} {_literal(high)}")
    return " AND ".join(ends)


def _told(low: Bound | None, high: Bound | None) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"between {low} and {high}"


def _literal(value: Bound | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return text(value) if isinstance(value, str) else str(value)


def _form(name: str, form: str) -> str:
    shaped = f"{name} RLIKE {text(FORMS[form])}"
    if form in ("date", "timestamp"):
        return f"{shaped} AND ({name} IS NULL OR CAST({name} AS {form.upper()}) IS NOT NULL)"
    return shaped
