"""What a run and a test run report: plain frozen values, written once, read by people and machines.

Nothing here computes rows or touches files. `rayetl.observability.store` keeps reports on disk,
`rayetl.observability.text` and `rayetl.observability.html` show them.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from rayetl.observability.codec import from_json, to_json
from rayetl.records import dataclass

Status = Literal["done", "skipped", "nothing_new", "failed", "aborted", "rejects_over_share", "stopped"]
LoadStatus = Literal["committed", "skipped", "ignored", "not_committed"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an input or output; `type` is the Spark DDL spelling."""

    name: str
    type: str
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long one stage of the run took (`plan`, `run`, `rejects`, `commit`), in seconds of wall time."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What was read. `bytes` as stored; `rows_read` counts malformed records too."""

    id: str
    location: str
    files: int
    bytes: int
    rows_read: int
    schema: tuple[Column, ...] = ()
    type: str = "files"


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step did to the rows. A count that was not asked for is `None`; `inputs` are the ids the
    step reads, the main one first, and `rows_in` counts the main input alone."""

    id: str
    kind: str
    rows_in: int | None
    rows_out: int | None
    rejected: int = 0
    filtered: int = 0
    deduplicated: int = 0
    folded: int = 0
    added: int = 0
    limited: int = 0
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did: the load's result, its input, and the schema of what it wrote.

    `status`: committed now; skipped (this epoch was committed before); ignored (mode `ignore` found
    data); not_committed (the run ended before, nothing of it is visible).
    """

    load: str
    type: str
    location: str
    mode: str
    status: LoadStatus
    rows: int
    files: int
    bytes: int
    seconds: float
    epoch: str
    schema: tuple[Column, ...] = ()
    input: str | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """One rule or contract field. `share` and `allowed` run from 0 to 1; `observed` is what a check of
    the whole table saw. `failed_rows` is `None` for such a check. `reason` says what is wrong with a row that
    fails."""

    step: str
    rule: str
    kind: str
    field: str | None
    on_failure: Literal["abort", "quarantine", "warn"]
    failed_rows: int | None
    share: float | None
    allowed: float | None
    passed: bool
    observed: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RejectReason:
    """Refused rows of one reason. A row with several reasons counts under each of them."""

    step: str
    rule: str
    field: str | None
    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class BookLine:
    """One line of the books: `rows_read + added = loaded + rejected + filtered + deduplicated + folded
    + limited` when `balanced`."""

    what: str
    rows_read: int
    loaded: int
    rejected: int = 0
    filtered: int = 0
    deduplicated: int = 0
    folded: int = 0
    added: int = 0
    balanced: bool = True
    limited: int = 0


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """Why a run ended early: the exception's type, one sentence, and what to do next."""

    type: str
    message: str
    hint: str | None = None
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """Version of one part that the run stood on."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class SplitsReport:
    """How many splits a run was made of; `kept` of them were finished by an earlier run that did not end."""

    total: int
    kept: int


@dataclass(frozen=True, slots=True)
class RunReport:
    """The account of one run. Times are UTC; `run_key` names the epoch, `run` this attempt; `retries` says
    how often something was tried again, `engine_log` where the engine's other processes write."""

    run: str
    pipeline: str
    engine: str
    runtime: str
    run_key: str
    status: Status
    exit_code: int
    started: datetime
    finished: datetime
    stages: tuple[StageTime, ...] = ()
    sources: tuple[SourceReport, ...] = ()
    steps: tuple[StepReport, ...] = ()
    loads: tuple[LoadReport, ...] = ()
    checks: tuple[CheckReport, ...] = ()
    rejects: tuple[RejectReason, ...] = ()
    warnings: tuple[str, ...] = ()
    books: tuple[BookLine, ...] = ()
    peak_memory_bytes: int | None = None
    versions: tuple[Version, ...] = ()
    error: ErrorReport | None = None
    rejected_rows: int | None = None
    retries: int = 0
    engine_log: str | None = None
    splits: SplitsReport | None = None

    @property
    def seconds(self) -> float:
        """Wall time of the whole run."""
        return max((self.finished - self.started).total_seconds(), 0.0)

    @property
    def rows_read(self) -> int:
        return sum(source.rows_read for source in self.sources)

    @property
    def rows_loaded(self) -> int:
        """Rows that this run made visible, over all loads."""
        return sum(load.rows for load in self.loads if load.status == "committed")

    @property
    def rows_rejected(self) -> int:
        """Refused rows, each once; `rejected_rows` where the engine counted them, else the steps' sum."""
        if self.rejected_rows is not None:
            return self.rejected_rows
        return sum(step.rejected for step in self.steps)

    @property
    def rows_filtered(self) -> int:
        return sum(step.filtered for step in self.steps)

    @property
    def balanced(self) -> bool:
        return all(line.balanced for line in self.books)

    def to_json(self) -> bytes:
        """The report as UTF-8 JSON; `from_json` gives back an equal report."""
        return to_json(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> RunReport:
        """The report that `to_json` wrote. Raises `ValueError` naming the field that does not fit."""
        return from_json(cls, data)


@dataclass(frozen=True, slots=True)
class Cell:
    """One value in a row diff: its text and its type's name."""

    text: str
    type: str


@dataclass(frozen=True, slots=True)
class RowDiff:
    """A row that was expected and did not come, came unexpectedly, or came with other values.

    `expected` and `actual` follow the columns of the table diff; the absent side is `None`.
    """

    kind: Literal["missing", "extra", "changed"]
    expected: tuple[Cell, ...] | None
    actual: tuple[Cell, ...] | None


@dataclass(frozen=True, slots=True)
class TableDiff:
    """How one result (`what`: a step, a load or the rejects) differs from what was expected.

    `more` counts differing rows beyond those that `rows` holds.
    """

    what: str
    columns: tuple[str, ...]
    expected_rows: int
    actual_rows: int
    rows: tuple[RowDiff, ...]
    more: int = 0


@dataclass(frozen=True, slots=True)
class ParityReport:
    """How the results of one plan on two engines compare; `rows` is how many came of each load on the first.

    `seconds` is what the run took on each engine, in the order of `engines`.
    """

    pipeline: str
    engines: tuple[str, str]
    rows: tuple[tuple[str, int], ...]
    rejects: int
    seconds: tuple[float, float]
    diffs: tuple[TableDiff, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.diffs

    def to_json(self) -> bytes:
        return to_json(self)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One of a config's `tests`. `error` is what stopped the case when it could not be compared."""

    name: str
    passed: bool
    diffs: tuple[TableDiff, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    engine: str = "polars"


@dataclass(frozen=True, slots=True)
class TestReport:
    """The outcome of a config's `tests`."""

    __test__: ClassVar[bool] = False

    cases: tuple[CaseResult, ...]

    @property
    def passed(self) -> bool:
        return all(case.passed for case in self.cases)

    def to_json(self) -> bytes:
        return to_json(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> TestReport:
        """The report that `to_json` wrote. Raises `ValueError` naming the field that does not fit."""
        return from_json(cls, data)
