"""Replays of records as odd as sources have them: what was refused comes back as the row that it was."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from rayetl import Pipeline
from rayetl.connectors.base import FilesScan
from rayetl.errors import CommitConflict, ConfigError, QualityAbort, RayetlError
from rayetl.runs import replay
from rayetl.runs.execute import Run
from rayetl.runs.stored import Stored, stored


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pipeline(
    source: dict[str, Any], check: str = "v <> 'bad'", *, least: int = 1, mode: str = "append", **more: Any
) -> Pipeline:
    rules = [{"name": "sound", "check": check}, {"row_count": {"min": least}}]
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"type": "files", **source},
            "transform": [{"id": "checked", "type": "validate", "rules": rules}],
            "load": [{"type": "files", "path": "out", "mode": mode}],
            **more,
        }
    )


def loaded() -> list[tuple[Any, ...]]:
    table = ds.dataset("out", format="parquet").to_table()
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=str)


def replayed(source: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What is loaded once nothing is refused any more."""
    pipeline(source).run()
    pipeline(source, "true").replay()
    assert not pipeline(source).dead_letters.read(pending=True).collect().height
    return loaded()


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_records_keep_the_values_of_their_directories(kind: str) -> None:
    for year, ids in (("2013", (1, 2)), ("__HIVE_DEFAULT_PARTITION__", (3, 4))):
        directory = Path(f"in/year={year}")
        directory.mkdir(parents=True)
        if kind == "parquet":
            pq.write_table(pa.table({"id": ids, "v": ["bad", "good"]}), directory / "a.parquet")
        elif kind == "json":
            texts = (f'{{"id":{id_},"v":"{v}"}}\n' for id_, v in zip(ids, ("bad", "good"), strict=True))
            (directory / "a.json").write_text("".join(texts))
        else:
            (directory / "a.csv").write_text(f"{ids[0]},bad\n{ids[1]},good\n")
    source = {"path": "in", "format": kind, "schema": "id BIGINT, v STRING"}
    assert replayed(source) == [(1, "bad", 2013), (2, "good", 2013), (3, "bad", None), (4, "good", None)]


def test_a_partition_that_the_directories_did_not_spell_is_no_null() -> None:
    Path("in").mkdir()
    Path("in/a.csv").write_text("1,bad\n2,good\n")
    source = {"path": "in", "format": "csv", "schema": "id INT, v STRING"}
    pipeline(source).run()
    Path("in/year=2013").mkdir()
    Path("in/a.csv").rename("in/year=2013/a.csv")
    with pytest.raises(RayetlError, match=r"records of in/a\.csv have no value for year"):
        pipeline(source, "true").replay()
    assert loaded() == [(2, "good")]


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-16LE", "UTF-32", "ISO-8859-1", "UTF-8"])
def test_records_of_every_encoding(encoding: str, header: bool) -> None:
    text = ("id,v\n" if header else "") + "1,ä\n2,bäd\n3,ö\n4,bäd\n"
    Path("in.csv").write_bytes(text.encode(encoding))
    options = {"encoding": encoding, "header": header}
    source = {"path": "in.csv", "schema": "id INT, v STRING", "options": options}
    pipeline(source, "v <> 'bäd'").run()
    pipeline(source, "true").replay()
    assert loaded() == [(1, "ä"), (2, "bäd"), (3, "ö"), (4, "bäd")]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"line_sep": ";"}, "1,good;2,bad;3,bad;"),
        ({"quote": "'"}, "1,good\n2,'bad'\n3,bad\n"),
        ({"multi_line": True}, '1,good\r\n2,"bad"\r\n3,"bad"\r\n'),
        ({"comment": "#", "multi_line": True}, "1,good\n# two\n2,bad\n# three\n3,bad\n"),
    ],
)
def test_records_of_csv_with_options(options: dict[str, Any], text: str) -> None:
    Path("in.csv").write_bytes(text.encode())
    source = {"path": "in.csv", "schema": "id INT, v STRING", "options": options}
    assert replayed(source) == [(1, "good"), (2, "bad"), (3, "bad")]


def test_a_record_with_an_open_quote_does_not_take_the_next_ones() -> None:
    Path("in").mkdir()
    Path("in/1.csv").write_text('1,bad\n2,"bad\n')
    Path("in/2.csv").write_text('3,bad\n4,"bad')
    source = {"path": "in", "format": "csv", "schema": "id INT, v STRING", "options": {"multi_line": True}}
    pipeline(source, "NOT startswith(v, 'bad')").run()
    report = pipeline(source, "true").replay()
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (4, 4, 0)
    assert [id_ for id_, _ in loaded()] == [1, 2, 3, 4]


def test_elements_of_a_json_document_are_all_taken() -> None:
    Path("in.json").write_text('[{"id":1,"v":"good"},\n{"id":2,\n"v":"bad"},{"id":3,"v":"bad"}]')
    source = {"path": "in.json", "schema": "id INT, v STRING", "options": {"multi_line": True}}
    assert replayed(source) == [(1, "good"), (2, "bad"), (3, "bad")]


def test_letters_of_a_second_refusal_name_the_place_of_the_first() -> None:
    for name in ("a", "b"):
        Path(f"in/of={name}").mkdir(parents=True)
        Path(f"in/of={name}/in.csv").write_text("1,good\n2,bad\n3,bad\n")
    source = {"path": "in", "format": "csv", "schema": "id INT, v STRING"}
    pipeline(source).run()
    pipeline(source, "NOT (v = 'bad' AND id = 3)").replay()
    letters = pipeline(source).dead_letters.read(pending=True).collect()
    places = sorted(zip(letters["file"], letters["row"], letters["record"], strict=True))
    assert places == [("in/of=a/in.csv", 2, b"3,bad"), ("in/of=b/in.csv", 2, b"3,bad")]


def test_a_record_that_a_column_cannot_hold_any_more_is_refused_and_no_null() -> None:
    pq.write_table(pa.table({"id": [1, 2], "v": ["bad", "7"]}), "in.parquet")
    pipeline({"path": "in.parquet"}, "v = ''").run()
    Path("in.parquet").unlink()
    report = pipeline({"path": "in.parquet", "schema": "id BIGINT, v INT"}, "v <> 7", least=0).replay()
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (2, 0, 2)
    letters = pipeline({"path": "in.parquet"}).dead_letters.read(pending=True).collect().sort("row")
    assert letters.select("file", "row", "step").rows() == [
        ("in.parquet", 0, "source"),
        ("in.parquet", 1, "source"),
    ]
    assert letters["reasons"][0][0]["reason"] == "column v: the text is not a valid INT"


def test_a_file_that_takes_the_place_of_another_has_letters_of_its_own() -> None:
    source = {"path": "in.csv", "schema": "id INT, v STRING"}
    for day in (1, 2, 3):
        Path("in.csv").write_text(f"{day},bad\n{day * 111},good\n")
        pipeline(source).run()
        if day == 1:
            pipeline(source, "true").replay()
    assert pipeline(source).replay().rows_rejected == 2, "days 2 and 3, once more"
    assert pipeline(source).dead_letters.read(pending=True).collect().height == 2
    assert pipeline(source, "true").replay().rows_loaded == 2
    assert [row for row in loaded() if row[1] == "bad"] == [(1, "bad"), (2, "bad"), (3, "bad")]


@pytest.mark.parametrize("multi_line", [False, True])
def test_bytes_that_are_no_text_are_kept_until_the_encoding_is_mended(multi_line: bool) -> None:
    Path("in.csv").write_bytes(b"1,a\n2,b\xe4d\n3,\xff\n")
    source: dict[str, Any] = {"path": "in.csv", "schema": "id INT, v STRING"}
    source["options"] = {"multi_line": multi_line}
    pipeline(source, "NOT contains(v, '\ufffd')").run()
    assert set(pipeline(source).dead_letters.read().collect()["record"]) == {b"2,b\xe4d", b"3,\xff"}
    source["options"]["encoding"] = "ISO-8859-1"
    pipeline(source).replay()
    assert loaded() == [(1, "a"), (2, "bäd"), (3, "ÿ")]


def test_bytes_of_json_that_are_no_text_are_kept() -> None:
    Path("in.json").write_bytes(b'{"id":1,"v":"a"}\n{"id":2,"v":"b\xe4d"}\n\n[{"id":3,"v":"bad"}]\n')
    source: dict[str, Any] = {"path": "in.json", "schema": "id INT, v STRING"}
    pipeline(source, "NOT contains(v, '\ufffd')").run()
    assert pipeline(source).dead_letters.read().collect()["record"].to_list() == [b'{"id":2,"v":"b\xe4d"}']
    pipeline({**source, "options": {"encoding": "ISO-8859-1"}}).replay()
    assert loaded() == [(1, "a"), (2, "bäd"), (3, "bad")]


def test_numbers_that_are_none_are_no_nulls() -> None:
    values = [1.5, float("nan"), float("inf"), float("-inf"), None, 0.1]
    kinds = (("d", pa.float64()), ("f", pa.float32()))
    table = pa.table({"id": range(6)} | {name: pa.array(values, kind) for name, kind in kinds})
    pq.write_table(table.append_column("v", pa.array(["bad"] * 6)), "in.parquet")
    source = {"path": "in.parquet"}
    pipeline(source).run()
    letters = pipeline(source).dead_letters.read().collect().sort("row")
    assert letters["record"][1] == b'{"id":1,"d":"NaN","f":"NaN","v":"bad"}'
    assert letters["record"][4] == b'{"id":4,"d":null,"f":null,"v":"bad"}'
    pipeline(source, "true").replay()
    found = ds.dataset("out", format="parquet").to_table().sort_by("id")
    assert str(found.drop_columns("v").to_pylist()) == str(table.to_pylist())


def test_nested_values_come_back_as_they_were() -> None:
    nan, inf, moment = float("nan"), float("inf"), datetime(2024, 1, 1, 2, 3, 4, 5)
    pair = pa.struct([("x", pa.float64()), ('y "z"', pa.binary())])
    columns = {
        "list": pa.array([[1.5, nan, None], []], pa.list_(pa.float64())),
        "pairs": pa.array([[{"x": -inf, 'y "z"': b"\0\xff"}, None], None], pa.list_(pair)),
        "texts": pa.array([[("é", nan), ("b", 0.1)], []], pa.map_(pa.string(), pa.float32())),
        "ints": pa.array([[(1, "a"), (-2, None)], None], pa.map_(pa.int32(), pa.string())),
        "bytes": pa.array([[(b"\0", [inf])], []], pa.map_(pa.binary(), pa.list_(pa.float32()))),
        "times": pa.array([[(moment, True)], []], pa.map_(pa.timestamp("us"), pa.bool_())),
        "v": pa.array(["bad", "bad"]),
    }
    pq.write_table(pa.table(columns), "in.parquet")
    pipeline({"path": "in.parquet"}, mode="append").run()
    pipeline({"path": "in.parquet"}, "true").replay()
    found = ds.dataset("out", format="parquet").to_table()
    assert str(found.to_pylist()) == str(pa.table(columns).to_pylist())


# Rows that are not what they would have been among the others, and loads that have them

CHECKED = {
    "id": "checked",
    "type": "validate",
    "from": "s",
    "rules": [{"name": "sound", "check": "v <> 'bad'"}],
}
COUNTED = {"id": "n", "type": "aggregate", "from": "s", "group_by": ["id"], "metrics": {"n": "count(*)"}}


def branched(*steps: dict[str, Any], loads: dict[str, str | None] | None = None) -> Pipeline:
    """A pipeline with the loads `loads`, by path, each of a step."""
    places = loads or {"out": None}
    return Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"s": {"type": "files", "path": "in.csv", "schema": "id INT, v STRING"}},
            "transform": list(steps),
            "load": [
                {"type": "files", "path": path, "mode": "append", **({"from": step} if step else {})}
                for path, step in places.items()
            ],
        }
    )


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (
            {"type": "validate", "rules": [{"unique": ["id"]}]},
            r"the rule unique\(id\) of the step last compares",
        ),
        ({"type": "deduplicate", "keys": ["id"]}, r"the step last \(deduplicate\) needs all rows at once"),
        ({"type": "limit", "rows": 9}, r"the step last \(limit\) needs all rows at once"),
        ({"type": "join", "with": "n", "on": ["id"]}, r"the step n \(aggregate\) needs all rows at once"),
        (
            {"type": "join", "with": "s", "on": ["id"], "how": "semi"},
            "joins rows of the source with one another",
        ),
        ({"type": "sort", "by": ["id"]}, None),
        ({"type": "sql", "query": "SELECT id, v FROM input"}, None),
        ({"type": "validate", "rules": [{"unique": ["id"], "on_failure": "warn"}]}, None),
    ],
)
def test_a_step_that_looks_at_other_rows_keeps_single_ones_out(step: dict[str, Any], why: str | None) -> None:
    Path("in.csv").write_text("1,good\n1,bad\n")
    run = branched(COUNTED, CHECKED, {"id": "last", **step})
    run.run()
    mended = {**CHECKED, "rules": [{"check": "true"}]}
    again = branched(COUNTED, mended, {"id": "last", **step})
    if why is None:
        assert again.replay().rows_loaded == 1
        return
    with pytest.raises(RayetlError, match=why) as refused:
        again.replay()
    assert "empty the loads that append" in str(refused.value.hint), "--force alone would load rows twice"
    assert len(loaded()) == 1


def test_a_load_that_has_the_rows_does_not_get_them_twice() -> None:
    Path("in.csv").write_text("1,good\n2,bad\n")
    loads: dict[str, str | None] = {"out": "checked", "all": "s"}
    branched(CHECKED, loads=loads).run()
    mended = {**CHECKED, "rules": [{"check": "true"}]}
    renamed = {**mended, "id": "renamed"}
    with pytest.raises(RayetlError, match="no step 'checked' any more"):
        branched(renamed, loads={"out": "renamed", "all": "s"}).replay()
    branched(mended, loads=loads).replay()
    assert loaded() == [(1, "good"), (2, "bad")]
    assert ds.dataset("all", format="parquet").to_table()["id"].to_pylist() == [1, 2]


def test_a_step_may_have_another_name_by_now() -> None:
    Path("in.csv").write_text("1,good\n2,bad\n")
    branched(CHECKED).run()
    branched({**CHECKED, "id": "renamed", "rules": [{"check": "true"}]}).replay()
    assert loaded() == [(1, "good"), (2, "bad")]


# Sources whose files are gone


def filed(kind: str) -> dict[str, Any]:
    """A source of a partitioned directory that has been run."""
    for year in ("2013", "__HIVE_DEFAULT_PARTITION__"):
        Path(f"in/v=1/year={year}").mkdir(parents=True)
        place = f"in/v=1/year={year}/a.{kind}"
        if kind == "parquet":
            pq.write_table(pa.table({"id": [1, 2], "v": ["bad", "good"]}), place)
        else:
            texts = {"csv": "1,bad\n2,good\n", "json": '{"id":1,"v":"bad"}\n{"id":2,"v":"good"}\n'}
            Path(place).write_text(texts[kind])
    source = {"path": "in/*", "format": kind, "schema": "id BIGINT, v STRING, year INT"}
    pipeline(source).run()
    return source


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
@pytest.mark.parametrize("emptied", [False, True])
def test_files_that_are_gone_are_not_needed(kind: str, emptied: bool) -> None:
    source = filed(kind)
    Path("in").rename("archive")
    if emptied:
        Path("in/v=1/year=2013").mkdir(parents=True)
    report = pipeline(source, "true").replay()
    assert (report.rows_read, report.rows_loaded) == (2, 2)
    assert loaded() == [(1, "bad", 2013), (1, "bad", None), (2, "good", 2013), (2, "good", None)]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"schema": None}, "no file fits the pattern in/\\*, and columns are taken from files"),
        ({"schema": "id BIGINT, v STRING"}, "whose directories gave the column year its type"),
        ({"path": "in/**/*.json"}, "`path` does not tell which of its directories spell columns"),
    ],
)
def test_what_only_the_files_can_tell_is_said(changes: dict[str, Any], why: str) -> None:
    source = filed("json")
    Path("in").rename("archive")
    with pytest.raises(ConfigError, match=why):
        pipeline({**source, **changes}, "true").replay()
    assert len(loaded()) == 2


# Replays that were stopped


def started() -> dict[str, Any]:
    Path("in.csv").write_text("1,good\n2,bad\n3,bad\n")
    source = {"path": "in.csv", "schema": "id INT, v STRING"}
    pipeline(source).run()
    return source


def cut_off(source: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that loads its rows and ends before it has marked the letters."""
    with monkeypatch.context() as patch:
        patch.setattr("rayetl.connectors.dead_letters.DeadLetters.mark_replayed", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline(source, "true").replay()


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_one_replay_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    source = started()
    fill = Run.execute

    def meanwhile(run: Run) -> Any:
        with pytest.raises(CommitConflict, match="is loading into the loads of p, replaying, at this moment"):
            pipeline(source, "true").replay(
                pipeline(source).dead_letters.read().collect()["id"].to_list()[:1]
            )
        return fill(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "execute", meanwhile)
        pipeline(source, "true").replay()
    with pytest.raises(RayetlError, match="there is nothing to replay"):
        pipeline(source, "true").replay()
    assert loaded() == [(1, "good"), (2, "bad"), (3, "bad")]


def test_a_full_disk_stops_a_replay_before_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    source = started()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("rayetl.runs.stored._written", full)
        with pytest.raises(RayetlError, match=r"records cannot be set down in .*: No space left") as told:
            pipeline(source, "true").replay()
    assert "TMPDIR" in str(told.value.hint)
    Path("file").touch()
    with pytest.raises(RayetlError, match="the state directory file cannot be written: Not a directory"):
        pipeline(
            source, "true", state="file", resilience={"dead_letter": {"path": ".rayetl/rejects"}}
        ).replay()
    assert pipeline(source, "true").replay().rows_loaded == 2


def test_records_are_taken_up_some_at_a_time_in_the_order_of_the_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = {"a": range(5), "b": range(5, 9)}
    source = {"path": "in", "schema": "id INT, v STRING"}
    Path("in").mkdir()
    for name in reversed(rows):
        for other in Path("in").iterdir():
            other.unlink()
        Path(f"in/{name}.csv").write_text("".join(f"{row},bad\n" for row in rows[name]))
        pipeline(source).run()
    heights: list[int] = []

    def watched(scan: FilesScan, letters: Iterable[pl.DataFrame], directory: Path) -> Stored:
        def seen() -> Iterator[pl.DataFrame]:
            for some in letters:
                heights.append(some.height)
                yield some

        return stored(scan, seen(), directory)

    monkeypatch.setattr(replay, "_PART", 2)
    monkeypatch.setattr(replay, "stored", watched)
    pipeline(source, "id <> 6").replay()
    assert heights == [2, 2, 2, 2, 1]
    found = ds.dataset(sorted(Path("out").glob("part-*")), format="parquet").to_table()
    assert found["id"].to_pylist() == [0, 1, 2, 3, 4, 5, 7, 8]
    refused = pipeline(source).dead_letters.read(pending=True).select("file", "row", "record").collect()
    assert refused.rows() == [("in/b.csv", 1, b"6,bad")]


def test_letters_that_go_during_a_replay_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    source = started()
    plan = replay._planned

    def gone(*given: Any) -> Any:
        for part in Path(".rayetl/rejects/p/rejects").glob("part-*"):
            part.unlink()
        return plan(*given)

    monkeypatch.setattr(replay, "_planned", gone)
    with pytest.raises(RayetlError, match="2 of the dead letters are not in their store any more"):
        pipeline(source, "true").replay()
    assert loaded() == [(1, "good")]


def test_a_replay_that_a_rule_stopped_leaves_others_free() -> None:
    source = started()
    with pytest.raises(QualityAbort, match="row_count"):
        pipeline(source, "true", least=3).replay()
    wanted = pipeline(source).dead_letters.read().filter(row=2).collect()["id"].to_list()
    assert pipeline(source, "true").replay(wanted).rows_loaded == 1
    assert loaded() == [(1, "good"), (3, "bad")]


def test_a_replay_that_a_rule_stopped_overwrites_nothing_later() -> None:
    source = started()
    with pytest.raises(QualityAbort, match="row_count"):
        pipeline(source, "true", least=3).replay()
    with pytest.raises(RayetlError, match="is in mode overwrite; a replay appends"):
        pipeline(source, "true", mode="overwrite").replay()
    assert loaded() == [(1, "good")]


def test_a_replay_that_was_cut_off_overwrites_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = started()
    cut_off(source, monkeypatch)
    with pytest.raises(
        RayetlError, match="cut off cannot be completed: the load load_1 is in mode overwrite"
    ):
        pipeline(source, "true", mode="overwrite").replay()
    assert loaded() == [(1, "good"), (2, "bad"), (3, "bad")]


def test_a_replay_that_was_cut_off_needs_its_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    source = started()
    cut_off(source, monkeypatch)
    moved = {"dead_letter": {"path": "elsewhere"}}
    with pytest.raises(RayetlError, match="2 of its 2 dead letters are not where letters are now"):
        pipeline(source, "true", resilience=moved).replay()


def test_completing_a_replay_is_something_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    source = started()
    cut_off(source, monkeypatch)
    assert pipeline(source, "true").replay().status == "skipped"
    assert loaded() == [(1, "good"), (2, "bad"), (3, "bad")]
    with pytest.raises(RayetlError, match="there is nothing to replay"):
        pipeline(source, "true").replay()


def test_an_id_that_no_letter_has_replays_nothing() -> None:
    Path("a.csv").write_text("id,v\n1,bad\n2,good\n")
    source = {"path": "a.csv", "options": {"header": True}, "schema": "id INT, v STRING"}
    pipeline(source).run()
    known = pipeline(source).dead_letters.read().collect()["id"].to_list()
    with pytest.raises(RayetlError, match="has none with the id 'nowhere'"):
        pipeline(source, "true").replay([*known, "nowhere"])
    assert loaded() == [(2, "good")]
    pipeline(source, "true").replay(known[0])
    assert loaded() == [(1, "bad"), (2, "good")]
