"""Stdout and stderr of a command, which must not make it fail."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class StdoutError(OSError):
    """Stdout cannot be written, whatever became of the command."""


class Stdout(io.TextIOWrapper):
    """Raises `StdoutError` for what cannot be written, so that it is taken for no fault of the work."""

    def write(self, text: str) -> int:
        with _told():
            return super().write(text)

    def flush(self) -> None:
        with _told():
            super().flush()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StdoutError(error.errno, error.strerror) from error


def open_streams() -> None:
    """What the encoding of stdout lacks is shown as `?` (stderr escapes it), and a stream that was closed
    before the start takes what nobody will read."""
    if isinstance(plain := sys.stdout, io.TextIOWrapper):
        # `sys.__stdout__` keeps the one below open.
        sys.stdout = Stdout(
            plain.buffer,
            encoding=plain.encoding,
            errors="replace",
            newline="\n",
            line_buffering=plain.line_buffering,
            write_through=plain.write_through,
        )
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the whole process
