"""Spark SQL: parse, types, function table, lowering to Polars."""
