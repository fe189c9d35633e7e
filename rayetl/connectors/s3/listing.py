"""The objects behind a path: one object, a glob, or all below a prefix, as a walk through directories finds
files. What is listed is the longest prefix without a wildcard, page by page."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rayetl.connectors.base import InputFile
from rayetl.connectors.listing import ambiguous, braces, is_hidden, is_wanted, partition_of
from rayetl.connectors.places import S3, split_key
from rayetl.connectors.s3.whole import whole
from rayetl.errors import NoFilesError, SourceError, Terminal

if TYPE_CHECKING:
    from rayetl.connectors.formats.options import ListingOptions
    from rayetl.connectors.s3.account import S3Account

PAGE = 1000
"""Objects that are asked for at once, the most that the protocol has."""

_Partition = tuple[tuple[str, str | None], ...] | None

_WILD = re.compile(r"[*?\[{]")


def files_behind(account: S3Account, path: str, options: ListingOptions) -> list[InputFile]:
    """See `FileStore.files`."""
    bucket, key = split_key(path)
    looks = (_exactly, _below, _fitting) if _WILD.search(key) else (_exactly, _below)
    for look in looks:
        reached = list(look(account, bucket, key, options))
        if reached:
            files = [file for file in reached if file is not None]
            if look is _exactly and len(looks) > 2:
                fitting = _fitting(account, bucket, key, options)
                others = [file.path for file in fitting if file is not None and file not in files]
                if others:
                    raise ambiguous(path, others)
            return files
    what = "no object fits the pattern" if _WILD.search(key) else "there is no object or prefix"
    raise NoFilesError(f"{what} {path}", hint=f"is it spelled so, and at {account.service}?")


def parts_of(account: S3Account, path: str) -> list[InputFile]:
    """The files of whole epochs that a load has put directly below a prefix, in the order of time; none where
    there is no such load."""
    bucket, key = split_key(path)
    prefix = f"{key.strip('/')}/"
    names = {str(found["Key"]).removeprefix(prefix): found for found in whole(account, bucket, prefix)}
    return [stored(account, bucket, names[name]) for name in sorted(names) if name.startswith("part-")]


def objects(
    account: S3Account, bucket: str, prefix: str, fault: type[Terminal] = SourceError, **more: Any
) -> Iterator[dict[str, Any]]:
    """All objects whose keys begin with `prefix`, as the service describes them, in the order of keys."""
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE, **more}
    while True:
        answer = account.call("list_objects_v2", f"listing {S3}{bucket}/{prefix}", fault, **asked)
        yield from answer.get("Contents", ())
        if not answer.get("IsTruncated"):
            return
        asked["ContinuationToken"] = answer["NextContinuationToken"]


# Each of these looks gives an item for every object that lies behind the path, `None` for one that is passed
# over: a path behind which there is nothing is a mistake, one with nothing to read is not.
_Reached = Iterator[InputFile | None]


def _exactly(account: S3Account, bucket: str, key: str, options: ListingOptions) -> _Reached:
    """The object of exactly this key, which is the first that begins with it."""
    if not key or key.endswith("/"):
        return
    for first in objects(account, bucket, key, MaxKeys=1):
        if first["Key"] == key:
            wanted = is_wanted(key.rpartition("/")[2], options)
            yield stored(account, bucket, first) if wanted else None
        return


def _below(account: S3Account, bucket: str, key: str, options: ListingOptions) -> _Reached:
    prefix = f"{key.rstrip('/')}/" if key.strip("/") else ""
    for found in whole(account, bucket, prefix) if prefix else objects(account, bucket, prefix):
        parts = found["Key"].removeprefix(prefix).split("/")
        yield _placed(account, bucket, found, _walked(parts, options))


def _fitting(account: S3Account, bucket: str, key: str, options: ListingOptions) -> _Reached:
    for pattern in braces(key):
        steps = pattern.rstrip("/").split("/")
        match, is_shown = _WILD.search(pattern), is_hidden(steps[-1])
        for found in objects(account, bucket, pattern[: match.start()] if match else pattern):
            parts = found["Key"].split("/")
            # The directories that fit, the outermost first, and the object itself.
            fitting = (depth for depth in range(1, len(parts) + 1) if _fits(parts[:depth], steps))
            if roots := [depth for depth in fitting if is_shown or not is_hidden(parts[depth - 1])]:
                walks = (
                    _walked(parts[depth:] or parts[-1:], options, depth == len(parts)) for depth in roots
                )
                yield _placed(
                    account, bucket, found, next((walk for walk in walks if walk is not None), None)
                )


def _placed(
    account: S3Account, bucket: str, found: dict[str, Any], partition: _Partition
) -> InputFile | None:
    return None if partition is None else replace(stored(account, bucket, found), partition=partition)


def _walked(parts: Sequence[str], options: ListingOptions, named: bool = False) -> _Partition:
    """The partition of an object whose key has these parts below a directory; `None` if a walk through the
    directory does not come to it. What is `named` itself may be hidden."""
    *directories, name = parts
    if not name or not is_wanted(name, options) or (not named and any(map(is_hidden, parts))):
        return None
    if options.recursive_file_lookup:
        return ()
    return tuple(map(partition_of, directories)) if all("=" in part for part in directories) else None


def _fits(parts: Sequence[str], steps: Sequence[str]) -> bool:
    """Whether names fit a pattern step by step, as Python's glob has it: `**` is any number of directories,
    and a wildcard at the beginning does not stand for a dot."""
    if not steps:
        return not parts
    if steps[0] == "**":
        if _fits(parts, steps[1:]):
            return True
        return bool(parts) and not parts[0].startswith(".") and _fits(parts[1:], steps)
    if not parts or not parts[0]:
        return False
    if parts[0].startswith(".") and not steps[0].startswith("."):
        return False
    return fnmatch.fnmatchcase(parts[0], steps[0]) and _fits(parts[1:], steps[1:])


def stored(account: S3Account, bucket: str, found: dict[str, Any]) -> InputFile:
    """An object as the service describes it."""
    return InputFile(
        path=f"{S3}{bucket}/{found['Key']}",
        size=int(found["Size"]),
        modified_ns=int(found["LastModified"].timestamp() * 1_000_000) * 1_000,
        store=account,
        tag=found["ETag"],
    )
