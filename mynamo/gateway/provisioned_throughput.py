"""`ProvisionedThroughput`: requests of PROVISIONED tables are throttled by their capacity units.

That is `gateway.enforce_provisioned_throughput`. See docs/gateway.md.

Source: Amazon DynamoDB Developer Guide, "Burst capacity": 300 seconds of unused capacity are kept;
"Understanding global secondary index (GSI) write throttling and back pressure": an index without
write capacity throttles all writes to its table.
"""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

from mynamo.catalog.tables import Table
from mynamo.errors import ThroughputExceeded
from mynamo.schemas.table_settings import Capacity

Access = Literal["read", "write"]
BURST_SECONDS = 300
MOST_IDS = 65_536
"""Tables, and indexes, with buckets of their own: two whose ids differ by a multiple of it share
one."""
_SECOND = 1_000_000_000
_DEPTH = BURST_SECONDS * _SECOND
_WORD = 8
_WORDS = 2  # of a bucket
_ACCESSES: tuple[Access, ...] = ("read", "write")

Throttled = Callable[[str, str, Access], None]
"""Told of each request, or item of a batch, that is throttled: names of the table and of the index
(empty: it is the table's capacity), and the access."""


class CapacityBuckets:
    """Memory of token buckets that the gateway's processes share.

    Make it before the processes are forked. As with `RateLimits`, there is no lock between
    processes: when two take at the same moment, what one of them has counted may be lost.

    Args:
        clock: monotonic, in ns, the same in all processes.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        kinds = 2 * len(_ACCESSES)  # of tables and of indexes, for reads and for writes
        self.words = memoryview(mmap.mmap(-1, kinds * MOST_IDS * _WORDS * _WORD)).cast("q")
        self.clock = clock
        self.lock = threading.Lock()

    def place(self, id_: int, of_index: bool, access: Access) -> int:
        """The first word of a bucket."""
        kind = 2 * of_index + _ACCESSES.index(access)
        return (kind * MOST_IDS + id_ % MOST_IDS) * _WORDS


class _Bucket:
    """A token bucket: the time at which it is full again, and the units per second of which that is
    said. A table that nobody has used since this gateway started has a full one.

    What a request costs is known once it is done, so there may be fewer than no units in it, by a
    burst at most.

    Args:
        units: per second.
    """

    __slots__ = ("_buckets", "_interval", "_place", "_units")

    def __init__(self, buckets: CapacityBuckets, place: int, units: int) -> None:
        self._buckets = buckets
        self._place = place
        self._units = units
        self._interval = _SECOND / units

    def is_used_up(self) -> bool:
        """Whether requests have to wait."""
        if self._buckets.words[self._place + 1] != self._units:
            self.take(0)  # from now on it fills as fast as was provisioned last
        now = self._buckets.clock()
        return self._full_at(now) - now >= _DEPTH

    def take(self, units: float) -> None:
        """Units are consumed."""
        words = self._buckets.words
        with self._buckets.lock:
            now = self._buckets.clock()
            full_at = self._full_at(now) + round(units * self._interval)
            words[self._place] = min(full_at, now + 2 * _DEPTH)
            words[self._place + 1] = self._units

    def _full_at(self, now: int) -> int:
        """No earlier than now. The units stay if there are others per second, up to a burst."""
        words = self._buckets.words
        full_at, said_of = max(words[self._place], now), words[self._place + 1]
        if said_of in (0, self._units):
            return full_at
        units = said_of * (_DEPTH - (full_at - now)) / _SECOND
        return now + max(0, round(_DEPTH - units * self._interval))


class CapacityUse:
    """What one request uses of a table's provisioned capacity, for reads or for writes.

    It is admitted while there are units. Its least cost, which is known before, is taken at once,
    so that requests side by side do not all take the same units, and the rest when it is done.

    Args:
        table: its name.
        buckets: of the table (None), and of its GSIs by name.
    """

    __slots__ = ("_access", "_buckets", "_reserved", "_table", "_throttled")

    def __init__(
        self,
        table: str,
        access: Access,
        buckets: Mapping[str | None, _Bucket],
        throttled: Throttled,
    ) -> None:
        self._table = table
        self._access = access
        self._buckets = buckets
        self._throttled = throttled
        self._reserved: dict[str | None, float] = {}

    def admit(self, units: float, index: str | None = None) -> None:
        """Begin a read or write.

        Args:
            units: that it costs at least.
            index: a GSI that is read.

        Raises:
            ThroughputExceeded: no units are left; nothing is taken.
        """
        failure = self.refusal(index)
        if failure is not None:
            raise failure
        self.reserve(units, index)

    def refusal(self, index: str | None = None) -> ThroughputExceeded | None:
        """Why nothing can begin now; None: it can. A write needs units of every GSI too."""
        for name in self._buckets if self._access == "write" else (index,):
            bucket = self._buckets.get(name)
            if bucket is not None and bucket.is_used_up():
                self._throttled(self._table, name or "", self._access)
                return ThroughputExceeded(table=self._table, index=name, access=self._access)
        return None

    def reserve(self, units: float, index: str | None = None) -> None:
        """Take units that a read or write costs at least."""
        self._reserved[index] = self._reserved.get(index, 0.0) + units
        self._take(units, index)

    def settle(self, units: Mapping[str | None, float]) -> None:
        """Take the rest of what all of it has cost.

        Args:
            units: of the table (None), and of its GSIs by name.
        """
        for index, consumed in units.items():
            rest = consumed - self._reserved.get(index, 0.0)
            if rest > 0:
                self._take(rest, index)

    def _take(self, units: float, index: str | None) -> None:
        bucket = self._buckets.get(index)
        if bucket is not None:
            bucket.take(units)


class ProvisionedThroughput:
    """The capacity of all tables that are PROVISIONED. Safe to share between threads.

    Args:
        buckets: in memory that processes share.
        throttled: see `Throttled`.
    """

    def __init__(self, buckets: CapacityBuckets, throttled: Throttled) -> None:
        self._buckets = buckets
        self._throttled = throttled

    def use(self, table: Table, access: Access) -> CapacityUse | None:
        """What a request uses of a table; None: the table is not PROVISIONED.

        Args:
            table: by the newest definition that is known.
        """
        limits = table.kept.get(self)
        if limits is None:
            limits = table.kept[self] = {each: self._of(table, each) for each in _ACCESSES}
        own = limits[access]
        return CapacityUse(table.name, access, own, self._throttled) if own else None

    def _of(self, table: Table, access: Access) -> dict[str | None, _Bucket]:
        """The buckets of a table. An index that was not made by the API has no capacity set, and
        no limit."""
        settings = table.settings
        if settings.billing_mode != "PROVISIONED":
            return {}
        found: dict[str | None, _Bucket] = {}
        if units := _units(settings.capacity, access):
            place = self._buckets.place(table.id, False, access)
            found[None] = _Bucket(self._buckets, place, units)
        for index in table.global_indexes:
            if units := _units(settings.of_index(index.name).capacity, access):
                place = self._buckets.place(index.id, True, access)
                found[index.name] = _Bucket(self._buckets, place, units)
        return found


def _units(capacity: Capacity, access: Access) -> int:
    return capacity.read if access == "read" else capacity.write
