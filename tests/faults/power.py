"""A disk that loses its power: what is on it is what was forced there, and nothing else is promised.

While a `Disk` watches, each file and directory that is synced is noted as it was then. What a power cut leaves
can be laid down elsewhere, before each sync and at the end, in the ways that a file system may choose from.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

Key = tuple[int, int]
Names = Mapping[str, Key]


@dataclass(frozen=True)
class Moment:
    """What was on the disk, and what the names meant, when a cut came."""

    files: Mapping[Key, bytes]
    directories: Mapping[Key, Names]
    now: Mapping[Key, Names]
    sizes: Mapping[Key, int]

    def content(self, key: Key) -> bytes:
        """What is in a file; of one that was never forced there may be its size alone."""
        return self.files.get(key, bytes(self.sizes.get(key, 0)))

    def forced(self, root: Key) -> Iterator[tuple[str, Key]]:
        """No name but those that were forced to disk."""
        return self._walk(root, self.directories)

    def named(self, root: Key) -> Iterator[tuple[str, Key]]:
        """Every name there was; what is behind it is only what was forced."""
        return self._walk(root, self.now)

    def removed(self, root: Key) -> Iterator[tuple[str, Key]]:
        """No name but those that were forced, less what was removed since. What was moved or replaced was not
        removed."""
        alive = {key for names in self.now.values() for key in names.values()}
        left = {
            directory: {
                name: key
                for name, key in names.items()
                if key in alive or name in self.now.get(directory, {})
            }
            for directory, names in self.directories.items()
        }
        return self._walk(root, left)

    def _walk(self, key: Key, directories: Mapping[Key, Names], at: str = "") -> Iterator[tuple[str, Key]]:
        for name, inside in directories.get(key, {}).items():
            yield f"{at}{name}", inside
            yield from self._walk(inside, directories, f"{at}{name}/")


WAYS = (Moment.forced, Moment.named, Moment.removed)
"""What a file system may have done on its own of what nobody forced: nothing, all, or the removals."""


class Disk:
    """Watches the syncs of this process below `root`, of which everything is on disk at the beginning."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.moments: list[Moment] = []
        self._lock = threading.Lock()
        self._held: list[int] = []
        self._kinds: dict[Key, int] = {}
        self._files: dict[Key, bytes] = {}
        self._directories: dict[Key, Names] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        for directory, _, names in os.walk(self._root):
            for path in (directory, *(os.path.join(directory, name) for name in names)):
                self._synced(path)
        with mock.patch("os.fsync", self._fsync):
            yield
        self._cut()
        for descriptor in self._held:
            os.close(descriptor)

    def _fsync(self, descriptor: int) -> None:
        with self._lock:
            self._cut()
            self._synced(f"/proc/self/fd/{descriptor}")

    def _cut(self) -> None:
        now, sizes = {}, {}
        for directory, _, names in os.walk(self._root):
            now[self._key(directory)] = self._names(directory)
            for path in (os.path.join(directory, name) for name in names):
                sizes[self._key(path)] = os.path.getsize(path)
        self.moments.append(Moment(dict(self._files), dict(self._directories), now, sizes))

    def _synced(self, path: str) -> None:
        if os.path.isdir(path):
            self._directories[self._key(path)] = self._names(path)
        else:
            self._files[self._key(path)] = Path(path).read_bytes()

    def _names(self, directory: str) -> Names:
        return {entry.name: self._key(entry.path) for entry in os.scandir(directory)}

    def _key(self, path: str) -> Key:
        """The inode behind a path. Held open, no other file is given its number."""
        found = os.stat(path)
        key = found.st_dev, found.st_ino
        if key not in self._kinds:
            self._kinds[key] = found.st_mode
            self._held.append(os.open(path, os.O_PATH))
        return key

    def cuts(self, place: Path) -> Iterator[bool]:
        """Lays down below `place` what each cut leaves, each state once; gives whether it came at the end."""
        root, seen = self._key(str(self._root)), set()
        for moment in self.moments:
            is_over = moment is self.moments[-1]
            for way in WAYS:
                left = [(name, key, moment.content(key)) for name, key in way(moment, root)]
                if (state := (is_over, *left)) not in seen:
                    seen.add(state)
                    self._lay(left, place)
                    yield is_over
                    shutil.rmtree(place)

    def _lay(self, left: Sequence[tuple[str, Key, bytes]], place: Path) -> None:
        place.mkdir()
        laid: dict[Key, Path] = {}
        for name, key, data in left:
            if stat.S_ISDIR(self._kinds[key]):
                (place / name).mkdir()
            elif key in laid:
                os.link(laid[key], place / name)
            else:
                (place / name).write_bytes(data)
                laid[key] = place / name
