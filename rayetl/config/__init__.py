"""The config room of rayetl: reading, checking and describing configs; see the map in README.md."""

from __future__ import annotations

from typing import Any


def json_schema() -> dict[str, Any]:
    """JSON Schema (Draft 2020-12) of a config."""
    from rayetl.config.schema import json_schema as generate

    return generate()
