"""Reading from brokers that answer slowly, or with few messages.

A request for messages says how long the broker may collect them. A short time suits a consumer
that has read everything, because a wake-up announces more. But a broker leaves out what it has not
found in that time, and may find nothing however often it is asked: the embedded broker looks
through the names of all batches of a partition, which takes some 20 ms for 20,000 batches. So a
consumer that is behind allows more time after each answer with few messages, until answers have
many messages or all.

A large answer on a slow connection may take longer than a request may take. A consumer that has
read nothing for so long is replaced by one that asks for less and waits longer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mynamo.log.kafka_internals import allow_collecting, call_at_answers, leader, offset_and_end

REQUEST_MS = 30_000
_LONGEST_REQUEST_MS = 480_000
"""Less than the time after which kafka-python closes connections that it does not use."""
_LATE = 1.5
"""Times the longest request, after which a consumer that waits has stalled."""
_ONE_LATE = 10.0
"""The same for one partition, while the consumer still reads others: times `_LATE`."""
_PATIENT_FETCH_MS = 500
_PATIENT_BYTES = 1024 * 1024
_LONGEST_GAP = 2.0
"""Seconds from one poll to the next that count as waiting for messages; what is beyond was spent
elsewhere: with other servers, or frozen."""
_UNCHANGED = 4
"""Answers without a word about a partition, after which it has nothing to read."""
_ANSWERS = 4
"""So many answers there is time for before a consumer that is behind allows more."""
_MUCH = 1024 * 1024
"""Bytes of an answer that counts as large: more time would not have given more."""


class Stalled(Exception):  # noqa: N818
    """A consumer makes no progress; another one is needed.

    Attributes:
        patience: that the other one is to have.
    """

    def __init__(self, where: str, patience: Patience) -> None:
        super().__init__(where)
        self.patience = patience


@dataclass(frozen=True, slots=True)
class _Step:
    """Where a consumer is in a partition.

    Attributes:
        offset: of the next message; None: it has yet to learn it.
        taken_at: when it came there, or last had all messages, on the clock of its reading.
    """

    offset: int | None
    taken_at: float


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a consumer waits.

    Attributes:
        stalls: of the consumers before it, one after the other.
    """

    stalls: int = 0

    @property
    def request_ms(self) -> int:
        """Milliseconds that an answer may take, all its bytes included."""
        return int(min(_LONGEST_REQUEST_MS, REQUEST_MS * 2**self.stalls))

    @property
    def stalled_seconds(self) -> float:
        """Seconds without an answer, or without a message for one that is behind, after which a
        consumer has stalled."""
        return _LATE * self.request_ms / 1000

    def more(self) -> Patience:
        """That of the next consumer."""
        return Patience(self.stalls + 1)

    def options(self) -> dict[str, int]:
        """What `open_consumer` is to be given."""
        options = {"request_timeout_ms": self.request_ms}
        if self.stalls:  # a broker gives one message at the least, however large
            options["fetch_max_bytes"] = options["max_partition_fetch_bytes"] = _PATIENT_BYTES
        return options


class Reading:
    """The progress of a consumer. Use by the consumer's thread.

    Args:
        consumer: of kafka-python.
        patience: that its options were made from.
        wait_ms: for which a broker may collect while the consumer has all it knows of.
        full: messages of a poll that counts as full: more time would not have given more.

    Attributes:
        behind: whether a broker has said, or may yet say, that there are messages to read.
    """

    def __init__(self, consumer: Any, patience: Patience, *, wait_ms: int, full: int) -> None:
        self._consumer = consumer
        self._patience = patience
        self._wait_ms = wait_ms
        self._full = full
        self._longest_ms = patience.request_ms // 2
        self._needed_ms = max(wait_ms, _PATIENT_FETCH_MS if patience.stalls else 0)
        self._clock = self._read_at = 0.0  # of seconds spent on waiting for messages
        self._polled_at = time.monotonic()
        self._answers = self._learned_from = 0
        self._answered: dict[Any, float] = {}  # by broker
        self._steps: dict[Any, _Step] = {}
        self._assigned: dict[Any, int] = {}  # how many answers there had been before
        self._caught_up = False
        self.behind = False
        call_at_answers(consumer, self._hear)
        self._allow(self._needed_ms)

    def poll(self, timeout_ms: int, max_records: int | None = None) -> dict[Any, list[Any]]:
        """The consumer's next messages; the next request allows for the time that they need.

        Raises:
            KafkaError: of the consumer.
            Stalled: it makes no progress.
        """
        end = time.monotonic() + timeout_ms / 1000
        while True:
            left_ms = max(0, round(1000 * (end - time.monotonic())))
            part_ms = min(left_ms, _ANSWERS * self._allowed_ms) if self.behind else left_ms
            polled: dict[Any, list[Any]] = self._consumer.poll(part_ms, max_records)
            self._count_time(bool(polled))
            self._look()
            self.learn(polled)
            if polled or time.monotonic() >= end:
                break
        if not polled:
            self._check()
        return polled

    def is_behind(self, partition: Any) -> bool:
        """Whether there are, or may be, messages to read in a partition."""
        known = offset_and_end(self._consumer, partition)
        if known is None:  # it has just gone to another member
            return False
        offset, end = known
        if offset is None:
            return True
        if end is None:  # Kafka leaves out of its answers what has not changed
            return self._answers - self._assigned.get(partition, self._answers) < _UNCHANGED
        return offset < end

    def _count_time(self, read: bool) -> None:
        now = time.monotonic()
        self._clock += min(_LONGEST_GAP, now - self._polled_at)
        self._polled_at = now
        if read:
            self._read_at = self._clock

    def _look(self) -> None:
        """See how far it has come in each partition."""
        before, self._steps, brokers = self._steps, {}, set()
        partitions = self._consumer.assignment()
        self._assigned = {p: self._assigned.get(p, self._answers) for p in partitions}
        self.behind = False
        for partition in partitions:
            offset, _ = offset_and_end(self._consumer, partition) or (None, None)
            step = before.get(partition)
            behind = self.is_behind(partition)
            if step is None or step.offset != offset or not behind:
                step = _Step(offset, self._clock)
            self._steps[partition] = step
            self.behind = self.behind or behind
            brokers.add(leader(self._consumer, partition))
        self._answered = {b: self._answered.get(b, self._clock) for b in brokers}

    def learn(self, polled: Mapping[Any, Sequence[Any]]) -> None:
        """Allow a broker more time if it makes use of it."""
        if self.behind:
            answers = self._answers
            if answers > self._learned_from and self._is_little(polled):
                self._needed_ms = min(self._longest_ms, 2 * self._needed_ms)
            self._learned_from = answers
            self._allow(self._needed_ms)
        elif self._steps:
            if self._allowed_ms > self._wait_ms:  # it has just caught up
                self._needed_ms = max(self._wait_ms, self._needed_ms * 7 // 8)
            self._caught_up = True
            self._allow(self._wait_ms)

    def _is_little(self, polled: Mapping[Any, Sequence[Any]]) -> bool:
        if sum(map(len, polled.values())) >= self._full:
            return False
        size = sum(len(record.value or b"") for some in polled.values() for record in some)
        return size < _MUCH

    def _allow(self, milliseconds: int) -> None:
        self._allowed_ms = milliseconds
        allow_collecting(self._consumer, milliseconds)

    def _check(self) -> None:
        late = self._clock - self._patience.stalled_seconds
        very_late = self._clock - _ONE_LATE * self._patience.stalled_seconds
        for partition, step in self._steps.items():
            broker = leader(self._consumer, partition)
            if self._answered.get(broker, self._clock) < late:
                what = "no answer from its broker"
            elif max(step.taken_at, self._read_at) < late or step.taken_at < very_late:
                what = "nothing but empty answers"
            else:
                continue
            # One that has once read all messages has requests of the right size.
            next_one = Patience() if self._caught_up else self._patience.more()
            where = f"{partition.topic}/{partition.partition} at {step.offset}"
            raise Stalled(f"{where}: {what}", next_one)

    def _hear(self, broker: int) -> None:
        """Learn of an answer, in the thread that it arrives in."""
        self._answers += 1
        self._answered[broker] = self._clock
