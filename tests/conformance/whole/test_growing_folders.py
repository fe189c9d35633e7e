"""Folders that grow, read and loaded by Spark."""

from __future__ import annotations

from tests.integration.test_growing_folders import (  # noqa: F401
    here,
    test_a_file_that_changes_is_read_again_where_its_rows_replace_those_before,
    test_a_load_that_failed_gets_the_files_that_the_others_have_got,
    test_a_run_loads_the_files_that_no_run_before_it_has_loaded,
)
