"""`Admission`: the requests of one process that wait for one shard, and how many may.

A server has a bounded number of permits for requests of all shards (`gateway.http.answering`).
Without a share for each shard, requests for one that does not answer would soon hold all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from mynamo.errors import ShardUnavailable
from mynamo.mysql.circuit_breaker import CircuitBreaker, State
from mynamo.runtime import forks

SHARE = 7
"""So many times as many requests as there are free permits may wait for one shard. So one shard
has seven eighths of all permits at most, and two have seven fifteenths each: whatever shards take,
others find some. They need few: a request for a shard that answers is over in milliseconds."""


class Admission:
    """A context manager, which a request enters while it waits for its shard.

    It is safe to share between threads. Requests for several shards enter one after another.

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
