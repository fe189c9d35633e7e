"""The judge of loads into databases: asks the server through the driver alone, and compares with an oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fault_checker import Verdict
from services.databases import SqlDatabase

HERE = {
    "postgres": "table_name = 't' AND table_schema = current_schema()",
    "mysql": "table_name = 't' AND table_schema = database()",
}

Rows = Mapping[int, str]
"""The tag of the epoch that each id is from."""


def read(database: SqlDatabase) -> list[tuple[int, str]]:
    """What any reader sees; nothing where there is no table."""
    if not database.rows(f"SELECT 1 FROM information_schema.tables WHERE {HERE[database.kind]}"):
        return []
    return [(int(found), str(epoch)) for found, epoch in database.rows("SELECT id, epoch FROM t")]


def assert_exactly(database: SqlDatabase, oracle: Sequence[tuple[int, str]]) -> None:
    """Nothing missing, nothing twice, nothing extra."""
    seen, wanted = Counter(read(database)), Counter(oracle)
    if seen != wanted:
        raise Verdict(f"missing {len(wanted - seen)}, extra {len(seen - wanted)} rows")


def assert_whole(database: SqlDatabase, *states: Sequence[tuple[int, str]]) -> None:
    """What is visible is one of the whole states, never part of a batch."""
    seen = Counter(read(database))
    if all(seen != Counter(state) for state in states):
        raise Verdict(f"part of a batch is visible: {sum(seen.values())} rows")


def assert_chain(database: SqlDatabase, keys: Sequence[str]) -> None:
    """The epochs are those of `keys`, each once, in that order and numbered without a gap."""
    found = database.rows("SELECT number, epoch FROM rayetl_epochs ORDER BY number, epoch")
    if found != list(enumerate(keys, 1)):
        raise Verdict(f"the tracker holds {found}, not {list(keys)}")
