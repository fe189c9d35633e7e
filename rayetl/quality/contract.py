"""A contract as a flagged query: columns found, named and cast as promised, and what no row may break."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import field

from sqlglot import exp

from rayetl import sql
from rayetl.contracts import ContractConfig, ExtraFields, OnMismatch
from rayetl.errors import Problem, SqlError
from rayetl.quality.avro import Contract
from rayetl.quality.base import Checked, OnFailure
from rayetl.quality.compile import Flags, quoted, text
from rayetl.quality.defaults import UUID, default_sql
from rayetl.quality.fitting import fitted
from rayetl.quality.shapes import Promise, Shape
from rayetl.records import dataclass
from rayetl.sql import types as t
from rayetl.stepping import StepContext


def promised_schema(config: ContractConfig) -> t.Schema:
    """The columns that a source under this contract is read with; all may be NULL until checked.

    Raises `SqlError` for a contract that cannot be read; its paths start at the contract's config.
    """
    contract = Contract.load(config.schema_)
    return t.Schema(tuple(t.Field(column.name, _open(column.type)) for column in contract.schema))


def aliases_of(config: ContractConfig) -> Iterator[tuple[str, t.Field]]:
    """The aliases that no promised column is called by, as columns, each behind the name that it stands for.

    Raises as `promised_schema`.
    """
    contract = Contract.load(config.schema_)
    for promise in contract.fields:
        for alias in _names(promise, contract.fields)[1:]:
            yield promise.name, t.Field(alias, _open(promise.shape.type))


def _names(promise: Promise, fields: Sequence[Promise]) -> tuple[str, ...]:
    """What a column may be called that keeps a promise, unless it is another's own name."""
    taken = {other.name.lower() for other in fields}
    return (promise.name, *(alias for alias in promise.aliases if alias.lower() not in taken))


def _open(kind: t.DataType) -> t.DataType:
    """The type with NULL allowed at every level: what was promised is checked, not believed."""
    if isinstance(kind, t.ArrayType):
        return t.ArrayType(_open(kind.element))
    if isinstance(kind, t.MapType):
        return t.MapType(kind.key, _open(kind.value))
    if isinstance(kind, t.StructType):
        return t.StructType(tuple(t.Field(each.name, _open(each.type)) for each in kind))
    return kind


def check_contract(config: ContractConfig, context: StepContext, *, sparse: bool = False) -> Checked:
    """The contract over the main input of `context`. In a `sparse` one a row may have its value in the column
    of any of the names that a field bears.

    Raises `SqlError` with all that no row could satisfy: missing columns, types that do not fit, extra
    columns where they are refused.
    """
    try:
        contract = Contract.load(config.schema_)
    except SqlError as error:
        raise SqlError([problem.under(context.path) for problem in error.problems]) from None
    return _Compiler(contract, config, context, sparse).checked()


@dataclass(slots=True)
class _Compiler:
    contract: Contract
    config: ContractConfig
    context: StepContext
    sparse: bool
    flags: Flags = field(default_factory=Flags)
    problems: list[Problem] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def checked(self) -> Checked:
        table = self.context.main
        assert table.schema is not None, "a contract is compiled when the columns of its input are known"
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
        found = self._find(promise, schema)
        name = quoted(promise.name)
        if found is None:
            return f"{self._absent(promise, schema)} AS {name}"
        given = self._given(promise, found, schema)
        value = self._filled(promise, given, self._cast(promise, found, given))
        self._guard(promise, given, value)
        return f"{value} AS {name}"

    def _find(self, promise: Promise, schema: t.Schema) -> t.Field | None:
        """The column of that name or, unless another field is called so, of one of its aliases."""
        names = _names(promise, self.contract.fields)
        return next((found for name in names if (found := schema.get(name)) is not None), None)

    def _given(self, promise: Promise, found: t.Field, schema: t.Schema) -> str:
        """The value that is there: of the column that was found or, where rows are sparse, of the first of
        its names that has one."""
        columns = [found]
        if self.sparse:
            others = map(schema.get, _names(promise, self.contract.fields))
            columns += [each for each in others if each not in (None, found) and each.type == found.type]
        names = [each.name for each in columns]
        self.used.update(names)
        return quoted(found.name) if len(names) == 1 else f"coalesce({', '.join(map(quoted, names))})"

    def _absent(self, promise: Promise, schema: t.Schema) -> str:
        if promise.has_default and promise.shape.value is not None and promise.default == {}:
            self._fault(
                f"the column {promise.name!r} is missing and its default, an empty map, cannot be filled in",
                "make it `null` in the contract, or add the column in a step",
            )
            return "NULL"
        if promise.has_default:
            return default_sql(promise.shape, promise.default)
        near = difflib.get_close_matches(promise.name, schema.names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"its columns are {', '.join(schema.names) or 'none'}"
        if promise.shape.nullable:
            hint += '; `"default": null` in the contract would make the column optional'
        self._fault(
            f"the contract promises the column {promise.name!r}, which {self.context.main.name!r} lacks", hint
        )
        return "NULL"

    def _cast(self, promise: Promise, found: t.Field, given: str) -> str:
        kind = promise.shape.type
        coerces = self.config.on_mismatch is OnMismatch.COERCE
        fit = fitted(given, found.type, kind, coerce=coerces)
        if fit is None:
            could = not coerces and fitted(given, found.type, kind, coerce=True) is not None
            hint = "set `on_mismatch: coerce`, or cast it" if could else "change the contract or the column"
            self._fault(f"the column {found.name!r} is {found.type}, the contract promises {kind}", hint)
            return given
        if fit.lost is not None:
            reason = f"{promise.name} of type {found.type} does not fit {kind}"
            self._flag(fit.lost, promise.name, "type", reason)
        return fit.value

    def _filled(self, promise: Promise, given: str, value: str) -> str:
        """Under `coerce` a NULL that is not allowed gives way to the default."""
        if not self._fills(promise):
            return value
        default = default_sql(promise.shape, promise.default)
        return f"CASE WHEN {given} IS NULL THEN {default} ELSE {value} END"

    def _fills(self, promise: Promise) -> bool:
        coerces = self.config.on_mismatch is OnMismatch.COERCE
        return coerces and promise.has_default and not promise.shape.nullable

    def _guard(self, promise: Promise, given: str, value: str) -> None:
        name, shape = promise.name, promise.shape
        if not shape.nullable and not self._fills(promise):
            self._flag(f"{given} IS NULL", name, "not_null", f"{name} is NULL")
        for path, kind, reason, fails in _violations(shape, value, name, 0):
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
                f"{self.context.main.name!r} has columns that the contract does not name: {', '.join(extra)}",
                "name them in the contract, or set `extra_fields` to `keep` or `drop`",
            )
        kept = extra if self.config.extra_fields is ExtraFields.KEEP else []
        return [quoted(name) for name in (*kept, *self.context.carry)]


Violation = tuple[str, str, str, str]
"""Path, kind, reason and failing condition, which is never NULL."""


def _violations(shape: Shape, value: str, path: str, depth: int) -> Iterator[Violation]:
    """Everything inside a value that the type alone does not say; whether it may be NULL is left out."""
    for kind, reason, fits in _bounds(shape, value, path):
        yield path, kind, reason, f"coalesce(NOT ({fits}), false)"
    for promise in shape.fields:
        inner, name = f"{value}.{quoted(promise.name)}", f"{path}.{promise.name}"
        for where, kind, reason, fails in _members(promise.shape, inner, name, depth):
            yield where, kind, reason, f"{value} IS NOT NULL AND {fails}"
    inside = shape.element or shape.value
    if inside is not None:
        items = value if shape.element else f"map_values({value})"
        member = f"x{depth}"
        for where, kind, reason, fails in _members(inside, member, f"{path}[]", depth + 1):
            yield where, kind, reason, f"coalesce(exists({items}, {member} -> {fails}), false)"


def _members(shape: Shape, value: str, path: str, depth: int) -> Iterator[Violation]:
    if not shape.nullable:
        yield path, "not_null", f"{path} is NULL", f"{value} IS NULL"
    yield from _violations(shape, value, path, depth)


def _bounds(shape: Shape, value: str, path: str) -> Iterator[tuple[str, str, str]]:
    if shape.symbols:
        symbols = ", ".join(text(symbol) for symbol in shape.symbols)
        reason = f"{path} is none of {_listed(shape.symbols)}"
        yield "enum", reason, f"{value} IN ({symbols})"
    if shape.size is not None:
        yield "fixed", f"{path} is not {shape.size} bytes long", f"octet_length({value}) = {shape.size}"
    if shape.uuid:
        yield "uuid", f"{path} is not a UUID", f"{value} RLIKE {text(UUID)}"


def _listed(symbols: tuple[str, ...]) -> str:
    shown = ", ".join(symbols[:8])
    return shown if len(symbols) <= 8 else f"{shown} and {len(symbols) - 8} more"
