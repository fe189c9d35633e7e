"""One Spark session for the whole suite, and the stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.cases.tables import TABLES
from tests.conformance.judge import Judge
from tests.conformance.stores import Store, in_bucket, in_database, on_this_machine


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    session = Judge(tmp_path_factory.mktemp("judge"), TABLES)
    yield session
    session.stop()


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store that the parameter names, empty."""
    monkeypatch.chdir(tmp_path)
    name: str = request.param
    if name in ("postgres", "mysql"):
        return in_database(name, request.getfixturevalue("database" if name == "postgres" else "maria"))
    if "s3" in name:
        bucket, server = request.getfixturevalue("bucket"), request.getfixturevalue("s3_server")
        return in_bucket(name, bucket, server, request.getfixturevalue("s3_account"))
    return on_this_machine(name)
