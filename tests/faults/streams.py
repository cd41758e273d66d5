"""The `changes` topic: following it during a run, and whether it tells each item's history."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from mynamo.catalog.incarnation import incarnation_of
from mynamo.schemas.config import KafkaConfig
from mynamo.schemas.events import ChangeEvent, load_event
from tests.faults.history import Key
from tests.faults.linearizability import Timeline
from tests.faults.model import Item, State

_POLL_MS = 300


class Follower:
    """Keeps every event of the topic, in the order of arrival, whatever becomes of the broker.

    A topic that was made anew is read from its beginning. Used as a context: it follows in a
    thread of its own, and stops at the end.

    Args:
        config: of the broker; it should be asked directly, past any proxy that fails.
        table: events of other tables are left out.
    """

    def __init__(self, config: KafkaConfig, table: str) -> None:
        self._config = config
        self._table = table
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._events: list[ChangeEvent] = []
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def events(self) -> list[ChangeEvent]:
        """All that has arrived so far; events that were sent again come again."""
        with self._lock:
            return list(self._events)

    def catch_up(self, seconds: float = 60.0) -> bool:
        """Wait until all that is in the topic now has arrived; returns whether it has."""
        self._caught_up.clear()
        return self._caught_up.wait(seconds)

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _follow(self) -> None:
        while not self._stop.is_set():
            consumer = None
            try:
                consumer = self._open()
                self._read(consumer)
            except (KafkaError, OSError, ValueError, AssertionError):
                self._stop.wait(0.5)
            finally:
                if consumer is not None:
                    consumer.close()

    def _open(self) -> Any:
        consumer = KafkaConsumer(
            bootstrap_servers=self._config.bootstrap_servers.split(","),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=10_000,
            metadata_max_age_ms=5_000,
        )
        try:
            topic = self._config.changes_topic
            if not consumer.partitions_for_topic(topic):
                raise ValueError("the topic is not there yet")
            consumer.assign([TopicPartition(topic, p) for p in range(self._config.partitions)])
            consumer.seek_to_beginning()
        except BaseException:
            consumer.close()
            raise
        return consumer

    def _read(self, consumer: Any) -> None:
        """Read until something fails. A topic that was made anew has other ends."""
        partitions = list(consumer.assignment())
        while not self._stop.is_set():
            wanted = not self._caught_up.is_set()
            ends = consumer.end_offsets(partitions) if wanted else {}
            if any(consumer.position(partition) > end for partition, end in ends.items()):
                return
            self._take(consumer.poll(timeout_ms=_POLL_MS))
            while any(consumer.position(partition) < end for partition, end in ends.items()):
                if self._stop.is_set():
                    return
                self._take(consumer.poll(timeout_ms=_POLL_MS))
            if wanted:
                self._caught_up.set()

    def _take(self, polled: Mapping[Any, Sequence[Any]]) -> None:
        for records in polled.values():
            events = [load_event(record.value) for record in records if record.value is not None]
            with self._lock:
                self._events += [event for event in events if event.table == self._table]


def read_topic(config: KafkaConfig, table: str) -> list[ChangeEvent]:
    """All events of a table that are in the topic now."""
    with Follower(config, table) as follower:
        assert follower.catch_up(), "the topic was not read in time"
        return follower.events


@dataclass
class Found:
    """What the stream tells, and what is wrong with it.

    Attributes:
        versions: of every write that set an `op`, by it.
        timelines: of the items whose changes are all there.
        checked: how many changes were looked at.
    """

    versions: dict[str, int] = field(default_factory=dict)
    timelines: dict[Key, Timeline] = field(default_factory=dict)
    checked: int = 0
    violations: list[str] = field(default_factory=list)


def check(
    events: Iterable[ChangeEvent],
    final: Mapping[Key, tuple[int, Item]] | None,
    acknowledged: Mapping[Key, Mapping[int, str | None]] | None = None,
    complete: bool = True,
) -> Found:
    """Check the history of each item.

    Args:
        events: in the order of arrival.
        final: every item that there is in the end, with its version; None: not known.
        acknowledged: by item, the versions that clients have receipts for, with the `op` that
            the item had then (None: it was deleted).
        complete: every change since the table was made must be there. If not (the broker lost
            what was in it), what is missing may be missing, and nothing else may be wrong.
    """
    found = Found()
    by_item = _once(events, found)
    keys = set(by_item) | set(final or {}) | set(acknowledged or {})
    for key in sorted(keys):
        changes = by_item.get(key, [])
        found.checked += len(changes)
        whole = _chain(key, changes, complete, found)
        if final is not None:
            whole = _ending(key, changes, final.get(key), complete, found) and whole
        _receipts(key, changes, (acknowledged or {}).get(key, {}), complete, found)
        if whole and (changes or complete):
            found.timelines[key] = _timeline(changes)
        for event in changes:
            item = item_of(event.new_image)
            if item is not None:
                known = found.versions.setdefault(item.op, event.version)
                if known != event.version:
                    found.violations.append(
                        f"{key}: {item.op} was committed twice, as versions {known} and "
                        f"{event.version}"
                    )
    return found


def item_of(image: Mapping[str, Mapping[str, Any]] | None) -> Item:
    """An item in DynamoDB JSON, as the checkers see it."""
    if image is None:
        return None
    number = {name: int(image[name]["N"]) for name in ("counter", "grade") if name in image}
    status = image["status"]["S"] if "status" in image else None
    return State(image["op"]["S"], number.get("counter"), status, number.get("grade"))


def key_of(image: Mapping[str, Mapping[str, Any]]) -> Key:
    """The key of an item in DynamoDB JSON."""
    return image["h"]["S"], int(image["n"]["N"])


def _once(events: Iterable[ChangeEvent], found: Found) -> dict[Key, list[ChangeEvent]]:
    """Changes by item, each once, in the order in which they first arrived."""
    known: dict[str, ChangeEvent] = {}
    by_item: dict[Key, list[ChangeEvent]] = defaultdict(list)
    for event in events:
        if event.event_id in known:
            if not _is_same(known[event.event_id], event):
                found.violations.append(f"event {event.event_id} came in two different forms")
            continue
        known[event.event_id] = event
        if event.origin == "write":
            by_item[key_of(event.keys)].append(event)
    return by_item


def sent_again(events: Iterable[ChangeEvent]) -> set[Key]:
    """Items with a change that came again from a new incarnation of the shard, as indexes had not
    said that they have it."""
    incarnations: dict[str, int] = {}
    return {
        key_of(event.keys)
        for event in events
        if incarnations.setdefault(event.event_id, incarnation_of(event.sequence))
        != incarnation_of(event.sequence)
    }


def _is_same(one: ChangeEvent, other: ChangeEvent) -> bool:
    """Whether it is one event; a shard's new incarnation gives it other numbers, nothing else."""
    if incarnation_of(one.sequence) != incarnation_of(other.sequence):
        numbers = {"sequence": one.sequence, "previous": one.previous}
        other = other.model_copy(update=numbers)
    return one == other


def _chain(key: Key, changes: Sequence[ChangeEvent], complete: bool, found: Found) -> bool:
    """Whether each change begins where the one before ended; tells of those that do not."""
    whole = True
    version, image = 0, None
    for event in changes:
        if event.version <= version:
            what = "came twice" if event.version == version else f"came after {version}"
            found.violations.append(
                f"{key}: version {event.version} ({event.event_id}) {what} in the stream"
            )
            return False
        if event.old_image != image:
            whole = False
            if complete:
                found.violations.append(
                    f"{key}: version {event.version} changes {_short(event.old_image)}, but the "
                    f"event before it (version {version}) left {_short(image)}: one is missing"
                )
        version, image = event.version, event.new_image
    return whole


def _ending(
    key: Key,
    changes: Sequence[ChangeEvent],
    last: tuple[int, Item] | None,
    complete: bool,
    found: Found,
) -> bool:
    """Whether the last change is what the table says; tells if it is not."""
    told = (changes[-1].version, item_of(changes[-1].new_image)) if changes else (0, None)
    if last is None:
        fits = told[1] is None
        newer = False
    else:
        fits = told == last
        newer = told[0] > last[0]
    if not fits and (complete or newer or (last is not None and told[0] == last[0])):
        there = f"version {last[0]}, {last[1]}" if last else "no item"
        found.violations.append(
            f"{key}: the stream ends with version {told[0]}, {told[1]}; the table has {there}"
        )
    return fits


def _receipts(
    key: Key,
    changes: Sequence[ChangeEvent],
    acknowledged: Mapping[int, str | None],
    complete: bool,
    found: Found,
) -> None:
    """Whether what clients have receipts for is in the stream, as what they wrote."""
    told = {event.version: item_of(event.new_image) for event in changes}
    for version, op in sorted(acknowledged.items()):
        if version not in told:
            if complete:
                found.violations.append(f"{key}: no event for version {version} ({op})")
            continue
        item = told[version]
        if (item.op if item else None) != op:
            found.violations.append(
                f"{key}: the event of version {version} shows {item}, but it was {op}'s"
            )


def _timeline(changes: Sequence[ChangeEvent]) -> Timeline:
    following: dict[int, tuple[int, str | None]] = {}
    version = 0
    for event in changes:
        item = item_of(event.new_image)
        following[version] = (event.version, item.op if item else None)
        version = event.version
    return Timeline(following)


def _short(image: Mapping[str, Any] | None) -> str:
    item = item_of(image)
    return "no item" if item is None else f"{item.op} (counter {item.counter})"
