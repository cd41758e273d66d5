"""`DynamoDBShard`: one MySQL database, and running statements on it."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from pydantic import SecretStr, ValidationError

from mynamo.catalog.incarnation import (
    Allocate,
    adopt,
    identity_of,
    newest,
    record_first,
)
from mynamo.catalog.migrations import SHARD, migrate
from mynamo.errors import ConfigError, MynamoError, ShardUnavailable
from mynamo.mysql.circuit_breaker import CircuitBreaker, State
from mynamo.mysql.failures import (
    CircuitOpen,
    Contention,
    Deadlock,
    DuplicateKey,
    LostConnection,
    MissingRight,
    MissingTable,
)
from mynamo.mysql.pool import ConnectionPool, Result, Session, Statement
from mynamo.mysql.server_checks import check_server
from mynamo.runtime import deadlines, forks
from mynamo.runtime.counters import counters
from mynamo.runtime.tasks import in_thread
from mynamo.schemas.config import MySQLTLS, PoolConfig, ShardConfig
from mynamo.schemas.validation import explain

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Given = ParamSpec("Given")
Kept = TypeVar("Kept")

PATIENCE = 30.0
"""Seconds for which work is tried again after deadlocks and lost connections."""
OUTCOME_PATIENCE = 48.0
"""Seconds for which a server is asked what became of a commit. The outbox keeps for 60 what tells
it (`writer.transaction.commit_outcome`)."""
SAY_AFTER = 2.0
"""Seconds after which whoever waits is told why."""

SHARE = 7
"""So many times as many requests as there are free permits may wait for one shard. So one shard
has seven eighths of all permits at most, and two have seven fifteenths each: whatever shards take,
others find some. They need few: a request for a shard that answers is over in milliseconds."""


class DynamoDBShard:
    """One shard: a MySQL (or MariaDB) database that holds a share of every table.

    Safe to share between threads. Connections are opened when needed.

    Args:
        shard_index: the shard's number, 1 to 4096; it never changes.
        host: of the MySQL server, which must be a single primary.
        user: with the rights listed in docs/operations.md.
        password: never logged.
        port: of the server.
        database: which must exist, and belongs to mynamo alone.
        tls: to encrypt and verify the connection.
        pool: limits for its connections.

    Raises:
        ConfigError: an argument is not valid.
    """

    def __init__(
        self,
        shard_index: int,
        host: str,
        user: str,
        password: str,
        port: int = 3306,
        database: str = "mynamo",
        *,
        tls: MySQLTLS | None = None,
        pool: PoolConfig | None = None,
    ) -> None:
        try:
            self.config = ShardConfig(
                id=shard_index,
                host=host,
                user=user,
                password=SecretStr(password),
                port=port,
                database=database,
                tls=tls,
            )
        except ValidationError as error:
            raise ConfigError(f"shard {shard_index}: {explain(error)}") from None
        self.where = f"shard {shard_index} ({host}:{port}/{database})"
        self.id = shard_index
        self._identity = Identity(self.config, self.where)
        self.pool = ConnectionPool(
            self.config, pool or PoolConfig(), self.where, self._identity.check
        )
        self.breaker = self.pool.breaker
        self.admission = Admission(self.where, self.breaker)
        self.session = self.pool.session
        """Lends a connection; an open transaction is rolled back if the block fails. Raises
        ShardUnavailable if the server does not answer, or is not fit to be a shard, and
        ConfigError if the database is another shard's."""
        self.own_timeout: float | None = None
        self._outcome_timeout: float | None = None
        self.kept: dict[object, Any] = {}
        """See `PerShard`."""

    __reduce__ = forks.not_picklable

    @classmethod
    def of(cls, config: ShardConfig, pool: PoolConfig) -> DynamoDBShard:
        """The shard that a configuration describes."""
        return cls(
            config.id,
            config.host,
            config.user,
            config.password.get_secret_value(),
            config.port,
            config.database,
            tls=config.tls,
            pool=pool,
        )

    def belong_to(self, cluster_id: bytes, allocate: Allocate) -> None:
        """From now on, refuse to work if the database is not this shard of that cluster, and
        begin a new incarnation if its server is another one.

        Args:
            allocate: numbers of incarnations.
        """
        self._identity.cluster_id, self._identity.allocate = cluster_id, allocate
        self.pool.close_idle()

    def adopt(self, at_least: int) -> int | None:
        """Begin a new incarnation, though the server may be the same; see `incarnation`.

        Args:
            at_least: the least that it must be.

        Returns:
            Its number; None: it is so far already.

        Raises:
            ShardUnavailable: the shard or the catalog does not answer.
        """
        allocate = self._identity.allocate
        if allocate is None:
            raise ConfigError(f"{self.where}: it does not belong to a cluster yet")
        with self.session() as session:
            server = identity_of(session)
            return adopt(session, self.id, server, allocate, self.where, at_least)

    @property
    def timeout(self) -> float:
        """Seconds after which work on this shard is given up: see `ClusterConfig.timeout`."""
        return PATIENCE if self.own_timeout is None else self.own_timeout

    @property
    def outcome_timeout(self) -> float:
        """Seconds to find out what became of a commit: see `ClusterConfig.outcome_timeout`."""
        return OUTCOME_PATIENCE if self._outcome_timeout is None else self._outcome_timeout

    def limit(self, timeout: float | None, outcome_timeout: float | None) -> None:
        """Set both; None: as they are."""
        if timeout is not None:
            self.own_timeout = timeout
            self.pool.limit(timeout)
        if outcome_timeout is not None:
            self._outcome_timeout = outcome_timeout

    def run(self, *statements: Statement) -> list[Result]:
        """Run statements that may safely run twice (reads, idempotent changes).

        Raises:
            ShardUnavailable: after `timeout` seconds of trying.
        """
        return retry(lambda: self._run(*statements), self.timeout)

    def ask(self, *statements: Statement) -> list[Result]:
        """As `run`, for a request: it does not wait while the shard's circuit breaker is open.

        Raises:
            ShardUnavailable: after `timeout` seconds of trying, or once the breaker is open.
        """
        return retry(lambda: self._run(*statements), self.timeout, PASSING)

    def _run(self, *statements: Statement) -> list[Result]:
        with self.session() as session:
            return session.run(*statements)

    def health(self) -> float:
        """Ask the server for a sign of life.

        Returns:
            Seconds that the answer took.

        Raises:
            ShardUnavailable: it did not answer.
        """
        started = time.monotonic()
        with self.session() as session:
            session.run(("SELECT 1", ()))
        return time.monotonic() - started

    def disconnect(self) -> None:
        """Close all connections; the shard cannot be used afterwards."""
        self.pool.close()


class Identity:
    """Which shard of which cluster a database must be. Each new connection is checked.

    Attributes:
        cluster_id: None: it is not known yet, and any database will do.
        allocate: gives numbers to incarnations.
    """

    def __init__(self, config: ShardConfig, where: str) -> None:
        self.cluster_id: bytes | None = None
        self.allocate: Allocate | None = None
        self._config = config
        self._where = where
        self._settings_checked = False

    def check(self, session: Session) -> None:
        """Refuse a connection to another database.

        Raises:
            ConfigError: it is not this shard of this cluster.
            ShardUnavailable: its server is not fit to be a shard.
        """
        if self.cluster_id is None:
            return
        rows: tuple[tuple[Any, ...], ...] = ()
        with suppress(MissingTable):  # an empty database, or one of another program
            rows = session.run(("SELECT cluster_id, shard_id FROM mynamo_shard", ()))[0].rows
        if rows != ((self.cluster_id, self._config.id),):
            found = f"shard {rows[0][1]} of another order or cluster" if rows else "no shard"
            raise ConfigError(f"{self._where}: this database is {found}; correct the configuration")
        if not self._settings_checked:
            check_server(session, self._config, self._where)
            self._settings_checked = True
        migrate(session, SHARD, self._where)
        self.check_incarnation(session)

    def check_incarnation(self, session: Session) -> None:
        """Begin a new incarnation if the shard is on another server than it was."""
        server, found = identity_of(session), newest(session)
        try:
            if found is None:
                record_first(session, server)
            elif found.server != server and self.allocate is not None:
                adopt(session, self._config.id, server, self.allocate, self._where)
        except MissingRight as failure:  # of a reader or an indexer: a writer will do it
            log.debug("%s: not recorded: %s", self._where, failure)
            session.rollback()


class Admission:
    """The requests of one process that wait for one shard, and how many may.

    A gateway has a bounded number of permits for requests of all shards (`gateway.http.answering`).
    Without a share for each shard, requests for one that does not answer would soon hold all of
    them. This is a context manager, which a request enters while it waits for its shard.

    It is safe to share between threads. A request for several shards enters each of them, one after
    another or side by side.

    Args:
        where: the shard is, for messages.
        breaker: the shard's.

    Attributes:
        waiting: how many requests have entered.
        free_permits: of the server, the request's own not counted; None: everybody may enter.
    """

    def __init__(self, where: str, breaker: CircuitBreaker) -> None:
        self.free_permits: Callable[[], int] | None = None
        self._where = where
        self._breaker = breaker
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin with none: those who wait are the parent's."""
        self._lock = threading.Lock()
        self.waiting = 0

    def __enter__(self) -> None:
        """Enter.

        Raises:
            CircuitOpen: the shard's circuit breaker is open.
            ShardUnavailable: the shard has its share.
        """
        if self._breaker.state is not State.CLOSED:
            self._breaker.check()
        with self._lock:
            if self.free_permits is not None and self.waiting > SHARE * self.free_permits():
                raise ShardUnavailable(
                    f"{self._where}: {self.waiting} requests wait for it already, which is its "
                    "share of those that this process takes"
                )
            self.waiting += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.waiting = max(0, self.waiting - 1)  # a child's may have entered in its parent


class PerShard(Generic[Given, Kept]):
    """One thing of a process for each shard, made when it is first asked for.

    It must not hold its shard, with which it ends.

    Args:
        make: makes it from its shard, and what else was given to `of`.
    """

    def __init__(self, make: Callable[Concatenate[DynamoDBShard, Given], Kept]) -> None:
        self._make = make
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Have a lock of its own; what is kept renews itself."""
        self._lock = threading.Lock()

    def of(self, shard: DynamoDBShard, *given: Given.args, **named: Given.kwargs) -> Kept:
        """The shard's own."""
        kept: Kept | None = shard.kept.get(self)
        if kept is not None:
            return kept
        with self._lock:
            kept = shard.kept.get(self)
            if kept is None:
                kept = shard.kept[self] = self._make(shard, *given, **named)
            return kept


PASSING = (Contention, LostConnection)
"""Failures that another attempt can mend, for requests: if the circuit breaker is open, whoever
made the request is told at once."""
OUTAGES = (*PASSING, CircuitOpen)
"""The same for work that goes on in the background: it waits until the shard is there again."""
REASONS: dict[type[MynamoError], str] = {
    Deadlock: "deadlock",
    Contention: "lock_wait",
    LostConnection: "lost_connection",
    CircuitOpen: "circuit_open",
    DuplicateKey: "duplicate_key",
}
"""As metrics name them; of others `OTHER_REASON`."""
OTHER_REASON = "other"


def note_retry(failure: MynamoError) -> None:
    """Count another attempt, and why there is one."""
    counters.add("retries", 1, REASONS.get(type(failure), OTHER_REASON))


def retry(
    once: Callable[[], Answer],
    patience: float | None = None,
    mends: tuple[type[MynamoError], ...] = OUTAGES,
    since: float | None = None,
    between: Callable[[int], object] | None = None,
) -> Answer:
    """Call until it succeeds, for failures that another attempt can mend.

    Args:
        patience: seconds; `PATIENCE` unless told. A call that has a deadline ends by then.
        mends: those failures; `PASSING` for requests.
        since: when patience began (monotonic); None: now.
        between: called between attempts, with the number of those made; None: `pause`.

    Raises:
        ShardUnavailable: the last one, once patience is over.
        MynamoError: any other failure, at once.
    """
    patience = PATIENCE if patience is None else patience
    started = time.monotonic() if since is None else since
    attempt = 0
    said = False
    while True:
        try:
            return once()
        except mends as failure:
            waited = time.monotonic() - started
            if waited >= patience or deadlines.left(patience) <= 0:
                raise _given_up(failure, patience) from None
            note_retry(failure)
            if waited >= SAY_AFTER and not said:
                said = True
                log.warning("%s; trying for another %.0f s", failure, patience - waited)
        if between is None:
            pause(attempt)
        else:
            between(attempt + 1)
        attempt += 1


def _given_up(failure: MynamoError, patience: float) -> ShardUnavailable:
    seconds = deadlines.timeout() or max(0.0, patience)
    return ShardUnavailable(f"{failure} (given up after the timeout of {seconds:.3g} s)")


@in_thread
def pause(attempt: int) -> None:
    """Wait a random time that grows with the attempt, up to half a second."""
    longest = deadlines.left(min(0.5, 0.002 * 2 ** min(attempt, 8)))
    time.sleep(random.uniform(0, longest))  # noqa: S311
