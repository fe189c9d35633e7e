"""What the tests of the runtime share; their cluster ends with the last of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from services.postgres import Database
from services.ray_cluster import ray_cluster


@pytest.fixture(scope="package")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster that this process is connected to."""
    with ray_cluster() as address:
        yield address


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def served(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database that the processes of this machine know as the credential `here`."""
    for name, value in database.config.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_HERE__{name.upper()}", str(value))
    return database
