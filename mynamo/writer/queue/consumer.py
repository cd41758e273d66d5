"""`WriteQueue`: applies the writes that wait in Kafka, each exactly once in effect."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

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
from mynamo.log.dead_letter_topic import letter_of, send_letters
from mynamo.log.publisher import Publisher
from mynamo.runtime.crash_points import crash_point
from mynamo.schemas.commands import load_command
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.writer.queue.commands_topic import check_age, command_request
from mynamo.writer.queue.refusals import record_refusals
from mynamo.writer.transaction.evaluation import Outcome, Refused, unforeseen
from mynamo.writer.transaction.routing import apply
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

Place = tuple[Any, WriteRequest]
"""A Kafka record and the request in it."""

Origins = dict[TopicPartition, str]
"""Per partition, the id of the topic that the consumer's offset in it is of."""


class WriteQueue:
    """One member of the writers' consumer group. Use by one thread.

    A command's id is recorded in the transaction that applies it. So nothing here needs
    to know who else may be applying the same command: a worker that was replaced while it
    was frozen, whose wake-up brings old commands once more, changes nothing. Nor does it
    disturb the order of an item's commands: whoever applies one has applied, or found
    applied, all before it.

    Brokers that lost everything, or a user who deletes the topic, leave another topic of the
    same name, in which the old one's offsets would leave commands out. So each offset is
    committed with its topic's id, and a topic that is another one is read from its beginning.

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

    def step(self, wait: float = 0.5) -> int:
        """Apply the next writes, if there are any.

        Args:
            wait: seconds to wait for the first of them.

        Returns:
            How many messages it is done with.

        Raises:
            Unavailable: nothing is lost; call again.
        """
        # 1. Read. A crash here: they are read again, by whoever takes over.
        polled = self._poll(wait)
        origins = self._origins.known
        moved = self._place_anew(origins, polled)
        records = [one for place, batch in polled.items() if place not in moved for one in batch]
        if records:
            crash_point("queue.1")
        done = 0
        try:
            while done < len(records):
                part = records[done : self._end(records, done)]
                self._finish(part)
                done += len(part)
                self._limit = min(BATCH_WRITES, self._limit + 1)
        except Unavailable:
            # It may have been too much at once, as small commands may change large items.
            self._limit = max(1, len(part) // 4)
            self._put_back(records[done:])
            raise
        finally:
            # 4. Say how far it came. A crash before that: as in 2 and 3.
            self._commit(records[:done], origins)
        if done:
            crash_point("queue.4")
        return done

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

    def _place_anew(self, origins: Origins, polled: Mapping[Any, Sequence[Any]]) -> set[Any]:
        """Go to the place that this topic's own commits name: in partitions that were just
        assigned, and in all of them once the topic is another one than offsets are of.

        The consumer's own idea of where it is cannot be trusted in either: it may be from
        the other topic.

        Returns:
            The partitions; what was polled of them comes again.
        """
        topic = identity(self._consumer, self._config.writes_topic)
        moved = {
            place
            for place in self._consumer.assignment()
            if place not in origins or (topic and origins[place] != topic)
        }
        try:
            with kafka_errors(self._config):
                for place in moved:
                    self._go_to_committed(place, topic)
                    origins[place] = topic
        except Unavailable:
            rest = [batch for place, batch in polled.items() if place not in moved]
            self._put_back([record for batch in rest for record in batch])
            raise
        return moved

    def _go_to_committed(self, place: TopicPartition, topic: str) -> None:
        found = self._consumer.committed(place, metadata=True, timeout_ms=_COMMIT_MS)
        with suppress(ValueError):  # no longer ours: its new owner does this
            if found and found.metadata == topic:
                self._consumer.seek(place, found.offset)
                return
            if found:
                log.warning(
                    "%s is another topic than before: partition %d is read from its beginning",
                    place.topic, place.partition,
                )  # fmt: skip
            self._consumer.seek_to_beginning(place)

    def _end(self, records: Sequence[Any], start: int) -> int:
        """Where the part ends that begins at `start` and is applied at once."""
        size = 0
        for end in range(start, min(len(records), start + self._limit)):
            size += len(records[end].value or b"")
            if size > BATCH_BYTES and end > start:
                return end
        return min(len(records), start + self._limit)

    def _finish(self, records: Sequence[Any]) -> None:
        places, letters = read(records)
        unrecorded = list(letters)
        # 2. Apply. A crash from here on: when read again, what was applied changes nothing,
        #    and what was refused is refused again.
        answers = self._apply([request for _, request in places])
        crash_point("queue.2")
        for (record, request), (shard_id, outcome) in zip(places, answers, strict=True):
            if isinstance(outcome, Refused):
                letters.append(letter(record, outcome.error, _id_of(request)))
                if not shard_id or isinstance(outcome.error, CorruptData | InternalError):
                    unrecorded.append(letters[-1])
        done = self._record(unrecorded)
        # 3. Put aside what cannot be applied. A crash after it: the same letter again, with
        #    the same id.
        unique = {letter.letter_id: letter for letter in letters if letter.letter_id not in done}
        if unique:
            send_letters(self._publisher, list(unique.values()))
            crash_point("queue.3")

    def _record(self, letters: Sequence[DeadLetter]) -> set[str]:
        """Let the shards remember refusals that none of them has in its own transaction.

        Otherwise such a command could come again, find its table made or its clock caught
        up, and take effect beside its letter.

        Returns:
            The ids of letters whose command has been applied in the meantime.
        """
        ids = {command_id: one for one in letters if (command_id := one.command_id)}
        if not ids:
            return set()
        reasons = {command_id: one.reason for command_id, one in ids.items()}
        return {ids[i].letter_id for i in record_refusals(self._cluster, reasons)}

    def _apply(self, requests: Sequence[WriteRequest]) -> list[tuple[int, Outcome]]:
        answers = apply(self._cluster, requests)
        for _, outcome in answers:
            if isinstance(outcome, Refused) and not isinstance(outcome.error, _REFUSALS):
                raise outcome.error
        return answers

    def _put_back(self, records: Sequence[Any]) -> None:
        """Read them again at the next poll; polling keeps the place in the group."""
        for record in reversed(records):
            with suppress(ValueError):  # no longer ours: its new owner reads it
                self._consumer.seek(TopicPartition(record.topic, record.partition), record.offset)

    def _commit(self, records: Sequence[Any], origins: Origins) -> None:
        offsets = {
            place: OffsetAndMetadata(record.offset + 1, origins[place], -1)
            for record in records
            if (place := TopicPartition(record.topic, record.partition)) in origins
        }
        if not offsets:
            return
        try:
            self._consumer.commit(offsets, timeout_ms=_COMMIT_MS)
        except KafkaError as error:  # the partitions moved on: their new owner repeats this
            log.info("offsets of queued writes were not committed: %s", error)


class _Origins(ConsumerRebalanceListener):  # type: ignore[misc]
    """What is known of offsets' topics since the last rebalance. Another member may have
    committed since."""

    def __init__(self) -> None:
        self.known: Origins = {}

    def on_partitions_revoked(self, revoked: Any) -> None:
        self.known = {}

    def on_partitions_assigned(self, assigned: Any) -> None:
        self.known = {}


def read(records: Sequence[Any]) -> tuple[list[Place], list[DeadLetter]]:
    """Turn Kafka records into requests, and into letters where that cannot be."""
    places, letters = [], []
    for record in records:
        command_id = None
        try:
            command = load_command(record.value or b"")
            command_id = str(command.command_id)
            check_age(command)
            places.append((record, command_request(command)))
        except (CorruptData, InvalidItem, InvalidExpression) as flaw:
            letters.append(letter(record, flaw, command_id))
        except MynamoError:
            raise
        except Exception as error:  # to try again for ever would hold up all behind it
            failure = unforeseen("reading a queued write", error)
            letters.append(letter(record, failure, command_id))
    return places, letters


def _id_of(request: WriteRequest) -> str | None:
    return str(UUID(bytes=request.command_id)) if request.command_id else None


def letter(record: Any, error: MynamoError, command_id: str | None) -> DeadLetter:
    """The dead letter for a queued write, by its command's id if it has one."""
    log.warning(
        "a queued write at %s/%d/%d was put aside: %s",
        record.topic, record.partition, record.offset, error,
    )  # fmt: skip
    return letter_of(record, "command", str(error), command_id)
