"""A table in ranges of a column, all as they are at one moment, for several processes to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import pairwise

from pydantic import Field

from rayetl.connectors.postgres.connection import PostgresConnection
from rayetl.connectors.postgres.naming import identifier, literal
from rayetl.connectors.postgres.types import ServerColumn
from rayetl.errors import SourceError
from rayetl.model import ColumnName, Model
from rayetl.records import dataclass
from rayetl.sql.types import DATE, INT, LONG, SHORT, TIMESTAMP, TIMESTAMP_NTZ, DataType


class KeySplit(Model):
    """How a table is cut into ranges that are read at the same time."""

    column: ColumnName = Field(
        description="The column whose values are cut into ranges of the same width: integers, dates or "
        "timestamps, best of an index. Rows where it is NULL are in the first range.",
        examples=["id"],
    )
    parts: int = Field(ge=2, le=10_000, description="How many ranges there are.", examples=[8])


@dataclass(frozen=True, slots=True)
class Range:
    """The rows of a table for which the condition `where` holds, as the transaction sees them that exported
    `snapshot`."""

    snapshot: str
    where: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """How the server makes an integer of a value of a type, and a value of an integer. `ends` is what must
    hold for a value to be one of the ends: infinity is at no distance from anything."""

    number: str
    value: str
    ends: str = "TRUE"


_WHOLE = _Scale("{}", "{}")
_SCALES: dict[DataType, _Scale] = {
    SHORT: _WHOLE,
    INT: _WHOLE,
    LONG: _WHOLE,
    DATE: _Scale("{} - DATE '2000-01-01'", "DATE '2000-01-01' + ({})", "isfinite({})"),
    TIMESTAMP_NTZ: _Scale(
        "floor(extract(epoch FROM {}))", "TIMESTAMP '1970-01-01' + ({}) * INTERVAL '1 second'", "isfinite({})"
    ),
    TIMESTAMP: _Scale(
        "floor(extract(epoch FROM {}))",
        "TIMESTAMPTZ '1970-01-01 00:00:00+00' + ({}) * INTERVAL '1 second'",
        "isfinite({})",
    ),
}

_CUT_KINDS = {"r", "p", "m"}
"""Tables, partitioned tables and materialized views: their rows are the same for all that share a snapshot.
Those of a view may be made up anew by each query, and those of a foreign table are of another moment."""


def check(
    split: KeySplit, columns: Sequence[ServerColumn], relation: str, connection: PostgresConnection
) -> None:
    """Raise `SourceError` where the table cannot be cut so."""
    names = [column.name for column in columns]
    found = next((column for column in columns if column.name == split.column), None)
    if found is None:
        near = difflib.get_close_matches(split.column, names, n=1)
        raise SourceError(
            f"the table has no column {split.column!r} to be cut by",
            hint=f"did you mean {near[0]}?" if near else f"columns: {', '.join(names)}",
            path=("split", "column"),
        )
    if found.type not in _SCALES or not found.comparable:
        able = [column.name for column in columns if column.type in _SCALES and column.comparable]
        raise SourceError(
            f"the column {split.column!r} of type {found.type} cannot be cut into ranges",
            hint=f"integers, dates and timestamps can; here: {', '.join(able) or 'none'}",
            path=("split", "column"),
        )
    oid = f"{literal(relation)}::regclass"
    kinds = connection.rows(
        f"SELECT DISTINCT relkind::text FROM pg_class WHERE oid = {oid} "
        f"OR oid IN (SELECT relid FROM pg_partition_tree({oid}))",
        "looking at the table",
    )
    if not {kind for (kind,) in kinds} <= _CUT_KINDS:
        raise SourceError(
            f"{relation} is a view or foreign table, whose ranges would not be of one moment",
            hint="leave `split` out, or name a table",
            path=("split",),
        )


def conditions(
    split: KeySplit, kind: DataType, relation: str, connection: PostgresConnection, doing: str
) -> list[str]:
    """One condition for each range; every row meets exactly one of them. Fewer than asked for where there are
    fewer values between the ends than that."""
    column, scale = identifier(split.column), _SCALES[kind]
    low, high = (f"({scale.number.format(end)})::bigint" for end in ("low", "high"))
    ends = (
        f"SELECT {low}, {high} FROM (SELECT min({column}) AS low, max({column}) AS high FROM {relation} "
        f"WHERE {scale.ends.format(column)}) AS ends"
    )
    ((first, last),) = connection.rows(ends, doing)
    cuts = [] if first is None else list(_cuts(int(first), int(last), split.parts))
    return list(_between(column, [scale.value.format(cut) for cut in cuts]))


def _cuts(first: int, last: int, parts: int) -> Iterator[int]:
    """Where ranges begin, but for the first one."""
    width = last - first + 1
    seen = first
    for part in range(1, parts):
        cut = first + width * part // parts
        if cut > seen:
            yield cut
            seen = cut


def _between(column: str, cuts: Sequence[str]) -> Iterator[str]:
    if not cuts:
        yield "TRUE"
        return
    yield f"({column} < {cuts[0]} OR {column} IS NULL)"
    for low, high in pairwise(cuts):
        yield f"({column} >= {low} AND {column} < {high})"
    yield f"({column} >= {cuts[-1]})"
