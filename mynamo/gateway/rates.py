"""`RateLimits`: how many requests a user, or for a table, are answered each second."""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mynamo.errors import ConfigError
from mynamo.gateway.context import Context
from mynamo.gateway.rights.touched import tables_touched
from mynamo.gateway.service_errors import ServiceError
from mynamo.schemas.gateway_config import GatewayConfig, RequestRate

TOO_MANY = "Rate of requests exceeds the allowed throughput."
_SECOND = 1_000_000_000
_WORD = 8


class _Bucket:
    """A token bucket, as one number: the time at which it is full again.

    Each request moves that time on by `interval`, and it may be `depth` away at most. So the bucket
    needs nobody who fills it, and a word of memory that processes share holds it.

    Args:
        memory: words of it; times in ns of the monotonic clock, which all processes have in common.
        place: of the bucket's word.
    """

    def __init__(self, memory: memoryview[int], place: int, rate: RequestRate) -> None:
        self._memory = memory
        self._place = place
        self._interval = round(_SECOND / rate.requests_per_second)
        burst = rate.burst or max(1, round(rate.requests_per_second))
        self._depth = burst * self._interval
        what = f"table {rate.table}" if rate.user is None else f"user {rate.user}"
        self.limit = f"{what}: {rate.requests_per_second:g} a second"

    def has_one(self, now: int) -> bool:
        """Whether a request may come."""
        return self._memory[self._place] - now + self._interval <= self._depth

    def take(self, now: int) -> None:
        """A request comes."""
        self._memory[self._place] = max(self._memory[self._place], now) + self._interval


class RateLimits:
    """Token buckets of users and of tables, in memory that the gateway's processes share.

    Make it before the processes are forked. There is no lock between them, which one that dies or
    freezes could keep: when two take at the same moment, what one of them has counted may be lost.
    Safe to share between threads, for which there is a lock.

    Args:
        rates: as configured.
        clock: monotonic, in ns, the same in all processes.
    """

    def __init__(
        self, rates: Sequence[RequestRate], clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        memory = memoryview(mmap.mmap(-1, len(rates) * _WORD)).cast("q")
        buckets = [(rate, _Bucket(memory, place, rate)) for place, rate in enumerate(rates)]
        self._users = {rate.user: bucket for rate, bucket in buckets if rate.user is not None}
        self._tables = {rate.table: bucket for rate, bucket in buckets if rate.table is not None}
        self._clock = clock
        self._lock = threading.Lock()

    def check_user(self, user: str | None) -> None:
        """Count a request of a user, before anything of it is looked at.

        Args:
            user: None: nobody knows; it counts for none.

        Raises:
            ServiceError: ThrottlingException; it does not count.
        """
        bucket = None if user is None else self._users.get(user)
        if bucket is not None:
            self._take([bucket])

    def check_tables(self, context: Context, operation: str, request: Mapping[str, Any]) -> None:
        """Count a request for its tables, once for each, before its operation begins.

        Args:
            request: that its sender may make: one who may not must not use up a table's rate.

        Raises:
            ServiceError: ThrottlingException; it counts for no table. Or it is not valid.
            MynamoError: it is not valid.
        """
        if not self._tables:
            return
        names = tables_touched(context, operation, request)
        buckets = [self._tables[name] for name in names if name in self._tables]
        if buckets:
            self._take(buckets)

    def _take(self, buckets: Sequence[_Bucket]) -> None:
        with self._lock:
            now = self._clock()
            for bucket in buckets:
                if not bucket.has_one(now):
                    raise ServiceError("ThrottlingException", f"{TOO_MANY} ({bucket.limit})")
            for bucket in buckets:
                bucket.take(now)


def rate_limits(config: GatewayConfig) -> RateLimits | None:
    """The limits of a configuration; None: it has none."""
    return RateLimits(config.rates) if config.rates else None


def check_users(config: GatewayConfig) -> None:
    """Check that users whose rates are limited exist, where all are in the configuration.

    Raises:
        ConfigError: there is no such user.
    """
    if config.credentials_key is not None:  # the catalog may have the user, or get it
        return
    users = {pair.user for pair in config.credentials}
    for rate in config.rates:
        if rate.user is not None and rate.user not in users:
            raise ConfigError(
                f"gateway.rates: no credential has the name {rate.user}; write the name of one, or "
                "its access_key_id if it has no name"
            )
