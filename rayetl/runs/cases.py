"""The tests inside a config: given rows go through the real plan and engine, and are compared."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from rayetl.config.load import LoadedConfig
from rayetl.config.models import ExpectedReject, PipelineConfig, PipelineTest
from rayetl.connectors.base import Epoch, FilesScan, Load, Source
from rayetl.connectors.files_load import FilesLoad
from rayetl.connectors.files_source import ColumnSpec, FilesSource
from rayetl.engines.base import Engine, Job
from rayetl.errors import RayetlError
from rayetl.observability.diff import diff_rows
from rayetl.observability.report import CaseResult, TableDiff, TestReport
from rayetl.plan.build import Typed, build_plan
from rayetl.plan.nodes import Plan, SourceNode, StepNode
from rayetl.runs import books, verdict
from rayetl.sql.types import Schema

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, Any]


def run_cases(
    loaded: LoadedConfig, names: Sequence[str], engine: Engine, typed: Typed | None = None
) -> TestReport:
    """Run the config's tests, or those of `names`, in their order; `typed` is for `build_plan`."""
    tests = loaded.config.tests
    unknown = [name for name in names if name not in {test.name for test in tests}]
    if unknown:
        raise RayetlError(
            f"there is no test {unknown[0]!r}",
            hint=f"there are {', '.join(test.name for test in tests) or 'none'}",
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
        path = _write(self._directory / f"{name}.json", self._test.given.get(name, ()))
        return FilesSource.model_validate(
            {"type": "files", "path": str(path), "format": "json", "schema": schema, "contract": contract}
        )

    def diffs(self) -> tuple[TableDiff, ...]:
        """How the outcome differs from what the test expects. Raises what stops the run."""
        plan = self._plan()
        self._run(plan)
        found = [self._table(plan, node, rows) for node, rows in self._test.expect.items()]
        if self._test.expect_rejects is not None:
            found.append(_reject_diff(self._test.expect_rejects, self._rejects(plan)))
        return tuple(diff for diff in found if diff is not None)

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
        if node not in plan.nodes:
            raise RayetlError(
                f"the test expects rows of {node!r}, which is no source, step or load",
                hint=f"there are {', '.join(plan.nodes)}",
            )
        found = plan.nodes[node]
        table = self._engine.rows(plan, getattr(found, "input", node))
        names = [name for name in table.column_names if any(_names(row, name) for row in expected)]
        shown = table.select(names) if expected else table
        wanted = self._typed(expected, Schema(tuple(f for f in plan.schema(node) or () if f.name in names)))
        return diff_rows(node, wanted + _unknown_columns(expected, table), shown.to_pylist())

    def _typed(self, rows: Sequence[Row], schema: Schema) -> list[Row]:
        """Expected rows with their values read as the types of the columns."""
        if not rows or not schema.fields:
            return [{} for _ in rows]
        path = _write(self._directory / f"expected-{time.monotonic_ns()}.json", rows)
        source = FilesSource.model_validate(
            {"type": "files", "path": str(path), "format": "json", "mode": "fail"}
        )
        scan: FilesScan = replace(source.describe(schema), schema=schema)
        from rayetl.connectors.formats import scan_files

        rows_read: list[Row] = scan_files(scan).collect().to_arrow().to_pylist()
        return rows_read

    def _rejects(self, plan: Plan) -> list[dict[str, Any]]:
        from rayetl.runs.rejects import reasons_of

        found = []
        nodes: tuple[SourceNode | StepNode, ...] = (*plan.sources, *plan.steps)
        for node in nodes:
            if getattr(node, "reads_reasons", False) or getattr(node, "checked", None) is not None:
                refused = self._engine.rejected(plan, node.id)
                for row, reasons in zip(refused.to_dicts(), reasons_of(node, refused), strict=True):
                    found.append({"step": node.id, "row": row, "reasons": reasons})
        return found


def _in_files(load: Load, place: Path) -> Load:
    """The load with its rows in files at `place`, whatever store it is for: a test touches none."""
    if isinstance(load, FilesLoad):
        return load.model_copy(update={"path": str(place)})
    return FilesLoad.model_validate({"type": "files", "path": str(place), "format": "parquet"})


def _write(path: Path, rows: Sequence[Row]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(dict(row)) + b"\n" for row in rows))
    return path


def _names(row: Row, column: str) -> bool:
    return any(name.lower() == column.lower() for name in row)


def _unknown_columns(expected: Sequence[Row], table: pa.Table) -> list[Row]:
    """Expected rows that name columns which do not exist, as a difference of their own."""
    known = {name.lower() for name in table.column_names}
    return [
        {name: value for name, value in row.items() if name.lower() not in known}
        for row in expected
        if any(name.lower() not in known for name in row)
    ]


def _reject_diff(expected: Sequence[ExpectedReject], found: list[dict[str, Any]]) -> TableDiff | None:
    """Expected rejects without a fitting one, and rejects that nothing expected."""
    left = list(found)
    missing: list[Row] = []
    for reject in expected:
        fitting = next((candidate for candidate in left if _fits(reject, candidate)), None)
        if fitting is None:
            missing.append(reject.model_dump(exclude_none=True))
        else:
            left.remove(fitting)
    extra = [{"step": each["step"], "rule": ", ".join(r["rule"] for r in each["reasons"])} for each in left]
    return diff_rows("rejects", missing, extra) if missing or extra else None


def _fits(expected: ExpectedReject, found: dict[str, Any]) -> bool:
    reasons = found["reasons"]
    return (
        (expected.step is None or expected.step == found["step"])
        and (expected.rule is None or any(expected.rule == reason["rule"] for reason in reasons))
        and (expected.reason is None or any(expected.reason in reason["reason"] for reason in reasons))
        and (expected.row is None or all(found["row"].get(k) == v for k, v in expected.row.items()))
    )
