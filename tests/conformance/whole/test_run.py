"""The whole runs of `tests/integration/test_run.py`, on Spark."""

from tests.integration.test_run import *  # noqa: F403
