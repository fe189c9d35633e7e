"""Where the files of a load lie: data, ledger, lock and the directories of attempts.

    out/daily/part-000001-....parquet     data
    out/daily/_rayetl/lock                held by the one run that loads
    out/daily/_rayetl/epochs/000001.json  the ledger: one manifest for each committed epoch
    out/daily/_rayetl/published           the last epoch whose files are all in place
    out/.daily.rayetl-<attempt>/          one attempt: `data` (staged files), `manifest.json`, `next`
    out/.daily.parked-<epoch>/            finished parts of an epoch that is not committed yet

The directory of an attempt is also its right to commit: whoever takes over renames it first, after which
no system call of the old attempt can find its files.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from rayetl.records import dataclass

CONTROL = "_rayetl"
DEAD = "dead-"


def is_hidden(name: str) -> bool:
    """Whether readers (ours, Spark's, Arrow's) pass over a file or directory of that name."""
    return name.startswith((".", "_"))


def hidden_partition(name: str) -> str | None:
    """Why a column may not name directories, in words; `None` if it may."""
    if not is_hidden(name):
        return None
    return (
        f"directories of the column {name!r} would be hidden: readers pass over names that begin with _ or ."
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of one target directory. `swap`: a complete new directory can be built beside it, so
    that attempts lie there; otherwise they lie in the control directory."""

    root: Path
    swap: bool

    @classmethod
    def of(cls, path: str) -> Layout:
        """The layout of a target, which need not exist. Symbolic links to it are followed once, here."""
        root = Path(os.path.realpath(path))
        return cls(root=root, swap=_has_room_beside(root))

    @property
    def control(self) -> Path:
        return self.root / CONTROL

    @property
    def lock(self) -> Path:
        return self.control / "lock"

    @property
    def epochs(self) -> Path:
        return self.control / "epochs"

    @property
    def published(self) -> Path:
        return self.control / "published"

    @property
    def _beside(self) -> tuple[Path, str]:
        name = self.root.name
        if len(os.fsencode(name)) > 180:
            name = hashlib.sha256(os.fsencode(name)).hexdigest()
        return self.root.parent, f".{name}.rayetl-"

    @property
    def _inside(self) -> tuple[Path, str]:
        return self.control, "attempt-"

    def new_attempt(self, number: int) -> Attempt:
        """Make the directory of a new attempt; its name is never used twice."""
        parent, prefix = self._beside if self.swap else self._inside
        name = f"{number:06d}-{secrets.token_hex(4)}"
        attempt = Attempt(directory=parent / f"{prefix}{name}", name=name)
        attempt.directory.mkdir()
        attempt.data.mkdir()
        return attempt

    def parking(self, mark: str) -> Path:
        """Where finished parts of the epoch of that mark wait for its commit; no attempt clears it away."""
        parent, prefix = self._parked
        return parent / f"{prefix}{mark}"

    def parkings(self) -> Iterator[tuple[str, Path]]:
        """All directories of finished parts, each with the mark of its epoch."""
        parent, prefix = self._parked
        if os.access(parent, os.R_OK):
            for entry in os.scandir(parent):
                if entry.name.startswith(prefix):
                    yield entry.name.removeprefix(prefix), Path(entry.path)

    @property
    def _parked(self) -> tuple[Path, str]:
        parent, prefix = self._beside if self.swap else self._inside
        return parent, prefix.replace("rayetl-", "parked-").replace("attempt-", "parked-")

    def attempts(self) -> Iterator[Attempt]:
        """All directories of attempts, dead ones included, oldest first."""
        for parent, prefix in (self._beside, self._inside):
            if not os.access(parent, os.R_OK):
                continue
            for entry in sorted(os.scandir(parent), key=lambda entry: entry.name):
                name = entry.name.removeprefix(prefix)
                if name != entry.name and entry.is_dir(follow_symlinks=False):
                    yield Attempt(directory=Path(entry.path), name=name)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The directory of one attempt to load an epoch."""

    directory: Path
    name: str

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def manifest(self) -> Path:
        return self.directory / "manifest.json"

    @property
    def marker(self) -> Path:
        return self.directory / "published"

    @property
    def next(self) -> Path:
        return self.directory / "next"

    @property
    def is_dead(self) -> bool:
        return self.name.startswith(DEAD)

    @property
    def token(self) -> str:
        return self.name.removeprefix(DEAD)

    def fence(self) -> Attempt:
        """Take this attempt's right to commit away, in one step."""
        if self.is_dead:
            return self
        dead = self.directory.with_name(self.directory.name.removesuffix(self.name) + DEAD + self.name)
        self.directory.rename(dead)
        return Attempt(directory=dead, name=DEAD + self.name)


def data_files(root: Path) -> Iterator[Path]:
    """Everything below `root` that is neither a directory nor hidden, as paths relative to it; symbolic
    links are not followed."""
    for directory, names, files in os.walk(root):
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        names[:] = sorted(name for name in names if not is_hidden(name) and name not in links)
        for name in sorted([*files, *links]):
            if not is_hidden(name):
                yield Path(directory, name).relative_to(root)


_HIVE_ESCAPES = {
    code: f"%{code:02X}" for code in (*range(1, 32), 127, *(ord(sign) for sign in "\"#%'*/:=?\\{[]^"))
}


def hive_directory(staged: Path) -> Path:
    """Partition directories as Hive and Spark spell them. Polars percent-encodes every byte that is not
    ASCII, which Spark reads back as other letters."""
    parts = (part.partition("=") for part in staged.parts)
    return Path(*(f"{_respelled(name)}={_respelled(value)}" for name, _, value in parts))


def _respelled(text: str) -> str:
    return unquote(text, errors="strict").translate(_HIVE_ESCAPES)


def _has_room_beside(root: Path) -> bool:
    """Whether `root` can be exchanged with a directory beside it."""
    parent = root.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if root == root.parent or not os.access(parent, os.W_OK | os.X_OK):
        return False
    try:
        own = root.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(own.st_mode) and own.st_dev == parent.stat().st_dev
