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
    """What the encoding of a stream lacks is shown as `?`, and one that was closed before the start takes
    what nobody will read."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the whole process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout is sys.__stdout__:
        plain = sys.stdout
        sys.stdout = Stdout(
            plain.buffer,
            encoding=plain.encoding,
            errors="replace",
            newline="\n",
            line_buffering=plain.line_buffering,
            write_through=plain.write_through,
        )
