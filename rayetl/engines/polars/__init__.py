"""The embedded engine: a whole plan as one lazy Polars query in this process."""

from rayetl.engines.polars.engine import PolarsEngine

__all__ = ["PolarsEngine"]
