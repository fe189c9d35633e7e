"""Putting together many small files of a Delta table."""

from __future__ import annotations

import time

import pyarrow as pa

from rayetl.connectors.delta.compacting import _groups


def test_the_work_grows_with_the_number_of_files_and_not_with_its_square() -> None:
    row = pa.table({name: [1] for name in "abcdefgh"})
    begun = time.monotonic()
    (group,) = _groups(row for _ in range(4000))
    assert group.num_rows == 4000
    # By sums over all that waits it were two minutes.
    assert time.monotonic() - begun < 10
