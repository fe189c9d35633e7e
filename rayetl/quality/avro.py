"""Avro schemas as contracts: Spark types, nullability, and what the types alone cannot say.

Avro types become Spark types as Spark's Avro data source maps them ("Supported types for Avro -> Spark
SQL conversion", Spark 3.5); logical types as in the Avro specification 1.11.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rayetl.errors import ConfigPath, Problem, SqlError
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

LOGICAL: dict[tuple[str, str], t.DataType] = {
    ("int", "date"): t.DATE,
    ("int", "time-millis"): t.INT,
    ("long", "time-micros"): t.LONG,
    ("long", "timestamp-millis"): t.TIMESTAMP,
    ("long", "timestamp-micros"): t.TIMESTAMP,
    ("long", "local-timestamp-millis"): t.TIMESTAMP_NTZ,
    ("long", "local-timestamp-micros"): t.TIMESTAMP_NTZ,
    ("string", "uuid"): t.STRING,
}

WIDER = (("int", "long", t.LONG), ("float", "double", t.DOUBLE))


@dataclass(frozen=True, slots=True)
class Shape:
    """The type of a value and its bounds. `symbols` of an enum, `size` in bytes of a fixed, `uuid` for
    text in that form; `element` of an array, `value` of a map, `fields` of a record."""

    type: t.DataType
    nullable: bool = False
    symbols: tuple[str, ...] = ()
    size: int | None = None
    uuid: bool = False
    element: Shape | None = None
    value: Shape | None = None
    fields: tuple[Promise, ...] = ()


@dataclass(frozen=True, slots=True)
class Promise:
    """One field of a record: its name, the names it may also bear, its default if it has one."""

    name: str
    shape: Shape
    aliases: tuple[str, ...] = ()
    has_default: bool = False
    default: Any = None


@dataclass(frozen=True, slots=True)
class Contract:
    """A record schema. `fingerprint` is the SHA-256 of its parsing canonical form, as hex."""

    name: str
    fields: tuple[Promise, ...]
    fingerprint: str

    @property
    def schema(self) -> t.Schema:
        """The promised columns with Spark's types."""
        return _struct(self.fields)

    @classmethod
    def load(cls, schema: str | Mapping[str, Any]) -> Contract:
        """The contract of an `.avsc` file or of a schema that is a mapping already.

        Raises `SqlError` with every fault; the paths of its problems lead into the schema.
        """
        document = _read(schema) if isinstance(schema, str) else schema
        reader = _Reader()
        shape = reader.shape(document, (), None)
        if not reader.problems and not isinstance(shape.type, t.StructType):
            reader.fault((), f"the contract's schema is of type {shape.type}; it must be a record")
        if reader.problems:
            raise SqlError(reader.problems)
        return cls(str(document["name"]), shape.fields, _fingerprint(document))


def _read(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        message = f"the contract {Path(path).absolute()} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        message = f"the contract {path} is not UTF-8 text"
    except json.JSONDecodeError as error:
        message = f"the contract {path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
    raise SqlError([Problem("contract.unreadable", message, ("schema",))])


def _fingerprint(document: Mapping[str, Any]) -> str:
    from fastavro.schema import to_parsing_canonical_form

    return hashlib.sha256(to_parsing_canonical_form(dict(document)).encode()).hexdigest()


def _struct(fields: Sequence[Promise]) -> t.Schema:
    return t.Schema(tuple(t.Field(each.name, each.shape.type, each.shape.nullable) for each in fields))


@dataclass(slots=True)
class _Reader:
    problems: list[Problem] = field(default_factory=list)
    named: dict[str, Shape | None] = field(default_factory=dict)

    def fault(self, path: ConfigPath, message: str, hint: str | None = None) -> Shape:
        self.problems.append(Problem("contract.schema", message, ("schema", *path), hint))
        return Shape(t.NULL)

    def shape(self, node: Any, path: ConfigPath, space: str | None) -> Shape:
        if isinstance(node, str):
            return self._by_name(node, path, space)
        if isinstance(node, Sequence):
            return self._union(node, path, space)
        if not isinstance(node, Mapping) or "type" not in node:
            return self.fault(path, f"{node!r} is not an Avro type")
        kind = node["type"]
        if not isinstance(kind, str):
            return self.shape(kind, (*path, "type"), space)
        if kind in ("record", "enum", "fixed"):
            return self._named(node, kind, path, space)
        if kind == "array":
            inner = self.shape(node.get("items"), (*path, "items"), space)
            return Shape(t.ArrayType(inner.type, inner.nullable), element=inner)
        if kind == "map":
            inner = self.shape(node.get("values"), (*path, "values"), space)
            return Shape(t.MapType(t.STRING, inner.type, inner.nullable), value=inner)
        return self._logical(node, kind, path, space)

    def _by_name(self, name: str, path: ConfigPath, space: str | None) -> Shape:
        if name in PRIMITIVES:
            return Shape(PRIMITIVES[name], nullable=name == "null")
        full = name if "." in name or not space else f"{space}.{name}"
        found = self.named.get(full) or self.named.get(name)
        if found is None and (full in self.named or name in self.named):
            return self.fault(path, f"{name!r} contains itself, which no Spark type can")
        if found is None:
            known = ", ".join([*PRIMITIVES, *self.named])
            return self.fault(path, f"{name!r} is not a type of this schema", f"types: {known}")
        return found

    def _logical(self, node: Mapping[str, Any], kind: str, path: ConfigPath, space: str | None) -> Shape:
        logical = node.get("logicalType")
        if logical == "decimal" and kind == "bytes":
            return self._decimal(node, path)
        found = LOGICAL.get((kind, logical)) if isinstance(logical, str) else None
        if found is not None:
            return Shape(found, uuid=logical == "uuid")
        return self._by_name(kind, path, space)

    def _decimal(self, node: Mapping[str, Any], path: ConfigPath) -> Shape:
        precision, scale = node.get("precision"), node.get("scale", 0)
        if not isinstance(precision, int) or not isinstance(scale, int) or not 0 <= scale <= precision <= 38:
            return self.fault(
                path,
                f"decimal({precision}, {scale}) is not possible",
                "precision is 1 to 38, scale 0 to precision",
            )
        return Shape(t.DecimalType(precision, scale))

    def _named(self, node: Mapping[str, Any], kind: str, path: ConfigPath, space: str | None) -> Shape:
        name = node.get("name")
        if not isinstance(name, str) or not name:
            return self.fault(path, f"a {kind} has no name")
        space = name.rpartition(".")[0] or node.get("namespace") or space
        full = name if "." in name or not space else f"{space}.{name}"
        if kind == "record":
            self.named[full] = None
            shape = self._record(node, path, space)
        elif kind == "enum":
            shape = self._enum(node, path)
        else:
            shape = self._fixed(node, path)
        self.named[full] = shape
        return shape

    def _record(self, node: Mapping[str, Any], path: ConfigPath, space: str | None) -> Shape:
        fields = node.get("fields")
        if not isinstance(fields, Sequence) or isinstance(fields, str) or not fields:
            return self.fault(path, "a record needs a list of `fields`")
        found = tuple(self._field(each, (*path, "fields", i), space) for i, each in enumerate(fields))
        names = [each.name.lower() for each in found]
        for index, name in enumerate(names):
            if name in names[:index]:
                self.fault((*path, "fields", index), f"the field {found[index].name!r} is there twice")
        return Shape(_struct(found), fields=found)

    def _field(self, node: Any, path: ConfigPath, space: str | None) -> Promise:
        if not isinstance(node, Mapping) or not isinstance(node.get("name"), str) or "type" not in node:
            self.fault(path, "a field needs a `name` and a `type`")
            return Promise("?", Shape(t.NULL))
        shape = self.shape(node["type"], (*path, "type"), space)
        aliases = tuple(str(alias) for alias in node.get("aliases", ()))
        return Promise(node["name"], shape, aliases, "default" in node, node.get("default"))

    def _enum(self, node: Mapping[str, Any], path: ConfigPath) -> Shape:
        symbols = node.get("symbols")
        if not isinstance(symbols, Sequence) or isinstance(symbols, str) or not symbols:
            return self.fault(path, "an enum needs a list of `symbols`")
        return Shape(t.STRING, symbols=tuple(str(symbol) for symbol in symbols))

    def _fixed(self, node: Mapping[str, Any], path: ConfigPath) -> Shape:
        if node.get("logicalType") == "decimal":
            return self._decimal(node, path)
        if node.get("logicalType") == "duration":
            return self.fault(path, "the logical type duration has no Spark type", "use long or string")
        size = node.get("size")
        if not isinstance(size, int) or size < 0:
            return self.fault(path, "a fixed needs a `size` in bytes")
        return Shape(t.BINARY, size=size)

    def _union(self, branches: Sequence[Any], path: ConfigPath, space: str | None) -> Shape:
        kinds = [branch for branch in branches if branch != "null"]
        nullable = len(kinds) < len(branches)
        if len(kinds) == 1:
            found = self.shape(kinds[0], (*path, list(branches).index(kinds[0])), space)
        else:
            wider = next((kind for a, b, kind in WIDER if sorted(map(str, kinds)) == sorted((a, b))), None)
            if wider is None:
                return self.fault(
                    path,
                    f"the union of {', '.join(map(str, kinds)) or 'nothing'} has no single Spark type",
                    "a union may be null and one other type, int and long, or float and double",
                )
            found = Shape(wider)
        return _made_nullable(found) if nullable else found


def _made_nullable(shape: Shape) -> Shape:
    return replace(shape, nullable=True)
