"""Group commit, on both engines: writes that meet share a transaction, and nothing else."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import add_index
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.sql import index_table, main_table
from mynamo.catalog.tables import Table
from mynamo.errors import ConditionFailed, InvalidItem, WriteOutcomeUnknown
from mynamo.mysql.pool import Session, Statement
from mynamo.producer import MUST_NOT_EXIST, Delete, Producer, Put
from mynamo.reader import Reader, batch_gets, fetching
from mynamo.runtime.batching import Batcher
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema
from mynamo.writer.transaction import commit, group_commit
from mynamo.writer.transaction.statements import statements_of
from mynamo.writer.transaction.write_requests import Write
from tests.adding_process import KEY, add
from tests.proxy import Proxy
from tests.rows import damage, everywhere, items_of, make_table
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("orders")


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """One shard, so that all writes meet."""
    return engine_config.model_copy(update={"shards": engine_config.shards[:1]})


Callers = Sequence[Sequence[Write]]
"""The writes of each caller of a batch."""


class Gate:
    """Holds up the first transaction of a batcher, and notes the size of every one.

    Attributes:
        sizes: how many writes each had.
        open: lets them go.
        together: what a batcher calls to commit.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.open = threading.Event()
        together = commit.commit_together

        def waiting(cluster: Cluster, shard: DynamoDBShard, callers: Callers, careful: bool) -> Any:
            self.sizes.append(sum(map(len, callers)))
            self.open.wait(20)
            return together(cluster, shard, callers, careful)

        self.together = waiting
        monkeypatch.setattr(group_commit, "commit_together", waiting)


@contextmanager
def all_at_once(
    gate: Gate, cluster: Cluster, work: Sequence[Callable[[], Any]]
) -> Iterator[list[Future[Any]]]:
    """Let all of it meet in one transaction, in this order, behind another one."""
    (shard,) = cluster.shards.values()
    batcher = group_commit.batcher_of(shard).batcher
    batcher.max_running = 1  # so that who waits goes together
    with ThreadPoolExecutor(len(work) + 1) as pool:
        pool.submit(Producer(cluster).put, "orders", {"id": "first", "at": "1"})
        eventually(lambda: gate.sizes)
        futures = []
        for position, each in enumerate(work):
            futures.append(pool.submit(each))
            eventually(lambda p=position: batcher.waiting == p + 1)  # type: ignore[misc]
        gate.open.set()
        yield futures


def test_who_comes_alone_goes_at_once_and_alone(
    cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    gate.open.set()
    for number in range(3):
        producer.put("orders", {"id": "a", "at": str(number)})
    assert gate.sizes == [1, 1, 1]
    assert len(everywhere(cluster, "SELECT DISTINCT write_id FROM mynamo_outbox")) == 3


def test_those_who_meet_share_a_transaction(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    other = make_table(cluster, "other")
    names = ["orders", "other"] * 20
    work = [
        lambda n=n, name=name: producer.put(name, {"id": f"{n % 7}", "at": str(n), "price": n})
        for n, name in enumerate(names)
    ]
    with all_at_once(gate, cluster, work) as futures:
        receipts = [done.result() for done in futures]
    assert gate.sizes == [1, 40]
    assert [receipt.table for receipt in receipts] == names
    for table in (orders, other):
        versions = sorted(version for version, _ in items_of(cluster, table).values())
        given = sorted(r.version for r in receipts if r.table == table.name)
        assert set(given) <= set(versions)
        assert damage(cluster, table) == []


def test_conditions_are_decided_one_after_another(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    work: list[Callable[[], Any]] = [
        lambda: producer.put("orders", {**KEY, "n": 1}, condition=MUST_NOT_EXIST),
        lambda: producer.put("orders", {**KEY, "n": 2}, condition=MUST_NOT_EXIST),
        lambda: add(producer),
        lambda: producer.delete("orders", KEY, condition="n = :two", values={":two": 2}),
        lambda: producer.put("orders", {**KEY, "n": 9}, condition=MUST_NOT_EXIST),
    ]
    with all_at_once(gate, cluster, work) as futures:
        done = [future.exception() for future in futures]
    assert gate.sizes[-1] == 5
    assert [type(error) for error in done] == [
        type(None), ConditionFailed, type(None), type(None), type(None),
    ]  # fmt: skip
    assert futures[3].result().old == {**KEY, "n": 2}
    assert damage(cluster, orders) == []


def test_a_failure_is_its_callers_alone(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer.put("orders", {"id": "word", "at": "1", "n": "text"})
    gate = Gate(monkeypatch)
    wrong = {"id": "word", "at": "1"}
    with all_at_once(
        gate,
        cluster,
        [
            lambda: add(producer),
            lambda: producer.update("orders", wrong, expression="ADD n :x", values={":x": 1}),
            lambda: producer.put("orders", {**KEY, "n": 0}, condition="n = :x", values={":x": 7}),
            lambda: add(producer),
        ],
    ) as futures:
        errors = [type(future.exception()) for future in futures]
    assert errors == [type(None), InvalidItem, ConditionFailed, type(None)]
    assert gate.sizes[-1] == 4
    assert damage(cluster, orders) == []


def test_what_spoils_the_transaction_is_one_callers_alone(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that the server refuses takes the whole transaction with it."""
    gate = Gate(monkeypatch)
    made = statements_of

    def refused(rows: Any, plan: Any, *rest: Any, **named: Any) -> Any:
        statements, at = made(rows, plan, *rest, **named)
        if any(b"poison" in event.payload for event in plan.events):
            statements.insert(0, ("SELECT no_such_column FROM mynamo_relay", ()))
            at += 1
        return statements, at

    monkeypatch.setattr(commit, "statements_of", refused)
    items = [{"id": name, "at": "1"} for name in ("a", "poison", "b", "c")]
    work = [lambda item=item: producer.put("orders", item) for item in items]
    with all_at_once(gate, cluster, work) as futures:
        failed = [future.exception() is not None for future in futures]
    assert gate.sizes[-1] == 4
    assert failed == [False, True, False, False]
    assert damage(cluster, orders) == []


@pytest.mark.parametrize("asking", [True, False])
@pytest.mark.parametrize("fault", ["lose_answer", "lose_request"])
def test_a_lost_answer_is_found_out_for_all(
    config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
    fault: Any,
    *,
    asking: bool,
) -> None:
    """And without asking all additions count twice."""
    if not asking:
        monkeypatch.setattr(commit, "outcome_of_commit", lambda *_: None)
    shard = config.shards[0]
    with Proxy(shard.host, shard.port) as proxy:
        far = shard.model_copy(update={"port": proxy.port})
        with Cluster(config.model_copy(update={"shards": (far,)})) as other:
            producer = Producer(other)
            gate = Gate(monkeypatch)
            proxy.on(b"counter".hex().encode(), fault)  # which the request has that commits
            with all_at_once(gate, other, [lambda: add(producer)] * 20) as futures:
                for future in futures:
                    future.result(60)
            assert proxy.struck.is_set()
    (count,) = (item["n"]["N"] for _, item in items_of(cluster, orders).values() if "n" in item)
    lost = fault == "lose_answer" and not asking
    assert int(count) == (40 if lost else 20)
    assert (damage(cluster, orders) == []) or lost


def test_if_nobody_knows_all_are_told_so(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    together = gate.together

    def unknown(cluster: Cluster, shard: DynamoDBShard, callers: Callers, careful: bool) -> Any:
        outcomes = together(cluster, shard, callers, careful)
        if len(callers) == 5:
            raise WriteOutcomeUnknown("the connection was lost during commit")
        return outcomes

    monkeypatch.setattr(group_commit, "commit_together", unknown)
    with all_at_once(gate, cluster, [lambda: add(producer)] * 5) as futures:
        errors = {type(future.exception()) for future in futures}
    assert errors == {WriteOutcomeUnknown}
    add(producer)
    assert {item["n"]["N"] for _, item in items_of(cluster, orders).values() if "n" in item} == {
        "6"
    }


class Interrupted(BaseException):
    """As KeyboardInterrupt."""


def test_who_is_interrupted_leaves_nobody_waiting(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    together = gate.together

    def interrupted(cluster: Cluster, shard: DynamoDBShard, callers: Callers, careful: bool) -> Any:
        outcomes = together(cluster, shard, callers, careful)
        if len(callers) == 5:
            raise Interrupted
        return outcomes

    monkeypatch.setattr(group_commit, "commit_together", interrupted)
    with all_at_once(gate, cluster, [lambda: add(producer)] * 5) as futures:
        errors = [type(future.exception()) for future in futures]
    assert errors == [Interrupted, *[WriteOutcomeUnknown] * 4]
    add(producer)  # the batcher goes on


def test_transactions_are_bounded(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = group_commit.batcher_of(cluster.shards[1]).batcher
    batcher.max_count = 10
    gate = Gate(monkeypatch)
    work = [lambda n=n: producer.put("orders", {"id": "a", "at": str(n)}) for n in range(35)]
    with all_at_once(gate, cluster, work) as futures:
        for future in futures:
            future.result()
    assert max(gate.sizes) == 10
    assert sum(gate.sizes) == 36
    gate.sizes.clear()
    gate.open.clear()
    batcher.max_size = 10_000
    large = [
        lambda n=n: producer.put("orders", {"id": "b", "at": str(n), "x": "x" * 4_000})
        for n in range(12)
    ]
    with all_at_once(gate, cluster, large) as futures:
        for future in futures:
            future.result()
    assert max(gate.sizes) == 2
    assert damage(cluster, orders) == []


def test_a_definition_that_has_changed_is_learnt_by_all(
    config: ClusterConfig, cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer.put("orders", {"id": "z", "at": "1"})  # the old definition is known now
    with Cluster(config) as other:
        add_index(other, "orders", GlobalIndexSchema(name="by_x", hash_key="x"))
    gate = Gate(monkeypatch)
    work = [
        lambda n=n: producer.put("orders", {"id": "a", "at": str(n), "x": "y"}) for n in range(9)
    ]
    with all_at_once(gate, cluster, work) as futures:
        for future in futures:
            future.result()
    versions = everywhere(
        cluster, "SELECT DISTINCT JSON_EXTRACT(CONVERT(payload USING utf8mb4), '$.schema_version')"
        " FROM mynamo_outbox WHERE payload LIKE '%\"x\"%'",
    )  # fmt: skip
    assert len(versions) == 1


def test_a_row_that_somebody_holds_stops_nobody_else(
    config: ClusterConfig, cluster: Cluster, orders: Table, producer: Producer
) -> None:
    add(producer)
    row = orders.key_of({name: {"S": value} for name, value in KEY.items()})
    with ThreadPoolExecutor(40) as pool, Cluster(config) as other:
        with next(iter(other.shards.values())).session() as holder:
            hold(holder, orders, row)
            held = [pool.submit(add, producer) for _ in range(10)]
            items = [{"id": "a", "at": str(n)} for n in range(30)]
            for put in [pool.submit(producer.put, "orders", item) for item in items]:
                put.result(20)
            assert not any(done.done() for done in held)
            holder.rollback()
        for done in held:
            done.result(30)
    assert damage(cluster, orders) == []


def hold(session: Session, table: Table, row: Any) -> None:
    """Lock an item's row."""
    session.run(("BEGIN", ()), ("SELECT 1 FROM t%s WHERE hash = %s FOR UPDATE", (table.id, row[0])))


def test_reads_that_meet_share_a_round_trip(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_table(cluster, "other")
    for number in range(20):
        name = (orders, other)[number % 2].name
        producer.put(name, {"id": "a", "at": str(number), "n": number})
    reads: list[int] = []
    open_again = threading.Event()
    run = Session.run

    def waiting(self: Session, *statements: Any) -> Any:
        if statements[0][0].startswith(("SELECT hash, sort, item", "SELECT t.hash")):
            reads.append(len(statements))
            open_again.wait(20)
        return run(self, *statements)

    monkeypatch.setattr(Session, "run", waiting)
    reader = Reader(cluster)
    batcher = batch_gets.batcher_of(cluster.shards[1]).batcher
    batcher.max_running = 1
    with ThreadPoolExecutor(31) as pool:
        first = pool.submit(reader.get, "orders", {"id": "a", "at": "0"})
        eventually(lambda: reads)
        rest = [
            pool.submit(reader.get, ("orders", "other")[n % 2], {"id": "a", "at": str(n)})
            for n in range(30)
        ]
        eventually(lambda: batcher.waiting == 30)
        open_again.set()
        found = [done.result() for done in rest]
    assert first.result() == found[0]
    assert [item and int(item["n"]) for item in found] == [*range(20), *[None] * 10]
    assert reads == [1, 2]  # of the second, a statement for each table


def test_queries_that_meet_share_a_round_trip_and_equal_ones_an_answer(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_table(cluster, "other")
    for name, count in (("orders", 3), ("other", 2)):
        for n in range(count):
            producer.put(name, {"id": "a", "at": str(n), "price": n})
    trips: list[list[str]] = []
    open_again = threading.Event()
    run = Session.run

    def of(sql: str, values: Any) -> str:
        table: str = sql.split(" FROM ")[1].split()[0]
        return f"{table} {values[0]}" if table == "mynamo_fence" else table

    def waiting(self: Session, *statements: Any) -> Any:
        if statements[0][0].startswith("SELECT l.hash"):
            trips.append([of(*statement) for statement in statements])
            open_again.wait(20)
        return run(self, *statements)

    monkeypatch.setattr(Session, "run", waiting)
    reader = Reader(cluster)

    def query(table: str, limit: int) -> list[int]:
        page = reader.query(table, {"id": "a"}, index="by_price", limit=limit)
        return [int(item["price"]) for item in page.items]

    batcher = fetching.batcher_of(cluster.shards[1]).batcher
    batcher.max_running = 1
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(query, "orders", 9)
        eventually(lambda: trips)
        rest = []
        for asked in [("orders", 2), ("other", 9), ("orders", 2), ("orders", 1), ("other", 9)]:
            rest.append(pool.submit(query, *asked))
            eventually(lambda: batcher.waiting == len(rest))
        open_again.set()
        assert [done.result() for done in rest] == [[0, 1], [0, 1], [0, 1], [0], [0, 1]]
    assert first.result() == [0, 1, 2]
    a, b = (index_table(table.local_indexes[0]) for table in (orders, other))
    guards = [f"mynamo_fence {table.id}" for table in (orders, other)]
    # Each guard is read after all the rows that it is to confirm.
    assert trips == [[a, guards[0]], [a, a, guards[0], b, guards[1]]]


def test_a_read_that_fails_together_is_tried_alone(
    cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer.put("orders", {**KEY, "n": 1})
    monkeypatch.setattr(Batcher, "submit", lambda *_: None)
    assert Reader(cluster).get("orders", KEY) == {**KEY, "n": 1}


def test_a_batcher_ends_with_its_shard(config: ClusterConfig, orders: Table) -> None:
    with Cluster(config) as other:
        add(Producer(other))
        assert Reader(other).get("orders", KEY)
        (shard,) = other.shards.values()
        gone = weakref.ref(shard)
    del other, shard
    gc.collect()
    assert gone() is None


def test_control_without_a_batcher_they_do_not_meet(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Batcher, "submit", lambda *_: None)
    with ThreadPoolExecutor(20) as pool:
        for n in range(20):
            pool.submit(producer.put, "orders", {"id": "a", "at": str(n)})
    assert len(everywhere(cluster, "SELECT DISTINCT write_id FROM mynamo_outbox")) == 20


@pytest.mark.parametrize("rows", [12, 400])
def test_every_statement_goes_by_the_primary_key(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Of a small table as of a large one: a scan would wait for other writers' rows."""
    items = [{"id": f"{n}", "at": "1", "price": n} for n in range(rows)]
    producer.write_batch([Put("orders", item) for item in items])
    shard = cluster.shards[1]
    shard.run((f"ANALYZE TABLE {main_table(orders.id)}", ()))
    seen: list[Statement] = []
    run = Session.run

    def noting(self: Session, *statements: Statement) -> Any:
        seen.extend(statements)
        return run(self, *statements)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", noting)
        producer.write_batch(
            [
                Put("orders", items[0] | {"price": -1}),
                Put("orders", {"id": "new", "at": "1"}),
                Put("orders", {"id": "newer", "at": "1"}),
                Delete("orders", {"id": "1", "at": "1"}),
                Delete("orders", {"id": "2", "at": "1"}),
            ]
        )
    plans = {
        text: shard.run((f"EXPLAIN FORMAT=TRADITIONAL {text}", values))[0].rows
        for text, values in seen
        if text.split()[0] in ("SELECT", "UPDATE", "DELETE") and " t" in text
    }
    assert {text.split()[0] for text in plans} == {"SELECT", "UPDATE", "DELETE"}
    assert len(plans) == 4
    for text, plan in plans.items():
        assert "PRIMARY" in plan[0], (text, plan)
        assert "ALL" not in plan[0], (text, plan)
        assert "index" not in plan[0], (text, plan)
