"""The library's reader of data files, with a fault of it mended: of lists and maps that hold others it lost
which are NULL, and what was renamed within."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io import pyarrow as library

if TYPE_CHECKING:
    from pyiceberg.types import ListType, MapType


class _Projection(library.ArrowProjectionVisitor):
    """Lists and maps are always made of what their members became."""

    def list(self, list_type: ListType, list_array: Any, value_array: Any) -> Any:
        if not isinstance(list_array, pa.ListArray | pa.LargeListArray) or value_array is None:
            return super().list(list_type, list_array, value_array)
        values = self._cast_if_needed(list_type.element_field, value_array)
        element = self._construct_field(list_type.element_field, values.type)
        kind = pa.list_(element) if isinstance(list_array, pa.ListArray) else pa.large_list(element)
        return _null_as(list_array, type(list_array).from_arrays(list_array.offsets, values, kind))

    def map(self, map_type: MapType, map_array: Any, key_result: Any, value_result: Any) -> Any:
        if map_array is None or key_result is None or value_result is None:
            return None
        keys = self._cast_if_needed(map_type.key_field, key_result)
        values = self._cast_if_needed(map_type.value_field, value_result)
        kind = pa.map_(
            self._construct_field(map_type.key_field, keys.type),
            self._construct_field(map_type.value_field, values.type),
        )
        return _null_as(map_array, pa.MapArray.from_arrays(map_array.offsets, keys, values, kind))


def _null_as(found: Any, made: Any) -> Any:
    return pc.if_else(found.is_valid(), made, pa.scalar(None, made.type)) if found.null_count else made


library.ArrowProjectionVisitor = _Projection  # type: ignore[misc]
ArrowScan = library.ArrowScan
