"""What the relay publishes, and whether it keeps its promises."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from kafka import TopicPartition

from mynamo.log import open_consumer
from mynamo.log.clients import Message
from mynamo.log.publisher import Publisher
from mynamo.schemas.config import KafkaConfig
from mynamo.schemas.events import ChangeEvent, load_event


class Recorder(Publisher):
    """A publisher that keeps the events instead of sending them."""

    def __init__(self) -> None:
        super().__init__(KafkaConfig())
        self.events: list[ChangeEvent] = []
        self._recording = threading.Lock()

    def send(
        self,
        messages: Sequence[Message],
        while_waiting: Callable[[], None] = lambda: None,
        timeout: float | None = None,
    ) -> None:
        """Keep them."""
        with self._recording:
            self.events += [load_event(message[3]) for message in messages]


def changes_topic(config: KafkaConfig, seconds: float = 20.0) -> list[ChangeEvent]:
    """Everything in the topic, partition by partition."""
    consumer = open_consumer(config, None)
    try:
        partitions = [TopicPartition(config.changes_topic, p) for p in range(config.partitions)]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        found: dict[int, list[ChangeEvent]] = defaultdict(list)
        deadline = time.monotonic() + seconds
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            assert time.monotonic() < deadline, f"the topic was not read within {seconds} s"
            for partition, records in consumer.poll(timeout_ms=200).items():
                found[partition.partition] += [load_event(record.value) for record in records]
        return [event for partition in sorted(found) for event in found[partition]]
    finally:
        consumer.close()


def broken_promises(events: Iterable[ChangeEvent], complete: bool = True) -> list[str]:
    """What is wrong with events in the order in which a consumer gets them.

    Args:
        complete: every event since the tables were made must be there.
    """
    events = list(events)
    return [
        *_confused(events),
        *(_holes(events) if complete else []),
        *_out_of_order(events),
        *_unchained(events),
        *_item_histories(events),
    ]


def _confused(events: Sequence[ChangeEvent]) -> list[str]:
    """Events that come again must be the same in every respect."""
    found = []
    by_id: dict[str, ChangeEvent] = {}
    by_number: dict[tuple[int, int], str] = {}
    for event in events:
        if by_id.setdefault(event.event_id, event) != event:
            found.append(f"event {event.event_id} came in two versions")
        number = (event.shard, event.sequence)
        if by_number.setdefault(number, event.event_id) != event.event_id:
            found.append(f"{number} is both {by_number[number]} and {event.event_id}")
    return found


def _holes(events: Sequence[ChangeEvent]) -> list[str]:
    """Numbers are dense per shard."""
    found = []
    for shard in {event.shard for event in events}:
        numbers = sorted({event.sequence for event in events if event.shard == shard})
        if numbers != list(range(1, len(numbers) + 1)):
            found.append(f"shard {shard}: {len(numbers)} numbers up to {numbers[-1]}")
    return found


def first_time(events: Iterable[ChangeEvent]) -> list[ChangeEvent]:
    """What is left for a consumer that drops, per stream, what it has seen."""
    seen: dict[tuple[int, int], int] = {}
    left = []
    for event in events:
        stream = (event.shard, event.partition)
        if event.sequence > seen.get(stream, 0):
            seen[stream] = event.sequence
            left.append(event)
    return left


def _out_of_order(events: Sequence[ChangeEvent]) -> list[str]:
    """A consumer that drops what it has seen must have dropped no event for good."""
    kept = {event.event_id for event in first_time(events)}
    return [f"{e.event_id} came after a later one" for e in events if e.event_id not in kept]


def _unchained(events: Sequence[ChangeEvent]) -> list[str]:
    """`previous` names the event before it in the stream that feeds an index."""
    found = []
    last: dict[tuple[int, int], int] = {}
    for event in first_time(events):
        stream = (event.shard, event.partition)
        if event.previous != last.get(stream, 0):
            found.append(f"{event.event_id}: previous {event.previous}, not {last.get(stream, 0)}")
        if event.feeds:
            last[stream] = event.sequence
    return found


def _item_histories(events: Sequence[ChangeEvent]) -> list[str]:
    """Each change of an item begins where the one before ended."""
    found = []
    now: dict[str, object] = {}
    for event in first_time(events):
        item = f"{event.table_id} {event.keys}"
        if event.origin == "write" and event.old_image != now.get(item):
            found.append(f"{event.event_id} does not follow the change before of {item}")
        now[item] = event.new_image
    return found
