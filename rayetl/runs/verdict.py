"""What the checks of a run decide: nothing, stop it unseen, or call its rejects too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rayetl.engines.base import Measured, TableFinding
from rayetl.errors import QualityAbort
from rayetl.observability.report import CheckReport
from rayetl.observability.text import many
from rayetl.plan.nodes import Plan, StepNode
from rayetl.quality.base import OnFailure, RowCheck, TableCheck
from rayetl.runs.books import rows_in


def check_reports(plan: Plan, measured: Measured) -> tuple[CheckReport, ...]:
    """Every check of the run with what it found."""
    return tuple(_reports(plan, measured))


def _reports(plan: Plan, measured: Measured) -> Iterator[CheckReport]:
    for step in plan.steps:
        if step.checked is None or step.id not in measured.rows:
            continue
        rows = rows_in(step, measured)
        for check, failed in zip(step.checked.rows, measured.failing.get(step.id, ()), strict=True):
            yield _row_report(step, check, failed, rows)
        for table, finding in zip(step.checked.tables, measured.tables.get(step.id, ()), strict=True):
            yield _table_report(step, table, finding)


def _row_report(step: StepNode, check: RowCheck, failed: int, rows: int) -> CheckReport:
    share = failed / rows if rows else 0.0
    allowed = check.max_share
    if allowed is None and check.on_failure is OnFailure.ABORT:
        allowed = 0.0
    return CheckReport(
        step=step.id,
        rule=check.rule,
        kind=check.kind,
        field=check.field,
        on_failure=check.on_failure.value,
        failed_rows=failed,
        share=share,
        allowed=allowed,
        passed=failed == 0 if allowed is None else share <= allowed,
        reason=check.reason,
    )


def _table_report(step: StepNode, check: TableCheck, finding: TableFinding) -> CheckReport:
    return CheckReport(
        step=step.id,
        rule=check.rule,
        kind=check.kind,
        field=check.field,
        on_failure=check.on_failure.value,
        failed_rows=None,
        share=None,
        allowed=None,
        passed=not finding.failed,
        observed=finding.observed,
    )


def stop_on_abort(
    checks: tuple[CheckReport, ...], place: Callable[[CheckReport], str | None] = lambda _: None
) -> None:
    """Raise `QualityAbort` naming every failed `abort` check, with the `place` of the first row at fault."""
    failed = [check for check in checks if check.on_failure == "abort" and not check.passed]
    if failed:
        said = [describe(check) + (f" (first in {at})" if (at := place(check)) else "") for check in failed]
        raise QualityAbort(
            "; ".join(said) + "; nothing was loaded",
            hint="repair the source, or change the rule"
            + (
                "'s `on_failure` or `max_share`"
                if failed[0].failed_rows is not None
                else " or its `on_failure`"
            ),
            step=failed[0].step,
        )


def over_share(checks: tuple[CheckReport, ...]) -> tuple[CheckReport, ...]:
    """The quarantine checks that refused more than their allowed share."""
    return tuple(
        check
        for check in checks
        if check.on_failure == "quarantine" and not check.passed and check.allowed is not None
    )


def describe(check: CheckReport) -> str:
    """One clause on a failed check."""
    name = f"rule {check.rule}" + (f" on {check.field}" if check.field else "")
    if check.failed_rows is None:
        found = "NULL: there are no rows, or none with a value" if check.observed is None else check.observed
        return f"{name} failed (found {found})"
    share = f" ({check.share:.2%}, allowed {check.allowed:.2%})" if check.allowed else ""
    return f"{name} failed for {many(check.failed_rows, 'row')}{share}: {check.reason}"
