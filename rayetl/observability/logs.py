"""Structured logs: every line carries the run, pipeline and step it belongs to.

A library user is left alone: importing this, or running a pipeline, configures nothing, and the lines
go to the standard `logging` loggers below `rayetl`. `configure` is for programs; it needs structlog,
nothing else here does.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Literal, TextIO

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
    handler.setFormatter(_Formatter(is_json(form, target), target.isatty()))
    for name in [name for name in logging.root.manager.loggerDict if name.startswith(ROOT + ".")]:
        logging.getLogger(name).setLevel(logging.NOTSET)
    root = logging.getLogger(ROOT)
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(logging.WARNING)
    for name, level in wanted.items():
        logging.getLogger(name).setLevel(level)


class _Formatter(logging.Formatter):
    """Asks structlog for the line; it is imported with the first one."""

    def __init__(self, as_json: bool, colours: bool) -> None:
        super().__init__()
        self._json = as_json
        self._colours = colours
        self._inner: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        if self._inner is None:
            self._inner = self._make()
        return self._inner.format(record)

    def _make(self) -> logging.Formatter:
        import os

        with _absent("rich") if self._json else nullcontext():
            import structlog
            from structlog.stdlib import ProcessorFormatter

        colours = self._colours and not os.environ.get("NO_COLOR")
        renderer: Any = structlog.dev.ConsoleRenderer(colors=colours)
        if self._json:
            renderer = structlog.processors.JSONRenderer(default=str)
        shared: list[Any] = [
            _fields,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ]
        errors = [structlog.processors.format_exc_info] if self._json else []
        final = [ProcessorFormatter.remove_processors_meta, *errors, renderer]
        return ProcessorFormatter(foreign_pre_chain=shared, processors=final)


@contextmanager
def _absent(package: str) -> Iterator[None]:
    """Let imports inside do without an optional `package`: structlog would load rich, which takes longer
    than all the rest of it, for coloured tracebacks that a log of JSON never has."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def _fields(logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """A structlog processor: put back the event and fields that the record carries."""
    del logger, method
    record = event["_record"]
    fields = getattr(record, "rayetl_fields", {})
    return {**event, **fields, "event": getattr(record, "rayetl_event", event["event"])}
