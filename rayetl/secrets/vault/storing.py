"""The file on disk: read only where it is private, replaced as a whole, edited by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rayetl.errors import CredentialError
from rayetl.failpoints import failpoint
from rayetl.secrets.vault.document import damaged
from rayetl.secrets.vault.locks import assert_private

LARGEST = 16 * 1024 * 1024


def read(path: Path) -> bytes | None:
    """The bytes of the file, `None` if there is none. Raises `CredentialError`."""
    try:
        # Not to wait for a writer, should it be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CredentialError(
                f"the vault {path} is a symbolic link, which is not followed", hint="name the file itself"
            ) from None
        raise _unreadable(path, error) from error
    try:
        assert_private(os.fstat(descriptor), path, "vault")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)
    if len(data) > LARGEST:
        raise damaged(path, "it is larger than rayetl ever writes it")
    return data


def _unreadable(path: Path, error: OSError) -> CredentialError:
    return CredentialError(
        f"the vault {path} cannot be read: {error.strerror}",
        hint="it belongs to the user that runs rayetl, with mode 600",
    )


@contextmanager
def editing(path: Path) -> Iterator[None]:
    """Be the only one that edits the file; waits for the one before. The system ends it with the process."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path.with_name(f".{path.name}.lock"), flags, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _clear(path)
        yield
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of the file: a crash at any moment leaves the one or the other.

    To be called while `editing`. Raises `CredentialError`.
    """
    new = path.with_name(f"{_unfinished(path)}{secrets.token_hex(4)}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            failpoint("vault.written")
            os.fsync(descriptor)
        failpoint("vault.synced")
        os.replace(new, path)
        failpoint("vault.renamed")
        _sync_directory(path.parent)
        failpoint("vault.durable")
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> CredentialError:
    return CredentialError(
        f"the vault {path} cannot be written: {error.strerror}", hint="what it held before is still there"
    )


def _unfinished(path: Path) -> str:
    return f".{path.name}.new-"


def _clear(path: Path) -> None:
    """Remove what writers left that died."""
    for left in path.parent.glob(f"{glob.escape(_unfinished(path))}*"):
        left.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
