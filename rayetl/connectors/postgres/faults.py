"""What the driver raises, as errors of rayetl: which may pass, which not, and what to type next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rayetl.connectors.databases.faults import Fault, Lost, Refused, Server
from rayetl.errors import CredentialError, Retryable, RunError, Terminal

_PASSING_CLASSES = ("08", "53", "57P", "40001", "40P01", "55P03", "55006", "58")
"""SQLSTATEs, by their beginnings, of what may be gone the next time."""

_LOST = re.compile(
    r"server closed the connection|could not (receive|send) data|connection (not open|reset|timed out)|"
    r"no connection to the server|SSL connection has been closed|SSL SYSCALL|broken pipe|"
    r"terminating connection|lost synchronization|timeout expired",
    re.IGNORECASE,
)
_STARTING = re.compile(
    r"starting up|shutting down|recovery|too many clients|connection slots|too many connections|"
    r"terminating connection|not accept\w* connections",
    re.IGNORECASE,
)
_AUTHENTICATION = re.compile(
    r"authentication failed|no password supplied|password is required|pg_hba\.conf|role .* does not exist",
    re.IGNORECASE,
)
_WRAPPING = re.compile(
    r"^\w+: (?=\[libpq\])|^\[libpq\] (?=Fail|Exec)|^Failed to \w+( \w+)*: |^Execution error |"
    r"^connection to server [^:]*? failed: |^\[?PGRES_\w+\]?:? |^(ERROR|FATAL|PANIC):\s+|\. SQLSTATE: \w+$"
)
"""What the layers between the server and us put around its words."""


_OF_A_ROW = ("22", "23", "44", "54", "P0", "21000")
"""SQLSTATEs, by their beginnings, of faults that lie in a row: data, constraints, views, limits, raised by
triggers, and a row that an upsert would touch twice."""

_OF_A_POLICY = re.compile(r"row violates row-level security policy")
"""A row against a policy has the SQLSTATE of rights that are lacking, so only the server's words tell it.
From a server that speaks another language than English it stops the load."""

_LINE = re.compile(r"^COPY .*?, line (\d+)(?:, column ([^:\n]+))?", re.MULTILINE)


def psql(server: Server) -> str:
    """What a person types to try the same connection."""
    user = f" -U {server.user}" if server.user else ""
    return f"psql -h {server.host} -p {server.port}{user} -d {server.database}"


def row_fault(raised: Exception, error: RunError) -> Fault | None:
    """What was refused in a row; `None` where the fault lies in no row."""
    state, said = sqlstate(raised), details(raised)
    if state is None:
        return None
    message = said.get("MESSAGE_PRIMARY", error.message)
    if not state.startswith(_OF_A_ROW) and not _OF_A_POLICY.search(message):
        return None
    found = _LINE.search(said.get("CONTEXT", ""))
    line, column = found.groups() if found else (None, None)
    return Fault(error, state, message, int(line) if line else None, said.get("COLUMN_NAME", column))


def connect_fault(error: Exception, server: Server) -> RunError:
    """Why a connection could not be opened."""
    cause = _cause(str(error))
    if _AUTHENTICATION.search(cause):
        return Refused(
            f"PostgreSQL at {server} refuses the user {server.user!r}: {cause}",
            hint=f"the password comes from {server.place}; try it with: {psql(server)}",
        )
    if "does not exist" in cause:
        return CredentialError(
            f"PostgreSQL at {server} has no such database: {cause}",
            hint=f"see what there is: psql -h {server.host} -p {server.port} -U {server.user} -l",
        )
    if re.search(r"\bSSL\b|certificate", cause) and not _LOST.search(cause):
        return CredentialError(
            f"PostgreSQL at {server} is not trusted: {cause}",
            hint="off this machine the server's certificate is verified: name its authority in "
            "`sslrootcert`, or say in `sslmode` that less is enough",
        )
    if "FATAL" in str(error) and not _STARTING.search(cause):
        return CredentialError(
            f"PostgreSQL at {server} ends the connection: {cause}", hint=f"try: {psql(server)}"
        )
    return Lost(
        f"PostgreSQL at {server} cannot be reached: {cause}",
        hint=f"does it run, and do host and port hold? try: pg_isready -h {server.host} -p {server.port}",
        endpoint=server.endpoint,
    )


def statement_fault(error: Exception, server: Server, doing: str, terminal: type[Terminal]) -> RunError:
    """Why a statement failed. `doing` says in a few words what it was for: `reading public.t`."""
    state, cause = sqlstate(error), details(error).get("MESSAGE_PRIMARY") or _cause(str(error))
    if state is None and _is_lost(str(error)):
        return Lost(
            f"the connection to PostgreSQL at {server} was lost while {doing}: {cause}",
            hint=f"it is tried again; if it stays so, see the server's log, or try: {psql(server)}",
            endpoint=server.endpoint,
        )
    if state is not None and state.startswith("57P"):
        return Lost(
            f"PostgreSQL at {server} ended the connection while {doing}: {cause}",
            hint="it is tried again; did somebody stop the server, or this session?",
            endpoint=server.endpoint,
        )
    if state is not None and state.startswith(_PASSING_CLASSES):
        return Retryable(
            f"PostgreSQL at {server} could not go on while {doing}: {cause} (SQLSTATE {state})",
            hint="it is tried again",
            endpoint=server.endpoint,
        )
    told = f" (SQLSTATE {state})" if state else ""
    return terminal(f"{doing} failed: {cause}{told}", hint=_advice(state, server))


def _is_lost(text: str) -> bool:
    """Whether an error without SQLSTATE is one of the connection. While rows stream in, the driver hands on
    the server's words alone."""
    return bool(_LOST.search(text)) or " ERROR: " not in text


def sqlstate(error: Exception) -> str | None:
    """The five characters that say what kind of fault it is; `None` where the server did not answer."""
    found = getattr(error, "sqlstate", None)
    return str(found) if found and str(found).strip("\0") else None


def details(error: Exception) -> Mapping[str, str]:
    """The fields of a server's message, by their names without `PG_DIAG_`."""
    pairs: list[tuple[Any, Any]] = getattr(error, "details", None) or []
    return {_text(key).removeprefix("PG_DIAG_"): _text(value) for key, value in pairs}


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


_ADVICE = {
    "42501": "let the owner grant it, or connect as another user",
    "42P01": "is the name right? see what there is with: {psql} -c '\\d'",
    "3F000": "is the name of the schema right? see what there is with: {psql} -c '\\dn'",
    "57014": "the server's statement_timeout, or somebody ended the statement",
}


def _advice(state: str | None, server: Server) -> str:
    said = _ADVICE.get(state or "", "nothing was committed; mend the cause and run again")
    return said.format(psql=psql(server))


def _cause(text: str) -> str:
    """What libpq or the server said, as one sentence without the names of the layers it came through."""
    lines = text.strip().splitlines() or [""]
    cause = next((line for line in reversed(lines) if " failed: " in line), lines[0])
    while (less := _WRAPPING.sub("", cause).strip()) != cause:
        cause = less
    return cause.rstrip(".") or text.strip()
