"""Which epochs a table holds: transaction identifiers in its log, written in the commit of the rows.

Each commit of a load sets two of them, as Delta's protocol has them for writers that repeat themselves:
one of the load, whose version counts its epochs, and one of the epoch, whose version is the number it got.
They stay when the log is cleaned. What else there is to know of an epoch (run, rows, seconds) is in the
commit's own information, which is cleaned with the log after `delta.logRetentionDuration`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from rayetl.connectors.base import Epoch
from rayetl.connectors.delta.table import DeltaVersion
from rayetl.connectors.lake.version import Entry
from rayetl.records import dataclass

if TYPE_CHECKING:
    import deltalake

INFORMATION = "rayetl"
"""The key of the commit information that is ours."""

LOOK_BACK = 1_000
"""So many commits are looked through for what is known of an epoch."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The epochs of one load in a table."""

    epoch: Epoch

    @property
    def _load(self) -> str:
        return f"rayetl:{quote(self.epoch.pipeline, safe='')}:{quote(self.epoch.load, safe='')}"

    @property
    def _token(self) -> str:
        return f"{self._load}:{self.epoch.key}"

    def number(self, found: DeltaVersion | None) -> int:
        """How many epochs of the load were committed up to this version."""
        return 0 if found is None else found.table.transaction_version(self._load) or 0

    def find(self, found: DeltaVersion | None, *, standing: bool) -> Entry | None:
        """This epoch, if it is committed; with `standing`, only if no later epoch of the load replaced it."""
        number = None if found is None else found.table.transaction_version(self._token)
        if found is None or number is None or (standing and number < self.number(found)):
            return None
        for entry in self._entries(found):
            if (entry.number, entry.epoch) == (number, self._token):
                return entry
        return Entry(number, self._token)

    def holder(self, found: DeltaVersion | None, number: int) -> str | None:
        """The token of the attempt that committed epoch `number` of the load, `None` if that is unknown."""
        entries = () if found is None else self._entries(found)
        mine = f"{self._load}:"
        return next((e.attempt for e in entries if e.number == number and e.epoch.startswith(mine)), None)

    @staticmethod
    def _entries(found: DeltaVersion) -> Iterator[Entry]:
        """What the newest commits say of the epochs that they hold, as far as they are not cleaned."""
        for version in range(found.version, max(found.version - LOOK_BACK, -1), -1):
            commit = found.place.commit(version)
            if commit is None:
                return
            for action in map(orjson.loads, commit.splitlines()):
                if (entry := Ledger.entry(action.get("commitInfo", {}))) is not None:
                    yield entry

    @staticmethod
    def entry(information: dict[str, Any]) -> Entry | None:
        """What a commit's information says of an epoch, if a load of rayetl made it."""
        if INFORMATION not in information:
            return None
        entry = Entry(**orjson.loads(information[INFORMATION]))
        return replace(entry, rows=_merged(information, entry.rows))

    def entered(self, entry: Entry) -> deltalake.CommitProperties:
        """What makes a commit the one of this epoch. It is tried once: whoever commits in between has to be
        looked at first."""
        from deltalake import CommitProperties, Transaction

        entry = replace(entry, epoch=self._token)
        return CommitProperties(
            custom_metadata={INFORMATION: orjson.dumps(asdict(entry)).decode()},
            max_commit_retries=0,
            app_transactions=[
                Transaction(app_id=name, version=entry.number) for name in (self._load, self._token)
            ],
        )


def _merged(commit: dict[str, Any], sent: int) -> int:
    """The rows that a commit brought into the table: where it was a merge, what its metrics say."""
    metrics = commit.get("operationMetrics") or {}
    if "num_target_rows_inserted" not in metrics:
        return sent
    return int(metrics["num_target_rows_inserted"]) + int(metrics["num_target_rows_updated"])
