"""One Spark session for the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.cases.tables import TABLES
from tests.conformance.judge import Judge


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    session = Judge(tmp_path_factory.mktemp("judge"), TABLES)
    yield session
    session.stop()
