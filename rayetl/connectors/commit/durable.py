"""File operations that are still true after a power cut, and the two atomic ones of Linux."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def sync(path: Path) -> None:
    """Force a file or a directory to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Create `path` with `data` and force it to disk. Raises `FileExistsError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_synced(path: Path, data: bytes) -> None:
    """Put `data` in the place of a file in one step: after a power cut there is the one or the other. For
    one writer at a time."""
    staged = path.with_name(f"{path.name}.new")
    staged.unlink(missing_ok=True)
    write_synced(staged, data)
    os.replace(staged, path)
    sync(path.parent)


def sync_new_directories(directory: Path, below: Path) -> None:
    """Force `directory` and the directories above it, up to and with `below`, to disk."""
    sync(directory)
    while directory != below:
        directory = directory.parent
        sync(directory)


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


def exchange(one: Path, other: Path) -> None:
    """Swap what two paths name, in one step that no reader can see the middle of.

    Raises `OSError`; `cannot_exchange` tells whether the file system is the reason.
    """
    function = _renameat2()
    if function is None:
        raise OSError(errno.ENOSYS, "renameat2 is not available", str(one))
    if function(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(one), None, str(other))


def cannot_exchange(error: OSError) -> bool:
    """Whether the file system or the system refuses such an operation on principle."""
    return error.errno in (
        errno.ENOSYS,
        errno.EINVAL,
        errno.EXDEV,
        errno.EBUSY,
        errno.EPERM,
        errno.EACCES,
        errno.ENOTSUP,
        errno.EMLINK,
        errno.EROFS,
    )
