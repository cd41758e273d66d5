"""`WriteQueue`: applies the writes that wait in Kafka, each exactly once in effect."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from mynamo.errors import (
    ConditionFailed,
    CorruptData,
    InvalidItem,
    MynamoError,
    NotFound,
    Unavailable,
)
from mynamo.log import ensure_topics, kafka_errors, open_consumer
from mynamo.log.dead_letters import send_letters
from mynamo.log.publisher import Publisher
from mynamo.schemas.commands import load_command
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.shards.cluster import Cluster
from mynamo.writer.apply import apply
from mynamo.writer.commands import check_age
from mynamo.writer.requests import WriteRequest, command_request
from mynamo.writer.transaction import Outcome, Refused

log = logging.getLogger(__name__)

BATCH_WRITES = 100
BATCH_BYTES = 2 * 1024 * 1024
"""Of messages in one call of `apply`, unless one alone is larger."""

_COMMIT_MS = 10_000
_CLOSE_MS = 3_000
_REFUSALS = (ConditionFailed, InvalidItem, NotFound, CorruptData)
"""Failures that are the command's own; any other one is the servers' or the configuration's."""

Place = tuple[Any, WriteRequest]
"""A Kafka record and the request in it."""


class WriteQueue:
    """One member of the writers' consumer group. Use by one thread.

    A command's id is recorded in the transaction that applies it. So nothing here needs
    to know who else may be applying the same command: a worker that was replaced while it
    was frozen, whose wake-up brings old commands once more, changes nothing. Nor does it
    disturb the order of an item's commands: whoever applies one has applied, or found
    applied, all before it.

    Args:
        cluster: where the writes go.
        publisher: for dead letters.
    """

    def __init__(self, cluster: Cluster, publisher: Publisher) -> None:
        self._cluster = cluster
        self._config = cluster.config.kafka
        self._publisher = publisher
        self._consumer: Any = None
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
        consumer = self._open()
        # 1. Read. A crash up to step 4: they are read again, by whoever takes over.
        with kafka_errors(self._config):
            polled = consumer.poll(timeout_ms=round(wait * 1000), max_records=BATCH_WRITES)
        records = [record for batch in polled.values() for record in batch]
        if not records:
            return 0
        try:
            places, letters = read(records)
            # 2. Apply. A crash from here on: when read again, what was applied changes
            #    nothing, and what was refused is refused again.
            letters += self._apply_all(places)
            # 3. Put aside what cannot be applied. A crash after it: the same letter again,
            #    with the same id.
            if letters:
                unique = {letter.letter_id: letter for letter in letters}
                send_letters(self._publisher, unique.values())
        except Unavailable:
            self._put_back(polled)
            raise
        # 4. Say that this is done.
        self._commit(polled)
        return len(records)

    def close(self) -> None:
        """Leave the group."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError, OSError):
                consumer.close(timeout_ms=_CLOSE_MS)

    def _open(self) -> Any:
        if self._consumer is None:
            ensure_topics(self._config)
            self._consumer = open_consumer(self._config, self._config.writer_group)
            self._consumer.subscribe([self._config.writes_topic])
        return self._consumer

    def _apply_all(self, places: Sequence[Place]) -> list[DeadLetter]:
        letters, start = [], 0
        while start < len(places):
            part = self._next_part(places, start)
            try:
                outcomes = self._apply([request for _, request in part])
            except Unavailable:
                # It may have been too much at once, with small commands and large items.
                self._limit = max(1, self._limit // 4)
                raise
            self._limit = min(BATCH_WRITES, self._limit * 2)
            for (record, _), outcome in zip(part, outcomes, strict=True):
                if isinstance(outcome, Refused):
                    letters.append(letter(record, outcome.error))
            start += len(part)
        return letters

    def _next_part(self, places: Sequence[Place], start: int) -> Sequence[Place]:
        size = end = 0
        for end in range(start, min(len(places), start + self._limit)):
            size += len(places[end][0].value)
            if size > BATCH_BYTES and end > start:
                return places[start:end]
        return places[start : end + 1]

    def _apply(self, requests: Sequence[WriteRequest]) -> list[Outcome]:
        """Apply requests; when one of them makes the whole fail, each by itself."""
        try:
            outcomes = [outcome for _, outcome in apply(self._cluster, requests)]
        except _REFUSALS as error:
            if len(requests) == 1:
                return [Refused(error)]
            return [self._apply([request])[0] for request in requests]
        for outcome in outcomes:
            if isinstance(outcome, Refused) and not isinstance(outcome.error, _REFUSALS):
                raise outcome.error
        return outcomes

    def _put_back(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """Read the same again at the next poll; polling keeps the place in the group."""
        for partition, records in polled.items():
            with suppress(ValueError):  # no longer ours: its new owner reads them
                self._consumer.seek(partition, records[0].offset)

    def _commit(self, polled: Mapping[TopicPartition, Sequence[Any]]) -> None:
        offsets = {
            partition: OffsetAndMetadata(records[-1].offset + 1, "", -1)
            for partition, records in polled.items()
        }
        try:
            self._consumer.commit(offsets, timeout_ms=_COMMIT_MS)
        except KafkaError as error:  # the partitions moved on: their new owner repeats this
            log.info("offsets of queued writes were not committed: %s", error)


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
        except (CorruptData, InvalidItem) as flaw:
            letters.append(letter(record, flaw, command_id))
    return places, letters


def letter(record: Any, error: MynamoError, command_id: str | None = None) -> DeadLetter:
    """The dead letter for a queued write, by its command's id if it has one."""
    if command_id is None:
        with suppress(CorruptData):
            command_id = str(load_command(record.value or b"").command_id)
    log.warning(
        "a queued write at %s/%d/%d was put aside: %s",
        record.topic, record.partition, record.offset, error,
    )  # fmt: skip
    return DeadLetter(
        letter_id=command_id or f"{record.topic}/{record.partition}/{record.offset}",
        kind="command",
        reason=str(error),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        value=base64.b64encode(record.value or b"").decode(),
    )
