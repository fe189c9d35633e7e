"""`select`: choose, compute, rename, cast and drop columns."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from sqlglot import exp

from rayetl.model import ColumnName, SqlText
from rayetl.steps.base import RowEffect, Step, StepContext
from rayetl.steps.fragments import Reader, aliased, column, columns, everything, select, visible

_CHANGES = ("add", "cast", "rename", "drop")


class Select(Step):
    """Choose columns with `columns`, or keep them all and change some.

    `columns` is the whole result. Without it every column stays and `add`, `cast`, `rename` and `drop`
    change single ones; all four speak of the columns as they come in.
    """

    type: Literal["select"] = Field(default="select", description="Choose, compute, rename or drop columns.")
    columns: list[SqlText] | dict[ColumnName, SqlText] | None = Field(
        default=None,
        min_length=1,
        description=(
            "The result's columns, in order: a list of SQL expressions, each with or without `AS name`, or a "
            "map of name to SQL expression."
        ),
        examples=[["carrier", "dep_delay / 60.0 AS hours"], {"carrier": "carrier", "late": "dep_delay > 15"}],
    )
    add: dict[ColumnName, SqlText] = Field(
        default={},
        description=(
            "Computed columns: name to SQL expression. A column of that name is replaced where it stands, a "
            "new one comes last."
        ),
        examples=[{"speed": "distance / air_time * 60"}],
    )
    cast: dict[ColumnName, str] = Field(
        default={},
        description="New types: column to Spark SQL type. A value that does not fit becomes NULL.",
        examples=[{"year": "smallint", "price": "decimal(10,2)"}],
    )
    rename: dict[ColumnName, ColumnName] = Field(
        default={}, description="New names: column to new name.", examples=[{"tailnum": "tail_number"}]
    )
    drop: list[ColumnName] = Field(
        default=[], description="Columns to leave out.", examples=[["time_hour", "hour"]]
    )

    effect: ClassVar[RowEffect] = RowEffect.KEEPS

    @model_validator(mode="after")
    def _one_way(self) -> Select:
        changes = [field for field in _CHANGES if getattr(self, field)]
        if self.columns is None and not changes:
            raise ValueError("say which columns: give `columns`, or some of `add`, `cast`, `rename`, `drop`")
        if self.columns is not None and changes:
            raise ValueError(
                f"`columns` is the whole result, so it cannot go with `{changes[0]}`; use two steps"
            )
        return self

    def to_query(self, context: StepContext) -> exp.Query:
        read = Reader(context)
        if self.columns is not None:
            chosen = self._chosen(read, context)
        elif self._only_appends(context):
            chosen = everything(context, [self._added(read, name) for name in self.add])
            return read.done(select(chosen, context.main.name))
        else:
            chosen = self._changed(read, context)
        return read.done(select([*chosen, *columns(context.carry)], context.main.name))

    def _chosen(self, read: Reader, context: StepContext) -> list[exp.Expression]:
        if isinstance(self.columns, dict):
            return [aliased(read.scalar(text, "columns", name), name) for name, text in self.columns.items()]
        assert self.columns is not None
        chosen: list[exp.Expression] = []
        for index, text in enumerate(self.columns):
            tree = read.single(read.projection(text, "columns", index), "columns", index)
            hidden = tree.is_star and context.carry
            chosen.extend(columns(visible(context).names) if hidden else [tree])
        return chosen

    def _only_appends(self, context: StepContext) -> bool:
        taken = any(visible(context).get(name) for name in self.add)
        return not (taken or self.cast or self.rename or self.drop)

    def _added(self, read: Reader, name: str) -> exp.Expression:
        return aliased(read.scalar(self.add[name], "add", name), name)

    def _changed(self, read: Reader, context: StepContext) -> list[exp.Expression]:
        self._check_names(read)
        added = {name.lower(): name for name in self.add}
        casts = {name.lower(): name for name in self.cast}
        renames = {name.lower(): new for name, new in self.rename.items()}
        dropped = {name.lower() for name in self.drop}
        chosen = []
        for field in visible(context):
            key = field.name.lower()
            if key in dropped:
                continue
            tree: exp.Expression = column(field.name)
            new = renames.get(key, field.name)
            if key in added:
                new = added[key]
                tree = read.scalar(self.add[new], "add", new)
            elif key in casts:
                tree = read.expression(_cast(field.name, self.cast[casts[key]]), "cast", casts[key])
            chosen.append(aliased(tree, new))
        known = {field.name.lower() for field in visible(context)}
        return chosen + [self._added(read, name) for name in self.add if name.lower() not in known]

    def _check_names(self, read: Reader) -> None:
        seen: dict[str, str] = {}
        for place in ("cast", "rename", "drop"):
            for index, name in enumerate(getattr(self, place)):
                field = (place, index) if place == "drop" else (place, name)
                read.own(name, *field)
        for place in _CHANGES:
            for index, name in enumerate(getattr(self, place)):
                other = seen.setdefault(name.lower(), place)
                if other != place and {other, place} != {"cast", "rename"}:
                    field = (place, index) if place == "drop" else (place, name)
                    read.fault(f"`{name}` is in `{other}` and in `{place}`", *field, hint="keep one of them")


def _cast(name: str, kind: str) -> str:
    quoted = "`" + name.replace("`", "``") + "`"
    return f"CAST({quoted} AS {kind})"
