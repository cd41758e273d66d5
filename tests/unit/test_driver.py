"""Reading what MySQL sends, byte by byte: the same as PyMySQL does, row for row."""

from __future__ import annotations

import io
import socket
import struct
from collections.abc import Sequence
from typing import Any

import pymysql
import pytest
from pymysql import connections
from pymysql.constants import CLIENT, FIELD_TYPE

from mynamo.mysql import driver
from mynamo.mysql.driver import Connection
from mynamo.mysql.sockets import Wire

BINARY, UTF8 = 63, 45
MORE_RESULTS = 8
BLOB, INT, TEXT = (FIELD_TYPE.BLOB, BINARY), (FIELD_TYPE.LONGLONG, BINARY), (FIELD_TYPE.BLOB, UTF8)
LENGTHS = (0, 1, 250, 251, 65535, 65536, 2**24 - 6, 2**24 - 5, 2**24 - 1, 2**24, 2 * 2**24)
FULL = 2**24 - 1
LOCKED = b"\xff" + struct.pack("<H", 1205) + b"#HY000Lock wait timeout exceeded"
OK = b"\0\1\2\2\0\3\0"


def value(data: bytes | None) -> bytes:
    """As it stands in a row."""
    length: bytes = connections._lenenc_int(len(data or b""))
    return b"\xfb" if data is None else length + data


def row(*values: bytes | None) -> bytes:
    return b"".join(map(value, values))


def column(kind: tuple[int, int], name: bytes = b"name") -> bytes:
    number, charset = kind
    names = (b"def", b"mynamo", b"t1", b"t1", name, name)
    return row(*names) + struct.pack("<BHIBHBxx", 12, charset, 1000, number, 0, 0)


def end(status: int = 2, warnings: int = 0) -> bytes:
    return b"\xfe" + struct.pack("<HH", warnings, status)


def result_set(
    kinds: Sequence[tuple[int, int]], *rows: bytes, last: bytes | None = None
) -> list[bytes]:
    return [bytes([len(kinds)]), *map(column, kinds), end(), *rows, last or end()]


def packets(payloads: Sequence[bytes], first: int = 1) -> bytes:
    """With their headers, split where they are too long for one packet."""
    sent, sequence = [], first
    for payload in payloads:
        at = 0
        while True:
            part = payload[at : at + FULL]
            sent.append(struct.pack("<I", len(part))[:3] + bytes([sequence % 256]) + part)
            sequence += 1
            at += FULL
            if len(part) < FULL:
                break
    return b"".join(sent)


class Deaf:
    """A socket that takes what is sent."""

    def settimeout(self, _: float | None) -> None: ...

    def sendall(self, _: bytes) -> None: ...

    def close(self) -> None: ...


def opened(kind: type[Any], sent: bytes) -> Any:
    """A connection to a server that has sent these bytes and then hung up."""
    connection = kind(defer_connect=True, host="nowhere", charset="utf8mb4", ssl_disabled=True)
    connection._sock, connection._rfile = Deaf(), io.BytesIO(sent)
    connection._current_timeout = connection._read_timeout
    connection.server_status = 2
    return connection


@pytest.fixture(autouse=True)
def understood_anew() -> None:
    """No test lives of what another one has understood."""
    driver._layout.cache_clear()


def answers(kind: type[Any], sent: bytes) -> tuple[list[tuple[Any, ...]], str, Any]:
    """Each result until the last one or an error, the error, and what is known afterwards."""
    connection = opened(kind, sent)
    found, failure = [], ""
    try:
        connection.query("SELECT")
        while True:
            r = connection._result
            numbers = (r.affected_rows, r.insert_id, r.server_status, r.warning_count)
            found.append((r.rows, r.description, *numbers, r.message, bool(r.has_next)))
            if not r.has_next:
                break
            connection.next_result()
    except pymysql.err.Error as error:
        failure = repr(error)
    except (AssertionError, ValueError) as error:  # the rest stays unread: nobody may go on
        return found, repr(error), None
    unread = len(connection._rfile.read()) if connection.open else None
    sequence = connection._next_seq_id if connection.open else None
    return found, failure, (connection.open, connection.server_status, sequence, unread)


def same(sent: bytes) -> tuple[list[tuple[Any, ...]], str, Any]:
    """What the driver makes of it, which is what PyMySQL makes of it."""
    ours = answers(Connection, sent)
    assert ours == answers(pymysql.connections.Connection, sent)
    return ours


def rows_of(sent: bytes) -> Any:
    results, failure, _ = same(sent)
    assert not failure
    return results[0][0]


@pytest.mark.parametrize("length", LENGTHS)
def test_values_of_all_lengths(length: int) -> None:
    data = b"v" * length
    sent = packets(result_set([BLOB, INT], row(data, b"7"), row(b"after", b"8")))
    assert rows_of(sent) == ((data, 7), (b"after", 8))


@pytest.mark.parametrize("length", [250, 251, 2**24])
def test_a_long_value_at_the_end_of_a_row(length: int) -> None:
    data = b"\xff" * length
    sent = packets(result_set([INT, BLOB, BLOB], row(b"-7", None, data), row(None, data, b"")))
    assert rows_of(sent) == ((-7, None, data), (None, data, b""))


def test_null_is_not_the_empty_value() -> None:
    rows = [(None,), (b"",), (b"\xfb",), (None,)]
    assert rows_of(packets(result_set([BLOB], *(row(*each) for each in rows)))) == tuple(rows)


def test_all_values_null() -> None:
    sent = packets(result_set([BLOB, INT, TEXT], row(None, None, None), row(b"", b"1", b"")))
    assert rows_of(sent) == ((None, None, None), (b"", 1, ""))


@pytest.mark.parametrize(
    ("number", "charset", "sent"),
    [
        (FIELD_TYPE.TINY, BINARY, b"-1"),
        (FIELD_TYPE.LONGLONG, BINARY, b"18446744073709551615"),
        (FIELD_TYPE.DOUBLE, BINARY, b"1.5e300"),
        (FIELD_TYPE.NEWDECIMAL, BINARY, b"12.340"),
        (FIELD_TYPE.DATETIME, BINARY, b"2024-02-29 01:02:03.000004"),
        (FIELD_TYPE.DATE, BINARY, b"0000-00-00"),
        (FIELD_TYPE.TIME, BINARY, b"-25:06:17"),
        (FIELD_TYPE.VAR_STRING, UTF8, "Grüße \U0001f600".encode()),
        (FIELD_TYPE.VAR_STRING, BINARY, b"\xff\0"),
        (FIELD_TYPE.VAR_STRING, UTF8, b"\xff no text"),
        (FIELD_TYPE.LONG, BINARY, b"no number"),
        (FIELD_TYPE.JSON, BINARY, b'{"a": 1}'),
        (FIELD_TYPE.BIT, BINARY, b"\1"),
        (FIELD_TYPE.NULL, BINARY, None),
    ],
)
def test_types(number: int, charset: int, sent: bytes | None) -> None:
    _, failure, _ = same(packets(result_set([(number, charset)], row(sent))))
    assert bool(failure) == (sent in (b"\xff no text", b"no number"))


def test_many_rows_wind_the_sequence_round() -> None:
    rows = [(b"%d" % number, b"x" * (number % 300)) for number in range(1000)]
    found = rows_of(packets(result_set([INT, BLOB], *(row(*each) for each in rows))))
    assert found == tuple((int(number), data) for number, data in rows)


def test_the_end_at_every_position_in_the_sequence() -> None:
    for count in range(245, 260):
        assert len(rows_of(packets(result_set([INT], *[row(b"1")] * count)))) == count


def test_no_rows_and_the_names_of_columns() -> None:
    columns = [column(BLOB, b"key"), column(TEXT, "größe".encode())]
    results, _, _ = same(packets([b"\2", *columns, end(), end(warnings=3)]))
    assert results[0][0] == ()
    assert [each[0] for each in results[0][1]] == ["key", "größe"]
    assert results[0][5] == 3  # warnings


def test_results_one_after_the_other() -> None:
    long_ok = b"\0\1\xfc\1\2" + struct.pack("<HH", 2 | MORE_RESULTS, 0) + b"Rows matched: 1"
    short_ok = b"\0\1\2" + struct.pack("<HH", 2 | MORE_RESULTS, 1)
    first = result_set([INT], row(b"1"), last=end(2 | MORE_RESULTS))
    second = result_set([BLOB, INT], row(b"b", b"2"), last=end(2 | MORE_RESULTS))
    results, failure, after = same(packets([*first, short_ok, *second, long_ok, OK]))
    assert [result[0] for result in results] == [((1,),), None, ((b"b", 2),), None, None]
    assert [result[2:4] for result in results[1::2]] == [(1, 2), (1, 513)]
    assert not failure
    assert after[-1] == 0  # nothing is left to be read


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_an_error_in_the_middle_of_rows(rows: int) -> None:
    sent = packets(result_set([BLOB], *[row(b"x")] * rows, last=LOCKED))
    _, failure, (still_open, *_) = same(sent)
    assert "1205" in failure
    assert still_open


def test_an_error_instead_of_a_column() -> None:
    """Which PyMySQL takes for a column."""
    _, failure, _ = answers(Connection, packets([b"\2", column(BLOB), LOCKED]))
    assert "1205" in failure


def test_an_error_instead_of_a_result() -> None:
    first = result_set([INT], row(b"1"), last=end(2 | MORE_RESULTS))
    results, failure, _ = same(packets([*first, LOCKED]))
    assert len(results) == 1
    assert "1205" in failure


@pytest.mark.parametrize("broken", range(7))
@pytest.mark.parametrize("number", [0, 99])
def test_a_packet_out_of_step(broken: int, number: int) -> None:
    """Number 0 is MariaDB's farewell: a lost connection. Any other is an answer to no question."""
    payloads = result_set([BLOB, INT], row(b"a", b"1"), row(b"b", b"2"))
    sent = b"".join(
        packets([payload], number if at == broken else at + 1)
        for at, payload in enumerate(payloads)
    )
    _, failure, (still_open, *_) = same(sent)
    assert ("2013" if number == 0 else "sequence number wrong") in failure
    assert not still_open


def test_a_part_of_a_long_value_out_of_step() -> None:
    before, long = [b"\1", column(BLOB), end()], row(b"v" * 2**24)
    sent = bytearray(packets([*before, long, end()]))
    number = len(packets(before)) + 4 + FULL + 3  # where that of the second part stands
    assert sent[number] == 5
    sent[number] = 77
    _, failure, (still_open, *_) = same(bytes(sent))
    assert "sequence number wrong - got 77 expected 5" in failure
    assert not still_open


def test_a_connection_lost_at_any_byte() -> None:
    sent = packets(result_set([BLOB, INT], row(b"a" * 300, b"1"), row(None, b"2")))
    for length in range(len(sent)):
        _, failure, (still_open, *_) = same(sent[:length])
        assert "2013" in failure
        assert not still_open


def test_a_row_with_too_few_columns_and_one_with_too_many() -> None:
    """Which PyMySQL forgives."""
    sent = packets(result_set([INT, INT, INT], row(b"1"), row(b"1", b"2", b"3", b"4")))
    assert rows_of(sent) == ((1,), (1, 2, 3))


def test_a_value_that_ends_after_its_row() -> None:
    results, failure, _ = same(packets(result_set([BLOB], b"\x05four")))
    assert "Result length not requested length" in failure
    assert not results


def test_plain_rows_are_not_left_to_pymysql(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would read them rightly, but slowly."""
    values = [(None, b"v" * length, None) for length in LENGTHS if length < FULL - 4]
    sent = packets(result_set([INT, BLOB, BLOB], *(row(*each) for each in values)))
    monkeypatch.delattr(connections.MySQLResult, "_read_row_from_packet")
    assert answers(Connection, sent)[0][0][0] == tuple(values)


def test_plain_answers_without_rows_are_not_left_to_pymysql(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = answers(Connection, packets([OK]))
    monkeypatch.delattr(connections.MySQLResult, "_read_ok_packet")
    assert answers(Connection, packets([OK])) == before
    assert before[0][0][2:4] == (1, 2)  # affected rows and insert id


def test_the_same_columns_are_understood_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = packets(result_set([BLOB, INT], row(b"a", b"1")))
    before = answers(Connection, sent)
    monkeypatch.delattr(connections.MySQLResult, "_get_descriptions")
    assert answers(Connection, sent) == before
    with pytest.raises(AttributeError):
        answers(Connection, packets(result_set([BLOB, BLOB], row(b"a", b"1"))))


def test_control_what_columns_hold_is_told_by_their_bytes() -> None:
    assert rows_of(packets(result_set([INT], row(b"1")))) == ((1,),)
    assert rows_of(packets(result_set([BLOB], row(b"1")))) == ((b"1",),)
    assert rows_of(packets(result_set([TEXT], row(b"1")))) == (("1",),)


def test_the_end_of_rows_is_what_was_agreed_on() -> None:
    """With CLIENT.DEPRECATE_EOF it would be another packet."""
    assert not opened(Connection, b"").client_flag & CLIENT.DEPRECATE_EOF


def test_after_a_fork_nothing_is_said_on_the_parents_connection() -> None:
    near, far = socket.socketpair()
    connection = opened(Connection, b"")
    connection._sock = Wire(near, 1.0)
    connection.renew_after_fork()
    assert near.fileno() == -1
    assert not connection.open
    with pytest.raises(pymysql.err.InterfaceError):
        connection.query("SELECT 1")
    with pytest.raises(pymysql.err.Error, match="Already closed"):
        connection.close()
    assert far.recv(1) == b""
    far.close()


VALUES: tuple[Any, ...] = (
    None, 0, -1, 2**64, True, 1.5, b"", b"'\\\0%s", bytes(range(256)), b"x" * 100_000,
    "", "it's \\ \"100%s\" \0\n\x1a ü",
)  # fmt: skip


@pytest.mark.parametrize("given", VALUES, ids=lambda given: repr(given)[:20])
def test_values_are_bound_as_pymysql_binds_them(given: Any) -> None:
    connection = opened(Connection, b"")
    sql = "SELECT %s, '100%%', %s"
    assert connection.bind(sql, [given, 5]) == connection.cursor().mogrify(sql, (given, 5))


def test_without_values_a_statement_stays_as_it_is() -> None:
    assert opened(Connection, b"").bind("SELECT '%', '%%', '%s'", ()) == "SELECT '%', '%%', '%s'"


@pytest.mark.parametrize("values", [[1], [1, 2, 3]])
def test_as_many_values_as_placeholders(values: list[int]) -> None:
    with pytest.raises(pymysql.err.ProgrammingError):
        opened(Connection, b"").bind("SELECT %s, %s", values)


def test_backslashes_where_they_escape_nothing() -> None:
    connection = opened(Connection, b"")
    connection.server_status |= 512  # NO_BACKSLASH_ESCAPES
    assert connection.bind("SELECT %s", ["\\'"]) == "SELECT '\\'''"
