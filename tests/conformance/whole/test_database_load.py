"""Loads of `tests/integration/test_database_load.py`, with Spark's rows: those that an engine could change."""

from tests.integration.test_database_load import (  # noqa: F401
    _here,
    filled,
    test_a_key_that_is_there_already_refuses_the_row_only,
    test_a_refused_row_without_a_place_is_kept_as_it_was_sent,
    test_a_run_whose_commit_is_cut_off_ends_well,
    test_insert_ignore_leaves_known_keys_alone,
    test_overwrite_replaces_all,
    test_refused_rows_are_replayed_into_the_load_that_lacks_them,
    test_repeated_keys_are_no_matter_of_chance,
    test_rows_go_from_database_to_database,
    test_two_loads_into_one_table_do_not_wait_for_each_other,
    test_upsert_replaces_rows_of_the_same_key,
)
