"""Everything rayetl raises on purpose.

RayetlError
 +-- ConfigError            one or more problems in a config          (exit 2)
 +-- SqlError               a query that cannot be understood or run  (exit 2 when it comes from a config)
 |    +-- UnsupportedSqlError   valid Spark SQL that the engine does not lower
 +-- RunError               something that happened while a run was under way (exit 1)
      +-- Retryable         may succeed when tried again
      |    +-- CircuitOpen      an endpoint that failed too often is left alone for a while
      |    +-- CredentialUnavailable   a place that keeps credentials cannot be reached
      +-- Terminal          will not
           +-- SourceError      an input that is missing, damaged or of another form than promised
           +-- LoadError        a target that cannot take the rows
           +-- CredentialError  a credential that is missing, or whose place is damaged or locked
           +-- CommitConflict   another attempt owns or owned this epoch
           +-- BooksError       the row counts of a run do not balance
           +-- QualityAbort     an `abort` rule failed             (exit 3)
           +-- RejectLimit      more rejects than the allowed share (exit 4)

Whether to try again is decided by `Retryable` and `Terminal` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from rayetl.records import dataclass

if TYPE_CHECKING:
    from rayetl.observability.report import RunReport

ConfigPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a config, before or after it has been given a place in the file.

    `path` leads from the document's root to the value at fault (field names as the user may write
    them, list indexes as integers). `offset` counts characters from the start of that string value,
    for a fault inside an SQL text. `line` and `column` count from 1 and are filled in by the loader.
    """

    code: str
    message: str
    path: ConfigPath = ()
    hint: str | None = None
    offset: int | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None

    def under(self, prefix: ConfigPath) -> Problem:
        """The same problem, seen from further up the document."""
        return replace(self, path=prefix + self.path)

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        where = place or ".".join(str(part) for part in self.path)
        text = f"{where}: {self.message}" if where else self.message
        return f"{text} ({self.hint})" if self.hint else text


def _revive(kind: type[RayetlError], args: tuple[Any, ...], state: dict[str, Any]) -> RayetlError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class RayetlError(Exception):
    """Base of all: one sentence of cause, and what to do next when that is known."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.step = step
        self.report: RunReport | None = None
        """The report of the run that this error ended, if there was one."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders in a cluster; what the constructor was given is in the attributes.
        return _revive, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        prefix = f"{self.step}: " if self.step else ""
        return f"{prefix}{self.message}" + (f"\nhint: {self.hint}" if self.hint else "")


@contextmanager
def at_step(step: str) -> Iterator[None]:
    """Faults of a run name the source, step or load at which they happened, if they do not yet."""
    try:
        yield
    except RayetlError as error:
        error.step = error.step or step
        raise


class ConfigError(RayetlError):
    """A config that cannot be run; `problems` holds all that was found, in file order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SqlError(RayetlError):
    """A query with one or more faults. Each problem's `offset` counts from the start of the text it
    came from, its `path` names the config value when the text came from a config."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnsupportedSqlError(SqlError):
    """Spark would run it; this engine refuses rather than answer differently."""


class RunError(RayetlError):
    """Raised while a run is under way."""


class Retryable(RunError):
    """The same attempt may succeed later: a lost connection, a busy file, a full queue.

    `endpoint` is what failed, as `Source.endpoint` or `Load.endpoint` names it; `retry_after` the seconds
    before which trying again is useless.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        step: str | None = None,
        endpoint: str | None = None,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message, hint=hint, step=step)
        self.endpoint = endpoint
        self.retry_after = retry_after


class CircuitOpen(Retryable):
    """An endpoint failed so often in a row that it is left alone for a while."""


class Terminal(RunError):
    """Trying again cannot help."""


class SourceError(Terminal):
    """An input is missing, damaged, or not what the config says it is. `path` leads to the field of the
    source that is at fault, where that is not the place of the input."""

    def __init__(
        self, message: str, *, hint: str | None = None, step: str | None = None, path: ConfigPath = ()
    ) -> None:
        super().__init__(message, hint=hint, step=step)
        self.path = path


class NoFilesError(SourceError):
    """There is no file where a source looks for some."""


class LoadError(Terminal):
    """A target cannot take the rows."""


class CredentialError(Terminal):
    """A credential is missing, or the place it is kept in is damaged, locked or refuses to give it."""


class CredentialUnavailable(Retryable):
    """A place that keeps credentials cannot be reached at the moment."""


class CommitConflict(Terminal):
    """Another run of the same pipeline committed, or is committing, this epoch."""


class BooksError(Terminal):
    """Rows went missing or appeared: counts that must agree do not."""


class QualityAbort(Terminal):
    """A rule with `on_failure: abort` failed; nothing of the run is visible in any load."""

    exit_code = 3


class RejectLimit(Terminal):
    """More rows were refused than the allowed share."""

    exit_code = 4
