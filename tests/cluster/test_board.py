"""How a run on the cluster is retold: what the supervisor notes reaches the listener once, and in order."""

from __future__ import annotations

from rayetl.cluster.board import Board, Reporter, Retold, Work


class Heard:
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def stage_started(self, stage: str) -> None:
        self.calls.append(("begins", stage))

    def stage_finished(self, stage: str, seconds: float) -> None:
        self.calls.append(("ends", stage, seconds))

    def rows(self, name: str, rows: int, total: int | None = None) -> None:
        self.calls.append((name, rows))


def test_each_event_is_told_once_and_rows_of_parts_add_up() -> None:
    board, heard = Board("r"), Heard()
    retold = Retold(heard)
    board.stage_started("run")
    board.begin(2, 0)
    board.note(0, {"out": 3}, Work(0, "n", 7))
    board.note(1, {"out": 4})
    retold.tell(board.status())
    assert heard.calls == [("begins", "run"), ("out", 7)]
    board.note(0, {"out": 5})
    board.stage_finished("run", 1.5)
    retold.tell(board.status())
    assert heard.calls[2:] == [("ends", "run", 1.5), ("out", 9)]


def test_a_supervisor_that_was_started_anew_is_retold_anew() -> None:
    heard = Heard()
    retold = Retold(heard)
    for _ in range(2):
        board = Board("r")
        board.stage_started("run")
        retold.tell(board.status())
    board.stage_finished("run", 1.0)
    retold.tell(board.status())
    assert heard.calls == [("begins", "run"), ("ends", "run", 1.0)]


def test_a_status_says_what_is_done_and_where_work_is() -> None:
    board = Board("r")
    board.stage_started("run")
    board.begin(3, 1)
    board.note(1, {"out": 1}, Work(1, "n", 7))
    before = board.status()
    board.finish(1, {"out": 2})
    after = board.status()
    assert (before.parts, before.done, before.kept, before.work) == (3, 1, 1, (Work(1, "n", 7),))
    assert (after.done, after.work, after.rows) == (2, (), {"out": 2})
    board.stopping.set()
    assert board.status().state == "stopping"
    board.close()
    assert board.status().state == "done"


def test_an_attempt_that_begins_anew_counts_its_rows_anew() -> None:
    board = Board("r")
    board.begin(1, 0)
    board.note(0, {"out": 5, "gone": 1})
    board.begin(2, 1)
    board.note(1, {"out": 2})
    assert board.status().rows == {"out": 2}


def test_a_task_tells_its_rows_not_more_often_than_agreed() -> None:
    now, told = [0.0], []
    reporter = Reporter(told.append, lambda: now[0])
    for step in range(100):
        now[0] = step / 50
        reporter.rows("out", step)
    assert 8 <= len(told) <= 10
    assert told[-1]["out"] > 80
