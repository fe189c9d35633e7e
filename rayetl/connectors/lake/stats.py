"""What is known of a staged file from its footer: rows, NULLs, and the least and greatest values.

Readers leave out files by these figures, so one that is not certain is left out itself: floats (NaN), long
texts, and whatever a footer does not call exact.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from rayetl.records import dataclass

if TYPE_CHECKING:
    import pyarrow.parquet as pq

COLUMNS = 32
"""So many columns have least and greatest values, as by Delta's own default
(delta.dataSkippingNumIndexedCols)."""

_LONGEST_TEXT = 32


@dataclass(frozen=True, slots=True)
class FileStats:
    """The figures of one file. `nulls` holds the columns whose NULLs are known."""

    rows: int
    nulls: dict[str, int]
    least: dict[str, Any]
    greatest: dict[str, Any]

    @classmethod
    def of(cls, metadata: pq.FileMetaData) -> FileStats:
        """From the footer of a Parquet file that has just been written."""
        nulls: dict[str, int] = {}
        least: dict[str, Any] = {}
        greatest: dict[str, Any] = {}
        for place in range(metadata.num_columns):
            column = metadata.schema.column(place)
            # A member of a nested column is spelled with a dot, and so may be a plain column.
            if "." in column.path or column.max_repetition_level:
                continue
            groups = [
                metadata.row_group(group).column(place).statistics for group in range(metadata.num_row_groups)
            ]
            if all(group is not None and group.has_null_count for group in groups):
                nulls[column.path] = sum(group.null_count for group in groups)
            if place < COLUMNS and (
                bounds := _bounds([group for group in groups if group is None or group.num_values])
            ):
                least[column.path], greatest[column.path] = bounds
        return cls(metadata.num_rows, nulls, least, greatest)


def _bounds(groups: list[Any]) -> tuple[Any, Any] | None:
    if not groups or not all(group is not None and group.has_min_max for group in groups):
        return None
    values = [(group.min, group.max) for group in groups]
    if not all(_certain(low) and _certain(high) for low, high in values):
        return None
    return min(low for low, _ in values), max(high for _, high in values)


def _certain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) < _LONGEST_TEXT
    return isinstance(value, int | date) and not isinstance(value, bool) and not hasattr(value, "hour")
