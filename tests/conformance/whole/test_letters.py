"""The whole runs of `tests/integration/test_letters.py`, on Spark."""

from tests.integration.test_letters import (  # noqa: F401
    here,
    test_a_row_without_a_position_is_kept_as_the_step_saw_it,
    test_ids_are_unique_and_the_same_in_every_run,
    test_records_are_those_of_the_source_whatever_the_steps_made_of_them,
)
