"""Staged files on their way: as parts of uploads that are held back, several at once, each with its MD5."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from rayetl.connectors.s3.faults import Missing
from rayetl.connectors.s3.target import S3Target
from rayetl.errors import LoadError
from rayetl.failpoints import failpoint
from rayetl.records import dataclass

PART = 8 << 20
"""Bytes of a part, at least; held in memory by each of the threads that send."""

MOST_PARTS = 10_000
"""Parts that the protocol allows an upload."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Some bytes of a file, as the part `number` (from 1) of an upload."""

    path: Path
    name: str
    upload: str
    number: int
    start: int
    size: int


def send(target: S3Target, files: Sequence[tuple[Path, str]]) -> list[str]:
    """Send files under their names in the target; the ids of their uploads. Raises `CommitConflict` where
    another run has committed meanwhile, and what requests raise; then what was begun is dropped, as far as
    the service can be reached."""
    uploads: dict[str, str] = {}

    def begin(name: str) -> None:
        uploads[name] = target.begin_upload(name)
        failpoint("s3.upload_begun")

    try:
        target.at_once(begin, [name for _, name in files])
        parts = [part for path, name in files for part in _parts(path, name, uploads[name])]
        target.at_once(lambda part: _send(target, part), parts)
    except Missing as error:
        # Who commits drops the uploads of attempts at the same number.
        target.give_up(uploads.items())
        raise target.overtaken() from error
    except BaseException:
        target.give_up(uploads.items())
        raise
    return [uploads[name] for _, name in files]


def send_whole(target: S3Target, files: Sequence[tuple[Path, str]]) -> None:
    """Send files under their names in the target, to be seen at once. Raises as `send`, and `LoadError` for a
    file that somebody removed meanwhile."""
    uploads = send(target, files)

    def complete(item: tuple[tuple[Path, str], str]) -> None:
        (path, name), upload = item
        if not target.complete(name, upload, path.stat().st_size):
            raise LoadError(
                f"{target}/{name} was sent, but neither it nor its whole upload is there",
                hint="does somebody clear the bucket at this moment? run again",
            )

    target.at_once(complete, list(zip(files, uploads, strict=True)))


def _parts(path: Path, name: str, upload: str) -> Iterator[_Part]:
    whole = path.stat().st_size
    size = max(PART, -(-whole // MOST_PARTS))
    # An empty file is one empty part.
    for number, start in enumerate(range(0, max(whole, 1), size), start=1):
        yield _Part(path, name, upload, number, start, min(size, whole - start))


def _send(target: S3Target, part: _Part) -> None:
    with part.path.open("rb") as file:
        file.seek(part.start)
        body = file.read(part.size)
    target.call(
        *("upload_part", f"writing {target}/{part.name}"),
        Key=target.key(part.name),
        UploadId=part.upload,
        PartNumber=part.number,
        Body=body,
        ContentMD5=base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
    )
    failpoint("s3.part_sent")
