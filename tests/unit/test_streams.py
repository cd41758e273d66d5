"""Exactly once in effect: whatever a log does to a stream, the rows come out the same.

A small model of the indexers' world runs the production functions for sifting, effects
and checkpoints: two target shards, workers that crash half-way, messages in any slices,
and zombies that apply late what they took early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mynamo.catalog.gsi_rows import GsiRow
from mynamo.gsi_indexer import apply
from mynamo.gsi_indexer import apply as apply_module
from mynamo.gsi_indexer import arrivals as arrivals_module
from mynamo.gsi_indexer.apply import Effect
from mynamo.gsi_indexer.arrivals import Arrival, Classified, Positions, Stream, classify
from mynamo.schemas.items import StoredItem, dump_item
from tests.unit.histories import Change, arrivals_of, index, item, table

THINGS = table(index(1), index(2, hash_key="note"))
Rows = dict[tuple[int, GsiRow], bytes]


@dataclass
class Target:
    """One shard's GSI tables."""

    contained: dict[Stream, int] = field(default_factory=dict)
    rows: Rows = field(default_factory=dict)

    def apply(self, part: Sequence[Effect]) -> None:
        """One transaction."""
        contained = {effect.stream: self.contained.get(effect.stream, 0) for effect in part}
        fresh = [effect for effect in part if apply.is_fresh(effect, contained)]
        for key, change in apply_module.net_effect(c for e in fresh for c in e.changes).items():
            self.rows.pop(key, None)
            if change.item is not None:
                self.rows[key] = change.item
        self.contained.update({effect.stream: effect.sequence for effect in fresh})


@dataclass
class World:
    """Two targets, the progress that the streams' own shards know, and three workers."""

    log: list[Arrival]
    targets: tuple[Target, Target] = field(default_factory=lambda: (Target(), Target()))
    home: dict[Stream, int] = field(default_factory=lambda: {Stream(1, 0): 0, Stream(2, 0): 0})
    workers: list[Positions] = field(default_factory=list)
    held: list[Classified] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number in range(3):
            self.workers.append(Positions())
            self.restart(number)

    def restart(self, worker: int) -> None:
        """A worker is given the partition."""
        self.workers[worker].forget([0])
        self.workers[worker].raise_to(self.home)

    def deliver(self, worker: int, first: int, last: int, targets: int) -> None:
        """A worker reads a slice of the log, and dies after so many targets of 2."""
        classified = classify(self.workers[worker].applied, self.log[first:last])
        if self.apply(classified, targets):
            self.workers[worker].raise_to(classified.reached)
        else:
            self.restart(worker)

    def hold(self, worker: int, first: int, last: int) -> None:
        """A worker reads a slice of the log and is stopped before it applies it."""
        self.held.append(classify(self.workers[worker].applied, self.log[first:last]))

    def wake(self) -> None:
        """All that were stopped go on."""
        for classified in self.held:
            self.apply(classified, 2)
        self.held.clear()

    def apply(self, classified: Classified, targets: int) -> bool:
        parts: tuple[list[Effect], list[Effect]] = ([], [])
        for arrival in classified.fresh:
            assert arrival.event is not None
            changes = apply_module.changes_of(arrival.event, THINGS)
            for number, part in enumerate(parts):
                mine = [c for c in changes if c.row.index_hash[0] % 2 == number]
                if mine:
                    part.append(Effect(arrival.stream, arrival.sequence, mine))
        for target, part in list(zip(self.targets, parts, strict=True))[:targets]:
            target.apply(part)
        if targets < 2:
            return False
        for stream, sequence in classified.reached.items():
            self.home[stream] = max(sequence, self.home[stream])
        return True

    def finish(self) -> None:
        """What the log lost is published again, from the recorded progress on."""
        self.restart(0)
        self.deliver(0, 0, len(self.log), 2)

    @property
    def rows(self) -> Rows:
        return {**self.targets[0].rows, **self.targets[1].rows}


def expected(items: dict[str, StoredItem]) -> Rows:
    """The function of the final items that the indexes are to be equal to."""
    rows = {}
    for stored in items.values():
        key = THINGS.key_of({"id": stored["id"]})
        for one in THINGS.indexes:
            place = one.key_of(stored)
            if place is not None:
                row = GsiRow(place.hash, place.sort, key.hash, key.sort)
                rows[one.id, row] = dump_item(stored)
    return rows


def items_of(keys: Sequence[str]) -> st.SearchStrategy[Change]:
    """Changes of few items with few index keys, so that they meet often."""

    def change(key: str, group: str | None, note: str | None, gone: bool, feeds: bool) -> Change:
        given_values = {"group": group, "note": note}
        values = {name: value for name, value in given_values.items() if value}
        return key, None if gone else item(key, **values), feeds

    some = st.sampled_from([None, "x", "y", "z"])
    return st.builds(
        change,
        st.sampled_from(keys),
        some,
        some,
        st.booleans(),
        st.sampled_from([True] * 4 + [False]),
    )


CHANGES = st.lists(items_of(["a1", "a2", "b1"]), min_size=1, max_size=25)
PLACES = st.integers(0, 25)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.integers(0, 2), PLACES, PLACES, st.integers(0, 2)),
        st.tuples(st.just("hold"), st.integers(0, 2), PLACES, PLACES),
        st.tuples(st.just("restart"), st.integers(0, 2)),
        st.tuples(st.just("wake")),
    ),
    max_size=15,
)


@given(CHANGES, STEPS)
def test_any_delivery_ends_in_the_function_of_the_items(
    changes: list[Change], steps: list[tuple[Any, ...]]
) -> None:
    log, items = arrivals_of(changes)
    world = World(log)
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    world.finish()
    world.wake()  # the latest of all: when everything has been applied long ago
    assert world.rows == expected(items)


@given(CHANGES, STEPS)
def test_the_recorded_progress_is_never_ahead_of_the_rows(
    changes: list[Change], steps: list[tuple[Any, ...]]
) -> None:
    """At any moment: what follows on the recorded progress is all that is missing."""
    log, items = arrivals_of(changes)
    world = World(log)
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    rest = [a for a in log if a.sequence > world.home[a.stream]]
    world.restart(1)
    assert not classify(world.home, rest).gaps
    world.log = rest
    world.deliver(1, 0, len(rest), 2)
    assert world.rows == expected(items)


# The same world without one of its mechanisms: each time the comparison finds the damage.

X, Y, Z = (("a1", item("a1", group=group), True) for group in "xyz")
MOVES = [X, Y, X, Z]


def late_zombie() -> tuple[Rows, Rows]:
    """A zombie takes the first moves and applies them after all of them were applied."""
    log, items = arrivals_of(MOVES)
    world = World(log)
    world.hold(1, 0, 2)
    world.finish()
    world.wake()
    return world.rows, expected(items)


def lossy_log() -> tuple[Rows, Rows]:
    """The log loses the first event; the relay publishes everything again later."""
    log, items = arrivals_of(MOVES)
    world = World(log)
    world.deliver(0, 1, 3, 2)
    world.finish()
    return world.rows, expected(items)


def repeated_log() -> tuple[Rows, Rows]:
    """The log has the middle once more after the end."""
    log, items = arrivals_of(MOVES)
    world = World([*log, *log[1:3]])
    world.finish()
    return world.rows, expected(items)


@pytest.mark.parametrize("story", [late_zombie, lossy_log, repeated_log])
def test_each_story_ends_well(story: Any) -> None:
    rows, wanted = story()
    assert rows == wanted


def test_without_checkpoints_a_late_zombie_does_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "is_fresh", lambda effect, contained: True)
    rows, wanted = late_zombie()
    assert rows != wanted


def test_without_gap_detection_a_lost_event_does_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_module, "is_gap", lambda arrival, position: False)
    log, items = arrivals_of([X, ("a2", item("a2", group="x"), True), Y])
    world = World(log)
    world.deliver(0, 2, 3, 2)  # the broker lost the first two
    world.finish()
    assert world.rows != expected(items)


def test_without_order_a_repetition_does_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "is_fresh", lambda effect, contained: True)
    monkeypatch.setattr(
        "tests.unit.test_streams.classify",
        lambda positions, arrivals: Classified(
            list(arrivals), {a.stream: a.sequence for a in arrivals if a.feeds}
        ),
    )
    rows, wanted = repeated_log()
    assert rows != wanted


def test_without_old_images_old_rows_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    changes_of = apply_module.changes_of
    monkeypatch.setattr(
        apply_module, "changes_of", lambda e, t: [c for c in changes_of(e, t) if c.item is not None]
    )
    rows, wanted = late_zombie()
    assert rows != wanted


# Sifting, rule by rule.

STREAM = Stream(1, 0)


def arrival(sequence: int, previous: int, feeds: bool = True) -> Arrival:
    return Arrival(STREAM, sequence, previous, feeds, None)


def sequences(classified: Classified) -> list[int]:
    return [one.sequence for one in classified.fresh]


def test_events_that_follow_are_fresh_whatever_numbers_lie_between() -> None:
    classified = classify({STREAM: 4}, [arrival(9, 4), arrival(12, 9)])
    assert sequences(classified) == [9, 12]
    assert classified.reached == {STREAM: 12}
    assert not classified.gaps


def test_known_events_are_dropped() -> None:
    classified = classify(
        {STREAM: 9}, [arrival(4, 0), arrival(9, 4), arrival(12, 9), arrival(9, 4)]
    )
    assert sequences(classified) == [12]


def test_a_stream_stops_before_a_gap_and_goes_on_when_it_is_closed() -> None:
    classified = classify(
        {STREAM: 4}, [arrival(12, 9), arrival(13, 12), arrival(9, 4), arrival(12, 9)]
    )
    assert sequences(classified) == [9, 12]
    assert classified.gaps == {STREAM}


def test_an_event_that_feeds_no_index_moves_nothing_but_shows_a_gap() -> None:
    assert classify({STREAM: 4}, [arrival(5, 4, feeds=False)]) == Classified()
    assert classify({STREAM: 4}, [arrival(12, 9, feeds=False)]).gaps == {STREAM}


def test_sifting_changes_no_positions() -> None:
    positions = {STREAM: 4}
    classify(positions, [arrival(9, 4)])
    assert positions == {STREAM: 4}


def test_positions_of_a_partition_are_forgotten_together() -> None:
    positions = Positions()
    positions.raise_to({Stream(1, 0): 3, Stream(2, 0): 4, Stream(1, 1): 5})
    positions.raise_to({Stream(1, 0): 2})
    assert positions.applied[Stream(1, 0)] == 3
    positions.forget([0])
    assert positions.applied == {Stream(1, 1): 5}
    assert positions.unknown([2, 1, 0], [1]) == {1}
