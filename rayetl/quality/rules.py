"""The rules of a `validate` step, as a config states them. Exactly one kind is given in each."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from rayetl.contracts import Share
from rayetl.model import ColumnName, Duration, Identifier, Model, OneOrMany, SqlText
from rayetl.quality.base import OnFailure

Columns = Annotated[tuple[ColumnName, ...], OneOrMany(), Field(min_length=1)]
Bound = int | float | str


class Range(Model):
    """A column lies between two values; either end may be left open."""

    column: ColumnName = Field(description="The column.", examples=["arr_delay"])
    min: Bound | None = Field(
        default=None,
        description="Smallest value that is right: a number, or a date or text in quotes.",
        examples=[-120],
    )
    max: Bound | None = Field(default=None, description="Largest value that is right.", examples=[2000])
    exclusive: bool = Field(
        default=False, description="Whether the ends themselves are wrong.", examples=[True]
    )

    @model_validator(mode="after")
    def _bounded(self) -> Range:
        if self.min is None and self.max is None:
            raise ValueError("a range needs `min`, `max` or both")
        return self


class Pattern(Model):
    """A regular expression is found in the text, as `RLIKE` does; `^` and `$` bind it to the ends."""

    column: ColumnName = Field(description="The column.", examples=["tailnum"])
    regex: str = Field(min_length=1, description="A regular expression.", examples=["^N[0-9A-Z]+$"])


class InSet(Model):
    """A column holds one of a few values."""

    column: ColumnName = Field(description="The column.", examples=["origin"])
    values: tuple[Bound | bool, ...] = Field(
        min_length=1, description="The values that are right.", examples=[["EWR", "JFK", "LGA"]]
    )


class Length(Model):
    """The number of characters of a text, bytes of a BINARY, or members of an array or map."""

    column: ColumnName = Field(description="The column.", examples=["carrier"])
    min: int | None = Field(default=None, ge=0, description="Fewest characters.", examples=[2])
    max: int | None = Field(default=None, ge=0, description="Most characters.", examples=[2])

    @model_validator(mode="after")
    def _bounded(self) -> Length:
        if self.min is None and self.max is None:
            raise ValueError("a length needs `min`, `max` or both")
        return self


class Format(Model):
    """A text has a known form."""

    column: ColumnName = Field(description="The column.", examples=["contact"])
    is_: Literal["email", "uuid", "date", "timestamp", "ipv4", "url"] = Field(
        alias="is", description="The form.", examples=["email"]
    )


class References(Model):
    """Every value exists in another source or step; NULL needs none."""

    columns: Columns = Field(description="The referring columns.", examples=[["carrier"]])
    source: Identifier = Field(
        description="Id of the source or step that must hold the value.", examples=["airlines"]
    )
    to: Columns | None = Field(
        default=None, description="The columns there; by default of the same names.", examples=[["carrier"]]
    )

    @model_validator(mode="after")
    def _paired(self) -> References:
        if self.to is not None and len(self.to) != len(self.columns):
            raise ValueError(f"{len(self.columns)} columns cannot refer to {len(self.to)}")
        return self


class RowCount(Model):
    """How many rows there are."""

    min: int | None = Field(default=None, ge=0, description="Fewest rows.", examples=[1])
    max: int | None = Field(default=None, ge=0, description="Most rows.", examples=[1000000])

    @model_validator(mode="after")
    def _bounded(self) -> RowCount:
        if self.min is None and self.max is None:
            raise ValueError("a row count needs `min`, `max` or both")
        return self


class Aggregate(Model):
    """An aggregate over all rows lies within bounds; NULL (of no rows) fails."""

    expression: SqlText = Field(description="An aggregate in Spark SQL.", examples=["avg(arr_delay)"])
    min: Bound | None = Field(default=None, description="Smallest value that is right.", examples=[-10])
    max: Bound | None = Field(default=None, description="Largest value that is right.", examples=[60])

    @model_validator(mode="after")
    def _bounded(self) -> Aggregate:
        if self.min is None and self.max is None:
            raise ValueError("an aggregate needs `min`, `max` or both")
        return self


class NullShare(Model):
    """The share of rows in which a column is NULL."""

    column: ColumnName = Field(description="The column.", examples=["tailnum"])
    max: Share = Field(description="Largest share that is right.", examples=["1%"])


class Freshness(Model):
    """The newest value of a date or timestamp column is not too old at the time of the run."""

    column: ColumnName = Field(description="The column.", examples=["time_hour"])
    max_age: Duration = Field(description="How old the newest value may be.", examples=["2 days"])


class Rule(Model):
    """One data-quality rule."""

    ROW_KINDS: ClassVar[tuple[str, ...]] = (
        "not_null", "unique", "range", "pattern", "in_set", "length", "format", "check", "references",
    )  # fmt: skip
    TABLE_KINDS: ClassVar[tuple[str, ...]] = ("row_count", "aggregate", "null_share", "freshness")

    TWO_VALUED: ClassVar[frozenset[str]] = frozenset({"not_null", *TABLE_KINDS})

    name: str | None = Field(
        default=None,
        min_length=1,
        description="Name of the rule in reports and rejects.",
        examples=["delay_range"],
    )
    on_failure: OnFailure | None = Field(
        default=None,
        description="`abort` stops the run with nothing visible in any load, `quarantine` sets rows aside, "
        "`warn` only counts. Default: `quarantine` for rules on rows, `abort` for rules on the whole input.",
        examples=["warn"],
    )
    max_share: Share | None = Field(
        default=None,
        description="Allowed share of failing rows (0 to 1, or `1%`); above it `abort` stops the run, "
        "and `quarantine` ends it with exit code 4.",
        examples=["1%"],
    )
    not_null: Columns | None = Field(
        default=None, description="No NULL in these columns.", examples=[["carrier"]]
    )
    unique: Columns | None = Field(
        default=None,
        description="These columns together are unique. The first row in source order is right, the later "
        "ones fail; rows with a NULL among them are right.",
        examples=[["id"]],
    )
    range: Range | None = Field(
        default=None, description="Bounds of a column.", examples=[{"column": "age", "min": 0}]
    )
    pattern: Pattern | None = Field(
        default=None, description="A regular expression.", examples=[{"column": "tailnum", "regex": "^N"}]
    )
    in_set: InSet | None = Field(
        default=None,
        description="A closed set of values.",
        examples=[{"column": "origin", "values": ["EWR"]}],
    )
    length: Length | None = Field(
        default=None, description="Bounds of a text's length.", examples=[{"column": "carrier", "max": 2}]
    )
    format: Format | None = Field(
        default=None, description="A known form of text.", examples=[{"column": "contact", "is": "email"}]
    )
    check: SqlText | None = Field(
        default=None,
        description="A Spark SQL predicate that right rows fulfil.",
        examples=["arr_delay BETWEEN -120 AND 2000"],
    )
    null_fails: bool = Field(
        default=False,
        description="Whether a row fails a rule when NULL makes it neither true nor false.",
        examples=[True],
    )
    references: References | None = Field(
        default=None,
        description="Values that exist elsewhere.",
        examples=[{"columns": ["carrier"], "source": "airlines"}],
    )
    row_count: RowCount | None = Field(
        default=None, description="Bounds of the number of rows.", examples=[{"min": 1}]
    )
    aggregate: Aggregate | None = Field(
        default=None,
        description="Bounds of an aggregate.",
        examples=[{"expression": "avg(delay)", "max": 60}],
    )
    null_share: NullShare | None = Field(
        default=None,
        description="Bound of the share of NULLs.",
        examples=[{"column": "tailnum", "max": "1%"}],
    )
    freshness: Freshness | None = Field(
        default=None,
        description="Bound of the age of the newest row.",
        examples=[{"column": "t", "max_age": "1h"}],
    )

    @property
    def kind(self) -> str:
        """The one kind that is given."""
        return next(kind for kind in (*self.ROW_KINDS, *self.TABLE_KINDS) if getattr(self, kind) is not None)

    @property
    def label(self) -> str:
        """The name, or where none was given the kind with its columns."""
        if self.name is not None:
            return self.name
        given = getattr(self, self.kind)
        columns = given if isinstance(given, tuple) else getattr(given, "columns", ())
        told = ", ".join(columns or filter(None, [getattr(given, "column", None)]))
        return f"{self.kind}({told})" if told else self.kind

    @model_validator(mode="after")
    def _one_kind(self) -> Rule:
        kinds = (*self.ROW_KINDS, *self.TABLE_KINDS)
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            found = f"both {' and '.join(given)}" if given else "none"
            raise ValueError(f"a rule is of one kind, this one has {found}; the kinds are {', '.join(kinds)}")
        if given[0] in self.TABLE_KINDS:
            if self.on_failure is OnFailure.QUARANTINE:
                raise ValueError(
                    f"{given[0]} judges the whole input and cannot quarantine rows; use abort or warn"
                )
            if self.max_share is not None:
                raise ValueError(f"{given[0]} judges the whole input; max_share is for rules on rows")
        if self.null_fails and given[0] in self.TWO_VALUED:
            raise ValueError(f"null_fails means nothing with {given[0]}, which is always true or false")
        return self
