"""PyMySQL's connection, with a quicker way to write statements and to read what they select.

PyMySQL makes objects of every row's and every column's packet, which for a page of items is most
of the work of a query. Here rows are cut from the bytes as they come, and columns are understood
once for all statements that describe them alike. All else is PyMySQL's: signing in, sending,
errors, and every packet that is not plainly a row, a column or the end of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from io import BufferedReader
from struct import Struct
from typing import Any, NamedTuple, TypeVar

from pymysql import connections, converters, err
from pymysql.constants import CLIENT, SERVER_STATUS
from pymysql.protocol import MysqlPacket

from mynamo.mysql.driver_protocol import Driver
from mynamo.mysql.sockets import BUFFER_BYTES, Wire
from mynamo.runtime import forks
from mynamo.schemas.config import DatabaseConfig

Part = TypeVar("Part")

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_AHEAD = 5
"""Bytes of the next packet that are read with each: its length, its number in the sequence, and
the first byte of what it holds, which tells a row from an error and from the end."""
_NO_ROW = 0xFE
"""From here on a first byte may be that of the end or of an error."""
_NULL = 0xFB
_WIDTHS = {0xFC: 2, 0xFD: 3, 0xFE: 8}
"""After one of these a value's length takes so many bytes; below `_NULL`, it is the length."""
_END = Struct("<HH")
_LEAST_BYTES = 11
"""Of what a statement gives: the packet of an `_OK`."""
_OK = Struct("<xBBHH")
"""An answer without rows, whose numbers are small, and that has nothing to add."""


def connect(database: DatabaseConfig, connect_timeout: float, read_timeout: float) -> Driver:
    """Connect to a database, which blocks.

    Args:
        connect_timeout: seconds until the server must have let the user in.
        read_timeout: seconds that an answer may take.

    Raises:
        pymysql.err.Error, OSError: it does not, or does not answer.
    """
    tls = database.tls
    return Connection(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password.get_secret_value(),
        database=database.database,
        charset="utf8mb4",
        autocommit=True,
        client_flag=CLIENT.MULTI_STATEMENTS,
        connect_timeout=max(1, round(connect_timeout)),
        read_timeout=read_timeout,
        write_timeout=read_timeout,
        # Without `tls` PyMySQL still encrypts where the server can, but verifies nothing; on this
        # machine there is nobody to hide from.
        ssl_disabled=tls is None and database.host in _LOOPBACK,
        ssl_ca=str(tls.ca) if tls else None,
        ssl_cert=str(tls.cert) if tls and tls.cert else None,
        ssl_key=str(tls.key) if tls and tls.key else None,
        ssl_verify_cert=True if tls else None,
        ssl_verify_identity=tls.verify_identity if tls else None,
    )


class Connection(connections.Connection):
    """A connection that knows PyMySQL's own conversions of values only."""

    _next_seq_id: int
    _current_timeout: float | None
    _read_timeout: float | None
    _write_timeout: float | None
    _result: Any
    _rfile: Any
    _sock: Any
    _ahead = b""
    """What has been read of a packet that PyMySQL is to read."""

    def connect(self, sock: Any = None) -> None:
        """Connect, which blocks; statements from then on do not block a task's thread."""
        forks.note(self)
        super().connect(sock)
        self._sock = Wire(self._sock, self._read_timeout)
        self._rfile = BufferedReader(self._sock, BUFFER_BYTES)

    def end_at(self, ends_at: float | None) -> None:
        """When to wait for no answer any longer (monotonic); None: `read_timeout` alone counts."""
        if self._sock is not None:
            self._sock.ends_at = ends_at

    def answers_within(self, seconds: float) -> None:
        """How long an answer may take from now on; while it connects, the constructor says."""
        self._read_timeout = self._write_timeout = seconds

    def on_silence(self, look: Callable[[], None]) -> None:
        """See `Wire.on_silence`."""
        if self._sock is not None:
            self._sock.on_silence = look

    def renew_after_fork(self) -> None:
        """Let go of the socket: the session is the parent's, who goes on with it.

        Its reader is left alone: a thread of the parent's that waited for an answer holds its
        lock, so that to close it would wait for ever.
        """
        inherited, self._sock, self._rfile = self._sock, None, None
        self._closed = True
        if isinstance(inherited, Wire):
            inherited.let_go()
        elif inherited is not None:  # it is being connected
            forks.let_go(inherited)

    def bind(self, sql: str, values: Sequence[Any]) -> str:
        """Put values in for a statement's %s; without values it stays as it is."""
        if not values:
            return sql
        try:
            # Hexadecimal doubles the bytes, but servers read it quicker than what is escaped.
            return sql % tuple([
                f"X'{value.hex()}'" if type(value) is bytes else self._literal(value)
                for value in values
            ])  # fmt: skip
        except TypeError as error:
            raise err.ProgrammingError(str(error)) from None

    def ask(self, sql: str, count: int) -> Iterator[connections.MySQLResult]:
        """Send so many statements, and give what each of them gave as it comes."""
        if count > 1 and self._sock is not None:
            self._sock.expect(count * _LEAST_BYTES)
        self.query(sql)
        yield self._result
        while self._result.has_next:
            self.next_result()
            yield self._result

    def read_plain(self) -> bytes | None:
        """The first packet of an answer, if it is plainly an `_OK` or a number of columns; PyMySQL
        reads all others."""
        if self._current_timeout != self._read_timeout:
            return None  # PyMySQL changes the socket's before it reads
        sequence, head = self._next_seq_id, self._read_bytes(_AHEAD)
        size, first = head[0], head[4]
        if head[3] == sequence and not head[1] and not head[2]:
            is_ok = first == 0 and size == _OK.size
            if is_ok or (size == 1 and 0 < first < _NULL):
                self._next_seq_id = (sequence + 1) % 256
                return head[4:] + self._read_bytes(size - 1) if is_ok else head[4:]
        self._ahead = head
        return None

    def read_parts(self, make: Callable[[int, bytes], Part]) -> tuple[list[Part], int, int]:
        """Read the packets of columns or of rows, up to their end.

        Args:
            make: makes something of a packet's first byte, and its further ones with `_AHEAD`
                bytes after them.

        Returns:
            What was made, the number of warnings and the server's status.
        """
        read: Callable[[int], bytes] = super()._read_bytes  # type: ignore[misc]
        parts: list[Part] = []
        while True:
            sequence, head = self._next_seq_id, read(_AHEAD)
            while (
                head[3] == sequence
                and head[4] < _NO_ROW
                and (length := int.from_bytes(head[:3], "little")) < connections.MAX_PACKET_LEN
            ):
                data = read(length - 1 + _AHEAD)
                parts.append(make(head[4], data))
                head = data[-_AHEAD:]
                sequence = (sequence + 1) % 256
            if head == b"\5\0\0%c\xfe" % sequence:
                self._next_seq_id = (sequence + 1) % 256
                return parts, *_END.unpack(read(_END.size))
            self._next_seq_id, self._ahead = sequence, head
            payload: bytes = self._read_packet().get_all_data()  # type: ignore[no-untyped-call]
            parts.append(make(payload[0], payload[1:] + bytes(_AHEAD)))

    def _literal(self, value: Any) -> str:
        if type(value) is int:
            return str(value)
        return "NULL" if value is None else self.escape(value)

    def _read_query_result(self, unbuffered: bool = False) -> int | None:
        if unbuffered:
            return super()._read_query_result(unbuffered)  # type: ignore[misc, no-any-return]
        self._result = None
        result = _Result(self)
        result.read()
        self._result = result
        if result.server_status is not None:
            self.server_status = result.server_status
        return result.affected_rows

    def _read_bytes(self, num_bytes: int) -> bytes:
        taken, self._ahead = self._ahead[:num_bytes], self._ahead[num_bytes:]
        read: bytes = super()._read_bytes(num_bytes - len(taken))  # type: ignore[misc]
        return taken + read


class _Result(connections.MySQLResult):
    """What one statement gave."""

    connection: Any
    message: Any

    def read(self) -> None:
        """Read an answer."""
        try:
            plain = self.connection.read_plain()
            if plain is None:
                super().read()
            elif len(plain) == 1:
                self.field_count = plain[0]
                self._get_descriptions()
                self._read_rowdata_packet()
            else:
                self._take_ok(plain)
        finally:
            self.connection = None

    def _take_ok(self, data: bytes) -> None:
        self.affected_rows, self.insert_id, status, self.warning_count = _OK.unpack(data)
        self.server_status = status
        self.message = b""
        self.has_next = status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS

    def _get_descriptions(self) -> None:
        definitions, *_ = self.connection.read_parts(_payload)
        layout = _layout(tuple(definitions), self.field_count, self.connection.encoding)
        self.description, self.converters, self._columns = layout

    def _read_rowdata_packet(self) -> None:
        rows, self.warning_count, status = self.connection.read_parts(self._row)
        self.has_next = status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS
        self.affected_rows = len(rows)
        self.rows = tuple(rows)

    def _row(self, first: int, data: bytes) -> tuple[Any, ...]:
        row: list[Any] = []
        size, at = first, 0
        try:
            for convert in self._columns:
                if size < _NULL:
                    end = at + size
                elif size == _NULL:
                    row.append(None)
                    size = data[at]
                    at += 1
                    continue
                else:
                    start = at + _WIDTHS[size]
                    end = start + int.from_bytes(data[at:start], "little")
                    at = start
                row.append(data[at:end] if convert is None else convert(data[at:end]))
                size = data[end]
                at = end + 1
        except (LookupError, ValueError):
            at = -1
        if at != len(data) - _AHEAD + 1:  # it has not the columns it should have
            packet = MysqlPacket(_payload(first, data), self.connection.encoding)
            row = self._read_row_from_packet(packet)  # type: ignore[attr-defined]
        return tuple(row)


class _Layout(NamedTuple):
    """What the definitions of columns say: as PyMySQL has it, and what converts bytes at once."""

    description: tuple[tuple[Any, ...], ...]
    converters: list[tuple[str | None, Callable[[Any], Any] | None]]
    columns: list[Callable[[bytes], Any] | None]


class _Replay:
    """Gives PyMySQL the definitions of columns once more."""

    use_unicode = True
    decoders = converters.decoders

    def __init__(self, definitions: Sequence[bytes], encoding: str) -> None:
        self.encoding = encoding
        self._payloads = iter((*definitions, b"\xfe\0\0\0\0"))

    def _read_packet(self, kind: type[MysqlPacket] = MysqlPacket) -> MysqlPacket:
        return kind(next(self._payloads), self.encoding)


@lru_cache(256)
def _layout(definitions: tuple[bytes, ...], count: int, encoding: str) -> _Layout:
    result: Any = connections.MySQLResult(_Replay(definitions, encoding))  # type: ignore[arg-type]
    result.field_count = count
    result._get_descriptions()
    columns = [_conversion(*each) for each in result.converters]
    return _Layout(result.description, result.converters, columns)


def _conversion(
    encoding: str | None, convert: Callable[[Any], Any] | None
) -> Callable[[bytes], Any] | None:
    if encoding is None or convert in (int, float):  # which take the bytes of a number as well
        return convert
    text = partial(str, encoding=encoding)
    return (lambda value: convert(text(value))) if convert else text


def _payload(first: int, data: bytes) -> bytes:
    return bytes((first,)) + data[:-_AHEAD]
