"""The `changes` topic in memory: real relays and indexers, step by step, without Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from kafka import TopicPartition

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.gsi_indexer import Indexer, indexer, lost_events
from mynamo.log.clients import Message
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.dead_letters import DeadLetter, load_dead_letter
from mynamo.schemas.table import TableSchema
from mynamo.writer.outbox.relay import Relay


@dataclass(frozen=True)
class Record:
    """A message as a consumer gives it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp: int = -1


@dataclass
class FakeLog:
    """Partitions of `changes`, and the dead letters. Stands in for a Publisher too."""

    config: Any
    records: dict[int, list[Record]] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)

    def send(
        self, messages: Sequence[Message], while_waiting: Callable[[], None] | None = None
    ) -> None:
        """What `Publisher.send` does."""
        for topic, partition, key, value, headers in messages:
            if topic == self.config.dead_letter_topic:
                self.dead_letters.append(load_dead_letter(value))
            else:
                self.append(partition or 0, value, headers, key)

    def append(
        self,
        partition: int,
        value: bytes,
        headers: Iterable[tuple[str, bytes]] = (),
        key: bytes | None = None,
    ) -> None:
        """Add a message."""
        records = self.records.setdefault(partition, [])
        records.append(
            Record(self.config.changes_topic, partition, len(records), key, value, list(headers))
        )

    def wipe(self) -> None:
        """Lose every message; offsets start at 0 again."""
        self.records.clear()

    def close(self) -> None:
        """What `Publisher.close` does."""


class FakeConsumer:
    """Reads all partitions of a FakeLog from the beginning."""

    def __init__(self, log: FakeLog) -> None:
        self._log = log
        self._offsets: dict[TopicPartition, int] = {}
        self.committed: dict[TopicPartition, int] = {}
        self._listener: Any = None

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._log.config.partitions))

    def subscribe(self, topics: list[str], listener: Any) -> None:
        partitions = range(self._log.config.partitions)
        self._offsets = {TopicPartition(topics[0], number): 0 for number in partitions}
        self._listener = listener
        self.rebalance()

    def rebalance(self) -> None:
        """Lose all partitions and be given them again, to read them from the beginning."""
        self._listener.on_partitions_revoked(self.assignment())
        self._offsets = dict.fromkeys(self._offsets, 0)
        self._listener.on_partitions_assigned(self.assignment())

    def leave(self) -> None:
        """Hear that the partitions go, some time before others come."""
        self._listener.on_partitions_revoked(self.assignment())

    def join(self, partitions: Iterable[int]) -> None:
        """Be given these partitions in place of those before."""
        (topic,) = {place.topic for place in self._offsets}
        self._offsets = {TopicPartition(topic, number): 0 for number in partitions}
        self._listener.on_partitions_assigned(self.assignment())

    def begin_at(self, offsets: dict[TopicPartition, int]) -> None:
        """Read from committed offsets, and elsewhere from the beginning."""
        self._offsets = dict.fromkeys(self._offsets, 0) | offsets

    def assignment(self) -> set[TopicPartition]:
        return set(self._offsets)

    def poll(self, timeout_ms: int = 0) -> dict[TopicPartition, list[Record]]:
        polled = {}
        for partition, offset in self._offsets.items():
            records = self._log.records.get(partition.partition, [])
            if offset > len(records):  # auto_offset_reset="earliest"
                offset = 0
            if records[offset:]:
                polled[partition] = records[offset:]
            self._offsets[partition] = len(records)
        return polled

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._offsets[partition] = offset

    def position(self, partition: TopicPartition, timeout_ms: int) -> int:
        return self._offsets[partition]

    def end_offsets(self, partitions: list[TopicPartition], timeout_ms: int) -> dict[Any, int]:
        return {
            partition: len(self._log.records.get(partition.partition, []))
            for partition in partitions
        }

    def commit(self, offsets: dict[Any, Any] | None = None, timeout_ms: int = 0) -> None:
        """Remember the offsets; None: of all that was read."""
        known = (
            {place: known.offset for place, known in offsets.items()}
            if offsets is not None
            else self._offsets
        )
        self.committed = {**self.committed, **known}

    commit_async = commit

    def close(self, autocommit: bool, timeout_ms: int) -> None: ...


class FakeReading:
    """Has always read all there is."""

    behind = False

    def __init__(self, consumer: FakeConsumer, *_: Any, **__: Any) -> None:
        self._consumer = consumer

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        return self._consumer.poll(timeout_ms)

    def is_behind(self, partition: TopicPartition) -> bool:
        return False


class Bench:
    """A cluster whose relays and indexers move when the test says so.

    Attributes:
        relays: one for each shard.
        consumers: of its indexers, in the order in which they were made.
    """

    def __init__(self, config: ClusterConfig, patch: pytest.MonkeyPatch) -> None:
        self.cluster = Cluster(config)
        self.producer = Producer(self.cluster)
        self.log = FakeLog(config.kafka)
        self.relays = [
            Relay(self.cluster, shard, f"bench-{shard.id}", self.log)  # type: ignore[arg-type]
            for shard in self.cluster.shards.values()
        ]
        self._opened = [self.cluster]
        self.consumers: list[FakeConsumer] = []
        patch.setattr(indexer, "open_consumer", self._open_consumer)
        patch.setattr(indexer, "Reading", FakeReading)
        patch.setattr(indexer, "Publisher", lambda _: self.log)
        patch.setattr(lost_events, "ensure_topics", lambda _: None)
        patch.setattr(lost_events, "LOOK_EVERY", 0.0)
        patch.setattr(lost_events, "LOOK_EVERY_AT_GAPS", 0.0)

    def create(self, definition: dict[str, Any]) -> Table:
        """Create a table."""
        return definitions.create_table(self.cluster, TableSchema.parse(definition))

    def publish(self) -> None:
        """Let the relays publish all there is."""
        while sum(relay.step() for relay in self.relays):
            pass

    def _open_consumer(self, *_: Any, **__: Any) -> FakeConsumer:
        self.consumers.append(FakeConsumer(self.log))
        return self.consumers[-1]

    def indexer(self, cluster: Cluster | None = None) -> Indexer:
        """A new indexer, which reads the log from its beginning."""
        return Indexer(cluster or self.cluster)

    def open_cluster(self) -> Cluster:
        """A catalog as another process has it."""
        self._opened.append(Cluster(self.cluster.config))
        return self._opened[-1]

    def catch_up(self, one: Indexer, steps: int = 12) -> None:
        """Let relays and an indexer work until nothing waits any more."""
        for _ in range(steps):
            self.publish()
            one.step(0)
            if not waiting_events(self.cluster):
                return
        raise AssertionError(f"{waiting_events(self.cluster)} events still wait")

    def close(self) -> None:
        for cluster in self._opened:
            cluster.close()


def waiting_events(cluster: Cluster) -> int:
    """How many committed changes some index has not applied yet."""
    waiting = 0
    for shard in cluster.shards.values():
        waiting += shard.run(
            ("SELECT COUNT(*) FROM mynamo_outbox o JOIN mynamo_stream s ON s.part = o.part"
             " WHERE o.feeds = 1 AND (COALESCE(o.seq, 0) = 0 OR o.seq > s.applied_seq)", ())
        )[0].rows[0][0]  # fmt: skip
    return waiting
