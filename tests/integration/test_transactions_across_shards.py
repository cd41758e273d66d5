"""Transactions of items on several shards, on both engines: all or nothing, isolated, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import (
    MARK,
    Decision,
    Transaction,
    insert_aborted,
    read_decision,
)
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.cli.app import root
from mynamo.errors import (
    ConditionFailed,
    ConsistencyTimeout,
    CorruptData,
    IdempotentParameterMismatch,
    InvalidItem,
    ShardUnavailable,
    TransactionCanceled,
    TransactionConflict,
    TransactionInProgress,
    WriteOutcomeUnknown,
)
from mynamo.local.state import config_toml
from mynamo.mysql.pool import Session, Statement
from mynamo.operations import lag
from mynamo.operations.open_transactions import finish, open_transactions
from mynamo.producer import (
    MUST_EXIST,
    MUST_NOT_EXIST,
    Check,
    Delete,
    Producer,
    Put,
    Update,
)
from mynamo.producer.requests import ask
from mynamo.reader import Reader
from mynamo.runtime.crash_points import VARIABLE
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import load_item
from mynamo.writer import WriteRequest, apply_each
from mynamo.writer.maintenance import Maintenance
from mynamo.writer.transaction import (
    across_shards,
    meeting,
    request_tokens,
    resolver,
    shard_steps,
    step_commit,
    sweeper,
)
from mynamo.writer.transaction.shard_steps import prepare_on
from mynamo.writer.transaction.step_commit import AnswerLost
from mynamo.writer.transaction.transaction_ids import new_age, new_id
from mynamo.writer.transaction.write_requests import Current, prepare
from tests.comparing import gsi_damage
from tests.fake_log import Bench
from tests.intents import place, release
from tests.proxy import Fault, Proxy
from tests.rows import damage, everywhere, items_of, make_table
from tests.waiting import eventually

ADD = "ADD n :one"
ONE = {":one": 1}
PREPARE = b"INSERT INTO mynamo_intent"
DECIDE = b"INSERT INTO mynamo_transaction"
APPLY = b"DELETE FROM mynamo_intent"


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


def key(name: str) -> dict[str, str]:
    return {"id": name, "at": "1"}


def stored(name: str) -> dict[str, dict[str, str]]:
    return {"id": {"S": name}, "at": {"S": "1"}}


def on_shard(cluster: Cluster, number: int, prefix: str = "") -> Iterator[str]:
    """Hash keys whose items are on a shard."""
    table = cluster.table("orders")
    for n in range(10_000):
        name = f"{prefix}{n}"
        if cluster.shard_of(table.key_of(stored(name)).hash).id == number:
            yield name


@pytest.fixture
def a(cluster: Cluster, orders: Table) -> str:
    """A key on shard 1, which decides where its item is the first one."""
    return next(on_shard(cluster, 1, "a"))


@pytest.fixture
def b(cluster: Cluster, orders: Table) -> str:
    """A key on shard 2."""
    return next(on_shard(cluster, 2, "b"))


def put(name: str, /, **more: Any) -> Put:
    return Put("orders", {**key(name), **more})


def add(name: str) -> Update:
    return Update("orders", key(name), ADD, values=ONE)


def check(name: str, condition: Any = MUST_NOT_EXIST) -> Check:
    return Check("orders", key(name), condition)


def by_name(cluster: Cluster, table: Table) -> dict[str, dict[str, Any]]:
    """The items; placeholders and marks must be gone."""
    found = items_of(cluster, table)
    assert all(0 < version < MARK for version, _ in found.values())
    return {item["id"]["S"]: item for _, item in found.values()}


def n_of(cluster: Cluster, table: Table, *names: str) -> list[int]:
    items = by_name(cluster, table)
    return [int(items[name]["n"]["N"]) if name in items else 0 for name in names]


def intents(cluster: Cluster) -> int:
    return len(everywhere(cluster, "SELECT transaction_id FROM mynamo_intent"))


def decisions(cluster: Cluster) -> Counter[int]:
    return Counter(d for (d,) in everywhere(cluster, "SELECT decision FROM mynamo_transaction"))


def check_all_is_well(cluster: Cluster, table: Table) -> None:
    """No intent, mark or placeholder is left, and indexes and events fit the items."""
    assert intents(cluster) == 0
    by_name(cluster, table)
    assert damage(cluster, table) == []


def sweep(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a writer worker does some seconds later."""
    with monkeypatch.context() as patch:
        patch.setattr(sweeper, "SEEN_FOR", 0.0)
        sweeper.Sweeper(cluster).round()


def left_alone(
    cluster: Cluster, *names: str, decider: int = 1, age: bytes | None = None,
    token: bytes | None = None,
) -> Transaction:  # fmt: skip
    """Leave intents that add 1 to items of one shard, as a coordinator that died after T3."""
    table = cluster.table("orders")
    writes = [prepare(cluster, add_request(name), table) for name in names]
    generation = request_tokens.generation_of(cluster.shards[decider])
    transaction = Transaction(new_id(age or new_age()), decider, generation, token)
    outcomes = prepare_on(cluster, writes[0].route.shard, writes, transaction)
    assert all(not hasattr(outcome, "error") for outcome in outcomes)
    return transaction


def add_request(name: str) -> WriteRequest:
    return ask("orders", "UPDATE", key(name), expression=ADD, values=ONE).request()


# -- what one transaction does ----------------------------------------------------------


def test_all_kinds_of_writes_over_shards(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    ones, twos = on_shard(cluster, 1), on_shard(cluster, 2)
    there = [next(ones), next(ones), next(ones), next(twos), next(twos), next(twos)]
    new = [next(ones), next(twos)]
    gone = [next(ones), next(twos)]
    for name in there:
        producer.put("orders", {**key(name), "price": 3, "n": 1, "name": "x"})
    before = items_of(cluster, orders)
    writes: list[Any] = []
    for number, (update, delete, checked) in enumerate([there[:3], there[3:]]):
        writes += [
            Update("orders", key(update), "SET price = :p ADD n :one", values={":p": 9, ":one": 1}),
            Delete("orders", key(delete), "price = :p", values={":p": 3}),
            Check("orders", key(checked), "n = :one", values=ONE),
            Put("orders", {**key(new[number]), "price": 7, "name": "y"}),
            Delete("orders", key(gone[number])),
        ]
    done = producer.transact(writes)
    assert not done.repeated
    assert [receipt.shard for receipt in done.receipts] == [1] * 5 + [2] * 5
    assert [receipt.version > 0 for receipt in done.receipts] == [
        True,
        True,
        False,
        True,
        False,
    ] * 2
    assert done.receipts[7].old == {**key(there[5]), "price": 3, "n": 1, "name": "x"}
    items = by_name(cluster, orders)
    assert set(items) == {there[0], there[2], there[3], there[5], *new}
    assert [items[n]["n"] for n in (there[0], there[3])] == [{"N": "2"}] * 2
    after = items_of(cluster, orders)
    for name in (there[2], there[5]):  # not even its version
        assert after[orders.key_of(stored(name))] == before[orders.key_of(stored(name))]
    versions = {item["id"]["S"]: version for version, item in after.values()}
    for write, receipt in zip(writes, done.receipts, strict=True):
        name = (write.item if isinstance(write, Put) else write.key)["id"]
        if receipt.version and name in versions:
            assert versions[name] == receipt.version
    assert decisions(cluster) == {Decision.COMMITTED: 1}
    check_all_is_well(cluster, orders)


def test_if_one_is_refused_none_happens_and_every_reason_is_known(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    ones, twos = on_shard(cluster, 1), on_shard(cluster, 2)
    a, a2, a3 = next(ones), next(ones), next(ones)
    b, b2, b3 = next(twos), next(twos), next(twos)
    for name in (a, b):
        producer.put("orders", {**key(name), "n": 1})
    producer.put("orders", {**key(b2), "s": "text"})
    before = items_of(cluster, orders)
    cases: list[tuple[list[Any], list[type | None]]] = [
        # Refused on the other shard, on the deciding one, and on both.
        ([add(a), check(b)], [None, ConditionFailed]),
        ([check(a), add(b)], [ConditionFailed, None]),
        (
            [
                add(a), check(b3, MUST_EXIST), check(a2, MUST_EXIST), put(a3),
                Put("orders", {**key(b2), "n": 2}, "attribute_not_exists(id)"),
                Update("orders", key(a2 + "x"), "SET n = n + :one", values=ONE), add(b),
            ],
            [None, ConditionFailed, ConditionFailed, None, ConditionFailed, InvalidItem, None],
        ),
    ]  # fmt: skip
    for writes, expected in cases:
        for token in (None, "refused"):
            with pytest.raises(TransactionCanceled) as raised:
                producer.transact(writes, request_token=token)
            reasons = raised.value.reasons
            assert [None if r is None else type(r) for r in reasons] == expected
            assert items_of(cluster, orders) == before
    assert everywhere(cluster, "SELECT 1 FROM mynamo_token") == []
    assert decisions(cluster) == {}
    check_all_is_well(cluster, orders)


def test_commits_and_round_trips(
    cluster: Cluster, producer: Producer, a: str, b: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three commits, two round trips each; T3 is never one packet that begins and commits."""
    producer.transact([add(a), add(b)])
    asked: list[str] = []
    run = Session.run

    def noting(self: Session, *statements: Statement) -> Any:
        asked.append(" ".join(text.split(" ")[0] for text, _ in statements))
        return run(self, *statements)

    monkeypatch.setattr(Session, "run", noting)
    producer.transact([add(a), add(b)], request_token="t")
    assert len([packet for packet in asked if packet.endswith("COMMIT")]) == 3
    assert not any("BEGIN" in packet and "COMMIT" in packet for packet in asked)
    assert len(asked) <= 7


@pytest.mark.parametrize("deletes", [False, True])
def test_indexes_follow_and_one_token_covers_all_items(
    config: ClusterConfig, monkeypatch: pytest.MonkeyPatch, deletes: bool
) -> None:
    """Also the token of the repeated request, which knows no versions."""
    bench = Bench(config, monkeypatch)
    try:
        make_table(bench.cluster)
        names = [next(on_shard(bench.cluster, n, f"{x}-")) for x in range(6) for n in (1, 2)]
        for name in names:
            bench.producer.put("orders", {**key(name), "name": "old"})
        indexer = bench.indexer()
        bench.catch_up(indexer)
        writes: list[Any] = [
            Delete("orders", key(name)) if deletes
            else Update("orders", key(name), set={"name": "new"})
            for name in names
        ]  # fmt: skip
        first = bench.producer.transact(writes, request_token="t")
        again = bench.producer.transact(writes, request_token="t")
        assert (first.repeated, again.repeated) == (False, True)
        reader = Reader(bench.cluster)
        for receipt in (first, again):
            with pytest.raises(ConsistencyTimeout):
                reader.query("orders", "new", index="by_name", after=receipt, timeout=0.1)
        bench.catch_up(indexer)
        for receipt in (first, again):
            found = reader.query("orders", "new", index="by_name", after=receipt)
            assert sorted(i["id"] for i in found.items) == ([] if deletes else sorted(names))
            old = reader.query("orders", "old", index="by_name", after=receipt)
            assert old.items == []
        assert gsi_damage(bench.cluster, "orders") == []
    finally:
        bench.close()


# -- tokens -------------------------------------------------------------------------------


def test_the_same_request_happens_once(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str
) -> None:
    gone = next(on_shard(cluster, 2, "gone"))
    writes: list[Any] = [add(a), add(b), check(gone), Delete("orders", key(gone + "x"))]
    first = producer.transact(writes, request_token="t")
    producer.put("orders", key(gone))  # which the check would refuse now
    again = producer.transact(writes, request_token="t")
    assert (first.repeated, again.repeated) == (False, True)
    assert again.receipts[0].version == first.receipts[0].version
    assert n_of(cluster, orders, a, b) == [1, 1]
    with pytest.raises(IdempotentParameterMismatch):
        producer.transact([add(a), add(b)], request_token="t")
    assert not producer.transact(writes[:2], request_token="u").repeated
    assert n_of(cluster, orders, a, b) == [2, 2]
    check_all_is_well(cluster, orders)


def test_concurrent_repetitions_happen_once(
    cluster: Cluster, orders: Table, other: Cluster, a: str, b: str
) -> None:
    producers = [Producer(cluster), Producer(other)]

    def attempt(number: int) -> Any:
        for _ in range(5):
            try:
                return producers[number % 2].transact([add(a), add(b)], request_token="t")
            except TransactionInProgress:  # what an SDK tries again
                continue
        raise AssertionError("it is still in progress")

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(attempt, range(8)))
    assert Counter(each.repeated for each in done) == {False: 1, True: 7}
    assert n_of(cluster, orders, a, b) == [1, 1]
    check_all_is_well(cluster, orders)


def test_a_generation_that_is_over(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str
) -> None:
    """Without a token it is tried again; with one nobody knows whether it has happened."""
    producer.transact([add(a), add(b)])
    cluster.shards[1].run(
        ("UPDATE mynamo_fence SET version = version + 2 WHERE id = %s", (GENERATION_ROW,))
    )
    producer.transact([add(a), add(b)])
    cluster.shards[1].run(
        ("UPDATE mynamo_fence SET version = version + 2 WHERE id = %s", (GENERATION_ROW,))
    )
    with pytest.raises(WriteOutcomeUnknown, match="so long"):
        producer.transact([add(a), add(b)], request_token="t")
    producer.transact([add(a), add(b)], request_token="t")
    assert n_of(cluster, orders, a, b) == [3, 3]
    check_all_is_well(cluster, orders)


# -- beside others ------------------------------------------------------------------------


def move_money(cluster: Cluster, other: Cluster, names: Sequence[str], moves: int) -> int:
    """Move 1 from one account to another, many times at once in two processes; returns how often
    it succeeded. Refusals are the only failures."""
    producers = [Producer(cluster), Producer(other)]

    def move(number: int) -> bool:
        source, target = names[number % len(names)], names[(number * 3 + 1) % len(names)]
        if source == target:
            return False
        take = Update("orders", key(source), "SET n = n - :one", condition="n >= :one", values=ONE)
        both = [take, add(target)]
        try:
            producers[number % 2].transact(both if number % 3 else both[::-1])
        except TransactionCanceled:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(move, range(moves)))


def test_transactions_over_the_same_items_in_opposite_order(
    cluster: Cluster, orders: Table, other: Cluster, producer: Producer
) -> None:
    names = [next(on_shard(cluster, n, f"{x}-")) for x in range(3) for n in (1, 2)]
    for name in names:
        producer.put("orders", {**key(name), "n": 20})
    assert move_money(cluster, other, names, 120) > 30
    assert sum(n_of(cluster, orders, *names)) == 20 * len(names)
    check_all_is_well(cluster, orders)


def test_two_that_meet_again_and_again_both_come_through(
    cluster: Cluster, orders: Table, other: Cluster, a: str, b: str
) -> None:
    producers = [Producer(cluster), Producer(other)]

    def repeat(number: int) -> None:
        writes = [add(a), add(b)]
        for _ in range(15):
            producers[number].transact(writes[:: 1 if number else -1])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(repeat, range(2)))
    assert n_of(cluster, orders, a, b) == [30, 30]
    check_all_is_well(cluster, orders)


def test_a_plain_write_waits_and_goes_on(
    cluster: Cluster, orders: Table, other: Cluster, b: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It meets an intent of a transaction whose coordinator is gone, and aborts that. Two writes of
    the item keep their order, and other items do not wait."""
    monkeypatch.setattr(meeting, "BEFORE_OTHERS", 0.3)
    third = next(on_shard(cluster, 2, "third"))
    transaction = left_alone(cluster, b)
    requests = [
        WriteRequest("orders", "PUT", {**stored(b), "v": {"S": "first"}}),
        WriteRequest("orders", "PUT", {**stored(third), "v": {"S": "other"}}),
        WriteRequest("orders", "PUT", {**stored(b), "v": {"S": "last"}}),
    ]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(apply_each, other, requests)
        Producer(cluster).put("orders", {**key(third), "v": "beside"})
        answers = waiting.result()
    versions = [outcome.version for _, outcome in answers if not hasattr(outcome, "error")]
    assert len(versions) == 3
    assert versions[0] < versions[2]
    assert by_name(cluster, orders)[b]["v"] == {"S": "last"}
    assert decisions(cluster) == {Decision.ABORTED: 1}
    assert cluster.shards[1].run(read_decision(transaction.id))[0].rows == ((2,),)
    check_all_is_well(cluster, orders)


def test_a_plain_write_of_a_committed_transactions_item_applies_it_first(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(meeting, "BEFORE_OTHERS", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(across_shards, "apply_on", unavailable)
        with pytest.raises(WriteOutcomeUnknown, match="is committed"):
            producer.transact([add(a), add(b)])
    assert intents(cluster) == 1
    producer.update("orders", key(b), expression=ADD, values=ONE)
    assert n_of(cluster, orders, a, b) == [1, 2]
    check_all_is_well(cluster, orders)


def unavailable(*_: Any, **__: Any) -> Any:
    raise ShardUnavailable("made up: it is away")


def test_intents_of_others_in_transactions(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """On a participant, on the deciding shard, and where all items are on one shard. A younger one
    is aborted soon, an older one after a while."""
    monkeypatch.setattr(meeting, "BEFORE_OTHERS", 0.2)
    old, young = bytes(6), b"\xff" * 6
    for number, age in enumerate((old, young)):
        for writes in ([add(a), add(b)], [add(b), add(a)], [add(b)]):
            left_alone(cluster, b, age=age)
            producer.transact(writes, request_token=f"{number}{len(writes)}{writes[0].key['id']}")
    assert n_of(cluster, orders, a, b) == [4, 6]
    assert decisions(cluster)[Decision.ABORTED] == 6
    check_all_is_well(cluster, orders)


def test_a_failed_condition_beside_an_item_of_another_transaction_is_told_at_once(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str
) -> None:
    left_alone(cluster, b)
    cases: list[list[Any]] = [[check(a, MUST_EXIST), add(b)], [add(b), check(a, MUST_EXIST)]]
    for writes in cases:
        with pytest.raises(TransactionCanceled) as raised:
            producer.transact(writes)
        assert {type(reason) for reason in raised.value.reasons} == {
            ConditionFailed, TransactionConflict,
        }  # fmt: skip
    assert intents(cluster) == 1


def test_when_patience_ends_it_is_a_conflict(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(meeting, "PATIENCE", 0.3)
    left_alone(cluster, b)
    with pytest.raises(TransactionConflict):
        producer.put("orders", key(b))
    (outcome,) = producer.write_batch([Put("orders", key(b))])
    assert isinstance(outcome, TransactionConflict)
    for writes in ([add(a), add(b)], [add(b)]):
        with pytest.raises(TransactionCanceled) as raised:
            producer.transact(writes)
        assert type(raised.value.reasons[-1]) is TransactionConflict
    assert producer.transact([add(a)]).receipts[0].version
    monkeypatch.setattr(meeting, "PATIENCE", 60.0)
    monkeypatch.setattr(meeting, "BEFORE_OTHERS", 60.0)
    with pytest.raises(TransactionConflict):
        producer.put("orders", key(b), timeout=2.0)


def test_an_attempt_of_the_same_request(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """An earlier one is finished; a later one is in progress elsewhere."""
    monkeypatch.setattr(meeting, "BEFORE_OTHERS", 0.1)
    monkeypatch.setattr(meeting, "PATIENCE", 0.5)
    token = b"t" * 16
    monkeypatch.setattr("mynamo.producer.transactions._hash", lambda _: token)
    left_alone(cluster, b, age=b"\xff" * 6, token=token)
    for writes in ([add(a), add(b)], [add(b)]):
        with pytest.raises(TransactionInProgress):
            producer.transact(writes, request_token="t")
    assert intents(cluster) == 1
    sweep(cluster, monkeypatch)
    left_alone(cluster, b, age=bytes(6), token=token)
    assert not producer.transact([add(a), add(b)], request_token="t").repeated
    assert n_of(cluster, orders, a, b) == [1, 1]
    check_all_is_well(cluster, orders)


def test_a_mark_without_an_intent_is_a_conflict_and_no_busy_loop(
    cluster: Cluster, orders: Table, producer: Producer, b: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "PATIENCE", 0.5)
    producer.put("orders", key(b))
    cluster.shards[2].run((f"UPDATE t{orders.id} SET version = version | {MARK}", ()))
    asked: list[int] = []
    ask = DynamoDBShard.ask

    def noting(self: DynamoDBShard, *statements: Statement) -> Any:
        asked.append(1)
        return ask(self, *statements)

    monkeypatch.setattr(DynamoDBShard, "ask", noting)
    with pytest.raises(TransactionConflict, match="no transaction has"):
        producer.put("orders", key(b))
    assert len(asked) < 60


# -- who dies -----------------------------------------------------------------------------


@pytest.fixture
def dying(config: ClusterConfig, tmp_path: Path) -> Callable[..., None]:
    """Runs a process that makes a transaction and dies at a step."""
    path = tmp_path / "dying.toml"
    path.write_text(config_toml(config))

    def run(step: str, token: str, *names: str) -> None:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.transacting_process", str(path), token, *names],
            cwd=Path(__file__).parents[2], env=os.environ | {VARIABLE: step}, timeout=60,
            check=False,
        )  # fmt: skip
        assert ended.returncode == -signal.SIGKILL

    return run


@pytest.mark.parametrize(
    ("step", "happened"),
    [
        ("transact.1", False),
        ("transact.2", False),
        ("transact.3", False),
        ("transact.4", True),
        ("transact.5", True),
    ],
)
def test_a_coordinator_that_dies(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch, dying: Callable[..., None], step: str, happened: bool,
) -> None:  # fmt: skip
    """A writer worker finishes it; sent again with its token, it happens once."""
    dying(step, "t", a, b)
    assert intents(cluster) == (step in ("transact.3", "transact.4"))
    sweep(cluster, monkeypatch)
    assert n_of(cluster, orders, a, b) == [happened, happened]
    check_all_is_well(cluster, orders)
    dying(step, "u", a, b)  # and whoever sends it again does not wait for the worker
    monkeypatch.setattr(meeting, "BEFORE_OTHERS", 0.1)
    producer.transact([add(a), add(b)])
    assert n_of(cluster, orders, a, b) == [1 + 2 * happened] * 2
    check_all_is_well(cluster, orders)


@pytest.mark.parametrize("step", ["transact.3", "transact.4", "transact.5"])
def test_a_request_that_is_sent_again_after_its_process_died(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch, dying: Callable[..., None], step: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(meeting, "BEFORE_OTHERS", 0.1)
    dying(step, "t", a, b)
    done = producer.transact([add(a), add(b)], request_token="t")
    assert done.repeated == (step != "transact.3")
    assert n_of(cluster, orders, a, b) == [1, 1]
    check_all_is_well(cluster, orders)


def test_a_resolver_that_dies_between_decision_and_release(
    cluster: Cluster, orders: Table, b: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_alone(cluster, b)

    def dies(label: str) -> None:
        raise SystemExit(label)

    with monkeypatch.context() as patch:
        patch.setattr(resolver, "crash_point", dies)
        with pytest.raises(SystemExit, match=r"transact\.6"):
            sweep(cluster, patch)
    assert (intents(cluster), decisions(cluster)) == (1, {Decision.ABORTED: 1})
    sweep(cluster, monkeypatch)
    check_all_is_well(cluster, orders)


# -- answers that are lost --------------------------------------------------------------------


@pytest.fixture
def lost(through: ClusterConfig) -> Iterator[Producer]:
    """One whose connections to the shards lead through the proxy."""
    with Cluster(through) as cluster, Producer(cluster) as producer:
        yield producer


@pytest.mark.parametrize("token", [None, "t"])
@pytest.mark.parametrize("fault", ["lose_answer", "lose_request"])
@pytest.mark.parametrize("step", [PREPARE, DECIDE, APPLY])
def test_an_answer_that_is_lost(
    cluster: Cluster, orders: Table, proxy: Proxy, lost: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch, step: bytes, fault: Fault, token: str | None,
) -> None:  # fmt: skip
    gone = next(on_shard(cluster, 2, "gone"))
    writes: list[Any] = [add(a), add(b), check(gone)]
    proxy.on(step, fault)
    done = lost.transact(writes, request_token=token)
    assert proxy.struck.is_set()
    assert not done.repeated
    sweep(cluster, monkeypatch)
    assert n_of(cluster, orders, a, b) == [1, 1]
    versions = {item["id"]["S"]: version for version, item in items_of(cluster, orders).values()}
    for receipt, name in zip(done.receipts, (a, b), strict=False):
        assert receipt.version in (0, versions[name])
    if token is not None:
        assert lost.transact(writes, request_token=token).repeated
    assert n_of(cluster, orders, a, b) == [1, 1]
    check_all_is_well(cluster, orders)


def test_t3_is_not_sent_again_under_the_same_id(
    cluster: Cluster, orders: Table, proxy: Proxy, lost: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A first packet of T3 that arrives late would place its intents again."""
    ids: list[bytes] = []
    prepare_there = shard_steps.prepare_on

    def noting(*args: Any) -> Any:
        ids.append(args[3].id)
        return prepare_there(*args)

    monkeypatch.setattr(across_shards, "prepare_on", noting)
    proxy.on(PREPARE, "lose_answer")
    lost.transact([add(a), add(b)])
    assert len(ids) == len(set(ids)) == 2
    assert ids[0][:6] == ids[1][:6]


def test_a_deciding_shard_that_is_lost_with_t4(
    cluster: Cluster, orders: Table, proxy: Proxy, lost: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nobody can say whether it happened, and intents stay until somebody can."""
    proxy.on(DECIDE, "lose_server")
    with pytest.raises(WriteOutcomeUnknown):
        lost.transact([add(a), add(b)], request_token="t", outcome_timeout=0.5)
    proxy.accept()
    assert intents(cluster) == 1
    monkeypatch.setattr(meeting, "BEFORE_OTHERS", 0.1)
    assert lost.transact([add(a), add(b)], request_token="t").repeated
    assert n_of(cluster, orders, a, b) == [1, 1]
    check_all_is_well(cluster, orders)


# -- shards that are away ------------------------------------------------------------------------


@pytest.fixture
def half(engine_config: ClusterConfig, proxy: Proxy, orders: Table) -> ClusterConfig:
    """The way to shard 1 alone leads through the proxy."""
    first, second = engine_config.shards
    return engine_config.model_copy(
        update={"shards": (first.model_copy(update={"port": proxy.port}), second)}
    )


def test_a_deciding_shard_that_is_away(
    cluster: Cluster, orders: Table, half: ClusterConfig, proxy: Proxy, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its transactions' items on other shards cannot be written; all others can."""
    monkeypatch.setattr(meeting, "PATIENCE", 1.0)
    monkeypatch.setattr(meeting, "BEFORE_OTHERS", 0.1)
    third = next(on_shard(cluster, 2, "third"))
    with Cluster(half) as behind, Producer(behind) as producer:
        left_alone(behind, b)
        proxy.refuse()
        with pytest.raises(TransactionConflict, match="cannot be finished"):
            producer.put("orders", key(b))
        producer.put("orders", key(third))
        with pytest.raises(TransactionCanceled):
            producer.transact([add(b), add(third)])
        sweep(behind, monkeypatch)
        assert intents(cluster) == 1
        proxy.accept()

        def is_written() -> bool:
            with suppress(TransactionConflict):  # until the circuit breaker has noticed
                return producer.put("orders", key(b)).version > 0
            return False

        eventually(is_written)
    check_all_is_well(cluster, orders)


def test_another_shard_that_is_away_when_it_is_committed(
    cluster: Cluster, orders: Table, half: ClusterConfig, proxy: Proxy, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It is not said to be cancelled, whoever asks."""
    with Cluster(half) as behind, Producer(behind) as producer:
        commit_decision = shard_steps.commit_decision

        def and_then_away(*args: Any) -> Any:
            decided = commit_decision(*args)
            proxy.refuse()
            return decided

        with monkeypatch.context() as patch:
            patch.setattr(across_shards, "commit_decision", and_then_away)
            with pytest.raises(WriteOutcomeUnknown, match="is committed"):
                producer.transact([add(b), add(a)], request_token="t", outcome_timeout=0.5)
        with pytest.raises((WriteOutcomeUnknown, ShardUnavailable)):
            producer.transact([add(b), add(a)], request_token="t", timeout=1.0)
        proxy.accept()
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(producer.transact, [add(b), add(a)], request_token="t")
            assert again.result().repeated
    assert n_of(cluster, orders, a, b) == [1, 1]
    check_all_is_well(cluster, orders)


# -- the sweeper and the clean-up ----------------------------------------------------------------


def test_the_sweeper_waits_and_costs_one_statement_where_nothing_is(
    cluster: Cluster, orders: Table, a: str, b: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = sweeper.Sweeper(cluster)
    asked: list[Sequence[str]] = []
    run = Session.run

    def noting(self: Session, *statements: Statement) -> Any:
        asked.append([text for text, _ in statements])
        return run(self, *statements)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", noting)
        mine.round()
    assert [len(packet) for packet in asked] == [1, 1]
    left_alone(cluster, b)
    left_alone(cluster, a, decider=2)
    for _ in range(3):
        mine.round()
    assert intents(cluster) == 2
    monkeypatch.setattr(sweeper, "SEEN_FOR", 0.01)
    time.sleep(0.02)
    mine.round()
    assert decisions(cluster) == {Decision.ABORTED: 2}
    check_all_is_well(cluster, orders)


def test_the_sweeper_passes_over_what_it_cannot_finish(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look reads some intents only; the next one goes on behind them."""
    monkeypatch.setattr(sweeper, "MOST", 3)
    monkeypatch.setattr(sweeper, "SEEN_FOR", 0.0)
    names = on_shard(cluster, 2)
    for number in range(10):
        left_alone(cluster, next(names), age=bytes([number]) * 6)
    stuck = {bytes([number]) * 6 for number in range(4)}
    resolve = resolver.resolve

    def partly(*args: Any) -> Any:
        if args[3][:6] in stuck:
            raise ShardUnavailable("made up")
        return resolve(*args)

    monkeypatch.setattr(sweeper, "resolve", partly)
    mine = sweeper.Sweeper(cluster)
    for _ in range(5):
        mine.round()
    assert intents(cluster) == 4
    stuck.clear()
    for _ in range(3):
        mine.round()
    check_all_is_well(cluster, orders)


def test_a_table_that_is_dropped_with_intents(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Before and after the decision; items of other tables follow the decision."""
    gone = make_table(cluster, "gone")
    with monkeypatch.context() as patch:
        patch.setattr(across_shards, "apply_on", unavailable)
        with pytest.raises(WriteOutcomeUnknown):
            producer.transact([add(a), add(b), Put("gone", key(b))])
    other_b = next(on_shard(cluster, 2, "other"))
    left_alone(cluster, other_b)
    definitions.drop_table(cluster, "gone")
    maintenance = Maintenance(cluster)
    monkeypatch.setattr(sweeper, "SEEN_FOR", 0.0)
    for _ in range(2):
        maintenance.round()
    assert intents(cluster) == 0
    assert gone.id not in cluster.snapshot.tables
    assert n_of(cluster, orders, a, b, other_b) == [1, 1, 0]
    check_all_is_well(cluster, orders)


def test_decisions_go_when_nobody_needs_them(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    now = [1000.0]

    class Clock:
        monotonic = staticmethod(lambda: now[0])

    monkeypatch.setattr(request_tokens, "time", Clock)
    monkeypatch.setattr("mynamo.writer.maintenance._PURGE_EVERY", 0.0)
    maintenance = Maintenance(cluster)

    def later(seconds: float) -> Counter[int]:
        now[0] += seconds
        maintenance.round()
        return decisions(cluster)

    later(0)
    producer.transact([add(a), add(b)])
    with monkeypatch.context() as patch:
        patch.setattr(across_shards, "apply_on", unavailable)
        with pytest.raises(WriteOutcomeUnknown):
            producer.transact([add(a), add(b)])
    left_alone(cluster, next(on_shard(cluster, 2, "third")))
    with monkeypatch.context() as patch:  # no release: only the decision
        patch.setattr(resolver, "release_on", lambda *_: None)
        patch.setattr(resolver, "apply_on", lambda *_: [])
        sweep(cluster, patch)
    assert decisions(cluster) == {Decision.COMMITTED: 2, Decision.ABORTED: 1}
    assert later(599) == {Decision.COMMITTED: 2, Decision.ABORTED: 1}
    for _ in range(8):
        later(601)
    assert decisions(cluster) == {Decision.COMMITTED: 1}, "one has intents yet"
    sweep(cluster, monkeypatch)
    assert n_of(cluster, orders, a, b) == [2, 2]
    later(1)
    assert decisions(cluster) == {}
    check_all_is_well(cluster, orders)


def test_a_deciding_shard_that_went_back_in_time_begins_an_incarnation(
    cluster: Cluster, orders: Table, producer: Producer, b: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not know the generation that an intent has, and nobody else has noticed."""
    left_alone(cluster, b)
    cluster.shards[1].run(
        ("UPDATE mynamo_fence SET version = version - 1 WHERE id = %s", (GENERATION_ROW,))
    )
    finished = finish(cluster, open_transactions(cluster).found)
    assert finished.decisions == {}
    (failure,) = finished.failures.values()
    assert "went back in time" in str(failure)
    sweep(cluster, monkeypatch)
    assert everywhere(cluster, "SELECT COUNT(*) FROM mynamo_incarnation") == [(2,), (1,)]
    sweep(cluster, monkeypatch)
    assert decisions(cluster) == {}  # its generation is over
    check_all_is_well(cluster, orders)


# -- for operators ---------------------------------------------------------------------------


def test_operators_see_and_finish_them(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert open_transactions(cluster).found == []
    with monkeypatch.context() as patch:
        patch.setattr(across_shards, "apply_on", unavailable)
        with pytest.raises(WriteOutcomeUnknown):
            producer.transact([add(a), add(b)])
    third = next(on_shard(cluster, 2, "third"))
    left = left_alone(cluster, third)
    committed, none = open_transactions(cluster).found
    assert (committed.decision, committed.items) == (Decision.COMMITTED, {2: 1})
    assert (none.decision, none.items, none.id) == (None, {2: 1}, left.id)
    report = lag(cluster)
    assert [shard.intents for shard in report.shards] == [0, 2]
    assert 0 <= report.shards[1].intents_seconds < 600
    assert "2 intents of transactions" in str(report)
    assert finish(cluster, [none]).decisions == {left.id: Decision.ABORTED}
    finished = finish(cluster, open_transactions(cluster).found)
    assert finished.decisions == {committed.id: Decision.COMMITTED}
    assert finished.failures == {}
    assert n_of(cluster, orders, a, b, third) == [1, 1, 0]
    check_all_is_well(cluster, orders)


def test_the_same_on_the_command_line(
    cluster: Cluster, orders: Table, config_file: Path, b: str
) -> None:
    def run(*words: str, status: int = 0) -> str:
        done = CliRunner().invoke(root, ["--config", str(config_file), "transaction", *words])
        assert done.exit_code == status, done.output
        return done.output

    assert json.loads(run("list", "--json")) == []
    assert run("list") == "no transaction over several shards is open\n"
    left = UUID(bytes=left_alone(cluster, b).id)
    assert str(left) in run("list")
    shown_lag = CliRunner().invoke(root, ["--config", str(config_file), "lag"]).output
    assert "shard 2: 1 item is in an unfinished transaction for " in shown_lag
    (shown,) = json.loads(run("list", "--json"))
    assert (shown["id"], shown["decision"], shown["shards"]) == (str(left), None, [2])
    run("resolve", status=2)
    run("resolve", str(left), "--all", status=2)
    unknown = UUID(int=7)
    assert f"{unknown}: it is finished" in run("resolve", str(unknown), status=1)
    assert run("resolve", str(left)) == f"{left}: aborted\n"
    left = UUID(bytes=left_alone(cluster, b).id)
    assert run("resolve", "--all") == f"{left}: aborted\n"
    assert run("resolve", "--all") == "no transaction over several shards is open\n"
    stuck = place(cluster, orders, {**key(b), "n": 1})  # its deciding shard cannot say
    left = UUID(bytes=left_alone(cluster, next(on_shard(cluster, 2, "c"))).id)
    told = run("resolve", "--all", status=1)
    assert f"{left}: aborted\n" in told
    assert f"{UUID(bytes=stuck.transaction_id)}: not finished: shard 1 " in told
    assert "went back in time; `mynamo writer` gives it a new incarnation" in told
    assert [each.id for each in open_transactions(cluster).found] == [stuck.transaction_id]
    release(cluster, orders, stuck)
    check_all_is_well(cluster, orders)


# -- what T4 must not do -------------------------------------------------------------------------


def test_intents_stay_as_long_as_it_may_be_committed(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """T4's answer is lost, and T6 fails, for whatever reason."""
    commit_decision = shard_steps.commit_decision

    def lost(*args: Any) -> Any:
        raise AnswerLost("made up", commit_decision(*args).outcomes)

    for failure in (CorruptData("made up"), ShardUnavailable("made up")):

        def failing(*_: Any, failure: Exception = failure) -> Any:
            raise failure

        with monkeypatch.context() as patch:
            patch.setattr(across_shards, "commit_decision", lost)
            patch.setattr(across_shards, "decision_of", failing)
            with pytest.raises(WriteOutcomeUnknown):
                producer.transact([add(a), add(b)], outcome_timeout=0.2)
        assert intents(cluster) == 1
        sweep(cluster, monkeypatch)
    assert n_of(cluster, orders, a, b) == [2, 2]
    check_all_is_well(cluster, orders)


@pytest.mark.parametrize(
    ("moved", "token", "expected"),
    [
        (1, "t", None),
        (2, "t", WriteOutcomeUnknown),
        (2, None, None),
        (-1, "t", ShardUnavailable),
    ],
)
def test_a_generation_that_moves_before_t4(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch, moved: int, token: str | None,
    expected: type[Exception] | None,
) -> None:  # fmt: skip
    """With a token, an attempt that slept does not happen. What happens is kept as long as that of
    the generation in which it was decided."""
    commit_decision = shard_steps.commit_decision
    g = request_tokens.generation_of(cluster.shards[1])
    moves = [moved]

    def after(cluster: Cluster, shard: DynamoDBShard, writes: Any) -> Any:
        if moves:
            by = moves.pop()
            cluster.shards[1].run(
                ("UPDATE mynamo_fence SET version = %s WHERE id = %s", (g + by, GENERATION_ROW))
            )
        return commit_decision(cluster, shard, writes)

    monkeypatch.setattr(across_shards, "commit_decision", after)
    if expected is None:
        producer.transact([add(a), add(b)], request_token=token)
        assert everywhere(cluster, "SELECT generation FROM mynamo_transaction") == [(g + moved,)]
    else:
        with pytest.raises(expected):
            producer.transact([add(a), add(b)], request_token=token)
    assert n_of(cluster, orders, a, b) == [expected is None] * 2
    check_all_is_well(cluster, orders)


# -- controls ------------------------------------------------------------------------------------


def test_control_t5_that_leaves_its_intents_applies_them_again(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(step_commit, "delete_intents", lambda _: ("SELECT 1", ()))
    producer.transact([add(a), add(b)])
    producer.update("orders", key(b), expression=ADD, values=ONE)
    sweep(cluster, monkeypatch)
    assert n_of(cluster, orders, a, b) != [1, 2]


def test_control_without_a_unique_decision_half_of_it_happens(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Somebody aborts it between T3 and T4, which does not look."""
    commit_decision = shard_steps.commit_decision

    def aborted_before(cluster: Cluster, shard: DynamoDBShard, writes: Any) -> Any:
        cluster.shards[1].run(
            insert_aborted(writes.decision.transaction_id, writes.decision.generation)
        )
        sweep(cluster, monkeypatch)
        return commit_decision(cluster, shard, writes)

    monkeypatch.setattr(across_shards, "commit_decision", aborted_before)
    monkeypatch.setattr(meeting, "PATIENCE", 0.3)
    with pytest.raises(TransactionCanceled):
        producer.transact([add(a), add(b)])
    assert n_of(cluster, orders, a, b) == [0, 0]
    monkeypatch.setattr(step_commit, "insert_committed", lambda *_: ("SELECT 1", ()))
    monkeypatch.setattr("mynamo.writer.transaction.statements.read_decisions", _blind)
    producer.transact([add(a), add(b)])
    assert n_of(cluster, orders, a, b) == [1, 0]


def _blind(_: Sequence[bytes]) -> Statement:
    return "SELECT id, decision FROM mynamo_transaction WHERE 1 = 0", ()


def test_control_plain_writes_that_do_not_see_intents_are_lost(
    cluster: Cluster, orders: Table, producer: Producer, a: str, b: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A plain write between T3 and T5 is overwritten by the image in the intent."""
    commit_decision = shard_steps.commit_decision

    def written_before(*args: Any) -> Any:
        update = partial(producer.update, "orders", key(b), expression=ADD, values=ONE)
        thread = threading.Thread(target=update)
        thread.start()
        thread.join(0.5)
        waiting.append(thread)
        return commit_decision(*args)

    waiting: list[threading.Thread] = []
    monkeypatch.setattr(across_shards, "commit_decision", written_before)
    producer.put("orders", {**key(b), "n": 0})
    producer.transact([add(a), add(b)])
    waiting.pop().join()
    assert n_of(cluster, orders, a, b) == [1, 2]

    def blind(version: int, data: bytes) -> Current:
        return Current(load_item(data) if data else None, version & (MARK - 1))

    monkeypatch.setattr("mynamo.writer.transaction.evaluation.current_of", blind)
    producer.transact([add(a), add(b)])
    waiting.pop().join()
    assert n_of(cluster, orders, a, b)[1] < 4
