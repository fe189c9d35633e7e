"""What an engine is asked for and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rayetl.observability.progress import ProgressListener, Silent
from rayetl.observability.report import SplitsReport
from rayetl.records import dataclass

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from rayetl.connectors.base import Target
    from rayetl.plan.nodes import Plan


@dataclass(frozen=True, slots=True)
class Job:
    """One execution of a plan.

    `targets` says where each load that is still to be done is staged, or takes its rows; `rejects` is an
    empty directory for refused rows.
    """

    plan: Plan
    targets: Mapping[str, Target]
    rejects: Path
    progress: ProgressListener = field(default_factory=Silent)


@dataclass(frozen=True, slots=True)
class TableFinding:
    """What a check of a whole table saw."""

    observed: str | None
    failed: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """What was counted while the rows went by, all of it by node id.

    `read`: rows of a source, malformed ones included. `rows`: rows that left a node for its readers.
    `refused`: rows of a checked node (or malformed rows of a source, or rows that the store of a load did not
    take) that were set aside. `failing`: for a checked node, how many rows failed each of its row checks.
    `tables`: its findings on the whole table. `staged`: rows that reached the files or the store of each
    load. `rejects`: Arrow IPC files of the refused rows with what says why. Nodes that no load needs are
    absent. `splits`: the parts that the run was made of.
    """

    read: Mapping[str, int]
    rows: Mapping[str, int]
    refused: Mapping[str, int]
    failing: Mapping[str, tuple[int, ...]]
    tables: Mapping[str, tuple[TableFinding, ...]]
    staged: Mapping[str, int]
    rejects: Mapping[str, Sequence[Path]]
    splits: SplitsReport | None = None


class Engine(Protocol):
    """Runs plans."""

    name: str
    log: str | None
    """The file that takes what other processes of the engine say; `None` where there are none."""

    def run(self, job: Job) -> Measured:
        """Read the sources once, stage every load and set refused rows aside.

        Raises `SourceError` for an input that cannot be read, `BooksError` where two independent counts
        of the same rows differ, `RunError` otherwise.
        """

    def rows(self, plan: Plan, node: str, limit: int | None = None) -> pa.Table:
        """The visible rows of a source or step, the first `limit` of them."""

    def rejected(self, plan: Plan, node: str) -> pl.DataFrame:
        """The refused rows of a source or checked step with their flag columns."""

    def finder(self, plan: Plan) -> Callable[..., Sequence[Any] | None]:
        """What `build_plan` asks for values found in the data of a deferred plan."""
