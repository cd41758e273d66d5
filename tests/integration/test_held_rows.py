"""Rows that somebody else holds, on both engines: who does not write them does not wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.sql import main_table
from mynamo.catalog.tables import Table
from mynamo.errors import ConditionFailed, InternalError, ShardUnavailable
from mynamo.mysql import pool
from mynamo.mysql.pool import Statement
from mynamo.producer import Producer
from mynamo.runtime.batching import BatcherPerKey
from mynamo.runtime.tasks import Scheduler
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import dump_item
from mynamo.writer.transaction import commit, evaluation, group_commit, statements
from mynamo.writer.transaction.write_requests import Write
from tests.adding_process import KEY, add
from tests.integration.test_contention import rewrite_session
from tests.integration.test_group_commit import Gate, all_at_once
from tests.rows import damage, everywhere, items_of, make_table, select
from tests.tasks import spawn
from tests.waiting import eventually

STORED_KEY = {name: {"S": value} for name, value in KEY.items()}
STRANGERS = 50
LOCKING = "SELECT hash, sort, version, item FROM t"
"""How the statement begins that locks items."""


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """One shard, so that all writes meet."""
    return engine_config.model_copy(update={"shards": engine_config.shards[:1]})


def shard_of(cluster: Cluster) -> DynamoDBShard:
    """The only one."""
    (shard,) = cluster.shards.values()
    return shard


@pytest.fixture
def orders(cluster: Cluster) -> Table:
    return make_table(cluster)


@pytest.fixture
def producer(cluster: Cluster, orders: Table) -> Producer:
    return Producer(cluster)


def additions(cluster: Cluster, orders: Table) -> int:
    """How many `add` has made; the indexes and events fit."""
    assert damage(cluster, orders) == []
    return int(items_of(cluster, orders)[orders.key_of(STORED_KEY)][1]["n"]["N"])


def a_row(table: Table, _: Table) -> list[Statement]:
    row = table.key_of(STORED_KEY)
    return [(f"SELECT 1 FROM {main_table(table.id)} WHERE hash = %s AND sort = %s FOR UPDATE", row)]


def a_deletion(table: Table, _: Table) -> list[Statement]:
    row = table.key_of(STORED_KEY)
    return [(f"DELETE FROM {main_table(table.id)} WHERE hash = %s AND sort = %s", row)]


def an_insertion(table: Table, _: Table) -> list[Statement]:
    row = table.key_of(STORED_KEY)
    values = (*row, dump_item(STORED_KEY))
    return [(f"INSERT INTO {main_table(table.id)} VALUES (%s, %s, 1, %s)", values)]


def a_guard(_: Table, other: Table) -> list[Statement]:
    return [("SELECT 1 FROM mynamo_fence WHERE id = %s FOR UPDATE", (other.id,))]


Holding = Callable[[Table, Table], list[Statement]]


@pytest.fixture
def careful(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> commit.LockWaits:
    """Batches of this cluster are careful, as if somebody had waited long."""
    monkeypatch.setattr(commit, "CAREFUL_FOR", 600.0)
    return be_careful(cluster)


def be_careful(cluster: Cluster) -> commit.LockWaits:
    lock_waits = commit.lock_waits_of(shard_of(cluster))
    lock_waits.note()
    return lock_waits


@contextmanager
def held(config: ClusterConfig, statements: Sequence[Statement]) -> Iterator[None]:
    """Keep open what another process's transaction has done."""
    with Cluster(config) as other, shard_of(other).session() as session:
        session.run(("BEGIN", ()), *statements)
        yield
        session.rollback()


@contextmanager
def strangers_and_a_writer(
    config: ClusterConfig, cluster: Cluster, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[Future[Any]], Future[Any], Callable[[], None]]]:
    """A batch of strangers' puts, and in their midst a write of what somebody else holds.

    Yields:
        The puts, the write, and what lets go of what is held.
    """
    # Neither the holder's session nor the wait for it ends by itself while a test looks.
    rewrite_session(monkeypatch, f"wait_timeout = {pool.WAIT_TIMEOUT}", 120)
    rewrite_session(monkeypatch, "innodb_lock_wait_timeout = 2", 60)
    orders, other = cluster.table("orders"), make_table(cluster, "other")
    producer = Producer(cluster)
    if holding is not an_insertion:
        add(producer)
    shard_of(cluster).pool.close_idle()
    work: list[Callable[[], Any]] = [
        lambda n=n: producer.put("orders", {"id": f"s{n}", "at": "1", "price": n})  # type: ignore[misc]
        for n in range(STRANGERS)
    ]
    writer = (lambda: producer.put("other", KEY)) if holding is a_guard else (lambda: add(producer))
    work.insert(7, writer)
    gate = Gate(monkeypatch)
    with ExitStack() as holder:
        holder.enter_context(held(config, holding(orders, other)))
        with all_at_once(gate, cluster, work) as futures:
            try:
                yield [*futures[:7], *futures[8:]], futures[7], holder.close
            finally:
                holder.close()
    assert gate.sizes[:2] == [1, STRANGERS + 1]


def only_the_writer_waits(
    puts: Sequence[Future[Any]], write: Future[Any], let_go: Callable[[], None]
) -> None:
    """See that strangers' puts commit meanwhile, and the write in the end."""
    for put in puts:
        put.result(60)
    assert not write.done()
    let_go()
    write.result(60)


def all_wait(
    cluster: Cluster,
    waiting_at: str,
    puts: Sequence[Future[Any]],
    write: Future[Any],
    let_go: Callable[[], None],
) -> None:
    """See that strangers' puts wait together with the write, at a statement that begins so."""
    eventually(lambda: sessions_at(shard_of(cluster), waiting_at))
    assert not any(put.done() for put in puts)
    let_go()
    for done in (*puts, write):
        done.result(60)


@pytest.mark.usefixtures("careful")
@pytest.mark.parametrize("holding", [a_row, a_deletion, an_insertion, a_guard])
def test_strangers_commit_while_somebody_holds_a_row_of_their_batch(
    config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
    holding: Holding,
) -> None:
    with strangers_and_a_writer(config, cluster, holding, monkeypatch) as under_way:
        only_the_writer_waits(*under_way)
    found = items_of(cluster, orders)
    assert len(found) == STRANGERS + 2
    assert damage(cluster, orders) == []


def waits(statements: Any) -> Any:
    """Statements of step 1 that wait for whoever holds a lock."""
    return lambda *given: statements(*given[:-1], "")


def no_looks(rows: Any) -> tuple[list[Statement], list[Statement]]:
    return [("SELECT 1 FROM mynamo_shard WHERE 1 = 0", ())], []


@pytest.mark.parametrize(
    ("holding", "taken_out", "waiting_at"),
    [
        (a_row, "careful", LOCKING),
        (a_guard, "careful", "SELECT id, version FROM mynamo_fence"),
        (an_insertion, "careful", LOCKING),
        (a_deletion, "careful", LOCKING),
        (a_row, "SKIP LOCKED", LOCKING),
        (a_guard, "SKIP LOCKED", "SELECT id, version FROM mynamo_fence"),
        (an_insertion, "looks", "INSERT INTO t"),
        (a_deletion, "looks", "INSERT INTO t"),
    ],
)
def test_control_otherwise_they_wait_for_it(
    config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
    careful: commit.LockWaits,
    holding: Holding,
    taken_out: str,
    waiting_at: str,
) -> None:
    if taken_out == "careful":
        careful.careful_until = 0.0
    elif taken_out == "looks":
        monkeypatch.setattr(commit, "looks", no_looks)
    else:
        monkeypatch.setattr(commit, "lock_statements", waits(statements.lock_statements))
    with strangers_and_a_writer(config, cluster, holding, monkeypatch) as under_way:
        all_wait(cluster, waiting_at, *under_way)


def sessions_at(shard: DynamoDBShard, beginning: str) -> int:
    """How many sessions are at such a statement."""
    words = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE %s"
    return int(select(shard, words, f"{beginning}%")[0][0])


@pytest.mark.parametrize("wait", ["long", "in vain"])
def test_a_batch_that_has_waited_long_makes_the_next_ones_careful(
    config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
    wait: str,
) -> None:
    add(Producer(cluster))
    careful_batches = noting_careful(monkeypatch)
    wait_in_a_batch(config, cluster, orders, monkeypatch, wait)
    commit.lock_waits_of(shard_of(cluster)).left.clear()
    with strangers_and_a_writer(config, cluster, a_row, monkeypatch) as under_way:
        only_the_writer_waits(*under_way)
    assert careful_batches[0] is False
    assert careful_batches[-1] is True
    assert damage(cluster, orders) == []


@pytest.mark.parametrize("wait", ["long", "in vain"])
def test_control_if_no_wait_made_them_careful_strangers_would_wait_again(
    config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
    wait: str,
) -> None:
    monkeypatch.setattr(commit.LockWaits, "note", lambda _: None)
    add(Producer(cluster))
    wait_in_a_batch(config, cluster, orders, monkeypatch, wait)
    with strangers_and_a_writer(config, cluster, a_row, monkeypatch) as under_way:
        all_wait(cluster, LOCKING, *under_way)


def wait_in_a_batch(
    config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
    wait: str,
) -> None:
    """A batch waits for a row: until it gets it, or until the server ends the wait."""
    monkeypatch.setattr(commit, "CAREFUL_FOR", 600.0)
    if wait == "long":
        monkeypatch.setattr(commit, "LONG", 0.0)
    shard = shard_of(cluster)
    producer = Producer(cluster)
    with monkeypatch.context() as only_here:
        rewrite_session(only_here, "innodb_lock_wait_timeout = 2", 60 if wait == "long" else 1)
        shard.pool.close_idle()
        with ThreadPoolExecutor(1) as threads:
            with held(config, a_row(orders, orders)):
                added = threads.submit(add, producer)
                if wait == "long":
                    eventually(lambda: sessions_at(shard, LOCKING))
                else:
                    waiting = group_commit.batcher_of(shard_of(cluster)).waiting
                    eventually(lambda: waiting.callers)
            added.result(60)


def noting_careful(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each batch is careful."""
    found: list[bool] = []
    together = commit.commit_together

    def noting(
        cluster: Cluster, shard: DynamoDBShard, callers: Sequence[Sequence[Write]], careful: bool
    ) -> Any:
        found.append(careful)
        return together(cluster, shard, callers, careful)

    monkeypatch.setattr(commit, "commit_together", noting)  # what `Gate` takes
    monkeypatch.setattr(group_commit, "commit_together", noting)
    return found


def test_batches_are_careful_no_longer_than_somebody_waits(
    config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    careful: commit.LockWaits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each wait in vain prolongs it; nothing else does."""
    rewrite_session(monkeypatch, "innodb_lock_wait_timeout = 2", 1)
    add(producer)
    shard = shard_of(cluster)
    shard.pool.close_idle()
    careful_batches = noting_careful(monkeypatch)
    waiting = group_commit.batcher_of(shard_of(cluster)).waiting
    with ThreadPoolExecutor(1) as threads:
        with held(config, a_row(orders, orders)):
            added = threads.submit(add, producer)
            eventually(lambda: waiting.callers)
            for _ in range(2):
                careful.careful_until = 0.0
                eventually(lambda: careful.careful_until)
        added.result(60)
    monkeypatch.setattr(commit, "LONG", 600.0)
    assert careful_batches == [True]
    add(producer)  # by itself, since this row's writers have left a batch
    assert careful_batches == [True]
    producer.put("orders", {"id": "careful", "at": "1"})
    assert careful_batches == [True, True]
    careful.forget_at = 0.0
    careful.note()
    add(producer)
    assert careful_batches == [True, True, True]
    careful.careful_until = 0.0
    add(producer)
    assert careful_batches == [True, True, True, False]
    assert careful.careful_until == 0.0
    assert damage(cluster, orders) == []


def test_of_two_processes_that_share_a_hot_item_no_addition_is_lost(
    config: ClusterConfig, cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch leaves out the writers of the hot item, and they come through by themselves."""
    left_out: list[int] = []
    find = commit._left_out

    def noting(*given: Any) -> frozenset[int]:
        found = find(*given)
        left_out.extend(found)
        return found

    monkeypatch.setattr(commit, "_left_out", noting)
    monkeypatch.setattr(commit, "CAREFUL_FOR", 600.0)
    with Cluster(config) as other, ThreadPoolExecutor(40) as threads:
        be_careful(cluster)
        be_careful(other)
        producers = [Producer(cluster), Producer(other)]
        rounds, each = 0, 40
        work: list[Future[Any]] = []
        while not left_out and rounds < 50:
            rounds += 1
            work.clear()
            for n in range(each):
                producer = producers[n % 2]
                work.append(threads.submit(add, producer))
                cold = {"id": f"cold{rounds}-{n}", "at": "1"}
                work.append(threads.submit(partial(producer.put, "orders", cold)))
            for done in work:
                done.result(60)
    assert left_out
    found = items_of(cluster, orders)
    assert found[orders.key_of(STORED_KEY)][1]["n"] == {"N": str(rounds * each)}
    assert len(found) == rounds * each + 1
    assert damage(cluster, orders) == []


# -- those who wait for the same rows -------------------------------------------------

WAITERS = 20


@contextmanager
def waiting_for(
    config: ClusterConfig, cluster: Cluster, orders: Table, work: Sequence[Callable[[], Any]]
) -> Iterator[list[Future[Any]]]:
    """Let all of it wait, in any order, for a row that somebody else holds until the block ends."""
    shard = shard_of(cluster)
    be_careful(cluster)
    waiting = group_commit.batcher_of(shard_of(cluster)).waiting
    with ThreadPoolExecutor(len(work)) as threads:
        with held(config, a_row(orders, orders)):
            futures = [threads.submit(each) for each in work]
            eventually(lambda: waiting.callers == len(work))
            eventually(lambda: sessions_at(shard, LOCKING))
            yield futures
        for done in futures:
            done.exception(60)
    assert len(waiting) == 0


@pytest.mark.parametrize(
    ("taken_out", "expected"), [("nothing", 1), ("late joining", 2), ("sharing", WAITERS)]
)
def test_who_waits_for_the_same_row_shares_a_transaction(
    config: ClusterConfig,
    monkeypatch: pytest.MonkeyPatch,
    taken_out: str,
    expected: int,
    orders: Table,
) -> None:
    """Without late joining the first has its own; without sharing each."""
    rewrite_session(monkeypatch, f"wait_timeout = {pool.WAIT_TIMEOUT}", 120)
    rewrite_session(monkeypatch, "innodb_lock_wait_timeout = 2", 60)
    monkeypatch.setattr(commit, "CAREFUL_FOR", 600.0)
    if taken_out == "late joining":
        monkeypatch.setattr(BatcherPerKey, "join", lambda *_: None)
    if taken_out == "sharing":
        monkeypatch.setattr(group_commit, "MAX_WRITES", 1)
    with Cluster(config) as cluster:
        producer = Producer(cluster)
        add(producer)
        with waiting_for(config, cluster, orders, [lambda: add(producer)] * WAITERS) as adds:
            producer.put("orders", {"id": "cold", "at": "1"})
            assert not any(done.done() for done in adds)
        ids = "SELECT COUNT(DISTINCT write_id) FROM mynamo_outbox"
        transactions = everywhere(cluster, ids)[0][0] - 2
        assert transactions == expected
        assert additions(cluster, orders) == WAITERS + 1


def test_who_waits_with_others_has_its_own_failure(
    config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add(producer)
    real = statements._data_of

    def mistaken(row: Any) -> bytes:
        if "poison" in row.now.item:
            raise RuntimeError("a mistake")
        return real(row)

    monkeypatch.setattr(statements, "_data_of", mistaken)
    work: list[Callable[[], Any]] = [
        lambda: add(producer),
        lambda: producer.put("orders", {**KEY, "poison": True}),
        lambda: producer.put("orders", {**KEY, "n": 0}, condition="n = :x", values={":x": 70}),
        lambda: add(producer),
    ]
    with waiting_for(config, cluster, orders, work) as futures:
        pass
    errors = [type(future.exception()) for future in futures]
    assert errors == [type(None), InternalError, ConditionFailed, type(None)]
    assert additions(cluster, orders) == 3


@pytest.mark.parametrize("careful", [True, False])
def test_who_has_waited_long_enough_is_told_so(
    config: ClusterConfig, cluster: Cluster, orders: Table, producer: Producer, *, careful: bool
) -> None:
    add(producer)
    shard = shard_of(cluster)
    if careful:
        be_careful(cluster)
    shard.limit(0.5, None)
    with ThreadPoolExecutor(5) as threads, held(config, a_row(orders, orders)):
        futures = [threads.submit(add, producer) for _ in range(5)]
        errors = {type(done.exception(60)) for done in futures}
    assert errors == {ShardUnavailable}
    assert len(group_commit.batcher_of(shard_of(cluster)).waiting) == 0
    add(producer)
    assert additions(cluster, orders) == 2


@pytest.mark.usefixtures("careful")
def test_tasks_wait_together_too(
    config: ClusterConfig, cluster: Cluster, orders: Table, producer: Producer
) -> None:
    """More of them than threads: a write of another item goes on meanwhile."""
    add(producer)
    waiting = group_commit.batcher_of(shard_of(cluster)).waiting

    async def main() -> None:
        scheduler = Scheduler(asyncio.get_running_loop(), helpers=1)
        with held(config, a_row(orders, orders)):
            adds = [spawn(scheduler, lambda: add(producer)) for _ in range(WAITERS)]
            while waiting.callers < WAITERS:
                await asyncio.sleep(0.01)
            cold = {"id": "cold", "at": "1"}
            await spawn(scheduler, lambda: producer.put("orders", cold))
            assert not any(done.done() for done in adds)
        await asyncio.gather(*adds)
        scheduler.close()

    asyncio.run(main())
    assert additions(cluster, orders) == WAITERS + 1
    assert len(waiting) == 0


# -- what nobody foresaw --------------------------------------------------------------


@pytest.mark.parametrize("where", ["evaluation", "statements"])
def test_what_nobody_foresaw_fails_its_caller_alone(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    module, name = {
        "evaluation": (evaluation, "apply_to"),
        "statements": (statements, "_data_of"),
    }[where]
    real = getattr(module, name)

    def mistaken(first: Any, *rest: Any) -> Any:
        item = first.request.item if where == "evaluation" else first.now.item
        if item["id"] == {"S": "poison"}:
            raise RuntimeError("a mistake")
        return real(first, *rest)

    monkeypatch.setattr(module, name, mistaken)
    gate = Gate(monkeypatch)
    names = ("a", "poison", "b", "c")
    work = [lambda n=n: producer.put("orders", {"id": n, "at": "1"}) for n in names]
    with all_at_once(gate, cluster, work) as futures:
        errors = [type(future.exception()) for future in futures]
    assert gate.sizes == [1, 4]
    assert errors == [type(None), InternalError, type(None), type(None)]
    assert isinstance(futures[1].exception().__cause__, RuntimeError)  # type: ignore[union-attr]
    assert "a mistake" in caplog.text
    assert len(items_of(cluster, orders)) == 4
    assert damage(cluster, orders) == []


# -- how much was read ----------------------------------------------------------------


def test_a_task_evaluates_large_items_in_a_thread(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what was read: the requests are small."""
    large = {"id": "large", "at": "1", "x": "x" * commit.LARGE}
    producer.put("orders", large)
    producer.put("orders", {"id": "small", "at": "1"})
    evaluated_by: dict[int, int] = {}
    evaluate = evaluation.evaluate

    def noting(*arguments: Any) -> Any:
        evaluated_by[len(evaluated_by)] = threading.get_ident()
        return evaluate(*arguments)

    monkeypatch.setattr(commit, "evaluate", noting)

    async def main() -> int:
        scheduler = Scheduler(asyncio.get_running_loop(), helpers=2)
        for name in ("large", "small"):
            key = {"id": name, "at": "1"}
            await spawn(
                scheduler,
                partial(producer.update, "orders", key, set={"n": 1}),
            )
        scheduler.close()
        return threading.get_ident()

    loop_thread = asyncio.run(main())
    assert [by == loop_thread for by in evaluated_by.values()] == [False, True]
