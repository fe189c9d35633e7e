"""Columns of text that bear an alias of the name that a contract promises."""

from __future__ import annotations

from dataclasses import replace

from rayetl.connectors.base import FilesScan, Source
from rayetl.contracts import ContractConfig
from rayetl.quality.contract import aliases_of
from rayetl.sql.types import Schema


def is_sparse(scan: object) -> bool:
    """Whether each record names its fields itself, so that one may bear another name than the next."""
    return isinstance(scan, FilesScan) and scan.format == "json"


def with_aliases(scan: FilesScan, source: Source, contract: ContractConfig) -> FilesScan:
    """The scan of text with the promised types under the aliases too; of records that name their fields, all
    aliases are asked for. A `schema` of the source's own stays as it is."""
    if scan.format not in ("csv", "json") or getattr(source, "schema_", None) is not None:
        return scan
    found = {
        alias.name.lower(): alias
        for name, alias in aliases_of(contract)
        if is_sparse(scan) or scan.schema.get(name) is None
    }
    typed = [
        replace(field, type=found[field.name.lower()].type) if field.name.lower() in found else field
        for field in scan.schema
    ]
    asked = [alias for alias in found.values() if is_sparse(scan) and scan.schema.get(alias.name) is None]
    return replace(scan, schema=Schema((*typed, *asked)))
