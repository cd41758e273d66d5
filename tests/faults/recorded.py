"""A consumer of a table's stream: keeps a view of the table by its records alone, whatever becomes
of shards, brokers, relays and slots, and says where a record does not follow the one before."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Any, Self

from mynamo.catalog import stream_shards, table_streams
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.incarnation import CLEAN, newest
from mynamo.catalog.tables import RowKey, Table
from mynamo.errors import MynamoError, RecordsTrimmed
from mynamo.reader.streams.follower import StreamFollower
from mynamo.reader.streams.stream_reader import StreamReader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.stream_records import StreamRecord
from tests.rows import items_of

ROLL_EVERY = 8.0
"""Seconds between two rounds that end all open stream shards, with children."""
_FAILOVER_EACH = 4
"""Of the rounds one, and the shards by turns."""
_PAUSE = 0.1
_PAUSE_IN_TROUBLE = 0.5

View = dict[RowKey, dict[str, Any]]


class Materialised:
    """What the records of a stream come to.

    Attributes:
        view: the items.
        numbers: by item the sequence numbers of its records, in the order in which they came.
        wrong: records that do not follow the one before, in words.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self.view: View = {}
        self.numbers: dict[RowKey, list[int]] = defaultdict(list)
        self.wrong: list[str] = []

    def take(self, record: StreamRecord) -> None:
        """Apply one record."""
        key, number = self._table.key_of(record.keys), int(record.sequence_number)
        before, numbers = self.view.get(key), self.numbers[key]
        told = f"{record.keys}: {record.name} {number}"
        if numbers and number <= numbers[-1]:
            self.wrong.append(f"{told} comes behind {numbers[-1]}")
        if record.old != before:
            self.wrong.append(f"{told} is a change of {record.old}, and the item was {before}")
        if record.old == record.new:
            self.wrong.append(f"{told} changes nothing")
        numbers.append(number)
        if record.new is None:
            self.view.pop(key, None)
        else:
            self.view[key] = record.new


class StreamConsumer:
    """Follows the stream of a table in a thread, and ends all stream shards now and then, as writer
    workers do every four hours.

    Args:
        config: of the cluster, by the way that clients take.
        name: of the table, which has its stream since before its first item.
        failovers: lets a shard begin a new incarnation each time, as after a failover that lost
            nothing.
    """

    def __init__(self, config: ClusterConfig, name: str, *, failovers: bool = False) -> None:
        self._config = config
        self._name = name
        self._failovers = failovers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream-consumer", daemon=True)
        self.seen: Materialised | None = None
        self.rolled = self.failed_over = 0
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(60)

    def check(self, config: ClusterConfig, seconds: float = 60.0) -> tuple[int, list[str]]:
        """Compare the view with the table, once nothing is under way any more.

        Args:
            config: of the cluster, past any proxies.
            seconds: that the consumer has to read what is left.

        Returns:
            How many records were checked, and what is wrong.
        """
        with Cluster(config) as cluster:
            table = cluster.table(self._name)
            items = {key: item for key, (_, item) in items_of(cluster, table).items()}
            deadline = time.monotonic() + seconds
            while (self.seen is None or self.seen.view != items) and self.failure is None:
                if time.monotonic() > deadline:
                    break
                time.sleep(_PAUSE)
            self._stop.set()
            self._thread.join(60)
            if self.failure is not None or self.seen is None:
                return 0, [f"the consumer of the stream ended: {self.failure!r}"]
            again = self._read_again(cluster, table)
        wrong = [*self.seen.wrong, *(f"read again: {each}" for each in again.wrong)]
        for key in items.keys() | self.seen.view.keys():
            if items.get(key) != self.seen.view.get(key):
                wrong.append(
                    f"the view has {self.seen.view.get(key)}, and the table {items.get(key)}"
                )
        wrong += [
            f"{key}: the consumer has seen {self.seen.numbers[key]}, and who reads again sees "
            f"{again.numbers[key]}"
            for key in self.seen.numbers.keys() | again.numbers.keys()
            if self.seen.numbers[key] != again.numbers[key]
        ]
        return sum(map(len, self.seen.numbers.values())), wrong

    def _read_again(self, cluster: Cluster, table: Table) -> Materialised:
        """All records that there are, from the first one on."""
        reader, found = StreamReader(cluster), Materialised(table)
        follower = StreamFollower(reader, reader.stream(self._name))
        for record in follower.records(2.0):
            found.take(record)
        return found

    def _run(self) -> None:
        try:
            with self._opened() as cluster:
                self.seen = Materialised(cluster.table(self._name))
                self._follow(cluster, self.seen)
        except BaseException as failure:
            if not self._stop.is_set():
                self.failure = failure

    def _opened(self) -> Cluster:
        while True:
            try:
                return Cluster(self._config)
            except MynamoError:
                if self._stop.wait(_PAUSE_IN_TROUBLE):
                    raise

    def _follow(self, cluster: Cluster, seen: Materialised) -> None:
        follower: StreamFollower | None = None
        reader = StreamReader(cluster)
        roll_at = time.monotonic() + ROLL_EVERY
        while not self._stop.is_set():
            try:
                if follower is None:
                    follower = StreamFollower(reader, reader.stream(self._name))
                records = follower.poll()
                for record in records:
                    seen.take(record)
                if time.monotonic() >= roll_at:
                    roll_at = time.monotonic() + ROLL_EVERY
                    self._roll(cluster)
                self._stop.wait(0 if records else _PAUSE)
            except RecordsTrimmed:
                raise
            except MynamoError:  # a shard or the catalog is away
                self._stop.wait(_PAUSE_IN_TROUBLE)

    def _roll(self, cluster: Cluster) -> None:
        """As writer workers do every four hours."""
        if self._failovers and self.rolled % _FAILOVER_EACH == 0:
            shard = list(cluster.shards.values())[self.rolled // _FAILOVER_EACH % 2]
            with shard.session() as session:
                known = newest(session)
            if known is not None and known.state == CLEAN:
                shard.adopt(known.number + 1)
                self.failed_over += 1
        stream = cluster.table(self._name).stream
        if stream is not None:
            before, stream_shards.ROLL_AFTER = stream_shards.ROLL_AFTER, 0.0
            try:
                stream_shards.follow_slots(cluster, stream)
            finally:
                stream_shards.ROLL_AFTER = before
            self.rolled += 1


def ensure_stream(config: ClusterConfig, name: str) -> None:
    """Enable a table's stream, unless it has one."""
    with Cluster(config) as cluster:
        if cluster.table(name).stream is None:
            table_streams.enable(cluster, name, "NEW_AND_OLD_IMAGES")
