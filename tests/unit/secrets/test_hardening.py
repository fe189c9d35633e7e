"""The memory of the command is its own: no core file, nobody looks into it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CRASH = """
import faulthandler, os, resource
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
from rayetl.secrets.hardening import keep_memory_private
{call}
print("limit", resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True)
faulthandler.enable()
password = "c4n4ry"
os.abort()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise the limit for the control")
@pytest.mark.parametrize(("call", "limit"), [("keep_memory_private()", "0"), ("", "-1")])
def test_a_crash_leaves_no_core(tmp_path: Path, call: str, limit: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH.format(call=call)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == -signal.SIGABRT
    assert done.stdout.split() == ["limit", limit]
    assert "c4n4ry" not in done.stderr, "a stack without the values of variables"
    if call:
        assert not list(tmp_path.iterdir())


OF_ANOTHER = """
import os, subprocess, sys
from rayetl.secrets.hardening import keep_memory_private
os.setgid(65534); os.setuid(65534)
if sys.argv[1] == "guarded":
    keep_memory_private()
else:
    import ctypes
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
done = subprocess.run(["cat", f"/proc/{os.getpid()}/environ"], capture_output=True, text=True)
print("READ" if "c4n4ry" in done.stdout else "REFUSED")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="root becomes another user")
@pytest.mark.parametrize(("how", "said"), [("guarded", "REFUSED"), ("open", "READ")])
def test_another_process_of_the_user_cannot_read_the_environment(tmp_path: Path, how: str, said: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(OF_ANOTHER)
    done = subprocess.run(
        [sys.executable, str(script), how],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "RAYETL_CREDENTIAL_A__PASSWORD": "c4n4ry",
        },
    )
    assert done.stdout.strip() == said, done.stderr
