"""The tests inside a config: given rows go through the real plan and engine, and are compared."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rayetl.config.load import LoadedConfig
from rayetl.config.models import ExpectedReject, PipelineConfig, PipelineTest
from rayetl.connectors.base import Epoch, Load, Source
from rayetl.connectors.files_load import FilesLoad
from rayetl.connectors.files_source import ColumnSpec, FilesSource
from rayetl.engines.base import Engine, Job
from rayetl.errors import RayetlError, SourceError
from rayetl.observability.diff import diff_rows
from rayetl.observability.report import CaseResult, TableDiff, TestReport
from rayetl.plan.build import Typed, build_plan
from rayetl.plan.cases import case_problems
from rayetl.plan.checks import contract_of
from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.quality.contract import promised_schema
from rayetl.records import dataclass
from rayetl.runs import books, verdict
from rayetl.sql.interop import from_arrow
from rayetl.sql.types import Schema

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Refused:
    """A refused row with the columns of `schema`, hidden ones among them."""

    step: str
    schema: Schema
    row: Row
    reasons: Sequence[Mapping[str, Any]]


def run_cases(
    loaded: LoadedConfig, names: Sequence[str], engine: Engine, typed: Typed | None = None
) -> TestReport:
    """Run the config's tests, or those of `names`, in their order; `typed` is for `build_plan`."""
    tests = loaded.config.tests
    unknown = [name for name in names if name not in {test.name for test in tests}]
    if unknown:
        raise RayetlError(
            f"there is no test {unknown[0]!r}",
            hint=f"there are {', '.join(repr(test.name) for test in tests) or 'none'}",
        )
    chosen = [test for test in tests if not names or test.name in names]
    return TestReport(tuple(_run_case(loaded.config, test, engine, typed) for test in chosen))


def _run_case(config: PipelineConfig, test: PipelineTest, engine: Engine, typed: Typed | None) -> CaseResult:
    started = time.perf_counter()
    error: str | None = None
    diffs: tuple[TableDiff, ...] = ()
    with tempfile.TemporaryDirectory(prefix="rayetl-test-") as directory:
        try:
            diffs = _Case(config, test, engine, typed, Path(directory)).diffs()
            if test.expect_error is not None:
                error = f"expected a failure that says {test.expect_error!r}, but the run succeeded"
        except RayetlError as failure:
            if test.expect_error is None or test.expect_error not in str(failure):
                error = str(failure)
    passed = error is None and not diffs
    return CaseResult(test.name, passed, diffs, error, time.perf_counter() - started, engine.name)


class _Case:
    def __init__(
        self,
        config: PipelineConfig,
        test: PipelineTest,
        engine: Engine,
        typed: Typed | None,
        directory: Path,
    ) -> None:
        self._test = test
        self._engine = engine
        self._typing = typed
        self._directory = directory
        extract = {name: self._given(name, source) for name, source in config.extract.items()}
        self._config = config.model_copy(update={"extract": extract})

    def _given(self, name: str, source: Source) -> FilesSource:
        """A source of the same schema whose only file holds the given rows."""
        schema = getattr(source, "schema_", None)
        contract = getattr(source, "contract", None)
        if schema is None and contract is None:
            found = source.describe(None).schema
            schema = tuple(ColumnSpec(name=field.name, type=str(field.type)) for field in found)
        path = _write(self._directory / f"{name}.json", ())
        stand_in = FilesSource.model_validate(
            {"type": "files", "path": str(path), "format": "json", "schema": schema, "contract": contract}
        )
        checked = contract_of(stand_in)
        columns = stand_in.describe(promised_schema(checked) if checked else None).schema
        _write(path, _spelled(self._test.given.get(name, ()), columns))
        return stand_in

    def diffs(self) -> tuple[TableDiff, ...]:
        """How the outcome differs from what the test expects. Raises what stops the run."""
        plan = self._plan()
        self._assert_known(plan)
        self._run(plan)
        found = [self._table(plan, node, rows) for node, rows in self._test.expect.items()]
        if self._test.expect_rejects is not None:
            found.append(self._reject_diff(self._test.expect_rejects, self._rejects(plan)))
        return tuple(diff for diff in found if diff is not None)

    def _assert_known(self, plan: Plan) -> None:
        """Raise for what the test names and the plan does not have. A contract may let columns pass that it
        does not name."""
        free = {node.id for node in plan.sources if contract_of(node.source) is None}
        given = {name: rows for name, rows in self._test.given.items() if name in free}
        test = self._test.model_copy(update={"given": given})
        if problems := case_problems(self._config.model_copy(update={"tests": (test,)}), plan):
            raise RayetlError(problems[0].message, hint=problems[0].hint)

    def _plan(self) -> Plan:
        plan = build_plan(self._config, typed=self._typing)
        while plan.deferred:
            plan = build_plan(self._config, found=self._engine.finder(plan), typed=self._typing)
        return plan

    def _run(self, plan: Plan) -> None:
        targets = {}
        for load in plan.loads:
            assert load.schema is not None
            place = self._directory / f"load-{load.id}"
            target = (
                _in_files(load.load, place)
                .open(Epoch(plan.name, load.id, "test", "test"), load.schema)
                .begin()
            )
            assert target is not None
            targets[load.id] = target
        rejects = self._directory / "rejects"
        rejects.mkdir()
        measured = self._engine.run(Job(plan, targets, rejects))
        books.balance(plan, measured)
        verdict.stop_on_abort(verdict.check_reports(plan, measured))

    def _table(self, plan: Plan, node: str, expected: Sequence[Row]) -> TableDiff | None:
        found = plan.nodes[node]
        table = self._engine.rows(plan, getattr(found, "input", node))
        names = [name for name in table.column_names if any(_names(row, name) for row in expected)]
        shown = table.select(names) if expected else table
        wanted = self._typed(expected, Schema(tuple(f for f in plan.schema(node) or () if f.name in names)))
        return diff_rows(node, wanted, shown.to_pylist())

    def _typed(self, rows: Sequence[Row], schema: Schema) -> list[Row]:
        """Expected rows with their values read as the types of the columns."""
        if not rows or not schema.fields:
            return [{} for _ in rows]
        path = _write(self._directory / f"expected-{time.monotonic_ns()}.json", _spelled(rows, schema))
        source = FilesSource.model_validate(
            {"type": "files", "path": str(path), "format": "json", "mode": "fail"}
        )
        scan = replace(source.describe(schema), schema=schema).in_zone(self._config.time_zone)
        from rayetl.connectors.formats import scan_files

        try:
            rows_read: list[Row] = scan_files(scan).collect().to_arrow().to_pylist()
        except SourceError as fault:
            reason = fault.message.removeprefix(f"{path}, ")
            raise RayetlError(f"a value that the test expects is none of its column: {reason}") from fault
        return rows_read

    def _rejects(self, plan: Plan) -> list[_Refused]:
        from rayetl.runs.rejects import reasons_of

        found: list[_Refused] = []
        nodes: tuple[SourceNode | StepNode, ...] = (*plan.sources, *plan.steps)
        for node in nodes:
            if getattr(node, "reads_reasons", False) or getattr(node, "checked", None) is not None:
                refused = self._engine.rejected(plan, node.id)
                rows, reasons = refused.to_arrow(), reasons_of(node, refused)
                schema = from_arrow(rows.schema)
                found += map(partial(_Refused, node.id, schema), rows.to_pylist(), reasons)
        return found

    def _reject_diff(self, expected: Sequence[ExpectedReject], found: Sequence[_Refused]) -> TableDiff | None:
        """Expected rejects without a fitting one, and rejects that nothing expected."""
        fitting = [
            [place for place, refused in enumerate(found) if self._fits(reject, refused)]
            for reject in expected
        ]
        taken = _assigned(fitting)
        missing: list[Row] = [
            reject.model_dump(exclude_none=True)
            for place, reject in enumerate(expected)
            if place not in taken.values()
        ]
        extra = [
            {"step": each.step, "rule": ", ".join(reason["rule"] for reason in each.reasons)}
            for place, each in enumerate(found)
            if place not in taken
        ]
        return diff_rows("rejects", missing, extra) if missing or extra else None

    def _fits(self, expected: ExpectedReject, found: _Refused) -> bool:
        steps = (None, found.step, found.step.removesuffix(".contract"))
        return (
            expected.step in steps
            and (expected.rule is None or any(expected.rule == each["rule"] for each in found.reasons))
            and (expected.reason is None or any(expected.reason in each["reason"] for each in found.reasons))
            and (expected.row is None or self._has(found, expected.row))
        )

    def _has(self, found: _Refused, expected: Row) -> bool:
        columns = [field for field in found.schema if _names(expected, field.name)]
        if len(columns) < len(expected):
            return False
        row = {field.name: found.row[field.name] for field in columns}
        return diff_rows("row", self._typed([expected], Schema(tuple(columns))), [row]) is None


def _in_files(load: Load, place: Path) -> Load:
    """The load with its rows in files at `place`, whatever store it is for: a test touches none."""
    if isinstance(load, FilesLoad):
        return load.model_copy(update={"path": str(place)})
    return FilesLoad.model_validate({"type": "files", "path": str(place), "format": "parquet"})


def _spelled(rows: Sequence[Row], schema: Schema) -> list[Row]:
    """Rows with the names of their columns as the schema spells them: case tells fields of JSON apart."""
    names = {field.name.lower(): field.name for field in schema}
    return [{names.get(name.lower(), name): value for name, value in row.items()} for row in rows]


def _write(path: Path, rows: Sequence[Row]) -> Path:
    # Readers take NaN as it stands, and numbers of any length.
    lines = (json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), "utf-8", "surrogatepass")
    return path


def _names(row: Row, column: str) -> bool:
    return any(name.lower() == column.lower() for name in row)


def _assigned(fitting: Sequence[Sequence[int]]) -> dict[int, int]:
    """Which place takes which of the things that fit it, by thing: so that as many as can be have one."""
    taken: dict[int, int] = {}

    def take(place: int, seen: set[int]) -> bool:
        for thing in fitting[place]:
            if thing not in seen:
                seen.add(thing)
                if thing not in taken or take(taken[thing], seen):
                    taken[thing] = place
                    return True
        return False

    for place in range(len(fitting)):
        take(place, set())
    return taken
