"""What the tests of the runtime share; their cluster is that of the whole process."""

from __future__ import annotations

from pathlib import Path

import pytest
from services.postgres import Database


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
