"""Errors as people see them: on stderr, the cause first, then a hint; a traceback only when asked for."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

import typer

from rayetl.cli.streams import StdoutError
from rayetl.errors import ConfigError, Problem, RayetlError, SqlError
from rayetl.observability.text import clean, many


def usage(error: typer.TyperException) -> int:
    """A wrong command line: what typer says of it, and where to find help."""
    context = getattr(error, "ctx", None)
    _line(f"error: {error.format_message()}")
    if context is not None:
        _line(f"hint: {context.command_path} --help shows the options and examples")
    return 2


def show(error: BaseException, *, debug: bool) -> int:
    """Print `error` and return the exit code it stands for."""
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, ConfigError | SqlError):
        problems(error.problems)
        return error.exit_code
    if isinstance(error, RayetlError):
        prefix = f"{error.step}: " if error.step else ""
        _failure(f"{prefix}{error.message}", error.hint)
        return error.exit_code
    if isinstance(error, StdoutError):
        return _unread(error)
    if isinstance(error, FileNotFoundError) and not _has_directory():
        _failure("the working directory was removed", 'change to another, or anew to this one: cd "$PWD"')
        return 1
    _unexpected(error, debug)
    return 1


def _has_directory() -> bool:
    """Whether there is a working directory, from which the paths of a config are taken."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _unread(error: StdoutError) -> int:
    """Stdout cannot be written. That whoever read it has enough, as `head` has, needs no words."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if error.errno != errno.EPIPE:
        hint = "what the command did stands; of a run, `rayetl report` shows it"
        _failure(f"stdout cannot be written: {error.strerror}", hint)
    return 1


def stopped(code: int) -> int:
    """Say so where `code` means that a signal ended the command; gives `code` back."""
    if code in (130, 143):
        _failure(f"stopped by {'SIGINT' if code == 130 else 'SIGTERM'}", "run it again to go on from there")
    return code


def problems(found: Sequence[Problem]) -> None:
    """Every problem on its line, then how many there are."""
    for problem in found:
        _line(str(problem))
    _line(f"{many(len(found), 'problem')} found, nothing was read or written")


def warnings(found: Sequence[Problem]) -> None:
    """Each finding that stops nothing, on its line."""
    for problem in found:
        _line(str(replace(problem, message=f"warning: {problem.message}")))


def _unexpected(error: BaseException, debug: bool) -> None:
    sentence = " ".join(str(error).split()) or "no message"
    hint = None if debug else "this is a fault of rayetl: run again with --debug and report the traceback"
    _failure(f"unexpected {type(error).__name__}: {sentence}", hint)


def _failure(message: str, hint: str | None) -> None:
    _line(f"error: {message}")
    if hint:
        _line(f"hint: {hint}")


def _line(text: str) -> None:
    sys.stderr.write(clean(text, keep="\n") + "\n")
