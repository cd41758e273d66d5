"""What a follower's looks say is applied, is; and what processes count, all of them see."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from typing import Any

import pytest

from mynamo.gateway.own_writes import TABLES, AnsweredWrites
from mynamo.reader.index_progress import Look, Waiter


@dataclass
class Writer:
    """One that gets an id before it commits."""

    id: int = 0
    committed: bool = False


class Shard:
    """Writers, a relay and an indexer on one stream, which take steps in any order."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.writers = [Writer() for _ in range(4)]
        self.next_id = 1
        self.unnumbered: set[int] = set()
        self.numbered: list[int] = []
        self.applied = 0
        self.answered: set[int] = set()

    def step(self) -> None:
        """Something happens."""
        kind = self.chance.choice(["write", "write", "write", "relay", "index"])
        if kind == "relay":
            self.numbered += sorted(self.unnumbered)
            self.unnumbered = set()
        elif kind == "index":
            self.applied = min(self.applied + 2, len(self.numbered))
        else:
            writer = self.chance.choice(self.writers)
            if not writer.id:
                writer.id, self.next_id = self.next_id, self.next_id + 1
            elif not writer.committed:
                writer.committed = True
                self.unnumbered.add(writer.id)
            else:
                self.answered.add(writer.id)
                self.writers[self.writers.index(writer)] = Writer()

    def look(self) -> Look:
        """As the follower's three statements, between which things happen."""
        newest = max({*self.numbered, *self.unnumbered}, default=0)
        self.step()
        unnumbered = min(self.unnumbered, default=None)
        self.step()
        return Look(newest, unnumbered, {0: len(self.numbered)}, {0: self.applied})


class HighestAlone(Waiter):
    """Negative control: it takes ids for the order of commits."""

    def is_served_by(self, look: Look) -> bool:
        """Whether the change with the highest id is applied."""
        if self.newest is None:
            self.newest = look.newest
        return not self.newest or self.newest in shard.numbered[: shard.applied]


class NumberedOrNot(Waiter):
    """Negative control: it does not look for changes without a number."""

    def is_served_by(self, look: Look) -> bool:
        """Whether what is numbered is applied."""
        self.goals = self.goals or {0: look.last[0]}
        return look.applied[0] >= self.goals[0]


shard: Shard


def violations(kind: type[Waiter], seed: int) -> int:
    """How often a read that waited misses a write that was answered before it."""
    global shard  # which a control looks into
    shard = Shard(seed)
    found = 0
    for _ in range(20):
        for _ in range(shard.chance.randrange(20)):
            shard.step()
        before, waiter = set(shard.answered), kind([0])
        for _ in range(500):
            if waiter.is_served_by(shard.look()):
                break
            shard.step()
        else:
            pytest.fail("it waits for ever")
        found += not before <= set(shard.numbered[: shard.applied])
    return found


def test_who_waited_misses_nothing_that_was_answered_before() -> None:
    assert sum(violations(Waiter, seed) for seed in range(100)) == 0


@pytest.mark.parametrize("control", [HighestAlone, NumberedOrNot])
def test_less_would_not_do(control: type[Waiter]) -> None:
    assert sum(violations(control, seed) for seed in range(100)) > 0


def processes(count: int, **options: Any) -> list[AnsweredWrites]:
    """The counts as each of several processes has them after the fork."""
    first = AnsweredWrites(count, options.get("shards", (3, 1)), options.get("partitions", 2))
    made = [copy.copy(first) for _ in range(count)]
    for number, each in enumerate(made):
        each.become(number)
    return made


def test_all_see_what_each_has_counted() -> None:
    made = processes(3)
    made[0].count(7, 1, 0)
    made[1].count(7, 1, 0)
    made[2].count(7, 3, 1)
    made[2].count(8, 3, 1)
    for each in made:
        assert (each.total(7), each.total(8), each.total(9)) == (3, 1, 0)
        assert each.by_stream(7) == {1: [2, 0], 3: [0, 1]}
        assert each.by_stream(8) == {1: [0, 0], 3: [0, 1]}


def test_a_process_that_replaces_another_one_goes_on_counting() -> None:
    made = processes(2)
    made[1].count(7, 1, 1)
    successor = copy.copy(made[0])
    successor.become(1)
    successor.count(7, 1, 1)
    assert made[0].total(7) == 2


def test_there_may_be_more_tables_than_counts() -> None:
    (counts,) = processes(1)
    counts.count(5, 1, 0)
    counts.count(5 + TABLES, 1, 0)
    assert counts.total(5) == counts.total(5 + TABLES) == 2
