"""How many batches wait for a sink that takes none is bounded, whatever the machine is busy with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys, threading
from unittest import mock

from rayetl import Pipeline
from rayetl.connectors.formats.writing import FilesSink
from rayetl.engines.polars import engine, gates

MOST = 10
batches, many, held = 0, threading.Event(), []
look = gates.Gate._look

def looked(self, batch):
    global batches
    batches += 1
    if batches > MOST:
        many.set()
    return look(self, batch)

def hold(batch):
    # Only what would be wrong ends the wait early.
    if not held:
        held.append(many.wait(2))
    return False

def held_sink(frame, target, load):
    return FilesSink(frame.sink_batches(hold, lazy=True))

with mock.patch.object(gates.Gate, "_look", looked), mock.patch.object(engine, "sink_files", held_sink):
    try:
        Pipeline.from_dict(json.loads(sys.argv[1])).run()
    except Exception:
        # Nothing was staged; that is not what is asked here.
        pass
print(json.dumps({"too_many": held, "batches": batches}))
"""


def test_few_batches_pass_the_gate_while_the_sink_is_held(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a\n" + "1\n" * 1_400_000)
    config = {
        "name": "held",
        "extract": {
            "type": "files",
            "path": str(tmp_path / "in.csv"),
            "schema": "a INT",
            "options": {"header": True},
            "mode": "fail",
        },
        "transform": [{"type": "validate", "rules": [{"name": "positive", "check": "a > 0"}]}],
        "load": {"type": "files", "path": str(tmp_path / "out"), "format": "json"},
        "resilience": {"dead_letter": {"type": "files", "path": str(tmp_path / "rejects")}},
        "state": str(tmp_path / "state"),
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POLARS_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(config)],
        env=environment | {"POLARS_MAX_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"too_many": [False], "batches": 43}
