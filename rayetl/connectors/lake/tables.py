"""The tables of lakes that a config is about."""

from __future__ import annotations

from collections.abc import Mapping

from rayetl.connectors.base import Load, Source
from rayetl.connectors.lake.load import LakeLoad
from rayetl.connectors.lake.source import LakeSource
from rayetl.connectors.lake.upkeep import Upkeep
from rayetl.errors import RayetlError


def upkeep_of(pipeline: str, nodes: Mapping[str, Source | Load], name: str | None) -> Upkeep:
    """The table that the source or load `name` is about; without a name the only one there is.

    Raises `RayetlError` where there is no such table, or more than one to choose from.
    """
    tables = {key: node for key, node in nodes.items() if isinstance(node, LakeSource | LakeLoad)}
    wanted = next(iter(tables), None) if name is None and len(tables) == 1 else name
    if wanted in tables:
        return tables[wanted].upkeep()
    if not tables:
        raise RayetlError(
            f"{pipeline} has no table of a lake",
            hint="sources and loads of the types `delta` and `iceberg` have one",
        )
    raise RayetlError(
        f"{name!r} is no table of a lake" if name is not None else "say which table is meant",
        hint=f"tables of {pipeline}: {', '.join(tables)}",
    )
