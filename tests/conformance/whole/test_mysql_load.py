"""Loads into MariaDB on every runtime: what Spark's rows could change, and splits on a cluster."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from services.mariadb import MariaDatabase

from rayetl import Pipeline
from rayetl.engines.polars import PolarsEngine

# On Spark: what the rows of an engine could change.
from tests.integration.test_mysql_load import (  # noqa: F401
    EVERY,
    _here,
    filled,
    test_a_refused_row_without_a_place_is_kept_as_it_was_sent,
    test_a_table_is_made_and_every_value_comes_back,
    test_faults_of_all_kinds_in_one_chunk_find_their_rows,
    test_insert_ignore_leaves_known_keys_alone,
    test_overwrite_replaces_all,
    test_refused_rows_are_replayed_into_the_load,
    test_repeated_keys_are_no_matter_of_chance,
    test_rows_go_from_database_to_database,
)


def test_a_cluster_reads_files_by_splits_and_this_process_pours(
    cluster: str, maria: MariaDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "_engine", lambda *_: PolarsEngine())
    for name, value in maria.config.items():
        monkeypatch.setenv(f"RAYETL_CREDENTIAL_HERE__{name.upper()}", str(value))
    Path("in").mkdir()
    for number in range(3):
        ids = pl.int_range(number * 1000, (number + 1) * 1000, eager=True)
        pl.DataFrame({"id": ids, "v": [f"v{row}" for row in ids]}).write_parquet(f"in/{number}.parquet")
    maria.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(9) CHECK (v <> 'v1500'))")
    run = Pipeline.from_dict(
        {
            "name": "p",
            "extract": {"rows": {"type": "files", "path": "in"}},
            "load": {"id": "into", "type": "mysql", "table": "t", "mode": "append", "credential": "here"},
        }
    )
    report = run.run(runtime="ray", split_size=1)
    assert (report.rows_loaded, report.rows_rejected, report.balanced) == (2999, 1, True)
    assert maria.rows("SELECT count(*), count(DISTINCT id), sum(id) FROM t") == [
        (2999, 2999, 3000 * 2999 // 2 - 1500)
    ]
    assert run.run().status == "skipped"
