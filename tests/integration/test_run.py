"""Whole runs over small files: what is loaded, refused, skipped, stopped, and what the books say."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from rayetl import failpoints
from rayetl.errors import ConfigError, LoadError, QualityAbort, RayetlError, SourceError
from rayetl.observability.store import load_report
from rayetl.pipeline import Pipeline
from rayetl.quality.avro import Contract

FLIGHTS = "id,carrier,delay\n1,UA,5\n2,AA,-3\n3,,7\n4,UA,9999\n5,ZZ,1\nx,UA,2\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("flights.csv").write_text(FLIGHTS)
    Path("airlines.csv").write_text("carrier,name\nUA,United\nAA,American\n")
    return tmp_path


def config(**changes: Any) -> dict[str, Any]:
    return {
        "name": "flights",
        "extract": {
            "flights": {
                "type": "files",
                "path": "flights.csv",
                "schema": "id INT, carrier STRING, delay INT",
                "options": {"header": True},
            },
            "airlines": {"type": "files", "path": "airlines.csv", "options": {"header": True}},
        },
        "transform": [
            {
                "id": "checked",
                "type": "validate",
                "from": "flights",
                "rules": [
                    {"name": "has_carrier", "not_null": ["carrier"]},
                    {"name": "delay_range", "range": {"column": "delay", "min": -120, "max": 900}},
                    {"name": "known", "references": {"columns": ["carrier"], "source": "airlines"}},
                ],
            },
        ],
        "load": [{"id": "good", "type": "files", "path": "out", "format": "parquet", "mode": "append"}],
        **changes,
    }


def rows(path: str) -> list[dict[str, Any]]:
    return sorted(ds.dataset(path, format="parquet").to_table().to_pylist(), key=lambda row: row["id"])


def test_bad_rows_are_set_aside_with_their_reasons_and_the_rest_is_loaded(here: Path) -> None:
    report = Pipeline.from_dict(config()).run()
    assert [row["id"] for row in rows("out")] == [1, 2]
    assert report.status == "done"
    assert report.rows_rejected == 4
    assert report.balanced
    letters = Pipeline.from_dict(config()).dead_letters.read().collect()
    found = {
        letter["row"]: (letter["record"], {reason["rule"] for reason in letter["reasons"]})
        for letter in letters.to_dicts()
    }
    assert found == {
        2: (b"3,,7", {"has_carrier"}),
        3: (b"4,UA,9999", {"delay_range"}),
        4: (b"5,ZZ,1", {"known"}),
        5: (b"x,UA,2", {"readable"}),
    }


def test_the_time_of_a_run_is_told_by_stage(here: Path) -> None:
    pipeline = Pipeline.from_dict(config())
    assert [stage.name for stage in pipeline.run().stages] == ["plan", "open", "run", "rejects", "commit"]
    assert [stage.name for stage in pipeline.run().stages] == ["plan", "open"]


def test_all_reasons_of_a_row_are_kept(here: Path) -> None:
    Path("flights.csv").write_text("id,carrier,delay\n1,,9999\n2,UA,1\n")
    report = Pipeline.from_dict(config()).run()
    letter = Pipeline.from_dict(config()).dead_letters.read().collect().row(0, named=True)
    assert {reason["rule"] for reason in letter["reasons"]} == {"has_carrier", "delay_range"}
    assert report.rows_rejected == 1


def test_a_letter_names_the_contract_it_was_refused_under(here: Path) -> None:
    schema = {
        "type": "record",
        "name": "flight",
        "fields": [
            {"name": "id", "type": "int"},
            {"name": "carrier", "type": "string"},
            {"name": "delay", "type": "int"},
        ],
    }
    changed = config(transform=[])
    flights = {key: value for key, value in changed["extract"]["flights"].items() if key != "schema"}
    changed["extract"] = {"flights": {**flights, "contract": {"schema": schema, "on_mismatch": "quarantine"}}}
    pipeline = Pipeline.from_dict(changed)
    pipeline.run()
    letters = pipeline.dead_letters.read().collect()
    assert sorted(letters["row"]) == [2, 5]
    assert set(letters["contract_fingerprint"]) == {Contract.load(schema).fingerprint}


def test_the_same_run_again_is_recognised(here: Path) -> None:
    pipeline = Pipeline.from_dict(config())
    pipeline.run()
    report = pipeline.run()
    assert report.status == "skipped"
    assert [row["id"] for row in rows("out")] == [1, 2]


def test_force_appends_again(here: Path) -> None:
    pipeline = Pipeline.from_dict(config())
    pipeline.run()
    pipeline.run(force=True)
    assert [row["id"] for row in rows("out")] == [1, 1, 2, 2]


def test_a_number_names_an_epoch_too_and_no_runtime_is_guessed(here: Path) -> None:
    run = Pipeline.from_dict(config())
    assert (run.run(run_key=20130101).run_key, run.run(run_key="20130101").status) == ("20130101", "skipped")
    with pytest.raises(ValueError, match="runtime is 'locl'; it is one of local, ray"):
        run.run(runtime="locl")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "hour"), [(None, 9), ({"multi_line": False}, 9), ({"time_zone": "Asia/Tokyo"}, 1)]
)
@pytest.mark.parametrize(("kind", "text"), [("csv", "{}\n"), ("json", '{{"at":"{}"}}\n')])
def test_moments_that_name_no_zone_are_in_that_of_the_pipeline(
    here: Path, kind: str, text: str, options: dict[str, str] | None, hour: int
) -> None:
    Path(f"at.{kind}").write_text(
        text.format("2013-01-01 10:00:00") + text.format("2013-01-01T10:00:00+10:00")
    )
    source = {"type": "files", "path": f"at.{kind}", "schema": "at TIMESTAMP", "options": options}
    given = {"name": "a day", "given": {"source": [{"at": "2013-01-01 10:00:00"}]}}
    run = Pipeline.from_dict(
        {
            "name": "p",
            "time_zone": "Europe/Vienna",
            "extract": {k: v for k, v in source.items() if v is not None},
            "load": {"type": "files", "path": "out"},
            "tests": [{**given, "expect": {"source": [{"at": "2013-01-01T09:00:00Z"}]}}],
        }
    )
    assert [at.hour for at in run.preview()["at"].to_pylist()] == [hour, 0]
    assert run.test().cases[0].passed


def test_a_changed_input_is_a_new_epoch(here: Path) -> None:
    pipeline = Pipeline.from_dict(config())
    pipeline.run()
    Path("flights.csv").write_text("id,carrier,delay\n7,UA,5\n")
    pipeline.run()
    assert [row["id"] for row in rows("out")] == [1, 2, 7]


def test_abort_leaves_nothing_visible_in_any_load(here: Path) -> None:
    changed = config()
    changed["transform"][0]["rules"][1]["on_failure"] = "abort"
    changed["load"].append(
        {"id": "second", "type": "files", "path": "out2", "format": "csv", "mode": "overwrite"}
    )
    with pytest.raises(QualityAbort, match=r"delay_range.*1 row: delay is not between") as caught:
        Pipeline.from_dict(changed).run()
    assert not Path("out").exists()
    assert not Path("out2").exists()
    assert caught.value.report is not None
    assert caught.value.report.status == "aborted"
    assert load_report(".rayetl", "last") == caught.value.report


def test_a_rule_on_the_whole_input_aborts(here: Path) -> None:
    changed = config()
    changed["transform"][0]["rules"].append({"row_count": {"min": 100}})
    with pytest.raises(QualityAbort, match=r"row_count failed \(found 5\)"):
        Pipeline.from_dict(changed).run()
    rules = changed["transform"][0]["rules"]
    rules[-1] = {"aggregate": {"expression": "max(delay) FILTER (WHERE id < 0)", "min": 1}}
    with pytest.raises(QualityAbort, match=r"found NULL: there are no rows, or none with a value") as told:
        Pipeline.from_dict(changed).run()
    assert "max_share" not in str(told.value.hint), "a rule on the whole input has none"
    assert not Path("out").exists()


def test_a_warning_only_counts(here: Path) -> None:
    changed = config()
    for rule in changed["transform"][0]["rules"]:
        rule["on_failure"] = "warn"
    report = Pipeline.from_dict(changed).run()
    assert [row["id"] for row in rows("out")] == [1, 2, 3, 4, 5]
    assert {check.rule: check.failed_rows for check in report.checks} == {
        "has_carrier": 1,
        "delay_range": 1,
        "known": 1,
    }


def test_rejects_over_the_allowed_share_end_with_exit_code_4(here: Path) -> None:
    report = Pipeline.from_dict(config(max_reject_share=0.01)).run()
    assert report.exit_code == 4
    assert [row["id"] for row in rows("out")] == [1, 2]


@pytest.mark.parametrize(("mode", "left"), [("drop", 1), ("permissive", 1)])
def test_malformed_records_are_counted_in_every_mode(here: Path, mode: str, left: int) -> None:
    changed = config(transform=[])
    changed["extract"] = {"flights": {**changed["extract"]["flights"], "mode": mode}}
    report = Pipeline.from_dict(changed).run()
    assert report.books[0].rows_read == 6
    assert report.books[0].loaded == 5
    counted = (report.books[0].filtered, report.books[0].rejected)
    assert counted == ((left, 0) if mode == "drop" else (0, left))
    assert report.rows_rejected == (1 if mode == "permissive" else 0)


def test_a_malformed_record_stops_a_source_in_mode_fail(here: Path) -> None:
    changed = config(transform=[])
    changed["extract"] = {"flights": {**changed["extract"]["flights"], "mode": "fail"}}
    with pytest.raises(RayetlError, match=r"flights\.csv, record 6"):
        Pipeline.from_dict(changed).run()
    assert not Path("out").exists()


def test_replay_puts_mended_records_through_once(here: Path) -> None:
    Pipeline.from_dict(config()).run()
    Path("airlines.csv").write_text("carrier,name\nUA,United\nAA,American\nZZ,Zed\n")
    changed = config()
    changed["transform"][0]["rules"][1]["range"]["max"] = 10_000
    pipeline = Pipeline.from_dict(changed)
    report = pipeline.replay()
    assert report.rows_loaded == 2
    assert load_report(".rayetl", report.run) == report
    assert [row["id"] for row in rows("out")] == [1, 2, 4, 5]
    pending = pipeline.dead_letters.read(pending=True).collect()
    assert sorted(pending["row"]) == [2, 5]
    assert set(pending["file"]) == {str(Path("flights.csv"))}
    pipeline.replay()
    assert [row["id"] for row in rows("out")] == [1, 2, 4, 5]


def test_what_a_replay_takes_is_on_the_disk_before_it_commits(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave the rows without the note that says whose they are."""
    Pipeline.from_dict(config()).run()
    forced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        forced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    changed = config()
    changed["transform"][0]["rules"][1]["range"]["max"] = 10_000
    Pipeline.from_dict(changed).replay()
    notes = [place for place, path in enumerate(forced) if "/replays/" in path]
    loads = [place for place, path in enumerate(forced) if path.startswith(str(here / "out"))]
    assert len(notes) >= 2, "the note and its directory"
    assert max(notes) < min(loads)


def test_steps_and_loads_branch(here: Path) -> None:
    changed = config()
    changed["transform"] += [
        {
            "id": "named",
            "type": "join",
            "from": "checked",
            "with": "airlines",
            "on": "carrier",
            "how": "inner",
        },
        {"id": "counts", "type": "aggregate", "group_by": ["name"], "metrics": {"n": "count(*)"}},
    ]
    changed["load"] = [
        {
            "id": "good",
            "from": "checked",
            "type": "files",
            "path": "out",
            "format": "parquet",
            "mode": "append",
        },
        {
            "id": "counted",
            "from": "counts",
            "type": "files",
            "path": "counts",
            "format": "parquet",
            "mode": "overwrite",
        },
    ]
    report = Pipeline.from_dict(changed).run()
    assert len(rows("out")) == 2
    assert sorted(pq.read_table("counts").to_pylist(), key=str) == [
        {"name": "American", "n": 1},
        {"name": "United", "n": 1},
    ]
    assert all(line.balanced for line in report.books)


def test_a_pivot_finds_its_values(here: Path) -> None:
    changed = config()
    changed["extract"]["flights"]["mode"] = "drop"
    changed["transform"] = [
        {"id": "wide", "type": "pivot", "from": "flights", "group_by": ["id"], "column": "carrier",
         "aggregates": {"delay": "sum(delay)"}},
    ]  # fmt: skip
    Pipeline.from_dict(changed).run()
    assert {"UA", "AA", "ZZ"} <= set(pq.read_table("out").column_names)


def test_preview_reads_and_writes_nothing(here: Path) -> None:
    table = Pipeline.from_dict(config()).preview("checked", rows=1)
    assert table.num_rows == 1
    assert table.column_names == ["id", "carrier", "delay"]
    assert not Path("out").exists()


def test_sixteen_pipelines_run_in_threads_of_one_process(here: Path) -> None:
    def run(number: int) -> tuple[int, int]:
        Path(f"in{number}.csv").write_text(
            "id,carrier,delay\n" + "".join(f"{i},UA,1\n" for i in range(number))
        )
        mine = config(name=f"p{number}")
        mine["extract"]["flights"]["path"] = f"in{number}.csv"
        mine["load"][0]["path"] = f"out{number}"
        report = Pipeline.from_dict(mine).run()
        return report.rows_loaded, report.sources[0].rows_read

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(run, range(1, 17))) == [(number, number) for number in range(1, 17)]
    for number in range(1, 17):
        assert len(rows(f"out{number}")) == number


def test_all_problems_come_at_once_and_nothing_is_written(here: Path) -> None:
    changed = config()
    changed["transform"] += [
        {"type": "filter", "where": "delya > 0"},
        {"type": "filter", "from": "nowhere", "where": "true"},
    ]
    with pytest.raises(ConfigError) as caught:
        Pipeline.from_dict(changed).run()
    text = str(caught.value)
    assert "delya" in text
    assert "delay" in text
    assert "nowhere" in text
    assert not Path("out").exists()


def test_a_damaged_file_is_named_and_nothing_is_loaded(here: Path) -> None:
    table = pa.table({"id": list(range(50_000)), "v": [f"text {i}" for i in range(50_000)]})
    pq.write_table(table, "in.parquet", compression="zstd")
    data = bytearray(Path("in.parquet").read_bytes())
    data[4:200] = b"\xff" * 196
    Path("in.parquet").write_bytes(data)
    changed = config(transform=[{"type": "filter", "where": "v <> ''"}])
    changed["extract"] = {"flights": {"type": "files", "path": "in.parquet"}}
    with pytest.raises(SourceError, match=r"in\.parquet"):
        Pipeline.from_dict(changed).run()
    assert not Path("out").exists()


def test_a_run_whose_report_cannot_be_saved_is_done_all_the_same(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch("rayetl.runs.execute.save_report", side_effect=full):
        assert Pipeline.from_dict(config()).run().exit_code == 0
    assert "report could not be saved" in caplog.text
    assert "No space left on device" in caplog.text
    assert len(rows("out")) == 2


def test_the_fault_of_a_run_is_told_where_its_report_cannot_be_saved(here: Path) -> None:
    Path("flights.csv").write_text(FLIGHTS)
    rule = {"name": "few", "check": "id < 0", "on_failure": "abort"}
    stops = config(transform=[{"id": "checked", "type": "validate", "from": "flights", "rules": [rule]}])
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        mock.patch("rayetl.runs.execute.save_report", side_effect=full),
        pytest.raises(QualityAbort, match="few"),
    ):
        Pipeline.from_dict(stops).run()


def test_the_fault_of_a_run_is_told_where_what_it_staged_cannot_be_removed(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Path("flights.csv").write_text(FLIGHTS)
    rule = {"name": "few", "check": "id < 0", "on_failure": "abort"}
    stops = config(transform=[{"id": "checked", "type": "validate", "from": "flights", "rules": [rule]}])
    monkeypatch.setenv("RAYETL_FAILPOINT", "abort.removed:enospc")
    failpoints.rearm()
    try:
        # The second one finds no lock of the first.
        for _ in range(2):
            with pytest.raises(QualityAbort, match="few"):
                Pipeline.from_dict(stops).run()
    finally:
        monkeypatch.undo()
        failpoints.rearm()
    assert "what was staged could not be removed" in caplog.text


def test_a_state_that_is_no_directory_is_named_before_anything_is_read(here: Path) -> None:
    Path("taken").write_text("")
    with pytest.raises(RayetlError, match="state directory taken/state cannot be written: Not a directory"):
        Pipeline.from_dict(config(state="taken/state")).run()
    assert not list(here.glob("out/*.parquet"))


def test_a_pattern_passes_over_hidden_files_unless_it_names_them(here: Path) -> None:
    Path("_temporary.csv").write_text("id,carrier,delay\n7,UA,1\n")
    hidden = config(load=[{"id": "good", "type": "files", "path": "out2", "format": "parquet"}])
    hidden["extract"]["flights"]["path"] = "{flights,_temporary}.csv"
    Pipeline.from_dict(hidden).run()
    Path("all").mkdir()
    Path("all/_x.csv").write_text("id,carrier,delay\n7,UA,1\n")
    Path("all/y.csv").write_text("id,carrier,delay\n8,UA,1\n")
    starred = config(load=[{"id": "good", "type": "files", "path": "out3", "format": "parquet"}])
    starred["extract"]["flights"]["path"] = "all/*.csv"
    Pipeline.from_dict(starred).run()
    assert [row["id"] for row in rows("out2")] == [1, 2, 7]
    assert [row["id"] for row in rows("out3")] == [8]


@pytest.mark.parametrize("form", ["json", "csv", "parquet", "avro"])
def test_null_and_the_text_that_its_directory_is_called_by_are_one_partition(here: Path, form: str) -> None:
    Path("in").mkdir()
    for part in range(2):
        texts = ("null", '"__HIVE_DEFAULT_PARTITION__"', '""', '"a"')
        lines = (f'{{"k": {10 * part + place}, "g": {text}}}' for place, text in enumerate(texts))
        Path(f"in/{part}.json").write_text("\n".join(lines))
    source = {"type": "files", "path": "in", "format": "json", "schema": "k BIGINT, g STRING"}
    load = {"type": "files", "path": "out", "format": form, "partition_by": "g", "mode": "append"}
    report = Pipeline.from_dict({"name": "p", "extract": {"s": source}, "load": load}).run()
    assert report.rows_loaded == 8
    assert {path.name for path in Path("out").glob("g=*")} == {"g=__HIVE_DEFAULT_PARTITION__", "g=a"}
    text = {"schema": "k BIGINT, g STRING", "options": {"header": True}}
    back = {"type": "files", "path": "out", "format": form, **(text if form == "csv" else {})}
    found = Pipeline.from_dict({"name": "b", "extract": {"s": back}, "load": {**load, "path": "b"}}).preview()
    wanted = [(k, "a" if k % 10 == 3 else None) for k in (0, 1, 2, 3, 10, 11, 12, 13)]
    assert sorted((row["k"], row["g"]) for row in found.to_pylist()) == wanted


@pytest.mark.parametrize("form", ["json", "csv", "parquet", "avro"])
def test_numbers_that_are_equal_are_one_partition(here: Path, form: str) -> None:
    numbers = ("0.0", "-0.0", "1.5", '"NaN"', '"-Infinity"', "null")
    lines = (f'{{"k": {place}, "g": {number}}}' for place, number in enumerate(2 * numbers))
    Path("in.json").write_text("\n".join(lines))
    source = {"type": "files", "path": "in.json", "schema": "k BIGINT, g DOUBLE"}
    load = {"type": "files", "path": "out", "format": form, "partition_by": "g", "mode": "append"}
    Pipeline.from_dict({"name": "p", "extract": {"s": source}, "load": load}).run()
    assert len([*Path("out").glob("g=*")]) == 5
    options = {"options": {"header": True}} if form == "csv" else {}
    back = {"type": "files", "path": "out", "format": form, "schema": "k BIGINT, g DOUBLE", **options}
    found = Pipeline.from_dict({"name": "b", "extract": {"s": back}, "load": {**load, "path": "b"}}).preview()
    wanted = 2 * ["0.0", "0.0", "1.5", "nan", "-inf", "None"]
    assert [str(row["g"]) for row in sorted(found.to_pylist(), key=lambda row: row["k"])] == wanted


@pytest.mark.parametrize("form", ["parquet", "csv", "json", "avro"])
@pytest.mark.parametrize("name", ["a=b", "a/b", "a%41", "ü %"])
def test_a_partition_column_may_have_any_name(here: Path, form: str, name: str) -> None:
    pq.write_table(pa.table({"k": [1, 2], name: ["x=y", "z"]}), "in.parquet")
    load = {"type": "files", "path": "out", "format": form, "partition_by": name}
    source = {"type": "files", "path": "in.parquet"}
    Pipeline.from_dict({"name": "p", "extract": source, "load": load}).run()
    spelled = name.replace("%", "%25").replace("=", "%3D").replace("/", "%2F")
    assert {path.name for path in Path("out").iterdir()} == {f"{spelled}=x%3Dy", f"{spelled}=z", "_rayetl"}
    text = {"schema": "k INT", "options": {"header": True}} if form == "csv" else {}
    back = {"type": "files", "path": "out", "format": form, **text}
    found = Pipeline.from_dict({"name": "b", "extract": back, "load": {**load, "path": "b"}}).preview()
    assert sorted((row["k"], row[name]) for row in found.to_pylist()) == [(1, "x=y"), (2, "z")]


def test_a_column_of_numbers_may_be_called_as_an_argument_is(here: Path) -> None:
    pq.write_table(pa.table({"self": [1.5]}), "in.parquet")
    load = {"type": "files", "path": "out", "format": "json"}
    Pipeline.from_dict({"name": "p", "extract": {"type": "files", "path": "in.parquet"}, "load": load}).run()
    (written,) = Path("out").glob("*.json")
    assert written.read_text() == '{"self":1.5}\n'


def test_a_value_that_json_cannot_hold_is_one_sentence_and_leaves_nothing(here: Path) -> None:
    Path("in").mkdir()
    for part, last in enumerate(("2.5", "NaN")):
        Path(f"in/{part}.csv").write_text(f"k\n1.5\n{last}\n")
    text = {"format": "csv", "schema": "k DOUBLE", "options": {"header": True}}
    load = {"id": "lines", "type": "files", "path": "out", "format": "json", "mode": "append"}
    made = Pipeline.from_dict(
        {"name": "p", "extract": {"s": {"type": "files", "path": "in", **text}}, "load": load}
    )
    with pytest.raises(LoadError) as caught:
        made.run()
    assert caught.value.message == "JSON has no way to write NaN or infinity, which the column 'k' holds"
    assert caught.value.hint == "replace them in a select step, or choose another format"
    assert caught.value.step == "lines"
    assert not list(here.glob(".out*"))
    assert not Path("out").exists()


def test_a_load_into_the_home_directory_is_no_directory_of_that_name(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))
    changed = config(state="~/state", resilience={"dead_letter": {"path": "~/rejects"}})
    changed["load"][0]["path"] = "~/out"
    pipeline = Pipeline.from_dict(changed)
    report = pipeline.run()
    assert not Path("~").exists()
    assert len(rows("home/out")) == report.rows_loaded
    assert Path("home/state/runs").is_dir()
    assert pipeline.dead_letters.read().collect().height == report.rows_rejected
    assert list(Path("home/rejects").rglob("*.parquet"))


def test_a_chain_of_steps_may_be_hundreds_long(here: Path) -> None:
    del here
    steps = [{"type": "select", "columns": ["id", "delay + 1 AS delay"]} for _ in range(300)]
    first = {**steps[0], "from": "flights"}
    load = [{"type": "files", "path": "out", "format": "parquet"}]
    Pipeline.from_dict(config(transform=[first, *steps[1:]], load=load)).run()
    assert ds.dataset("out").to_table().sort_by("id")["delay"].to_pylist()[:2] == [305, 297]
