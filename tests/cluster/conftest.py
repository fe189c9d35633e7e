"""One small Ray cluster for all tests of a process; only what was started here is ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a cluster of two processors that this process is connected to."""
    context = ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        namespace="rayetl",
    )
    yield context.address_info["gcs_address"]
    ray.shutdown()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path
