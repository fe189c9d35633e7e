"""A contract as a flagged query: columns found, named and cast as promised, and what no row may break."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from rayetl import sql
from rayetl.contracts import ContractConfig, ExtraFields, OnMismatch
from rayetl.errors import Problem, SqlError
from rayetl.quality.avro import Contract, Promise, Shape
from rayetl.quality.base import Checked, OnFailure
from rayetl.quality.compile import Flags, quoted, text
from rayetl.sql import types as t
from rayetl.stepping import StepContext

UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"

LOSSLESS = {
    (t.BYTE, t.SHORT), (t.BYTE, t.INT), (t.BYTE, t.LONG), (t.SHORT, t.INT), (t.SHORT, t.LONG),
    (t.INT, t.LONG), (t.BYTE, t.FLOAT), (t.SHORT, t.FLOAT), (t.BYTE, t.DOUBLE), (t.SHORT, t.DOUBLE),
    (t.INT, t.DOUBLE), (t.FLOAT, t.DOUBLE), (t.DATE, t.TIMESTAMP_NTZ), (t.NULL, t.STRING),
}  # fmt: skip


def promised_schema(config: ContractConfig) -> t.Schema:
    """The columns that a source under this contract is read with; all may be NULL until checked.

    Raises `SqlError` for a contract that cannot be read.
    """
    contract = Contract.load(config.schema_)
    return t.Schema(tuple(t.Field(column.name, column.type) for column in contract.schema))


def check_contract(config: ContractConfig, context: StepContext) -> Checked:
    """The contract over the main input of `context`.

    Raises `SqlError` with all that no row could satisfy: missing columns, types that do not fit, extra
    columns where they are refused.
    """
    contract = Contract.load(config.schema_)
    return _Compiler(contract, config, context).checked()


@dataclass(slots=True)
class _Compiler:
    contract: Contract
    config: ContractConfig
    context: StepContext
    flags: Flags = field(default_factory=Flags)
    problems: list[Problem] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def checked(self) -> Checked:
        table = self.context.main
        assert table.schema is not None
        columns = [self._column(promise, table.schema) for promise in self.contract.fields]
        columns += self._rest(table.schema)
        if self.problems:
            raise SqlError(self.problems)
        query = sql.parse_query(f"SELECT {', '.join(columns)} FROM {quoted(table.name)}")
        assert isinstance(query, exp.Select)
        return self.flags.checked(query)

    def _fault(self, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem("contract.mismatch", message, (*self.context.path, "schema"), hint))

    def _column(self, promise: Promise, schema: t.Schema) -> str:
        """The projection that gives the promised column."""
        found = next((c for n in (promise.name, *promise.aliases) if (c := schema.get(n)) is not None), None)
        if found is None:
            return self._absent(promise, schema)
        self.used.add(found.name)
        given = quoted(found.name)
        value = self._cast(promise, found, given)
        self._guard(promise, value)
        return f"{value} AS {quoted(promise.name)}"

    def _absent(self, promise: Promise, schema: t.Schema) -> str:
        kind, name = promise.shape.type, quoted(promise.name)
        if promise.has_default and not isinstance(promise.default, (dict, list)):
            return f"CAST({_literal(promise.default)} AS {kind}) AS {name}"
        if promise.has_default or promise.shape.nullable:
            return f"CAST(NULL AS {kind}) AS {name}"
        near = difflib.get_close_matches(promise.name, schema.names, n=1)
        self._fault(
            f"the contract promises the column {promise.name!r}, which the input does not have",
            f"did you mean {near[0]}?" if near else f"columns: {', '.join(schema.names)}",
        )
        return f"CAST(NULL AS {kind}) AS {name}"

    def _cast(self, promise: Promise, found: t.Field, given: str) -> str:
        kind = promise.shape.type
        if _same(found.type, kind):
            return given
        cast = f"CAST({given} AS {kind})"
        if (found.type, kind) in LOSSLESS or _wider_decimal(found.type, kind):
            return cast
        if self.config.on_mismatch is not OnMismatch.COERCE or not _castable(found.type, kind):
            self._fault(
                f"the column {found.name!r} is {found.type}, the contract promises {kind}",
                "cast it before, or set on_mismatch: coerce"
                if _castable(found.type, kind)
                else "change the contract or the column",
            )
            return cast
        lost = f"{given} IS NOT NULL AND {cast} IS NULL"
        if isinstance(found.type, t.AtomicType | t.DecimalType) and found.type not in (t.STRING, t.BOOLEAN):
            lost += f" OR coalesce(CAST({cast} AS {found.type}) <> {given}, false)"
        self._flag(lost, promise.name, "type", f"{promise.name} is not a {kind}")
        return cast

    def _guard(self, promise: Promise, value: str) -> None:
        for path, kind, reason, fails in _violations(promise.shape, value, promise.name, 0):
            self._flag(fails, path, kind, reason)

    def _flag(self, fails: str, column: str, kind: str, reason: str) -> None:
        aborts = self.config.on_mismatch is OnMismatch.ABORT
        self.flags.add(
            fails,
            rule=self.contract.name,
            kind=kind,
            column=column,
            reason=reason,
            on_failure=OnFailure.ABORT if aborts else OnFailure.QUARANTINE,
            max_share=self.config.max_share,
        )

    def _rest(self, schema: t.Schema) -> list[str]:
        """Columns that the contract does not name, and the hidden ones."""
        hidden = set(self.context.carry)
        extra = [name for name in schema.names if name not in self.used and name not in hidden]
        if extra and self.config.extra_fields is ExtraFields.REJECT:
            self._fault(
                f"the input has columns that the contract does not name: {', '.join(extra)}",
                "name them in the contract, or set extra_fields to keep or drop",
            )
        kept = extra if self.config.extra_fields is ExtraFields.KEEP else []
        return [quoted(name) for name in (*kept, *self.context.carry)]


def _violations(shape: Shape, value: str, path: str, depth: int) -> Iterator[tuple[str, str, str, str]]:
    """Path, kind, reason and failing condition of everything the type alone does not say."""
    if not shape.nullable and shape.type != t.NULL:
        yield path, "not_null", f"{path} is NULL", f"{value} IS NULL"
    for kind, reason, fits in _bounds(shape, value, path):
        yield path, kind, reason, f"coalesce(NOT ({fits}), false)"
    for promise in shape.fields:
        inner = f"{value}.{quoted(promise.name)}"
        for name, kind, reason, fails in _violations(promise.shape, inner, f"{path}.{promise.name}", depth):
            yield name, kind, reason, f"{value} IS NOT NULL AND {fails}"
    inside = shape.element or shape.value
    if inside is not None:
        items = value if shape.element else f"map_values({value})"
        member = f"x{depth}"
        for name, kind, reason, fails in _violations(inside, member, f"{path}[]", depth + 1):
            yield name, kind, reason, f"coalesce(exists({items}, {member} -> {fails}), false)"


def _bounds(shape: Shape, value: str, path: str) -> Iterator[tuple[str, str, str]]:
    if shape.symbols:
        symbols = ", ".join(text(symbol) for symbol in shape.symbols)
        yield "enum", f"{path} is none of the enum's symbols", f"{value} IN ({symbols})"
    if shape.size is not None:
        yield "fixed", f"{path} is not {shape.size} bytes long", f"length({value}) = {shape.size}"
    if shape.uuid:
        yield "uuid", f"{path} is not a UUID", f"{value} RLIKE {text(UUID)}"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return text(value) if isinstance(value, str) else json.dumps(value)


def _same(left: t.DataType, right: t.DataType) -> bool:
    """Whether two types differ at most in what may be NULL inside."""
    return str(left).lower() == str(right).lower()


def _wider_decimal(given: t.DataType, wanted: t.DataType) -> bool:
    if not isinstance(given, t.DecimalType) or not isinstance(wanted, t.DecimalType):
        return False
    more = wanted.scale >= given.scale
    return more and wanted.precision - wanted.scale >= given.precision - given.scale


def _castable(given: t.DataType, wanted: t.DataType) -> bool:
    nested = (t.ArrayType, t.MapType, t.StructType)
    return not isinstance(given, nested) and not isinstance(wanted, nested)
