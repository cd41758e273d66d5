"""`WriteQueue`: applies the writes that wait in Kafka, each exactly once in effect."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from mynamo.catalog.away_shards import AwayShards
from mynamo.catalog.cluster import Cluster
from mynamo.errors import (
    ConditionFailed,
    CorruptData,
    InternalError,
    InvalidExpression,
    InvalidItem,
    LogUnavailable,
    MynamoError,
    NotFound,
    TableNotReady,
    TransactionConflict,
    Unavailable,
)
from mynamo.log import (
    Patience,
    Reading,
    Stalled,
    ensure_topics,
    identity,
    kafka_errors,
    open_consumer,
    subscribe,
)
from mynamo.log.dead_letter_topic import dead_letter_of, send_dead_letters
from mynamo.log.kafka_types import (
    ConsumerRebalanceListener,
    KafkaError,
    OffsetAndMetadata,
    TopicPartition,
)
from mynamo.log.message_spans import process_span
from mynamo.log.publisher import Publisher
from mynamo.runtime.counters import counters
from mynamo.runtime.crash_points import crash_point
from mynamo.runtime.tracing import Span, ended, together
from mynamo.schemas.commands import load_command
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.writer.queue.commands_topic import check_age, command_request
from mynamo.writer.queue.refusals import record_refusals
from mynamo.writer.transaction.evaluation import Outcome, Refused, unforeseen
from mynamo.writer.transaction.routing import apply_each
from mynamo.writer.transaction.write_requests import WriteRequest

log = logging.getLogger(__name__)

BATCH_WRITES = 100
BATCH_BYTES = 2 * 1024 * 1024
"""Of messages in one call of `apply`, unless one alone is larger."""

_FETCH_MS = 500
_COMMIT_MS = 10_000
_CLOSE_MS = 3_000
_REFUSALS = (
    ConditionFailed, InvalidItem, InvalidExpression, NotFound, CorruptData, InternalError,
)  # fmt: skip
"""Failures that are the command's own; any other one is the servers' or the configuration's."""

Received = tuple[Any, WriteRequest]
"""A Kafka record and the request in it."""

Held = dict[TopicPartition, tuple[int, int]]
"""Per partition that waits, the offset of its next command, and the shard that is away; 0: it waits
for a transaction that has the item."""
_CONFLICT_PAUSE = 0.5
"""Seconds until a command is tried again that has waited for a transaction in vain."""

Origins = dict[TopicPartition, str]
"""Per partition, the id of the topic that the consumer's offset in it is of."""


class WriteQueue:
    """One member of the writers' consumer group. Use by one thread.

    A command's id is recorded in the transaction that applies it, so other workers may apply
    the same command at the same time. A worker that was frozen, was replaced and wakes up again
    applies old commands a second time, which changes nothing. The order of an item's commands
    stays right, too: a worker that applies a command has applied all before it, or has found
    them applied.

    After a broker has lost everything, or a user has deleted the topic, there is another topic
    of the same name. The old topic's offsets would skip commands in it. So each offset is
    committed with its topic's id, and a new topic is read from its beginning.

    A command for a shard that is away holds up its partition, and so all that follow it on the
    same item, but no other partition. Reading goes on and passes over what waits; when the shard
    is back, the partition is read again from its first command that waits. Nothing at or behind
    that one is committed, so after a crash it comes again. Commands of the same batch that follow
    it and were applied on other shards are recognised by their ids. A command whose item a
    transaction over several shards has for long holds up its partition in the same way.

    Args:
        cluster: where the writes go.
        publisher: for dead letters.
    """

    def __init__(self, cluster: Cluster, publisher: Publisher) -> None:
        self._cluster = cluster
        self._config = cluster.config.kafka
        self._publisher = publisher
        self._consumer: Any = None
        self._reading: Reading | None = None
        self._patience = Patience()
        self._origins = _Origins()
        self._limit = BATCH_WRITES
        self._away = AwayShards(cluster, "queue of writes")
        self._held: Held = {}
        self._uncommitted: dict[Any, Any] = {}  # offsets that Kafka may not have
        self._uncommitted_of: Origins = {}  # as the partitions were assigned then
        self._conflicts_until = 0.0  # monotonic

    def step(self, wait: float = 0.5) -> int:
        """Apply the next writes, if there are any.

        Args:
            wait: seconds to wait for the first of them.

        Returns:
            How many messages it is done with.

        Raises:
            Unavailable: nothing is lost; call again.
        """
        self._resume()
        # 1. Read. A crash here: the next owner of the partitions reads them again.
        polled = self._poll(wait)
        origins = self._origins.known
        moved = self._seek_committed(origins, polled)
        kept = [batch for partition, batch in polled.items() if partition not in moved]
        self._held = {place: held for place, held in self._held.items() if place not in moved}
        records = not_held([record for batch in kept for record in batch], self._held)
        if records:
            crash_point("queue.1")
        done = 0
        finished: list[Any] = []
        try:
            while done < len(records):
                part = records[done : self._end(records, done)]
                ready = not_held(part, self._held)
                held = self._finish(ready) if ready else {}
                self._held |= held
                finished += not_held(ready, held)
                done += len(part)
                most = min(BATCH_WRITES, self._limit + 1)
                self._limit = max(1, len(part) // 4) if held else most
        except Unavailable:
            # The batch may have been too large, as small commands may change large items.
            self._limit = max(1, len(part) // 4)
            self._put_back(records[done:])
            raise
        finally:
            # 4. Commit the offsets. A crash before that: as in 2 and 3.
            self._commit(finished, origins)
        if finished:
            counters.add("queued_writes_done", len(finished))
            crash_point("queue.4")
        return len(finished)

    def close(self) -> None:
        """Leave the group."""
        consumer, self._consumer, self._reading = self._consumer, None, None
        if consumer is not None:
            with suppress(KafkaError, OSError):
                consumer.close(timeout_ms=_CLOSE_MS)

    def _open(self) -> Reading:
        if self._reading is None:
            ensure_topics(self._config)
            group, options = self._config.writer_group, self._patience.options()
            consumer = open_consumer(self._config, group, **options)
            topic = self._config.writes_topic
            subscribe(consumer, self._config, topic, listener=self._origins)
            self._consumer = consumer
            self._reading = Reading(consumer, self._patience, wait_ms=_FETCH_MS, full=BATCH_WRITES)
        return self._reading

    def _poll(self, wait: float) -> dict[Any, list[Any]]:
        reading = self._open()
        try:
            with kafka_errors(self._config):
                return reading.poll(round(wait * 1000), BATCH_WRITES)
        except Stalled as stall:
            self._patience = stall.patience
            self.close()
            raise LogUnavailable(f"another consumer takes over: {stall}") from None

    def _seek_committed(self, origins: Origins, polled: Mapping[Any, Sequence[Any]]) -> set[Any]:
        """Seek to the offsets that were committed for this very topic: in partitions that were
        just assigned, and in all partitions if the topic is a new one.

        There the consumer's own offsets may be those of the earlier topic.

        Returns:
            The partitions; what was polled of them comes again.
        """
        topic = identity(self._consumer, self._config.writes_topic)
        moved = {
            partition
            for partition in self._consumer.assignment()
            if partition not in origins or (topic and origins[partition] != topic)
        }
        try:
            with kafka_errors(self._config):
                for partition in moved:
                    self._go_to_committed(partition, topic)
                    origins[partition] = topic
        except Unavailable:
            rest = [batch for partition, batch in polled.items() if partition not in moved]
            self._put_back([record for batch in rest for record in batch])
            raise
        return moved

    def _go_to_committed(self, partition: TopicPartition, topic: str) -> None:
        found = self._consumer.committed(partition, metadata=True, timeout_ms=_COMMIT_MS)
        with suppress(ValueError):  # no longer ours: its new owner does this
            if found and found.metadata == topic:
                self._consumer.seek(partition, found.offset)
                return
            if found:
                log.warning(
                    "%s is another topic than before: partition %d is read from its beginning",
                    partition.topic, partition.partition,
                )  # fmt: skip
            self._consumer.seek_to_beginning(partition)

    def _end(self, records: Sequence[Any], start: int) -> int:
        """Where the part ends that begins at `start` and is applied at once."""
        size = 0
        for end in range(start, min(len(records), start + self._limit)):
            size += len(records[end].value or b"")
            if size > BATCH_BYTES and end > start:
                return end
        return min(len(records), start + self._limit)

    def _resume(self) -> None:
        """Read again what waited for shards that are back."""
        back = self._away.back()
        if time.monotonic() >= self._conflicts_until:
            back.add(0)
        for place in [place for place, (_, shard_id) in self._held.items() if shard_id in back]:
            offset, _ = self._held.pop(place)
            with suppress(ValueError):  # no longer ours: its new owner reads it
                self._consumer.seek(place, offset)

    def _finish(self, records: Sequence[Any]) -> Held:
        """Steps 2 and 3; returns the partitions in which a command waits from now on."""
        received, dead_letters = read(records)
        held = self._known_to_wait(received)
        tried = [one for one in received if not_held(one[:1], held)]
        # 2. Apply. A crash from here on: when read again, what was applied changes nothing,
        #    and what was refused is refused again.
        answers = self._apply_traced(tried)
        crash_point("queue.2")
        for (record, _), (shard_id, outcome) in zip(tried, answers, strict=True):
            if not isinstance(outcome, Refused):
                continue
            if outcome.whole:
                self._away.note(shard_id, outcome.error)
                _hold(held, record, shard_id)
            elif isinstance(outcome.error, TransactionConflict):
                self._conflicts_until = time.monotonic() + _CONFLICT_PAUSE
                _hold(held, record, 0)
        if held:
            _, dead_letters = read(not_held(records, held))
        unrecorded = list(dead_letters)
        for (record, request), (shard_id, outcome) in zip(tried, answers, strict=True):
            if isinstance(outcome, Refused) and not_held([record], held):
                dead_letters.append(dead_letter(record, outcome.error, _id_of(request)))
                if not shard_id or isinstance(outcome.error, CorruptData | InternalError):
                    unrecorded.append(dead_letters[-1])
        done = self._record(unrecorded)
        # 3. Send dead letters for what cannot be applied. A crash after it: the same dead letter
        #    again, with the same id.
        unique = {one.letter_id: one for one in dead_letters if one.letter_id not in done}
        if unique:
            send_dead_letters(self._publisher, list(unique.values()))
            crash_point("queue.3")
        return held

    def _known_to_wait(self, received: Sequence[Received]) -> Held:
        """The partitions whose next command is for a shard that is known to be away."""
        held: Held = {}
        if self._away.ids:
            for record, request in received:
                shard_id = shard_of(self._cluster, request)
                if shard_id in self._away.ids:
                    held.setdefault(_place(record), (record.offset, shard_id))
        return held

    def _record(self, dead_letters: Sequence[DeadLetter]) -> set[str]:
        """Let the shards remember refusals that none of them has in its own transaction.

        Otherwise such a command could come again later, when its table exists or the clock is
        right, and take effect although it has a dead letter.

        Returns:
            The ids of dead letters whose command has been applied in the meantime.
        """
        ids = {command_id: one for one in dead_letters if (command_id := one.command_id)}
        if not ids:
            return set()
        reasons = {command_id: one.reason for command_id, one in ids.items()}
        return {ids[i].letter_id for i in record_refusals(self._cluster, reasons)}

    def _apply_traced(self, tried: Sequence[Received]) -> list[tuple[int, Outcome]]:
        """`_apply`, within the spans of the commands: P5 of `docs/design/tracing.md`."""
        requests = [request for _, request in tried]
        spans = self._spans(tried)
        if not spans:
            return self._apply(requests)
        with ended(spans), together(spans, "apply batch", {"mynamo.batch.commands": len(tried)}):
            return self._apply(requests)

    def _spans(self, tried: Sequence[Received]) -> list[Span]:
        """One for each command that is traced; its event goes on from there."""
        tracer = self._cluster.tracer
        if tracer is None:
            return []
        spans = []
        for record, request in tried:
            span = process_span(tracer, record, self._config.writer_group, len(tried))
            if span is not None:
                request.traceparent = span.traceparent
                spans.append(span)
        return spans

    def _apply(self, requests: Sequence[WriteRequest]) -> list[tuple[int, Outcome]]:
        """Apply; what waits for a shard is `Refused` as a whole.

        Raises:
            Unavailable: the catalog does not answer, or a table is being created.
            MynamoError: a failure that is neither a command's nor a shard's.
        """
        answers = apply_each(self._cluster, requests)
        for shard_id, outcome in answers:
            if not isinstance(outcome, Refused):
                continue
            if isinstance(outcome.error, TableNotReady):  # it waits, as for a server
                raise Unavailable(str(outcome.error))
            if isinstance(outcome.error, (*_REFUSALS, TransactionConflict)):
                continue
            if not (outcome.whole and shard_id and isinstance(outcome.error, Unavailable)):
                raise outcome.error
        return answers

    def _put_back(self, records: Sequence[Any]) -> None:
        """Read them again at the next poll; polling keeps the membership in the group."""
        for record in reversed(records):
            with suppress(ValueError):  # no longer ours: its new owner reads it
                self._consumer.seek(TopicPartition(record.topic, record.partition), record.offset)

    def _commit(self, records: Sequence[Any], origins: Origins) -> None:
        offsets = {
            partition: OffsetAndMetadata(record.offset + 1, origins[partition], -1)
            for record in records
            if (partition := TopicPartition(record.topic, record.partition)) in origins
        }
        if self._uncommitted_of is origins:
            offsets = self._uncommitted | offsets
        self._uncommitted, self._uncommitted_of = {}, origins
        if not offsets:
            return
        try:
            self._consumer.commit(offsets, timeout_ms=_COMMIT_MS)
        except KafkaError as error:  # of partitions that moved on, their new owner repeats this
            log.info("offsets of queued writes were not committed: %s", error)
            self._uncommitted = offsets


class _Origins(ConsumerRebalanceListener):  # type: ignore[misc]
    """Per partition, the topic of the consumer's offset. A rebalance clears it, as another member
    may have committed in the meantime."""

    def __init__(self) -> None:
        self.known: Origins = {}

    def on_partitions_revoked(self, revoked: Any) -> None:
        self.known = {}

    def on_partitions_assigned(self, assigned: Any) -> None:
        self.known = {}


def read(records: Sequence[Any]) -> tuple[list[Received], list[DeadLetter]]:
    """Turn Kafka records into requests; those that cannot be read become dead letters.

    Raises:
        NewerFormat: one is of a later format. It is left to a writer that knows it.
    """
    received, dead_letters = [], []
    for record in records:
        command_id = None
        try:
            command = load_command(record.value or b"")
            command_id = str(command.command_id)
            check_age(command)
            received.append((record, command_request(command)))
        except (CorruptData, InvalidItem, InvalidExpression) as flaw:
            dead_letters.append(dead_letter(record, flaw, command_id))
        except MynamoError:
            raise
        except Exception as error:  # to try again for ever would hold up all behind it
            failure = unforeseen("reading a queued write", error)
            dead_letters.append(dead_letter(record, failure, command_id))
    return received, dead_letters


def _place(record: Any) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _hold(held: Held, record: Any, shard_id: int) -> None:
    """Let a record's partition wait from it on, unless it waits from an earlier one on already."""
    place = _place(record)
    if place not in held or record.offset < held[place][0]:
        held[place] = (record.offset, shard_id)


def not_held(records: Sequence[Any], held: Held) -> list[Any]:
    """The records that are not behind one that waits in their partition."""
    if not held:
        return list(records)
    return [r for r in records if (p := _place(r)) not in held or r.offset < held[p][0]]


def shard_of(cluster: Cluster, request: WriteRequest) -> int | None:
    """The shard that a request is for, as far as this process knows."""
    table = cluster.snapshot.names.get(request.table)
    if table is None:
        return None
    try:
        return cluster.shard_id_of(table.key_of(request.item).hash)
    except MynamoError:  # it will be refused
        return None


def _id_of(request: WriteRequest) -> str | None:
    return str(UUID(bytes=request.command_id)) if request.command_id else None


def dead_letter(record: Any, error: MynamoError, command_id: str | None) -> DeadLetter:
    """The dead letter for a queued write, by its command's id if it has one."""
    log.warning(
        "a queued write at %s/%d/%d is now a dead letter: %s",
        record.topic, record.partition, record.offset, error,
    )  # fmt: skip
    return dead_letter_of(record, "command", str(error), command_id)
