"""Processes of a Spark session end at once, whoever started them."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from rayetl.cluster.spark_conf import MARK
from rayetl.cluster.spark_session import end_processes

CARELESS = """
import subprocess, sys, time
mark = sys.stdin.readline().strip()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", mark])
print(child.pid, flush=True)
time.sleep(600)
"""
"""Starts a process that carries a mark, and does not look at it again."""


def test_a_process_whose_parent_does_not_look_at_it_is_not_waited_for() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", CARELESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        try:
            assert parent.stdin is not None
            assert parent.stdout is not None
            parent.stdin.write(f"-D{MARK}=mine\n")
            parent.stdin.flush()
            child = psutil.Process(int(parent.stdout.readline()))
            end_processes("other")
            assert child.status() != psutil.STATUS_ZOMBIE
            began = time.monotonic()
            end_processes("mine")
            # What waits for a parent that does not look gives up after ten seconds.
            assert time.monotonic() - began < 9
            assert child.status() == psutil.STATUS_ZOMBIE
            assert parent.poll() is None
        finally:
            parent.kill()
