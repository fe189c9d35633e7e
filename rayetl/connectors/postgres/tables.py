"""The table that is loaded into, as the server describes it, and what has to be so before a row is read."""

from __future__ import annotations

from collections.abc import Sequence

from rayetl.connectors.databases import tables
from rayetl.connectors.databases.connection import Connection
from rayetl.connectors.databases.tables import TargetColumn
from rayetl.connectors.postgres.naming import TableName, identifier, literal
from rayetl.connectors.postgres.ways import ServerType, made_type
from rayetl.errors import LoadError
from rayetl.sql.types import DataType, Schema

_COLUMNS = """
SELECT a.attname::text, base.typname::text, space.nspname::text, format_type(a.atttypid, a.atttypmod),
       CASE WHEN own.typtype = 'd' THEN own.typtypmod ELSE a.atttypmod END, element.typname::text,
       a.attnotnull OR own.typnotnull, a.atthasdef OR a.attidentity <> '' OR own.typdefault IS NOT NULL,
       a.attgenerated <> '' OR a.attidentity = 'a',
       (SELECT quote_ident(home.nspname) || '.' || quote_ident(rule.collname)
          FROM pg_collation rule JOIN pg_namespace home ON home.oid = rule.collnamespace
         WHERE rule.oid = a.attcollation AND rule.collname <> 'default')
  FROM pg_attribute a
  JOIN pg_type own ON own.oid = a.atttypid
  JOIN pg_type base ON base.oid = CASE WHEN own.typtype = 'd' THEN own.typbasetype ELSE own.oid END
  JOIN pg_namespace space ON space.oid = base.typnamespace
  LEFT JOIN pg_type element ON element.oid = base.typelem AND base.typcategory = 'A'
 WHERE a.attrelid = {table}::regclass AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
"""

_KEYS = """
SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) AS c(n)
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = c.n),
       coalesce((to_jsonb(i)->>'indnullsnotdistinct')::bool, false)
  FROM pg_index i
 WHERE i.indrelid = {table}::regclass AND i.indisunique AND i.indisvalid AND i.indimmediate
   AND i.indpred IS NULL AND i.indexprs IS NULL
"""
"""The columns of unique indexes, and whether NULLs are the same to them, which servers know from 15 on."""

_INTERCEPTED = """
SELECT c.relkind <> 'r' OR row_security_active(c.oid) OR EXISTS (
         SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
            AND t.tgtype & 7 = 7)
       OR EXISTS (
         SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '3' AND r.ev_enabled <> 'D')
  FROM pg_class c WHERE c.oid = {table}::regclass
"""
"""Whether something may keep single rows out of a table without a word: a trigger that runs for each row
before it is inserted (bits 1, 2 and 4), policies, or what is behind a partitioned or foreign table; or do
more than that: a rule, which COPY passes by."""

_KINDS = {"r": "table", "p": "partitioned table", "f": "foreign table"}


Target = tables.Target[ServerType]


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
    for name, base, space, shown, modifier, element, never, given, fixed, collation in connection.rows(
        query, f"looking up {table}"
    ):
        scale = _scale(modifier) if "numeric" in (base, element) else None
        full = f"{identifier(space)}.{identifier(base)}"
        limit = modifier if modifier >= 0 else None
        kind = ServerType(base, full, shown, scale, element, limit, collation)
        columns.append(TargetColumn(name, kind, required=never and not given and not fixed, fixed=fixed))
    doubtful = connection.value(_INTERCEPTED.format(table=literal(table.sql)), f"looking up {table}")
    return Target(table, tuple(columns), bool(doubtful))


def _scale(modifier: int) -> int | None:
    return None if modifier < 0 else ((modifier - 4 & 0x7FF) ^ 1024) - 1024


def create(table: TableName, schema: Schema, keys: Sequence[str]) -> str:
    """The statement that makes a table for rows of `schema`."""
    return tables.create(table, schema, keys, define)


def define(name: str, kind: DataType, nullable: bool) -> str:
    """A column as it stands in CREATE TABLE."""
    return f"{identifier(name)} {made_type(kind)}" + ("" if nullable else " NOT NULL")


def check_keys(connection: Connection, target: Target, keys: Sequence[str]) -> tuple[list[str], bool]:
    """The keys as the table spells them, and whether NULLs are the same in them. Raises `LoadError` if no
    unique index is on just these columns."""
    if not keys:
        return [], False
    spelled = target.spelled(keys)
    query = _KEYS.format(table=literal(target.name.sql))
    there = [
        (tuple(names), same)
        for names, same in connection.rows(query, f"looking up the keys of {target.name}")
    ]
    if not any(set(names) == set(spelled) for names, _ in there):
        raise tables.no_unique_key(target.name, spelled, [names for names, _ in there])
    return spelled, any(same for names, same in there if set(names) == set(spelled))
