"""Spark's own test files, out of the `tests` jar of spark-sql; fetched once into the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

VERSION = "3.5.7"
JAR = f"spark-sql_2.12-{VERSION}-tests.jar"
SHA256 = "e1e815834c9c5c16d4d403d81b8ee91955a35542d112080a9ffe2c08969a00a4"
_COORDINATES = f"org.apache.spark:spark-sql_2.12:{VERSION}:jar:tests"


def folder() -> Path:
    """The unpacked `test-data` directory; downloads the jar when it is not there yet."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rayetl" / "test-data"
    ready = home / f"spark-{VERSION}"
    if not ready.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        jar = _jar(home)
        made = home / f"spark-{VERSION}.{os.getpid()}"
        with zipfile.ZipFile(jar) as archive:
            names = [name for name in archive.namelist() if name.startswith("test-data/")]
            archive.extractall(made, names)
        try:
            made.rename(ready)
        except OSError:
            shutil.rmtree(made)
    return ready / "test-data"


def _jar(home: Path) -> Path:
    jar = home / JAR
    if not jar.exists():
        _download(jar)
    found = hashlib.sha256(jar.read_bytes()).hexdigest()
    assert found == SHA256, f"{jar} is not the jar this suite was written for; delete it"
    return jar


def _download(jar: Path) -> None:
    artifact, directory = f"-Dartifact={_COORDINATES}", f"-DoutputDirectory={jar.parent}"
    subprocess.run(["mvn", "-q", "-B", "dependency:copy", artifact, directory], check=True, timeout=300)
