"""How long an index lags: items are put at a fixed rate, and the GSI is asked until it has them.

Each probe is an item with a hash key of its own, so they spread over the partitions of the log;
in the GSI they stand side by side, so that one query finds all that have arrived. Their lag counts
from when the put returned, which is when the write is committed and acknowledged, until an answer
has it; it contains `PAUSE_SECONDS`, between two queries, and what the query takes.
"""

from __future__ import annotations

import statistics
import threading
import time
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from http_requests import NOTE_BYTES

from mynamo.catalog.cluster import Cluster
from mynamo.errors import MynamoError
from mynamo.producer import Producer
from mynamo.reader import Reader, greater_or_equal

PAUSE_SECONDS = 0.005
GRACE_SECONDS = 300.0
"""How long a probe may take to arrive."""


class Probes:
    """Probes that are put for as long as the block runs; its end waits for those on their way.

    Args:
        cluster: where to.
        table: as `http_requests.table_definition` has it.
        rate: probes per second.

    Attributes:
        lags: seconds of each probe that arrived, in the order they were put.
        failures: what was raised meanwhile.
        lost: probes that did not arrive.
        stopped_at: when the block ended, on the clock `time.monotonic`.
    """

    def __init__(self, cluster: Cluster, table: str, rate: float) -> None:
        self._cluster = cluster
        self._table = table
        self._rate = rate
        self._group = f"probe-{uuid.uuid4().hex[:8]}"
        self._stop = threading.Event()
        self._putting = threading.Thread(target=self._put_all)
        self._looking = threading.Thread(target=self._look_all)
        self._put_at: dict[int, float] = {}
        self._found: dict[int, float] = {}
        self.failures: list[MynamoError] = []
        self.stopped_at = 0.0

    def __enter__(self) -> Self:
        self._putting.start()
        self._looking.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopped_at = time.monotonic()
        self._stop.set()
        self._putting.join()
        if kind is not None:
            self._put_at.clear()  # nobody wants to know any more
        self._looking.join()

    @property
    def lags(self) -> list[float]:
        """See the class."""
        both = sorted(self._put_at.keys() & self._found.keys())
        return [max(0.0, self._found[each] - self._put_at[each]) for each in both]

    @property
    def lost(self) -> int:
        """See the class."""
        return len(self._put_at.keys() - self._found.keys())

    def _put_all(self) -> None:
        began = time.monotonic()
        number = 0
        with Producer(self._cluster) as producer:
            while not self._stop.wait(max(0.0, began + number / self._rate - time.monotonic())):
                item = {
                    "customer": f"{self._group}-{number}", "at": number, "price": number,
                    "product": self._group, "note": "x" * NOTE_BYTES,
                }  # fmt: skip
                try:
                    producer.put(self._table, item)
                except MynamoError as failure:
                    self.failures.append(failure)
                else:
                    self._put_at[number] = time.monotonic()
                number += 1

    def _look_all(self) -> None:
        reader = Reader(self._cluster)
        deadline = None
        while deadline is None or time.monotonic() < deadline:
            waiting = self._put_at.keys() - self._found.keys()
            if self._stop.is_set() and not self._putting.is_alive():
                deadline = deadline or time.monotonic() + GRACE_SECONDS
                if not waiting:
                    return
            if waiting:
                self._look(reader, min(waiting))
            time.sleep(PAUSE_SECONDS)

    def _look(self, reader: Reader, first: int) -> None:
        try:
            page = reader.query(
                self._table, self._group, index="by_product", sort=greater_or_equal(first),
                projection=["at"],
            )  # fmt: skip
        except MynamoError as failure:
            self.failures.append(failure)
            return
        now = time.monotonic()
        for item in page.items:
            self._found.setdefault(int(item["at"]), now)


def part_applied(lags: Sequence[float], seconds: float) -> float:
    """Which part of the changes that were made in some time the index took in, in that time.

    Whoever applies a part p of them is (1 - p) / p seconds further behind with each second, so
    its lag grows: what is compared are the medians of the first and of the last quarter.

    Args:
        lags: in the order of the changes, which were evenly spread over the time; seconds.
        seconds: that the time had.

    Returns:
        1 at most; 0 if there are too few of them.
    """
    quarter = len(lags) // 4
    if not quarter:
        return 0.0
    growth = statistics.median(lags[-quarter:]) - statistics.median(lags[:quarter])
    return min(1.0, 1 / (1 + max(0.0, growth) / (seconds * 0.75)))
