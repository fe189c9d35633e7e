"""Services that tests ask for by name; each is started when the first test of a process does."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from services.databases import DatabaseServer, SqlDatabase
from services.kafka import Kafka
from services.mariadb import MariaDatabase, Mariadb
from services.mysql import Mysql
from services.postgres import Database, Postgres
from services.s3 import Account, Bucket, S3Server, keep, login_again
from services.spark_host import SparkHost

# No test looks for credentials where the person who runs it keeps some.
os.environ["XDG_CONFIG_HOME"] = "/nowhere"
for variable in [name for name in os.environ if name.startswith(("RAYETL_", "VAULT_"))]:
    del os.environ[variable]

# JVMs live for seconds here: the second compiler, the parallel collector and a proof of the bytecode of released
# jars cost them more than they give back.
os.environ.setdefault(
    "JDK_JAVA_OPTIONS",
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote",
)


@pytest.fixture(autouse=True)
def _own_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a circuit that another one opened: services of one process share their address."""
    from rayetl import pipeline
    from rayetl.resilience.breaker import LocalCircuits

    monkeypatch.setattr(pipeline, "_CIRCUITS", LocalCircuits())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """The PostgreSQL server of this process: with pytest-xdist, one for each worker."""
    server = Postgres()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def database(postgres_server: Postgres) -> Iterator[Database]:
    """A fresh PostgreSQL database of the test's own."""
    made = postgres_server.create()
    yield made
    postgres_server.drop(made)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Mariadb]:
    """The MariaDB server of this process: with pytest-xdist, one for each worker."""
    server = Mariadb()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def maria(mariadb_server: Mariadb) -> Iterator[MariaDatabase]:
    """A fresh MariaDB database of the test's own."""
    made = mariadb_server.create()
    yield made
    mariadb_server.drop(made)


@pytest.fixture(scope="session")
def mysql8_server() -> Iterator[Mysql]:
    """The MySQL server of this process: with pytest-xdist, one for each worker."""
    server = Mysql()
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["mariadb_server", "mysql8_server"], ids=["mariadb", "mysql"])
def mysql_server(request: pytest.FixtureRequest) -> Mariadb:
    """Each server that the connector `mysql` speaks to in turn."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture
def mysql(mysql_server: Mariadb) -> Iterator[MariaDatabase]:
    """A fresh database of the test's own, in MariaDB and in MySQL."""
    made = mysql_server.create()
    yield made
    mysql_server.drop(made)


@pytest.fixture(
    params=["postgres_server", "mariadb_server", "mysql8_server"], ids=["postgres", "mariadb", "mysql"]
)
def store_server(request: pytest.FixtureRequest) -> DatabaseServer:
    """Each database server in turn."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture
def store(store_server: DatabaseServer) -> Iterator[SqlDatabase]:
    """A fresh database of the test's own, in each server in turn."""
    made = store_server.create()
    yield made
    store_server.drop(made)


@pytest.fixture(params=[Database, MariaDatabase], ids=["postgres", "mysql"])
def nowhere(request: pytest.FixtureRequest) -> SqlDatabase:
    """A database of each kind in turn that no server keeps."""
    return request.param("127.0.0.1", 1, "d", "u", "p")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """The Kafka broker of this process: with pytest-xdist, one for each worker."""
    broker = Kafka()
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def spark_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkHost]:
    """Spark on Ray in a process beside this one, started by its first run: idle, it still takes a twelfth of a
    processor, so it goes with the last test of its file."""
    host = SparkHost(tmp_path_factory.mktemp("spark-host"))
    yield host
    assert not host.stop(), "processes of Spark or Ray outlived the program that started them"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The S3 service of this process."""
    server = S3Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3_account(s3_server: S3Server) -> Account:
    """An account that the tests share."""
    return s3_server.account()


@pytest.fixture
def other(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """A second account, whose keys are the credential `other`."""
    account = s3_server.account()
    keep(monkeypatch, "other", **account.fields)
    yield account
    login_again()


@pytest.fixture
def bucket(s3_account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A fresh bucket of the test's own; its keys are the credential `lake`."""
    keep(monkeypatch, "lake", **s3_account.fields)
    yield s3_account.bucket()
    s3_account.server.mend()


@pytest.fixture(autouse=True)
def _logging_as_imported() -> Iterator[None]:
    """What a program configured in one test is gone in the next, wherever it did so."""
    yield
    root = logging.getLogger("rayetl")
    root.handlers[:] = [logging.NullHandler()]
    root.propagate = True
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "rayetl"]
    for name in names:
        logging.getLogger(name).setLevel(logging.NOTSET)
