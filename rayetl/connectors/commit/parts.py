"""Files that several processes have written for one load, put together in its staging directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rayetl.connectors.commit.layout import data_files


def link_parts(directory: str, parts: Sequence[tuple[Path, int]]) -> None:
    """Link the files below each place of `parts`, which holds so many rows, into `directory`, named so that
    their order is that of the parts. A part without a row has a file all the same; one such file is enough
    where there is no row at all."""
    chosen = [number for number, (_, rows) in enumerate(parts) if rows] or [0]
    for number in chosen:
        place, _ = parts[number]
        for inside in data_files(place):
            linked = Path(directory, inside.with_name(f"s{number:06d}-{inside.name}"))
            linked.parent.mkdir(parents=True, exist_ok=True)
            os.link(place / inside, linked)
