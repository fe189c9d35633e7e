"""Logs, progress and the report of a run. Pure: no engine, no Ray."""
