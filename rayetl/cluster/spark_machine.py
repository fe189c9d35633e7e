"""What Spark needs of this machine, and where its processes write what they say."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from rayetl.errors import Terminal

EXTRA = "install rayetl[spark]"


def assert_installed() -> None:
    """Raises `Terminal` where there is no Java or no pyspark."""
    if shutil.which("java") is None:
        raise Terminal(
            "the engine `spark` needs Java, and there is no `java` on the PATH", hint="install a Java 17"
        )
    if find_spec("pyspark") is None:
        raise Terminal("the engine `spark` needs pyspark, which is not installed", hint=EXTRA)


def log_path() -> Path:
    """The file that takes what the JVMs of this process say. Raises `Terminal` if somebody else owns it."""
    folder = Path(tempfile.gettempdir()) / f"rayetl-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise Terminal(f"{folder}, which takes the logs of Spark, belongs to somebody else", hint="remove it")
    return folder / f"spark-{os.getpid()}.log"
