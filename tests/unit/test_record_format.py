"""Messages written as records: what kafka-python writes, byte for byte; batches that a broker takes
apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.errors import CorruptRecordError, KafkaError, MessageSizeTooLargeError
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from mynamo.log.kafka_internals import SentBatch, give_batches
from mynamo.log.record_format import Content, read_records, records_of

PLACE = TopicPartition("changes", 0)
LIMIT = 2_000

lengths = st.sampled_from([0, 1, 62, 63, 64, 65, 8190, 8191, 8192, 70_000])
data = st.binary(max_size=8) | lengths.map(bytes)
contents = st.tuples(
    st.none() | data,
    st.none() | data,
    st.lists(st.tuples(st.text(max_size=70), data), max_size=5),
)


def by_kafka_python(messages: list[Content]) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 2**30)
    for number, message in enumerate(messages):
        assert builder.append(number, 1_700_000_000_000, *message)
    return bytes(builder._buffer[DefaultRecordBatchBuilder.HEADER_STRUCT.size :])


@given(st.lists(contents, min_size=1, max_size=3))
def test_records_are_kafka_pythons(messages: list[Content]) -> None:
    (records,) = records_of(messages, 2**30)
    assert records.count == len(messages)
    assert records.data == by_kafka_python(messages)


def test_many_records_are_kafka_pythons() -> None:
    messages: list[Content] = [(None, b"%d" % n, []) for n in range(9_000)]
    (records,) = records_of(messages, 2**30)
    assert records.data == by_kafka_python(messages)


@given(st.lists(contents, max_size=20), st.integers(1, 20_000))
def test_batches_hold_everything_in_order(messages: list[Content], limit: int) -> None:
    at = 0
    for records in records_of(messages, limit):
        assert records.count == 1 or len(records.data) <= limit
        assert records.data == by_kafka_python(messages[at : at + records.count])
        at += records.count
    assert at == len(messages)


@given(st.lists(contents, min_size=1, max_size=5), st.integers(0, 2**40))
def test_records_are_read_as_they_were_written(messages: list[Content], first: int) -> None:
    (records,) = records_of(messages, 2**30)
    read = read_records(records.data, records.count, "changes", 3, first, 7_000)
    assert [(one.key, one.value, one.headers) for one in read] == messages
    assert [one.offset for one in read] == [first + number for number in range(len(messages))]
    assert {(one.topic, one.partition, one.timestamp) for one in read} <= {("changes", 3, 7_000)}


def test_what_another_client_writes_is_read() -> None:
    """Times of their own, offsets with gaps, headers without a value."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 2**30)
    for number, time_ms in ((0, 1_700_000_000_000), (1, 1_700_000_000_070), (9_000, 1_600_000_000)):
        assert builder.append(number, time_ms, b"k", b"v", [("h", None)])
    data = bytes(builder._buffer[DefaultRecordBatchBuilder.HEADER_STRUCT.size :])
    read = read_records(data, 3, "changes", 0, 5, 1_700_000_000_000)
    assert [(one.offset, one.key, one.value, one.headers) for one in read] == [
        (offset, b"k", b"v", [("h", None)]) for offset in (5, 6, 9_005)
    ]
    assert [one.timestamp for one in read] == [1_700_000_000_000, 1_700_000_000_070, 1_600_000_000]


def test_damaged_records_are_refused() -> None:
    (records,) = records_of([(b"k" * 70, b"v" * 9_000, [("h", b"1")]), (None, None, [])], 2**30)
    data = records.data
    for end in [*range(120), *range(9_000, len(data))]:
        with pytest.raises(ValueError, match="a record"):
            read_records(data[:end], 2, "changes", 0, 0, 0)
    with pytest.raises(ValueError, match="behind the records"):
        read_records(data, 1, "changes", 0, 0, 0)
    with pytest.raises(ValueError, match="a record"):
        read_records(data, 3, "changes", 0, 0, 0)


class Producer:
    """Of kafka-python's producer what batches are given to; without a broker."""

    def __init__(self) -> None:
        self._closed = False
        self.config = {"batch_size": LIMIT, "max_request_size": 10 * LIMIT}
        self._accumulator = RecordAccumulator(batch_size=LIMIT, compression_attrs=3)

    def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def waiting(self) -> list[Any]:
        return list(self._accumulator._batches[PLACE])


def give(producer: Producer, count: int) -> list[SentBatch]:
    return give_batches(producer, "changes", 0, [(None, b"%d" % n, []) for n in range(count)])


def values_in(batch: Any) -> list[bytes]:
    batch.records.close()
    (read,) = batch.records.records()
    assert isinstance(read, DefaultRecordBatch)
    assert read.validate_crc()
    assert read.last_offset_delta == read.records_count - 1
    return [record.value for record in read]


def test_a_batch_is_answered_once_the_broker_has_it() -> None:
    producer = Producer()
    (batch,) = give(producer, 3)
    assert producer.waiting() == [batch]
    assert batch in producer._accumulator._incomplete.all()
    assert values_in(batch) == [b"0", b"1", b"2"]
    assert not batch.answered
    batch.complete(100, -1)
    assert batch.answered
    batch.check()


def test_a_batch_that_fails_says_so() -> None:
    (batch,) = give(Producer(), 3)
    batch.complete_exceptionally(CorruptRecordError(), lambda _: CorruptRecordError())
    assert batch.answered
    with pytest.raises(CorruptRecordError):
        batch.check()


@pytest.mark.parametrize("fails", [None, 0, 1, 2])
def test_a_batch_that_is_taken_apart(fails: int | None) -> None:
    """It is answered once every part is, and fails if any part does."""
    producer = Producer()
    (batch,) = give(producer, 9)
    producer._accumulator._batches[PLACE].popleft()
    batch.records.close()
    producer._accumulator.split_and_reenqueue(batch)
    first, second = producer.waiting()
    first.records.close()
    producer._accumulator._batches[PLACE].popleft()
    producer._accumulator.split_and_reenqueue(first)
    parts = producer.waiting()
    assert parts[2] is second
    assert [value for part in parts for value in values_in(part)] == [b"%d" % n for n in range(9)]
    for number, part in enumerate(parts):
        assert not batch.answered
        if number == fails:
            part.complete_exceptionally(CorruptRecordError(), lambda _: CorruptRecordError())
        else:
            part.complete(0, -1)
    assert batch.answered
    if fails is None:
        batch.check()
    else:
        with pytest.raises(CorruptRecordError):
            batch.check()


def test_what_others_send_gets_a_batch_of_its_own() -> None:
    producer = Producer()
    give(producer, 1)
    producer._accumulator.append(PLACE, None, None, b"theirs", [])
    assert [values_in(one) for one in producer.waiting()] == [[b"0"], [b"theirs"]]
    assert give(producer, 2)[0] is producer.waiting()[2]


def test_a_message_that_is_too_large_is_not_given() -> None:
    producer = Producer()
    with pytest.raises(MessageSizeTooLargeError):
        give_batches(producer, "changes", 0, [(None, b"x", []), (None, bytes(11 * LIMIT), [])])
    assert not producer.waiting()


def test_a_closed_producer_takes_nothing() -> None:
    producer = Producer()
    producer._accumulator.close()
    with pytest.raises(KafkaError, match="closed"):
        give(producer, 1)


def test_no_records_are_no_batch() -> None:
    assert list(records_of([], LIMIT)) == []
