"""Spark on Ray for real: one session for many runs, nothing left of it afterwards, and deaths survived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from canaries import Canary
from deltalake import DeltaTable, write_deltalake
from services.postgres import Database, Postgres
from services.spark_host import CANARY, LAKE, PLANTED, ROOT, SparkHost

import tests.conformance.whole.test_parity as parity

ROWS = 4_000
SPARK = {
    "type": "spark",
    "executors": 1,
    "cores": 1,
    "memory": "600m",
    "conf": {"spark.hadoop.planted": PLANTED.text, "spark.sql.shuffle.partitions": 2},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [f"{n},k{n % 7}" for n in range(ROWS)]
    Path("in.csv").write_text("\n".join(["n,s", *lines, "x,y,z"]) + "\n")
    return tmp_path


def config(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    checked = {"id": "checked", "type": "validate", "rules": [{"name": "r", "check": "n % 10 <> 0"}]}
    return {
        "name": "p",
        "extract": {
            "rows": {
                "type": "files",
                "path": "in.csv",
                "schema": "n BIGINT, s STRING",
                "options": {"header": True},
            }
        },
        "transform": [checked, *steps],
        "load": {"id": "out", "type": "files", "path": "out", "mode": "append"},
        "engine": SPARK,
        **more,
    }


def slow(seconds: int) -> dict[str, Any]:
    """A step that takes about so many seconds on one core."""
    long = 500 * seconds
    digest = f"sha2(concat(repeat(a.s, {long}), repeat(b.s, {long})), 256)"
    pairs = (
        f"SELECT a.n, max({digest}) AS h FROM checked a CROSS JOIN checked b WHERE a.n % 100 = 1 GROUP BY a.n"
    )
    return {"id": "slow", "type": "sql", "query": pairs}


def loaded() -> list[int]:
    return sorted(pl.read_parquet("out/*.parquet")["n"].to_list())


GOOD = [n for n in range(ROWS) if n % 10]


def test_the_same_as_on_polars_and_recognised_by_it(here: Path, spark_host: SparkHost) -> None:
    report = spark_host.run(config())
    assert (report["status"], report["engine"]) == ("done", "spark")
    assert loaded() == GOOD
    assert report["rejected_rows"] == ROWS // 10 + 1
    again = spark_host.run(config(engine="polars"))
    assert (again["status"], again["engine"]) == ("skipped", "polars")
    report = spark_host.run(config(slow(0), engine=SPARK), parity=True)
    assert report["diffs"] == []


def test_dead_letters_go_into_a_database(here: Path, spark_host: SparkHost, database: Database) -> None:
    # The password is the config's own: the process of the session was started before the database was made.
    store = {"type": "postgres", **database.config, "table": "rejects"}
    made = config(resilience={"dead_letter": store})
    assert spark_host.run(made)["status"] == "done"
    assert loaded() == GOOD
    assert database.value("SELECT count(*) FROM rejects") == ROWS // 10 + 1
    assert spark_host.run(made)["status"] == "skipped"
    assert database.value("SELECT count(DISTINCT id) FROM rejects") == ROWS // 10 + 1


def processes_of_parts(host: SparkHost) -> list[psutil.Process]:
    """The processes of Ray's that read or write a part, or have done so: nothing else there loads Polars."""
    return [
        each for each in host.processes() if "".join(command(each)).startswith("ray::") and has_polars(each)
    ]


def has_polars(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any("_polars_runtime" in each.path for each in process.memory_maps())
    return False


def ports_of(process: psutil.Process) -> set[int]:
    """The ports that a process is connected to."""
    with suppress(psutil.Error):
        return {each.raddr.port for each in process.net_connections("tcp") if each.raddr}
    return set()


@contextmanager
def known_as_c(database: Database, postgres_server: Postgres) -> Iterator[dict[str, Any]]:
    """A source or load of that database without its password, which the host knows as that of `c`."""
    password = CANARY.text.replace("'", "''")
    postgres_server.superuser.execute(f"ALTER ROLE {database.user} PASSWORD '{password}'")
    server = {name: value for name, value in database.config.items() if name != "password"}
    yield {"type": "postgres", "credential": "c", **server}
    postgres_server.superuser.execute(f"ALTER ROLE {database.user} PASSWORD '{database.password}'")


def test_a_table_is_read_in_ranges_and_one_whose_process_dies_is_read_again(
    here: Path, spark_host: SparkHost, postgres_server: Postgres, database: Database
) -> None:
    database.execute(
        "CREATE TABLE s AS SELECT g AS n, 's' || g AS s FROM generate_series(1, 40) g",
        "ALTER TABLE s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "CREATE POLICY slow_ranges ON s USING (CASE WHEN current_query() LIKE '%AS ends%' THEN TRUE "
        "ELSE pg_sleep(0.1) IS NOT NULL END)",
    )
    with known_as_c(database, postgres_server) as postgres:
        source = {"rows": {**postgres, "table": "s", "split": {"column": "n", "parts": 4}}}
        run = spark_host.start(config(extract=source))
        until = time.monotonic() + 180
        while not (
            found := [each for each in processes_of_parts(spark_host) if database.port in ports_of(each)]
        ):
            assert run.under_way, run.result()
            assert time.monotonic() < until
            time.sleep(0.01)
        found[0].kill()
        report = run.result()
    assert report.get("status") == "done", report
    assert loaded() == [n for n in range(1, 41) if n % 10]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_files_are_read_alike(here: Path, spark_host: SparkHost, form: str) -> None:
    report = spark_host.run(parity.of_format(form) | {"engine": SPARK}, parity=True)
    assert report["diffs"] == []
    assert report["rejects"] > 49


def test_changes_of_a_delta_table_are_the_same(here: Path, spark_host: SparkHost) -> None:
    rows = pl.DataFrame({"n": range(100)}).with_columns(s=pl.format("k{}", pl.col("n") % 3))
    write_deltalake("lake", rows, partition_by=["s"], configuration={"delta.enableChangeDataFeed": "true"})
    DeltaTable("lake").update({"n": "n + 1000"}, predicate="n % 2 = 0")
    DeltaTable("lake").delete("s = 'k1'")
    source = {"rows": {"type": "delta", "path": "lake", "changes": {"from_version": 0}}}
    report = spark_host.run(config(extract=source))
    # All rows come; half of them change, twice in the feed; a third goes.
    assert (report["status"], report["sources"][0]["rows_read"]) == ("done", 100 + 100 + 33)
    assert spark_host.run(config(extract=source), parity=True)["diffs"] == []


def test_verbs_rules_and_contracts_give_the_same(here: Path, spark_host: SparkHost) -> None:
    parity.write_tables(parity.TABLES)
    one_of_each = {name.split("_")[0]: name for name in parity.CASES}.values()
    assert len(one_of_each) > 12
    report = spark_host.run(parity.verbs(*one_of_each) | {"engine": SPARK}, parity=True)
    assert report["diffs"] == []
    report = spark_host.run(parity.judging(parity.JUDGED[::4]) | {"engine": SPARK}, parity=True)
    assert report["diffs"] == []
    assert report["rejects"] > 0


def test_what_spark_alone_can_run(here: Path, spark_host: SparkHost) -> None:
    both = (
        "SELECT *, bin(n) AS b, current_timestamp() AS t FROM checked WHERE current_date > DATE'2020-01-01'"
    )
    made = config({"type": "sql", "query": both})
    assert spark_host.run(made)["status"] == "done"
    found = pl.read_parquet("out/*.parquet")
    assert sorted(found["n"]) == GOOD
    assert found.filter(pl.col("b") != pl.col("n").map_elements("{:b}".format, pl.String)).is_empty()
    assert found["t"].n_unique() == 1
    assert spark_host.run(made)["status"] == "skipped"
    assert "has nothing to be compared with" in spark_host.run(made, parity=True)["error"]


def test_one_session_serves_all_runs(here: Path, spark_host: SparkHost) -> None:
    spark_host.run(config())
    before = {each.pid for each in spark_host.processes() if "java" in each.name()}
    began = time.monotonic()
    spark_host.run(config(), force=True)
    assert time.monotonic() - began < 12
    assert {each.pid for each in spark_host.processes() if "java" in each.name()} == before


def places(host: SparkHost) -> dict[str, bytes]:
    """All that Spark and Ray show or keep: settings, command lines and environments, files of the session."""
    told = host.settings()
    found = {name: text.encode() for name, text in told.items()}
    for each in host.processes():
        kind = "java" if "java" in each.name() else "other"
        found[f"command line of {kind} {each.pid}"] = " ".join(command(each)).encode()
        found[f"environment of {kind} {each.pid}"] = "\n".join(environment(each).values()).encode()
    for path in Path(told["session"]).rglob("*"):
        if path.is_file() and not path.is_symlink():
            found[f"session file {path}"] = path.read_bytes()
    return found


def holders(canary: Canary, found: dict[str, bytes]) -> list[str]:
    forms = canary.forms().values()
    return [place for place, data in found.items() if any(form in data for form in forms)]


def test_no_secret_is_where_others_may_look(
    here: Path, spark_host: SparkHost, postgres_server: Postgres, database: Database
) -> None:
    """While rows come of a database and go into it, with a password that this machine's processes can see."""
    database.execute("CREATE TABLE s AS SELECT g AS n, 's' || g AS s FROM generate_series(1, 20) g")
    with known_as_c(database, postgres_server) as postgres:
        report = spark_host.run(
            config(
                extract={"rows": {**postgres, "table": "s", "split": {"column": "n", "parts": 2}}},
                load={"id": "into", **postgres, "table": "t", "mode": "append"},
            )
        )
    assert report.get("status") == "done", report
    assert processes_of_parts(spark_host), (
        "processes that know the password are among those that are looked at"
    )
    assert database.value("SELECT count(*) FROM t") == 18
    planted = Path(spark_host.settings()["session"], "planted.log")
    planted.write_text(PLANTED.text)
    found = places(spark_host) | {"log": Path(report["engine_log"]).read_bytes()}
    planted.unlink()
    assert holders(CANARY, found) == holders(LAKE, found) == []
    own = "\n".join(environment(psutil.Process(spark_host.pid)).values()).encode()
    assert holders(CANARY, {"own": own}) == holders(LAKE, {"own": own}) == ["own"]
    seen = " ".join(holders(PLANTED, found))
    for place in (
        "Spark's conf",
        "Hadoop's conf",
        "environment of the driver JVM",
        "properties of the driver",
    ):
        assert place in seen
    for place in ("command line of java", "environment of java", "environment of other", "session file"):
        assert place in seen


def command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def environment(process: psutil.Process) -> dict[str, str]:
    with suppress(psutil.Error):
        return process.environ()
    return {}


def test_no_open_port_and_a_log_of_its_own(here: Path, spark_host: SparkHost) -> None:
    report = spark_host.run(config())
    log = Path(report["engine_log"])
    assert log.stat().st_mode & 0o077 == 0
    assert "WARN" in log.read_text()
    assert "NativeCodeLoader" not in spark_host.said()
    driver = spark_host.find("org.apache.spark.deploy.SparkSubmit")
    assert "spark.ui.enabled=false" in " ".join(driver.cmdline())
    ports = {each.laddr.port for each in driver.net_connections("tcp") if each.status == "LISTEN"}
    assert ports
    assert not ports & set(range(4040, 4057))


KILLED: dict[str, Callable[[SparkHost], psutil.Process]] = {
    "the driver JVM": lambda host: host.find("org.apache.spark.deploy.SparkSubmit"),
    "the master on Ray": lambda host: host.find("ray::RayDPSparkMaster"),
    "the app master JVM": lambda host: host.find("AppMasterEntryPoint"),
    "the executors": lambda host: max(
        host.all("DefaultWorker"),
        key=lambda each: each.create_time(),
    ),
}


@pytest.mark.parametrize("what", KILLED)
def test_a_death_costs_time_and_no_row(here: Path, spark_host: SparkHost, what: str) -> None:
    spark_host.run(config(name="warm", load={"type": "files", "path": "warm"}))
    run = spark_host.start(config(slow(4)))
    until = time.monotonic() + 120
    while not list(Path(".rayetl").rglob("source-rows.parquet/*")):
        assert run.under_way, run.result()
        assert time.monotonic() < until
        time.sleep(0.02)
    time.sleep(1)
    killed = KILLED[what](spark_host)
    assert run.under_way, run.result()
    os.kill(killed.pid, signal.SIGKILL)
    report = run.result()
    assert report.get("status") == "done", report
    assert loaded() == [n for n in range(ROWS) if n % 100 == 1]
    assert all(line["balanced"] for line in report["books"])
    _, alive = psutil.wait_procs([killed], timeout=10)
    assert all(each.status() == psutil.STATUS_ZOMBIE for each in alive)
    after = spark_host.run(config(name="after", load={"type": "files", "path": "after"}))
    assert after["status"] == "done"


@pytest.mark.parametrize(
    ("until", "number", "code"),
    [
        ("starting Spark on Ray", signal.SIGINT, 130),
        ("source-rows.parquet", signal.SIGTERM, 143),
    ],
)
def test_a_signal_rolls_back_in_time_and_leaves_no_process(
    here: Path, until: str, number: int, code: int
) -> None:
    Path("c.json").write_text(json.dumps(config(slow(60))))
    with Path("said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "rayetl", "run", "c.json"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=said,
        )
    while until not in Path("said").read_text() and not list(Path(".rayetl").rglob(until)):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(3)
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) > 5
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait() == code
    assert time.monotonic() - began < 2.5
    assert f"stopped by {signal.Signals(number).name}" in Path("said").read_text()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []
    assert not list(here.rglob("*.parquet")), "nothing is staged or handed over any more"


def test_a_fault_of_a_query_is_one_sentence(here: Path, spark_host: SparkHost) -> None:
    bad = {
        "id": "boom",
        "type": "sql",
        "query": "SELECT n, element_at(array(1), CAST(n * 0 AS INT)) AS e FROM checked",
    }
    answer = spark_host.run(config(bad))
    assert "error" in answer, answer
    assert "\n" not in answer["error"]
    assert "py4j" not in answer["error"].lower()
    assert not Path("out").exists() or not list(Path("out").glob("*.parquet"))


def test_files_are_read_and_written_by_processes_of_the_cluster(here: Path, spark_host: SparkHost) -> None:
    """The last one here: its settings are those of another session, and a test behind it would start a third."""
    lines = Path("in.csv").read_text().splitlines()
    Path("in.csv").unlink()
    for part in range(4):
        Path(f"in-{part}.csv").write_text("\n".join([lines[0], *lines[1 + part :: 4]]) + "\n")
    source = {"rows": {**config()["extract"]["rows"], "path": "in-*.csv"}}
    cut = {**SPARK, "conf": {**SPARK["conf"], "spark.sql.files.maxPartitionBytes": 8192}}
    load = {"id": "out", "type": "files", "path": "out", "format": "csv", "mode": "append"}
    made = config(extract=source, engine=cut, load={**load, "partition_by": "s", "options": {"header": True}})
    assert spark_host.run(made)["status"] == "done"
    written = list(Path("out").rglob("*.csv"))
    assert sorted(n for path in written for n in pl.read_csv(path)["n"]) == GOOD
    assert len([path for path in written if path.parent.name == "s=k0"]) > 1, "by one process alone"
    assert not list(here.glob(".out*")), "no part is left beside the load"
    assert processes_of_parts(spark_host)
    report = spark_host.run(made, parity=True)
    assert (report["diffs"], report["rejects"]) == ([], ROWS // 10 + 1)
