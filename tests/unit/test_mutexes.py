"""Mutexes of keys: first come first served, no deadlocks, and patience while others are served."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import RowKey
from mynamo.errors import InvalidItem, ShardUnavailable
from mynamo.runtime.mutexes import KeyMutexes
from mynamo.writer.transaction.commit import row_mutexes_of
from mynamo.writer.transaction.statements import LockedRow
from tests.waiting import eventually

A: LockedRow = (1, RowKey(b"a" * 16, b""))
B: LockedRow = (1, RowKey(b"b" * 16, b""))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as pool:
        yield pool


def new(patience: float = 30.0) -> KeyMutexes[LockedRow]:
    return KeyMutexes("here", lambda: patience)


def test_one_at_a_time_and_first_come_first_served(threads: ThreadPoolExecutor) -> None:
    mutexes = new()
    served: list[int] = []
    inside = threading.Lock()

    def work(number: int) -> None:
        with mutexes.held([A]):
            assert inside.acquire(blocking=False)
            served.append(number)
            inside.release()

    with mutexes.held([A]):
        done: list[Future[None]] = []
        for number in range(20):
            done.append(threads.submit(work, number))
            eventually(lambda wanted=number + 1: mutexes.waiting(A) == wanted)  # type: ignore[misc]
        assert served == []
    for future in done:
        future.result()
    assert served == list(range(20))
    assert mutexes.waiting(A) is None


def test_other_items_do_not_wait(threads: ThreadPoolExecutor) -> None:
    mutexes = new()

    def work() -> str:
        with mutexes.held([B]):
            return "done"

    with mutexes.held([A]):
        assert threads.submit(work).result(10) == "done"


def test_batches_that_overlap_do_not_wait_in_a_circle(threads: ThreadPoolExecutor) -> None:
    mutexes = new()
    rows = [(1, RowKey(bytes([n]) * 16, b"")) for n in range(5)]
    done = []

    def work(number: int) -> None:
        for n in range(30):
            mine = sorted({rows[(number + n) % 5], rows[(number * 2 + n * 3) % 5]})
            with mutexes.held(mine):
                done.append(number)

    for future in [threads.submit(work, number) for number in range(8)]:
        future.result(30)
    assert len(done) == 8 * 30
    assert [mutexes.waiting(row) for row in rows] == [None] * len(rows)


def test_it_gives_up_when_nobody_comes_through() -> None:
    mutexes = new(0.05)
    with ThreadPoolExecutor(1) as pool, mutexes.held([B]):
        with pytest.raises(ShardUnavailable, match=r"here: writes to the same item"):
            pool.submit(lambda: mutexes.held([A, B]).__enter__()).result()
        assert mutexes.waiting(A) is None  # given back
    assert mutexes.waiting(B) is None


def test_it_waits_for_longer_than_its_patience_while_others_come_through(
    threads: ThreadPoolExecutor,
) -> None:
    """The last of the queue waits for the sum of all before it."""
    mutexes = new(2.0)
    never = threading.Event()

    def work() -> None:
        with mutexes.held([A]):
            never.wait(0.1)

    for future in [threads.submit(work) for _ in range(25)]:
        future.result()


def test_one_that_failed_is_no_sign_that_it_moves_on(threads: ThreadPoolExecutor) -> None:
    """Else a queue before a server that is down would take patience times its length."""
    mutexes = new(0.3)
    never = threading.Event()

    def work() -> None:
        with mutexes.held([A]):
            never.wait(0.2)
            raise ShardUnavailable("down")

    failures = [str(future.exception()) for future in [threads.submit(work) for _ in range(8)]]
    assert any("in vain" in failure for failure in failures)
    assert failures.count("down") < 8


def test_patience_counts_from_when_the_item_last_moved(threads: ThreadPoolExecutor) -> None:
    mutexes = new()
    since: list[float] = []

    def work() -> None:
        with mutexes.held([A]) as when:
            since.append(when)

    with mutexes.held([A]) as mine:
        future = threads.submit(work)
        eventually(lambda: mutexes.waiting(A) == 1)
    future.result()
    assert since[0] > mine


@pytest.mark.parametrize("failure", [InvalidItem, ShardUnavailable])
def test_a_refusal_is_an_answer_and_silence_is_none(
    failure: type[Exception], threads: ThreadPoolExecutor
) -> None:
    mutexes = new()

    def since() -> float:
        with mutexes.held([A]) as when:
            return when

    with suppress(failure), mutexes.held([A]):
        waiting = threads.submit(since)
        eventually(lambda: mutexes.waiting(A) == 1)
        before = time.monotonic()
        raise failure
    assert (waiting.result() >= before) == (failure is InvalidItem)


def test_every_shard_has_its_own() -> None:
    one, two = (
        DynamoDBShard(shard_index=n, host="127.0.0.1", user="u", password="p") for n in (1, 2)
    )
    assert row_mutexes_of(one) is row_mutexes_of(one)
    assert row_mutexes_of(one) is not row_mutexes_of(two)
