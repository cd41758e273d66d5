"""Waiting for the newest writes is waiting for all of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from mynamo.reader.waiting import OwnWrites, PendingTokens
from mynamo.schemas.events import ConsistencyToken


def token(version: int, partition: int = 0, shard: int = 1) -> ConsistencyToken:
    return ConsistencyToken(1, shard, partition, version)


def write(own: OwnWrites, written: ConsistencyToken, table: str = "orders") -> None:
    own.end(table, own.begin(table), written)


def test_one_writer_waits_for_one_write_per_stream() -> None:
    own = OwnWrites()
    for version in range(1, 100):
        write(own, token(version, partition=version % 3))
    assert own.waiting("orders") == {token(97, 1), token(98, 2), token(99, 0)}


def test_writes_that_overlap_are_all_waited_for() -> None:
    own = OwnWrites()
    one, other = own.begin("orders"), own.begin("orders")
    own.end("orders", one, token(2))
    own.end("orders", other, token(1))
    assert own.waiting("orders") == {token(1), token(2)}
    write(own, token(3))
    assert own.waiting("orders") == {token(3)}


def test_what_is_applied_is_forgotten() -> None:
    own = OwnWrites()
    write(own, token(1))
    before = own.waiting("orders")
    write(own, token(2, partition=1))
    own.applied("orders", before)
    assert own.waiting("orders") == {token(2, partition=1)}


def test_tables_and_writes_that_changed_nothing() -> None:
    own = OwnWrites()
    write(own, token(0))
    write(own, token(1), table="others")
    assert own.waiting("orders") == frozenset()


class NewestOnly(OwnWrites):
    """Negative control: it takes ids for the order of commits."""

    def end(self, table: str, seen: PendingTokens, token: ConsistencyToken) -> None:
        newest = max([token, *self.waiting(table)], key=lambda t: t.version)
        self.applied(table, self.waiting(table))
        super().end(table, seen, newest)


@dataclass
class Writer:
    seen: PendingTokens | None = None
    version: int = 0
    committed: bool = False


def violations(own: OwnWrites, seed: int) -> int:
    """Writers, a relay and an indexer on one stream, taking steps in any order.

    Ids are given before the commit; the relay gives committed writes their sequence, in the
    order of ids. Counts the moments at which all awaited writes are applied, and some
    write that has returned is not.
    """
    chance = random.Random(seed)
    writers = [Writer() for _ in range(3)]
    next_id, sequence, applied = 1, list[int](), 0
    unsequenced: set[int] = set()
    returned: set[int] = set()
    found = 0
    for _ in range(200):
        step = chance.choice(["write", "write", "write", "relay", "index"])
        if step == "relay":
            sequence += sorted(unsequenced)
            unsequenced = set()
        elif step == "index" and applied < len(sequence):
            applied += 1
        elif step == "write":
            writer = chance.choice(writers)
            if writer.seen is None:
                writer.seen = own.begin("orders")
            elif not writer.version:
                writer.version, next_id = next_id, next_id + 1
            elif not writer.committed:
                writer.committed = True
                unsequenced.add(writer.version)
            else:
                own.end("orders", writer.seen, token(writer.version))
                returned.add(writer.version)
                writers[writers.index(writer)] = Writer()
        done = set(sequence[:applied])
        if {t.version for t in own.waiting("orders")} <= done and not returned <= done:
            found += 1
    return found


def test_applying_the_awaited_writes_applies_all() -> None:
    assert sum(violations(OwnWrites(), seed) for seed in range(100)) == 0


def test_the_highest_id_alone_would_not_do() -> None:
    assert sum(violations(NewestOnly(), seed) for seed in range(100)) > 0


@pytest.mark.parametrize("writers", [1, 4])
def test_the_tokens_stay_few(writers: int) -> None:
    own = OwnWrites()
    for round_ in range(200):
        pending = [own.begin("orders") for _ in range(writers)]
        for number, seen in enumerate(pending):
            own.end("orders", seen, token(1 + round_ * writers + number))
    assert len(own.waiting("orders")) <= writers
