"""The whole runs of `tests/integration/test_books.py`, on Spark."""

from tests.integration.test_books import *  # noqa: F403
