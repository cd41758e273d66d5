"""`Relay`: takes committed changes from a shard's outbox to Kafka, in commit order per item."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import orjson

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.incarnation import incarnation_of
from mynamo.catalog.shard import DynamoDBShard
from mynamo.log.clients import Message
from mynamo.log.message_spans import send_spans
from mynamo.log.publisher import Publisher
from mynamo.mysql.pool import Statement
from mynamo.runtime.counters import counters
from mynamo.runtime.crash_points import crash_point
from mynamo.runtime.local_wakeups import INDEXER_WAKE_UPS, wake_up
from mynamo.runtime.tracing import TRACEPARENT, ended
from mynamo.schemas.events import complete_event, head_of, without_traceparent
from mynamo.writer.outbox.batches import (
    BATCH_BYTES,
    BATCH_ROWS,
    SMALL,
    batch_of,
    rows_without_numbers,
)
from mynamo.writer.outbox.cleanup import OutboxCleanup
from mynamo.writer.outbox.cloud_events import cloud_event_headers
from mynamo.writer.outbox.fencing import fence, is_behind
from mynamo.writer.outbox.lease import EXPIRY, Lease, LeaseLost, RelayState, WentBack
from mynamo.writer.outbox.new_records import insert_records, records_of
from mynamo.writer.outbox.trimming import RecordTrimmer

FENCE_EVERY = 5.0
"""Seconds after which a target that was away is fenced."""


@dataclass(slots=True)
class _Numbered:
    """Rows that have just been given numbers.

    Attributes:
        count: how many.
        last_seq: the last number given so far.
        published_seq: all up to it is known to be in Kafka.
        is_full: there may be more of them.
        messages: those of the rows, if they were read as well, which they are unless one is large.
    """

    count: int
    last_seq: int
    published_seq: int
    is_full: bool = False
    messages: list[Message] = field(default_factory=list)


class Relay:
    """Sequences and publishes one shard's changes, while it holds the shard's lease.

    Use by one thread. Everything that it keeps in memory can be read from the database again, so
    after a step that failed anywhere, the next step simply goes on.

    Args:
        cluster: which the shard belongs to.
        shard: whose outbox.
        owner: a name that no other relay has, up to 64 bytes.
        publisher: of the changes. Best its own: with a shared one it waits for what others send.
    """

    def __init__(
        self, cluster: Cluster, shard: DynamoDBShard, owner: str, publisher: Publisher
    ) -> None:
        self.shard = shard
        self.lease = Lease(shard, owner)
        self._cluster = cluster
        self._highest = 0  # the last number that it saw
        self._compared_epoch: int | None = None  # whose holder has asked what others have seen
        self._fence_at = 0.0
        self._topic = cluster.config.kafka.changes_topic
        self._cloud_events = cluster.config.kafka.cloud_events
        self.publisher = publisher
        self._cleanup = OutboxCleanup(shard)
        self._trimmer = RecordTrimmer(shard, cluster.config.streams.retention)
        self._limit = BATCH_ROWS
        self._small = True  # as payloads were lately
        self._watermark: tuple[int, int] | None = None
        """What was noted as published, and how far it is published by now; None: it is noted."""
        self.found = False
        """Whether its last step found changes that had no number."""
        self.more = False
        """Whether its last step left something to do."""

    @property
    def holding(self) -> bool:
        """Whether it held the lease at its last step."""
        return self.lease.epoch is not None

    def step(self, *, publish: bool = True) -> int:
        """Do what there is to do now, a batch at the most.

        Args:
            publish: false while Kafka does not answer: number changes, and write records.

        Returns:
            How many rows it sequenced, published or deleted; 0: poll again later.

        Raises:
            ShardUnavailable, LogUnavailable: nothing is lost; call again.
        """
        self.found = self.more = False
        try:
            # 1. The lease. A crash here: another relay takes over when it has expired.
            state = self.lease.hold()
            if state is None:
                self._watermark = None
                return 0
            self.check_incarnation(state)
            self.found = state.waiting
            crash_point("relay.1")
            began = time.monotonic()
            # 2. Number the rows without numbers, with the records of streams, and note how far the
            #    step before this came. A crash before the commit: nothing happened; after it: the
            #    numbers stay, and the next relay publishes by them.
            numbered = self._sequence() if state.waiting else self._numbered(state)
            crash_point("relay.2")
            trimmed = self._trimmer.step()
            if not publish:
                self.more = numbered.is_full or trimmed > 0
                return numbered.count + trimmed
            # 3. Publish to Kafka, all acknowledged. A crash here, or before it is noted: the next
            #    relay publishes the same numbers again, and consumers leave out those that they
            #    have seen.
            published = self._publish(numbered)
            crash_point("relay.3")
            # 4. Note how far it came, if there is nothing to number together with that.
            if not state.waiting:
                self._note()
            crash_point("relay.4")
            if published:
                self._count(published, time.monotonic() - began)
            # 5. Delete what nobody needs any more. A crash here: the next one does it.
            deleted = self._cleanup.step(busy=bool(numbered.count or published))
            deleted += trimmed
            crash_point("relay.5")
        except LeaseLost:
            self._compared_epoch = None  # an epoch may come again in a shard that went back
            return 0
        except WentBack:
            self._adopt(incarnation_of(self._highest) + 1)
            return 0
        self.more = self.more or numbered.is_full or deleted > 0
        return numbered.count + published + deleted

    def _count(self, published: int, seconds: float) -> None:
        counters.add("relay_events", published, self.shard.id)
        counters.add("relay_batches", 1, self.shard.id)
        counters.add("relay_seconds", seconds, self.shard.id)

    def check_incarnation(self, state: RelayState) -> None:
        """Relay nothing for a shard that has gone back in time, before that is mended: see
        `mynamo.catalog.incarnation`.

        Raises:
            LeaseLost: a new incarnation has begun.
        """
        if state.restored or state.last_seq < self._highest:
            self._begin_incarnation(incarnation_of(max(self._highest, state.last_seq)) + 1)
        if self.lease.epoch != self._compared_epoch:
            if needed := is_behind(self._cluster, self.shard, state.last_seq):
                self._begin_incarnation(needed)
            self._compared_epoch, self._fence_at = self.lease.epoch, 0.0
        if state.fencing and time.monotonic() >= self._fence_at:
            fence(self._cluster, self.shard)
            self._fence_at = time.monotonic() + FENCE_EVERY
        self._highest = state.last_seq

    def has_gone_back(self, last_seq: int, streams: Iterable[tuple[int, int, int]]) -> bool:
        """Whether the shard's numbers are below those that it has given before.

        Args:
            streams: partition, last number given, last number that every index has.
        """
        return last_seq < self._highest or any(applied > last for _, last, applied in streams)

    def _begin_incarnation(self, at_least: int) -> NoReturn:
        self._adopt(at_least)
        self.lease.lost()

    def _adopt(self, at_least: int) -> None:
        self.shard.adopt(at_least)
        self._compared_epoch = None
        self._highest = 0

    def release(self) -> None:
        """Give up the lease.

        Raises:
            ShardUnavailable: it will expire by itself.
        """
        if self.holding:
            with suppress(LeaseLost):
                self._note()
            self.lease.release()

    def _sequence(self) -> _Numbered:
        """Give numbers to committed rows."""
        with self.shard.session() as session:
            _, lease, streams, found = session.run(
                ("BEGIN", ()),
                ("SELECT owner, epoch, last_seq, published_seq FROM mynamo_relay FOR UPDATE", ()),
                ("SELECT part, last_seq, applied_seq FROM mynamo_stream", ()),
                rows_without_numbers(with_payload=self._small),
            )  # fmt: skip
            owner, epoch, last_seq, published_seq = lease.rows[0]
            if (owner, epoch) != self.lease.guard:
                session.rollback()
                self.lease.lost()
            if self.has_gone_back(last_seq, streams.rows):
                session.rollback()
                self._begin_incarnation(incarnation_of(max(last_seq, self._highest)) + 1)
            batch = batch_of(found.rows)
            rows = batch.rows
            last_by_part = {part: last for part, last, _ in streams.rows}
            numbers, last_by_part = number([row[:3] for row in rows], last_seq, last_by_part)
            published_seq = self._reached(published_seq)
            last_seq += len(numbers)
            records = records_of(session, batch, numbers) if batch.recorded else []
            crash_point("relay.2.open")
            self.lease.written()
            session.run(
                *([_set_numbers(numbers)] if numbers else []),
                *([insert_records(records)] if records else []),
                *([sql.raise_streams("last_seq", last_by_part)] if last_by_part else []),
                (f"UPDATE mynamo_relay SET last_seq = %s, published_seq = %s, expires = {EXPIRY}",
                 (last_seq, published_seq)),
                ("COMMIT", ()),
            )  # fmt: skip
        if records:
            counters.add("stream_records", len(records), self.shard.id)
        self._watermark = None
        numbered = _Numbered(len(numbers), last_seq, published_seq, batch.is_full)
        self._small = self._small and all(row.payload is not None for row in rows)
        if self._small:
            numbered.messages = [
                self._message((row.id, *given[1:], *row[1:6]))
                for row, given in zip(rows, numbers, strict=True)
            ]
        return numbered

    def _numbered(self, state: RelayState) -> _Numbered:
        return _Numbered(0, state.last_seq, self._reached(state.published_seq))

    def _reached(self, noted: int) -> int:
        """Up to which number all is in Kafka, unless someone asked to publish it again."""
        if self._watermark is not None and not is_current(self._watermark, noted):
            self._watermark = None
        return noted if self._watermark is None else self._watermark[1]

    def _publish(self, numbered: _Numbered) -> int:
        """Publish the next rows; returns how many."""
        before, last_seq = numbered.published_seq, numbered.last_seq
        if last_seq <= before:
            return 0
        if before == last_seq - numbered.count and numbered.messages:
            messages, reached = numbered.messages, last_seq
        else:
            messages, reached = self._read(before, last_seq)
        if messages:
            spans = send_spans(self._cluster.tracer, messages, {"mynamo.shard": self.shard.id})
            with ended(spans):
                self.publisher.send(messages, self.lease.renew)
            wake_up(self._cluster.id, INDEXER_WAKE_UPS)
        self._watermark = (before if self._watermark is None else self._watermark[0], reached)
        self.more = reached < last_seq
        return len(messages)

    def _read(self, after: int, last_seq: int) -> tuple[list[Message], int]:
        """Messages of the next rows, and their last number."""
        up_to = self._extent(after)
        if up_to is None:  # what there was has been deleted, as nobody needs it
            return [], last_seq
        with self.shard.session() as session:
            rows = session.run(
                ("SELECT id, seq, previous, part, feeds, item_version, created, payload"
                 " FROM mynamo_outbox FORCE INDEX (by_sequence)"
                 " WHERE seq > %s AND seq <= %s ORDER BY seq", (after, up_to))
            )[0].rows  # fmt: skip
        self._small = all(len(row[-1]) <= SMALL for row in rows)
        return [self._message(row) for row in rows], up_to

    def _extent(self, after: int) -> int | None:
        """The last of the rows after a number that fit into one batch; None: no rows."""
        with self.shard.session() as session:
            rows = session.run(
                ("SELECT seq, OCTET_LENGTH(payload) FROM mynamo_outbox FORCE INDEX (by_sequence)"
                 f" WHERE seq > %s ORDER BY seq LIMIT {self._limit:d}", (after,))
            )[0].rows  # fmt: skip
        size = 0
        for count, (_, length) in enumerate(rows):
            size += length
            if size > BATCH_BYTES and count > 0:
                # Reading a length reads the payload: with large ones, ask for fewer.
                self._limit = 2 * count
                return int(rows[count - 1][0])
        self._limit = min(BATCH_ROWS, 4 * self._limit)
        return int(rows[-1][0]) if rows else None

    def _note(self) -> None:
        """Note how far it is published, unless someone asked to publish again in between."""
        if self._watermark is None:
            return
        (before, after), self._watermark = self._watermark, None
        self.lease.written()
        with self.shard.session() as session:
            moved, lease = session.run(
                (f"UPDATE mynamo_relay SET published_seq = %s, expires = {EXPIRY}"
                 " WHERE owner = %s AND epoch = %s AND published_seq = %s",
                 (after, *self.lease.guard, before)),
                ("SELECT owner, epoch FROM mynamo_relay", ()),
            )  # fmt: skip
        if not moved.count and lease.rows[0] != self.lease.guard:
            self.lease.lost()

    def _message(self, row: tuple[Any, ...]) -> Message:
        outbox_id, seq, previous, part, feeds, item_version, created, payload = row
        payload, traceparent = without_traceparent(payload)
        head = head_of(payload)
        value = complete_event(
            payload,
            shard=self.shard.id,
            outbox_id=outbox_id,
            version=outbox_id if item_version is None else item_version,
            partition=part,
            sequence=seq,
            previous=previous,
            feeds=bool(feeds),
            committed_at=created,
        )
        headers = [
            ("table", head.table.encode()),
            ("event_id", f"{self.shard.id}-{outbox_id}".encode()),
            ("shard", str(self.shard.id).encode()),
            ("sequence", str(seq).encode()),
        ]
        if self._cloud_events:
            headers += cloud_event_headers(
                self._cluster.id, self.shard.id, outbox_id, head, created
            )
        if traceparent is not None:
            headers.append((TRACEPARENT, traceparent))
        key = b"%d:%b" % (head.table_id, head.keys)
        return self._topic, part, key, value, headers


def is_current(watermark: tuple[int, int], noted: int) -> bool:
    """Whether nobody has asked to publish again since a watermark was set.

    Args:
        watermark: the number that was noted as published then, and how far it is published since.
        noted: what is noted now.
    """
    return watermark[0] == noted


def number(
    rows: Sequence[tuple[int, int, int]], last_seq: int, last_by_part: dict[int, int]
) -> tuple[list[tuple[int, int, int]], dict[int, int]]:
    """Number rows densely, and chain those that feed an index with their stream.

    Args:
        rows: id, partition, feeds.
        last_seq: the last number given so far.
        last_by_part: per partition, the last number given to a row that feeds an index.

    Returns:
        Per row: id, number, the number before it in its stream; and the partitions whose
        last number changed, with it.
    """
    numbers: list[tuple[int, int, int]] = []
    changed: dict[int, int] = {}
    for row_id, part, feeds in rows:
        last_seq += 1
        numbers.append((row_id, last_seq, changed.get(part, last_by_part.get(part, 0))))
        if feeds:
            changed[part] = last_seq
    return numbers, changed


def _set_numbers(numbers: Sequence[tuple[int, int, int]]) -> Statement:
    """One statement for many rows: a lookup by primary key for each."""
    return (
        "UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$[0]',"
        " seq BIGINT UNSIGNED PATH '$[1]', previous BIGINT UNSIGNED PATH '$[2]')) numbers"
        # By primary key even when there are few rows: a scan would wait for uncommitted ones.
        " STRAIGHT_JOIN mynamo_outbox o FORCE INDEX (PRIMARY) ON o.id = numbers.id"
        " SET o.seq = numbers.seq, o.previous = numbers.previous",
        (orjson.dumps(numbers).decode(),),
    )
