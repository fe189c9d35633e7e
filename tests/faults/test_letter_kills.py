"""Whole runs whose dead letters are at a service: killed at each point of their commit, and the server's end.

The judge asks the service through its own client alone, and reads the load's files without rayetl.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import signal
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import command_worker
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from services.kafka import USER, Kafka
from services.mariadb import MariaDatabase, Mariadb
from services.postgres import Database, Postgres
from services.s3 import Account, Bucket
from test_races import Controller

REFUSED, ROWS = 30, 200
"""Rows, and how many of them become letters: the last ones."""

LETTERS = [(row, f"{row},v{row}".encode()) for row in range(ROWS - REFUSED, ROWS)]


class Keeper(ABC):
    """A service that keeps letters. `fields` are those of the credential `store`; `points` are what the names
    of its failpoints begin with, `strikes` are three of them: rows sent, nearly decided, and all done."""

    points: str
    strikes: tuple[str, str, str]
    fields: Mapping[str, Any]
    config: Mapping[str, Any]
    hurried = ""
    """A statement that shortens what a command waits for the service."""

    @abstractmethod
    def stored(self) -> list[tuple[int, bytes]]:
        """Row number and source record of each letter, as often as it is there."""

    @abstractmethod
    def epochs(self) -> int:
        """How many epochs of letters are committed."""

    @abstractmethod
    def undo(self) -> None:
        """As if nothing had been run."""


class InDatabase(Keeper):
    points = "database."
    strikes = ("database.sent", "database.tracked", "database.committed")

    def __init__(self, kind: str, server: Postgres | Mariadb) -> None:
        self.server = server
        self.database: Database | MariaDatabase = server.create()
        self.fields = self.database.config
        self.config = {"type": kind, "credential": "store", "table": "rejects"}

    def stored(self) -> list[tuple[int, bytes]]:
        if not self.database.rows("SELECT 1 FROM information_schema.tables WHERE table_name = 'rejects'"):
            return []
        found = self.database.rows("SELECT rejects.row, record FROM rejects")
        return sorted((int(row), bytes(record)) for row, record in found)

    def epochs(self) -> int:
        return int(self.database.value("SELECT count(*) FROM rayetl_epochs"))

    def undo(self) -> None:
        self.database.execute(
            *(f"DROP TABLE {name}" for name in ("rejects", "rejects_replayed", "rayetl_epochs"))
        )


class InBucket(Keeper):
    points = "s3."
    strikes = ("s3.sent", "s3.decided", "s3.finished")

    def __init__(self, account: Account) -> None:
        self.account = account
        self.fields = account.fields
        self.undo()

    def undo(self) -> None:
        self.bucket: Bucket = self.account.bucket()
        there = {"credential": "store", "s3": {"endpoint": self.account.server.endpoint}}
        self.config = {"type": "files", "path": f"{self.bucket.url}/rejects", **there}

    def stored(self) -> list[tuple[int, bytes]]:
        parts = [key for key in self.bucket.keys("rejects/killed/rejects/") if "/part-" in key]
        tables = [pq.read_table(io.BytesIO(self.bucket.get(key))) for key in parts]
        return sorted((each["row"], each["record"]) for table in tables for each in table.to_pylist())

    def epochs(self) -> int:
        return sum("/epochs/" in key for key in self.bucket.keys(hidden=True))


class InTopic(Keeper):
    points = "kafka."
    strikes = ("kafka.sent", "kafka.marked", "kafka.committed")
    hurried = (
        "from rayetl.connectors.kafka import cluster, session\ncluster.PATIENCE, session._SHORT = 6.0, 4"
    )

    def __init__(self, server: Kafka) -> None:
        self.server = server
        self.fields = {"user": USER, "password": server.password}
        self.undo()

    def undo(self) -> None:
        self.topic = self.server.topic()
        there = {"brokers": f"127.0.0.1:{self.server.closed}", "sasl_mechanism": "PLAIN"}
        self.config = {"type": "kafka", "credential": "store", "topic": self.topic, **there}

    def stored(self) -> list[tuple[int, bytes]]:
        found = [json.loads(value) for _, value in self.server.messages(self.topic)]
        return sorted((each["row"], base64.b64decode(each["record"])) for each in found)

    def epochs(self) -> int:
        return len(self.server.messages(f"{self.topic}_epochs"))


@pytest.fixture(params=["postgres", "mysql", "s3", "kafka"])
def keeper(request: pytest.FixtureRequest) -> Iterator[Keeper]:
    if request.param == "s3":
        yield InBucket(request.getfixturevalue("s3_account"))
        return
    if request.param == "kafka":
        yield InTopic(request.getfixturevalue("kafka"))
        return
    server = request.getfixturevalue(f"{'mariadb' if request.param == 'mysql' else 'postgres'}_server")
    made = InDatabase(request.param, server)
    yield made
    server.drop(made.database)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text("".join(f"{i},v{i}\n" for i in range(ROWS)))
    return tmp_path


RUN = ("run", "config.json", "--quiet")


class Command:
    """A command of rayetl at work."""

    def __init__(self, processes: Any, here: Path, words: Sequence[str], variables: Any, bug: str) -> None:
        self._said = here / "said"
        given = (words, str(here), variables, str(self._said), bug)
        self._process = processes.Process(target=command_worker.run, args=given)
        self._process.start()

    def end(self) -> tuple[int, str]:
        """Its exit code and all that it said."""
        self._process.join(120)
        return self._process.exitcode, self._said.read_text()


Start = Callable[..., Command]
Call = Callable[..., tuple[int, str]]


@pytest.fixture
def start(here: Path, keeper: Keeper, fork_server: Any) -> Start:
    """Starts a command, a run by default, with the service as the credential `store`; ids from `good` on are
    refused."""

    def started(*words: str, good: int = ROWS - REFUSED, bug: str = "", **variables: str) -> Command:
        rule = {"name": "few", "check": f"id < {good}", "on_failure": "quarantine"}
        document = {
            "name": "killed",
            "extract": {"type": "files", "path": "in.csv", "schema": "id INT, v STRING"},
            "transform": [{"id": "checked", "type": "validate", "rules": [rule]}],
            "load": {"type": "files", "path": "out", "format": "parquet", "mode": "append"},
            "resilience": {"retry": {"max_attempts": 1}, "dead_letter": keeper.config},
        }
        (here / "config.json").write_text(json.dumps(document))
        fields = {
            f"RAYETL_CREDENTIAL_STORE__{name.upper()}": str(each) for name, each in keeper.fields.items()
        }
        planted = f"{keeper.hurried}\n{bug}"
        return Command(fork_server, here, words or RUN, {**fields, **variables}, planted)

    return started


@pytest.fixture
def call(start: Start) -> Call:
    """Starts a command and waits for its end."""
    return lambda *words, **more: start(*words, **more).end()


def loaded(here: Path) -> list[int]:
    if not (here / "out").exists():
        return []
    table = ds.dataset(here / "out", format="parquet").to_table()
    return sorted(table["id"].to_pylist()) if table.num_columns else []


def assert_whole(here: Path, keeper: Keeper) -> None:
    """Nothing or all of the letters, nothing or all of the rows, and no row without the letters."""
    letters, rows = keeper.stored(), loaded(here)
    assert letters in ([], LETTERS)
    assert rows in ([], list(range(ROWS - REFUSED)))
    assert letters or not rows


def assert_done(call: Call, here: Path, keeper: Keeper, **more: str) -> None:
    """The next run completes the work, a further one finds it done."""
    for _ in range(2):
        code, said = call(**more)
        assert code == 0, said
        assert keeper.stored() == LETTERS
        assert loaded(here) == list(range(ROWS - REFUSED))
    assert keeper.epochs() == 1


def named(keeper: Keeper) -> set[str]:
    """The failpoints of a topic's commit, as they stand in the code."""
    code = Path(__file__).parents[2] / "rayetl/connectors/kafka"
    found = (re.findall(r'failpoint\("([^"]+)"\)', path.read_text()) for path in code.glob("*.py"))
    return {name for names in found for name in names if name.startswith(keeper.points)}


def test_a_kill_at_any_point_of_the_letters_loses_nothing_and_doubles_nothing(
    call: Call, here: Path, keeper: Keeper
) -> None:
    log = here / "passed"
    assert call(RAYETL_FAILPOINT_LOG=str(log))[0] == 0
    passed = Counter(name for name in log.read_text().split() if name.startswith(keeper.points))
    assert len(passed) > 4
    assert named(keeper) <= set(passed)
    for point, times in passed.items():
        for turn in range(1, times + 1):
            keeper.undo()
            shutil.rmtree(here / "out")
            code, said = call(RAYETL_FAILPOINT=f"{point}:kill9@{turn}")
            assert code == -signal.SIGKILL, f"{point}@{turn}: {said}"
            assert_whole(here, keeper)
            assert_done(call, here, keeper)


@pytest.mark.parametrize("keeper", ["postgres", "mysql", "kafka"], indirect=True)
@pytest.mark.parametrize("strike", range(3))
def test_a_server_that_ends_at_a_point_of_the_letters_is_told_and_nothing_is_lost(
    start: Start, call: Call, here: Path, keeper: InDatabase | InTopic, strike: int
) -> None:
    point = keeper.strikes[strike]
    controller = Controller(str(here / "socket"))
    armed = {"RAYETL_FAILPOINT": f"{point}:barrier", "RAYETL_FAILPOINT_SOCKET": controller.path}
    command = start(**armed)
    _, waiting = controller.wait()
    keeper.server.crash()
    waiting.close()
    code, said = command.end()
    keeper.server.start()
    controller.server.close()
    if point.endswith(".committed"):
        # The letters are there; the run needs nothing more of the server.
        assert code == 0, said
    else:
        assert code == 1, said
        assert "rejects: " in said
        assert any(words in said for words in ("was lost", "ended the connection", "did not", "cannot be"))
    assert_whole(here, keeper)
    assert_done(call, here, keeper)


@pytest.mark.parametrize("strike", range(3))
def test_a_replay_that_is_killed_loads_each_record_once(
    call: Call, here: Path, keeper: Keeper, strike: int
) -> None:
    """Killed while it notes what it took up, which is after its load has committed."""
    point, replay = keeper.strikes[strike], ("dlq", "replay", "config.json", "--quiet")
    assert call()[0] == 0
    armed = {"RAYETL_FAILPOINT": f"{point}:kill9@1"}
    code, said = call(*replay, good=ROWS, **armed)
    assert code == -signal.SIGKILL, f"{point}: {said}"
    assert loaded(here) == list(range(ROWS))
    code, said = call(*replay, good=ROWS)
    assert code == 0 or "there is nothing to replay" in said, said
    assert loaded(here) == list(range(ROWS))
    assert keeper.stored() == LETTERS
    assert call("dlq", "list", "config.json", "--pending", "--json") == (0, "")


BUGS = {
    "letters are forgotten": (
        "from rayetl.connectors.dead_letters import DeadLetters\n"
        "DeadLetters.write = lambda self, epoch, frames, rows: None"
    ),
    "loads commit first": (
        "from rayetl.runs.execute import Run\nfrom rayetl.runs import rejects\n"
        "write, commit, late = rejects.write, Run._commit, []\n"
        "rejects.write = lambda *given: late.append(given) or rejects.Written()\n"
        "def both(self):\n    commit(self)\n    import os\n    os.environ.get('DIE') and os._exit(9)\n"
        "    write(*late[0])\n"
        "Run._commit = both"
    ),
    "epochs are not recognised": (
        "from rayetl.connectors.databases.tracker import Tracker\n"
        "from rayetl.connectors.postgres.tracker import PostgresTracker\n"
        "from rayetl.connectors.mysql.tracker import MysqlTracker\n"
        "from rayetl.connectors.kafka.session import KafkaSession\n"
        "from rayetl.connectors.commit.ledger import Ledger\n"
        "for each in (PostgresTracker, MysqlTracker):\n"
        "    each.find = lambda self, connection: None\n"
        "    each.add = lambda self, connection, mode, entry: None\n"
        "KafkaSession._found = lambda self, cluster: None\n"
        "find = Ledger.find\n"
        "Ledger.find = lambda self, epoch: None if epoch.load == 'rejects' else find(self, epoch)"
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(call: Call, here: Path, keeper: Keeper, bug: str) -> None:
    """The judges above are not blind: the run is killed once its letters are committed, as they do it."""
    armed = {"RAYETL_FAILPOINT": f"{keeper.strikes[2]}:kill9@1", "DIE": "1"}
    call(bug=BUGS[bug], **armed)
    with pytest.raises(AssertionError):
        assert_recovers(call, here, keeper, BUGS[bug])


def assert_recovers(call: Call, here: Path, keeper: Keeper, bug: str) -> None:
    assert_whole(here, keeper)
    assert_done(call, here, keeper, bug=bug)
