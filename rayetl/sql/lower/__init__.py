"""Typed plans to Polars."""
