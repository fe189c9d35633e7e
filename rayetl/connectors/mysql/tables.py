"""The table that is loaded into, as the server describes it, and what has to be so before a row is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from rayetl.connectors.databases import tables
from rayetl.connectors.databases.connection import Connection
from rayetl.connectors.databases.tables import TargetColumn
from rayetl.connectors.mysql.naming import TableName, identifier, literal
from rayetl.connectors.mysql.ways import ServerType, made_type
from rayetl.errors import LoadError
from rayetl.sql.types import TIMESTAMP, DataType, Schema

_COLUMNS = """
SELECT column_name, data_type, column_type, coalesce(numeric_scale, 0), coalesce(datetime_precision, 0),
       character_set_name, collation_name, is_nullable = 'NO', column_default IS NOT NULL, extra
  FROM information_schema.columns WHERE table_schema = {schema} AND table_name = {name}
 ORDER BY ordinal_position
"""

_KEYS = """
SELECT index_name, column_name, sub_part IS NULL AND column_name IS NOT NULL
  FROM information_schema.statistics
 WHERE table_schema = {schema} AND table_name = {name} AND non_unique = 0
 ORDER BY index_name, seq_in_index
"""

_UPDATE_TRIGGERS = """
SELECT COUNT(*) FROM information_schema.triggers
 WHERE event_object_schema = {schema} AND event_object_table = {name} AND event_manipulation = 'UPDATE'
"""
"""Those that the user may see."""

_MEMBER = re.compile(r"'((?:[^']|'')*)'")
_GENERATED = re.compile(r"\b(VIRTUAL|STORED|PERSISTENT) GENERATED\b", re.IGNORECASE)

Target = tables.Target[ServerType]


def _words(table: TableName) -> dict[str, str]:
    return {"schema": literal(table.schema or ""), "name": literal(table.name)}


def resolve(connection: Connection, table: TableName) -> tuple[TableName, bool]:
    """The table with its schema, and whether it exists. Raises `LoadError` for all but tables of InnoDB."""
    doing = f"looking up {table}"
    schema = table.schema or str(connection.value("SELECT DATABASE()", doing))
    query = "SELECT table_name, table_type, engine FROM information_schema.tables "
    named = TableName(schema, table.name)
    where = "WHERE table_schema = {schema} AND table_name = {name}".format(**_words(named))
    found = connection.rows(query + where, doing)
    if not found:
        return named, False
    ((name, kind, engine),) = found
    if kind not in ("BASE TABLE", "SYSTEM VERSIONED"):
        raise LoadError(f"{table} is not a table", hint="a load writes into tables only; name another one")
    if str(engine).lower() != "innodb":
        raise LoadError(
            f"the table {table} is one of {engine}, which has no transactions: rows of a run that fails "
            "would stay",
            hint=f"ALTER TABLE {named.sql} ENGINE = InnoDB, or name another table",
        )
    return TableName(schema, name), True


def describe(connection: Connection, table: TableName) -> Target:
    """The columns of an existing table."""
    columns = []
    for name, base, shown, scale, digits, charset, collation, never, given, extra in connection.rows(
        _COLUMNS.format(**_words(table)), f"looking up {table}"
    ):
        members = tuple(each.replace("''", "'") for each in _MEMBER.findall(shown))
        listed = members if base in ("enum", "set") else ()
        kind = ServerType(base.lower(), shown, int(scale), int(digits), listed, charset, collation)
        fixed = bool(_GENERATED.search(extra))
        counted = "auto_increment" in extra.lower()
        required = bool(never) and not given and not fixed and not counted
        columns.append(TargetColumn(name, kind, required=required, fixed=fixed))
    return Target(table, tuple(columns))


def create(table: TableName, schema: Schema, keys: Sequence[str]) -> str:
    """The statement that makes a table for rows of `schema`."""
    made = tables.create(table, schema, keys, partial(define, keys=keys))
    return f"{made} ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"


def define(name: str, kind: DataType, nullable: bool, keys: Sequence[str]) -> str:
    """A column as it stands in CREATE TABLE."""
    # The server would give a moment that is never NULL a default, and change it with the row.
    null = "NULL" if nullable or (kind == TIMESTAMP and name not in keys) else "NOT NULL"
    return f"{identifier(name)} {made_type(kind, key=name in keys)} {null}"


def has_update_triggers(connection: Connection, target: Target) -> bool:
    """Whether something runs when a row of the table is changed, as far as the user may know."""
    assert isinstance(target.name, TableName)
    query = _UPDATE_TRIGGERS.format(**_words(target.name))
    return bool(connection.value(query, f"looking up the triggers of {target.name}"))


def check_keys(
    connection: Connection, target: Target, keys: Sequence[str], filled: Sequence[str]
) -> list[str]:
    """The keys as the table spells them. Raises `LoadError` if no unique index is on just these columns, or
    if there is another one, by which the server might take a row for one with other keys. `filled` are the
    columns of the table that rows bring values for."""
    if not keys:
        return []
    spelled = target.spelled(keys)
    there = dict(_unique(connection, target))
    if not any(set(names) == set(spelled) for names in there.values()):
        raise tables.no_unique_key(target.name, spelled, list(there.values()))
    for index, names in there.items():
        if set(names) != set(spelled) and set(names) <= set(filled):
            listed = ", ".join(map(identifier, names))
            raise LoadError(
                f"the table {target.name} has a further unique index {index} on ({listed}): the server would "
                "take a row that meets it for one with the same keys",
                hint="load with the keys of that index alone, or drop one of the two",
            )
    return spelled


def _unique(connection: Connection, target: Target) -> Iterator[tuple[str, list[str]]]:
    """The unique indexes of a table with their columns."""
    assert isinstance(target.name, TableName)
    query = _KEYS.format(**_words(target.name))
    found: dict[str, list[tuple[str, bool]]] = {}
    for index, column, whole in connection.rows(query, f"looking up the keys of {target.name}"):
        found.setdefault(index, []).append((column, bool(whole)))
    for index, columns in found.items():
        if all(whole for _, whole in columns):
            yield index, [name for name, _ in columns]
