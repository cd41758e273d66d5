"""Connections to one MySQL database: each used by one thread at a time, reused, bounded."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar
from weakref import WeakMethod

from mynamo.errors import MynamoError, ShardUnavailable, WriteOutcomeUnknown
from mynamo.mysql.circuit_breaker import CircuitBreaker, State
from mynamo.mysql.driver import connect
from mynamo.mysql.driver_protocol import Driver, StatementResult
from mynamo.mysql.failures import DRIVER_ERRORS, LostConnection, translate, unreachable
from mynamo.runtime import deadlines, forks
from mynamo.runtime.tasks import in_thread
from mynamo.runtime.tracing import Attributes, Span, current_span, within
from mynamo.schemas.config import DatabaseConfig, PoolConfig

Answer = TypeVar("Answer")
Statement = tuple[str, Sequence[Any]]
"""SQL with %s for each value, and the values."""

LOCK_WAIT_TIMEOUT = 2
"""Seconds for which a statement waits for a row's lock."""
WAIT_TIMEOUT = 15
"""Seconds of silence after which a server ends a connection and what it had begun. A process
that is frozen, or whose network is gone, in the middle of a transaction would otherwise keep
its locks for hours. Less than `shard.PATIENCE`, so that others who wait for them succeed."""
SESSION_SETTINGS = (
    # READ COMMITTED: no gap locks, so writers of different keys never wait for one another.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00',"
    # A multi-row insert into the outbox must get consecutive ids.
    " auto_increment_increment = 1, auto_increment_offset = 1,"
    f" innodb_lock_wait_timeout = {LOCK_WAIT_TIMEOUT:d},"
    f" lock_wait_timeout = 25, wait_timeout = {WAIT_TIMEOUT}"
    # MySQL alone keeps what it says of tables' sizes, by default for a day.
    " /*!80000 , information_schema_stats_expiry = 0 */",
)
_READ_ONLY = "SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_read_only"
_IDENTITY = "SELECT id, host FROM information_schema.processlist WHERE id = CONNECTION_ID()"
_LEAST_PATIENCE = 0.1
"""Seconds for each step of connecting, however late the caller is."""
_IDLE_CHECK = 10.0
"""Seconds after which a connection is asked for a sign of life before it is used again."""


@dataclass(slots=True)
class Result:
    """What one statement gave.

    Attributes:
        rows: the rows it selected.
        count: how many rows it selected or changed.
        insert_id: the first AUTO_INCREMENT value it assigned, or 0.
    """

    rows: tuple[tuple[Any, ...], ...]
    count: int
    insert_id: int


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """How a pool is used at a moment.

    Attributes:
        in_use: connections that callers have.
        idle: connections that are open, and that no caller has.
        waits: callers that had to wait for one, since the pool began.
    """

    in_use: int
    idle: int
    waits: int


class Session:
    """One connection while one caller has it.

    Args:
        where: the database is, for messages.
        peer: likewise, for spans.
    """

    def __init__(
        self,
        connection: Driver,
        where: str,
        breaker: CircuitBreaker,
        peer: Attributes | None = None,
    ) -> None:
        self._connection = connection
        self._peer = peer or {}
        self._where = where
        self._breaker = breaker
        self.last_used = time.monotonic()
        self.broken = False
        self.identity: tuple[int, str] = (0, "")
        """Number and peer in the server's list of sessions: a number alone may be another
        session's after the server was started anew."""
        self.highest_id = 0
        self.highest_id_at = -math.inf
        """The highest AUTO_INCREMENT value that this connection's users have noted, and when
        (monotonic): what is inserted later has a higher one."""
        self._inherited = False
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Be of no use: what was begun here is the parent's. Its connection lets go by itself."""
        self.broken = self._inherited = True

    def run(self, *statements: Statement) -> list[Result]:
        """Run statements in one round trip; the first that fails ends the row.

        Raises:
            LostConnection, Contention, DuplicateKey, MissingTable, StatementRefused,
            ShardUnavailable: as `failures` sorts MySQL's errors.
            WriteOutcomeUnknown: this process was forked after the connection was lent.
        """
        caller = current_span.get()
        if caller is not None:
            return self._run_traced(caller, statements)
        return self._execute(statements, _result)

    def _run_traced(self, caller: Span, statements: Sequence[Statement]) -> list[Result]:
        summary = summary_of(statements)
        attributes = {**self._peer, "db.query.summary": summary}
        if len(statements) > 1:
            attributes["db.operation.batch.size"] = len(statements)
        with within(caller.child(summary, "client", attributes)):
            return self._execute(statements, _result)

    def run_with_lock_wait(self, seconds: int, *statements: Statement) -> list[Result]:
        """Run statements in one round trip, each of which waits for locks for so long at most.

        Raises:
            See `run`.
        """
        first, last = (
            (f"SET SESSION innodb_lock_wait_timeout = {limit:d}", ())
            for limit in (seconds, LOCK_WAIT_TIMEOUT)
        )
        try:
            return self.run(first, *statements, last)[1:-1]
        except MynamoError:
            self.broken = True  # its limit may be another one
            raise

    def _execute(
        self, statements: Sequence[Statement], read: Callable[[StatementResult], Answer]
    ) -> list[Answer]:
        try:
            bind = self._connection.bind
            text = ";".join([bind(sql, values) for sql, values in statements])
            results = [read(result) for result in self._connection.ask(text, len(statements))]
        except DRIVER_ERRORS as error:
            failure = self._failure(error)
            lost = isinstance(failure, LostConnection | WriteOutcomeUnknown)
            self.broken = self.broken or lost
            if not lost:
                self._breaker.answered(time.monotonic())
            raise failure from None
        except BaseException:
            self.broken = True  # an answer may still be on its way: nobody must read it
            raise
        self.last_used = time.monotonic()
        self._breaker.answered(self.last_used)
        return results

    def _failure(self, error: Exception) -> MynamoError:
        if self._inherited:  # to try again might do twice what the parent does
            return WriteOutcomeUnknown(
                f"{self._where}: this process was forked in the midst of a call, which its parent "
                "goes on with; call again in the child if it is to be done there too"
            )
        return translate(error, self._where)

    def named(self, sql: str) -> list[dict[str, Any]]:
        """The rows of one statement, their values by the names of the columns.

        Raises:
            See `run`.
        """
        return self._execute([(sql, ())], _named)[0]

    def note_id(self, assigned: int) -> None:
        """Note an AUTO_INCREMENT value that was assigned already."""
        self.highest_id = max(self.highest_id, assigned)
        self.highest_id_at = time.monotonic()

    def rollback(self) -> None:
        """End the transaction, if the connection still lives."""
        if not self.broken:
            try:
                self.run(("ROLLBACK", ()))
            except ShardUnavailable:
                self.broken = True

    def end_at(self, ends_at: float | None) -> None:
        """When to wait for no answer any longer (monotonic); None: the pool's limits count."""
        self._connection.end_at(ends_at)

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        with suppress(*DRIVER_ERRORS):
            self._connection.close()

    def is_alive(self) -> bool:
        """Whether the server still answers on this connection."""
        try:
            self._connection.ping(reconnect=False)
        except DRIVER_ERRORS:
            return False
        self._breaker.answered(time.monotonic())
        return True


_SUMMARY_WORDS = 12


def summary_of(statements: Sequence[Statement]) -> str:
    """What statements do, one after another, for the name of a span: "BEGIN; SELECT; COMMIT"."""
    words = [
        word for word, _ in groupby(sql.lstrip(" (").partition(" ")[0] for sql, _ in statements)
    ]
    return "; ".join(words[:_SUMMARY_WORDS] + ["..."] * (len(words) > _SUMMARY_WORDS))


def _result(result: StatementResult) -> Result:
    return Result(result.rows or (), result.affected_rows, result.insert_id or 0)


def _named(result: StatementResult) -> list[dict[str, Any]]:
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.rows or ()]


class ConnectionPool:
    """Up to `size` connections to one database, opened when needed.

    Args:
        where: the database is, for messages.
        check: looks at each new connection, before anybody has it; may run in several threads.
    """

    def __init__(
        self,
        database: DatabaseConfig,
        limits: PoolConfig,
        where: str,
        check: Callable[[Session], None] | None = None,
    ) -> None:
        self._check = check
        self._database = database
        self._limits = limits
        self.where = where
        self._peer: Attributes = {
            "db.system.name": "mysql",
            "db.namespace": database.database,
            "server.address": database.host,
            "server.port": database.port,
        }
        self.breaker = CircuitBreaker(where, limits.breaker_opens_after, limits.breaker_probe_after)
        self._closed = False
        self._waits = 0
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin without connections."""
        self._idle: list[Session] = []
        self._open = 0  # connections
        self._lock = threading.Lock()
        self.permits = threading.BoundedSemaphore(self._limits.size)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Lend a connection; what the caller left open is rolled back.

        Raises:
            CircuitOpen: the server has not answered for a while, and was not asked.
            ShardUnavailable: the server does not answer, or no connection became free.
        """
        forks.check()
        breaker = self.breaker
        is_probe = breaker.state is not State.CLOSED and breaker.admit()
        permits = self.permits
        acquired = False
        try:
            acquired = permits.acquire(blocking=False)
            if not acquired:
                with self._lock:
                    self._waits += 1
                acquired = in_thread(permits.acquire)(timeout=self._wait_timeout())
            if not acquired:
                raise self._busy()
            session = self._take(is_probe)
            try:
                yield session
            except BaseException:
                session.rollback()
                raise
            finally:
                self._give_back(session)
        finally:
            if is_probe:
                breaker.probe_ended()
            # In a child of the process, the permit is its parent's.
            if acquired and permits is self.permits:
                permits.release()

    def usage(self) -> PoolUsage:
        """How it is used at this moment."""
        with self._lock:
            idle = len(self._idle)
            return PoolUsage(self._open - idle, idle, self._waits)

    def close(self) -> None:
        """Close the idle connections; those in use close when they are given back."""
        self._closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Close the idle connections, so that new ones are opened."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._open -= len(idle)
        for session in idle:
            session.close()

    def limit(self, seconds: float) -> None:
        """Wait no longer than this for anything, whatever the limits were."""
        least = {
            name: min(seconds, getattr(self._limits, name))
            for name in ("connect_timeout", "read_timeout", "wait_timeout")
        }
        self._limits = self._limits.model_copy(update=least)

    def _wait_timeout(self) -> float:
        return deadlines.left(self._limits.wait_timeout)

    def _busy(self) -> ShardUnavailable:
        waited = deadlines.timeout()
        seconds = (
            f"{self._limits.wait_timeout:g} s" if waited is None else f"the timeout of {waited:g} s"
        )
        return ShardUnavailable(
            f"{self.where}: all {self._limits.size} connections were busy for {seconds}; "
            "raise the pool's size"
        )

    def look(self) -> None:
        """See whether the server is there, for somebody who has waited for an answer for long.

        A thread of its own sees to it: the answer may come meanwhile.

        Raises:
            TimeoutError: the circuit breaker has opened.
        """
        if self.breaker.begin_look():
            thread = threading.Thread(target=self._look, name="mynamo-look", daemon=True)
            in_thread(thread.start)()  # it waits until the thread runs
        if self.breaker.state is not State.CLOSED:
            raise TimeoutError("nor does the server answer others")

    def _look(self) -> None:
        try:
            with suppress(MynamoError):
                self.open(None).close()
        finally:
            self.breaker.end_look()

    def _take(self, is_probe: bool) -> Session:
        ends_at = deadlines.end()
        if is_probe:
            self.close_idle()  # nobody knows what became of them
        while True:
            if self.breaker.state is not State.CLOSED and not is_probe:
                self.breaker.refuse()
            with self._lock:
                if self._closed:
                    raise ShardUnavailable(f"{self.where}: already disconnected")
                session = self._idle.pop() if self._idle else None
            if session is None:
                if not is_probe:
                    self.breaker.begin_attempt()
                try:
                    session = in_thread(self.open)(ends_at)
                finally:
                    self.breaker.end_attempt()
                with self._lock:
                    self._open += 1
                return session
            session.end_at(ends_at)
            if time.monotonic() - session.last_used < _IDLE_CHECK or session.is_alive():
                return session
            with self._lock:
                self._open -= 1
            session.close()

    def _give_back(self, session: Session) -> None:
        with self._lock:
            if not session.broken and not self._closed:
                self._idle.append(session)
                return
            self._open -= 1
        session.close()

    def open(self, ends_at: float | None) -> Session:
        """Open a connection.

        Args:
            ends_at: when to wait no longer (monotonic); None: the pool's limits count.

        Raises:
            ShardUnavailable: the server does not answer, or is no primary.
        """
        began_at = time.monotonic()
        patience = self._limits.connect_timeout
        if ends_at is not None:
            patience = min(patience, ends_at - began_at)
        try:
            connection = connect(self._database, patience, max(_LEAST_PATIENCE, patience))
        except DRIVER_ERRORS as error:
            failure = unreachable(error, self.where)
            self._note_failure(began_at, failure, ends_at)
            raise failure from None
        session = Session(connection, self.where, self.breaker, self._peer)
        session.end_at(ends_at)
        try:
            statements = (*SESSION_SETTINGS, _READ_ONLY, _IDENTITY)
            *_, primary, identity = session.run(*((sql, ()) for sql in statements))
            self._refuse_read_only(primary.rows[0])
            session.identity = identity.rows[0]
            connection.answers_within(self._limits.read_timeout)
            if self._check is not None:
                self._check(session)
        except BaseException as error:
            session.close()
            if isinstance(error, LostConnection):
                self._note_failure(began_at, error, ends_at)
            raise
        look = WeakMethod(self.look)  # a pool that nobody has any more ends with its connections
        connection.on_silence(lambda: (own := look()) and own())
        return session

    def _note_failure(
        self, began_at: float, failure: ShardUnavailable, ends_at: float | None
    ) -> None:
        """Tell the circuit breaker, unless the caller had too little time to know."""
        if not isinstance(failure, LostConnection):  # the server said no: it is there
            self.breaker.answered(time.monotonic())
        elif ends_at is None or time.monotonic() < ends_at:
            self.breaker.failed(began_at, failure)

    def _refuse_read_only(self, flags: Sequence[Any]) -> None:
        """Refuse a server that is not a primary (any more): what it says may be old.

        Looked at on each new connection, because after a failover the same address may lead
        to another server.
        """
        if any(str(flag) not in ("0", "OFF") for flag in flags):
            raise ShardUnavailable(
                f"{self.where}: it is read-only; a shard must be a primary: correct the "
                "configuration, or, if it has become the primary, SET GLOBAL read_only = OFF"
            )
