"""Services that tests ask for by name; each is started when the first test of a process does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from services.postgres import Database, Postgres


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
