"""`run_writer`: a writer worker. Run two or more; they share the work and replace each other."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from mynamo.catalog.cluster import Cluster
from mynamo.errors import LogUnavailable, ShardUnavailable, Unavailable
from mynamo.log import Publisher, ensure_topics
from mynamo.runtime.local_wakeups import LocalWakeUps, is_here, relay_wake_ups
from mynamo.writer.expirer import Expirer
from mynamo.writer.maintenance import Maintenance
from mynamo.writer.outbox.batches import BATCH_ROWS
from mynamo.writer.outbox.relay import Relay
from mynamo.writer.queue.consumer import WriteQueue

log = logging.getLogger(__name__)

_GATHER = 0.012
"""Seconds after a batch that was not full, in which the next one gathers: each costs the shard
a commit."""
_STANDBY_PAUSE = 0.5
"""Seconds between two looks at a lease that another relay holds."""
_NUMBER_PAUSE = 0.1
"""Seconds between two looks for changes without a number while Kafka does not answer."""
_NO_MEMBER_PAUSE = 0.5
"""Seconds between two looks whether a configured shard is a member by now."""
_ROUND_PAUSE = 1.0
_EXPIRY_PAUSE = 5.0
"""Seconds between two looks for items that have expired."""
_TOPICS_EVERY = 15.0
_MAX_RETRY_PAUSE = 1.0
_MAX_RESTART_PAUSE = 30.0
_CLOSING = 8.0
"""Seconds that the parts of a worker have to end; what still waits for a server then is left."""


def run_writer(
    cluster: Cluster, stop: threading.Event, *, relay: bool = True, queue: bool = True
) -> None:
    """Do a writer worker's work until told to stop, whatever servers come and go meanwhile.

    Args:
        cluster: to work for.
        stop: when it is set, this gives up its leases and returns within seconds.
        relay: publish committed changes: one thread per configured shard, each only while the
            shard is a member, and it holds the shard's lease.
        queue: apply queued writes.
    """
    publisher = Publisher(cluster.config.kafka)  # of dead letters
    owner = f"{socket.gethostname()[:20]}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
    relays = [
        # One producer for each: nobody waits for what another shard's relay has sent.
        Relay(cluster, shard, owner, Publisher(cluster.config.kafka))
        for shard in cluster.configured.values()
    ]
    parts: dict[str, Callable[[], None]] = {"maintenance": partial(_maintain, cluster, stop)}
    for shard in cluster.configured.values():
        parts[f"expiry-{shard.id}"] = partial(_expire, Expirer(cluster, shard, stop), stop)
    if relay:
        parts |= {f"relay-{r.shard.id}": partial(_relay, cluster, r, stop) for r in relays}
    if queue:
        parts["queue"] = partial(_consume, cluster, publisher, stop)
    threads = [
        threading.Thread(target=_keep_up, args=(name, part, stop), name=name, daemon=True)
        for name, part in parts.items()
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    deadline = time.monotonic() + _CLOSING
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for each in relays:  # of those whose threads still wait for Kafka
        with suppress(ShardUnavailable):
            each.release()
        each.publisher.close()
    publisher.close()


def _relay(cluster: Cluster, relay: Relay, stop: threading.Event) -> None:
    trouble = Trouble(f"relay of {relay.shard.where}", stop)
    wake_ups = LocalWakeUps(
        cluster.id,
        relay_wake_ups(relay.shard.id),
        stop,
        listen=cluster.config.local_wakeups,
        all_here=is_here(relay.shard.config.host),
        at_once=True,
    )
    try:
        while not stop.is_set():
            if relay.shard.id not in cluster.shards:
                with suppress(ShardUnavailable):
                    relay.release()
                stop.wait(_NO_MEMBER_PAUSE)
                continue
            try:
                done = relay.step()
            except LogUnavailable as failure:
                with suppress(ShardUnavailable):
                    relay.release()  # perhaps another worker reaches Kafka
                trouble.wait(failure)
                _number_without_kafka(relay, trouble, stop)
                continue
            except Unavailable as failure:
                trouble.wait(failure)
                continue
            trouble.over()
            if not relay.holding:
                stop.wait(_STANDBY_PAUSE)
                continue
            if 0 < done < BATCH_ROWS:
                stop.wait(_GATHER)
            if not relay.more:
                wake_ups.wait(found=relay.found)
    finally:
        wake_ups.close()
        with suppress(ShardUnavailable):
            relay.release()


def _number_without_kafka(relay: Relay, trouble: Trouble, stop: threading.Event) -> None:
    """Number changes, for records of streams need no Kafka, until an attempt to reach it has come
    to its end."""
    attempt = threading.Thread(target=_try_kafka, args=(relay.publisher,), daemon=True)
    attempt.start()
    while attempt.is_alive() and not stop.is_set():
        try:
            relay.step(publish=False)
        except Unavailable as failure:
            trouble.wait(failure)
        stop.wait(_GATHER if relay.more else _NUMBER_PAUSE)


def _try_kafka(publisher: Publisher) -> None:
    with suppress(LogUnavailable):
        publisher.reach()


def _consume(cluster: Cluster, publisher: Publisher, stop: threading.Event) -> None:
    queue, trouble = WriteQueue(cluster, publisher), Trouble("queue of writes", stop)
    try:
        while not stop.is_set():
            try:
                queue.step()
            except Unavailable as failure:
                trouble.wait(failure)
                continue
            trouble.over()
    finally:
        queue.close()


def _maintain(cluster: Cluster, stop: threading.Event) -> None:
    maintenance, trouble = Maintenance(cluster), Trouble("maintenance", stop)
    topics_at = 0.0
    while not stop.is_set():
        try:
            more = maintenance.round()
            if time.monotonic() >= topics_at:
                ensure_topics(cluster.config.kafka)
                topics_at = time.monotonic() + _TOPICS_EVERY
        except Unavailable as failure:
            trouble.wait(failure)
            continue
        trouble.over()
        stop.wait(0 if more else _ROUND_PAUSE)


def _expire(expirer: Expirer, stop: threading.Event) -> None:
    trouble = Trouble(f"time to live on {expirer.shard.where}", stop)
    while not stop.is_set():
        try:
            expirer.round()
        except Unavailable as failure:
            trouble.wait(failure)
        else:
            trouble.over()
        stop.wait(_EXPIRY_PAUSE)


class Trouble:
    """A server that does not answer: said once, with growing pauses, and once when over.

    Args:
        what: has the trouble, for the log.
        stop: ends a pause.
    """

    def __init__(self, what: str, stop: threading.Event) -> None:
        self._what = what
        self._stop = stop
        self._attempts = 0

    def wait(self, failure: Unavailable) -> None:
        """Wait before the next attempt."""
        if self._attempts == 0 and not self._stop.is_set():
            log.warning("%s waits: %s", self._what, failure)
        self._stop.wait(min(_MAX_RETRY_PAUSE, 0.05 * 2 ** min(self._attempts, 10)))
        self._attempts += 1

    def over(self) -> None:
        """An attempt has succeeded."""
        if self._attempts:
            log.info("%s goes on", self._what)
            self._attempts = 0


def _keep_up(name: str, part: Callable[[], None], stop: threading.Event) -> None:
    """Run a part of the worker; when it fails in a way nobody foresaw, start it again."""
    pause = 0.5
    while not stop.is_set():
        started = time.monotonic()
        try:
            part()
        except Exception:
            if stop.is_set():  # servers and connections are going away
                return
            if time.monotonic() - started > _MAX_RESTART_PAUSE:
                pause = 0.5
            log.exception("the worker's part %s failed; it starts again in %g s", name, pause)
            stop.wait(pause)
            pause = min(_MAX_RESTART_PAUSE, pause * 2)
