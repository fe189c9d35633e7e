"""What the main thread waits for in Python hears of a signal, though Polars has a hook for it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WAITS = """
import threading
from rayetl.cli.signals import Interrupts

with Interrupts() as interrupts:
    import polars

    polars.LazyFrame({"a": [1]}).collect()
    lock = threading.Lock()
    lock.acquire()
    print("waiting", flush=True)
    try:
        lock.acquire()
    except KeyboardInterrupt:
        print("heard", interrupts.exit_code(130), flush=True)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_wait_for_a_lock_hears_of_a_signal(number: signal.Signals, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "waiting\n"
            process.send_signal(number)
            said, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert said == f"heard {code}\n"
