"""Structured logs: every line carries the run, pipeline and step it belongs to.

A library user is left alone: importing this, or running a pipeline, configures nothing, and the lines
go to the standard `logging` loggers below `rayetl`. `configure` is for programs.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, TextIO

Format = Literal["auto", "text", "json"]
Levels = Mapping[str, int]

ROOT = "rayetl"
NAMES = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

_context: ContextVar[Mapping[str, object] | None] = ContextVar("rayetl_log_context", default=None)
_run_levels: ContextVar[Levels | None] = ContextVar("rayetl_log_levels", default=None)

logging.getLogger(ROOT).addHandler(logging.NullHandler())


class Logger:
    """Writes events with fields; what is bound around the call is added to them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, *, exc_info: BaseException | None = None, **fields: object) -> None:
        self._log(logging.ERROR, event, fields, exc_info)

    def _log(
        self, level: int, event: str, fields: Mapping[str, object], error: BaseException | None = None
    ) -> None:
        target = logging.getLogger(self._name)
        if not _enabled(target, level):
            return
        every = {**(_context.get() or {}), **fields}
        text = " ".join([event, *(f"{key}={value}" for key, value in every.items())])
        trace = (type(error), error, error.__traceback__) if error else None
        record = target.makeRecord(self._name, level, "", 0, "%s", (text,), trace)
        record.rayetl_event, record.rayetl_fields = event, every
        target.handle(record)


def get_logger(name: str) -> Logger:
    """A logger for the module `name`; cheap, and safe to make at import."""
    return Logger(name)


def _enabled(target: logging.Logger, level: int) -> bool:
    wanted = _run_levels.get()
    if wanted is None:
        return target.isEnabledFor(level)
    return level >= _level_of(wanted, target.name)


def _level_of(levels: Levels, name: str) -> int:
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((levels[prefix] for prefix in prefixes if prefix in levels), logging.WARNING)


@contextmanager
def bound(levels: str | None = None, **fields: object) -> Iterator[None]:
    """Add `fields` to every line logged inside, in this thread alone; `levels` set the log levels of
    this run alone, as `parse_levels` reads them."""
    token = _context.set({**(_context.get() or {}), **fields})
    level_token = _run_levels.set(parse_levels(levels) if levels else _run_levels.get())
    try:
        yield
    finally:
        _run_levels.reset(level_token)
        _context.reset(token)


def context() -> Mapping[str, object]:
    """The fields that are added to every line here."""
    return _context.get() or {}


def parse_levels(text: str) -> Levels:
    """`info,rayetl.connectors=debug` as levels by logger name. Raises `ValueError` saying what is allowed."""
    levels = {}
    for part in text.split(","):
        name, _, level = part.rpartition("=")
        if level.strip().lower() not in NAMES:
            raise ValueError(f"{level.strip()!r} is not a log level; allowed: {', '.join(NAMES)}")
        levels[_qualified(name.strip())] = NAMES[level.strip().lower()]
    return levels


def _qualified(name: str) -> str:
    return name if name == ROOT or name.startswith(ROOT + ".") else f"{ROOT}.{name}".rstrip(".")


def is_json(form: Format, stream: TextIO) -> bool:
    """Whether lines are JSON: when asked for, or when nobody sits at a terminal."""
    return form == "json" or (form == "auto" and not stream.isatty())


def configure(levels: str = "info", form: Format = "auto", stream: TextIO | None = None) -> None:
    """Send rayetl's log lines to `stream` (stderr) and nowhere else; a second call replaces the first.

    Raises `ValueError` for unknown levels.
    """
    wanted = parse_levels(levels)
    target = stream or sys.stderr
    handler = logging.StreamHandler(target)
    colours = target.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(_Json() if is_json(form, target) else _Text(colours))
    for name in [name for name in logging.root.manager.loggerDict if name.startswith(ROOT + ".")]:
        logging.getLogger(name).setLevel(logging.NOTSET)
    root = logging.getLogger(ROOT)
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(logging.WARNING)
    for name, level in wanted.items():
        logging.getLogger(name).setLevel(level)


class _Formatter(logging.Formatter):
    """The time in UTC, level, logger, event and fields of a record. A field cannot pass for one of those."""

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        event = getattr(record, "rayetl_event", None) or record.getMessage()
        fields: Mapping[str, object] = getattr(record, "rayetl_fields", {})
        stamp = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        own = {
            "event": event,
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": f"{stamp.isoformat(timespec='microseconds')}Z",
        }
        return {"event": event, **fields, **own}


class _Json(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = self._fields(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Text(_Formatter):
    """For people; in `colours` on a terminal."""

    def __init__(self, colours: bool) -> None:
        super().__init__()
        self._colours = _COLOURS if colours else {}

    def format(self, record: logging.LogRecord) -> str:
        fields = self._fields(record)
        stamp, level, event = (str(fields.pop(name)) for name in ("timestamp", "level", "event"))
        start = self._colours.get(record.levelno, "")
        parts = [stamp, f"{start}{level:8}{_PLAIN if start else ''}", f"{event} [{fields.pop('logger')}]"]
        line = " ".join([*parts, *(f"{name}={_spelled(value)}" for name, value in fields.items())])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


_PLAIN = "\x1b[0m"
_COLOURS = {
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[31;1m",
}


def _spelled(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and not set(text) & {" ", '"', "="} else json.dumps(text)
