"""Reads of items on several shards as of one moment, beside transactions made by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import Action, Decision, Intent, read_intents
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import (
    InvalidRequest,
    ShardUnavailable,
    TransactionCanceled,
    TransactionConflict,
)
from mynamo.mysql.pool import Session
from mynamo.producer import MUST_EXIST, Delete, Producer, Put, Update
from mynamo.reader import Get, Reader, transact_gets
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import to_stored
from mynamo.writer.transaction import across_shards, meeting
from tests.intents import apply, commit, decide, place, release
from tests.rows import damage, make_table

HOME, AWAY = 1, 2
"""Shards: the first item of each test is on the first one."""
ID = b"t" * 16


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@pytest.fixture
def orders(cluster: Cluster) -> Table:
    return make_table(cluster, local_indexes=[], global_indexes=[])


@pytest.fixture
def near(cluster: Cluster, orders: Table) -> dict[str, Any]:
    """A key on the first shard."""
    return key_on(cluster, orders, HOME)


@pytest.fixture
def far(cluster: Cluster, orders: Table) -> dict[str, Any]:
    """A key on the second shard."""
    return key_on(cluster, orders, AWAY)


@pytest.fixture
def both(producer: Producer, near: dict[str, Any], far: dict[str, Any]) -> None:
    """Items of both keys."""
    put(producer, near, 1)
    put(producer, far, 2)


class ByHand:
    """A transaction that puts 4 into `near`, on its deciding shard, and 3 into `far`.

    Attributes:
        intent: on `far`, once it is prepared.
    """

    def __init__(self, cluster: Cluster, orders: Table, near: dict[str, Any], far: dict[str, Any]):
        self._cluster = cluster
        self._orders = orders
        self._near = {**near, "n": 4}
        self._far = {**far, "n": 3}
        self.intent: Intent

    def prepare(self) -> None:
        self.intent = place(
            self._cluster, self._orders, self._far, transaction_id=ID, decider=HOME, generation=1
        )

    def commit(self) -> None:
        commit(self._cluster, self._orders, self._near, ID)

    def apply(self, *_: Any) -> None:
        """Also as a reader's `resolve`."""
        apply(self._cluster, self._orders, self.intent)

    def happen(self) -> None:
        """It is committed, and nobody has applied it."""
        self.prepare()
        self.commit()

    def happen_and_answer(self) -> None:
        self.happen()
        self.apply()


@pytest.fixture
def by_hand(cluster: Cluster, orders: Table, near: dict[str, Any], far: dict[str, Any]) -> ByHand:
    return ByHand(cluster, orders, near, far)


def key_on(cluster: Cluster, table: Table, shard: int, start: int = 0) -> dict[str, Any]:
    keys = ({"id": f"i{n}", "at": 'a "quoted" é'} for n in range(start, start + 1000))
    return next(k for k in keys if cluster.shard_of(table.key_of(to_stored(k)).hash).id == shard)


def numbers(found: Sequence[dict[str, Any] | None]) -> list[int | None]:
    return [None if item is None else int(item["n"]) for item in found]


def asked(cluster: Cluster, *keys: dict[str, Any], **more: Any) -> list[int | None]:
    """The attribute `n` of items of `orders`, as of one moment."""
    read = Reader(cluster, **more)
    return numbers(read.transact_get([("orders", key) for key in keys]))


def put(producer: Producer, key: dict[str, Any], n: int) -> None:
    producer.put("orders", {**key, "n": n})


@contextmanager
def round_trips(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many statements each round trip has."""
    trips: list[int] = []
    execute = Session._execute

    def counting(self: Session, statements: Any, read: Any) -> Any:
        trips.append(len(statements))
        return execute(self, statements, read)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_execute", counting)
        yield trips


class OneByOne:
    """Lets a reading go shard by shard, and does something before a look at one.

    Attributes:
        looks: at shards so far.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: Sequence[Callable[[], object]]):
        self.looks = 0
        self._steps = steps
        monkeypatch.setattr(transact_gets, "side_by_side", self._run)

    def _run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        return [self._look(call) for call in calls]

    def _look(self, call: Callable[[], Any]) -> Any:
        if self.looks < len(self._steps):
            self._steps[self.looks]()
        self.looks += 1
        return call()


def nothing() -> None:
    """A step."""


# --- what is there ------------------------------------------------------------------------


def test_items_of_several_shards_and_tables(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    near: dict[str, Any],
    far: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_table(cluster, "others")
    put(producer, near, 1)
    producer.put("others", {**far, "n": 2})
    read = Reader(cluster)
    wanted = [("orders", near), ("others", far), ("orders", far), ("others", near)]
    assert numbers(read.transact_get(wanted)) == [1, 2, None, None]
    assert read.transact_get(wanted, projection=["n"])[:2] == [{"n": 1}, {"n": 2}]
    with pytest.raises(InvalidRequest, match="multiple operations on one item"):
        read.transact_get([*wanted, wanted[0]])
    with round_trips(monkeypatch) as trips:
        read.transact_get(wanted)
    # G1: the outbox, both tables. G3: both tables, an absent item, the outbox, the guard.
    assert sorted(trips) == [3, 3, 5, 5]


def test_the_order_of_statements_within_a_look(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    near: dict[str, Any],
    far: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G1 looks at the outbox before it reads rows, and G3 behind them; the guard comes last. No
    batch rearranges them."""
    put(producer, far, 2)
    place(cluster, orders, {**far, "n": 3})
    asked_of: list[list[str]] = []
    ask = DynamoDBShard.ask

    def noting(shard: DynamoDBShard, *statements: Any) -> Any:
        if shard.id == AWAY:
            asked_of.append([shown(text) for text, _ in statements])
        return ask(shard, *statements)

    def shown(text: str) -> str:
        known = ("SELECT MAX(id)", "mynamo_outbox", "mynamo_intent", f"t{orders.id} ")
        names = ("newest", "event", "intents", "rows")
        found = [name for part, name in zip(known, names, strict=True) if part in text]
        return found[0] if found else "guard"

    absent = key_on(cluster, orders, AWAY, 1000)
    monkeypatch.setattr(DynamoDBShard, "ask", noting)
    assert asked(cluster, near, far, absent) == [None, 2, None]
    assert asked_of == [
        ["newest", "rows"],
        ["intents"],
        ["rows", "intents", "event", "newest", "guard"],
    ]


def test_one_shard_is_one_round_trip(
    cluster: Cluster,
    producer: Producer,
    near: dict[str, Any],
    orders: Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_table(cluster, "others")
    put(producer, near, 1)
    second = key_on(cluster, orders, HOME, 1000)
    read = Reader(cluster)
    with round_trips(monkeypatch) as trips:
        assert numbers(read.transact_get([("orders", near)])) == [1]
        assert numbers(read.transact_get([("orders", near), ("orders", second)])) == [1, None]
        assert numbers(read.transact_get([("orders", near), ("others", near)])) == [1, None]
    assert trips == [1, 1, 5]


def test_a_shard_that_does_not_answer(
    cluster: Cluster, near: dict[str, Any], far: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = DynamoDBShard.ask

    def silent(shard: DynamoDBShard, *statements: Any) -> Any:
        if shard.id == AWAY:
            raise ShardUnavailable("away")
        return ask(shard, *statements)

    monkeypatch.setattr(DynamoDBShard, "ask", silent)
    with pytest.raises(ShardUnavailable, match="away"):
        asked(cluster, near, far)


# --- intents ------------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [False, True], ids=["two shards", "one"])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("decision", [None, Decision.ABORTED, "generation over"])
def test_what_did_not_happen_is_read_past(
    cluster: Cluster,
    producer: Producer,
    near: dict[str, Any],
    far: dict[str, Any],
    by_hand: ByHand,
    decision: Any,
    there: bool,
    alone: bool,
) -> None:
    put(producer, near, 1)
    if there:
        put(producer, far, 2)
    by_hand.prepare()
    if decision == "generation over":
        cluster.shards[HOME].run(
            ("UPDATE mynamo_fence SET version = 9 WHERE id = %s", (GENERATION_ROW,))
        )
    elif decision is not None:
        decide(cluster.shards[HOME], ID, decision)
    old = 2 if there else None
    if alone:
        assert asked(cluster, far) == [old]
    else:
        assert asked(cluster, near, far) == [1, old]


@pytest.mark.parametrize("alone", [False, True], ids=["two shards", "one"])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("action", [Action.PUT, Action.DELETE])
def test_what_happened_is_waited_for_or_finished(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    near: dict[str, Any],
    far: dict[str, Any],
    action: Action,
    there: bool,
    alone: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transact_gets, "PATIENCE", 0.2)
    put(producer, near, 1)
    if there:
        put(producer, far, 2)
    new = {**far, "n": 3} if action == Action.PUT else far
    intent = place(cluster, orders, new, action, transaction_id=ID, decider=HOME)
    commit(cluster, orders, {**near, "n": 4}, ID)
    keys = [far] if alone else [near, far]
    with pytest.raises(TransactionCanceled, match="not applied to them yet") as raised:
        asked(cluster, *keys)
    reasons = [type(reason) for reason in raised.value.reasons]
    assert reasons == [type(None), TransactionConflict][-len(keys) :]
    resolved: list[Intent] = []

    def resolve(met: Intent) -> None:
        resolved.append(met)
        apply(cluster, orders, met)

    monkeypatch.setattr(transact_gets, "PATIENCE", 20.0)
    expected = [4, 3 if action == Action.PUT else None][-len(keys) :]
    assert asked(cluster, *keys, resolve=resolve) == expected
    assert resolved == [intent]


@pytest.mark.usefixtures("both")
def test_its_coordinator_applies_it_meanwhile(
    cluster: Cluster,
    near: dict[str, Any],
    far: dict[str, Any],
    by_hand: ByHand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_hand.happen()
    # Two looks, one at the decision; and again, when it is applied.
    OneByOne(monkeypatch, [nothing] * 3 + [by_hand.apply])
    assert asked(cluster, near, far) == [4, 3]


def test_a_resolver_that_fails_is_asked_again(
    cluster: Cluster, near: dict[str, Any], far: dict[str, Any], by_hand: ByHand
) -> None:
    by_hand.happen()
    failures = iter([ShardUnavailable("away"), None])

    def resolve(_: Intent) -> None:
        failure = next(failures)
        if failure is not None:
            raise failure
        by_hand.apply()

    assert asked(cluster, near, far, resolve=resolve) == [4, 3]


def test_a_mark_without_an_intent_is_a_conflict(
    cluster: Cluster, orders: Table, near: dict[str, Any], far: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It may be of another transaction by the time somebody looks for its intent."""
    monkeypatch.setattr(transact_gets, "PATIENCE", 0.1)
    place(cluster, orders, {**far, "n": 3})
    cluster.shards[AWAY].run(("DELETE FROM mynamo_intent", ()))
    with pytest.raises(TransactionCanceled) as raised:
        asked(cluster, near, far)
    assert [type(reason) for reason in raised.value.reasons] == [type(None), TransactionConflict]


def test_a_call_with_a_deadline_of_its_own_ends_by_then(
    cluster: Cluster, near: dict[str, Any], far: dict[str, Any], by_hand: ByHand
) -> None:
    by_hand.happen()
    with pytest.raises((TransactionCanceled, ShardUnavailable)):
        Reader(cluster).transact_get([("orders", near), ("orders", far)], timeout=0.3)


# --- what moves between the looks ---------------------------------------------------------


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("control", [False, True])
def test_a_transaction_between_the_looks_at_two_shards(
    cluster: Cluster,
    near: dict[str, Any],
    far: dict[str, Any],
    by_hand: ByHand,
    control: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: no second look."""
    OneByOne(monkeypatch, [nothing, by_hand.happen_and_answer])
    if control:
        monkeypatch.setattr(transact_gets, "_second_look", lambda *_: set())
    assert asked(cluster, near, far) == ([1, 3] if control else [4, 3])


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("control", [False, True])
def test_a_decision_between_the_looks_at_two_shards(
    cluster: Cluster,
    near: dict[str, Any],
    far: dict[str, Any],
    by_hand: ByHand,
    control: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing moves any more until it is applied. Control: nobody asks for the decision."""
    by_hand.prepare()
    OneByOne(monkeypatch, [nothing, by_hand.commit])
    if control:
        monkeypatch.setattr(transact_gets._Reading, "_committed", lambda *_: [])
    assert asked(cluster, far, near, resolve=by_hand.apply) == ([2, 4] if control else [3, 4])


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("control", [False, True])
def test_a_transaction_that_is_cleaned_away_before_its_decision_is_asked_for(
    cluster: Cluster,
    near: dict[str, Any],
    far: dict[str, Any],
    by_hand: ByHand,
    control: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: no second look."""
    by_hand.prepare()

    def clean() -> None:
        by_hand.apply()
        cluster.shards[HOME].run(("DELETE FROM mynamo_transaction", ()))

    OneByOne(monkeypatch, [nothing, by_hand.commit, clean])
    if control:
        monkeypatch.setattr(transact_gets, "_second_look", lambda *_: set())
    assert asked(cluster, far, near) == ([2, 4] if control else [3, 4])


@pytest.mark.usefixtures("both")
def test_an_intent_in_place_of_another_one(
    cluster: Cluster,
    orders: Table,
    near: dict[str, Any],
    far: dict[str, Any],
    by_hand: ByHand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The item's version is the same in both looks, and so is its mark."""
    first = place(cluster, orders, {**far, "n": 5})

    def change() -> None:
        release(cluster, orders, first)
        by_hand.happen()

    looking = OneByOne(monkeypatch, [nothing, nothing, nothing, nothing, change])
    met: list[Intent] = []

    def resolve(intent: Intent) -> None:
        met.append(intent)
        by_hand.apply()

    assert asked(cluster, near, far, resolve=resolve) == [4, 3]
    assert [intent.transaction_id for intent in met] == [ID]
    assert looking.looks > 8


@pytest.mark.usefixtures("both")
def test_a_mark_whose_intent_goes_before_it_is_read(
    cluster: Cluster,
    near: dict[str, Any],
    far: dict[str, Any],
    by_hand: ByHand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_hand.happen()
    reading = read_intents

    def late(*arguments: Any) -> Any:
        by_hand.apply()
        return reading(*arguments)

    monkeypatch.setattr(transact_gets, "read_intents", late)
    assert asked(cluster, near, far) == [4, 3]


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("by", ["plain writes", "transactions"])
def test_absent_items_that_come_and_go_between_the_looks(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    near: dict[str, Any],
    far: dict[str, Any],
    control: bool,
    by: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of the two is there at each moment, and each look at one of them comes when it is not.
    Control: no look at the outbox."""
    put(producer, far, 2)

    def move(source: dict[str, Any], target: dict[str, Any]) -> None:
        if by == "plain writes":
            put(producer, target, 2)
        else:
            apply(cluster, orders, place(cluster, orders, {**target, "n": 2}))
        if by == "plain writes":
            producer.delete("orders", source)
        else:
            apply(cluster, orders, place(cluster, orders, source, Action.DELETE))

    there, back = partial(move, far, near), partial(move, near, far)
    looking = OneByOne(monkeypatch, [nothing, there, back, there])
    if control:
        monkeypatch.setattr(
            transact_gets, "event_above", lambda *_: ("SELECT 1 FROM DUAL WHERE 0", ())
        )
    assert asked(cluster, near, far) == ([None, None] if control else [2, None])
    assert looking.looks == (4 if control else 8)


def test_events_of_others_are_not_taken_for_the_items(
    cluster: Cluster, orders: Table, producer: Producer, near: dict[str, Any], far: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Items of the same hash key, hence of the same stream, one of whose keys begins the same."""

    def others() -> None:
        for key in (near, far):
            for at in ("a", key["at"] + "x", key["at"][:-1]):
                put(producer, {**key, "at": at}, 1)
                producer.delete("orders", {**key, "at": at})

    looking = OneByOne(monkeypatch, [nothing, nothing, others])
    assert asked(cluster, near, far) == [None, None]
    assert looking.looks == 4


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        ({"hash_key": "h:N", "sort_key": None},
         [{"h": n} for n in (0, -7, 10**30, Decimal("1.50"))]),
        ({"hash_key": "h:N", "sort_key": "s:B"}, [{"h": Decimal("1e-5"), "s": b"\xff\x00/?"}]),
        ({"hash_key": "h:B", "sort_key": "s:N"}, [{"h": b"a", "s": -1}, {"h": b"ab", "s": 1}]),
        ({"hash_key": "z", "sort_key": "a"}, [{"z": "\x00\n\\\u2028", "a": "/</\U0001f600"}]),
    ],
    ids=["number", "number and binary", "binary and number", "text"],
)  # fmt: skip
def test_events_are_found_by_keys_of_all_types(
    cluster: Cluster, producer: Producer, keys: dict[str, Any], values: list[dict[str, Any]]
) -> None:
    """A key that its reader spells otherwise than its writer would not be found."""
    table = make_table(cluster, "typed", **keys, local_indexes=[], global_indexes=[])
    for value in values:
        row = table.key_of(to_stored(value))
        event = transact_gets.event_above(
            0, table.id, *transact_gets._event_keys(cluster, Get("typed", to_stored(value)))
        )
        shard = cluster.shard_of(row.hash)
        assert shard.run(event)[0].rows == ()
        producer.put("typed", {**dict(reversed(value.items())), "n": 1})
        assert shard.run(event)[0].rows == ((1,),)
        shard.run(("DELETE FROM mynamo_outbox", ()))
        producer.delete("typed", value)
        assert shard.run(event)[0].rows == ((1,),)


@pytest.mark.usefixtures("both")
def test_a_shard_that_has_gone_back_in_time(
    cluster: Cluster, near: dict[str, Any], far: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = OneByOne(monkeypatch, [nothing, nothing, nothing, partial(begin_again, cluster)])
    assert asked(cluster, near, far) == [1, 2]
    assert looking.looks == 8


def begin_again(cluster: Cluster) -> None:
    """A new incarnation of the second shard, and an event in it."""
    shard = cluster.shards[AWAY]
    assert shard.adopt(1) is not None
    with Producer(cluster) as producer:
        producer.put("orders", key_on(cluster, cluster.table("orders"), AWAY, 5000))


@pytest.mark.usefixtures("both")
def test_what_took_too_long_begins_again(
    cluster: Cluster, near: dict[str, Any], far: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transact_gets, "LONGEST", -1.0)
    steps = [nothing] * 4 + [partial(monkeypatch.setattr, transact_gets, "LONGEST", 30.0)]
    looking = OneByOne(monkeypatch, steps)
    assert asked(cluster, near, far) == [1, 2]
    assert looking.looks == 8
    monkeypatch.setattr(transact_gets, "LONGEST", -1.0)
    monkeypatch.setattr(transact_gets, "PATIENCE", 0.0)
    with pytest.raises(TransactionCanceled) as raised:
        asked(cluster, near, far)
    assert [type(reason) for reason in raised.value.reasons] == [TransactionConflict] * 2


# --- beside transactions of producers -----------------------------------------------------

ACCOUNTS = 2
"""On each shard."""
BALANCE = 100
TOTAL = 2 * ACCOUNTS * BALANCE + 1


class Died(BaseException):
    """A coordinator did, in its thread."""


def dies_at(monkeypatch: pytest.MonkeyPatch, step: str, times: Callable[[], bool]) -> None:
    """Coordinators die at a step, if it is time to."""

    def crash_point(name: str) -> None:
        if name == step and times():
            raise Died

    monkeypatch.setattr(across_shards, "crash_point", crash_point)


def add(key: dict[str, Any], n: int) -> Update:
    return Update("orders", key, "ADD n :n", values={":n": n})


def test_a_transaction_whose_coordinator_died_is_finished_by_a_reader_that_may_write(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    near: dict[str, Any],
    far: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It died when the transaction had happened; another reader waits for others."""
    monkeypatch.setattr(transact_gets, "PATIENCE", 0.2)
    absent = key_on(cluster, orders, AWAY, 1000)
    put(producer, far, 2)
    dies_at(monkeypatch, "transact.4", lambda: True)
    with pytest.raises(Died):
        producer.transact([add(near, 1), Delete("orders", far), add(absent, 3)])
    with pytest.raises(TransactionCanceled) as raised:
        asked(cluster, near, far, absent)
    conflicts = [TransactionConflict, TransactionConflict]
    assert [type(reason) for reason in raised.value.reasons] == [type(None), *conflicts]
    monkeypatch.setattr(transact_gets, "PATIENCE", 20.0)
    resolve = producer.finish_transaction
    assert asked(cluster, near, far, absent, resolve=resolve) == [1, None, 3]
    assert asked(cluster, near, far, absent) == [1, None, 3]
    assert damage(cluster, orders) == []


def test_a_transaction_whose_coordinator_died_before_it_happened_delays_no_reader(
    cluster: Cluster,
    producer: Producer,
    near: dict[str, Any],
    far: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transact_gets, "PATIENCE", 0.0)
    put(producer, far, 2)
    dies_at(monkeypatch, "transact.3", lambda: True)
    with pytest.raises(Died):
        producer.transact([add(near, 1), add(far, 1)])
    assert asked(cluster, near, far, resolve=lambda _: pytest.fail("there is nothing to do")) == [
        None,
        2,
    ]


def test_readers_of_one_process_finish_a_transaction_once(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    far: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readers = 4
    intent = place(cluster, orders, {**far, "n": 3})
    come = threading.Semaphore(0)
    may_resolve = meeting._Meetings.may_resolve
    finished: list[Any] = []

    def noting(self: Any, met: Any) -> bool:
        come.release()
        return may_resolve(self, met)

    def resolve(*what: Any) -> None:
        assert all(come.acquire(timeout=20) for _ in range(readers))
        finished.append(what[2:])

    monkeypatch.setattr(meeting._Meetings, "may_resolve", noting)
    monkeypatch.setattr(meeting, "resolve", resolve)
    with ThreadPoolExecutor(readers) as pool:
        list(pool.map(producer.finish_transaction, [intent] * readers))
    assert finished == [(intent.decider, intent.transaction_id, intent.generation)]


@pytest.mark.usefixtures("both")
def test_plain_reads_see_what_is_applied(
    cluster: Cluster,
    producer: Producer,
    near: dict[str, Any],
    far: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a transaction that has happened and was not answered; then of one that was."""
    read = Reader(cluster)

    def plain() -> list[list[int | None]]:
        keys = [near, far]
        queried = [read.query("orders", each["id"]).items[0] for each in keys]
        scanned = {item["id"]: item for item in read.scan("orders").items}
        return [
            numbers([read.get("orders", each) for each in keys]),
            numbers(read.batch_get("orders", keys)),
            numbers(queried),
            numbers([scanned[each["id"]] for each in keys]),
        ]

    with monkeypatch.context() as patch:
        dies_at(patch, "transact.4", lambda: True)
        with pytest.raises(Died):
            producer.transact([add(near, 10), add(far, 10)])
    assert asked(cluster, near) == [11]  # and yet
    assert plain() == [[11, 2]] * 4
    assert asked(cluster, near, far, resolve=producer.finish_transaction) == [11, 12]
    assert plain() == [[11, 12]] * 4
    producer.transact([add(near, 10), add(far, 10)])
    assert plain() == [[21, 22]] * 4


class Transfers:
    """Transactions that move amounts between accounts of two shards, and one item to and fro."""

    def __init__(self, cluster: Cluster, orders: Table, producer: Producer) -> None:
        self._producer = producer
        self.accounts = [
            [key_on(cluster, orders, shard, 1000 * n) for n in range(ACCOUNTS)]
            for shard in (HOME, AWAY)
        ]
        self.moved = [key_on(cluster, orders, shard, 9000) for shard in (HOME, AWAY)]
        self.keys = [*self.accounts[0], *self.accounts[1], *self.moved]
        for key in self.keys[:-2]:
            put(producer, key, BALANCE)
        put(producer, self.moved[0], 1)

    def run(self, seed: int, stop: threading.Event) -> int:
        random, done = Random(seed), 0
        while not stop.is_set():
            source, target = random.sample(self.moved, 2)
            amount = random.randint(-9, 9)
            writes: list[Any] = [
                add(random.choice(self.accounts[0]), amount),
                add(random.choice(self.accounts[1]), -amount),
                Delete("orders", source, MUST_EXIST),
                Put("orders", {**target, "n": 1}),
            ]
            random.shuffle(writes)
            try:
                self._producer.transact(writes)
                done += 1
            except Died:
                done += 1
            except TransactionCanceled:
                pass  # it is not there
            stop.wait(random.uniform(0, 0.05))
        return done


@pytest.mark.parametrize("control", [None, "no second look", "no look at decisions"])
def test_no_half_of_a_transaction_is_ever_seen(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    control: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two writers, of whom one in eight dies when its transaction has happened, and two readers, of
    whom one may write."""
    monkeypatch.setattr(transact_gets, "PATIENCE", 60.0)
    transfers = Transfers(cluster, orders, producer)
    if control == "no second look":
        monkeypatch.setattr(transact_gets, "_second_look", lambda *_: set())
    elif control is not None:
        monkeypatch.setattr(transact_gets._Reading, "_committed", lambda *_: [])
    deaths = Random(1)
    dies_at(monkeypatch, "transact.4", lambda: deaths.random() < 1 / 8)
    stop, found_half = threading.Event(), threading.Event()

    def watch(resolve: transact_gets.Resolve | None) -> set[tuple[int | None, ...]]:
        seen: set[tuple[int | None, ...]] = set()
        for _ in range(40 if control is None else 20_000):
            found = tuple(asked(cluster, *transfers.keys, resolve=resolve))
            seen.add(found)
            if not is_whole(found):
                found_half.set()
            if found_half.is_set():
                break
        return seen

    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(transfers.run, seed, stop) for seed in range(2)]
        watching = [pool.submit(watch, each) for each in (None, producer.finish_transaction)]
        try:
            seen = set().union(*(each.result() for each in watching))
        finally:
            stop.set()
    done = [each.result() for each in writing]
    assert control is not None or all(done)
    assert found_half.is_set() == (control is not None), [s for s in seen if not is_whole(s)]
    assert control is not None or len(seen) > 1


def is_whole(found: Sequence[int | None]) -> bool:
    """Whether no amount is missing, and the moved item is at one place."""
    return sum(n or 0 for n in found) == TOTAL and sorted(map(bool, found[-2:])) == [False, True]
