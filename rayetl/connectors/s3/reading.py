"""The bytes of an object as a file: fetched in ranges, of the very version that was listed.

Memory is bounded by one window for each open file. Windows grow while a file is read from one end to the
other, so that text takes few requests, and stay small where a reader jumps, as to the footer of a Parquet
file. Large ranges are fetched by several requests at once.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from rayetl.connectors.base import InputFile
from rayetl.connectors.listing import changed, gone
from rayetl.connectors.places import split_key
from rayetl.connectors.s3.faults import Missing, Precondition
from rayetl.errors import RayetlError

if TYPE_CHECKING:
    from rayetl.connectors.s3.account import S3Account

FIRST = 256 << 10
"""Bytes that are fetched at once where nothing is known of the reader."""

PART = 8 << 20
"""Bytes that one request asks for at most."""

THREADS = 4
"""Requests at once for one large range."""


class ObjectFile(io.RawIOBase):
    """`fault` is what the last read raised: readers in other languages keep no more than its words."""

    def __init__(self, account: S3Account, file: InputFile) -> None:
        self._account = account
        self._file = file
        self._at = 0
        self._start = 0
        self._window = memoryview(b"")
        self._ahead = FIRST
        self.fault: RayetlError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._file.size - self._at))
        filled = 0
        # All that is wanted at once: Arrow takes less for a file that is cut off.
        while filled < wanted:
            if not self._start <= self._at < self._end:
                self._fill(wanted - filled)
            place = self._at - self._start
            size = min(wanted - filled, len(self._window) - place)
            view[filled : filled + size] = self._window[place : place + size]
            self._at += size
            filled += size
        return filled

    @property
    def _end(self) -> int:
        return self._start + len(self._window)

    def _fill(self, wanted: int) -> None:
        goes_on = self._end <= self._at <= self._end + self._ahead and self._end > 0
        self._ahead = min(2 * self._ahead, PART) if goes_on else FIRST
        # The old window is let go before the new one comes.
        self._start, self._window = self._at, memoryview(b"")
        end = min(self._file.size, self._at + max(wanted, self._ahead))
        self._window = memoryview(self._fetched(self._at, end))

    def _fetched(self, start: int, end: int) -> bytes:
        try:
            if end - start <= PART:
                return fetch(self._account, self._file, start, end)
            with ThreadPoolExecutor(THREADS, "s3") as pool:
                return b"".join(pool.map(lambda at: self._part(at, end), range(start, end, PART)))
        except RayetlError as error:
            self.fault = error
            raise

    def _part(self, start: int, end: int) -> bytes:
        return fetch(self._account, self._file, start, min(start + PART, end))


def fetch(account: S3Account, file: InputFile, start: int, end: int) -> bytes:
    """The bytes of an object from `start` up to `end`. Raises `SourceError` if it is not the one that was
    listed, `CredentialError` and `Retryable`."""
    bucket, key = split_key(file.path)
    span = f"bytes={start}-{end - 1}"
    try:
        found, answer = account.content(
            f"reading {file.path}", Bucket=bucket, Key=key, Range=span, IfMatch=file.tag
        )
    except Missing:
        raise gone(file.path) from None
    except Precondition:
        raise changed(file) from None
    if answer["ETag"] != file.tag or len(found) != end - start:
        raise changed(file)
    return found
