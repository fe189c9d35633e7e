"""What both engines are asked. Every module here has a tuple `CASES`; the tables are in `tables.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A query over the shared tables. `ordered` compares the order of rows too; `approx` allows floats
    that differ past the 12th digit (sums in another order); `both_refuse` expects an error of both."""

    sql: str
    ordered: bool = False
    approx: bool = False
    both_refuse: bool = False
    time_zone: str = "UTC"


def cases(text: str, **options: bool) -> tuple[Case, ...]:
    """One case for each line that is not blank."""
    return tuple(Case(line.strip(), **options) for line in text.splitlines() if line.strip())
