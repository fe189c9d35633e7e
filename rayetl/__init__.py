"""rayetl: a config-driven ETL engine that speaks Spark SQL on Polars and on Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayetl.errors import RayetlError
    from rayetl.observability.report import RunReport
    from rayetl.pipeline import Pipeline
    from rayetl.sql.query import query

__all__ = ["Pipeline", "RayetlError", "RunReport", "query"]

_LAZY = {
    "Pipeline": "rayetl.pipeline",
    "RayetlError": "rayetl.errors",
    "RunReport": "rayetl.observability.report",
    "query": "rayetl.sql.query",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for, so that `import rayetl` stays cheap."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
