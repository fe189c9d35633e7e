"""What the driver raises, as errors of rayetl: which may pass, which not, and what to type next."""

from __future__ import annotations

import re
import ssl

from rayetl.connectors.databases.faults import Fault, Lost, Refused, Server
from rayetl.errors import CredentialError, Retryable, RunError, Terminal

_LOST = frozenset((0, 1053, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2055, 4031))
"""Codes of a connection that is gone: cut, killed, or ended by a server that stops."""

_PASSING = frozenset((1020, 1021, 1040, 1114, 1203, 1205, 1213, 1226, 1412, 1615, 3058, 3572))
"""Codes of what may be gone the next time: locks, deadlocks, too many connections, a full disk, a table that
changed under the transaction."""

_REFUSED = frozenset((1045, 1130, 1251, 1275, 1698, 1862, 3118, 4151))
"""Codes by which a server does not let a user in."""

_OF_A_ROW_STATES = ("01", "22", "23", "44", "45")
_OF_A_ROW = frozenset((1265, 1292, 1366, 1369, 1411, 1525, 1526, 1977, 3819, 4025, 4038))
"""SQLSTATEs, by their beginnings, and codes of faults that lie in a row: data, constraints, partitions, and
what a trigger signals."""

_ROW = re.compile(r" at row (\d+)$")
_COLUMN = re.compile(r"column (?:'([^']+)'|(?:`[^`]*`\.){2}`([^`]+)`)")


def client(server: Server) -> str:
    """What a person types to try the same connection."""
    user = f" -u {server.user}" if server.user else ""
    place = f"-S {server.host}" if server.host.startswith("/") else f"-h {server.host} -P {server.port}"
    return f"mysql {place}{user} -p {server.database}"


def code(error: Exception) -> int:
    """The server's or driver's number of an error; -1 where there is none."""
    first = error.args[0] if error.args else -1
    return first if isinstance(first, int) else -1


def sqlstate(error: Exception) -> str | None:
    """The five characters that say what kind of fault it is; `None` where the server did not answer."""
    return getattr(error, "sqlstate", None)


def cause(error: Exception) -> str:
    """What the server or driver said, as one sentence."""
    said = str(error.args[1]) if len(error.args) > 1 else str(error)
    return said.strip().rstrip(".")


def connect_fault(error: Exception, server: Server) -> RunError:
    """Why a connection could not be opened."""
    number, said = code(error), cause(error)
    if number in _REFUSED:
        return Refused(
            f"MySQL at {server} refuses the user {server.user!r}: {said}",
            hint=f"the password comes from {server.place}; try it with: {client(server)}",
        )
    if number in (1044, 1049):
        outside = client(server).removesuffix(f" {server.database}")
        return CredentialError(
            f"MySQL at {server} has no such database for this user: {said}",
            hint=f"see what there is with: {outside} -e 'SHOW DATABASES'",
        )
    if number == 2026 or isinstance(getattr(error, "original_exception", None), ssl.SSLCertVerificationError):
        return CredentialError(
            f"MySQL at {server} is not trusted: {said}",
            hint="off this machine the server's certificate is verified: name its authority in "
            "`sslrootcert`, or say in `sslmode` that less is enough",
        )
    if sqlstate(error) is None or number in _LOST or number in _PASSING:
        return Lost(
            f"MySQL at {server} cannot be reached: {said}",
            hint=f"does it run, and do host and port hold? try: {client(server)}",
            endpoint=server.endpoint,
        )
    return CredentialError(
        f"MySQL at {server} ends the connection: {said} (error {number})", hint=f"try: {client(server)}"
    )


def statement_fault(error: Exception, server: Server, doing: str, terminal: type[Terminal]) -> RunError:
    """Why a statement failed. `doing` says in a few words what it was for: `reading d.t`."""
    number, state, said = code(error), sqlstate(error), cause(error)
    if number in _LOST:
        return Lost(
            f"the connection to MySQL at {server} was lost while {doing}: {said}",
            hint=f"it is tried again; if it stays so, see the server's log, or try: {client(server)}",
            endpoint=server.endpoint,
        )
    told = f" (error {number}, SQLSTATE {state})" if state else ""
    if number in _PASSING:
        return Retryable(
            f"MySQL at {server} could not go on while {doing}: {said}{told}",
            hint="it is tried again",
            endpoint=server.endpoint,
        )
    said_next = _ADVICE.get(number, "nothing was committed; mend the cause and run again")
    return terminal(f"{doing} failed: {said}{told}", hint=said_next.format(client=client(server)))


_ADVICE = {
    1044: "let an administrator grant it, or connect as another user",
    1142: "let an administrator grant it, or connect as another user",
    1146: "is the name right? see what there is with: {client} -e 'SHOW TABLES'",
    1148: "let an administrator allow it: SET GLOBAL local_infile = 1",
    1317: "somebody ended the statement with KILL QUERY",
    1969: "the server's max_statement_time ended the statement",
    3024: "the server's max_execution_time ended the statement",
    3948: "let an administrator allow it: SET GLOBAL local_infile = 1",
}


def row_fault(raised: Exception, error: RunError, row: int | None) -> Fault | None:
    """What was refused in a row, which is the `row`th if the server counts so; `None` where the fault lies in
    no row."""
    number, state, said = code(raised), sqlstate(raised), cause(raised)
    if number in _LOST or number in _PASSING or state is None:
        return None
    if number not in _OF_A_ROW and not state.startswith(_OF_A_ROW_STATES):
        return None
    found = _ROW.search(said)
    line = row or (int(found[1]) if found else None)
    column = _COLUMN.search(said)
    return Fault(error, state, _ROW.sub("", said), line, (column[1] or column[2]) if column else None)
