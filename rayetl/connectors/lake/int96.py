"""Times as Spark's Parquet files have them by default (INT96). Libraries of tables count their nanoseconds in
64 bits: they get those before 1678 and after 2261 wrong, 9999-12-31 among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rayetl.connectors.lake.fitting import inside
from rayetl.lazy import lazily

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
else:
    pa, pc = lazily("pyarrow"), lazily("pyarrow.compute")

NEAR = 2**63 // 1000 - 1_000_000
"""So many microseconds before and after 1970 all is well; less a second, because logs cut fractions off."""


def has_times(kind: pa.DataType) -> bool:
    """Whether values of a type are or hold timestamps."""
    return pa.types.is_timestamp(kind) or any(has_times(field.type) for field, _ in inside(kind))


def int96_columns(opened: pq.ParquetFile) -> list[str]:
    """The columns of a file that have INT96 in them."""
    leaves = [opened.schema.column(place) for place in range(len(opened.schema))]
    paths = [leaf.path for leaf in leaves if leaf.physical_type == "INT96"]
    names = opened.schema_arrow.names
    return [name for name in names if any(f"{path}.".startswith(f"{name}.") for path in paths)]


def far(opened: pq.ParquetFile) -> str | None:
    """A column with times that libraries get wrong, `None` if there is none. The file was opened so that its
    INT96 are microseconds."""
    for name in int96_columns(opened):
        for batch in opened.iter_batches(columns=[name]):
            if not all(map(_is_near, _times(batch.column(0)))):
                return name
    return None


def _times(values: pa.Array) -> Iterator[pa.Array]:
    if pa.types.is_timestamp(values.type):
        yield values
    for _, members in inside(values.type):
        yield from _times(members(values.drop_null()))


def _is_near(times: pa.Array) -> bool:
    ends = pc.min_max(times.cast(pa.int64())).as_py()
    return all(end is None or abs(end) < NEAR for end in ends.values())
