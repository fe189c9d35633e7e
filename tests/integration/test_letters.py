"""Dead letters of whole runs: their ids, records where positions are lost, inputs that change meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rayetl.connectors.base import InputFile
from rayetl.connectors.formats import reading
from rayetl.errors import SourceError
from rayetl.pipeline import Pipeline
from rayetl.runs import rejects

RULE = {"id": "checked", "type": "validate", "rules": [{"name": "small", "range": {"column": "k", "max": 9}}]}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path("in").mkdir(exist_ok=True)
        pl.DataFrame({"k": range(20), "v": [f"{name}{k}" for k in range(20)]}).write_parquet(
            f"in/{name}.parquet"
        )
    return tmp_path


def pipeline(*steps: dict[str, Any], **changes: Any) -> Pipeline:
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"s": {"type": "files", "path": "in", "format": "parquet"}},
            "transform": [*steps, RULE],
            "load": {"type": "files", "path": "out", "format": "parquet", "mode": "append"},
            **changes,
        }
    )


def letters(run: Pipeline) -> pl.DataFrame:
    return run.dead_letters.read().sort("file", "row").collect()


def test_ids_are_unique_and_the_same_in_every_run(here: Path) -> None:
    first = pipeline()
    first.run()
    once = letters(first)
    first.run(force=True)
    again = letters(first)
    assert once["id"].n_unique() == once.height == 20
    assert again["id"].to_list() == once["id"].to_list()
    assert all(letter.startswith(f"{row}-") for letter, row in once.select("id", "row").iter_rows())
    chosen = once.row(3, named=True)
    assert first.dead_letters.show(chosen["id"][:8])["record"] == chosen["record"]


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [{"type": "filter", "where": "k > 3"}],
        [{"type": "select", "add": {"twice": "k * 2"}}],
        [{"type": "select", "add": {"v": "upper(v)"}}],
        [{"type": "select", "columns": ["k"]}],
        [{"type": "select", "columns": ["k", "v AS k2", "k AS v"]}],
    ],
)
def test_records_are_those_of_the_source_whatever_the_steps_made_of_them(
    here: Path, steps: list[dict[str, Any]]
) -> None:
    run = pipeline(*steps)
    run.run()
    found = [
        (Path(file).stem, json.loads(record)) for file, record in letters(run).select("file", "record").rows()
    ]
    assert found == [(name, {"k": k, "v": f"{name}{k}"}) for name in "ab" for k in range(10, 20)]


def test_a_record_that_became_several_rows_is_told_with_the_reasons_of_all(here: Path) -> None:
    split = [
        {"type": "select", "add": {"w": "array('long', '')"}},
        {"type": "flatten", "column": "w"},
    ]
    said = {"name": "said", "length": {"column": "w", "min": 1}}
    short = {"name": "short", "length": {"column": "w", "max": 3}}
    made = pipeline(transform=[*split, {"id": "both", "type": "validate", "rules": [said, short]}])
    report = made.run()
    assert report.rows_rejected == 80
    found = letters(made)
    assert found.height == 40
    assert {tuple(why["rule"] for why in reasons) for reasons in found["reasons"]} == {("said", "short")}
    assert dict(made.dead_letters.count().select("rule", "letters").iter_rows()) == {"said": 40, "short": 40}


def test_a_row_without_a_position_is_kept_as_the_step_saw_it(here: Path) -> None:
    Path("more.json").write_text('{"k":2,"w":1}\n{"k":77,"w":2}\n')
    join = {"type": "join", "with": "more", "on": ["k"], "how": "full"}
    extract = {
        "s": {"type": "files", "path": "in", "format": "parquet"},
        "more": {"type": "files", "path": "more.json", "schema": "k BIGINT, w INT"},
    }
    run = pipeline({**join, "from": "s"}, extract=extract)
    run.run()
    found = letters(run)
    assert found.height == 21
    lost = found.filter(pl.col("row").is_null()).row(0, named=True)
    assert json.loads(lost["record"]) == {"k": 77, "v": None, "w": 2}
    assert (lost["source"], lost["record_format"]) == (None, "row")
    run.run(force=True)
    assert letters(run)["id"].to_list() == found["id"].to_list()


def test_a_record_that_is_gone_stops_the_run_unseen(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("t.csv").write_text("1\n50\n51\n")
    extract = {"s": {"type": "files", "path": "t.csv", "schema": "k INT"}}
    write: Callable[..., Any] = rejects.write

    def shortened(*given: Any) -> Any:
        Path("t.csv").write_text("1\n50\n")
        return write(*given)

    monkeypatch.setattr(rejects, "write", shortened)
    run = pipeline(extract=extract)
    with pytest.raises(SourceError, match="2 rows were refused, but the records of 1"):
        run.run()
    assert not list(Path("out").glob("part-*"))
    assert letters(run).is_empty()


def test_a_file_that_is_gone_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("t.csv").write_text("1\n50\n")
    write: Callable[..., Any] = rejects.write

    def removed(*given: Any) -> Any:
        Path("t.csv").unlink()
        return write(*given)

    monkeypatch.setattr(rejects, "write", removed)
    with pytest.raises(SourceError, match=r"t\.csv is not there any more"):
        pipeline(extract={"s": {"type": "files", "path": "t.csv", "schema": "k INT"}}).run()


def test_reasons_do_not_cost_another_pass(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("t.csv").write_text("".join(f"{k}\n" for k in range(1_000)) + "x\n")
    opened: list[str] = []
    chunks = reading.CsvReader.chunks

    def counted(self: Any, file: InputFile) -> Any:
        opened.append(file.path)
        return chunks(self, file)

    monkeypatch.setattr(reading.CsvReader, "chunks", counted)
    run = pipeline(extract={"s": {"type": "files", "path": "t.csv", "schema": "k INT"}})
    report = run.run()
    assert [(reason.rule, reason.rows) for reason in report.rejects] == [("small", 990), ("readable", 1)]
    assert len(opened) == 1 + 2, "once for the run, once for each node that refuses"


def test_a_name_that_is_no_text_is_kept_as_far_as_it_is(here: Path) -> None:
    Path(os.fsdecode(b"in/\xff.csv")).write_text("1\n50\n")
    run = pipeline(extract={"s": {"type": "files", "path": "in/*.csv", "schema": "k INT"}})
    run.run()
    assert letters(run).select("file", "record").rows() == [("in/\ufffd.csv", b"50")]
