"""Many checks that refuse rows at the same time do not wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
import polars as pl
from rayetl import Pipeline

folder = Path(sys.argv[1])
pl.DataFrame({"n": range(60_000), "text": ["some text"] * 60_000}).write_csv(folder / "in.csv")
source = {"type": "files", "path": str(folder / "in.csv"), "schema": "n BIGINT, text STRING"}
source["options"] = {"header": True}
rules = [{"name": "r", "check": "n % 10 <> 0"}]
checks = [{"id": f"c{i}", "type": "validate", "from": f"s{i % 3}", "rules": rules} for i in range(16)]
loads = [
    {"id": f"l{i}", "type": "files", "from": f"c{i}", "path": str(folder / f"out{i}"), "format": "parquet"}
    for i in range(16)
]
report = Pipeline.from_dict(
    {
        "name": "p",
        "extract": {f"s{i}": source for i in range(3)},
        "transform": checks,
        "load": loads,
        "resilience": {"dead_letter": {"path": str(folder / "letters")}},
        "state": str(folder / "state"),
    }
).run()
assert report.status == "done", report
assert report.rejected_rows == 16 * 6_000, report.rejected_rows
assert all(line.balanced for line in report.books)
"""


def test_sixteen_checks_on_two_threads(tmp_path: Path) -> None:
    # A process of its own: Polars asks for the number of threads once.
    environment = {**os.environ, "POLARS_MAX_THREADS": "2"}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, check=True, timeout=120, cwd=tmp_path
    )
