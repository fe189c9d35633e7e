"""The whole runs of `tests/integration/test_run.py`, on Spark."""

from tests.integration.test_run import *  # noqa: F403

# Spark's analyser calls itself for each step, and 300 are more than the stack of its threads holds.
del test_a_chain_of_steps_may_be_hundreds_long  # noqa: F821
