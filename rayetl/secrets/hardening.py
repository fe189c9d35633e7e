"""Memory of a process that opens connections holds secrets: it stays out of core files and debuggers."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """No core file of this process or its children, and nobody but root attaches to it or reads its
    environment. What it starts by exec decides for itself about the latter."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform.startswith("linux"):
        # The limit alone does not hold where the kernel hands core files to a program, as systemd has it.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
