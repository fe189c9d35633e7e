"""What contracts and rules compile to: a flagged Spark SQL query and the checks behind the flags."""

from __future__ import annotations

from enum import StrEnum

from sqlglot import exp

from rayetl.records import dataclass


class OnFailure(StrEnum):
    """What a failed check does: stop the run unseen, set the row aside, or only count it."""

    ABORT = "abort"
    QUARANTINE = "quarantine"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class RowCheck:
    """A check of single rows. The checked query has a BOOLEAN column `flag`: TRUE where the row fails,
    never NULL. `max_share` is the share of failing rows (0 to 1) that is allowed before the run counts
    as failed (`abort`: stops with exit code 3; `quarantine`: exit code 4); `None` allows any for
    quarantine and warn, none for abort."""

    rule: str
    kind: str
    field: str | None
    reason: str
    flag: str
    on_failure: OnFailure
    max_share: float | None = None


@dataclass(frozen=True, slots=True)
class TableCheck:
    """A check of the whole input. `query` gives one row with the columns `observed` (STRING) and
    `failed` (BOOLEAN, never NULL). It cannot quarantine. `identity` stands for the condition in the
    plan's fingerprint where the query holds the time of the run."""

    rule: str
    kind: str
    field: str | None
    reason: str
    query: exp.Query
    on_failure: OnFailure
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A compiled contract or validate step.

    `query` gives the checked rows: the visible columns, the carried hidden ones, and one flag column
    for each of `rows`. No row is dropped by it.
    """

    query: exp.Query
    rows: tuple[RowCheck, ...]
    tables: tuple[TableCheck, ...] = ()
