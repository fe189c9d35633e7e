"""The whole runs of `tests/integration/test_quality_run.py`, on Spark."""

from tests.integration.test_quality_run import *  # noqa: F403
