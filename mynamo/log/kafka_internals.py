"""What mynamo reads and replaces in kafka-python that is not its public interface, all of it.

Any release of kafka-python may change these parts: `pyproject.toml` has an upper bound, each
function here says what it uses and why, and `tests/integration/test_kafka_internals.py` has a test
for each that fails when a part is renamed or no longer does what it did. No other module of
mynamo's uses a private name of kafka-python (`tests/unit/test_layout.py`).
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import (
    CorruptRecordError,
    IllegalStateError,
    MessageSizeTooLargeError,
    UnsupportedVersionError,
)
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.memory_records import MemoryRecordsBuilder

from mynamo.log.record_format import Content, Record, Records, read_records, records_of
from mynamo.runtime import forks

_inherited: list[Any] = []
"""Producers of the parent's, which a child must not even delete: that would close them."""


class ForkedProducer(KafkaProducer):  # type: ignore[misc]
    """A KafkaProducer that a child of a fork leaves to its parent, with all that waits in it.

    Private: `KafkaProducer._closed` and `._cleanup`; `KafkaNetClient._manager._conns`, and of each
    connection there `transport._sock`.

    Why: in the child, kafka-python would close the producer at the end of the process, or when it
    is deleted, with locks that the parent's threads held, and would tell the parent's broker. No
    public method lets go of a socket without a word.

    Tests: `test_a_child_lets_go_of_its_parents_producer`, and integration/test_forks.py.
    """

    def __init__(self, **options: Any) -> None:
        self._client: Any = None
        forks.note(self)
        super().__init__(kafka_client=self._connect, **options)

    def _connect(self, **options: Any) -> Any:
        self._client = KafkaProducer.DEFAULT_CONFIG["kafka_client"](**options)
        return self._client

    def renew_after_fork(self) -> None:
        """Let go of the sockets, and keep whatever ends here from closing it with its parent's
        locks. The selector is the parent's too: what is taken out of it is taken from both."""
        _inherited.append(self)
        self._closed = True
        if cleanup := getattr(self, "_cleanup", None):
            atexit.unregister(cleanup)
        if self._client is None:
            return
        for connection in list(self._client._manager._conns.values()):
            sock = connection.transport and connection.transport._sock
            if sock is not None:
                forks.let_go(sock)


class SentBatch(ProducerBatch):  # type: ignore[misc]
    """Messages that were given to a producer as one batch.

    Private: `ProducerBatch` as a whole, and its `_record_futures`, of which kafka-python asks only
    if a broker finds a batch too large, and takes it apart.
    """

    def __init__(self, place: TopicPartition, records: Any, count: int, largest: int) -> None:
        super().__init__(place, records)
        self.max_record_size = largest
        self._count = count
        del self._record_futures

    @cached_property
    def _record_futures(self) -> list[Any]:
        return [
            FutureRecordMetadata(self.produce_future, number, None, None, -1, -1, -1)
            for number in range(self._count)
        ]

    def try_append(self, *_: Any, **__: Any) -> None:
        """Take no more messages."""

    @property
    def answered(self) -> bool:
        """Whether the broker has all messages, or some have failed."""
        return self.is_done or (
            "_record_futures" in vars(self) and all(one.is_done for one in self._record_futures)
        )

    def check(self) -> None:
        """See that the broker has all messages of a batch that was answered.

        Raises:
            KafkaError: it has not.
        """
        if not self.is_done:  # it was taken apart
            for one in self._record_futures:
                one.get(timeout=0)
        elif (failure := self.produce_future.value[2]) is not None:
            raise failure(0)


def give_batches(
    producer: Any, topic: str, partition: int, messages: Iterable[Content]
) -> list[SentBatch]:
    """Give a producer messages of one partition as whole batches; `flush` sends them.

    Private: `KafkaProducer._closed` and `._accumulator`, and of that `_closed`, `_tp_lock`,
    `_batches` and `_incomplete`; `MemoryRecordsBuilder._next_offset` and `._builder`, and of that
    `_buffer`, `_num_records`, `_last_offset`, `_first_timestamp` and `_max_timestamp`.

    Why: `send` takes each message through some thirty calls, makes futures that nobody asks for,
    and wakes the sender's thread at the first message of each partition, which then finds nothing
    that it may send.

    Tests: `test_batches_are_given_as_a_whole`, and unit/test_record_format.py.

    Raises:
        KafkaError: a message is too large, or the producer was closed, or the broker does not say
            where the topic is.
    """
    producer.partitions_for(topic)
    place = TopicPartition(topic, partition)
    limit, most = producer.config["batch_size"], producer.config["max_request_size"]
    batches = [_batch(place, records, limit) for records in records_of(messages, limit)]
    if any(batch.max_record_size > most for batch in batches):
        raise MessageSizeTooLargeError(f"a message has more than {most} bytes")
    accumulator = producer._accumulator
    with accumulator._tp_lock(place):
        if producer._closed or accumulator._closed:
            raise IllegalStateError("the producer was closed")
        for batch in batches:
            accumulator._batches[place].append(batch)
            accumulator._incomplete.add(batch)
    return batches


def _batch(place: TopicPartition, records: Records, limit: int) -> SentBatch:
    built = MemoryRecordsBuilder(_FORMAT, _LZ4, limit)
    inner = built._builder
    inner._buffer += records.data
    inner._num_records = built._next_offset = records.count
    inner._last_offset = records.count - 1
    inner._first_timestamp = inner._max_timestamp = int(time.time() * 1000)
    return SentBatch(place, built, records.count, records.largest)


_FORMAT = 2
"""Of messages, since Kafka 0.11."""
_LZ4 = 3


class ReadBatches(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The messages of one partition in one answer, read a batch at a time."""

    def _unpack_records(self, place: TopicPartition, batches: Any, *_: Any) -> Iterator[Record]:
        for batch in batches:
            if batch.magic != _FORMAT:
                raise UnsupportedVersionError(f"{place}: it has messages of format {batch.magic}")
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(f"{place}: the batch at {batch.base_offset} is damaged")
            self.leader_epoch = batch.leader_epoch
            if not batch.is_control_batch:
                for record in _records_in(batch, place):
                    self.records_read += 1
                    self.next_fetch_offset = record.offset + 1
                    yield record
            self.bytes_read += batch.size_in_bytes
            self.next_fetch_offset = batch.next_offset
        self.drain()


def _records_in(batch: Any, place: TopicPartition) -> list[Record]:
    iter(batch)  # this decompresses it
    data = bytes(memoryview(batch._buffer)[batch._pos :])
    try:
        return read_records(
            data, batch.records_count, place.topic, place.partition, batch.base_offset,
            batch.first_timestamp,
        )  # fmt: skip
    except ValueError as error:
        raise CorruptRecordError(f"{place}, at {batch.base_offset}: {error}") from None


def read_whole_batches(consumer: Any) -> None:
    """Have a consumer read a batch's messages together, as `Record`s.

    Private: `KafkaConsumer._fetcher` and its class `PartitionRecords`, whose `_unpack_records` is
    replaced; `DefaultRecordBatch._buffer` and `._pos`.

    Why: kafka-python reads each message by itself, with its headers and sums for statistics.
    Transactions of Kafka's are read as if all of them were committed, which is kafka-python's
    default too.

    Tests: `test_whole_batches_are_read`, and unit/test_record_format.py.
    """
    consumer._fetcher.PartitionRecords = ReadBatches


def finish_joining(consumer: Any) -> None:
    """Let a consumer finish joining its group once it has begun.

    Private: `KafkaConsumer._coordinator`, its `need_rejoin`, which is replaced, and `rejoining`.

    Why: kafka-python (3.0.12) loses a join that was caused by new metadata, if the timeout of a
    `poll` interrupts it at the wrong moment: it counts the metadata as handled and never looks at
    the answer, so the consumer never gets partitions.

    Tests: `test_a_join_that_has_begun_is_finished`, and
    integration/test_eventual_consistency.py: `test_a_consumer_with_short_polls_joins_its_group`.
    """
    coordinator = consumer._coordinator
    wanted = coordinator.need_rejoin
    coordinator.need_rejoin = lambda: wanted() or coordinator.rejoining


def know_coordinator(consumer: Any) -> None:
    """Have a consumer look by itself, at each poll, whether its group's coordinator is known.

    Private: `KafkaConsumer._coordinator`, its `coordinator_id`, `_client.is_disconnected`, and its
    `ensure_coordinator_ready`, which is replaced.

    Why: each poll hands that question to a thread that talks to brokers and waits for it, which
    costs some 100 us of CPU time. What is looked at here first is what the thread looks at first.

    Test: `test_a_coordinator_that_is_known_is_not_looked_for`.
    """
    coordinator = consumer._coordinator
    look = coordinator.ensure_coordinator_ready

    def known_or_look(timeout_ms: float | None = None) -> bool:
        known = coordinator.coordinator_id
        if known is not None and not coordinator._client.is_disconnected(known):
            return True
        return bool(look(timeout_ms))

    coordinator.ensure_coordinator_ready = known_or_look


def is_joining(consumer: Any) -> bool:
    """Whether a consumer has not joined its group yet; joining takes polls of some length.

    Private: `KafkaConsumer._coordinator` and its `need_rejoin`.

    Why: `assignment` alone is not empty while a member of a group joins it again.

    Test: `test_whether_a_consumer_is_joining`.
    """
    return bool(consumer._coordinator.need_rejoin()) or not consumer.assignment()


def identity(consumer: Any, topic: str) -> str:
    """The id of a topic, as far as a consumer knows. A later topic of the same name has another
    id, and other offsets. Empty: not known.

    Private: `KafkaConsumer._cluster` and its `topic_id`.

    Why: a consumer's public methods know topics by name only.

    Tests: `test_a_topic_of_the_same_name_has_another_identity`, and integration/test_queue.py.
    """
    known = consumer._cluster.topic_id(topic)
    return "" if known is None else str(known)


def leave_permissions_out(admin: Any) -> None:
    """Have an admin client describe groups without what its user may do with them.

    Private: `KafkaAdminClient._process_acl_operations`, which is replaced.

    Why: the embedded broker tells of permissions that Kafka does not have, at which
    kafka-python fails. Nobody asks for them.

    Test: `test_groups_of_the_embedded_broker_are_described`.
    """
    admin._process_acl_operations = lambda described: described


def offset_and_end(consumer: Any, place: Any) -> tuple[int | None, int | None] | None:
    """How far a consumer is in a partition.

    Private: `KafkaConsumer._subscription`, its `assignment`, and of each state in it
    `position.offset` and `highwater`.

    Why: the public `position` asks the broker for what is not known, and waits.

    Test: `test_what_a_consumer_knows_of_a_partition`.

    Returns:
        The offset of its next message, and that of the partition's end as the latest answer said;
        None for what it does not know. None in their place: the partition is not its own.
    """
    state = consumer._subscription.assignment.get(place)
    if state is None:
        return None
    return state.position.offset if state.position else None, state.highwater


def leader(consumer: Any, place: Any) -> int | None:
    """The id of the broker that a consumer reads a partition from; None: not known.

    Private: `KafkaConsumer._cluster` and its `leader_for_partition`.

    Why: no public method says it without asking.

    Test: `test_what_a_consumer_knows_of_a_partition`.
    """
    found: int | None = consumer._cluster.leader_for_partition(place)
    return found


def allow_collecting(consumer: Any, milliseconds: int) -> None:
    """Set how long a broker may collect messages for each of a consumer's next requests.

    Private: `KafkaConsumer._fetcher` and its `config`.

    Why: `fetch_max_wait_ms` is an option of the constructor's only, and a new consumer would
    have to join its group again.

    Tests: `test_brokers_are_allowed_the_time_that_was_set`, and integration/test_slow_brokers.py.
    """
    consumer._fetcher.config["fetch_max_wait_ms"] = milliseconds


def call_at_answers(consumer: Any, heard: Callable[[int], None]) -> None:
    """Have a function called at each answer to a request for messages, in the consumer's thread.

    Private: `KafkaConsumer._fetcher` and its `_handle_fetch_response`, which is replaced.

    Why: an answer without messages shows nowhere else, and whether a broker answers is what
    tells a slow one from one that has stalled.

    Test: `test_answers_are_heard_of`.

    Args:
        heard: takes the broker's id; called before the answer is looked at.
    """
    fetcher = consumer._fetcher
    handle = fetcher._handle_fetch_response

    def heard_first(broker: int, *answer: Any) -> None:
        heard(broker)
        handle(broker, *answer)

    fetcher._handle_fetch_response = heard_first
