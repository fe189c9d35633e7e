"""The engine for work that outgrows one process: every step's query runs verbatim on a Spark session."""

from rayetl.engines.spark.engine import Sessions, SparkEngine

__all__ = ["Sessions", "SparkEngine"]
