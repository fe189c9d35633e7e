"""A pipeline that does no work, in place of the real one, and a way to call the command."""

import sys
import types
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from rayetl.cli import main
from rayetl.observability.report import CaseResult, Cell, RowDiff, RunReport, TableDiff, TestReport

START = datetime(2026, 11, 23, 11, tzinfo=UTC)
REPORT = RunReport(
    "20261123T110000-abc", "flights", "polars", "local", "key", "done", 0, START, START + timedelta(seconds=1)
)


class FakePipeline:
    """Class attributes say how the next one behaves; `calls` keeps what was asked."""

    calls: list[tuple[str, object]]
    fault: BaseException | None
    report: RunReport
    tests: TestReport
    store: str
    doubts = ()

    @classmethod
    def load(cls, path, *, variables):
        cls.calls.append(("load", (str(path), dict(variables))))
        return cls()

    def _do(self, name, *given):
        self.calls.append((name, given))
        if self.fault is not None:
            raise self.fault

    def check(self):
        self._do("check")
        return self.doubts

    def explain(self, *, sql=False, runtime="local", **given):
        self._do("explain", sql, runtime, given)
        return "SELECT 1" if sql else "the plan"

    def preview(self, step=None, rows=20):
        import pyarrow as pa

        self._do("preview", step, rows)
        return pa.table({"id": [1, None], "name": ["Ada\x1b[2J", "Bob"]})

    def test(self, names=()):
        self._do("test", tuple(names))
        return self.tests

    def run(self, *, run_key=None, force=False, progress=None, runtime="local", address=None, **given):
        progress.stage_started("run")
        self._do("run", run_key, force)
        self._do("runtime", runtime, address, given)
        progress.stage_finished("run", 0.5)
        return self.report

    @property
    def dead_letters(self):
        from rayetl.connectors.dead_letter_files import DeadLetterFiles

        return DeadLetterFiles(path=self.store).of("p")

    def replay(self, ids=(), *, progress=None):
        self._do("replay", tuple(ids))
        return self.report


@pytest.fixture
def fake(monkeypatch):
    module = types.ModuleType("rayetl.pipeline")
    kind = type("Pipeline", (FakePipeline,), {"calls": [], "fault": None, "report": REPORT, "store": "."})
    diff = TableDiff("out", ("n",), 1, 1, (RowDiff("changed", (Cell("1", "int"),), (Cell("2", "int"),)),))
    kind.tests = TestReport((CaseResult("good", True), CaseResult("bad", False, (diff,), seconds=0.1)))
    module.Pipeline = kind
    monkeypatch.setitem(sys.modules, "rayetl.pipeline", module)
    return kind


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def call(capsys):
    def invoke(*argv: str) -> Outcome:
        code = main(list(argv))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return invoke


@pytest.fixture
def changed():
    return lambda **fields: replace(REPORT, **fields)
