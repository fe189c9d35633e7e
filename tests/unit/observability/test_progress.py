"""Progress: bars, lines, log lines or silence, told from many threads."""

import io
import threading

import pytest

from rayetl.observability import progress
from rayetl.observability.progress import Lines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_come_every_few_seconds_only() -> None:
    now = [100.0]
    said: list[str] = []
    listener = Lines(said.append, clock=lambda: now[0])
    listener.stage_started("run")
    for second in range(12):
        now[0] = 100.0 + second
        listener.rows("flights", second * 1000, total=11_000)
    listener.stage_finished("run", 12.0)
    assert said == [
        "run ...",
        "flights: 5,000 of 11,000 rows, 1 k rows/s",
        "flights: 10,000 of 11,000 rows, 1 k rows/s",
        "run took 12.00 s",
    ]


def test_quiet_says_nothing() -> None:
    out = Terminal()
    with progress.shown(quiet=True, as_log=False, stream=out) as listener:
        tell(listener)
    assert out.getvalue() == ""


def test_plain_lines_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    with progress.shown(quiet=False, as_log=False, stream=out) as listener:
        tell(listener)
    assert out.getvalue() == "run ...\nrun took 500 ms\n"


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    out = Terminal()
    with progress.shown(quiet=False, as_log=False, stream=out) as listener:
        threads = [threading.Thread(target=tell, args=(listener,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        listener.rows("unknown [bold]total\x1b", 7)
    shown = out.getvalue()
    assert "flights" in shown
    assert "5,000 rows" in shown
    assert "[bold]total\\x1b" in shown


def tell(listener: progress.ProgressListener) -> None:
    listener.stage_started("run")
    listener.rows("flights", 5000, 10_000)
    listener.stage_finished("run", 0.5)
