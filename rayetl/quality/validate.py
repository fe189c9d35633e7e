"""The step `validate`: its rules as one flagged query and queries over the whole input."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from sqlglot import exp

from rayetl import sql
from rayetl.errors import ConfigPath, Problem, SqlError
from rayetl.model import Identifier, Model
from rayetl.quality.asking import Asked, Finding, Measure
from rayetl.quality.base import Checked, OnFailure, TableCheck
from rayetl.quality.compile import Flags, never_null, quoted, select_all
from rayetl.quality.row_rules import ROW_RULES
from rayetl.quality.rules import Rule
from rayetl.quality.table_rules import TABLE_RULES
from rayetl.records import dataclass
from rayetl.stepping import RowEffect, StepContext


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
    cache: bool | None = Field(
        default=None,
        description="Spark only: whether the rows are kept for further readers instead of computed again. By "
        "default they are where several read them and they cost more than reading a file again.",
        examples=[True],
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

    def unreadable(self) -> tuple[Problem, ...]:
        """Inputs stand in fields of their own."""
        return ()

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

    @model_validator(mode="after")
    def _different_names(self) -> ValidateStep:
        names = [rule.name for rule in self.rules if rule.name is not None]
        twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if twice is not None:
            raise ValueError(f"two rules are called {twice!r}; reports and rejects tell them by name")
        return self


@dataclass(slots=True)
class _Compiler:
    context: StepContext
    flags: Flags = field(default_factory=Flags)
    tables: list[TableCheck] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def checked(self) -> Checked:
        if self.problems:
            raise SqlError(self.problems)
        return self.flags.checked(select_all(self.context.main.name, " ".join(self.joins)), self.tables)

    def add(self, rule: Rule, path: ConfigPath) -> None:
        asked = Asked(self.context, path, rule.null_fails, self.problems, self.joins)
        given = getattr(rule, rule.kind)
        if rule.kind in TABLE_RULES:
            self._add_table(rule, TABLE_RULES[rule.kind](given, asked))
            return
        for finding in ROW_RULES[rule.kind](given, asked):
            self._add_row(rule, finding)

    def _add_row(self, rule: Rule, finding: Finding) -> None:
        fails = finding.condition
        if finding.fits:
            # Inside the NOT where NULL fails, outside where it passes.
            known = never_null(fails) if rule.null_fails else exp.Paren(this=fails)
            fails = exp.Not(this=known) if rule.null_fails else never_null(exp.Not(this=known))
        self.flags.add(
            fails,
            rule=rule.label,
            kind=rule.kind,
            column=finding.column,
            reason=finding.reason,
            on_failure=rule.on_failure or OnFailure.QUARANTINE,
            max_share=rule.max_share,
        )

    def _add_table(self, rule: Rule, measure: Measure) -> None:
        # The count makes a column outside of any aggregate a fault: the answer is one row, or none at all.
        name = quoted(self.context.main.name)
        query = sql.parse_query(
            f"SELECT CAST(observed AS STRING) AS observed, NOT coalesce({measure.fits}, false) AS failed "
            f"FROM (SELECT NULL AS observed, count(*) AS total FROM {name}) AS measured"
        )
        stand_in = query.find(exp.Null)
        assert stand_in is not None
        stand_in.replace(measure.value)
        self.tables.append(
            TableCheck(
                rule=rule.label,
                kind=rule.kind,
                field=measure.column,
                reason=measure.reason,
                query=query,
                on_failure=rule.on_failure or OnFailure.ABORT,
                identity=measure.identity,
            )
        )
