"""By what a table is partitioned: the transforms of Iceberg, as a config says them and as they cut rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rayetl.connectors.lake.staging import DERIVED
from rayetl.connectors.listing import NULL_PARTITION
from rayetl.lazy import lazily
from rayetl.records import dataclass
from rayetl.sql.types import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    TIMESTAMP,
    TIMESTAMP_NTZ,
    DataType,
    is_nested,
)

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.transforms import Transform
    from pyiceberg.types import IcebergType
else:
    pl, pa = lazily("polars"), lazily("pyarrow")

_CALL = re.compile(
    r"(?i)\s*(?:(year|month|day|hour)s?|(bucket|truncate))\s*\(\s*(?:(\d+)\s*,)?\s*(.+?)\s*\)\s*"
)
_TIMES = (TIMESTAMP, TIMESTAMP_NTZ)
_MOST_BUCKETS = 100_000


@dataclass(frozen=True, slots=True)
class Cut:
    """A transform of a column: `identity`, `year`, `month`, `day`, `hour`, `bucket` and `truncate` with a
    `width`."""

    transform: str
    column: str
    width: int | None = None

    @classmethod
    def parse(cls, text: str) -> Cut:
        """From `carrier`, `month(time_hour)`, `bucket(16, id)`. Raises `ValueError`."""
        found = _CALL.fullmatch(text)
        if found is None:
            return cls("identity", text)
        period, sized, width, column = found.groups()
        if (sized is None) != (width is None) or (width is not None and not 0 < int(width) <= _MOST_BUCKETS):
            raise ValueError(
                f"{text!r} is no partition; write a column, `month(column)` (year, day, hour), "
                f"`bucket(16, column)` or `truncate(4, column)`"
            )
        return cls((period or sized).lower(), column, int(width) if width else None)

    @classmethod
    def of(cls, field: PartitionField, schema: IcebergSchema) -> Cut:
        """From a field of a table's partitioning."""
        name, _, width = str(field.transform).rstrip("]").partition("[")
        return cls(name, schema.find_column_name(field.source_id) or "", int(width) if width else None)

    def __str__(self) -> str:
        if self.transform == "identity":
            return self.column
        return f"{self.transform}({f'{self.width}, ' if self.width else ''}{self.column})"

    @property
    def as_iceberg(self) -> str:
        """The transform as Iceberg's metadata spells it."""
        return f"{self.transform}[{self.width}]" if self.width else self.transform

    def unfit(self, kind: DataType) -> str | None:
        """Why it cannot cut values of a type, in words; `None` if it can."""
        match self.transform:
            case "identity":
                fits = not is_nested(kind) and kind not in (FLOAT, DOUBLE, BINARY)
            case "hour":
                fits = kind in _TIMES
            case "year" | "month" | "day":
                fits = kind in (*_TIMES, DATE)
            case "truncate":
                fits = not is_nested(kind) and kind not in (FLOAT, DOUBLE, BOOLEAN, DATE, *_TIMES)
            case "bucket":
                fits = not is_nested(kind) and kind not in (FLOAT, DOUBLE, BOOLEAN)
            case _:
                return f"is cut by {self}, which rayetl does not know"
        return None if fits else f"cannot be cut by {self}, because {self.column} is {kind}"


@dataclass(frozen=True, slots=True)
class _Transformed:
    """A transform as a function of whole columns."""

    transform: Transform[Any, Any]
    source: IcebergType

    def __call__(self, values: pl.Series) -> pl.Series:
        given = values.to_arrow()
        if pa.types.is_large_binary(given.type):
            given = given.cast(pa.binary())
        made = pl.from_arrow(self.transform.pyarrow_transform(self.source)(given))
        assert isinstance(made, pl.Series)
        # Bytes need not be a text.
        return made.bin.encode("hex") if made.dtype == pl.Binary else made.cast(pl.String)


def cuts_of(spec: PartitionSpec, schema: IcebergSchema) -> tuple[Cut, ...]:
    """The cuts of a table's partitioning; fields that were taken out of it cut nothing."""
    return tuple(Cut.of(field, schema) for field in _live(spec))


def derived(spec: PartitionSpec, schema: IcebergSchema, stored: pl.Schema) -> Iterator[tuple[str, pl.Expr]]:
    """The columns by which rows are put into files, one for each field: texts that differ where values do.
    `stored` are the types that the table has for the columns of the rows."""
    for field in _live(spec):
        name = schema.find_column_name(field.source_id) or ""
        column = pl.col(name).cast(stored[name])
        if str(field.transform) == "identity":
            yield f"{DERIVED}{field.name}", _apart(column.cast(pl.String))
        else:
            cut = _Transformed(field.transform, schema.find_type(field.source_id))
            made = column.map_batches(cut, return_dtype=pl.String, is_elementwise=True)
            yield f"{DERIVED}{field.name}", _apart(made)


def _apart(texts: pl.Expr) -> pl.Expr:
    """Texts by which directories are named, none of them as NULL's is: two writers would have one directory,
    and write one file. What begins so gets a letter more, so that different texts stay different."""
    return pl.when(texts.str.starts_with(NULL_PARTITION)).then(texts + "_").otherwise(texts)


def partition_values(spec: PartitionSpec, schema: IcebergSchema, row: dict[str, Any]) -> list[Any]:
    """The values of the partition that a row belongs to, as manifests have them."""
    from pyiceberg.partitioning import partition_record_value

    values: list[Any] = []
    for field in spec.fields:
        if str(field.transform) == "void":
            values.append(None)
            continue
        given = row[schema.find_column_name(field.source_id) or ""]
        inner = None if given is None else partition_record_value(field, given, schema)
        values.append(field.transform.transform(schema.find_type(field.source_id))(inner))
    return values


def _live(spec: PartitionSpec) -> Sequence[PartitionField]:
    return [field for field in spec.fields if str(field.transform) != "void"]


def source_columns(spec: PartitionSpec, schema: IcebergSchema) -> list[str]:
    """The columns that partitions are made from."""
    return [schema.find_column_name(field.source_id) or "" for field in _live(spec)]


def unfit_cuts(cuts: Sequence[Cut], kinds: dict[str, DataType]) -> Iterator[str]:
    """What keeps the columns of a table from being cut, in words."""
    for cut in cuts:
        kind = kinds.get(cut.column)
        if kind is None:
            yield f"is partitioned by {cut}, which is inside another column"
        elif reason := cut.unfit(kind):
            yield reason
