"""What can go wrong with a statement, by what the caller can do about it.

The driver's exceptions stop here. Each class is one of mynamo's own exceptions too, so
that a failure nobody handled still reaches the user as a sentence.
"""

from __future__ import annotations

import pymysql

from mynamo.errors import CorruptData, MynamoError, NotFound, ShardUnavailable

DRIVER_ERRORS = (pymysql.err.Error, OSError)
"""What a driver raises: its own exceptions, and those of its socket."""


class LostConnection(ShardUnavailable):
    """The connection to a MySQL server was lost."""


class CircuitOpen(ShardUnavailable):
    """A server has not answered for a while, so it was not asked (`mysql.circuit_breaker`)."""


class Contention(ShardUnavailable):
    """Other transactions held the rows for too long; try again."""


class Deadlock(Contention):
    """The server has chosen this transaction to end a deadlock."""


class DuplicateKey(MynamoError):  # noqa: N818
    """A row with this key exists already."""


class MissingTable(NotFound):
    """A physical table does not exist."""


class MissingRight(ShardUnavailable):
    """The server does not let this user do it."""


class StatementRefused(CorruptData):
    """MySQL refused a statement."""


_LOST = {2002, 2003, 2006, 2013, 2014, 2055, 1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161}
_LOST |= {1927, 4031}  # connection was killed (MariaDB); disconnected for inactivity (MySQL)
_LOST |= {1317}  # KILL QUERY: how far it came is not known, so the connection is given up
_CONTENTION = {1205, 3572}  # lock timeout, NOWAIT
_DEADLOCK = 1213
_REFUSED = {
    1048, 1054, 1064, 1136, 1149, 1153, 1171, 1264, 1265, 1292, 1301, 1305, 1366, 1364, 1406,
    1411, 1425, 1690, 3140, 3141, 3143, 3156, 3819, 4025,
}  # fmt: skip
"""What is wrong with the statement or its values, and would be wrong again. Any other code
may be a passing trouble of the server: to take it for the data's fault would lose data."""
_NO_RIGHT = {1044, 1142}
_UNAVAILABLE = {
    1040: "it has too many connections; raise max_connections or lower the pools' size",
    1044: "the user may not use the database; grant it the rights in docs/operations.md",
    1045: "it refused the user or password; check them in the configuration",
    1049: "the database does not exist; create it, or correct its name in the configuration",
    1142: "the user lacks a right; grant it those in docs/operations.md",
    1290: "it is read-only; a shard must be a primary",
    1792: "it is read-only; a shard must be a primary",
    1836: "it is read-only; a shard must be a primary",
    1021: "its disk is full; free space and try again",
    1114: "a table is full; free space on its disk and try again",
    3024: "a statement took too long",
    3159: "it demands TLS; give its certificate authority as `tls` in the configuration",
}


def translate(error: Exception, where: str) -> MynamoError:
    """The exception of ours for a driver's exception.

    Args:
        error: what pymysql raised, or an OSError of its socket.
        where: the server, for the message.
    """
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    if code in _CONTENTION:
        return Contention(f"{where}: {text}")
    if code == _DEADLOCK:
        return Deadlock(f"{where}: {text}")
    if code == 1062:
        return DuplicateKey(f"{where}: {text}")
    if code in (1146, 1051):
        return MissingTable(f"{where}: {text}")
    if code in _UNAVAILABLE:
        kind = MissingRight if code in _NO_RIGHT else ShardUnavailable
        return kind(f"{where}: {_UNAVAILABLE[code]} ({text})")
    # The driver's own InternalError, without a code: what came was no answer to what was sent.
    out_of_step = isinstance(error, pymysql.err.InternalError) and not code
    if code in _LOST or out_of_step or isinstance(error, (OSError, pymysql.err.InterfaceError)):
        return LostConnection(f"{where} does not answer: {text}")
    if code in _REFUSED:
        return StatementRefused(f"{where} refused a statement: {text} ({code})")
    return ShardUnavailable(f"{where}: {text} ({code})")


def unreachable(error: Exception, where: str) -> ShardUnavailable:
    """The exception of ours for a failure to connect, which is never a statement's fault."""
    failure = translate(error, where)
    return failure if isinstance(failure, ShardUnavailable) else ShardUnavailable(str(failure))
