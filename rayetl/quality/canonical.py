"""The Parsing Canonical Form of an Avro schema (specification 1.11): two schemas that read the same data
the same way have the same form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

PRIMITIVES = frozenset(["boolean", "int", "long", "float", "double", "bytes", "string", "null"])


def fingerprint(schema: Mapping[str, Any]) -> str:
    """The SHA-256 of the canonical form, as hex. The schema must have been read without a fault."""
    return hashlib.sha256(canonical_form(schema, "").encode()).hexdigest()


def canonical_form(node: Any, space: str) -> str:
    """The form of one type inside the namespace `space`."""
    if isinstance(node, str):
        return json.dumps(node if node in PRIMITIVES else _full(node, space), ensure_ascii=False)
    if isinstance(node, (list, tuple)):
        return f"[{','.join(canonical_form(branch, space) for branch in node)}]"
    kind = node["type"]
    if not isinstance(kind, str):
        return canonical_form(kind, space)
    if kind == "array":
        return f'{{"type":"array","items":{canonical_form(node["items"], space)}}}'
    if kind == "map":
        return f'{{"type":"map","values":{canonical_form(node["values"], space)}}}'
    if kind in ("record", "enum", "fixed"):
        return _named(node, kind, space)
    return canonical_form(kind, space)


def _named(node: Mapping[str, Any], kind: str, space: str) -> str:
    name, given = node["name"], node.get("namespace")
    space = name.rpartition(".")[0] or (given if isinstance(given, str) else space)
    head = f'{{"name":{json.dumps(_full(name, space), ensure_ascii=False)},"type":"{kind}"'
    if kind == "fixed":
        return f'{head},"size":{node["size"]}}}'
    if kind == "enum":
        symbols = ",".join(json.dumps(symbol, ensure_ascii=False) for symbol in node["symbols"])
        return f'{head},"symbols":[{symbols}]}}'
    fields = ",".join(_field(each, space) for each in node["fields"])
    return f'{head},"fields":[{fields}]}}'


def _field(node: Mapping[str, Any], space: str) -> str:
    name = json.dumps(node["name"], ensure_ascii=False)
    return f'{{"name":{name},"type":{canonical_form(node["type"], space)}}}'


def _full(name: str, space: str) -> str:
    return name if "." in name or not space else f"{space}.{name}"
