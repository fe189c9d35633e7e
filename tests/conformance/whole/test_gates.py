"""The whole runs of `tests/integration/test_gates.py`, on Spark."""

from tests.integration.test_gates import (  # noqa: F401
    test_a_query_that_reads_rows_again_checks_them_once,
    test_readers_that_stop_early_stop_no_check,
    test_two_loads_and_a_self_join_check_once,
)
