"""Writes to one item take turns: in order, never in a circle, and patient while it moves on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from mynamo.catalog import shard as shard_module
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import RowKey
from mynamo.errors import InvalidItem, ShardUnavailable
from mynamo.writer.transaction.row_mutex import LockedRow, RowMutexes, row_mutexes_of
from tests.waiting import eventually

A: LockedRow = (1, RowKey(b"a" * 16, b""))
B: LockedRow = (1, RowKey(b"b" * 16, b""))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as pool:
        yield pool


def waiting(turns: RowMutexes, place: LockedRow) -> int:
    queue = turns._queues.get(place)
    return len(queue.waiting) if queue else 0


def test_one_at_a_time_and_first_come_first_served(threads: ThreadPoolExecutor) -> None:
    turns = RowMutexes("here")
    served: list[int] = []
    inside = threading.Lock()

    def work(number: int) -> None:
        with turns.held([A]):
            assert inside.acquire(blocking=False)
            served.append(number)
            inside.release()

    with turns.held([A]):
        done: list[Future[None]] = []
        for number in range(20):
            done.append(threads.submit(work, number))
            eventually(lambda wanted=number + 1: waiting(turns, A) == wanted)  # type: ignore[misc]
        assert served == []
    for future in done:
        future.result()
    assert served == list(range(20))
    assert turns._queues == {}


def test_other_items_do_not_wait(threads: ThreadPoolExecutor) -> None:
    turns = RowMutexes("here")

    def work() -> str:
        with turns.held([B]):
            return "done"

    with turns.held([A]):
        assert threads.submit(work).result(10) == "done"


def test_batches_that_overlap_do_not_wait_in_a_circle(threads: ThreadPoolExecutor) -> None:
    turns = RowMutexes("here")
    places = [(1, RowKey(bytes([n]) * 16, b"")) for n in range(5)]
    done = []

    def work(number: int) -> None:
        for turn in range(30):
            mine = sorted({places[(number + turn) % 5], places[(number * 2 + turn * 3) % 5]})
            with turns.held(mine):
                done.append(number)

    for future in [threads.submit(work, number) for number in range(8)]:
        future.result(30)
    assert len(done) == 8 * 30
    assert turns._queues == {}


def test_it_gives_up_when_nobody_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "PATIENCE", 0.05)
    turns = RowMutexes("here")
    with ThreadPoolExecutor(1) as pool, turns.held([B]):
        with pytest.raises(ShardUnavailable, match=r"here: writes to the same item"):
            pool.submit(lambda: turns.held([A, B]).__enter__()).result()
        assert A not in turns._queues  # given back
    assert turns._queues == {}


def test_it_waits_for_longer_than_its_patience_while_others_come_through(
    monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor
) -> None:
    """The last of the queue waits for the sum of all before it."""
    monkeypatch.setattr(shard_module, "PATIENCE", 2.0)
    turns = RowMutexes("here")
    never = threading.Event()

    def work() -> None:
        with turns.held([A]):
            never.wait(0.1)

    for future in [threads.submit(work) for _ in range(25)]:
        future.result()


def test_one_that_failed_is_no_sign_that_it_moves_on(
    monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor
) -> None:
    """Else a queue before a server that is down would take patience times its length."""
    monkeypatch.setattr(shard_module, "PATIENCE", 0.3)
    turns = RowMutexes("here")
    never = threading.Event()

    def work() -> None:
        with turns.held([A]):
            never.wait(0.2)
            raise ShardUnavailable("down")

    failures = [str(future.exception()) for future in [threads.submit(work) for _ in range(8)]]
    assert any("in vain" in failure for failure in failures)
    assert failures.count("down") < 8


def test_patience_counts_from_when_the_item_last_moved(threads: ThreadPoolExecutor) -> None:
    turns = RowMutexes("here")
    since: list[float] = []

    def work() -> None:
        with turns.held([A]) as when:
            since.append(when)

    with turns.held([A]) as mine:
        future = threads.submit(work)
        eventually(lambda: waiting(turns, A) == 1)
    future.result()
    assert since[0] > mine


@pytest.mark.parametrize("failure", [InvalidItem, ShardUnavailable])
def test_a_refusal_is_an_answer_and_silence_is_none(failure: type[Exception]) -> None:
    turns = RowMutexes("here")
    with suppress(failure), turns.held([A]):
        queue = turns._queues[A]
        queue.moved_at = 0.0
        raise failure
    assert (queue.moved_at > 0) == (failure is InvalidItem)


def test_every_shard_has_its_own() -> None:
    one, two = (
        DynamoDBShard(shard_index=n, host="127.0.0.1", user="u", password="p") for n in (1, 2)
    )
    assert row_mutexes_of(one) is row_mutexes_of(one)
    assert row_mutexes_of(one) is not row_mutexes_of(two)
