"""`join`: rows of two inputs side by side."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from sqlglot import exp

from rayetl.errors import ConfigPath
from rayetl.model import ColumnName, Identifier, SqlText
from rayetl.sql.types import Schema
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import (
    Reader,
    aliased,
    column,
    columns,
    name,
    select,
    star,
    table,
    visible,
    visible_part,
)

How = Literal["inner", "left", "right", "full", "semi", "anti", "cross"]
_SIDES = {"left": "LEFT", "right": "RIGHT", "full": "FULL", "semi": "LEFT", "anti": "LEFT"}
_KINDS = {"semi": "SEMI", "anti": "ANTI", "cross": "CROSS"}


class Join(Step):
    """Put rows of another input beside those of this one.

    With `on` the key columns appear once and come first (this input's columns stay as they are with `semi`
    and `anti`). NULL keys match nothing. Other columns that both inputs have are refused unless `suffix`
    says how the other input's are renamed.
    """

    type: Literal["join"] = Field(default="join", description="Put rows of another input beside these.")
    with_: Identifier = Field(
        alias="with", description="Id of the source or step to join with.", examples=["airlines"]
    )
    how: How = Field(
        default="inner",
        description=(
            "`inner`: matching pairs. `left`, `right`, `full`: these and the rows of that side without a "
            "match. `semi`: rows that have a match, `anti`: rows that have none. `cross`: every pair."
        ),
    )
    on: ColumnName | list[ColumnName] | None = Field(
        default=None,
        description="Column or columns of the same name in both inputs, compared for equality.",
        examples=["carrier", ["origin", "time_hour"]],
    )
    condition: SqlText | None = Field(
        default=None,
        description="Instead of `on`: an SQL condition over both inputs, whose ids qualify the columns.",
        examples=["flights.dest = airports.faa"],
    )
    suffix: str | None = Field(
        default=None,
        min_length=1,
        description="Added to the names of the other input's columns that this input has as well.",
        examples=["_airport"],
    )

    broadcast: Literal["auto"] | bool = Field(
        default="auto",
        description="Spark only: whether every executor gets the whole other input, so that these rows stay "
        "where they are. `auto` decides by its size (`broadcast_below` of the engine), `true` and `false` "
        "become hints in the query.",
        examples=[True],
    )

    effect: ClassVar[RowEffect] = RowEffect.JOINS

    @model_validator(mode="after")
    def _keyed(self) -> Join:
        given = (self.on is not None) + (self.condition is not None)
        if self.how == "cross" and given:
            raise ValueError("`how: cross` takes neither `on` nor `condition`")
        if self.how != "cross" and given != 1:
            raise ValueError("give either `on` (columns of the same name) or `condition` (an SQL condition)")
        if self.on == []:
            raise ValueError("`on` names no column")
        if self.broadcast is True and self.how in ("right", "full"):
            raise ValueError(
                f"`how: {self.how}` keeps rows of the other input, which then cannot be broadcast"
            )
        return self

    def other_inputs(self) -> tuple[tuple[ConfigPath, str], ...]:
        return ((("with",), self.with_),)

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        left, right = context.main.name, context.inputs[1].name
        alias = f"{right}_2" if right == left else right
        keys = self._keys(read, context)
        chosen = self._columns(read, context, keys, alias)
        existence = self.how in ("semi", "anti")
        join = exp.Join(
            this=table(right, alias if alias != right else None),
            side=_SIDES.get(self.how),
            kind=_KINDS.get(self.how),
        )
        if self.condition:
            join.set("on", read.expression(self.condition, "condition"))
        elif existence:
            join.set("on", exp.and_(*(_equal(key, left, alias) for key in keys), copy=False))
        elif keys:
            join.set("using", [name(key) for key in keys])
        query = select(chosen, left)
        query.append("joins", join)
        if self.broadcast != "auto":
            query.set("hint", _hint("BROADCAST" if self.broadcast else "MERGE", alias))
        return read.done(query)

    def _keys(self, read: Reader, context: StepContext) -> list[str]:
        names = [self.on] if isinstance(self.on, str) else self.on or []
        keys = []
        for index, key in enumerate(names):
            field = ("on",) if isinstance(self.on, str) else ("on", index)
            keys.append(read.own(key, *field))
            read.known(key, context.inputs[1].schema, context.inputs[1].name, *field)
        return keys

    def _columns(
        self, read: Reader, context: StepContext, keys: list[str], alias: str
    ) -> list[exp.Expression]:
        if self.how in ("semi", "anti"):
            return star()
        ours, theirs = visible(context), visible_part(context.inputs[1].schema)
        folded = {key.lower() for key in keys}
        clashing = [f.name for f in theirs if ours.get(f.name) and f.name.lower() not in folded]
        if clashing and self.suffix is None:
            self._refuse(read, context, clashing)
        if not clashing and not context.carry:
            return star()
        return [
            *columns(keys),
            *columns((f.name for f in ours if f.name.lower() not in folded), context.main.name),
            *self._theirs(theirs, folded, set(clashing), alias),
            *columns(context.carry, context.main.name),
        ]

    def _theirs(self, theirs: Schema, keys: set[str], clashing: set[str], alias: str) -> list[exp.Expression]:
        return [
            aliased(column(f.name, alias), f.name + (self.suffix or "") if f.name in clashing else f.name)
            for f in theirs
            if f.name.lower() not in keys
        ]

    def _refuse(self, read: Reader, context: StepContext, clashing: list[str]) -> None:
        names = ", ".join(f"`{text}`" for text in clashing)
        both = f"`{context.main.name}` and `{context.inputs[1].name}`"
        read.fault(
            f"{both} both have {'a column' if len(clashing) == 1 else 'columns'} {names}",
            "with",
            hint=f"add to `on`, rename or drop in a `select` before, or set `suffix: _{self.with_}`",
        )


def _hint(name: str, other: str) -> exp.Hint:
    return exp.Hint(expressions=[exp.JoinHint(this=name, expressions=[table(other)])])


def _equal(key: str, left: str, right: str) -> exp.Expression:
    return exp.EQ(this=column(key, left), expression=column(key, right))
