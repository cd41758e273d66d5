"""Steps of several transactions in one local transaction, and turns; on real servers."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import MARK, Decision, insert_aborted, unmarked
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import ConditionFailed, MynamoError, TransactionCanceled, TransactionConflict
from mynamo.mysql.failures import LostConnection
from mynamo.mysql.pool import Result, Session, Statement
from mynamo.producer import MUST_EXIST, MUST_NOT_EXIST, Check, Producer, Update
from mynamo.producer.requests import ask
from mynamo.schemas.items import load_item, to_stored
from mynamo.writer import Done, RequestToken, WriteRequest
from mynamo.writer.transaction import evaluation, meeting, shard_steps, step_commit
from mynamo.writer.transaction.commit import StaleDefinition, TooMuch, places_of
from mynamo.writer.transaction.evaluation import ItemInTransaction, Refused
from mynamo.writer.transaction.request_tokens import RequestToken as Token
from mynamo.writer.transaction.step_commit import (
    AnswerLost,
    AnyStep,
    Decide,
    Decided,
    Finish,
    GenerationOver,
    Prepare,
    TransactionAborted,
    run_steps,
)
from mynamo.writer.transaction.turns import Turn
from tests.intents import place
from tests.rows import damage, everywhere, items_of
from tests.steps import (
    TOKEN,
    deciding,
    decisions,
    errors_of,
    events,
    key,
    placed,
    raw,
    request,
    stored,
    transaction,
    writes_of,
)

ADD = "ADD n :one"
ONE = {":one": 1}


@pytest.fixture
def shard(cluster: Cluster, orders: Table) -> DynamoDBShard:
    """The one that has all items here."""
    return cluster.shard_of(orders.key_of(stored(1)).hash)


def t3(cluster: Cluster, number: int, *asked: WriteRequest) -> Prepare:
    writes = writes_of(cluster, *asked)
    return Prepare(places=places_of(writes), writes=writes, transaction=transaction(number))


def t4(
    cluster: Cluster, number: int, *asked: WriteRequest, token: Token | None = None, **more: Any
) -> Decide:
    writes = deciding(writes_of(cluster, *asked), number, token, **more)
    return Decide(places=places_of(writes), writes=writes, is_trial=False)


def t5(cluster: Cluster, number: int, *asked: WriteRequest, applies: bool = True) -> Finish:
    writes = writes_of(cluster, *asked)
    return Finish(
        places=places_of(writes),
        transaction_id=transaction(number).id,
        routes={(write.table.id, write.row): write.route for write in writes},
        tables={write.table.id: write.table for write in writes},
        applies=applies,
    )


def count_up(at: object) -> WriteRequest:
    return ask("orders", "UPDATE", key(at), expression=ADD, values=ONE).request()


def ns(shard: DynamoDBShard, table: Table) -> dict[str, int]:
    """The count in each item."""
    return {
        at: int(load_item(data)["n"]["N"]) for at, (_, data) in raw(shard, table).items() if data
    }


def versions_in(answer: Any) -> list[int]:
    """Of the writes that a step has done."""
    done: list[Any] = answer.outcomes if isinstance(answer, Decided) else answer
    return [each.version for each in done]


# -- one local transaction ------------------------------------------------------------------------


def test_steps_of_all_kinds_take_two_packets_and_one_commit(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_steps(cluster, shard, [t3(cluster, n, request("PUT", n, price=n)) for n in (1, 2)])
    count = events(cluster)
    steps: list[AnyStep] = [
        t3(cluster, 5, request("PUT", 5), request("CHECK", 6, MUST_NOT_EXIST)),
        t4(cluster, 3, request("PUT", 3, price=3), token=TOKEN),
        t4(cluster, 4, request("PUT", 4, price=4)),
        t5(cluster, 1, request("PUT", 1)),
        t5(cluster, 2, request("PUT", 2), applies=False),
    ]
    packets: list[list[str]] = []
    run = Session.run

    def noting(self: Session, *given: Statement) -> list[Result]:
        packets.append([text for text, _ in given])
        return run(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", noting)
        run_steps(cluster, shard, steps)
    assert len(packets) == 2
    assert [text for packet in packets for text in packet].count("COMMIT") == 1
    rows = raw(shard, orders)
    first = rows["1"][0]
    assert {at: version for at, (version, _) in rows.items()} == {
        "1": first, "3": first + 1, "4": first + 2, "5": 0, "6": 0,
    }  # fmt: skip
    *others, released = (step.answer for step in steps)
    assert [versions_in(answer) for answer in others] == [
        [0, 0], [first + 1], [first + 2], [first],
    ]  # fmt: skip
    assert released == []
    assert decisions(shard) == {3: (Decision.COMMITTED, 1), 4: (Decision.COMMITTED, 1)}
    assert [len(placed(shard, number)) for number in (1, 2, 5)] == [0, 0, 2]
    assert events(cluster) == count + 3
    assert damage(cluster, orders) == []


@pytest.mark.parametrize("before", ["there", "absent"])
@pytest.mark.parametrize("first", ["put", "delete", "check", "release"])
def test_an_item_is_freed_and_gets_the_next_intent_in_one_commit(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, producer: Producer, first: str,
    before: str,
) -> None:  # fmt: skip
    if before == "there":
        producer.put("orders", {**key(1), "n": 10, "price": 1})
    asked = {
        "put": request("PUT", 1, n=20, price=2),
        "delete": request("DELETE", 1),
        "check": request("CHECK", 1, MUST_EXIST if before == "there" else MUST_NOT_EXIST),
        "release": request("PUT", 1, n=30),
    }[first]
    run_steps(cluster, shard, [t3(cluster, 1, asked)])
    assert len(placed(shard, 1)) == 1
    steps: list[AnyStep] = [
        t3(cluster, 2, count_up(1)),
        t5(cluster, 1, asked, applies=first != "release"),
    ]
    run_steps(cluster, shard, steps)
    assert (len(placed(shard, 1)), len(placed(shard, 2))) == (0, 1)
    left = {"put": 20, "delete": None}.get(first, 10 if before == "there" else None)
    ((version, data),) = raw(shard, orders).values()
    assert (version == 0) if left is None else (version & MARK and unmarked(version) > 0)
    assert bool(data) == (left is not None)
    run_steps(cluster, shard, [t5(cluster, 2, count_up(1))])
    assert ns(shard, orders) == {"1": (left or 0) + 1}
    assert damage(cluster, orders) == []


def test_a_decision_writes_what_an_earlier_one_left_and_an_intent_follows(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    run_steps(
        cluster, shard,
        [t3(cluster, 3, count_up(1)), t4(cluster, 1, count_up(1)), t4(cluster, 2, count_up(1))],
    )  # fmt: skip
    assert ns(shard, orders) == {"1": 2}
    assert len(placed(shard, 3)) == 1
    run_steps(cluster, shard, [t5(cluster, 3, count_up(1))])
    assert ns(shard, orders) == {"1": 3}
    assert damage(cluster, orders) == []


def test_of_two_that_want_an_item_the_older_gets_the_intent(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    younger, older = t3(cluster, 2, count_up(1)), t3(cluster, 1, count_up(1), count_up(2))
    run_steps(cluster, shard, [younger, older])
    assert isinstance(younger.answer, list)
    assert errors_of(younger.answer) == [ItemInTransaction]
    assert (len(placed(shard, 1)), len(placed(shard, 2))) == (2, 0)


def test_control_without_the_mark_in_memory_two_get_intents_on_one_item(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = evaluation.evaluate

    def blind(callers: Any, rows: dict[Any, Any], *more: Any) -> Any:
        for row in rows.values():
            row.now = replace(row.now, in_transaction=row.before.in_transaction)
        return evaluate(callers, rows, *more)

    monkeypatch.setattr(step_commit, "evaluate", blind)
    steps = [t3(cluster, number, request("CHECK", 1, MUST_NOT_EXIST)) for number in (1, 2)]
    with pytest.raises(MynamoError):  # the placeholder's key is unique
        run_steps(cluster, shard, steps)
    Producer(cluster).put("orders", key(1))
    steps = [t3(cluster, number, request("CHECK", 1, MUST_EXIST)) for number in (1, 2)]
    run_steps(cluster, shard, steps)
    assert (len(placed(shard, 1)), len(placed(shard, 2))) == (1, 1)


def test_steps_that_cannot_be_done_leave_the_others_alone(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    shard.run(insert_aborted(transaction(2).id, 1))
    old = t3(cluster, 1, request("PUT", 1))
    old.writes = [replace(w, table=replace(w.table, version=w.table.version - 1))
                  for w in old.writes]  # fmt: skip
    aborted = t4(cluster, 2, request("PUT", 2))
    over = t4(cluster, 3, request("PUT", 3), generation=9)
    refused = t4(cluster, 4, request("PUT", 4, MUST_EXIST))
    moved = t5(cluster, 5, request("PUT", 5))
    moved.routes = {
        place: route._replace(epoch=route.epoch - 1) for place, route in moved.routes.items()
    }
    fine = t4(cluster, 6, request("PUT", 6), token=TOKEN)
    run_steps(cluster, shard, [old, aborted, over, refused, moved, fine])
    assert [type(step.answer) for step in (old, aborted, over, moved)] == [
        StaleDefinition, TransactionAborted, GenerationOver, StaleDefinition,
    ]  # fmt: skip
    assert isinstance(refused.answer, Decided)
    assert errors_of(refused.answer.outcomes) == [ConditionFailed]
    assert isinstance(fine.answer, Decided)
    assert isinstance(fine.answer.outcomes[0], Done)
    assert list(raw(shard, orders)) == ["6"]
    # Its token is known from now on.
    again = t4(cluster, 7, request("PUT", 6), token=TOKEN)
    other = t4(cluster, 8, request("PUT", 7), token=RequestToken(b"u" * 16, b"r" * 16))
    mismatched = t4(cluster, 9, request("PUT", 8), token=RequestToken(TOKEN.token, b"s" * 16))
    run_steps(cluster, shard, [again, other])
    run_steps(cluster, shard, [mismatched])
    assert isinstance(again.answer, Decided)
    assert again.answer.known is not None
    assert isinstance(mismatched.answer, Decided)
    assert isinstance(mismatched.answer.outcomes[0], Refused)
    assert list(raw(shard, orders)) == ["6", "7"]


def test_of_two_requests_with_one_token_one_goes_by_itself(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    one, same = (t4(cluster, number, request("PUT", 1), token=TOKEN) for number in (1, 2))
    run_steps(cluster, shard, [one, same, t4(cluster, 3, request("PUT", 3))])
    assert isinstance(one.answer, Decided)
    assert same.answer is None
    run_steps(cluster, shard, [same])
    assert isinstance(same.answer, Decided)
    assert same.answer.known is not None
    assert sorted(decisions(shard)) == [1, 3]


def test_too_much_for_one_packet_goes_step_by_step(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_commit, "MAX_BYTES", 100)
    steps = [t4(cluster, number, request("PUT", number)) for number in (1, 2)]
    with pytest.raises(TooMuch):
        run_steps(cluster, shard, steps)
    assert raw(shard, orders) == {}
    assert [step.answer for step in steps] == [None, None]


def test_an_exception_that_nobody_foresaw_is_told_before_anything_is_written(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("made up")

    monkeypatch.setattr(step_commit, "insert_placeholders", broken)
    with pytest.raises(MynamoError):
        run_steps(cluster, shard, [t3(cluster, n, request("PUT", n)) for n in (1, 2)])
    assert raw(shard, orders) == {}


# -- a commit whose answer is lost -----------------------------------------------------------------


def lose(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Lose the next commit, or its answer."""
    run, struck = Session.run, threading.Event()

    def losing(self: Session, *given: Statement) -> list[Result]:
        if given[-1][0] != "COMMIT" or struck.is_set():
            return run(self, *given)
        struck.set()
        if fault == "lose_answer":
            run(self, *given)
        self.broken = True
        raise LostConnection("made up")

    monkeypatch.setattr(Session, "run", losing)


def mixed(cluster: Cluster, shard: DynamoDBShard) -> tuple[Finish, Decide, Prepare, Prepare]:
    """T5, T4, T3, and a T3 that is refused for what T4 writes."""
    run_steps(cluster, shard, [t3(cluster, 1, request("PUT", 1, n=1))])
    return (
        t5(cluster, 1, request("PUT", 1)),
        t4(cluster, 2, request("PUT", 2, n=2)),
        t3(cluster, 3, request("PUT", 3, n=3)),
        t3(cluster, 4, request("PUT", 2, MUST_NOT_EXIST)),
    )


@pytest.mark.parametrize("fault", ["lose_answer", "lose_request"])
def test_of_a_lost_batch_each_step_hears_what_may_have_become_of_it(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:  # fmt: skip
    applied, decided, prepared, refused = steps = mixed(cluster, shard)
    with monkeypatch.context() as patch:
        lose(patch, fault)
        run_steps(cluster, shard, steps)
    assert isinstance(decided.answer, AnswerLost)
    assert [isinstance(each, Done) for each in decided.answer.outcomes] == [True]
    assert isinstance(prepared.answer, AnswerLost)
    assert (applied.answer, refused.answer) == (None, None)
    run_steps(cluster, shard, [applied])
    run_steps(cluster, shard, [refused])
    happened = fault == "lose_answer"
    assert len(decisions(shard)) == happened
    assert len(placed(shard, 3)) == happened
    assert isinstance(refused.answer, list)
    assert errors_of(refused.answer) == [ConditionFailed if happened else None]
    assert applied.answer == ([] if happened else applied.answer)
    assert ns(shard, orders) == ({"1": 1, "2": 2} if happened else {"1": 1})
    assert damage(cluster, orders) == []


def test_control_a_refusal_told_before_the_commit_may_be_wrong(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that an item is there, which was never written."""
    *_, refused = steps = mixed(cluster, shard)
    evaluate = evaluation.evaluate

    def told_at_once(*given: Any) -> Any:
        plan = evaluate(*given)
        if errors_of(plan.outcomes) == [ConditionFailed]:
            refused.answer = plan.outcomes
        return plan

    with monkeypatch.context() as patch:
        patch.setattr(step_commit, "evaluate", told_at_once)
        lose(patch, "lose_request")
        run_steps(cluster, shard, steps)
    assert isinstance(refused.answer, list)
    assert errors_of(refused.answer) == [ConditionFailed]
    assert "2" not in raw(shard, orders)


# -- any steps, beside the same ones one by one ----------------------------------------------------


class Twins:
    """The same steps on two sets of items: in batches on one, one by one on the other."""

    def __init__(self, cluster: Cluster, shard: DynamoDBShard, table: Table, seed: int) -> None:
        self.cluster, self.shard, self.table = cluster, shard, table
        self.choice = random.Random(seed)
        self.number = 0
        self.open: dict[int, list[tuple[str, int]]] = {}

    def asked(self, side: str, kind: str, at: int) -> WriteRequest:
        where = f"{side}{at}"
        if kind == "up":
            return count_up(where)
        if kind in ("absent", "there"):
            return request("CHECK", where, MUST_EXIST if kind == "there" else MUST_NOT_EXIST)
        if kind == "new":
            return request("PUT", where, MUST_NOT_EXIST, n=100, price=at)
        return request("DELETE", where)

    def round(self) -> tuple[list[Any], list[Any]]:
        """Make some steps both ways; returns their answers."""
        chosen: list[tuple[str, int, list[tuple[str, int]]]] = []
        for number in list(self.open):
            if self.choice.random() < 0.6:
                kind = "t5" if self.choice.random() < 0.7 else "release"
                chosen.append((kind, number, self.open.pop(number)))
        for kind in self.choice.choices(["t4", "t3"], k=self.choice.randint(1, 5)):
            self.number += 1
            items = self.choice.sample(range(5), self.choice.randint(1, 3))
            what = [(self.choice.choice(["up", "absent", "there", "new", "delete"]), at)
                    for at in items]  # fmt: skip
            chosen.append((kind, self.number, what))
        order = {"t5": 0, "release": 0, "t4": 1, "t3": 2}
        one_by_one = [self.step("y", *each) for each in sorted(chosen, key=lambda c: order[c[0]])]
        for step in one_by_one:
            run_steps(self.cluster, self.shard, [step])
        self.choice.shuffle(chosen)
        decides = iter(sorted(each for each in chosen if each[0] == "t4"))  # in their order
        chosen = [next(decides) if each[0] == "t4" else each for each in chosen]
        together = [self.step("x", *each) for each in chosen]
        run_steps(self.cluster, self.shard, together)
        for (_, number, what), step in zip(chosen, together, strict=True):
            if isinstance(step, Prepare):
                assert isinstance(step.answer, list)
                if not any(errors_of(step.answer)):
                    self.open[number] = what
        return [sorted(map(self.told, each)) for each in (together, one_by_one)]  # type: ignore[return-value]

    def step(self, side: str, kind: str, number: int, what: list[tuple[str, int]]) -> AnyStep:
        asked = [self.asked(side, each, at) for each, at in what]
        number = 2 * number + (side == "x")
        if kind == "t3":
            return t3(self.cluster, number, *asked)
        if kind == "t4":
            return t4(self.cluster, number, *asked)
        return t5(self.cluster, number, *asked, applies=kind == "t5")

    def told(self, step: AnyStep) -> str:
        if isinstance(step, Finish):
            applied = step.answer if isinstance(step.answer, list) else []
            what = str(sorted((each.row.sort[1:], each.version > 0) for each in applied))
        else:
            outcomes = step.answer.outcomes if isinstance(step.answer, Decided) else step.answer
            assert isinstance(outcomes, list), step
            what = str([
                type(o.error).__name__ if isinstance(o, Refused)
                else [item and sorted((k, v) for k, v in item.items() if k != "at")
                      for item in (o.old, o.new)]
                for o in outcomes
            ])  # fmt: skip
        id_ = step.transaction.id if isinstance(step, Prepare) else (
            step.transaction_id if isinstance(step, Finish) else step.decision.transaction_id
        )  # fmt: skip
        return f"{type(step).__name__} {id_[0] // 2}: {what}"

    def rows(self, side: str) -> dict[str, Any]:
        return {
            at[1:]: (bool(version & MARK), version == 0,
                     data and sorted((k, v) for k, v in load_item(data).items() if k != "at"))
            for at, (version, data) in raw(self.shard, self.table).items()
            if at.startswith(side)
        }  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_batch_does_what_its_steps_do_one_by_one(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, seed: int
) -> None:
    twins = Twins(cluster, shard, orders, seed)
    while twins.number < 120:
        together, one_by_one = twins.round()
        assert together == one_by_one
        assert twins.rows("x") == twins.rows("y")
    assert damage(cluster, orders) == []


# -- batches ---------------------------------------------------------------------------------------


@contextmanager
def held(shard: DynamoDBShard, table: Table, at: int) -> Iterator[None]:
    """Somebody holds a row's lock."""
    with shard.session() as session:
        session.run(
            ("BEGIN", ()),
            (f"SELECT 1 FROM {sql.main_table(table.id)} WHERE hash = %s AND sort = %s FOR UPDATE",
             table.key_of(stored(at))),
        )  # fmt: skip
        yield
        session.rollback()


def prepare_at_once(
    cluster: Cluster, shard: DynamoDBShard, numbers: Sequence[int], pool: ThreadPoolExecutor
) -> list[Any]:
    return [
        pool.submit(
            shard_steps.prepare_on, cluster, shard, writes_of(cluster, request("PUT", number)),
            transaction(number),
        )
        for number in numbers
    ]  # fmt: skip


def test_steps_that_come_while_one_runs_share_the_next_local_transaction(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    producer.put("orders", key(1))
    sizes: list[int] = []

    def noting(*given: Any) -> None:
        sizes.append(len(given[2]))
        run_steps(*given)

    monkeypatch.setattr(shard_steps, "run_steps", noting)
    waiting = threading.Event()
    batcher = shard_steps.batches_of(shard).batcher
    with ThreadPoolExecutor(9) as pool:
        with held(shard, orders, 1):
            first = prepare_at_once(cluster, shard, [1], pool)
            while not sizes:
                waiting.wait(0.01)
            others = prepare_at_once(cluster, shard, range(2, 10), pool)
            while batcher.waiting < 8:
                waiting.wait(0.01)
        for future in (*first, *others):
            assert errors_of(future.result()) == [None]
    assert sizes == [1, 8]
    assert [len(placed(shard, number)) for number in range(1, 10)] == [1] * 9


def test_after_a_long_wait_steps_go_by_themselves_for_a_while(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    producer.put("orders", key(1))
    monkeypatch.setattr(shard_steps, "LONG", 0.0)
    with ThreadPoolExecutor(3) as pool:
        for future in prepare_at_once(cluster, shard, [2, 3, 4], pool):
            assert errors_of(future.result()) == [None]
        monkeypatch.setattr(
            shard_steps.batches_of(shard).batcher, "submit", lambda *_: pytest.fail("a batch")
        )
        for future in prepare_at_once(cluster, shard, [5, 6], pool):
            assert errors_of(future.result()) == [None]


def test_a_batch_that_fails_goes_step_by_step(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def failing(*given: Any) -> None:
        tried.append(len(given[2]))
        if len(tried) == 1:
            raise TooMuch
        run_steps(*given)

    monkeypatch.setattr(shard_steps, "run_steps", failing)
    writes = writes_of(cluster, request("PUT", 1))
    assert errors_of(shard_steps.prepare_on(cluster, shard, writes, transaction(1))) == [None]
    assert tried == [1, 1]
    assert len(placed(shard, 1)) == 1


# -- turns -----------------------------------------------------------------------------------------


@pytest.fixture
def both(cluster: Cluster, orders: Table, producer: Producer) -> tuple[dict[str, str], ...]:
    """Keys of two items, each on a shard of its own."""
    names = (f"n{number}" for number in count())
    found: dict[int, dict[str, str]] = {}
    while len(found) < 2:
        each = {"id": next(names), "at": "1"}
        found.setdefault(cluster.shard_of(orders.key_of(to_stored(each)).hash).id, each)
    for each in found.values():
        producer.put("orders", {**each, "n": 0})
    return tuple(found.values())


def counts(cluster: Cluster, table: Table) -> list[str]:
    """In all items, none of which has an intent."""
    found = items_of(cluster, table).values()
    assert all(0 < version < MARK for version, _ in found)
    return [item["n"]["N"] for _, item in found]


def add(at: dict[str, str]) -> Update:
    return Update("orders", at, ADD, values=ONE)


def test_all_who_contend_come_through(
    cluster: Cluster, orders: Table, producer: Producer, both: tuple[dict[str, str], ...]
) -> None:
    one, other = both

    def work(number: int) -> None:
        for _ in range(6):
            producer.transact([add(one), add(other)] if number % 2 else [add(other), add(one)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert counts(cluster, orders) == ["48", "48"]
    assert everywhere(cluster, "SELECT COUNT(*) FROM mynamo_intent") == [(0,), (0,)]
    assert damage(cluster, orders) == []


def contend(
    cluster: Cluster, orders: Table, producer: Producer, both: tuple[dict[str, str], ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Transactions fail while they have their turn, each in another way; the next comes through."""
    one, other = both
    monkeypatch.setattr(meeting, "PATIENCE", 0.6)
    monkeypatch.setattr(meeting, "BEFORE_OTHERS", 60.0)
    place(cluster, orders, {**other, "n": 7})
    for _ in range(2):
        with pytest.raises(TransactionCanceled) as refused:
            producer.transact([add(one), add(other)])
        assert [type(reason) for reason in refused.value.reasons] == [
            type(None), TransactionConflict,
        ]  # fmt: skip
    with ThreadPoolExecutor(3) as pool:  # some of them wait for their turn in vain
        found = [pool.submit(producer.transact, [add(one), add(other)]) for _ in range(3)]
        for each in found:
            with pytest.raises(TransactionCanceled):
                each.result()
    main = sql.main_table(orders.id)
    for shard in cluster.shards.values():
        shard.run(
            ("DELETE FROM mynamo_intent", ()),
            (f"UPDATE {main} SET version = version & {MARK - 1:d}", ()),
        )
    monkeypatch.setattr(Turn, "take", always_taking(Turn.take))
    with pytest.raises(TransactionCanceled):
        producer.transact([add(one), Check("orders", other, condition=MUST_NOT_EXIST)])
    producer.transact([add(one), add(other)])


def always_taking(take: Any) -> Any:
    """A turn is taken although nobody contends."""

    def taking(self: Turn, writes: Any, caller: Any) -> None:
        caller.times += 1
        take(self, writes, caller)

    return taking


def test_a_turn_is_passed_on_whatever_becomes_of_the_transaction(
    cluster: Cluster, orders: Table, producer: Producer, both: tuple[dict[str, str], ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    contend(cluster, orders, producer, both, monkeypatch)
    assert counts(cluster, orders) == ["1", "1"]


def test_control_turns_that_are_never_passed_on_stop_all_others(
    cluster: Cluster, orders: Table, producer: Producer, both: tuple[dict[str, str], ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Turn, "pass_on", lambda _: None)
    with pytest.raises((TransactionCanceled, AssertionError)):
        contend(cluster, orders, producer, both, monkeypatch)
