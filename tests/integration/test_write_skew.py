"""No write skew over several shards: of two transactions that each check what the
other one writes, at most one happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Literal

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import Action, intents_in
from mynamo.catalog.tables import Table
from mynamo.errors import TransactionCanceled
from mynamo.mysql.pool import Statement
from mynamo.producer import MUST_NOT_EXIST, Check, Producer, Put
from mynamo.schemas.items import to_stored
from mynamo.writer.transaction import across_shards
from tests.intents import release
from tests.rows import damage, everywhere, items_of

IS_OFF = "s = :off"
"""A condition on an item that is there."""
Order = Literal["the writes decide", "the checks decide", "one of each"]
ORDERS: tuple[Order, ...] = ("the writes decide", "the checks decide", "one of each")
INTENTS: Statement = (
    "SELECT table_id, hash, sort, transaction_id, decider, generation, action, item, token"
    " FROM mynamo_intent WHERE action = %s",
    (int(Action.CHECK),),
)


def key(name: str) -> dict[str, str]:
    return {"id": name, "at": "1"}


def pairs_of_keys(cluster: Cluster, table: Table, there: bool) -> Iterator[tuple[str, str]]:
    """Hash keys of two items each, on different shards; `there`: the items exist, and are off."""
    by_shard: dict[int, list[str]] = {1: [], 2: []}
    with Producer(cluster) as producer:
        for number in range(100_000):
            name = f"n{number}"
            row = table.key_of(to_stored(key(name)))
            by_shard[cluster.shard_of(row.hash).id].append(name)
            if all(by_shard.values()):
                one, two = (names.pop() for names in by_shard.values())
                if there:
                    for each in (one, two):
                        producer.put("orders", {**key(each), "s": "off"})
                yield one, two


def requests(one: str, two: str, there: bool, order: Order) -> tuple[list[Any], list[Any]]:
    """Of two transactions: each turns an item on if the other one is off."""

    def of(mine: str, others: str, first: str) -> list[Any]:
        put = Put("orders", {**key(mine), "s": "on"})
        if there:
            check = Check("orders", key(others), IS_OFF, values={":off": "off"})
        else:
            check = Check("orders", key(others), MUST_NOT_EXIST)
        return [put, check] if first == "put" else [check, put]

    first, second = {
        "the writes decide": ("put", "put"),
        "the checks decide": ("check", "check"),
        "one of each": ("put", "check"),
    }[order]
    return of(one, two, first), of(two, one, second)


def happens(producer: Producer, writes: Sequence[Any]) -> bool:
    try:
        producer.transact(writes)
    except TransactionCanceled:
        return False
    return True


def on(cluster: Cluster, table: Table) -> set[str]:
    """The keys of items that were turned on."""
    items = (item for _, item in items_of(cluster, table).values())
    return {item["id"]["S"] for item in items if item.get("s") == {"S": "on"}}


def check_all_is_well(cluster: Cluster, table: Table) -> None:
    """No intent, mark or placeholder is left, and events fit the items."""
    assert everywhere(cluster, "SELECT 1 FROM mynamo_intent") == []
    assert damage(cluster, table) == []


@pytest.mark.parametrize("there", [False, True], ids=["absent", "there"])
@pytest.mark.parametrize("order", ORDERS)
def test_of_two_that_check_what_the_other_one_writes_one_happens(
    cluster: Cluster, other: Cluster, orders: Table, there: bool, order: Order
) -> None:
    """Many such pairs side by side, the two of each in two processes."""
    rounds = 40
    keys = pairs_of_keys(cluster, orders, there)
    pairs = [next(keys) for _ in range(rounds)]
    with (
        Producer(cluster) as first, Producer(other) as second, ThreadPoolExecutor(8) as pool
    ):  # fmt: skip
        begun = [
            [pool.submit(happens, producer, writes) for producer, writes in zip(
                (first, second), requests(*pair, there, order), strict=True)]
            for pair in pairs
        ]  # fmt: skip
        happened = [[each.result() for each in round_] for round_ in begun]
    assert [True, True] not in happened
    winners = {
        name
        for pair, round_ in zip(pairs, happened, strict=True)
        for name, won in zip(pair, round_, strict=True)
        if won
    }
    assert winners
    assert on(cluster, orders) == winners
    check_all_is_well(cluster, orders)


class Together:
    """Lets two transactions meet between T3 and T4: each has evaluated its check, and neither has
    been decided."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, cluster: Cluster, table: Table, holds_checks: bool
    ) -> None:
        self._cluster = cluster
        self._table = table
        self._holds_checks = holds_checks
        self._lock = threading.Lock()
        self.met = 0
        self.begin()
        monkeypatch.setattr(across_shards, "crash_point", self._crash_point)

    def begin(self) -> None:
        """Of two other transactions."""
        self._meeting = threading.Barrier(2, self._note)

    def _note(self) -> None:
        self.met += 1

    def _crash_point(self, name: str) -> None:
        if name != "transact.3":
            return
        with suppress(threading.BrokenBarrierError):
            self._meeting.wait(20)
        self._meeting.abort()  # later attempts do not wait
        if not self._holds_checks:
            with self._lock:
                for shard in self._cluster.shards.values():
                    release(self._cluster, self._table, *intents_in(shard.run(INTENTS)[0]))


def skewed(
    cluster: Cluster, other: Cluster, together: Together, pairs: Sequence[tuple[str, str]],
    there: bool,
) -> int:  # fmt: skip
    """How often both of two transactions happened, though one must not."""
    both = 0
    with (
        Producer(cluster) as first, Producer(other) as second, ThreadPoolExecutor(2) as pool
    ):  # fmt: skip
        for pair in pairs:
            together.begin()
            one, two = requests(*pair, there, "the writes decide")
            began = pool.submit(happens, first, one), pool.submit(happens, second, two)
            happened = [each.result() for each in began]
            both += all(happened)
    return both


@pytest.mark.parametrize("there", [False, True], ids=["absent", "there"])
@pytest.mark.parametrize("control", [False, True])
def test_at_the_worst_moment(
    cluster: Cluster,
    other: Cluster,
    orders: Table,
    there: bool,
    control: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: what is only checked gets no intent, and both happen."""
    together = Together(monkeypatch, cluster, orders, holds_checks=not control)
    keys = pairs_of_keys(cluster, orders, there)
    pairs = [next(keys) for _ in range(5)]
    assert skewed(cluster, other, together, pairs, there) == (5 if control else 0)
    assert together.met == 5
    check_all_is_well(cluster, orders)
