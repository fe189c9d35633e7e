"""Secrets that nobody may find again: where they are looked for, and in which written forms."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

ODD = " /ä'\"%\\"
"""Characters that are written differently in a URL, in JSON, in base64, in SQL and in a repr."""


@dataclass(frozen=True)
class Canary:
    """One secret, known by a name."""

    name: str
    text: str

    @classmethod
    def fresh(cls, name: str, odd: str = ODD) -> Canary:
        return cls(name, f"{name}-{secrets.token_hex(8)}{odd}")

    def forms(self) -> dict[str, bytes]:
        """How it may be written down, by the name of the form."""
        text = self.text
        raw = text.encode()
        core = re.match("[A-Za-z0-9_-]*", text)
        assert core is not None
        # What no escaping touches, however often one is put around the other.
        plain = core.group().encode() if len(core.group()) >= 12 else raw
        return {
            "core": plain,
            **{f"base64 of the core at {offset}": form for offset, form in enumerate(_base64(plain))},
            "hex of the core": plain.hex().encode(),
            "plain": raw,
            "url": quote(text).encode(),
            "url whole": quote(text, safe="").encode(),
            "form": quote_plus(text).encode(),
            "json": json.dumps(text)[1:-1].encode(),
            "json unicode": json.dumps(text, ensure_ascii=False)[1:-1].encode(),
            "repr": repr(text)[1:-1].encode(),
            "repr of bytes": repr(raw)[2:-1].encode(),
            "sql": text.replace("'", "''").encode(),
            "conninfo": text.replace("\\", "\\\\").replace("'", "\\'").encode(),
            "hex": raw.hex().encode(),
            **{f"base64 at {offset}": form for offset, form in enumerate(_base64(raw))},
            **{f"base64url at {offset}": _url_safe(form) for offset, form in enumerate(_base64(raw))},
        }


def _base64(raw: bytes) -> Iterator[bytes]:
    """What base64 makes of it wherever it begins in a longer text: the characters that depend on it alone."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw)
        first, last = -(-offset * 8 // 6), (offset + len(raw)) * 8 // 6
        yield encoded[first:last]


def _url_safe(form: bytes) -> bytes:
    return form.translate(bytes.maketrans(b"+/", b"-_"))


@dataclass
class Watch:
    """Everything a command leaves behind: what it printed, its files, and what its processes showed of
    themselves while they lived."""

    seen: dict[str, bytes] = field(default_factory=dict)

    def run(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: str = ""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command, with eyes on it and on every process below it."""
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        over = threading.Event()
        watcher = threading.Thread(target=self._processes, args=(process.pid, over))
        watcher.start()
        out, err = process.communicate(stdin.encode(), timeout=240)
        over.set()
        watcher.join()
        number = len(self.seen)
        self.seen |= {f"stdout {number}": out, f"stderr {number}": err}
        return subprocess.CompletedProcess(list(command), process.returncode, out, err)

    def _processes(self, pid: int, over: threading.Event) -> None:
        while not over.is_set():
            for each in _family(pid):
                self._look(each, pid)
            over.wait(0.02)

    def _look(self, pid: int, first: int) -> None:
        command = self._note(pid, "cmdline")
        # The kernel shows the environment that a program was started with, whatever it took out of it since;
        # a child that has not become another program yet is still its parent in that.
        if command and command != _shown(first, "cmdline"):
            self._note(pid, "environ")

    def _note(self, pid: int, file: str) -> bytes:
        data, key = _shown(pid, file), f"{file} of {pid}"
        known = self.seen.get(key, b"")
        self.seen[key] = known if data in known else known + b"\n" + data
        return data

    def files(self, *directories: Path, but: Sequence[Path] = ()) -> None:
        """Every file below these directories, Parquet and Arrow with their values in clear too."""
        for directory in directories:
            for path in sorted(directory.rglob("*")):
                if path.is_file() and not path.is_symlink() and path not in but:
                    self.seen[str(path)] = path.read_bytes() + _values(path)

    def hits(self, canaries: Sequence[Canary]) -> list[tuple[str, str, str]]:
        """Canary, form and place of everything found."""
        return [
            (canary.name, form, place)
            for canary in canaries
            for form, text in canary.forms().items()
            for place, data in self.seen.items()
            if text in data or text in place.encode()
        ]


def _shown(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""


def _family(pid: int) -> list[int]:
    """A process and all below it, as the kernel lists them: cheap enough to be asked again and again."""
    below: list[int] = []
    # It, or a thread of it, may end while it is looked at.
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                below += map(int, task.read_text().split())
    return [pid, *(each for child in below for each in _family(child))]


def _values(path: Path) -> bytes:
    import polars as pl

    if path.suffix == ".parquet":
        frame = pl.read_parquet(path)
    elif path.suffix in (".arrow", ".ipc"):
        frame = pl.read_ipc(path, memory_map=False)
    else:
        return b""
    return b"\n".join(_said(value) for row in frame.rows() for value in row)


def _said(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def rayetl(*words: str) -> list[str]:
    """A command line of rayetl."""
    return [sys.executable, "-m", "rayetl", *words]


def bare_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment with a home and a temporary directory of its own."""
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "JAVA_HOME") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        **more,
    }
