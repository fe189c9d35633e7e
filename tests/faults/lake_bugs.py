"""The planted bugs. Each undoes one thing that the protocol of the lakes' loads rests on."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rayetl import failpoints
from rayetl.connectors.delta import ledger as delta_ledger
from rayetl.connectors.delta import session as delta_session
from rayetl.connectors.delta import writing as delta_writing
from rayetl.connectors.iceberg import ledger as iceberg_ledger
from rayetl.connectors.iceberg import session as iceberg_session
from rayetl.connectors.iceberg import table as iceberg_table
from rayetl.connectors.iceberg import versions
from rayetl.connectors.iceberg.writing import Change
from rayetl.connectors.lake import staging
from rayetl.errors import LoadError

SESSIONS = {
    "delta": delta_session.DeltaSession,
    "iceberg": iceberg_session.IcebergSession,
    "hadoop": iceberg_session.IcebergSession,
}
_CONFLICTS = {"delta": "deltalake.exceptions:CommitFailedError",
              "iceberg": "pyiceberg.exceptions:CommitFailedException"}  # fmt: skip


def plant(kind: str, bug: str) -> None:
    """Break this process."""
    BUGS[bug](kind)


def _no_token(kind: str) -> None:
    if kind == "iceberg":
        iceberg_ledger.Ledger.summary = lambda self, entry: {}  # type: ignore[method-assign]
        iceberg_ledger.Ledger.properties = lambda self, found, entry: {}  # type: ignore[method-assign]
        return
    entered = delta_ledger.Ledger.entered

    def changed(self: Any, entry: Any) -> Any:
        properties = entered(self, entry)
        properties.app_transactions = None
        return properties

    delta_ledger.Ledger.entered = changed  # type: ignore[method-assign]


def _swallowed_conflict(kind: str) -> None:
    module, _, name = _CONFLICTS[kind].partition(":")
    conflict = getattr(importlib.import_module(module), name)
    real: Any = SESSIONS[kind]._write

    def write(self: Any, *given: Any) -> None:
        try:
            real(self, *given)
        except conflict:
            return

    SESSIONS[kind]._write = write  # type: ignore[assignment, method-assign]


def _in_two_commits(split: Callable[[str, Any], tuple[Any, Any]]) -> Callable[[str], None]:
    """Commit a part of the change without the token, then the other with it."""

    def plant_it(kind: str) -> None:
        real: Any = SESSIONS[kind]._write

        def write(self: Any, found: Any, change: Any, entry: Any) -> None:
            first, second = split(kind, change)
            _without_token(kind, self, found, first, entry)
            failpoints.failpoint("bug.between")
            real(self, self._now(), second, entry)

        SESSIONS[kind]._write = write  # type: ignore[assignment, method-assign]

    return plant_it


def _without_token(kind: str, session: Any, found: Any, change: Any, entry: Any) -> None:
    if kind == "iceberg":
        iceberg_session.write(session._transaction(found), change, {}, {})
        return
    properties = session._ledger.entered(entry)
    properties.app_transactions = None
    delta_writing.write(session.load, found, session.schema, change, properties)


def _all_and_nothing(kind: str, change: Any) -> tuple[Any, Any]:
    return change, (Change((), (), change.rows) if kind == "iceberg" else [])


def _first_and_rest(kind: str, change: Any) -> tuple[Any, Any]:
    if kind == "iceberg":
        return (
            Change(change.added[:1], change.removed, change.rows),
            Change(change.added[1:], (), change.rows),
        )
    return change[:1], change[1:]


def _cleared_without_a_look(kind: str) -> None:
    del kind
    fence = staging.Staging.fence

    def careless(self: Any) -> None:
        for directory in self._attempts.glob("[0-9]*-*"):
            staging.Attempt(self.shelf, directory, self.data).take_back()
        fence(self)

    staging.Staging.fence = careless  # type: ignore[method-assign]


def _no_key_check(kind: str) -> None:
    ledger: Any = {"delta": delta_ledger.Ledger, "iceberg": iceberg_ledger.Ledger}[kind]
    ledger.find = lambda self, found, *, standing: None


def _check_then_append(kind: str) -> None:
    """The library's own retries on, and nobody looks again: what two runs at once need to double rows."""
    if kind == "iceberg":
        iceberg_table._RETRIES = "commit.retry.forgotten"
        return
    entered = delta_ledger.Ledger.entered

    def lenient(self: Any, entry: Any) -> Any:
        properties = entered(self, entry)
        properties.max_commit_retries, properties.app_transactions = 15, properties.app_transactions[1:]
        return properties

    delta_ledger.Ledger.entered = lenient  # type: ignore[method-assign]
    real = delta_writing.write

    def write(load: Any, found: Any, *rest: Any) -> None:
        real(load, delta_session.DeltaVersion.open(load.place, LoadError), *rest)

    delta_session.write = write


def _renamed_over(kind: str) -> None:
    """The file of the next version is looked for and then renamed to, as Hadoop does on such file systems."""
    del kind

    def link(written: Any, name: Any) -> None:
        failpoints.failpoint("bug.between")
        os.replace(written, name)

    versions.os = SimpleNamespace(**{**vars(os), "link": link})  # type: ignore[assignment]


BUGS: dict[str, Callable[[str], None]] = {
    "renamed_over": _renamed_over,
    "no_token": _no_token,
    "swallowed_conflict": _swallowed_conflict,
    "token_in_a_second_commit": _in_two_commits(_all_and_nothing),
    "part_by_part": _in_two_commits(_first_and_rest),
    "cleared_without_a_look": _cleared_without_a_look,
    "no_key_check": _no_key_check,
    "check_then_append": _check_then_append,
}
