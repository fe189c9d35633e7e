"""Faults that may pass are tried again by a run, and a service that keeps failing is left alone."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from rayetl.connectors.commit import DirectorySession
from rayetl.connectors.files_load import FilesLoad
from rayetl.errors import CircuitOpen, ConfigError, LoadError, Retryable
from rayetl.pipeline import Pipeline


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("a\n1\n2\nx\n")
    return {
        "name": "retried",
        "extract": {"type": "files", "path": "in.csv", "schema": "a INT", "options": {"header": True}},
        "load": [
            {"id": "one", "type": "files", "path": "one", "mode": "append"},
            {"id": "two", "type": "files", "path": "two", "mode": "append"},
        ],
        "resilience": {"retry": {"max_attempts": 3, "initial_delay": "1ms"}},
    }


def rows(path: str) -> list[int]:
    return sorted(ds.dataset(path, format="parquet").to_table()["a"].to_pylist())


def commits_fail(monkeypatch: pytest.MonkeyPatch, times: int, *, after: bool, error: Exception) -> list[str]:
    """The first `times` commits fail, before or after they were decided."""
    real, failed = DirectorySession.commit, []

    def commit(session: DirectorySession, count: int):
        if len(failed) < times and session.epoch.load == "two":
            failed.append(session.epoch.load)
            if after:
                real(session, count)
            raise error
        return real(session, count)

    monkeypatch.setattr(DirectorySession, "commit", commit)
    return failed


@pytest.mark.parametrize("after", [False, True])
def test_a_commit_whose_answer_is_lost_is_looked_up_and_never_repeated(config, monkeypatch, after) -> None:
    failed = commits_fail(monkeypatch, 2, after=after, error=Retryable("the connection was lost"))
    report = Pipeline.from_dict(config).run()
    assert report.status == "done"
    assert report.retries == len(failed) == (1 if after else 2)
    assert rows("one") == rows("two") == [1, 2]
    assert report.rows_loaded == 4
    assert report.rows_rejected == 1
    assert report.balanced
    assert Pipeline.from_dict(config).dead_letters.read().collect().height == 1


def test_a_fault_that_stays_ends_the_run_after_the_attempts_allowed(config, monkeypatch) -> None:
    failed = commits_fail(monkeypatch, 99, after=False, error=Retryable("the connection was lost"))
    with pytest.raises(Retryable, match="the connection was lost") as told:
        Pipeline.from_dict(config).run()
    assert len(failed) == 3
    assert told.value.report.retries == 2
    assert not list(Path().glob(".two*"))


def test_a_terminal_fault_is_not_tried_again(config, monkeypatch) -> None:
    failed = commits_fail(monkeypatch, 99, after=False, error=LoadError("no such table"))
    with pytest.raises(LoadError):
        Pipeline.from_dict(config).run()
    assert len(failed) == 1


def test_a_service_that_keeps_failing_is_left_alone_by_later_runs(config, monkeypatch) -> None:
    config["resilience"] = {
        "retry": {"max_attempts": 1},
        "circuit_breaker": {"failure_threshold": 2, "reset_timeout": "1h"},
    }
    monkeypatch.setattr(FilesLoad, "endpoint", lambda load: f"service of {load.path}", raising=True)
    lost = Retryable("the connection was lost", endpoint="service of two")
    failed = commits_fail(monkeypatch, 99, after=False, error=lost)
    for _ in range(2):
        with pytest.raises(Retryable, match="connection was lost"):
            Pipeline.from_dict(config).run()
    with pytest.raises(CircuitOpen, match="service of two failed too often"):
        Pipeline.from_dict(config).run()
    assert len(failed) == 2


def test_a_policy_that_makes_no_sense_is_said_with_its_place(config) -> None:
    config["resilience"] = {"retry": {"max_attempts": 0}, "circuit_breaker": {"failure_treshold": 2}}
    with pytest.raises(ConfigError) as told:
        Pipeline.from_dict(config)
    text = str(told.value)
    assert "max_attempts" in text
    assert "failure_threshold" in text


def test_errors_keep_what_they_say_across_processes() -> None:
    error = CircuitOpen("shut", hint="wait", step="s", endpoint="db", retry_after=3.0)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.endpoint, copy.retry_after) == (CircuitOpen, str(error), "db", 3.0)
