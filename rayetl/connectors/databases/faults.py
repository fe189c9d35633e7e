"""What the servers have in common when something goes wrong."""

from __future__ import annotations

from rayetl.errors import CredentialError, Retryable, RunError
from rayetl.records import dataclass


class Refused(CredentialError):
    """The server does not let this user in with this password."""


class Lost(Retryable):
    """The connection is gone; what became of a statement that was under way is not known."""


@dataclass(frozen=True, slots=True)
class Server:
    """Who is spoken to: for messages, never with a secret."""

    host: str
    port: str
    database: str
    user: str
    place: str
    endpoint: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Fault:
    """A statement that the server refused for what is in a row: `error` as it would be raised, and what its
    message says. `line` counts the rows of the statement from 1; what it does not say is `None`."""

    error: RunError
    state: str | None
    message: str
    line: int | None = None
    column: str | None = None
