"""`Consumer`: the changes of tables from Kafka, each once.

    from mynamo.events import Consumer

    with Consumer(tables=["orders"], group="search") as consumer:
        for change in consumer:
            print(change.event, change.keys, change.new)
            consumer.commit()

Every table has them, also one without a stream. A relay that died may have sent an event twice;
the consumer leaves out what it has had, by the numbers that each shard gives its events. Of one
that starts again while a shard begins a new incarnation (failover, restore) this is not promised:
the item's version tells then. What Kafka has lost, a consumer misses; a table's stream
(`mynamo.reader.streams`) does not need Kafka.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import orjson
from pydantic import TypeAdapter, ValidationError

from mynamo.errors import InvalidRequest, LogUnavailable, MynamoError
from mynamo.log import is_joining, kafka_errors, open_consumer, subscribe
from mynamo.log.kafka_types import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.events import ChangeEvent, load_event
from mynamo.schemas.item_changes import Change

Positions = dict[str, dict[str, Any]]
"""By partition of the topic: `offset`, of the next message, and `shards`, the number of the last
event of each shard. It can be written as JSON."""

_POLL_MS = 500
_ANSWER_MS = 10_000
_NUMBERS = TypeAdapter(dict[str, int])
_MOST_RECENT = 20_000
"""Events whose ids are kept in memory. A shard's new incarnation gives new numbers to events that
indexes had not applied by then, and sends them again."""


class Consumer:
    """Reads the changes of tables. For one thread.

    Args:
        config: of the cluster, or the path of its file; None: as `mynamo.connect` finds it.
        tables: names; None: all tables.
        group: of consumers, which share the partitions and keep their positions in Kafka
            (`commit`). None: this one reads all partitions, and its caller keeps `positions`.
        start: positions to go on from, of a consumer without a group; "latest": with what is
            written from now on. A group goes on where it has committed.

    Raises:
        ConfigError: there is no configuration, or it is not valid.
        InvalidRequest: there are both a group and positions.
        LogUnavailable: Kafka does not answer.
    """

    def __init__(
        self,
        config: ClusterConfig | str | Path | None = None,
        tables: Iterable[str] | None = None,
        *,
        group: str | None = None,
        start: Positions | Literal["earliest", "latest"] = "earliest",
    ) -> None:
        if isinstance(start, Mapping) and group is not None:
            raise InvalidRequest("a group goes on where it has committed: leave out start or group")
        self._config = config if isinstance(config, ClusterConfig) else ClusterConfig.load(config)
        self._kafka = self._config.kafka
        self._tables = None if tables is None else frozenset(tables)
        self._group = group
        self._last: dict[int, dict[int, int]] = {}  # by partition and shard
        self._offsets: dict[int, int] = {}
        self._left: dict[int, tuple[int, dict[int, int]]] = {}  # offset and numbers, by partition
        self._returned: set[Any] = set()  # partitions of these that it has again
        self._fetched: deque[Any] = deque()  # messages that were not given yet
        self._recent: dict[str, None] = {}  # ids of events
        self._changed: deque[tuple[bool, list[Any]]] = deque()
        self._latest = start == "latest"
        reset = "latest" if self._latest else "earliest"
        self._consumer = open_consumer(self._kafka, group, auto_offset_reset=reset)
        try:
            with kafka_errors(self._kafka):
                if group is None:
                    self._assign(start if isinstance(start, Mapping) else {})
                else:
                    listener = _Listener(self._changed)
                    subscribe(self._consumer, self._kafka, self._kafka.changes_topic,
                              listener=listener)  # fmt: skip
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Change]:
        """All changes, as they come; it does not end. `positions`, and what `commit` keeps, are
        behind the one that it gave last."""
        while True:
            self._fetch(_POLL_MS / 1000)
            while self._fetched:
                change = self._take_next()
                if change is not None:
                    yield change

    def close(self) -> None:
        """Leave the group; what is not committed comes again."""
        with kafka_errors(self._kafka):
            self._consumer.close()

    @property
    def positions(self) -> Positions:
        """Behind the changes that were given, of the partitions that this consumer has. Kept in
        one transaction with what was made of the changes, and given as `start`, they make each
        change count once."""
        return {
            str(partition): {
                "offset": offset,
                "shards": {str(s): n for s, n in self._last.get(partition, {}).items()},
            }
            for partition, offset in sorted(self._offsets.items())
        }

    def poll(self, seconds: float = _POLL_MS / 1000) -> list[Change]:
        """The next changes; there may be none.

        Args:
            seconds: to wait for some, at most.

        Raises:
            LogUnavailable: Kafka does not answer; call again.
            CorruptData: a message is no change event.
            NewerFormat: it is of a format that this version does not know.
        """
        deadline = time.monotonic() + seconds
        while True:
            self._fetch(deadline - time.monotonic())
            found: list[Change] = []
            while self._fetched:
                try:
                    change = self._take_next()
                except MynamoError:
                    if found:  # the next call raises it
                        break
                    raise
                if change is not None:
                    found.append(change)
            if found or time.monotonic() >= deadline:
                return found

    def commit(self) -> None:
        """Keep in Kafka, for the group, that all changes that were given are done.

        Raises:
            InvalidRequest: it has no group.
            LogUnavailable: Kafka does not answer, or others of the group have the partitions now.
        """
        if self._group is None:
            raise InvalidRequest("a consumer without a group keeps `positions` itself")
        offsets = {
            TopicPartition(self._kafka.changes_topic, int(partition)): OffsetAndMetadata(
                place["offset"], orjson.dumps(place["shards"]).decode(), -1
            )
            for partition, place in self.positions.items()
        }
        if not offsets and self._left and is_joining(self._consumer):
            raise LogUnavailable("the group divides its partitions anew; poll, and commit then")
        if offsets:
            with kafka_errors(self._kafka):
                self._consumer.commit(offsets)

    def _fetch(self, seconds: float) -> None:
        """Wait for messages, unless some were not given yet."""
        if not self._fetched:
            with kafka_errors(self._kafka):
                polled = self._consumer.poll(max(0, round(1000 * seconds)))
                try:
                    returned = self._follow_assignment(polled)
                except BaseException:
                    for place, records in polled.items():  # they come again
                        self._consumer.seek(place, records[0].offset)
                    raise
            for place, records in polled.items():
                if place not in returned:
                    self._fetched += records

    def _take_next(self) -> Change | None:
        """The change of the next message; None: the caller does not want it, or has had it."""
        record = self._fetched[0]
        event = None if record.value is None else load_event(record.value)
        wanted = event is not None and self._is_new(event, record.partition)
        self._fetched.popleft()
        self._offsets[record.partition] = record.offset + 1
        return Change.of_event(event) if event is not None and wanted else None

    def _is_new(self, event: ChangeEvent, partition: int) -> bool:
        """Whether the caller wants it, and has not had it."""
        last = self._last.setdefault(partition, {})
        if event.sequence <= last.get(event.shard, 0):
            return False
        last[event.shard] = event.sequence
        if event.event_id in self._recent:  # a new incarnation has given it another number
            return False
        self._recent[event.event_id] = None
        if len(self._recent) > _MOST_RECENT:
            del self._recent[next(iter(self._recent))]
        return (
            event.origin == "write"
            and event.old_image != event.new_image
            and (self._tables is None or event.table in self._tables)
        )

    def _assign(self, start: Positions) -> None:
        topic = self._kafka.changes_topic
        places = [TopicPartition(topic, number) for number in range(self._kafka.partitions)]
        self._consumer.assign(places)
        for place in places:
            known = start.get(str(place.partition))
            if known is not None:
                self._take(place, known["offset"], known["shards"])
                self._consumer.seek(place, known["offset"])
            elif self._latest:
                self._take_end(place)

    def _take(self, place: Any, offset: int, shards: Mapping[str, int]) -> None:
        self._offsets[place.partition] = offset
        self._last[place.partition] = {int(shard): number for shard, number in shards.items()}

    def _follow_assignment(self, polled: Mapping[Any, Sequence[Any]]) -> set[Any]:
        """Let go of partitions that others of the group have now, and go on in new ones where the
        group has committed, or where this consumer was, if that is further: it has given all
        before that to its caller.

        Args:
            polled: messages by partition, which were not given yet.

        Returns:
            Partitions that came back: what was polled from them comes again.
        """
        while self._changed:
            is_mine, places = self._changed[0]
            for place in places:
                if is_mine:
                    self._enter(place, polled.get(place, ()))
                else:
                    self._leave(place)
            # Not before: if Kafka does not answer, the next call does all of it again.
            self._changed.popleft()
        returned, self._returned = self._returned, set()
        for place in returned:
            offset, numbers = self._left.pop(place.partition)
            if offset >= self._offsets.get(place.partition, 0):
                self._offsets[place.partition], self._last[place.partition] = offset, numbers
            self._consumer.seek(place, self._offsets[place.partition])
        return returned

    def _enter(self, place: Any, polled: Sequence[Any]) -> None:
        if place not in self._consumer.assignment():  # it has gone again
            return
        kept = self._consumer.committed(place, metadata=True, timeout_ms=_ANSWER_MS)
        if kept is not None and kept.offset >= 0:
            self._take(place, kept.offset, _numbers_in(kept.metadata))
        elif polled:
            self._take(place, polled[0].offset, {})
        elif self._latest and place.partition not in self._left:
            self._take_end(place)
        if place.partition in self._left:
            self._returned.add(place)

    def _take_end(self, place: Any) -> None:
        """Begin at the end of a partition, which is another one when it is asked for later."""
        self._take(place, self._consumer.position(place, timeout_ms=_ANSWER_MS), {})

    def _leave(self, place: Any) -> None:
        self._returned.discard(place)
        if place.partition in self._offsets:
            numbers = self._last.pop(place.partition, {})
            self._left[place.partition] = self._offsets.pop(place.partition), numbers


def _numbers_in(metadata: str | None) -> dict[str, int]:
    """The numbers that a commit has kept; none, if another program has made it."""
    try:
        return _NUMBERS.validate_json(metadata or "{}")
    except ValidationError:
        return {}


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes which partitions come and go. The Kafka client calls it in a thread of its own, in
    which nobody may wait for Kafka.

    Args:
        changed: whether they have come, and which, for the consumer to follow.
    """

    def __init__(self, changed: deque[tuple[bool, list[Any]]]) -> None:
        self._changed = changed

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._changed.append((True, list(assigned)))

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self._changed.append((False, list(revoked)))
