"""From Kafka's messages to arrivals with a place in their stream, and to dead letters."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mynamo.errors import CorruptData
from mynamo.gsi_indexer.streams import Arrival, Stream
from mynamo.log.dead_letters import letter_of
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.schemas.events import ChangeEvent, load_event
from mynamo.shards.cluster import Cluster
from mynamo.shards.shard import retry

_LARGEST = 2**63 - 1

PATIENCE = 3.0
"""Seconds for which one step tries again before the whole batch is put off."""


def read(cluster: Cluster, records: Collection[Any]) -> tuple[list[Arrival], list[DeadLetter]]:
    """Find each message's place in its stream.

    Args:
        records: as the consumer gave them, in the order of their partition.

    Returns:
        The arrivals, in the same order; and letters for messages that have no place.

    Raises:
        ShardUnavailable: a message that is damaged has to be looked up.
    """
    arrivals = []
    letters = []
    for record in records:
        try:
            arrivals.append(_arrival(cluster, record, load_event(record.value or b"")))
        except CorruptData as flaw:
            place = _find_place(cluster, record, str(flaw))
            if place is not None:
                arrivals.append(place)
            else:
                letters.append(letter(record, str(flaw)))
    return arrivals, letters


def letter(record: Any, reason: str, event_id: str | None = None) -> DeadLetter:
    """The dead letter for a message."""
    return letter_of(record, "event", reason, event_id)


def _arrival(cluster: Cluster, record: Any, event: ChangeEvent) -> Arrival:
    if event.shard not in cluster.shards:
        raise CorruptData(f"it is of shard {event.shard}, which this cluster does not have")
    if event.partition != record.partition:
        raise CorruptData(f"it belongs to partition {event.partition}")
    if max(event.sequence, event.version) > _LARGEST:
        raise CorruptData("its sequence or version is out of range")
    return Arrival(
        stream=Stream(event.shard, event.partition),
        sequence=event.sequence,
        previous=event.previous,
        feeds=event.feeds,
        event=event,
        record=record,
    )


def _find_place(cluster: Cluster, record: Any, flaw: str) -> Arrival | None:
    """Ask the outbox for the place of a message of which only the headers can be read.

    Its row is there as long as an index waits for the event. Only what it says can move
    the stream past the message without hiding that other events were lost.
    """
    headers = dict(record.headers)
    try:
        shard = cluster.shards[int(headers["shard"])]
        sequence = int(headers["sequence"])
    except (KeyError, ValueError, TypeError):
        return None

    def once() -> tuple[tuple[Any, ...], ...]:
        with shard.session() as session:
            return session.run(
                ("SELECT previous, feeds FROM mynamo_outbox WHERE seq = %s AND part = %s",
                 (sequence, record.partition)),
            )[0].rows  # fmt: skip

    rows = retry(once, PATIENCE)
    if not rows:
        return None
    previous, feeds = rows[0]
    stream = Stream(shard.id, record.partition)
    return Arrival(stream, sequence, previous, bool(feeds), None, flaw, record)
