"""Loads of `tests/integration/test_mysql_load.py`, with Spark's rows: those that an engine could change."""

from tests.integration.test_mysql_load import (  # noqa: F401
    _here,
    filled,
    test_a_key_that_is_there_already_refuses_the_row_only,
    test_a_run_whose_commit_is_cut_off_ends_well,
    test_a_table_is_made_and_every_value_comes_back,
    test_refused_rows_are_replayed_into_the_load,
    test_rows_go_from_database_to_database,
    test_upsert_replaces_rows_of_the_same_key,
)
