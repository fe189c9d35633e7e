"""Iceberg: a source that reads one snapshot of a table, and a load that commits exactly once."""
