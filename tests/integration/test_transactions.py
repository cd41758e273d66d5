"""Transactions of items on one shard, on both engines: all or nothing, isolated, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import (
    ConditionFailed,
    ConsistencyTimeout,
    IdempotentParameterMismatch,
    InvalidItem,
    InvalidRequest,
    ShardUnavailable,
    TableNotFound,
    TransactionCanceled,
    WriteOutcomeUnknown,
)
from mynamo.mysql.pool import Result, Session, Statement
from mynamo.producer import (
    MUST_EXIST,
    MUST_NOT_EXIST,
    Check,
    Delete,
    Producer,
    Put,
    TransactionReceipt,
    Update,
)
from mynamo.reader import Reader
from mynamo.reader.waiting import After
from mynamo.schemas.config import ClusterConfig
from mynamo.writer import RequestToken, WriteRequest, transact
from mynamo.writer.maintenance import Maintenance
from mynamo.writer.transaction import (
    commit,
    commit_outcome,
    evaluation,
    request_tokens,
)
from mynamo.writer.transaction import transact as transact_module
from mynamo.writer.transaction.write_requests import AllOrNothing, prepare
from tests.comparing import gsi_damage
from tests.fake_log import Bench
from tests.meeting import together
from tests.proxy import Proxy
from tests.rows import damage, damaged_local_indexes, everywhere, items_of, make_table, select

COMMIT = b";COMMIT"
ADD = "ADD n :one"
ONE = {":one": 1}


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


def key(at: object) -> dict[str, str]:
    """Items of one hash key are on one shard."""
    return {"id": "a", "at": str(at)}


def stored(at: object) -> dict[str, dict[str, str]]:
    return {name: {"S": value} for name, value in key(at).items()}


def put(at: object, **more: Any) -> Put:
    return Put("orders", {**key(at), **more})


def add(at: object) -> Update:
    return Update("orders", key(at), ADD, values=ONE)


def absent(at: object) -> Check:
    return Check("orders", key(at), MUST_NOT_EXIST)


def by_place(cluster: Cluster, table: Table) -> dict[str, dict[str, Any]]:
    return {item["at"]["S"]: item for _, item in items_of(cluster, table).values()}


def tokens(cluster: Cluster) -> int:
    return len(everywhere(cluster, "SELECT token FROM mynamo_token"))


def shard_of(cluster: Cluster, table: Table) -> DynamoDBShard:
    return cluster.shard_of(table.key_of(stored(1)).hash)


def at_once(work: Sequence[Callable[[], Any]]) -> list[Future[Any]]:
    """Run each in a thread of its own, and wait for all."""
    with ThreadPoolExecutor(len(work)) as pool:
        return [pool.submit(each) for each in work]


# -- what one transaction does ----------------------------------------------------------


def test_all_kinds_of_writes_together(cluster: Cluster, orders: Table, producer: Producer) -> None:
    other = make_table(cluster, "other", global_indexes=[])
    for at in (2, 3, 4):
        producer.put("orders", {**key(at), "price": at, "n": 1, "name": "x"})
    before = items_of(cluster, orders)[orders.key_of(stored(4))]
    done = producer.transact(
        [
            put(1, price=7, name="y"),
            Update("orders", key(2), "SET price = :p ADD n :one", values={":p": 9, ":one": 1}),
            Delete("orders", key(3), "price = :p", values={":p": 3}),
            Check("orders", key(4), "n = :one", values=ONE),
            Put("other", key(1)),
            Delete("orders", key("absent")),
        ]
    )
    assert isinstance(done, TransactionReceipt)
    assert not done.repeated
    versions = [receipt.version for receipt in done.receipts]
    assert versions == [versions[0], versions[0] + 1, versions[0] + 2, 0, versions[0] + 3, 0]
    assert done.receipts[3].old == {**key(4), "price": 4, "n": 1, "name": "x"}
    items = by_place(cluster, orders)
    assert sorted(items) == ["1", "2", "4"]
    assert (items["2"]["price"], items["2"]["n"]) == ({"N": "9"}, {"N": "2"})
    assert items_of(cluster, orders)[orders.key_of(stored(4))] == before  # not even its version
    assert len(items_of(cluster, other)) == 1
    assert damage(cluster, orders) == damage(cluster, other) == []


def test_if_one_is_refused_none_happens_and_every_reason_is_known(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    producer.put("orders", {**key(1), "n": 1})
    producer.put("orders", {**key(2), "s": "text"})
    before = items_of(cluster, orders)
    with pytest.raises(TransactionCanceled, match=r"number 2 \(Check in table orders\)") as raised:
        producer.transact(
            [
                add(1),
                Check("orders", key(3), MUST_EXIST),
                put(4, price=1),
                Put("orders", {**key(2), "n": 2}, "attribute_not_exists(id)"),
                Update("orders", key(5), "SET n = n + :one", values=ONE),
            ],
            request_token="refused",
        )
    reasons = raised.value.reasons
    assert [type(reason) for reason in reasons] == [
        type(None), ConditionFailed, type(None), ConditionFailed, InvalidItem,
    ]  # fmt: skip
    found: list[Any] = [reason.item for reason in reasons if isinstance(reason, ConditionFailed)]
    assert found == [None, {**key(2), "s": "text"}]
    assert items_of(cluster, orders) == before
    assert tokens(cluster) == 0  # it is free
    assert damage(cluster, orders) == []


def test_what_can_be_refused_without_the_items(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    with pytest.raises(TransactionCanceled) as raised:
        producer.transact([put(1), Put("orders", {"id": "a"})])
    assert [type(reason) for reason in raised.value.reasons] == [type(None), InvalidItem]
    refused: list[tuple[Any, type[Exception], str]] = [
        ([], InvalidRequest, "1 to 100"),
        ([put(at) for at in range(101)], InvalidRequest, "1 to 100"),
        ([put(1), absent(1)], InvalidRequest, "multiple operations on one item"),
        ([put(1), "x"], InvalidRequest, "has no str"),
        (put(1), InvalidRequest, "not Put"),
        ([put(1), Put("nowhere", key(1))], TableNotFound, "nowhere"),
        ([put(at, x="x" * 390_000) for at in range(11)], InvalidRequest, "4 MB"),
    ]  # fmt: skip
    for writes, error, text in refused:
        with pytest.raises(error, match=text):
            producer.transact(writes)
    with pytest.raises(TransactionCanceled):
        transact(cluster, [WriteRequest("orders", "CHECK", stored(1))])
    assert items_of(cluster, orders) == {}


def test_a_transaction_is_one_commit_and_puts_ask_nothing_more(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    run = Session.run

    def noting(self: Session, *statements: Statement) -> list[Result]:
        asked.append([text for text, _ in statements])
        return run(self, *statements)

    producer.transact([put(0)], request_token="the generation is known")
    monkeypatch.setattr(Session, "run", noting)
    monkeypatch.setattr(commit, "IDS_KEEP", 60.0)

    def asked_by(work: Callable[[], object]) -> list[list[str]]:
        asked.clear()
        work()
        return [*asked]

    plain = asked_by(lambda: producer.put("orders", key(1)))
    assert len(plain) == 2
    assert not any("mynamo_token" in text for trip in plain for text in trip)
    assert asked_by(lambda: producer.transact([put(2)])) == plain
    first, second = asked_by(lambda: producer.transact([put(3)], request_token="t"))
    assert (len(first), len(second)) == (len(plain[0]) + 1, len(plain[1]) + 1)
    assert asked_by(lambda: producer.transact([Check("orders", key(3), MUST_EXIST)]))[1:] == [
        ["ROLLBACK"]
    ]


def test_a_batch_with_plain_puts_of_the_same_item_beside(cluster: Cluster, orders: Table) -> None:
    """Each is evaluated on what those before it left, in one local transaction."""
    shard = shard_of(cluster, orders)

    def prepared(*requests: WriteRequest) -> list[Any]:
        return [prepare(cluster, request, orders) for request in requests]

    def request(operation: Any, at: object, condition: Any = None, **more: str) -> WriteRequest:
        item = {**stored(at), **{name: {"S": value} for name, value in more.items()}}
        return WriteRequest("orders", operation, item, None, condition)

    callers = [
        prepared(request("PUT", 1, x="plain")),
        AllOrNothing(
            prepared(
                request("PUT", 1, x="all"),
                request("PUT", 2),
                request("CHECK", 3, MUST_NOT_EXIST),
            )
        ),
        AllOrNothing(prepared(request("PUT", 1, x="never"), request("CHECK", 3, MUST_EXIST))),
        prepared(request("PUT", 3)),
        AllOrNothing(prepared(request("DELETE", 1), request("CHECK", 3, MUST_EXIST))),
        AllOrNothing(prepared(request("CHECK", 4, MUST_NOT_EXIST), request("DELETE", 2))),
    ]  # fmt: skip
    answers = commit.commit_together(cluster, shard, callers, careful=False)
    refused = [
        [isinstance(outcome, evaluation.Refused) for outcome in answer or ()] for answer in answers
    ]
    assert refused == [[False], [False] * 3, [False, True], [False], [False] * 2, [False] * 2]
    assert list(by_place(cluster, orders)) == ["3"]
    assert damage(cluster, orders) == []


def test_indexes_follow_and_one_token_covers_all_items(
    config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(config, monkeypatch)
    try:
        orders, other = make_table(bench.cluster), make_table(bench.cluster, "other")
        for at in range(20):
            bench.producer.put("orders", {**key(at), "name": "old", "price": at})
        indexer = bench.indexer()
        bench.catch_up(indexer)
        writes: list[Any] = [
            Update("orders", key(at), set={"name": "new", "price": -at}) for at in range(10)
        ]
        writes += [Delete("orders", key(at)) for at in range(10, 20)]
        writes.append(Put("other", {**key(1), "name": "new"}))
        receipt = bench.producer.transact(writes)
        reader = Reader(bench.cluster)
        for table in ("orders", "other"):
            with pytest.raises(ConsistencyTimeout):
                reader.query(table, "new", index="by_name", after=receipt, timeout=0.1)
        bench.catch_up(indexer)
        several: list[After] = [receipt, receipt.token, [receipt.receipts[0], receipt]]
        for after in several:
            found = reader.query("orders", "new", index="by_name", after=after)
            assert sorted(item["at"] for item in found.items) == sorted(map(str, range(10)))
        assert len(reader.query("other", "new", index="by_name", after=receipt).items) == 1
        assert reader.query("orders", "old", index="by_name").items == []
        for each in (orders, other):
            assert gsi_damage(bench.cluster, each.name) == []
            assert damaged_local_indexes(bench.cluster, each, items_of(bench.cluster, each)) == []
    finally:
        bench.close()


@pytest.mark.parametrize("size", [1_000, 40_000])
def test_a_large_transaction_is_never_divided(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    """The items that it finds are larger than a packet, and so are those that it leaves."""
    monkeypatch.setattr(commit, "MAX_BYTES", 300_000)
    for at in range(40):
        producer.put("orders", {**key(at), "x": "x" * size, "price": at, "name": "a"})
    sent: list[int] = []
    run = Session.run

    def noting(self: Session, *statements: Statement) -> list[Result]:
        sent.append(sum(len(v) for _, vs in statements for v in vs if isinstance(v, bytes)))
        return run(self, *statements)

    monkeypatch.setattr(Session, "run", noting)
    receipt = producer.transact(
        [
            *(Delete("orders", key(at)) for at in range(20)),
            *(add(at) for at in range(20, 40)),
            *(put(at, price=at, x="x" * (size // 40)) for at in range(40, 60)),
            absent("nothing"),
        ],
        request_token="large",
    )
    assert max(sent) < 300_000 + 2 * size
    versions = [each.version for each in receipt.receipts]
    assert versions == [*range(versions[0], versions[0] + 60), 0]
    assert sorted(by_place(cluster, orders)) == sorted(str(at) for at in range(20, 60))
    assert damage(cluster, orders) == []
    monkeypatch.setattr(commit, "MAX_BYTES", 8 * 1024 * 1024)
    assert tokens(cluster) == 1


# -- beside others ------------------------------------------------------------------------


def test_transactions_over_the_same_items_in_opposite_order(
    config: ClusterConfig, cluster: Cluster, orders: Table, other: Cluster
) -> None:
    """Money moves between accounts, in two processes: none is lost, and no call fails."""
    accounts = 5
    producers = [Producer(cluster), Producer(other)]
    for at in range(accounts):
        producers[0].put("orders", {**key(at), "n": 20})

    def move(number: int) -> bool:
        a, b = number % accounts, (number * 3 + 1) % accounts
        if a == b:
            return False
        take = Update("orders", key(a), "SET n = n - :one", condition="n >= :one", values=ONE)
        try:
            producers[number % 2].transact([take, add(b)] if number % 3 else [add(b), take])
        except TransactionCanceled:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        moved = [pool.submit(move, number) for number in range(150)]
        while not all(each.done() for each in moved):
            sums = sum(int(item["n"]["N"]) for item in by_place(cluster, orders).values())
            assert sums == 20 * accounts  # one statement reads all of them
        assert sum(each.result() for each in moved) > 50
    assert sum(int(item["n"]["N"]) for item in by_place(cluster, orders).values()) == 100
    assert damage(cluster, orders) == []


def test_control_writes_of_a_batch_do_not_all_happen_or_none(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transact_module, "AllOrNothing", lambda writes, *_: writes)
    with pytest.raises(TransactionCanceled):
        producer.transact([add(1), Check("orders", key(2), MUST_EXIST)])
    assert len(items_of(cluster, orders)) == 1


def skewed(cluster: Cluster, other: Cluster, table: Table, times: int) -> int:
    """How often two transactions succeed, each of which checks that what the other creates is
    absent."""
    found = 0
    for turn in range(times):
        a, b = (f"{turn} {name}" for name in "ab")
        producers = Producer(cluster), Producer(other)
        done = at_once(
            [
                partial(producers[0].transact, [absent(a), put(b)]),
                partial(producers[1].transact, [absent(b), put(a)]),
            ]
        )
        errors = [future.exception() for future in done]
        assert all(error is None or isinstance(error, TransactionCanceled) for error in errors)
        found += errors == [None, None]
        assert sum(error is None for error in errors) >= 1
    assert damage(cluster, table) == []
    return found


def test_no_write_skew_on_absent_items(
    cluster: Cluster, orders: Table, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    together(monkeypatch)
    assert skewed(cluster, other, orders, 3) == 0


def test_control_without_a_placeholder_there_is_write_skew(
    cluster: Cluster, orders: Table, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = evaluation.evaluate

    def without(callers: Any, rows: Any, *rest: Any) -> Any:
        plan = evaluate(callers, rows, *rest)
        for row in rows.values():
            row.held = False
        return plan

    monkeypatch.setattr(evaluation, "evaluate", without)
    together(monkeypatch)
    assert skewed(cluster, other, orders, 3) > 0


def test_checks_exclude_writers_of_their_items(
    cluster: Cluster, orders: Table, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it exists or not: a write of it comes before or after the transaction."""
    together(monkeypatch)
    check = "attribute_not_exists(closed)"
    for turn in range(3):
        first, mark = f"{turn} first", f"{turn} mark"
        if turn % 2:
            Producer(cluster).put("orders", key(first))
        done = at_once(
            [
                partial(
                    Producer(cluster).transact,
                    [Check("orders", key(first), check), put(mark, seen="open")],
                ),
                partial(Producer(other).put, "orders", {**key(first), "closed": 1}),
            ]
        )
        events = [
            item["at"]["S"]
            for item in _events_in_order(cluster, orders)
            if item["at"]["S"] in (first, mark) and (item.get("closed") or item.get("seen"))
        ]
        error = done[0].exception()
        assert done[1].exception() is None
        # Either order; but if the mark is there, the check held when it was written.
        assert isinstance(error, TransactionCanceled) or events == [mark, first]
        assert (error is None) == (mark in events)
    assert damage(cluster, orders) == []


def _events_in_order(cluster: Cluster, table: Table) -> list[dict[str, Any]]:
    rows = everywhere(
        cluster, "SELECT payload FROM mynamo_outbox WHERE table_id = %s ORDER BY id", table.id
    )
    images = [orjson.loads(payload)["new_image"] for (payload,) in rows]
    return [image for image in images if image]


def test_a_careful_batch_leaves_out_transactions_whose_rows_are_held(
    cluster: Cluster, orders: Table, other: Cluster
) -> None:
    """As a whole; and those with a token, where somebody counts the generation up."""
    shard = shard_of(cluster, orders)

    def own(at: int, token: bytes | None = None) -> AllOrNothing:
        requests = [WriteRequest("orders", "PUT", stored(n)) for n in (at, at + 10)]
        writes = [prepare(cluster, request, orders) for request in requests]
        return AllOrNothing(writes, RequestToken(token * 16, b"r" * 16) if token else None)

    def answered(statement: Statement, *callers: AllOrNothing) -> list[bool]:
        with other.shards[shard.id].session() as holder:
            holder.run(("BEGIN", ()), statement)
            answers = commit.commit_together(cluster, shard, callers, careful=True)
            holder.rollback()
        return [answer is not None for answer in answers]

    Producer(cluster).put("orders", key(11))
    row = orders.key_of(stored(11))
    lock_row = f"SELECT 1 FROM t{orders.id} WHERE hash = %s AND sort = %s FOR UPDATE"
    assert answered((lock_row, row), own(1), own(2)) == [False, True]
    lock_generation = "SELECT 1 FROM mynamo_fence WHERE id = %s FOR UPDATE"
    callers = own(3, b"a"), own(4), own(5, b"b")
    assert answered((lock_generation, (GENERATION_ROW,)), *callers) == [False, True, False]
    assert sorted(by_place(cluster, orders)) == ["11", "12", "14", "2", "4"]
    assert tokens(cluster) == 0
    assert damage(cluster, orders) == []


# -- tokens -----------------------------------------------------------------------------------


def test_the_same_request_happens_once(cluster: Cluster, orders: Table, producer: Producer) -> None:
    writes: list[Any] = [add(1), absent(2), Delete("orders", key(3)), put(4)]
    first = producer.transact(writes, request_token="t")
    producer.put("orders", key(2))  # which the check would refuse now
    again = producer.transact(writes, request_token="t")
    assert (first.repeated, again.repeated) == (False, True)
    assert again.token == first.token
    assert [r.version for r in again.receipts] == [r.version for r in first.receipts]
    assert [r.old for r in again.receipts] == [None] * 4
    assert by_place(cluster, orders)["1"]["n"] == {"N": "1"}
    with pytest.raises(IdempotentParameterMismatch):
        producer.transact([add(1)], request_token="t")
    producer.transact([add(1)], request_token="u", timeout=20, outcome_timeout=20)
    assert by_place(cluster, orders)["1"]["n"] == {"N": "2"}
    assert tokens(cluster) == 2
    for wrong in ("", "x" * 37, 7):
        with pytest.raises(InvalidRequest, match="1 to 36"):
            producer.transact([add(1)], request_token=wrong)  # type: ignore[arg-type]
    assert damage(cluster, orders) == []


@pytest.mark.parametrize("kind", ["new", "there", "absent"])
def test_concurrent_repetitions_happen_once(
    cluster: Cluster, orders: Table, other: Cluster, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """In one process, where they may share a batch, and in two."""
    together(monkeypatch)
    if kind == "there":
        Producer(cluster).put("orders", {**key(1), "n": 0})
    writes: list[Any] = [Delete("orders", key(1))] if kind == "absent" else [add(1)]
    producers = [Producer(cluster), Producer(other)]
    work = [lambda n=n: producers[n % 2].transact(writes, request_token="t") for n in range(10)]
    done = [future.result() for future in at_once(work)]
    assert Counter(each.repeated for each in done) == {False: 1, True: 9}
    assert len({each.token for each in done}) == 1
    if kind != "absent":
        assert by_place(cluster, orders)["1"]["n"] == {"N": "1"}
    assert damage(cluster, orders) == []


def test_one_token_for_different_requests_at_once(
    cluster: Cluster, orders: Table, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    together(monkeypatch)
    producers = [Producer(cluster), Producer(other)]
    work = [lambda n=n: producers[n % 2].transact([put(n)], request_token="t") for n in range(6)]
    errors = [type(future.exception()) for future in at_once(work)]
    assert Counter(errors) == {type(None): 1, IdempotentParameterMismatch: 5}
    assert len(items_of(cluster, orders)) == 1


def test_control_without_the_tokens_row_it_happens_twice(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "kept_tokens", lambda _: {})
    monkeypatch.setattr(
        "mynamo.writer.transaction.statements.insert_tokens", lambda *_: ("SELECT 1", ())
    )
    for _ in range(2):
        producer.transact([add(1)], request_token="t")
    assert by_place(cluster, orders)["1"]["n"] == {"N": "2"}


@pytest.mark.parametrize(
    ("found", "error"),
    [
        (4, ShardUnavailable),
        (5, None),
        (6, None),
        (7, WriteOutcomeUnknown),
        (99, WriteOutcomeUnknown),
    ],
)
def test_an_attempt_that_slept_for_two_generations_does_nothing(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
    found: int,
    error: type[Exception] | None,
) -> None:
    """It began in generation 5. A repetition may have happened since, and be forgotten."""
    shard = shard_of(cluster, orders)
    count_to = ("UPDATE mynamo_fence SET version = %s WHERE id = %s", (found, GENERATION_ROW))
    monkeypatch.setattr(transact_module, "generation_of", lambda _: shard.run(count_to) and 5)
    if error is None:
        producer.transact([add(1)], request_token="t")
    else:
        with pytest.raises(error):
            producer.transact([add(1)], request_token="t")
    assert len(items_of(cluster, orders)) == tokens(cluster) == (error is None)
    producer.transact([add(2)])  # one without a token has no generation
    assert damage(cluster, orders) == []


def test_it_is_refused_alone_in_its_batch(cluster: Cluster, orders: Table) -> None:
    shard = shard_of(cluster, orders)
    shard.run(("UPDATE mynamo_fence SET version = 7 WHERE id = %s", (GENERATION_ROW,)))

    def own(at: int, generation: int) -> AllOrNothing:
        writes = [prepare(cluster, WriteRequest("orders", "PUT", stored(at)), orders)]
        return AllOrNothing(writes, RequestToken(bytes([at]) * 16, b"r" * 16), generation)

    callers = own(1, 6), own(2, 5), own(3, 7)
    answers = commit.commit_together(cluster, shard, callers, careful=False)
    refused = [isinstance(answer[0], evaluation.Refused) for answer in answers if answer]
    assert refused == [False, True, False]
    assert sorted(by_place(cluster, orders)) == ["1", "3"]


def test_a_generation_is_asked_for_once_a_minute(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(request_tokens, "time", SimpleNamespace(monotonic=lambda: now[0]))
    shard = shard_of(cluster, orders)
    count_up = ("UPDATE mynamo_fence SET version = version + 1 WHERE id = %s", (GENERATION_ROW,))
    start = request_tokens.generation_of(shard)
    shard.run(count_up)
    now[0] += 59
    assert request_tokens.generation_of(shard) == start
    now[0] += 2
    assert request_tokens.generation_of(shard) == start + 1
    shard.run(count_up)
    now[0] += 59
    Producer(cluster).transact([add(1)], request_token="t")  # which hears of it
    now[0] += 59
    assert request_tokens.generation_of(shard) == start + 2


def test_tokens_go_once_a_later_generation_has_lasted(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker counts a generation up once it has seen it for long enough, and not before."""
    now = [1000.0]
    monkeypatch.setattr(request_tokens, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("mynamo.writer.maintenance._PURGE_EVERY", 0.0)
    workers = [Maintenance(cluster), Maintenance(cluster)]
    shard = shard_of(cluster, orders)

    def generation_after(seconds: float) -> int:
        now[0] += seconds
        for worker in workers:
            worker.round()
        rows = select(shard, "SELECT version FROM mynamo_fence WHERE id = %s", GENERATION_ROW)
        return int(rows[0][0])

    start = generation_after(0)
    assert generation_after(700) == start  # no token: nothing to count for
    producer.transact([add(1)], request_token="t")
    assert generation_after(1) == start + 1  # by one of the two workers
    producer.transact([add(1)], request_token="u")
    assert generation_after(1) == start + 1
    assert generation_after(598) == start + 1
    assert tokens(cluster) == 2
    assert generation_after(2) == start + 2
    generation_after(1)
    assert tokens(cluster) == 2
    assert generation_after(600) == start + 3
    generation_after(1)
    assert tokens(cluster) == 1
    assert producer.transact([add(1)], request_token="u").repeated
    assert not producer.transact([add(1)], request_token="t").repeated
    assert generation_after(600) == start + 4
    generation_after(1)
    assert tokens(cluster) == 1
    assert by_place(cluster, orders)["1"]["n"] == {"N": "3"}


def test_a_new_incarnation_does_not_forget_fresh_tokens(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its generation is far above the tokens'; they stay as long as ever."""
    now = [1000.0]
    monkeypatch.setattr(request_tokens, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("mynamo.writer.maintenance._PURGE_EVERY", 0.0)
    worker, shard = Maintenance(cluster), shard_of(cluster, orders)
    worker.round()
    producer.transact([add(1)], request_token="t")
    now[0] += 700  # the generation lasts, and its successor begins
    worker.round()
    assert shard.adopt(1) is not None
    for _ in range(3):
        now[0] += 190
        worker.round()
        assert tokens(cluster) == 1
    assert producer.transact([add(1)], request_token="t").repeated
    for _ in range(2):
        now[0] += 600
        for _ in range(2):
            worker.round()
    assert tokens(cluster) == 0
    assert by_place(cluster, orders)["1"]["n"] == {"N": "1"}


def test_a_generation_that_goes_back_has_not_lasted(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(request_tokens, "time", SimpleNamespace(monotonic=lambda: now[0]))
    worker, shard = request_tokens.Generations(), shard_of(cluster, orders)

    def forgotten(generation: int, after: float) -> int:
        now[0] += after
        set_to = "UPDATE mynamo_fence SET version = %s WHERE id = %s"
        shard.run((set_to, (generation, GENERATION_ROW)))
        return worker.of(shard).forgotten

    assert forgotten(50, 0) == -1
    assert forgotten(50, 600) == -1
    assert forgotten(51, 1) == -1  # whoever began in 50 may still write a token of 51
    assert forgotten(52, 599) == 49
    assert forgotten(40, 1) == -1  # tokens of generation 40 are made again
    assert forgotten(41, 599) == -1
    assert forgotten(41, 600) == -1
    assert forgotten(1 << 36, 1) == 40  # a new incarnation
    assert forgotten((1 << 36) + 1, 1) == 40


def test_a_shard_of_the_previous_release_gets_the_tables(
    config: ClusterConfig, cluster: Cluster, orders: Table, producer: Producer
) -> None:
    """Connections that were open before go on."""
    shard = shard_of(cluster, orders)
    shard.run(
        *((f"DROP TABLE mynamo_{name}", ()) for name in ("intent", "transaction", "token")),
        ("DELETE FROM mynamo_fence WHERE id = %s", (GENERATION_ROW,)),
        ("UPDATE mynamo_format SET number = 1 WHERE kind = 'shard'", ()),
    )
    producer.put("orders", {**key(1), "n": 1})
    with Cluster(config) as opened:
        Producer(opened).transact([add(1)], request_token="t")
    assert producer.transact([add(1)], request_token="t").repeated
    assert by_place(cluster, orders)["1"]["n"] == {"N": "2"}


# -- connections that are lost -------------------------------------------------------------------


@pytest.fixture
def lost(through: ClusterConfig) -> Iterator[Producer]:
    """One whose connections to the shards lead through the proxy."""
    with Cluster(through) as cluster, Producer(cluster) as producer:
        yield producer


@pytest.mark.parametrize("token", [None, "t"])
@pytest.mark.parametrize("fault", ["lose_answer", "lose_request"])
def test_a_commit_that_is_lost(
    cluster: Cluster, orders: Table, proxy: Proxy, lost: Producer, fault: Any, token: str | None
) -> None:
    proxy.on(COMMIT, fault)
    done = lost.transact([add(1), absent(2), add(3)], request_token=token)
    assert proxy.struck.is_set()
    assert not done.repeated
    items = items_of(cluster, orders)
    assert [v for v, _ in items.values()] == [r.version for r in done.receipts if r.version]
    assert [item["n"] for _, item in items.values()] == [{"N": "1"}] * 2
    if token:
        assert lost.transact([add(1), absent(2), add(3)], request_token=token).repeated
    assert damage(cluster, orders) == []


@pytest.mark.parametrize("token", [None, "t"])
@pytest.mark.parametrize("fault", ["lose_answer", "lose_request"])
def test_so_is_one_without_any_event(
    cluster: Cluster, orders: Table, proxy: Proxy, lost: Producer, fault: Any, token: str | None
) -> None:
    """It is evaluated again, or its token says that it happened."""
    proxy.on(COMMIT, fault)
    done = lost.transact([absent(1), Delete("orders", key(2))], request_token=token)
    assert proxy.struck.is_set()
    assert [receipt.version for receipt in done.receipts] == [0, 0]
    assert done.repeated == (fault == "lose_answer" and token is not None)
    assert tokens(cluster) == (token is not None)
    assert items_of(cluster, orders) == {}


def test_when_nobody_can_be_asked_the_token_says_it_later(
    cluster: Cluster,
    orders: Table,
    proxy: Proxy,
    lost: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commit_outcome, "OUTBOX_KEEPS", 1.0)
    proxy.on(COMMIT, "lose_server")
    with pytest.raises(WriteOutcomeUnknown):
        lost.transact([add(1)], request_token="t")
    proxy.accept()
    assert Producer(cluster).transact([add(1)], request_token="t").repeated
    assert by_place(cluster, orders)["1"]["n"] == {"N": "1"}


def test_control_without_asking_a_transaction_that_happened_happens_again(
    cluster: Cluster,
    orders: Table,
    proxy: Proxy,
    lost: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commit, "outcome_of_commit", lambda *_: None)
    proxy.on(COMMIT, "lose_answer")
    lost.transact([add(1), add(2)])
    assert by_place(cluster, orders)["1"]["n"] == {"N": "2"}
