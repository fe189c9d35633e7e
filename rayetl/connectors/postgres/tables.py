"""The table that is loaded into, as the server describes it, and what has to be so before a row is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from rayetl.connectors.postgres.connection import Connection
from rayetl.connectors.postgres.naming import TableName, identifier, literal
from rayetl.connectors.postgres.ways import ServerType, Way, made_type, way
from rayetl.errors import LoadError
from rayetl.records import dataclass
from rayetl.sql.types import DataType, Field, Schema

_COLUMNS = """
SELECT a.attname::text, base.typname::text, space.nspname::text, format_type(a.atttypid, a.atttypmod),
       CASE WHEN own.typtype = 'd' THEN own.typtypmod ELSE a.atttypmod END, element.typname::text,
       a.attnotnull OR own.typnotnull, a.atthasdef OR a.attidentity <> '' OR own.typdefault IS NOT NULL,
       a.attgenerated <> '' OR a.attidentity = 'a'
  FROM pg_attribute a
  JOIN pg_type own ON own.oid = a.atttypid
  JOIN pg_type base ON base.oid = CASE WHEN own.typtype = 'd' THEN own.typbasetype ELSE own.oid END
  JOIN pg_namespace space ON space.oid = base.typnamespace
  LEFT JOIN pg_type element ON element.oid = base.typelem AND base.typcategory = 'A'
 WHERE a.attrelid = {table}::regclass AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
"""

_KEYS = """
SELECT array_to_string(ARRAY(SELECT quote_ident(name) FROM unnest(k.names) AS name), ', '),
       k.names @> {wanted} AND k.names <@ {wanted}
  FROM pg_index i
 CROSS JOIN LATERAL (SELECT ARRAY(
         SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) AS c(n)
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = c.n)) AS k(names)
 WHERE i.indrelid = {table}::regclass AND i.indisunique AND i.indisvalid AND i.indimmediate
   AND i.indpred IS NULL AND i.indexprs IS NULL
"""

_INTERCEPTED = """
SELECT c.relkind <> 'r' OR row_security_active(c.oid) OR EXISTS (
         SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
            AND t.tgtype & 7 = 7)
  FROM pg_class c WHERE c.oid = {table}::regclass
"""
"""Whether something may keep single rows out of a table without a word: a trigger that runs for each row
before it is inserted (bits 1, 2 and 4), policies, or what is behind a partitioned or foreign table."""

_KINDS = {"r": "table", "p": "partitioned table", "f": "foreign table"}


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of the target. `required`: it is never NULL and has no default; `fixed`: the server alone
    gives its values."""

    name: str
    type: ServerType
    required: bool
    fixed: bool


@dataclass(frozen=True, slots=True)
class Target:
    """An existing table with its columns. `intercepted`: rows sent to it need not arrive, so that what counts
    is what the server says about an INSERT."""

    name: TableName
    columns: tuple[TargetColumn, ...]
    intercepted: bool

    def find(self, name: str) -> TargetColumn | None:
        """The column of that name, in the same letter case or, where that is unmistakable, another one."""
        exact = [column for column in self.columns if column.name == name]
        alike = [column for column in self.columns if column.name.lower() == name.lower()]
        found = exact or alike
        return found[0] if len(found) == 1 else None


def resolve(connection: Connection, table: TableName) -> tuple[TableName, bool]:
    """The table with its schema, and whether it exists. Raises `LoadError` for anything but a table."""
    query = (
        "SELECT n.nspname::text, c.relname::text, c.relkind::text FROM pg_class c JOIN pg_namespace n "
        f"ON n.oid = c.relnamespace WHERE c.oid = to_regclass({literal(table.sql)})"
    )
    found = connection.rows(query, f"looking up {table}")
    if found:
        ((schema, name, kind),) = found
        if kind not in _KINDS:
            raise LoadError(
                f"{table} is not a table", hint="a load writes into tables only; name another one"
            )
        return TableName(schema, name), True
    schema = table.schema or connection.value("SELECT current_schema()::text", f"looking up {table}")
    if schema is None:
        raise LoadError(f"no schema of the search path exists, so {table} cannot be made", hint="name one")
    return TableName(schema, table.name), False


def describe(connection: Connection, table: TableName) -> Target:
    """The columns of an existing table."""
    query = _COLUMNS.format(table=literal(table.sql))
    columns = []
    for name, base, space, shown, modifier, element, never, given, fixed in connection.rows(
        query, f"looking up {table}"
    ):
        scale = _scale(modifier) if base == "numeric" else None
        full = f"{identifier(space)}.{identifier(base)}"
        kind = ServerType(base, full, shown, scale, element)
        columns.append(TargetColumn(name, kind, required=never and not given and not fixed, fixed=fixed))
    doubtful = connection.value(_INTERCEPTED.format(table=literal(table.sql)), f"looking up {table}")
    return Target(table, tuple(columns), bool(doubtful))


def _scale(modifier: int) -> int | None:
    return None if modifier < 0 else ((modifier - 4 & 0x7FF) ^ 1024) - 1024


def create(table: TableName, schema: Schema, keys: Sequence[str]) -> str:
    """The statement that makes a table for rows of `schema`."""
    lines = [
        _definition(field.name, field.type, field.nullable and field.name not in keys) for field in schema
    ]
    if keys:
        lines.append(f"PRIMARY KEY ({', '.join(map(identifier, keys))})")
    return f"CREATE TABLE {table.sql} (\n  " + ",\n  ".join(lines) + "\n)"


def add_column(table: TableName, name: str, kind: DataType) -> str:
    """The statement that adds a column, which is NULL in the rows that are there."""
    return f"ALTER TABLE {table.sql} ADD COLUMN {_definition(name, kind, True)}"


def _definition(name: str, kind: DataType, nullable: bool) -> str:
    return f"{identifier(name)} {made_type(kind)}" + ("" if nullable else " NOT NULL")


def ways_into(target: Target, schema: Schema) -> list[Way]:
    """How each column of `schema` gets into the table. Raises `LoadError` with all that stands against it."""
    problems = list(_problems(target, schema))
    if problems:
        raise LoadError(
            f"the rows do not fit into the table {target.name}: {'; '.join(problems)}",
            hint="cast, rename or leave out columns in a select step, or change the table; no row was read",
        )
    found = []
    for field in schema:
        column = target.find(field.name)
        assert column is not None
        made = way(field.name, field.type, column.name, column.type)
        assert made is not None
        found.append(made)
    return found


def missing(target: Target, schema: Schema) -> list[Field]:
    """The columns of `schema` that the table does not have."""
    return [field for field in schema if target.find(field.name) is None]


def _problems(target: Target, schema: Schema) -> Iterator[str]:
    names = [column.name for column in target.columns]
    filled = set()
    for field in schema:
        column = target.find(field.name)
        if column is None:
            near = difflib.get_close_matches(field.name, names, n=1)
            also = f" (did you mean {near[0]!r}?)" if near else " (`add_columns: true` would add it)"
            yield f"it has no column {field.name!r}{also}"
            continue
        filled.add(column.name)
        if column.fixed:
            yield f"the server itself gives the values of {column.name!r}"
        elif way(field.name, field.type, column.name, column.type) is None:
            yield f"{field.name!r} is {field.type}, which does not go into {column.type.shown}"
    for column in target.columns:
        if column.required and column.name not in filled:
            yield f"its column {column.name!r} must have a value, and no column of the rows gives one"


def check_keys(connection: Connection, target: Target, keys: Sequence[str]) -> list[str]:
    """The keys as the table spells them. Raises `LoadError` if no unique index is on just these columns."""
    if not keys:
        return []
    spelled = [column.name for key in keys if (column := target.find(key)) is not None]
    wanted = f"ARRAY[{', '.join(map(literal, spelled))}]::text[]"
    query = _KEYS.format(table=literal(target.name.sql), wanted=wanted)
    found = connection.rows(query, f"looking up the keys of {target.name}")
    if not any(fits for _, fits in found):
        listed = ", ".join(map(identifier, spelled))
        raise LoadError(
            f"the table {target.name} has no primary key or unique constraint on ({listed})",
            hint=f"add one: ALTER TABLE {target.name.sql} ADD UNIQUE ({listed}); keys there: "
            f"{'; '.join(sorted({names for names, _ in found})) or 'none'}",
        )
    return spelled
