"""The embedded engine against real Spark: same names, types and rows, or the same refusal."""

from __future__ import annotations

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

import rayetl
from rayetl.errors import SqlError
from tests.conformance.cases import Case, constants, fuzzed, names, queries
from tests.conformance.cases.tables import TABLES
from tests.conformance.judge import Judge, differences, of_arrow

ALL = [
    pytest.param(case, id=f"{module.__name__.rpartition('.')[2]}-{number}")
    for module in (queries, names, constants, fuzzed)
    for number, case in enumerate(module.CASES)
]


@pytest.mark.parametrize("case", ALL)
def test_same_as_spark(case: Case, judge: Judge) -> None:
    if case.both_refuse:
        with pytest.raises(SqlError):
            rayetl.query(case.sql, TABLES, time_zone=case.time_zone)
        with pytest.raises((PySparkException, Py4JJavaError)):
            judge.ask(case.sql, case.time_zone)
        return
    theirs = judge.ask(case.sql, case.time_zone)
    ours = of_arrow(rayetl.query(case.sql, TABLES, time_zone=case.time_zone))
    found = differences(ours, theirs, ordered=case.ordered, approx=case.approx)
    assert not found, case.sql + "\n" + "\n".join(found)
