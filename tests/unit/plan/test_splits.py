"""Sources cut into splits."""

from __future__ import annotations

import time

import pytest

from rayetl.connectors.base import FilesScan, InputFile
from rayetl.connectors.formats.options import CsvOptions
from rayetl.model import Model
from rayetl.plan import splits
from rayetl.plan.splits import cut_files
from rayetl.sql.types import Schema


def files(*sizes: int) -> FilesScan:
    listed = tuple(InputFile(f"{number}.csv", size, 1) for number, size in enumerate(sizes))
    return FilesScan("csv", listed, Schema(()), CsvOptions())


def test_small_files_go_together_and_keep_their_numbers() -> None:
    scan = files(4, 5, 2, 20, 1, 0)
    parts = cut_files(scan, 10)
    assert [(part.number, part.bytes) for part in parts] == [(0, 9), (1, 2), (2, 20), (3, 1)]
    found = [part.scan for part in parts]
    assert [each.first_file for each in found if isinstance(each, FilesScan)] == [0, 2, 3, 4]
    assert sum((each.files for each in found if isinstance(each, FilesScan)), ()) == scan.files


def test_a_row_group_that_weighs_next_to_nothing_is_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(splits, "row_groups", lambda _: [(10, 200), (1, 0)])
    scan = FilesScan("parquet", (InputFile("0.parquet", 200, 1),), Schema(()), Model())
    cuts = [part.scan.files[0] for part in cut_files(scan, 100) if isinstance(part.scan, FilesScan)]
    assert [(file.first, file.count) for file in cuts] == [(0, 10), (10, 1)]


def test_so_many_files_in_one_split_take_no_minute() -> None:
    begun = time.process_time()
    assert len(cut_files(files(*[1] * 50_000), 50_000)) == 1
    assert time.process_time() - begun < 5, "it grows with the square of the files"
