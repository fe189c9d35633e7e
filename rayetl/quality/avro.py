"""Avro schemas as contracts: Spark types, nullability, and what the types alone cannot say.

Avro types become Spark types as Spark's Avro data source maps them ("Supported types for Avro -> Spark
SQL conversion", Spark 3.5); logical types as in the Avro specification 1.11.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rayetl.errors import Problem, SqlError
from rayetl.quality.avro_reader import AvroReader
from rayetl.quality.canonical import fingerprint
from rayetl.quality.shapes import Promise, schema_of
from rayetl.records import dataclass
from rayetl.sql import types as t


@dataclass(frozen=True, slots=True)
class Contract:
    """A record schema. `fingerprint` is the SHA-256 of its parsing canonical form, as hex."""

    name: str
    fields: tuple[Promise, ...]
    fingerprint: str

    @property
    def schema(self) -> t.Schema:
        """The promised columns with Spark's types."""
        return schema_of(self.fields)

    @classmethod
    def load(cls, schema: str | Mapping[str, Any]) -> Contract:
        """The contract of an `.avsc` file or of a schema that is a mapping already.

        Raises `SqlError` with every fault. Problems of a mapping have the path that leads into it below
        `schema`; those of a file say the place in their message.
        """
        document = _read(schema) if isinstance(schema, str) else schema
        reader = AvroReader()
        shape = reader.shape(document, ())
        if not reader.faults and not isinstance(shape.type, t.StructType):
            reader.fault((), f"the contract is of type {shape.type}; it must be a record with fields")
        if reader.faults:
            file = schema if isinstance(schema, str) else None
            raise SqlError([_placed(fault, file) for fault in reader.faults])
        return cls(str(document["name"]), shape.fields, fingerprint(document))


def _placed(fault: Problem, file: str | None) -> Problem:
    """A fault inside a file is said in words: the config has no place for it."""
    if file is None:
        return fault.under(("schema",))
    inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault.path)
    place = f"{file}, at {inside.lstrip('.')}" if inside else file
    return replace(fault, path=("schema",), message=f"{place}: {fault.message}")


def _read(path: str) -> Any:
    hint = None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        message = f"the contract {path} cannot be read: {(error.strerror or 'no such file').lower()}"
        hint = f"looked at {Path(path).absolute()}"
    except UnicodeDecodeError:
        message = f"the contract {path} is not UTF-8 text"
    except json.JSONDecodeError as error:
        message = f"the contract {path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
    except RecursionError:
        message = f"the contract {path} is nested too deeply"
    except ValueError as error:
        message = f"the contract {path} cannot be read: {error}"
    raise SqlError([Problem("contract.unreadable", message, ("schema",), hint)])
