"""`rayetl doctor`"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from rayetl.cli import shared
from rayetl.observability.text import Table, Writer, size
from rayetl.records import dataclass

CORE = ("rayetl", "polars", "pyarrow", "pydantic", "sqlglot", "ruamel.yaml", "fastavro", "polars-avro")
_OF_EXTRA = re.compile(r"^([\w.-]+)[^;]*;.*\bextra == ['\"](\w+)['\"]")
_FOR_DEVELOPERS = "dev"
GIGABYTE = 10**9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. Only `fail` makes the command fail."""

    what: str
    verdict: Literal["ok", "note", "fail"]
    found: str
    advice: str = ""


def doctor(as_json: shared.Json = False, state: shared.State = Path(".rayetl")) -> int:
    """Look at this machine: versions, extras, memory, disk, write rights, time zones; say what to fix.

    \b
    Examples:
      rayetl doctor
      rayetl doctor --json
    """
    findings = tuple(examine(state))
    if as_json:
        shared.write_json(findings)
    else:
        rows = tuple((finding.verdict, finding.what, finding.found, finding.advice) for finding in findings)
        Writer(sys.stdout).table(Table("This machine", ("", "what", "found", "advice"), rows))
    return 1 if any(finding.verdict == "fail" for finding in findings) else 0


def examine(state: Path) -> Iterator[Finding]:
    """Everything that is looked at, in the order shown."""
    yield _python()
    yield from (_package(name) for name in CORE)
    if compiled := _installed("sqlglotc"):
        yield Finding(
            "sqlglotc", "fail", compiled, "pip uninstall sqlglotc: SQL needs sqlglot as it is without"
        )
    for name, packages in _extras().items():
        yield _extra(name, packages)
    checks: tuple[Callable[[], Finding], ...] = (_java, _cpus, _memory, _time_zones, _encoding)
    yield from (check() for check in checks)
    try:
        place = _existing(state)
    except FileNotFoundError:
        yield Finding("working directory", "fail", "it was removed", "change to another directory")
        return
    yield _disk(place)
    yield _writable(place)


def _python() -> Finding:
    text = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Finding("python", "ok" if good else "fail", text, "" if good else "use Python 3.11 or 3.12")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _package(name: str) -> Finding:
    found = _installed(name)
    if found:
        return Finding(name, "ok", found)
    return Finding(name, "fail", "not installed", f"pip install '{name}'")


def _extras() -> dict[str, list[str]]:
    """The packages of each extra, as this installation declares them."""
    found: dict[str, list[str]] = {}
    for match in filter(None, map(_OF_EXTRA.match, requires("rayetl") or ())):
        package, extra = match.groups()
        if extra != _FOR_DEVELOPERS and package != "rayetl":
            found.setdefault(extra, []).append(package)
    return found


def _extra(name: str, packages: Sequence[str]) -> Finding:
    found = {package: _installed(package) for package in packages}
    if all(found.values()):
        return Finding(f"extra {name}", "ok", ", ".join(f"{key} {value}" for key, value in found.items()))
    return Finding(f"extra {name}", "note", "not installed", f"if you need it: pip install 'rayetl[{name}]'")


def _java() -> Finding:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java and Path(java).exists():
        return Finding("java", "ok", java)
    return Finding("java", "note", "not found", "only Spark needs it: install a JDK 17 or set JAVA_HOME")


def _cpus() -> Finding:
    return Finding("processors", "ok", str(len(os.sched_getaffinity(0))))


def _memory() -> Finding:
    free = available(Path("/proc/meminfo").read_text())
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _container_limit()
    text = f"{size(free)} free of {size(whole)}" + (f", limited to {size(limit)}" if limit else "")
    low = min(free, limit or free) < GIGABYTE
    return Finding("memory", "note" if low else "ok", text, "less than 1 GB: use small inputs" if low else "")


def available(meminfo: str) -> int:
    """The bytes that processes can still get by `/proc/meminfo`: what the page cache holds is among them."""
    fields = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _container_limit() -> int | None:
    path = Path("/sys/fs/cgroup/memory.max")
    text = path.read_text().strip() if path.exists() else "max"
    return int(text) if text.isdigit() else None


def _time_zones() -> Finding:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        return Finding("time zones", "fail", "no time zone data", "pip install tzdata")
    return Finding("time zones", "ok", "found")


def _encoding() -> Finding:
    found = sys.getfilesystemencoding()
    good = found.lower() == "utf-8"
    return Finding("file names", "ok" if good else "note", found, "" if good else "set PYTHONUTF8=1")


def _disk(place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    low = free < GIGABYTE
    return Finding("disk", "note" if low else "ok", f"{size(free)} free", "make room" if low else "")


def _writable(place: Path) -> Finding:
    if not place.is_dir():
        return Finding("write rights", "fail", f"{place} is a file", "choose a directory with --state")
    good = os.access(place, os.W_OK | os.X_OK)
    advice = "" if good else f"allow writing to {place}, or choose another directory"
    return Finding("write rights", "ok" if good else "fail", f"{place.resolve()}", advice)


def _existing(path: Path) -> Path:
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
