"""How a connection is opened and spoken through: settings, TLS, and plain errors."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from rayetl.connectors.databases.connection import Connection, DatabaseConnection
from rayetl.connectors.databases.faults import Fault, Server
from rayetl.connectors.mysql.faults import connect_fault, row_fault, statement_fault
from rayetl.connectors.mysql.tls import protection
from rayetl.errors import LoadError, RunError, SourceError, Terminal
from rayetl.secrets import Credential

if TYPE_CHECKING:
    from rayetl.connectors.mysql.wire import Rows, Wire

_DAY = 86_400

_SETTINGS = {
    "time_zone": "'+00:00'",
    # A consumer that drags is waited for: the server would end the connection after a minute.
    "net_write_timeout": str(_DAY),
    "net_read_timeout": str(_DAY),
    "wait_timeout": str(_DAY),
    # A change of the table waits for readers of it, but not for ever.
    "lock_wait_timeout": "60",
}

_ALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
"""A server that vanished without a word is noticed after about a minute, not after two hours."""

_RECORDS = re.compile(rb"Records: (\d+)")
_DUPLICATES = re.compile(rb"Duplicates: (\d+)")


class UsesMysql(DatabaseConnection):
    """The part of a source or load that says which server and database."""

    scheme: ClassVar[str] = "mysql"
    usual_port: ClassVar[int] = 3306

    def connect(self, terminal: type[Terminal] = SourceError) -> MysqlConnection:
        def opened(credential: Credential) -> MysqlConnection:
            settings, server = self._settings(credential), self._server(credential)
            return MysqlConnection(settings, server, credential, terminal)

        return self._connected(opened)

    def _settings(self, credential: Credential) -> dict[str, Any]:
        given = self._given(credential)
        host, port = given["host"], int(given.get("port", self.usual_port))
        here = {"unix_socket": host} if host.startswith("/") else {"host": host, "port": port}
        timeout = max(1.0, self.connect_timeout.total_seconds())
        return {
            **here,
            "database": given["database"],
            "user": given.get("user", ""),
            # The driver would write a text in Latin-1, which not every password is in.
            "password": given.get("password", "").encode(),
            **protection(given["sslmode"], given.get("sslrootcert")),
            "connect_timeout": timeout,
            "read_timeout": timeout,
            "charset": "utf8mb4",
            "autocommit": True,
            "program_name": "rayetl",
        }


class MysqlConnection(Connection):
    """One connection to MySQL or MariaDB; it may be shared by no two threads."""

    def __init__(
        self, settings: dict[str, Any], server: Server, credential: Credential, terminal: type[Terminal]
    ) -> None:
        super().__init__(server, credential, terminal)
        loads = issubclass(terminal, LoadError)
        wire = _driver(terminal)
        try:
            self._wire = wire(**settings, local_infile=loads)
        except (self.errors, OSError, RuntimeError) as error:
            raise self._scrubbed(connect_fault(error, server)) from None
        try:
            self._settle_down()
        except (self.errors, OSError) as error:
            self.close()
            raise self._scrubbed(connect_fault(error, server)) from None

    def _settle_down(self) -> None:
        wire: Any = self._wire
        # From here on nothing but `load` answers a server that asks for a file.
        wire._local_infile = False
        wire._read_timeout = None
        for name, value in _ALIVE.items():
            if wire.unix_socket is None and hasattr(socket, name):
                wire._sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        with wire.cursor() as cursor:
            cursor.execute(
                "SET SESSION " + ", ".join(f"{name} = {value}" for name, value in _SETTINGS.items())
            )

    @property
    def errors(self) -> Any:
        """The base of what the driver raises."""
        from pymysql import MySQLError

        return MySQLError

    @property
    def is_mariadb(self) -> bool:
        """Whether the server is MariaDB, not MySQL."""
        return "MariaDB" in str(self._wire.server_version)

    def close(self) -> None:
        self._wire.quit()

    def begin(self, characteristics: str = "") -> None:
        """Begin a transaction that sees one moment, that of its first statement."""
        doing = "beginning a transaction"
        self.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", doing)
        self.execute(f"START TRANSACTION {characteristics}", doing)

    def columns(self, query: str, doing: str) -> list[Any]:
        """The columns of a query as the protocol describes them; it is not run."""
        with self.cursor(doing):
            return self._wire.columns(query)

    def stream(self, query: str, doing: str, batch_bytes: int) -> Iterator[Rows]:
        """The rows of a query in batches of about `batch_bytes`. Nothing else may be asked meanwhile."""
        with self.cursor(doing):
            yield from self._wire.stream(query, batch_bytes)

    def load(self, statement: str, file: memoryview, doing: str) -> int | str:
        """Run a LOAD DATA LOCAL with the bytes of `file`: how many rows are in the table, or what the server
        has against one of them; none of them is there then, and the transaction goes on."""
        raised: list[Exception] = []
        self.execute("SAVEPOINT rayetl", doing)
        try:
            with self.cursor(doing, raised.append):
                sent = self._wire.send(statement, file)
            warned = self.warning(doing) if sent.warnings else None
        except RunError as error:
            fault = self.fault(raised[0], error) if raised else None
            if fault is None:
                raise
            warned = fault.message
        if warned is None:
            self.execute("RELEASE SAVEPOINT rayetl", doing)
            return sent.rows
        self.execute("ROLLBACK TO SAVEPOINT rayetl", doing)
        return warned

    def warning(self, doing: str) -> str:
        """The first thing the server warned of at the last statement."""
        found = self.rows("SHOW WARNINGS LIMIT 1", doing)
        return (
            f"{found[0][2]} (error {found[0][1]})" if found else "the server warned, and does not say of what"
        )

    def moved(self, cursor: Any) -> int:
        """How many rows the last INSERT ... SELECT went through."""
        found = _RECORDS.search(bytes(cursor._result.message or b""))
        return int(found[1]) if found else int(cursor.rowcount)

    def changed(self, cursor: Any) -> int:
        """How many rows that were there the last INSERT ... SELECT changed."""
        found = _DUPLICATES.search(bytes(cursor._result.message or b""))
        return int(found[1]) if found else 0

    def refuse_warnings(self, cursor: Any) -> None:
        """Raise, as the driver would, what the last statement was warned of, but for mere notes."""
        if not cursor.warning_count:
            return
        cursor.execute("SHOW WARNINGS")
        for level, number, said in cursor.fetchall():
            if level != "Note":
                raise self.errors(number, said, sqlstate="01000")

    @contextmanager
    def cursor(self, doing: str, seen: Callable[[Exception], None] = lambda _: None) -> Iterator[Any]:
        try:
            with self._wire.cursor() as cursor:
                yield cursor
        except (self.errors, OSError, RuntimeError) as error:
            seen(error)
            raise self._scrubbed(statement_fault(error, self.server, doing, self._terminal)) from None

    def fault(self, raised: Exception, error: RunError) -> Fault | None:
        if row_fault(raised, error, None) is None:
            return None
        return row_fault(raised, error, self._row() if self.is_mariadb else None)

    def _row(self) -> int | None:
        """Which row of the last statement was refused, which MariaDB alone tells of every fault."""
        doing = "looking for a bad row"
        self.execute("GET DIAGNOSTICS CONDITION 1 @rayetl_row = ROW_NUMBER", doing)
        return int(self.value("SELECT @rayetl_row", doing) or 0) or None


def _driver(terminal: type[Terminal]) -> type[Wire]:
    try:
        from rayetl.connectors.mysql.wire import Wire
    except ImportError as error:
        kind = terminal if issubclass(terminal, LoadError) else SourceError
        raise kind(
            "MySQL needs a driver that is not installed", hint="pip install 'rayetl[mysql]'"
        ) from error
    return Wire
