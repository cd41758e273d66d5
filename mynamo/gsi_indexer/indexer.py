"""The GSI indexer: reads change events and keeps every global secondary index up to date.

Each batch takes these steps; a crash between any two loses and repeats nothing:

1.  Poll. Kafka's committed offset only says where reading starts.
2.  Classify: leave out streams that are paused (`paused`), drop events that are known, stop a
    stream before a gap (`arrivals`).
3.  Apply to the shards that the rows go to, one transaction each (`apply`). A shard that is away
    is passed over, and misses the stream's events from then on (`paused`).
4.  Send what cannot be applied to the dead-letter topic; what MySQL refuses in step 3 already.
5.  Record the progress on the shards that the events come from; for one that is away it is kept.
6.  Commit the offsets, as a hint for the next owner of the partitions; none of a partition in which
    anything waits.

A shard that is away holds up its own rows and events alone. The first attempt to reach it takes the
whole batch some seconds at the most; from then on nobody waits for it (`AwayShards`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from mynamo.catalog.away_shards import AwayShards
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.incarnation import incarnation_of
from mynamo.catalog.shard import PASSING, retry
from mynamo.errors import ShardUnavailable, Unavailable
from mynamo.gsi_indexer.apply import ShardsAway, record_progress
from mynamo.gsi_indexer.arrivals import (
    Arrival,
    Classified,
    Found,
    Positions,
    Stream,
    classify,
    read,
)
from mynamo.gsi_indexer.event_batches import BatchWriter, cut_batches, reached_by
from mynamo.gsi_indexer.lost_events import Watch
from mynamo.gsi_indexer.paused import OwnersChanged, PausedStreams
from mynamo.log import (
    Patience,
    Publisher,
    Reading,
    Stalled,
    ensure_topics,
    is_joining,
    kafka_errors,
    open_consumer,
    subscribe,
)
from mynamo.log.dead_letter_topic import send_dead_letters
from mynamo.log.kafka_types import (
    ConsumerRebalanceListener,
    KafkaError,
    OffsetAndMetadata,
    TopicPartition,
)
from mynamo.log.message_spans import process_span
from mynamo.runtime.counters import counters
from mynamo.runtime.crash_points import crash_point
from mynamo.runtime.local_wakeups import INDEXER_WAKE_UPS, LocalWakeUps, is_here
from mynamo.runtime.tracing import Span, together
from mynamo.schemas.config import KafkaConfig
from mynamo.schemas.dead_letters import DeadLetter

log = logging.getLogger(__name__)

BATCH_RECORDS = 1000
READING = "reading partitions"
"""Begins the log line that says which partitions this member was given."""
_POLL_MS = 200
QUICK_POLL_MS = 10
_FETCH_MS = 500
_QUICK_FETCH_MS = 4
"""For a consumer that has read everything and learns of more by wake-ups: it does not wait for
messages at the broker. The embedded broker answers a waiting consumer only when half of its time is
over."""
_GATHER = 0.012
"""Seconds to wait after a batch that was not full, so that the next one is larger."""
_DEFER_PROGRESS_FROM = 8
"""Events in a batch from which on its progress is recorded with the next batch's rows, some 20 ms
later."""
COMMIT_EVERY = 1.0
_MAX_PAUSE = 1.0
_QUIET = 5.0
"""Seconds without a failure after which a failing server counts as recovered."""
_MAX_RESTART_PAUSE = 10.0
_CLOSE_MS = 3_000
_MAX_THREADS = 16


def run_indexer(cluster: Cluster, stop: threading.Event) -> None:
    """Keep the indexes up to date until told to stop, whatever servers come and go.

    Args:
        stop: when it is set, the indexer leaves its group and returns within seconds.
    """
    attempt = 0
    patience = Patience()
    while not stop.is_set():
        try:
            ensure_topics(cluster.config.kafka)
            with Indexer(cluster, patience) as indexer:
                attempt = 0
                indexer.run(stop)
        except Stalled as stall:
            patience = stall.patience
            log.warning("the indexer starts again with another consumer: %s", stall)
        except Unavailable as failure:
            if attempt == 0:
                log.warning("the indexer waits: %s", failure)
        except Exception:
            log.exception("the indexer starts again after an error")
        stop.wait(min(_MAX_RESTART_PAUSE, 0.25 * 2 ** min(attempt, 6)))
        attempt += 1


class Indexer:
    """One member of the indexers' consumer group. Not safe to share between threads.

    Args:
        cluster: whose indexes it keeps.
        patience: of its consumer.

    Raises:
        LogUnavailable: Kafka does not answer.
    """

    def __init__(self, cluster: Cluster, patience: Patience | None = None) -> None:
        self._cluster = cluster
        self._kafka = cluster.config.kafka
        self._positions = Positions()
        self._paused = PausedStreams()
        self._away = AwayShards(cluster, "indexer")
        self._partitions: set[int] = set()
        self._due: dict[Stream, int] = {}  # progress that is yet to be recorded
        self._publisher = Publisher(self._kafka)
        self._pool = ThreadPoolExecutor(_MAX_THREADS, "gsi-apply")
        self._troubles = 0
        self._troubled_at = 0.0
        self._committed_at = time.monotonic()
        self._by_wake_ups = cluster.config.local_wakeups and all(map(is_here, _hosts(self._kafka)))
        patience = patience or Patience()
        self._consumer = open_consumer(
            self._kafka,
            self._kafka.indexer_group,
            max_poll_records=BATCH_RECORDS,
            **patience.options(),
        )
        self._reading = Reading(
            self._consumer,
            patience,
            wait_ms=_QUICK_FETCH_MS if self._by_wake_ups else _FETCH_MS,
            full=BATCH_RECORDS,
        )
        try:
            subscribe(
                self._consumer,
                self._kafka,
                self._kafka.changes_topic,
                listener=_Forgetting(self._positions, self._paused),
            )
        except BaseException:
            self.close()
            raise
        self._batches = BatchWriter(
            cluster, self._away, self._paused, self._pool, self._send_dead_letters
        )
        self._watch = Watch(cluster, self._consumer, self._positions, self._reading, self._away)

    def __enter__(self) -> Indexer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the group."""
        with suppress(Unavailable, KafkaError):
            self._record()
            self._consumer.commit(self._offsets(), timeout_ms=_CLOSE_MS)
        with suppress(KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=_CLOSE_MS)
        self._publisher.close()
        self._pool.shutdown()

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; servers that do not answer are waited for.

        Raises:
            Stalled: the consumer does not read on.
        """
        cluster_id = self._cluster.id
        wake_ups = LocalWakeUps(
            cluster_id,
            INDEXER_WAKE_UPS,
            stop,
            listen=self._by_wake_ups,
            all_here=self._by_wake_ups,
            at_once=False,
        )
        try:
            while not stop.is_set():
                try:
                    self._step_and_wait(wake_ups, stop)
                except Unavailable as failure:
                    if self._troubles == 0:
                        log.warning("the indexer waits: %s", failure)
                    stop.wait(min(_MAX_PAUSE, 0.05 * 2 ** min(self._troubles, 5)))
                    self._troubles += 1
                    self._troubled_at = time.monotonic()
        finally:
            wake_ups.close()

    def _step_and_wait(self, wake_ups: LocalWakeUps, stop: threading.Event) -> None:
        """Apply messages; wait for more by wake-ups, or else at the broker.

        It waits by wake-ups only once it has read everything that the broker has. Before that,
        each poll would be short, and each pause longer than the one before.
        """
        by_wake_ups = (
            self._by_wake_ups and not is_joining(self._consumer) and not self._reading.behind
        )
        count = self.step(QUICK_POLL_MS if by_wake_ups else _POLL_MS)
        if self._reading.behind:
            return
        if 0 < count < BATCH_RECORDS:
            stop.wait(_GATHER)
        if by_wake_ups:
            wake_ups.wait(found=count > 0)

    def step(self, poll_ms: int = _POLL_MS) -> int:
        """Wait for messages and apply them.

        Args:
            poll_ms: how long to wait at the most.

        Returns:
            How many messages there were.

        Raises:
            Unavailable: Kafka or the catalog does not answer; the same messages will come again.
            NewerFormat: so will a message that a newer version of mynamo wrote.
            ShardNotConfigured: so will one of a shard that the configuration lacks.
            Stalled: the consumer does not read on.
        """
        self._resume()
        if self._recordable():
            poll_ms = min(poll_ms, QUICK_POLL_MS)
        with kafka_errors(self._kafka):
            polled = self._reading.poll(poll_ms)  # 1
        records = [record for some in polled.values() for record in some]
        if records:
            crash_point("indexer.1")
        else:
            self._record()
        try:
            found = read(self._cluster, records)
            gaps = self._work(found)
        except OwnersChanged:
            self._rewind(polled)
            for partition, offset in self._paused.begin_again(self._positions).items():
                self._seek(partition, offset)
            return len(records)
        except BaseException:
            self._rewind(polled)
            raise
        for partition, (offset, _) in found.left.items():
            self._seek(partition, offset)
        self._watch.look(gaps, self._paused.waits_for)
        self._commit_now_and_then()
        for _, failure in found.left.values():  # all else is done
            raise failure
        quiet = time.monotonic() - self._troubled_at > _QUIET
        if self._troubles and (records or quiet):
            log.info("the indexer goes on")
            self._troubles = 0
        return len(records)

    def _work(self, found: Found) -> set[Stream]:
        """Steps 2 to 5; returns the streams with gaps."""
        self._learn_positions()
        self._send_dead_letters(found.dead_letters)
        for stream, (offset, failure) in found.waiting.items():
            self._away.note(stream.shard, failure)
            self._paused.pause(stream, offset, stream.shard)
        self._pause_unknown(found.arrivals)
        arrivals = self._paused.others(found.arrivals)
        classified = classify(self._positions.applied, arrivals)  # 2
        if classified.gaps and self._learn_new_incarnations(arrivals):
            arrivals = self._paused.others(arrivals)
            classified = classify(self._positions.applied, arrivals)
        _count_left_out(classified)
        for whole in cut_batches(classified.fresh):
            batch = self._paused.others(whole)
            if not batch:
                continue
            began = time.monotonic()
            crash_point("indexer.2")
            with self._traced(batch):
                written = self._batches.write(batch, self._due)  # 3
            crash_point("indexer.3")
            self._send_dead_letters(written.dead_letters)  # 4
            crash_point("indexer.4")
            reached = reached_by(batch)
            due = self._due | self._paused.settled(reached)
            self._due = {s: n for s, n in due.items() if written.noted.get(s) != n}
            if len(batch) < _DEFER_PROGRESS_FROM:
                self._record()
            self._positions.raise_to(reached)
            counters.add("indexer_events", len(batch))
            counters.add("indexer_batches")
            counters.add("indexer_seconds", time.monotonic() - began)
        return classified.gaps

    @contextmanager
    def _traced(self, batch: Sequence[Arrival]) -> Iterator[None]:
        """P5 of `docs/design/tracing.md`: apply a batch within the spans of its events.

        If it fails, they do not end, and are not exported: it is tried again and again.
        """
        spans = self._spans(batch)
        if not spans:
            yield
            return
        with together(spans, "apply batch", {"mynamo.batch.events": len(batch)}):
            yield
        for span in spans:
            span.end()

    def _spans(self, batch: Sequence[Arrival]) -> list[Span]:
        tracer = self._cluster.tracer
        if tracer is None:
            return []
        group = self._kafka.indexer_group
        spans = [process_span(tracer, each.record, group, len(batch)) for each in batch]
        return [span for span in spans if span is not None]

    def _record(self) -> None:
        """Record the progress that was not recorded together with rows."""
        if due := self._recordable():
            try:
                record_progress(self._cluster, due, self._pool)  # 5
            except ShardsAway as failure:
                self._away.note_all(failure.failures)
            self._due = {s: n for s, n in self._due.items() if s.shard in self._away.ids}
            crash_point("indexer.5")

    def _recordable(self) -> dict[Stream, int]:
        """Progress that is due on shards that are there."""
        if not self._away.ids:
            return self._due
        return {s: n for s, n in self._due.items() if s.shard not in self._away.ids}

    def _resume(self) -> None:
        """Read again what waited for shards that are back."""
        for partition, offset in self._paused.resume(self._away.back(), self._positions).items():
            self._seek(partition, offset)

    def _seek(self, partition: int, offset: int) -> None:
        place = TopicPartition(self._kafka.changes_topic, partition)
        if place in self._consumer.assignment():
            with suppress(KafkaError):  # it has just gone to another member
                self._consumer.seek(place, offset)

    def _pause_unknown(self, arrivals: Sequence[Arrival]) -> None:
        """Pause the streams whose progress their shard, which is away, has yet to tell."""
        if not self._away.ids:
            return
        for arrival in arrivals:
            stream = arrival.stream
            if stream not in self._positions.applied and stream.shard in self._away.ids:
                self._paused.pause(stream, arrival.record.offset, stream.shard)

    def _send_dead_letters(self, dead_letters: list[DeadLetter]) -> None:
        if not dead_letters:
            return
        send_dead_letters(self._publisher, dead_letters)
        for one in dead_letters:
            log.error("dead letter in %s: %s: %s",
                      self._kafka.dead_letter_topic, one.letter_id, one.reason)  # fmt: skip

    def _learn_positions(self) -> None:
        """Read the progress of streams that this member has just been given."""
        wanted = {p.partition for p in self._consumer.assignment()}
        if wanted != self._partitions:
            # Between a revocation and the next assignment those of before are learned again.
            self._positions.forget(self._partitions - wanted)
            self._paused.forget(self._partitions - wanted)
            self._partitions = wanted
        for shard_id in self._positions.unknown(wanted, self._cluster.shards) - self._away.ids:
            progress = self._progress_of(shard_id)
            self._positions.raise_to({s: n for s, n in progress.items() if s.partition in wanted})

    def _progress_of(self, shard_id: int) -> dict[Stream, int]:
        """The recorded progress of a shard's streams; none if it is away, which is noted."""
        try:
            return {Stream(shard_id, p): n for p, n in home_progress(self._cluster, shard_id)}
        except ShardUnavailable as failure:
            self._away.note(shard_id, failure)
            return {}

    def _learn_new_incarnations(self, arrivals: Sequence[Arrival]) -> bool:
        """Read the progress of shards that have begun a new incarnation, whose numbers are far
        above those before; whether there are any."""
        applied = self._positions.applied
        begun = [
            arrival
            for arrival in arrivals
            if incarnation_of(arrival.sequence) > incarnation_of(applied[arrival.stream])
        ]
        for shard_id in {arrival.stream.shard for arrival in begun} - self._away.ids:
            progress = self._progress_of(shard_id)
            self._positions.raise_to({s: n for s, n in progress.items() if s in applied})
        for arrival in begun:
            if arrival.stream.shard in self._away.ids:
                self._paused.pause(arrival.stream, arrival.record.offset, arrival.stream.shard)
        return bool(begun)

    def _rewind(self, polled: dict[Any, list[Any]]) -> None:
        """Read the messages again; those that were applied are known by then."""
        for place, records in polled.items():
            self._seek(place.partition, records[0].offset)

    def _commit_now_and_then(self) -> None:
        if time.monotonic() - self._committed_at >= COMMIT_EVERY:
            self._record()  # a reader that starts there needs nothing that came before
            self._committed_at = time.monotonic()
            with suppress(KafkaError):
                self._consumer.commit_async(self._offsets())  # 6
            crash_point("indexer.6")

    def _offsets(self) -> dict[TopicPartition, OffsetAndMetadata] | None:
        """The offsets that may be committed: all, which is None, unless something waits."""
        waiting = self._paused.partitions | {stream.partition for stream in self._due}
        if not waiting:
            return None
        with kafka_errors(self._kafka):
            return {
                place: OffsetAndMetadata(offset, "", -1)
                for place in self._consumer.assignment()
                if place.partition not in waiting
                and (offset := self._consumer.position(place, timeout_ms=_CLOSE_MS)) is not None
            }


def _count_left_out(classified: Classified) -> None:
    if classified.known:
        counters.add("indexer_known_events", classified.known)
    if classified.early:
        counters.add("indexer_early_events", classified.early)


def _hosts(config: KafkaConfig) -> list[str]:
    return [server.rpartition(":")[0] for server in config.bootstrap_servers.split(",")]


class _Forgetting(ConsumerRebalanceListener):  # type: ignore[misc]
    """Makes the indexer read the progress of its partitions anew after each rebalance:
    another member may have been at work."""

    def __init__(self, positions: Positions, paused: PausedStreams) -> None:
        self._positions = positions
        self._paused = paused

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._forget(revoked)

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._forget(assigned)
        log.info("%s %s", READING, sorted(one.partition for one in assigned))

    def _forget(self, places: Any) -> None:
        partitions = {place.partition for place in places}
        self._positions.forget(partitions)
        self._paused.forget(partitions)


def home_progress(cluster: Cluster, shard_id: int) -> tuple[tuple[Any, ...], ...]:
    """Per partition, the last sequence of a shard's events that every index has applied.

    Raises:
        ShardUnavailable: the shard does not answer.
    """

    def once() -> tuple[tuple[Any, ...], ...]:
        with cluster.configured[shard_id].session() as session:
            return session.run(("SELECT part, applied_seq FROM mynamo_stream", ()))[0].rows

    return retry(once, _MAX_PAUSE, PASSING)
