"""Random histories of writes, crashes, replays, runs at once and rollbacks, for every sink."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import database_worker
import fault_worker
import lake_bugs
import lake_worker
import pytest
import s3_worker
from fault_checker import Verdict
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sinks import DatabaseSink, FilesSink, LakeSink, S3Sink, Start
from state_machine import Machine, Sink

EXAMPLES = {"files": 15, "s3": 7, "postgres": 10, "mysql": 10, "delta": 10, "iceberg": 8}
STEPS = 12

SETTINGS = settings(
    stateful_step_count=STEPS,
    derandomize=True,
    database=None,
    deadline=None,
    # A shorter history is looked for by hand: each step runs a process.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def sink(
    request: pytest.FixtureRequest, processes, fork_server, root: str, monkeypatch: pytest.MonkeyPatch
) -> Sink:
    """The sink named by the parameter, with its service."""
    name = request.param
    directory = Path(root).parent

    def by(context, run: Callable[..., None]) -> Start:
        def start(work):
            process = context.Process(target=run, args=(work,))
            process.start()
            return process

        return start

    if name == "files":
        return FilesSink(by(processes, fault_worker.run), directory)
    if name == "s3":
        import botocore.retries.standard

        delay = botocore.retries.standard.ExponentialBackoff
        monkeypatch.setattr(delay, "delay_amount", lambda self, context: 0)
        bucket, server = request.getfixturevalue("bucket"), request.getfixturevalue("s3_server")
        return S3Sink(by(processes, s3_worker.run), bucket, server.endpoint, directory)
    if name in ("delta", "iceberg"):
        return LakeSink(by(fork_server, lake_worker.run), name, directory)
    database = request.getfixturevalue({"postgres": "database", "mysql": "maria"}[name])
    return DatabaseSink(by(fork_server, database_worker.run), database)


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen(16)
        yield server


def explore(sink: Sink, controller: socket.socket, bug: str = "") -> Counter[str]:
    """Run histories, and count how their runs ended. Raises `Verdict` for what no history explains."""
    codes: Counter[str] = Counter()
    given = {"sink": sink, "server": controller, "path": controller.getsockname(), "bug": bug, "codes": codes}
    run_state_machine_as_test(
        type("Given", (Machine,), given), settings=settings(SETTINGS, max_examples=EXAMPLES[sink.name])
    )
    return codes


@pytest.mark.parametrize("sink", EXAMPLES, indirect=True)
def test_every_history_is_one_of_whole_epochs(sink: Sink, controller: socket.socket) -> None:
    codes = explore(sink, controller)
    print(f"{sink.name}: {dict(codes)}")
    assert min(codes[each] for each in ("committed", "skipped", "killed")) >= 10
    assert codes["broken"]
    assert codes["conflict"] or sink.name in ("postgres", "mysql"), "there, runs wait for one another"


@pytest.mark.parametrize(
    ("sink", "bug"),
    [
        *(("files", bug) for bug in fault_worker.BUGS),
        *(("s3", bug) for bug in s3_worker.BUGS),
        *((name, bug) for name in ("postgres", "mysql") for bug in database_worker.BUGS),
        *((name, bug) for name in ("delta", "iceberg") for bug in lake_bugs.BUGS),
    ],
    indirect=["sink"],
)
def test_planted_bugs_are_seen(
    sink: Sink, bug: str, controller: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    between = {"token_after_the_rows": "database.between", "token_in_a_second_commit": "bug.between",
               "part_by_part": "bug.between"}  # fmt: skip
    monkeypatch.setattr(sink, "late", [*sink.late, between.get(bug, sink.late[0])])
    with pytest.raises(Verdict):
        explore(sink, controller, bug)
