"""A node that several read ends a query: which nodes that are, and that nothing else changes by it."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pyarrow.dataset as ds
import pytest

from rayetl import Pipeline
from rayetl.connectors.feeding import Feed
from rayetl.connectors.formats.writing import FilesSink
from rayetl.connectors.scanning import waiting
from rayetl.engines.polars import engine, queries
from rayetl.engines.polars import parts as cutting
from rayetl.engines.polars.engine import _needed
from rayetl.engines.polars.forks import Fork
from rayetl.engines.polars.parts import Part, parts
from rayetl.errors import RayetlError

ROWS = 3000
FILTER = "SELECT * FROM {} WHERE k > 3"
ADD = "SELECT id, k + 1 AS k, v FROM {}"
JOIN = "SELECT x.id, x.k, y.v FROM {} x JOIN (SELECT k, max(v) AS v FROM {} GROUP BY k) y ON x.k = y.k"


@pytest.fixture(autouse=True)
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = range(ROWS)
    values = [None if row % 91 == 0 else row * 0.5 for row in rows]
    frame = pl.DataFrame({"id": rows, "k": [row % 17 for row in rows], "v": values})
    frame.write_parquet("a.parquet", row_group_size=100)
    lines = (f"{row},{row % 5},{'bad' if row % 97 == 0 else row}\n" for row in rows)
    Path("b.csv").write_text("id,k,v\n" + "".join(lines))


def config(steps: dict[str, tuple[str, ...]], loads: dict[str, str], **extract: Any) -> dict[str, Any]:
    """Steps by id: a query, and the nodes that stand in it. Loads by id: what they read."""
    return {
        "name": "several",
        "extract": {"a": {"type": "files", "path": "a.parquet"}, **extract},
        "transform": [
            {"id": name, "type": "sql", "query": query.format(*inputs)}
            for name, (query, *inputs) in steps.items()
        ],
        "load": [
            {"id": name, "from": node, "type": "files", "path": f"out/{name}", "mode": "overwrite"}
            for name, node in loads.items()
        ],
        "resilience": {"dead_letter": {"type": "files", "path": "rejects"}},
    }


def cut(document: dict[str, Any]) -> list[Part]:
    plan = Pipeline.from_dict(document).plan()
    loads = [load.id for load in plan.loads]
    return parts(plan, _needed(plan, loads), loads)


B = {"type": "files", "path": "b.csv", "schema": "id INT, k INT, v DOUBLE", "options": {"header": True}}


@pytest.mark.parametrize(
    ("steps", "loads", "expected"),
    [
        pytest.param(
            {"s": (FILTER, "a")}, {"x": "s"}, [(("a", "s"), ("x",), None)], id="one load is one query"
        ),
        pytest.param(
            {"s": (FILTER, "a")},
            {"x": "s", "y": "s"},
            [(("a", "s"), (), None), ((), ("x",), "s"), ((), ("y",), "s")],
            id="two loads of a step",
        ),
        pytest.param(
            {"s": (FILTER, "a"), "t": (ADD, "s"), "u": (ADD, "t")},
            {"x": "t", "y": "u", "z": "s"},
            [
                (("a", "s"), (), None),
                (("t",), (), "s"),
                ((), ("z",), "s"),
                (("u",), ("y",), "t"),
                ((), ("x",), "t"),
            ],
            id="a branch that branches",
        ),
        pytest.param(
            {"s": (FILTER, "a"), "t": (ADD, "s"), "j": (JOIN, "s", "t")},
            {"x": "j", "y": "s"},
            [(("a", "s"), (), None), (("t", "j"), ("x",), "s"), ((), ("y",), "s")],
            id="a branch that comes together again gets rows once",
        ),
        pytest.param(
            {"s": (FILTER, "a"), "t": (FILTER, "a")},
            {"x": "s", "y": "t"},
            [(("a", "s", "t"), ("x", "y"), None)],
            id="each filter asks the source for its rows",
        ),
        pytest.param(
            {"s": (FILTER, "a")},
            {"x": "s", "y": "a"},
            [(("a",), (), None), (("s",), ("x",), "a"), ((), ("y",), "a")],
            id="a load reads all rows of a source anyway",
        ),
        pytest.param(
            {"s": (FILTER, "a"), "t": (ADD, "s"), "j": (JOIN, "a", "t")},
            {"x": "j", "y": "s"},
            [(("a", "s"), (), None), (("a", "t", "j"), ("x",), "s"), ((), ("y",), "s")],
            id="files are read again beside what is handed over",
        ),
        pytest.param(
            {"s": (FILTER, "a"), "t": (FILTER, "b"), "i": (JOIN, "s", "t"), "j": (JOIN, "t", "s")},
            {"x": "i", "y": "j"},
            [(("a", "b", "s", "t", "i", "j"), ("x", "y"), None)],
            id="two that wait for two would wait for each other",
        ),
        pytest.param(
            {"s": (FILTER, "a"), "t": (FILTER, "s"), "u": (ADD, "s"), "j": (JOIN, "t", "u")},
            {"x": "j"},
            [(("a", "s", "t", "u", "j"), ("x",), None)],
            id="one load that gets rows by two ways",
        ),
    ],
)
def test_a_query_ends_where_several_others_can_go_on(
    steps: dict[str, tuple[str, ...]], loads: dict[str, str], expected: list[tuple[Any, ...]]
) -> None:
    more = {"b": B} if any("b" in inputs for _, *inputs in steps.values()) else {}
    found = cut(config(steps, loads, **more))
    assert sorted(found, key=repr) == sorted((Part(*part) for part in expected), key=repr)
    for number, part in enumerate(found):
        assert part.feed is None or any(part.feed in earlier.nodes for earlier in found[:number])


def test_a_run_has_no_more_parts_than_threads_can_wait_for() -> None:
    document = config({"s": (FILTER, "a")}, {f"x{number}": "s" for number in range(cutting.MOST)})
    assert len(cut(document)) == 1


def shape(chance: random.Random) -> dict[str, Any]:
    """Steps of many kinds that read one another in any way, and loads of several of them."""
    nodes, steps, loads = ["a", "b"], [], []
    for number in range(chance.randint(2, 6)):
        one, other, key = chance.choice(nodes[-3:]), chance.choice(nodes), chance.randint(0, 9)
        rules = [
            {"name": f"v{number}", "not_null": ["v"], "on_failure": chance.choice(["quarantine", "warn"])},
            {"name": f"k{number}", "check": f"k <> {key}", "on_failure": "quarantine"},
        ]
        texts = [
            *(FILTER, ADD, JOIN, "SELECT * FROM {} WHERE k > 1000"),
            "SELECT max(id) AS id, k, sum(coalesce(v, 0)) AS v FROM {} GROUP BY k",
            "SELECT id, k, v FROM {} UNION ALL SELECT id, k, v FROM {}",
            "SELECT x.id, x.k, x.v FROM {} x LEFT ANTI JOIN (SELECT k FROM {} WHERE k < 8) y ON x.k = y.k",
            "SELECT id, k, row_number() OVER (PARTITION BY k ORDER BY id) * 1.0D AS v FROM {}",
        ]
        kinds: list[dict[str, Any]] = [
            *({"type": "sql", "query": text.format(one, other)} for text in texts),
            *({"type": "validate", "from": one, "rules": rules} for _ in range(3)),
            {"type": "limit", "from": one, "rows": 0},
        ]
        steps.append({"id": f"s{number}", **chance.choice(kinds)})
        nodes.append(f"s{number}")
    for number in range(chance.randint(2, 4)):
        place = {"type": "files", "path": f"out/{number}", "format": chance.choice(["parquet", "csv"])}
        loads.append({"id": f"x{number}", "from": chance.choice(nodes[-4:]), "mode": "overwrite", **place})
    return {**config({}, {}, b=B), "transform": steps, "load": loads}


def outcome(document: dict[str, Any]) -> list[object]:
    """The rows of each load and of the rejects, and the books."""
    report = Pipeline.from_dict(document).run(force=True)
    rows: list[object] = []
    for load in document["load"]:
        found = ds.dataset(load["path"], format=load.get("format", "parquet"), exclude_invalid_files=False)
        rows.append(sorted(map(repr, found.to_table().to_pylist())))
    refused = [str(file) for file in Path("rejects").rglob("*.parquet") if report.run in str(file)]
    if refused:
        letters = ds.dataset(refused, format="parquet").to_table(columns=["step", "row"])
        rows.append(sorted(map(repr, letters.to_pylist())))
    told = json.loads(report.to_json())
    return [*rows, told["steps"], told["books"]]


@pytest.mark.parametrize("seed", range(12))
def test_rows_and_books_are_those_of_one_query(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    document = shape(random.Random(seed))
    found = outcome(document)
    monkeypatch.setattr(cutting, "MOST", 1)
    assert found == outcome(document)


LOW, HIGH = "SELECT * FROM {} WHERE k < 5", "SELECT * FROM {} WHERE k > 11"
BOTH = "SELECT id, k, v FROM {} UNION ALL SELECT id, k, v FROM {}"


@pytest.mark.parametrize(
    "between", [{}, {"n": (ADD, "s")}], ids=["what is handed over", "what is made of it"]
)
def test_a_query_that_goes_two_ways_asks_once(
    between: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    last = "n" if between else "s"
    steps = {"s": (ADD, "a"), **between, "t": (LOW, last), "u": (HIGH, last), "w": (BOTH, "t", "u")}
    document = config(steps, {"x": "w", "y": "s"})
    assert len(cut(document)) == 3
    found = outcome(document)
    monkeypatch.setattr(cutting, "MOST", 1)
    assert found == outcome(document)


@pytest.mark.parametrize("rules", [[], [{"name": "v", "not_null": ["v"]}]], ids=["counted", "judged"])
def test_rows_are_counted_and_judged_to_the_last_though_few_are_wanted(rules: list[Any]) -> None:
    few = {"l": ("SELECT * FROM {} LIMIT 5", "s"), "m": ("SELECT * FROM {} LIMIT 7", "s")}
    document = config(few, {"x": "l", "y": "m"})
    check = {"id": "s", "type": "validate", "from": "a", "rules": rules}
    document["transform"].insert(0, check if rules else {"id": "s", "type": "sql", "query": ADD.format("a")})
    assert [part.feed for part in cut(document)] == [None, "s", "s"]
    report = Pipeline.from_dict(document).run()
    refused = len(range(0, ROWS, 91)) if rules else 0
    assert (report.rows_loaded, report.rows_rejected) == (12, refused)
    rows = {step.id: step.rows_out for step in report.steps}
    assert rows["s"] == ROWS - refused


def test_rows_are_read_no_further_when_a_reader_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    take = Feed.take

    def counted(self: Feed, rows: pl.DataFrame | None) -> bool:
        taken.append(self.name)
        return take(self, rows)

    def fail(batch: pl.DataFrame) -> pl.DataFrame:
        raise OSError("no row is good")

    add = queries.Frames.add

    def failing(self: queries.Frames, node: str) -> pl.LazyFrame:
        frame = add(self, node)
        return frame.map_batches(fail, streamable=True) if node == "x" else frame

    monkeypatch.setattr(Feed, "take", counted)
    monkeypatch.setattr(queries.Frames, "add", failing)
    with pytest.raises(RayetlError, match="no row is good"):
        Pipeline.from_dict(config({"s": (ADD, "a")}, {"x": "s", "y": "s"})).run()
    assert 0 < len(taken) < ROWS // 100


def bad_in_the_end(batch: pl.DataFrame) -> pl.DataFrame:
    if batch["id"].max() == ROWS - 1:
        raise OSError("the last row is bad")
    return batch


@pytest.mark.parametrize("where", ["x", "y", "s"])
def test_what_one_query_meets_ends_them_all(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = queries.Frames
    add = frames.add

    def failing(self: queries.Frames, node: str) -> pl.LazyFrame:
        return (
            add(self, node).map_batches(bad_in_the_end, streamable=True) if node == where else add(self, node)
        )

    monkeypatch.setattr(frames, "add", failing)
    with pytest.raises(RayetlError, match="the last row is bad"):
        Pipeline.from_dict(config({"s": (FILTER, "a")}, {"x": "s", "y": "s"})).run()
    assert not [thread for thread in threading.enumerate() if thread.name == "s"]
    assert not list(Path("out").glob("*/*.parquet"))


def test_nobody_reads_on_when_no_reader_wants_more(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    take = Feed.take

    def counted(self: Feed, rows: pl.DataFrame | None) -> bool:
        taken.append(0 if rows is None else rows.height)
        return take(self, rows)

    monkeypatch.setattr(Feed, "take", counted)
    few = {"l": ("SELECT * FROM {} LIMIT 5", "a"), "m": ("SELECT * FROM {} LIMIT 7", "a")}
    document = config(few, {"x": "l", "y": "m"})
    assert [part.feed for part in cut(document)] == [None, "a", "a"]
    assert Pipeline.from_dict(document).run().rows_loaded == 12
    assert 0 < sum(taken) < 2 * ROWS


def test_the_quicker_of_two_loads_waits_for_the_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = {"x": 0, "y": 0}
    all_of_x, held = threading.Event(), list[bool]()

    def taking(load: str) -> Callable[[pl.DataFrame], None]:
        def take(batch: pl.DataFrame) -> None:
            passed[load] += batch.height
            if passed["x"] == 10 * ROWS:
                all_of_x.set()
            if load == "y" and not held:
                # Only what would be wrong ends the wait early.
                held.append(all_of_x.wait(1))

        return take

    def sink(frame: pl.LazyFrame, target: object, load: str) -> FilesSink:
        return FilesSink(waiting(frame.sink_batches(taking(load), lazy=True)))

    monkeypatch.setattr(engine, "sink_files", sink)
    document = config({"s": (ADD, "a")}, {"x": "s", "y": "s"}, a={"type": "files", "path": "a*.parquet"})
    for copy in range(9):
        Path(f"a{copy}.parquet").write_bytes(Path("a.parquet").read_bytes())
    with pytest.raises(RayetlError, match="staged files hold 0"):
        # Nothing was staged.
        Pipeline.from_dict(document).run()
    assert passed == {"x": 10 * ROWS, "y": 10 * ROWS}
    assert held == [False]


def test_a_run_that_is_told_to_stop_does_not_wait_for_a_query_that_goes_on() -> None:
    ended = threading.Event()

    def stopped(node: str) -> pl.LazyFrame:
        raise KeyboardInterrupt(node)

    feed = Feed({"a": pl.Int64()}, "s")
    query = queries.Query(cast("queries.Frames", SimpleNamespace(add=stopped)))
    query.forks.append(Fork("s", to_end=True, readers=[(feed, lambda: ended.wait(60) and None)]))
    with pytest.raises(KeyboardInterrupt):
        query.collect()
    assert not ended.is_set()
    assert [thread for thread in threading.enumerate() if thread.name == "s"]
    ended.set()
    feed.wait()


def test_what_is_handed_over_is_not_read_twice() -> None:
    feed = Feed({"a": pl.Int64()}, "s")
    both = pl.concat([feed.rows, feed.rows.filter(pl.col("a") > 1)])
    feed.start(lambda: both.collect(optimizations=pl.QueryOptFlags.none()))
    feed.take(pl.DataFrame({"a": [1]}))
    feed.take(None)
    with pytest.raises(Exception, match="reads twice"):
        feed.close()
