"""The paths that a config may name: of this machine, or of S3 where that is said."""

from __future__ import annotations

import os
import re
from typing import Annotated

from pydantic import AfterValidator

from rayetl.hosts import assert_no_login

S3 = "s3://"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


def is_on_s3(path: str) -> bool:
    """Whether a path is that of a bucket."""
    return path.startswith(S3)


def holds(place: str, other: str) -> bool:
    """Whether one of two places, as `Load.location` gives them, is the other or lies within it."""
    first, second = (f"{each.rstrip('/')}/" for each in (place, other))
    return first.startswith(second) or second.startswith(first)


def advice(error: Exception) -> str | None:
    """What to do about a fault of files, where the system itself tells of it."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"see to the disk and the rights of {error.filename}, then run again"
    return None


def split_key(path: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    bucket, _, key = path.removeprefix(S3).partition("/")
    return bucket, key


def _possible(path: str) -> None:
    if not path:
        raise ValueError("the path is empty: name a file or directory")
    if "\0" in path:
        raise ValueError("a path cannot hold the character NUL")


def _local(path: str) -> str:
    _possible(path)
    if found := _SCHEME.match(path):
        raise ValueError(
            f"{found[0]} is not possible here: give a directory of this machine, as out/daily or /data/daily"
        )
    return path


def known(path: str) -> str:
    """A path of this machine or of S3. Raises `ValueError` for any other."""
    _possible(path)
    found = _SCHEME.match(path)
    if found is None:
        return path
    if found[1].lower() in ("s3", "s3a", "s3n") and found[0] != S3:
        raise ValueError(f"write {S3}{path[found.end() :]}: rayetl knows S3 by this name only")
    if found[0] != S3:
        raise ValueError(f"{found[0]} is not known; paths are of this machine, or of S3 ({S3}bucket/key)")
    bucket, _ = split_key(path)
    assert_no_login(bucket)
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"{bucket!r} in {path} is not the name of a bucket")
    return path


LocalPath = Annotated[str, AfterValidator(_local)]
"""A path of this machine."""

FilePath = Annotated[str, AfterValidator(known)]
"""A path of this machine or of a bucket."""

TargetPath = Annotated[FilePath, AfterValidator(os.path.expanduser)]
"""One that is written to. `~` is the home directory, as where files are read, not a directory so named."""
