"""Which names a place in a query can see, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import field, replace
from itertools import count

from sqlglot import exp

from rayetl.errors import SqlError
from rayetl.records import dataclass
from rayetl.sql.expr import Column, Expr, Subquery
from rayetl.sql.faults import did_you_mean, fault, unsupported
from rayetl.sql.types import Schema

_LISTED = 12
_SUGGESTED = 20
"""Unknown names that a near one is looked for. Each is compared with every column: thousands took minutes."""

OnSubquery = Callable[[exp.Expression, str, tuple[Expr, ...], "Scope"], Subquery]


MOST_READINGS = 10_000
"""Places of a written out query that read a table. Engines write out what is named several times: with CTEs
or steps that each read the one before twice the query doubles each time, and planning it would not end."""

READ_ONCE = "load an early one of them into files, and read those in a second pipeline"
"""What to do then."""


class Names:
    """Hands out column ids, each once in a query: the wanted name when it is free, else a numbered one."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._readings = 0

    def fresh(self, wanted: str) -> str:
        name, number = wanted, self._numbers.get(wanted, 1)
        while name in self._used:
            number += 1
            name = f"{wanted}__{number}"
        self._numbers[wanted] = number
        self._used.add(name)
        return name

    def note_reading(self, node: exp.Expression) -> None:
        """Count one more place that reads a table. Raises `SqlError` where it is one too many."""
        self._readings += 1
        if self._readings > MOST_READINGS:
            message = (
                f"the query reads tables in more than {MOST_READINGS:,} places: all that a CTE reads counts "
                "again wherever it is named"
            )
            raise fault(node, message, hint=READ_ONCE)


@dataclass(frozen=True)
class Context:
    """What a whole query can refer to: tables by lower-cased name, and the CTEs around the present part."""

    tables: Mapping[str, tuple[str, Schema]]
    names: Names
    time_zone: str = "UTC"
    ctes: Mapping[str, tuple[exp.CTE, Context]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A column that can be named here, with or without its qualifier; `shown` in `*` or not."""

    column: Column
    qualifier: str | None = None
    shown: bool = True


class Scope:
    """The columns in reach, then those of the query around it. Implements the resolver's protocol."""

    def __init__(
        self,
        context: Context,
        entries: Iterable[Entry] = (),
        outer: Scope | None = None,
        fallback: Mapping[str, Expr] | None = None,
        first: Mapping[str, Expr] | None = None,
    ) -> None:
        self.context = context
        self.entries = tuple(entries)
        self.outer = outer
        self.fallback = {} if fallback is None else fallback
        self.first = {} if first is None else first
        self.on_subquery: OnSubquery | None = None
        self.windows: dict[str, exp.Expression] = {}
        self._unknowns = count()
        self._by_name: dict[str, list[Entry]] = {}
        self._qualifiers: set[str] = set()
        for entry in self.entries:
            self._by_name.setdefault(entry.column.name.lower(), []).append(entry)
            self._qualifiers.add((entry.qualifier or "").lower())

    def with_names(
        self, *, fallback: Mapping[str, Expr] | None = None, first: Mapping[str, Expr] | None = None
    ) -> Scope:
        """The same scope with further single names: `fallback` behind, `first` before its columns. Names that
        are added to either later on are seen too."""
        scope = copy(self)
        scope.fallback = {} if fallback is None else fallback
        scope.first = {} if first is None else first
        return scope

    @property
    def time_zone(self) -> str:
        return self.context.time_zone

    def column(self, parts: Sequence[str], node: exp.Expression) -> tuple[Expr, int]:
        """The column of a dotted name and how many parts it took. Raises `SqlError` for none or several."""
        scope: Scope | None = self
        while scope is not None:
            found = scope.find(node, parts)
            if found is not None:
                return found
            scope = scope.outer
        raise self._unknown(node, parts)

    def find(self, node: exp.Expression, parts: Sequence[str]) -> tuple[Expr, int] | None:
        """As `column`, but None for an unknown name, and without looking further out."""
        lowered = parts[0].lower()
        if len(parts) > 1 and lowered in self._qualifiers:
            named = [
                e for e in self._by_name.get(parts[1].lower(), ()) if (e.qualifier or "").lower() == lowered
            ]
            if named:
                return self._single(node, named, parts[1]), 2
        if lowered in self.first:
            return self.first[lowered], 1
        named = self._by_name.get(lowered, [])
        visible = [e for e in named if e.shown] or named
        if visible:
            return self._single(node, visible, parts[0]), 1
        if lowered in self.fallback:
            return self.fallback[lowered], 1
        return None

    def window(self, name: str, node: exp.Expression) -> exp.Expression:
        """The definition of a named window."""
        found = self.windows.get(name.lower())
        if found is None:
            hint = did_you_mean(name, self.windows) or "define it with WINDOW name AS (...)"
            raise fault(node, f"there is no window {name}", hint=hint)
        return found

    def _single(self, node: exp.Expression, entries: list[Entry], written: str) -> Expr:
        if len({entry.column.id for entry in entries}) > 1:
            choices = [f"{e.qualifier}.{e.column.name}" if e.qualifier else e.column.name for e in entries]
            raise fault(
                node, f"{written} is ambiguous: it could be {' or '.join(choices)}", code="sql.ambiguous"
            )
        return replace(entries[0].column, name=written)

    def _unknown(self, node: exp.Expression, parts: Sequence[str]) -> SqlError:
        known = [entry.column.name for entry in self.entries if entry.shown] + list(self.fallback)
        written = ".".join(parts)
        if len(parts) > 1 and parts[0].lower() not in self._qualifiers | set(self._by_name):
            qualifiers = sorted({e.qualifier for e in self.entries if e.qualifier})
            near = did_you_mean(parts[0], qualifiers)
            there = f"there is {', '.join(qualifiers)}" if qualifiers else None
            return fault(
                node, f"there is no table or column {parts[0]} here", hint=near or there, code="sql.column"
            )
        suggests = next(self._unknowns) < _SUGGESTED
        near = did_you_mean(parts[-1], {name.lower(): name for name in known}) if suggests else None
        listed = ", ".join(known[:_LISTED]) + (
            f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        )
        hint = "; ".join(part for part in (near, f"there is {listed}" if known else None) if part)
        return fault(node, f"there is no column {written}", hint=hint or None, code="sql.column")

    def subquery(self, node: exp.Expression, kind: str, args: tuple[Expr, ...]) -> Subquery:
        """A scalar, EXISTS or IN subquery at this place."""
        if self.on_subquery is None:
            raise unsupported(node, "a subquery is not supported here", hint="write it as a join")
        return self.on_subquery(node, kind, args, self)

    def star(self, node: exp.Expression, qualifier: str | None) -> list[Column]:
        """The columns that `*` or `qualifier.*` stands for."""
        if qualifier is None:
            return [entry.column for entry in self.entries if entry.shown]
        lowered = qualifier.lower()
        found = [entry.column for entry in self.entries if (entry.qualifier or "").lower() == lowered]
        if not found:
            raise self.unknown_table(node, qualifier)
        return found

    def has_table(self, name: str) -> bool:
        """Whether a table goes by that name here."""
        return name.lower() in self._qualifiers

    def unknown_table(self, node: exp.Expression, name: str) -> SqlError:
        """The fault of naming a table that is not here."""
        known = sorted({entry.qualifier for entry in self.entries if entry.qualifier})
        hint = did_you_mean(name, known) or (f"there is {', '.join(known)}" if known else None)
        return fault(node, f"there is no table {name} here", hint=hint, code="sql.table")
