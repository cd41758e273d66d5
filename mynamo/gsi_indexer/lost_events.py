"""Finding events that Kafka has lost, and having them published again.

A stream waits if its shard has numbered events that are not applied. If the next of these has
been published, it is before the present end of its partition. If the consumer has read up to that
end without finding the event, Kafka has lost it: the broker kept nothing, the topic was created
again, or the committed offset is that of an earlier topic. The outbox still has the event, so the
relay is set back to just before it and publishes once more what it has published since. What it
had published before, of this stream and others, is not sent again: it is applied, or another stream
misses it and says so. No step depends on time, so a slow consumer does not cause events to be
published again.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from mynamo.catalog.away_shards import AwayShards
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.gsi_rows import next_published
from mynamo.catalog.shard import PASSING, DynamoDBShard, retry
from mynamo.errors import ShardUnavailable
from mynamo.gsi_indexer.arrivals import Positions, Stream
from mynamo.log import Reading, ensure_topics, kafka_errors
from mynamo.log.kafka_types import KafkaTimeoutError, TopicPartition
from mynamo.mysql.pool import Result, Statement
from mynamo.runtime.counters import counters

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds from one look at the shards to the next."""
LOOK_EVERY_AT_GAPS = 0.2
"""The same while an event has come before the one that its stream waits for."""
_TOPICS_EVERY = 5.0
_MEMBERS_EVERY = 5.0
_KAFKA_MS = 3_000
_FIRST_KAFKA_MS = 250
"""Most and least time for a broker to say where partitions end; twice as long after each time that
was too short. The indexer waits meanwhile."""
_PAUSE = 5.0
"""Times as long as such an answer took, until the broker is asked again."""
_PATIENCE = 1.0

STREAMS = "SELECT part, last_seq, applied_seq FROM mynamo_stream"


@dataclass(frozen=True, slots=True)
class _Watermark:
    """Where the consumer will have read a published event at the latest.

    Attributes:
        position: of the stream when the watermark was set.
        missing: number of the event that the stream waits for.
        end: offset at the end of the partition then.
    """

    position: int
    missing: int
    end: int


class Watch:
    """Checks the streams of the partitions that a consumer has.

    Args:
        reading: of that consumer.
        away: shards that are not asked; those that do not answer are added.
    """

    def __init__(
        self,
        cluster: Cluster,
        consumer: Any,
        positions: Positions,
        reading: Reading,
        away: AwayShards,
    ) -> None:
        self._away = away
        self._cluster = cluster
        self._consumer = consumer
        self._positions = positions
        self._reading = reading
        self._before: dict[Stream, int] = {}
        self._watermarks: dict[Stream, _Watermark] = {}
        self._looked_at = time.monotonic()
        self._topics_at = self._looked_at
        self._members_at = self._looked_at
        self._asking: threading.Thread | None = None
        self._kafka_ms = _FIRST_KAFKA_MS
        self._ends_from = -math.inf
        """When the broker may be asked for ends (monotonic)."""

    def look(self, gaps: Collection[Stream] = (), paused: Collection[Stream] = ()) -> None:
        """Ask for what was lost; does nothing unless the last look is a while ago.

        Args:
            gaps: streams of which a later event came before the next one.
            paused: streams whose events are passed over, which is no sign that any is lost.

        Raises:
            LogUnavailable: Kafka does not answer.
        """
        now = time.monotonic()
        if now - self._looked_at < (LOOK_EVERY_AT_GAPS if gaps else LOOK_EVERY):
            return
        self._looked_at = now
        self._follow_members()
        partitions = {assigned.partition for assigned in self._consumer.assignment()}
        if not partitions:
            self._ensure_topics()
        before, self._before = self._before, {}
        for shard in self._cluster.shards.values():
            if shard.id in self._away.ids:
                continue
            try:
                found = self._waiting(shard, partitions)
                waiting = {s: n for s, n in found.items() if s not in paused}
                self._before.update(waiting)
                stuck = {s: n for s, n in waiting.items() if before.get(s) == n or s in gaps}
                if stuck:
                    self._ensure_topics()
                    self._look_closer(shard, stuck, gaps)
            except ShardUnavailable as failure:
                self._away.note(shard.id, failure)
        self._watermarks = {
            s: watermark for s, watermark in self._watermarks.items() if s in self._before
        }

    def _follow_members(self) -> None:
        """Hear of new shards, of which all events may be lost. It waits for nobody."""
        now = time.monotonic()
        asking = self._asking is not None and self._asking.is_alive()
        if now - self._members_at >= _MEMBERS_EVERY and not asking:
            self._members_at = now
            self._asking = threading.Thread(target=self._ask_for_members, daemon=True)
            self._asking.start()

    def _ask_for_members(self) -> None:
        try:
            self._cluster.refresh()
        except Exception as failure:  # it is asked again
            log.debug("whether there are new shards is not known: %s", failure)

    def _waiting(self, shard: DynamoDBShard, partitions: Collection[int]) -> dict[Stream, int]:
        """The shard's streams that wait for an event, and their positions."""
        waiting = {}
        for part, last, applied in _run(shard, (STREAMS, ())).rows:
            stream = Stream(shard.id, part)
            if part not in partitions or stream not in self._positions.applied:
                continue
            if max(last, applied) < self._positions.applied[stream]:
                log.warning(
                    "%s: it has gone back in time: the indexes have its changes up to number %d, "
                    "but it has given no more than %d",
                    shard.where, self._positions.applied[stream], last,
                )  # fmt: skip
                mark_restored(shard)
            self._positions.raise_to({stream: applied})
            if last > self._positions.applied[stream]:
                waiting[stream] = self._positions.applied[stream]
        return waiting

    def _look_closer(
        self, shard: DynamoDBShard, stuck: dict[Stream, int], gaps: Collection[Stream]
    ) -> None:
        self._set_watermarks(stuck, gaps)
        lost = {s: self._lost_event(s, position, s in gaps) for s, position in stuck.items()}
        missing = {stream: number for stream, number in lost.items() if number is not None}
        if missing:
            first = min(missing.values())
            log.warning(
                "%s: Kafka has lost event %d, and perhaps later ones; they are published again",
                shard.where, first,
            )  # fmt: skip
            publish_again(shard, first - 1)
            counters.add("indexer_lost_events", len(missing))
            for stream in missing:
                del self._watermarks[stream]

    def _set_watermarks(self, stuck: dict[Stream, int], gaps: Collection[Stream]) -> None:
        """Set those that streams lack at their positions, with one question to the broker."""
        missing: dict[Stream, int] = {}
        for stream, position in stuck.items():
            known = self._watermarks.get(stream)
            if known is not None and known.position == position:
                continue
            if stream not in gaps and self._reading.is_behind(self._partition(stream)):
                continue  # it may be in what is yet to be read
            number = published_next(self._cluster, stream, position)
            if number is not None:
                missing[stream] = number
        if missing:
            ends = self._ends({self._partition(stream) for stream in missing})
            for stream, number in missing.items():
                end = ends.get(self._partition(stream))
                if end is not None:
                    self._watermarks[stream] = _Watermark(stuck[stream], number, end)

    def _lost_event(self, stream: Stream, position: int, gap: bool) -> int | None:
        """The number of the event that a stream waits for, if Kafka has lost it."""
        watermark = self._watermarks.get(stream)
        if watermark is None or watermark.position != position:
            return None
        partition = self._partition(stream)
        at = self._offset(partition)
        # More than `end` may be there: the embedded broker leaves out most of the last batch.
        if at is None or at < watermark.end or (self._reading.is_behind(partition) and not gap):
            return None
        return watermark.missing

    def _partition(self, stream: Stream) -> TopicPartition:
        return TopicPartition(self._cluster.config.kafka.changes_topic, stream.partition)

    def _ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets at the ends of partitions now; empty: the broker does not say so soon."""
        began = time.monotonic()
        if began < self._ends_from:
            return {}
        with kafka_errors(self._cluster.config.kafka):
            try:
                found = self._consumer.end_offsets(list(partitions), timeout_ms=self._kafka_ms)
                self._kafka_ms = _FIRST_KAFKA_MS
                return dict(found)
            except KafkaTimeoutError:
                self._kafka_ms = min(_KAFKA_MS, 2 * self._kafka_ms)
                return {}
            finally:
                now = time.monotonic()
                self._ends_from = now + _PAUSE * (now - began)

    def _offset(self, partition: TopicPartition) -> int | None:
        with kafka_errors(self._cluster.config.kafka):
            offset = self._consumer.position(partition, timeout_ms=_KAFKA_MS)
        return None if offset is None else int(offset)

    def _ensure_topics(self) -> None:
        """Make the topics anew if they are gone."""
        now = time.monotonic()
        if now - self._topics_at >= _TOPICS_EVERY:
            self._topics_at = now
            ensure_topics(self._cluster.config.kafka)


def published_next(cluster: Cluster, stream: Stream, position: int) -> int | None:
    """The number of the event that a stream waits for, if it has been published, as its relay
    says."""
    rows = _run(cluster.configured[stream.shard], next_published("seq", stream, position)).rows
    return int(rows[0][0]) if rows else None


def mark_restored(shard: DynamoDBShard) -> None:
    """Let the relay begin a new incarnation of the shard."""
    _run(shard, ("UPDATE mynamo_incarnation SET server = '' ORDER BY incarnation DESC LIMIT 1", ()))


def publish_again(shard: DynamoDBShard, sequence: int) -> None:
    """Let the relay publish once more all events after a sequence."""
    _run(shard, ("UPDATE mynamo_relay SET published_seq = LEAST(published_seq, %s)", (sequence,)))


def _run(shard: DynamoDBShard, statement: Statement) -> Result:
    def once() -> Result:
        with shard.session() as session:
            return session.run(statement)[0]

    return retry(once, _PATIENCE, PASSING)
