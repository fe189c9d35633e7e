"""The judge of loads into PostgreSQL: asks the server through the driver alone, and compares with an oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fault_checker import Verdict
from services.postgres import Database

Rows = Mapping[int, str]
"""The tag of the epoch that each id is from."""


def read(database: Database) -> list[tuple[int, str]]:
    """What any reader sees; nothing where there is no table."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('t') IS NULL")
        if cursor.fetchall()[0][0]:
            return []
        cursor.execute("SELECT id, epoch FROM t")
        return [(int(found), str(epoch)) for found, epoch in cursor.fetchall()]


def assert_exactly(database: Database, oracle: Sequence[tuple[int, str]]) -> None:
    """Nothing missing, nothing twice, nothing extra."""
    seen, wanted = Counter(read(database)), Counter(oracle)
    if seen != wanted:
        raise Verdict(f"missing {len(wanted - seen)}, extra {len(seen - wanted)} rows")


def assert_whole(database: Database, *states: Sequence[tuple[int, str]]) -> None:
    """What is visible is one of the whole states, never part of a batch."""
    seen = Counter(read(database))
    if all(seen != Counter(state) for state in states):
        raise Verdict(f"part of a batch is visible: {sum(seen.values())} rows")


def assert_chain(database: Database, keys: Sequence[str]) -> None:
    """The epochs are those of `keys`, each once, in that order and numbered without a gap."""
    found = database.rows("SELECT number, epoch FROM rayetl_epochs ORDER BY number, epoch")
    if found != list(enumerate(keys, 1)):
        raise Verdict(f"the tracker holds {found}, not {list(keys)}")
