"""What the driver has no way for: rows as the server sends them, and rows to the server from memory.

The driver makes a Python object of every value it reads, and opens whatever file a server asks for during
LOAD DATA LOCAL. Here prepared statements bring rows in the binary form of the protocol, which is taken apart
column by column elsewhere, and a server that asks for a file gets the rows in hand or nothing.
"""

from __future__ import annotations

import ssl
import struct
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pymysql import MySQLError, err
from pymysql.connections import Connection
from pymysql.constants import COMMAND
from pymysql.protocol import FieldDescriptorPacket, MysqlPacket, OKPacketWrapper

from rayetl.connectors.mysql.tls import unverified
from rayetl.records import dataclass

_LONGEST = 0xFFFFFF
"""Bytes of a packet; what is longer goes on in the next one."""

_READ = 1 << 20
"""Bytes that are asked for at a time."""

_SENT = 1 << 17
"""Bytes of a packet of rows: well below what every server takes."""

_HEADER = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in the binary form of the protocol: those of `data` begin at `starts`, 64 bits each."""

    data: bytearray
    starts: array[int]


@dataclass(frozen=True, slots=True)
class Sent:
    """What a server says to rows that were sent: how many are in the table, and how often it warned."""

    rows: int
    warnings: int


class Wire(Connection):  # type: ignore[misc]
    """A connection of the driver with what it lacks."""

    def columns(self, query: str) -> list[Any]:
        """The columns of a query as the protocol describes them; it is not run."""
        number, fields = self._prepare(query)
        self._forget(number)
        return fields

    def stream(self, query: str, size: int) -> Iterator[Rows]:
        """The rows of a query in batches of about `size` bytes. Nothing else may be asked meanwhile."""
        number, fields = self._prepare(query)
        self._execute_command(COMMAND.COM_STMT_EXECUTE, struct.pack("<IBI", number, 0, 1))
        self._read_packet()
        self._skip(len(fields))
        yield from self._batches(size)
        self._forget(number)

    def send(self, statement: str, file: memoryview) -> Sent:
        """Run a LOAD DATA LOCAL with the bytes of `file` as its file."""
        self._execute_command(COMMAND.COM_QUERY, statement)
        packet = self._read_packet()
        if not packet.is_load_local_packet():
            raise err.InternalError(f"the server asked for no rows: {bytes(packet.get_all_data()[:1])!r}")
        for at in range(0, len(file), _SENT):
            self.write_packet(bytes(file[at : at + _SENT]))
        self.write_packet(b"")
        done = OKPacketWrapper(self._read_packet())
        return Sent(int(done.affected_rows), int(done.warning_count))

    def quit(self) -> None:
        """Close, whatever is under way."""
        with suppress(MySQLError, OSError):
            self._force_close()

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        """Without one that is given, TLS is what the server may do and need not prove itself for."""
        return sslp or unverified()

    def _prepare(self, query: str) -> tuple[int, list[Any]]:
        self._execute_command(COMMAND.COM_STMT_PREPARE, query)
        _, number, columns, parameters = struct.unpack_from("<BIHH", self._read_packet().get_all_data())
        self._skip(parameters)
        fields = [self._read_packet(FieldDescriptorPacket) for _ in range(columns)]
        if columns:
            self._read_packet()
        if parameters:
            self._forget(number)
            raise err.ProgrammingError(1210, f"the query has {parameters} `?` outside of quotes")
        return number, fields

    def _skip(self, columns: int) -> None:
        """Pass over descriptions of columns and what ends them."""
        for _ in range(columns + 1 if columns else 0):
            self._read_packet()

    def _forget(self, number: int) -> None:
        self._execute_command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", number))

    def _batches(self, size: int) -> Iterator[Rows]:
        data, starts, at, ended = bytearray(), array("q"), 0, False
        while not ended:
            data += self._received()
            at, ended = self._walk(data, starts, at)
            if starts and (ended or at >= size):
                # Handed on as it is; what came behind the last whole row is the beginning of the next batch.
                batch, data = Rows(data, starts), data[at:]
                del batch.data[at:]
                starts, at = array("q"), 0
                yield batch

    def _received(self) -> bytes:
        try:
            data: bytes = self._rfile.read1(_READ)
        except OSError as error:
            raise err.OperationalError(
                2013, f"Lost connection to MySQL server during query ({error})"
            ) from None
        if not data:
            raise err.OperationalError(2013, "Lost connection to MySQL server during query")
        return data

    def _walk(self, data: bytearray, starts: array[int], at: int) -> tuple[int, bool]:
        """Note where whole rows of `data` begin, from `at` on: where the last one ends, and whether it was
        the last of all. Raises what the server says in place of a row."""
        end, header, note = len(data), _HEADER.unpack_from, starts.append
        while at + 5 <= end:
            size = header(data, at)[0] & _LONGEST
            after = at + 4 + size
            if after > end:
                break
            if data[at + 4]:
                packet = MysqlPacket(bytes(data[at + 4 : after]), self.encoding)
                if packet.is_error_packet():
                    packet.raise_for_error()
                return at, True
            if size == _LONGEST:
                joined = _join(data, after)
                if joined is None:
                    break
                after, end = joined, len(data)
            note(at + 4)
            at = after
        return at, False


def _join(data: bytearray, after: int) -> int | None:
    """Take out the headers inside of a row that goes on after `after`; where it ends, or `None` if its end is
    not here yet."""
    headers = []
    while True:
        if after + 4 > len(data):
            return None
        size = _HEADER.unpack_from(data, after)[0] & _LONGEST
        headers.append(after)
        after += 4 + size
        if after > len(data):
            return None
        if size < _LONGEST:
            break
    for place in reversed(headers):
        del data[place : place + 4]
    return after - 4 * len(headers)
