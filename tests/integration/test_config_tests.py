"""The tests inside a config judge by values and not by how YAML spells them."""

from __future__ import annotations

import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from rayetl import Pipeline
from rayetl.errors import ConfigError

COLUMNS = "id INT, d DECIMAL(38,2), x DOUBLE, f FLOAT, day DATE, a ARRAY<DOUBLE>, b BINARY, at TIMESTAMP"
ODD = {
    "id": 1,
    "x": math.nan,
    "f": 0.1,
    "d": 10**30,
    "day": date(2013, 1, 1),
    "b": "YWI=",
    "a": [math.inf, None],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def failure(rows: list[dict[str, Any]], **expected: Any) -> str | None:
    """What is said of a test that is given `rows`; `None` if it passes."""
    rules = [{"name": name, "check": f"id <> {number}"} for number, name in enumerate(("zero", "one", "two"))]
    document = {
        "name": "p",
        "extract": {"s": {"type": "files", "path": "no.json", "schema": COLUMNS}},
        "transform": [{"id": "ok", "type": "validate", "rules": rules}],
        "load": {"type": "files", "path": "out"},
        "tests": [{"name": "t", "given": {"s": rows}, **expected}],
    }
    text = json.dumps(document, default=str).replace("NaN", ".nan").replace("Infinity", ".inf")
    Path("p.yaml").write_text(text)
    (case,) = Pipeline.load("p.yaml").test().cases
    return None if case.passed else case.error or str(case.diffs)


def test_values_of_every_kind_are_given_and_expected() -> None:
    row = {**ODD, "id": 5}
    assert failure([row], expect={"ok": [row]}) is None
    assert failure([{"ID": 5}], expect={"ok": [{"id": 5}]}) is None
    assert failure([row], expect={"ok": [{"ID": 5, "X": math.nan}]}) is None
    assert failure([row], expect={"ok": [{**row, "x": None}]}) is not None
    assert failure([{**row, "a": [None]}], expect={"ok": [{"a": [math.nan]}]}) is not None


@pytest.mark.parametrize("column", ODD)
def test_a_row_that_is_refused_is_compared_by_its_values(column: str) -> None:
    assert failure([ODD], expect_rejects=[{"step": "ok", "row": {column: ODD[column]}}]) is None
    assert failure([ODD], expect_rejects=[{"step": "ok", "row": {column: None}}]) is not None
    assert failure([{"id": 1}], expect_rejects=[{"step": "ok", "row": {"id": 1, "x": math.nan}}]) is not None


def test_what_fits_several_rejects_leaves_each_its_own() -> None:
    rejects = [{"step": "ok"}, {"rule": "one"}, {"row": {"id": 2}}]
    assert failure([{"id": 1}, {"id": 2}, {"id": 0}], expect_rejects=rejects) is None
    assert "zero" in str(failure([{"id": 1}, {"id": 2}, {"id": 0}], expect_rejects=rejects[1:]))


@pytest.mark.parametrize(
    ("given", "expected", "said"),
    [
        ("idd", {"expect": {"ok": []}}, "`s` has no column `idd`"),
        ("id", {"expect_rejects": [{"step": "ok", "row": {"idd": None}}]}, "`ok` has no column `idd`"),
        (
            "id",
            {"expect": {"ok": [{"id": "x"}]}},
            "a value that the test expects is none of its column: record 1",
        ),
    ],
)
def test_what_a_test_names_must_be_there(given: str, expected: dict[str, Any], said: str) -> None:
    assert said in str(failure([{given: 1}], **expected))


def test_a_reject_of_a_contract_is_that_of_its_source() -> None:
    fields = [{"name": "id", "type": "int"}]
    source = {
        "type": "files",
        "path": "no.json",
        "contract": {
            "schema": {"type": "record", "name": "R", "fields": fields},
            "on_mismatch": "quarantine",
        },
    }
    test = {
        "name": "t",
        "given": {"s": [{"id": None}]},
        "expect_rejects": [{"step": "s", "row": {"id": None}}],
    }
    document = {
        "name": "p",
        "extract": {"s": source},
        "load": {"type": "files", "path": "out"},
        "tests": [test],
    }
    assert Pipeline.from_dict(document).test().passed


def test_a_column_of_a_reject_that_is_not_there_is_found_by_check() -> None:
    Path("in.csv").write_text("1\n")
    reject = {"step": "ok", "row": {"idd": 1}}
    document = {
        "name": "p",
        "extract": {"s": {"type": "files", "path": "in.csv", "schema": "id INT"}},
        "transform": [{"id": "ok", "type": "validate", "rules": [{"check": "id > 1"}]}],
        "load": {"type": "files", "path": "out"},
        "tests": [{"name": "t", "given": {"s": [{"id": 1}]}, "expect_rejects": [reject]}],
    }
    with pytest.raises(ConfigError, match=r"row\.idd: `ok` has no column `idd`"):
        Pipeline.from_dict(document).check()
