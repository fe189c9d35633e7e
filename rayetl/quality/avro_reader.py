"""Reads the parts of an Avro schema into shapes; every fault is kept with its path, none is raised."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, TypeGuard

from rayetl.errors import ConfigPath, Problem
from rayetl.quality.defaults import default_sql
from rayetl.quality.shapes import Promise, Shape, schema_of
from rayetl.records import dataclass
from rayetl.sql import types as t

PRIMITIVES: dict[str, t.DataType] = {
    "boolean": t.BOOLEAN,
    "int": t.INT,
    "long": t.LONG,
    "float": t.FLOAT,
    "double": t.DOUBLE,
    "bytes": t.BINARY,
    "string": t.STRING,
    "null": t.NULL,
}
LOGICAL: dict[tuple[str, str], Shape] = {
    ("int", "date"): Shape(t.DATE),
    ("int", "time-millis"): Shape(t.INT),
    ("long", "time-micros"): Shape(t.LONG),
    ("long", "timestamp-millis"): Shape(t.TIMESTAMP, ticks=1_000),
    ("long", "timestamp-micros"): Shape(t.TIMESTAMP, ticks=1_000_000),
    ("long", "local-timestamp-millis"): Shape(t.TIMESTAMP_NTZ, ticks=1_000),
    ("long", "local-timestamp-micros"): Shape(t.TIMESTAMP_NTZ, ticks=1_000_000),
    ("string", "uuid"): Shape(t.STRING, uuid=True),
}
COMPLEX = ("record", "enum", "fixed", "array", "map")
WIDER = {frozenset(("int", "long")): t.LONG, frozenset(("float", "double")): t.DOUBLE}
MAX_DEPTH = 64

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NOTHING = Shape(t.NULL, nullable=True)


@dataclass(slots=True)
class AvroReader:
    """One reading of one schema. `named` holds the types that have a name, `None` while being read."""

    faults: list[Problem] = field(default_factory=list)
    named: dict[str, Shape | None] = field(default_factory=dict)
    depth: int = 0

    def fault(self, path: ConfigPath, message: str, hint: str | None = None) -> Shape:
        """Keep a fault and go on with a shape that holds nothing."""
        self.faults.append(Problem("contract.schema", message, path, hint))
        return _NOTHING

    def shape(self, node: Any, path: ConfigPath, space: str = "") -> Shape:
        """The shape of a type: a name, a union in a list, or a mapping with a `type`."""
        if self.depth >= MAX_DEPTH:
            return self.fault(path, f"the schema is nested more than {MAX_DEPTH} levels deep")
        self.depth += 1
        try:
            return self._shape(node, path, space)
        finally:
            self.depth -= 1

    def _shape(self, node: Any, path: ConfigPath, space: str) -> Shape:
        if isinstance(node, str):
            return self._by_name(node, path, space)
        if isinstance(node, (list, tuple)):
            return self._union(node, path, space)
        if not isinstance(node, Mapping):
            return self.fault(path, f"{_shown(node)} is not an Avro type", f"types: {', '.join(PRIMITIVES)}")
        if "type" not in node:
            return self.fault(path, "an Avro type needs a `type`", _near("type", node))
        kind = node["type"]
        if not isinstance(kind, str):
            return self.shape(kind, (*path, "type"), space)
        if kind in ("record", "enum", "fixed"):
            return self._named(node, kind, path, space)
        if kind == "array":
            inner = self._inner(node, "items", path, space)
            return Shape(t.ArrayType(inner.type, inner.nullable), element=inner)
        if kind == "map":
            inner = self._inner(node, "values", path, space)
            return Shape(t.MapType(t.STRING, inner.type, inner.nullable), value=inner)
        return self._logical(node, kind, path, space)

    def _inner(self, node: Mapping[str, Any], key: str, path: ConfigPath, space: str) -> Shape:
        if key not in node:
            return self.fault(path, f"a type {node['type']} needs its `{key}`", _near(key, node))
        return self.shape(node[key], (*path, key), space)

    def _by_name(self, name: str, path: ConfigPath, space: str) -> Shape:
        if name in PRIMITIVES:
            return Shape(PRIMITIVES[name], nullable=name == "null")
        full = _full(name, space)
        key = full if full in self.named else name
        if key in self.named:
            found = self.named[key]
            return found or self.fault(path, f"the type {name!r} contains itself, which no Spark type can")
        known = [*PRIMITIVES, *self.named]
        if name in COMPLEX:
            hint = f'write {{"type": "{name}", ...}} as the type'
            return self.fault(path, f"{name} is not a type by itself", hint)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"types: {', '.join(known)}"
        return self.fault(path, f"{name!r} is not a type of this schema", hint)

    def _logical(self, node: Mapping[str, Any], kind: str, path: ConfigPath, space: str) -> Shape:
        logical = node.get("logicalType")
        if logical == "decimal" and kind == "bytes":
            return self._decimal(node, path)
        found = LOGICAL.get((kind, logical)) if isinstance(logical, str) else None
        return found or self._by_name(kind, path, space)

    def _decimal(self, node: Mapping[str, Any], path: ConfigPath) -> Shape:
        precision, scale = node.get("precision"), node.get("scale", 0)
        if not _whole(precision) or not _whole(scale) or not 0 <= scale <= precision <= 38 or precision < 1:
            hint = "`precision` is 1 to 38 digits, `scale` 0 to `precision` of them after the point"
            return self.fault(
                path, f"there is no decimal({_shown(precision)}, {_shown(scale)}) in Spark", hint
            )
        return Shape(t.DecimalType(precision, scale))

    def _named(self, node: Mapping[str, Any], kind: str, path: ConfigPath, space: str) -> Shape:
        name = node.get("name")
        if not isinstance(name, str) or not all(_NAME.fullmatch(part) for part in name.split(".")):
            article = "an" if kind == "enum" else "a"
            return self.fault(path, f"{article} {kind} needs a `name` of letters, digits and `_`")
        given = node.get("namespace")
        space = name.rpartition(".")[0] or (given if isinstance(given, str) else space)
        full = _full(name, space)
        if full in self.named:
            return self.fault(path, f"the name {full!r} is given to two types")
        self.named[full] = None
        read = {"record": self._record, "enum": self._enum, "fixed": self._fixed}[kind]
        self.named[full] = shape = read(node, path, space)
        return shape

    def _record(self, node: Mapping[str, Any], path: ConfigPath, space: str) -> Shape:
        fields = node.get("fields")
        if not isinstance(fields, (list, tuple)) or not fields:
            return self.fault(path, "a record needs a list of `fields`", _near("fields", node))
        found = tuple(self._field(each, (*path, "fields", i), space) for i, each in enumerate(fields))
        names = [each.name.lower() for each in found]
        for index, name in enumerate(names):
            if name and name in names[:index]:
                message = f"the field {found[index].name!r} is there twice (Spark ignores letter case)"
                self.fault((*path, "fields", index, "name"), message)
        self._check_aliases(found, path)
        return Shape(schema_of(found), fields=found)

    def _check_aliases(self, fields: Sequence[Promise], path: ConfigPath) -> None:
        owners: dict[str, str] = {}
        for index, promise in enumerate(fields):
            for alias in promise.aliases:
                owner = owners.setdefault(alias.lower(), promise.name)
                if owner != promise.name:
                    message = f"{alias!r} is an alias of {owner!r} already; a column stands for one field"
                    self.fault((*path, "fields", index, "aliases"), message)

    def _field(self, node: Any, path: ConfigPath, space: str) -> Promise:
        name = node.get("name") if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping) or not isinstance(name, str) or not name or "type" not in node:
            self.fault(path, "a field needs a `name` and a `type`")
            return Promise("", _NOTHING)
        if name.lower().startswith("_rayetl_"):
            self.fault((*path, "name"), f"{name!r}: names that start with `_rayetl_` are kept for rayetl")
        before = len(self.faults)
        shape = self.shape(node["type"], (*path, "type"), space)
        aliases = node.get("aliases", ())
        if not isinstance(aliases, (list, tuple)) or not all(isinstance(each, str) for each in aliases):
            self.fault((*path, "aliases"), "`aliases` is a list of names")
            aliases = ()
        promise = Promise(name, shape, tuple(aliases), "default" in node, node.get("default"))
        if promise.has_default and len(self.faults) == before:
            self._check_default(promise, (*path, "default"))
        return promise

    def _check_default(self, promise: Promise, path: ConfigPath) -> None:
        try:
            default_sql(promise.shape, promise.default)
        except ValueError as error:
            self.fault(path, f"the default of {promise.name!r} {error}")

    def _enum(self, node: Mapping[str, Any], path: ConfigPath, _space: str) -> Shape:
        symbols = node.get("symbols")
        if not isinstance(symbols, (list, tuple)) or not symbols:
            return self.fault(path, "an enum needs a list of `symbols`", _near("symbols", node))
        if not all(isinstance(symbol, str) for symbol in symbols) or len(set(symbols)) < len(symbols):
            return self.fault((*path, "symbols"), "the symbols of an enum are different texts")
        return Shape(t.STRING, symbols=tuple(symbols))

    def _fixed(self, node: Mapping[str, Any], path: ConfigPath, _space: str) -> Shape:
        size, logical = node.get("size"), node.get("logicalType")
        if not _whole(size) or size < 1:
            return self.fault(path, "a fixed needs a `size` in bytes", _near("size", node))
        if logical == "duration":
            return self.fault(path, "the logical type duration has no Spark type", "use a long or a string")
        if logical != "decimal":
            return Shape(t.BINARY, size=size)
        shape = self._decimal(node, path)
        if isinstance(shape.type, t.DecimalType) and 10**shape.type.precision > 2 ** (8 * size - 1):
            message = f"{size} bytes cannot hold the {shape.type.precision} digits of the decimal"
            return self.fault(path, message, "raise `size` or lower `precision`")
        return shape

    def _union(self, branches: Sequence[Any], path: ConfigPath, space: str) -> Shape:
        kinds = [(i, branch) for i, branch in enumerate(branches) if not _is_null(branch)]
        nullable = len(kinds) < len(branches)
        if not kinds:
            return Shape(t.NULL, nullable=True) if nullable else self.fault(path, "a union of nothing")
        if len(kinds) == 1:
            index, branch = kinds[0]
            if isinstance(branch, (list, tuple)):
                return self.fault((*path, index), "a union cannot stand directly in a union")
            found = self.shape(branch, (*path, index), space)
        else:
            names = [branch if isinstance(branch, str) else _kind(branch) for _, branch in kinds]
            plain = frozenset(branch for _, branch in kinds if isinstance(branch, str))
            if len(kinds) != 2 or plain not in WIDER:
                hint = "a union may be null and one other type, int and long, or float and double"
                return self.fault(path, f"the union of {', '.join(names)} has no single Spark type", hint)
            found = Shape(WIDER[plain])
        return replace(found, nullable=True) if nullable else found


def _is_null(branch: Any) -> bool:
    return branch == "null" or (isinstance(branch, Mapping) and branch.get("type") == "null")


def _kind(branch: Any) -> str:
    kind = branch.get("type") if isinstance(branch, Mapping) else None
    return kind if isinstance(kind, str) else _shown(branch)


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _full(name: str, space: str) -> str:
    return name if "." in name or not space else f"{space}.{name}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _near(wanted: str, node: Mapping[str, Any]) -> str | None:
    near = difflib.get_close_matches(wanted, [str(key) for key in node], n=1)
    return f"did you mean `{wanted}` where it says `{near[0]}`?" if near and near[0] != wanted else None
