"""Contracts and rules, as Spark SQL that flags the rows which break them."""

from rayetl.quality.validate import ValidateStep

__all__ = ["ValidateStep"]
