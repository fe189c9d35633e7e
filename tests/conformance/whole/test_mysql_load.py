"""Loads of `tests/integration/test_mysql_load.py`, with Spark's rows: those that an engine could change."""

from tests.integration.test_mysql_load import (  # noqa: F401
    _here,
    test_a_table_is_made_and_every_value_comes_back,
    test_what_is_read_goes_back_into_the_same_types,
)
