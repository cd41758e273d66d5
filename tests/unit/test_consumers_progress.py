"""When a consumer counts as stalled, and how much time it allows a broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition

from mynamo.log import Patience, Reading, Stalled

PLACES = [TopicPartition("changes", number) for number in (0, 1)]


class Consumer:
    """A consumer of two partitions whose broker does what the test says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answers = True
        self.coming: list[dict[Any, list[Any]]] = []
        states = {
            partition: SimpleNamespace(position=SimpleNamespace(offset=0), highwater=0)
            for partition in PLACES
        }
        self._subscription = SimpleNamespace(assignment=states)
        self._cluster = SimpleNamespace(leader_for_partition=lambda partition: 1)
        self._fetcher = SimpleNamespace(config={}, _handle_fetch_response=lambda *_: None)

    def assignment(self) -> set[TopicPartition]:
        return set(PLACES)

    def poll(self, timeout_ms: int, max_records: int | None) -> dict[Any, list[Any]]:
        self.now += max(0.001, timeout_ms / 1000)
        if self.answers:
            self._fetcher._handle_fetch_response(1)
        polled = self.coming.pop(0) if self.coming else {}
        for partition, records in polled.items():
            self._subscription.assignment[partition].position.offset += len(records)
        return polled

    def put(self, partition: TopicPartition, count: int) -> None:
        """Say that there are more messages."""
        self._subscription.assignment[partition].highwater += count

    @property
    def allowed_ms(self) -> int:
        return int(self._fetcher.config["fetch_max_wait_ms"])


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Consumer:
    consumer = Consumer()
    monkeypatch.setattr("mynamo.log.consumption.time.monotonic", lambda: consumer.now)
    return consumer


def read(consumer: Consumer, patience: Patience | None = None) -> Reading:
    return Reading(consumer, patience or Patience(), wait_ms=4, full=1000)


def records(count: int, size: int = 10) -> list[Any]:
    return [SimpleNamespace(value=b"x" * size)] * count


def poll_for(one: Reading, consumer: Consumer, seconds: float) -> None:
    end = consumer.now + seconds
    while consumer.now < end:
        one.poll(200)


def test_one_that_has_all_messages_never_stalls(consumer: Consumer) -> None:
    one = read(consumer)
    poll_for(one, consumer, 600)
    assert not one.behind
    assert consumer.allowed_ms == 4


def test_a_partition_that_no_answer_is_about_has_nothing_to_read(consumer: Consumer) -> None:
    """As after a rebalance that gives a partition back: the broker has told of it before."""
    consumer._subscription.assignment[PLACES[0]].highwater = None
    one = read(consumer)
    one.poll(0)
    assert one.behind
    poll_for(one, consumer, 600)
    assert not one.behind
    assert consumer.allowed_ms == 4


def test_one_that_is_behind_and_gets_nothing_stalls(consumer: Consumer) -> None:
    one = read(consumer)
    consumer.put(PLACES[0], 5)
    with pytest.raises(Stalled, match="changes/0 at 0: nothing but empty answers") as stall:
        poll_for(one, consumer, 60)
    assert 45 <= consumer.now <= 47
    assert stall.value.patience == Patience(1)
    consumer.now = 0.0
    patient = read(consumer, stall.value.patience)
    assert consumer.allowed_ms == 500
    with pytest.raises(Stalled):
        poll_for(patient, consumer, 120)
    assert 90 <= consumer.now <= 92


def test_messages_of_another_partition_are_progress_for_long(consumer: Consumer) -> None:
    one = read(consumer)
    for partition in PLACES:
        consumer.put(partition, 10_000)
    consumer.coming = [{PLACES[1]: records(1)}, {}, {}] * 3_333
    with pytest.raises(Stalled):
        poll_for(one, consumer, 600)
    assert consumer.now > 10 * 45


def test_one_without_any_answer_stalls_whatever_it_knows(consumer: Consumer) -> None:
    one = read(consumer)
    poll_for(one, consumer, 60)
    consumer.answers = False
    began = consumer.now
    with pytest.raises(Stalled, match="no answer") as stall:
        poll_for(one, consumer, 60)
    assert 44 <= consumer.now - began <= 47
    assert stall.value.patience == Patience()  # it had all messages before


def test_time_that_was_spent_elsewhere_does_not_count(consumer: Consumer) -> None:
    one = read(consumer)
    consumer.put(PLACES[0], 5)
    for _ in range(15):
        one.poll(200)
        consumer.now += 600.0  # frozen, or waiting for MySQL
    consumer.coming = [{PLACES[0]: records(5)}]
    one.poll(200)
    assert not one.behind


def test_time_for_a_broker_grows_with_little_answers_only(consumer: Consumer) -> None:
    one = read(consumer)
    consumer.put(PLACES[0], 10_000)
    consumer.coming = [{PLACES[0]: records(1_000)}] * 3 + [{PLACES[0]: records(5, 400_000)}]
    for _ in range(4):
        one.poll(200)
    assert consumer.allowed_ms == 4  # many, or large
    consumer.answers = False
    one.poll(200)
    assert consumer.allowed_ms == 4  # slow, which more time does not help
    consumer.answers = True
    one.poll(16)
    assert consumer.allowed_ms == 8
    poll_for(one, consumer, 30)
    assert consumer.allowed_ms == 15_000  # within half of what a request may take
    consumer.coming = [{PLACES[0]: records(10_000 - 3_005)}]
    one.poll(200)
    assert consumer.allowed_ms == 4


def test_patience_has_bounds() -> None:
    patience = Patience()
    for _ in range(100):
        patience = patience.more()
    assert patience.options() == {
        "request_timeout_ms": 480_000, "fetch_max_bytes": 1 << 20,
        "max_partition_fetch_bytes": 1 << 20,
    }  # fmt: skip
    assert Patience().options() == {"request_timeout_ms": 30_000}
