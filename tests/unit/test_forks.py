"""A forked process that cannot answer a query says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import os
from rayetl import Pipeline
from rayetl.errors import RayetlError

document = {"name": "p", "extract": {"type": "files", "path": "in.csv"}, "load": {"type": "files", "path": "out"}}

def child():
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        Pipeline.from_dict({**document, "name": f"p{os.getpid()}"}).preview()
    except RayetlError as error:
        os._exit(1 if "forked" in error.message and "spawn" in error.hint else 2)
    os._exit(0)

Pipeline.from_dict(document).check()
before = child()
Pipeline.from_dict(document).preview()
print(before, child())
"""


def test_queries_are_refused_where_the_threads_are_those_of_the_parent(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n")
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["0", "1"]
