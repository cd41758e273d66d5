"""What transactions over several shards do on one shard, on both engines, made by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from random import Random
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest

from mynamo.catalog import definitions, intents
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import (
    MARK,
    Action,
    Decision,
    insert_aborted,
    unmarked,
)
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import (
    ConditionFailed,
    IdempotentParameterMismatch,
    TransactionCanceled,
    TransactionConflict,
)
from mynamo.mysql.failures import LostConnection
from mynamo.mysql.pool import Result, Session, Statement
from mynamo.producer import MUST_EXIST, MUST_NOT_EXIST, Producer, Put
from mynamo.producer.requests import ask
from mynamo.reader.choosing import explain_statement
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import load_item
from mynamo.schemas.table import GlobalIndexSchema, LocalIndexSchema
from mynamo.writer import Done, RequestToken, WriteRequest, apply_each
from mynamo.writer.transaction import (
    commit,
    evaluation,
    meeting,
    statements,
    step_commit,
)
from mynamo.writer.transaction.commit import StaleDefinition
from mynamo.writer.transaction.evaluation import ItemInTransaction, Outcome, Refused
from mynamo.writer.transaction.request_tokens import kept_tokens, look_up
from mynamo.writer.transaction.shard_steps import (
    apply_on,
    commit_decision,
    evaluate_on_decider,
    prepare_on,
    release_on,
)
from mynamo.writer.transaction.step_commit import (
    AnswerLost,
    Decided,
    GenerationOver,
    TransactionAborted,
)
from tests.proxy import Proxy
from tests.rows import damage, everywhere, items_of, make_table, select
from tests.steps import (
    ALL_KINDS,
    TOKEN,
    deciding,
    decisions,
    errors_of,
    events,
    generation,
    key,
    placed,
    raw,
    request,
    set_generation,
    stored,
    transaction,
    writes_of,
)

COMMIT = b";COMMIT"
ADD = "ADD n :one"
ONE = {":one": 1}


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody finishes a transaction that these tests have begun."""
    monkeypatch.setattr(meeting, "PATIENCE", 0.0)


@pytest.fixture
def shard(cluster: Cluster, orders: Table) -> DynamoDBShard:
    """The one that has all items here."""
    return cluster.shard_of(orders.key_of(stored(1)).hash)


@pytest.fixture
def lost(through: ClusterConfig) -> Iterator[Cluster]:
    """The same cluster, whose connections to the shards lead through the proxy."""
    with Cluster(through) as opened:
        yield opened


def prepare_all(
    cluster: Cluster, shard: DynamoDBShard, *requests: WriteRequest, number: int = 1
) -> list[Outcome]:
    return prepare_on(cluster, shard, writes_of(cluster, *requests), transaction(number))


def items_by_key(shard: DynamoDBShard, table: Table) -> dict[str, dict[str, Any]]:
    """Items of all rows, by their sort keys; there is no placeholder."""
    return {at: load_item(data) for at, (_, data) in raw(shard, table).items()}


def do_not_see_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: who evaluates does not know of intents."""
    current_of = evaluation.current_of
    monkeypatch.setattr(
        evaluation,
        "current_of",
        lambda version, data: replace(current_of(version, data), in_transaction=False),
    )


@pytest.fixture
def three(cluster: Cluster, orders: Table, producer: Producer) -> None:
    """Items 1 to 3, which are in both indexes."""
    for at in (1, 2, 3):
        producer.put("orders", {**key(at), "price": at, "name": f"n{at}"})


@pytest.fixture(params=[8 * 1024 * 1024, 100], ids=["one packet", "several"])
def packets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second packet of a step is one, or it is divided into several."""
    monkeypatch.setattr(step_commit, "MAX_BYTES", request.param)


@pytest.fixture
def waked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The wake-ups that steps send, none of which arrives."""
    sent: list[object] = []
    monkeypatch.setattr(step_commit, "wake_up", lambda *given: sent.append(given))
    return sent


# -- T3 -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("three")
def test_prepare_leaves_intents_and_changes_nothing_that_is_read(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    before, count = raw(shard, orders), events(cluster)
    outcomes = prepare_all(cluster, shard, *ALL_KINDS)
    done = [each for each in outcomes if isinstance(each, Done)]
    assert [each.version for each in done] == [0] * 6
    assert [each.old and each.old["price"]["N"] for each in done] == ["1", "2", "3", *[None] * 3]
    assert [each.new and each.new["price"]["N"] for each in done] == [
        "70", None, "3", "40", None, None,
    ]  # fmt: skip
    after = raw(shard, orders)
    assert [(at, version) for at, (version, _) in after.items()] == [
        *((at, version | MARK) for at, (version, _) in before.items()), ("4", 0), ("5", 0), ("6", 0)
    ]  # fmt: skip
    assert [data for _, data in after.values()] == [*(d for _, d in before.values()), *[b""] * 3]
    found = placed(shard)
    assert [each.action for each in found] == [
        Action.PUT, Action.DELETE, Action.CHECK, Action.PUT, Action.CHECK, Action.CHECK,
    ]  # fmt: skip
    assert load_item(found[0].item or b"") == stored(1, price=70, name="new")
    assert {(i.decider, i.generation, i.token) for i in found} == {(1, 1, b"t" * 16)}
    assert events(cluster) == count


@pytest.mark.usefixtures("three")
def test_if_one_is_refused_no_intent_is_placed_and_every_reason_is_known(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    before = raw(shard, orders)
    outcomes = prepare_all(
        cluster, shard,
        request("PUT", 1, price=7),
        request("PUT", 2, MUST_NOT_EXIST),
        request("CHECK", 7, MUST_EXIST),
    )  # fmt: skip
    assert errors_of(outcomes) == [None, ConditionFailed, ConditionFailed]
    assert raw(shard, orders) == before
    assert placed(shard) == []


def test_each_step_begins_and_commits_in_different_packets(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late packet of T3 must count only in a session that has held the locks since before."""
    asked: list[list[str]] = []
    run = Session.run

    def noting(self: Session, *given: Statement) -> list[Result]:
        asked.append([text.split()[0] for text, _ in given])
        return run(self, *given)

    writes = writes_of(cluster, *ALL_KINDS[3:])
    monkeypatch.setattr(Session, "run", noting)
    prepare_on(cluster, shard, writes, transaction(1))
    assert len(asked) == 2
    apply_on(cluster, shard, transaction(1).id, writes)
    assert len(asked) == 4
    prepare_on(cluster, shard, writes_of(cluster, ALL_KINDS[4]), transaction(2))
    release_on(cluster, shard, transaction(2).id)
    assert len(asked) == 9
    commit_decision(cluster, shard, deciding(writes_of(cluster, ALL_KINDS[4])))
    assert len(asked) == 11
    for packet in asked:
        assert not {"BEGIN", "COMMIT"} <= {*packet}


def test_prepare_refuses_an_old_definition_and_old_slots(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    (write,) = writes_of(cluster, request("PUT", 1))
    old = replace(write, table=replace(orders, version=orders.version - 1))
    moved = replace(write, route=write.route._replace(since=write.route.epoch + 1))
    for wrong in (old, moved):
        with pytest.raises(StaleDefinition):
            prepare_on(cluster, shard, [wrong], transaction())
    assert placed(shard) == []


@pytest.mark.parametrize("kind", ["check", "put"])
def test_an_insert_that_meets_a_prepare_of_the_absent_item(
    cluster: Cluster,
    orders: Table,
    shard: DynamoDBShard,
    other: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    assert both_see_it_absent(cluster, shard, other, monkeypatch, kind) == 0


def test_control_without_a_placeholder_both_see_it_absent(
    cluster: Cluster,
    orders: Table,
    shard: DynamoDBShard,
    other: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(step_commit, "insert_placeholders", lambda _: [])
    assert both_see_it_absent(cluster, shard, other, monkeypatch, "check") > 0


def both_see_it_absent(
    cluster: Cluster,
    shard: DynamoDBShard,
    other: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> int:
    """How often, of three times, a plain insert and a transaction of the same absent item have
    both had their way, though they met between reading and writing."""
    evaluate = evaluation.evaluate
    meet = Barrier(2)

    def waiting(*arguments: Any) -> Any:
        plan = evaluate(*arguments)
        with suppress(BrokenBarrierError):
            meet.wait(0.5)
        return plan

    monkeypatch.setattr(commit, "evaluate", waiting)
    monkeypatch.setattr(step_commit, "evaluate", waiting)
    both = 0
    for turn in range(3):
        meet.reset()
        asked = request("CHECK" if kind == "check" else "PUT", turn, MUST_NOT_EXIST)
        with ThreadPoolExecutor(1) as pool:
            putting = pool.submit(
                Producer(other).put, "orders", key(turn), condition=MUST_NOT_EXIST
            )
            (outcome,) = prepare_all(cluster, shard, asked, number=turn + 1)
            error = putting.exception()
        assert error is None or isinstance(error, TransactionConflict)
        both += error is None and isinstance(outcome, Done)
    return both


# -- T5 and release ---------------------------------------------------------------------------


@pytest.mark.usefixtures("three", "packets")
@pytest.mark.parametrize("known", [False, True], ids=["looked up", "places known"])
def test_apply_turns_intents_into_items_once(
    cluster: Cluster,
    orders: Table,
    shard: DynamoDBShard,
    waked: list[object],
    known: bool,
) -> None:
    """Main rows, LSI rows and events; it may be repeated."""
    before, count = raw(shard, orders), events(cluster)
    writes = writes_of(cluster, *ALL_KINDS)
    prepare_on(cluster, shard, writes, transaction())
    assert waked == []
    theirs = writes if known else ()
    applied = apply_on(cluster, shard, transaction().id, theirs)
    versions = [each.version for each in applied]
    assert versions == [v := versions[0], v + 1, 0, v + 2, 0, 0]
    assert [each.row for each in applied] == [write.row for write in writes]
    assert {each.partition for each in applied} == {writes[0].route.partition}
    after = raw(shard, orders)
    assert {at: version for at, (version, _) in after.items()} == {
        "1": v, "3": before["3"][0], "4": v + 2,
    }  # fmt: skip
    assert load_item(after["1"][1]) == stored(1, price=70, name="new")
    assert placed(shard) == []
    assert len(waked) == 1
    assert apply_on(cluster, shard, transaction().id, theirs) == []
    release_on(cluster, shard, transaction().id)
    assert raw(shard, orders) == after
    assert events(cluster) == count + 3
    assert damage(cluster, orders) == []


@pytest.mark.usefixtures("three", "packets")
def test_release_leaves_everything_as_it_was(
    cluster: Cluster,
    orders: Table,
    shard: DynamoDBShard,
    producer: Producer,
) -> None:
    before, count = raw(shard, orders), events(cluster)
    prepare_all(cluster, shard, *ALL_KINDS)
    assert len(placed(shard)) == 6
    release_on(cluster, shard, transaction().id)
    assert (raw(shard, orders), placed(shard), events(cluster)) == (before, [], count)
    producer.put("orders", {**key(4), "n": 1})
    producer.delete("orders", key(1))
    after = raw(shard, orders)
    release_on(cluster, shard, transaction().id)
    assert apply_on(cluster, shard, transaction().id) == []
    assert raw(shard, orders) == after
    assert damage(cluster, orders) == []


@pytest.mark.usefixtures("three")
def test_late_steps_of_one_transaction_leave_another_ones_intents_alone(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    theirs = writes_of(cluster, *ALL_KINDS)
    prepare_all(cluster, shard, *ALL_KINDS)
    release_on(cluster, shard, transaction().id)
    prepare_all(cluster, shard, *ALL_KINDS, number=2)
    before = raw(shard, orders)
    release_on(cluster, shard, transaction().id)
    assert apply_on(cluster, shard, transaction().id, theirs) == []
    assert raw(shard, orders) == before
    assert len(apply_on(cluster, shard, transaction(2).id)) == 6
    assert damage(cluster, orders) == []


def test_control_where_intents_stay_they_are_applied_twice(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_commit, "delete_intents", lambda _: ("DO 0", ()))
    prepare_all(cluster, shard, request("PUT", 1))
    count = events(cluster)
    for _ in range(2):
        apply_on(cluster, shard, transaction().id)
    assert events(cluster) == count + 2


@pytest.mark.usefixtures("three")
def test_apply_goes_by_the_newest_definition(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, other: Cluster
) -> None:
    """An index that came since T3 gets its row; what it cannot take is left out of it."""
    prepare_all(
        cluster, shard, request("PUT", 1, kind="x", price=5), request("PUT", 2, kind=7, price=6)
    )
    other.refresh()
    local = LocalIndexSchema(name="by_kind", sort_key="kind")
    definitions.add_index(other, "orders", local)
    definitions.add_index(other, "orders", GlobalIndexSchema(name="kinds", hash_key="kind"))
    assert cluster.snapshot.tables[orders.id].version == orders.version
    assert len(apply_on(cluster, shard, transaction().id)) == 2
    table = cluster.table("orders")
    assert table.version > orders.version
    index = table.index("by_kind")
    rows = select(shard, f"SELECT index_sort, sort FROM t{orders.id}_l{index.id}")
    assert rows == ((b"x", b"1"),)
    assert [item["kind"] for _, item in items_of(cluster, table).values() if "kind" in item] == [
        {"S": "x"}, {"N": "7"},
    ]  # fmt: skip
    feeds = everywhere(cluster, "SELECT feeds FROM mynamo_outbox ORDER BY id DESC LIMIT 2")
    assert {row[0] for row in feeds} == {1}


def test_the_rest_is_applied_where_a_table_was_dropped(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, other: Cluster
) -> None:
    make_table(cluster, "second")
    second = WriteRequest("second", "PUT", stored(1))
    prepare_all(cluster, shard, request("PUT", 1), second)
    prepare_all(cluster, shard, request("PUT", 2), WriteRequest("second", "PUT", stored(2)),
                number=2)  # fmt: skip
    other.refresh()
    definitions.drop_table(other, "second")
    assert [each.table_id for each in apply_on(cluster, shard, transaction(1).id)] == [orders.id]
    release_on(cluster, shard, transaction(2).id)
    assert list(raw(shard, orders)) == ["1"]
    assert damage(cluster, orders) == []


# -- whoever meets an intent --------------------------------------------------------------------


@pytest.mark.usefixtures("three")
def test_plain_writes_do_not_pass_an_intent(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, producer: Producer
) -> None:
    prepare_all(cluster, shard, *ALL_KINDS)
    before = raw(shard, orders)
    for at in range(1, 7):
        place: dict[str, Any] = key(at)
        with pytest.raises(TransactionConflict, match="Another transaction has the item"):
            producer.put("orders", place)
        with pytest.raises(TransactionConflict):
            producer.put("orders", place, condition=MUST_NOT_EXIST)
        with pytest.raises(TransactionConflict):
            producer.update("orders", place, set={"n": 1})
        with pytest.raises(TransactionConflict):
            producer.delete("orders", place)
    assert raw(shard, orders) == before
    release_on(cluster, shard, transaction().id)
    for at in range(1, 7):
        producer.put("orders", key(at))
    assert damage(cluster, orders) == []


@pytest.mark.usefixtures("three")
def test_the_others_of_a_batch_go_on_and_commands_are_not_remembered(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    prepare_all(cluster, shard, request("PUT", 1, n=1), request("CHECK", 8, MUST_NOT_EXIST))
    commands = [
        replace(request("PUT", at, n=2), command_id=str(at).encode() * 16) for at in (1, 2, 8, 9)
    ]
    answers = apply_each(cluster, [*commands, *commands[:1]])
    assert errors_of(outcome for _, outcome in answers) == [
        TransactionConflict, None, TransactionConflict, None, TransactionConflict,
    ]  # fmt: skip
    remembered = everywhere(cluster, "SELECT command_id FROM mynamo_applied")
    assert {row[0] for row in remembered} == {b"2" * 16, b"9" * 16}
    apply_on(cluster, shard, transaction().id)
    assert all(isinstance(outcome, Done) for _, outcome in apply_each(cluster, commands))
    items = items_by_key(shard, orders)
    assert [items[at]["n"] for at in "1289"] == [{"N": "2"}] * 4
    assert damage(cluster, orders) == []


@pytest.mark.usefixtures("three")
def test_other_transactions_do_not_pass_an_intent(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, producer: Producer
) -> None:
    prepare_all(cluster, shard, request("CHECK", 1, MUST_EXIST), request("PUT", 8))
    before = raw(shard, orders)
    with pytest.raises(TransactionCanceled) as raised:
        producer.transact([Put("orders", key(1)), Put("orders", key(9)), Put("orders", key(8))])
    kinds = [type(None), TransactionConflict]
    assert [type(reason) for reason in raised.value.reasons] == [kinds[1], kinds[0], kinds[1]]
    requests = request("PUT", 2), request("CHECK", 1, MUST_EXIST), request("PUT", 7, MUST_EXIST)
    writes = writes_of(cluster, *requests)
    for outcomes in (
        prepare_on(cluster, shard, writes, transaction(2)),
        commit_decision(cluster, shard, deciding(writes, number=2)).outcomes,
    ):
        assert errors_of(outcomes) == [None, ItemInTransaction, ConditionFailed]
    assert raw(shard, orders) == before
    assert placed(shard, 2) == []
    assert decisions(shard) == {}


@pytest.mark.usefixtures("three")
def test_conditions_see_versions_without_marks(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    found = evaluation.current_of(MARK + 7, b'{"id":{"S":"a"}}')
    assert (found.version, found.in_transaction) == (7, True)
    prepare_all(cluster, shard, request("CHECK", 1, MUST_EXIST))
    assert {unmarked(version) for version, _ in raw(shard, orders).values()} == {
        version for version, _ in _after_release(cluster, orders, shard).values()
    }


def _after_release(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> dict[str, tuple[int, bytes]]:
    release_on(cluster, shard, transaction().id)
    return raw(shard, orders)


def test_control_where_marks_are_not_seen_an_update_is_lost(
    cluster: Cluster,
    orders: Table,
    shard: DynamoDBShard,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The plain write is answered, and T5 writes over it what was made without it."""
    do_not_see_marks(monkeypatch)
    producer.put("orders", {**key(1), "n": 1})
    prepare_all(cluster, shard, request("PUT", 1, n=2))
    producer.update("orders", key(1), set={"m": 1})
    apply_on(cluster, shard, transaction().id)
    assert "m" not in load_item(raw(shard, orders)["1"][1])


# -- T4 -------------------------------------------------------------------------------------------


def decide(cluster: Cluster, shard: DynamoDBShard, *asked: WriteRequest, **more: Any) -> Decided:
    return commit_decision(cluster, shard, deciding(writes_of(cluster, *asked), **more))


@pytest.mark.usefixtures("three", "packets")
def test_the_decision_and_the_deciders_own_items_are_one_commit(
    cluster: Cluster,
    orders: Table,
    shard: DynamoDBShard,
    waked: list[object],
) -> None:
    set_generation(shard, 8)
    writes = writes_of(cluster, *ALL_KINDS)
    elsewhere = (None, None, True, None, False, None, None, None)
    own = deciding(writes, token=TOKEN, elsewhere=elsewhere, generation=7)
    decided = commit_decision(cluster, shard, own)
    assert decided.known is None
    versions = [each.version for each in decided.outcomes if isinstance(each, Done)]
    assert versions == [v := versions[0], v + 1, 0, v + 2, 0, 0]
    assert {at: version for at, (version, _) in raw(shard, orders).items() if at != "3"} == {
        "1": v, "4": v + 2,
    }  # fmt: skip
    assert decisions(shard) == {1: (Decision.COMMITTED, 8)}
    tokens = select(shard, "SELECT generation, transaction_id FROM mynamo_token")
    assert tokens == ((8, transaction().id),)
    kept = kept_tokens(shard.run(look_up([TOKEN.token]))[0])[TOKEN.token]
    assert kept.changed == bytes([1, 1, 2, 0, 0, 1, 0, 0])
    assert kept.versions() == [v, v + 1, 0, 0, 0, v + 2, 0, 0]
    assert len(waked) == 1
    assert damage(cluster, orders) == []
    again = commit_decision(cluster, shard, deciding(writes, number=2, token=TOKEN))
    assert again.known == kept
    other = RequestToken(TOKEN.token, b"x" * 16)
    refused = commit_decision(cluster, shard, deciding(writes, number=3, token=other))
    assert {type(o.error) for o in refused.outcomes if isinstance(o, Refused)} == {
        IdempotentParameterMismatch
    }
    assert list(decisions(shard)) == [1]


@pytest.mark.usefixtures("three")
def test_a_refused_decision_writes_nothing_and_names_every_reason(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    before, count = raw(shard, orders), events(cluster)
    asked = request("PUT", 1), request("PUT", 2, MUST_NOT_EXIST), request("CHECK", 7, MUST_EXIST)
    decided = decide(cluster, shard, *asked, token=TOKEN)
    assert [isinstance(outcome, Refused) for outcome in decided.outcomes] == [False, True, True]
    fine = deciding(writes_of(cluster, request("PUT", 1)), token=TOKEN)
    (outcome,) = evaluate_on_decider(cluster, shard, fine).outcomes
    assert isinstance(outcome, Done)
    assert (raw(shard, orders), events(cluster), decisions(shard)) == (before, count, {})
    assert everywhere(cluster, "SELECT token FROM mynamo_token") == []


def test_who_aborted_first_has_decided(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    shard.run(insert_aborted(transaction().id, 1))
    assert decisions(shard) == {1: (Decision.ABORTED, 1)}
    with pytest.raises(TransactionAborted):
        decide(cluster, shard, request("PUT", 1))
    assert raw(shard, orders) == {}


def test_who_aborts_in_the_midst_of_it_has_decided_too(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision's row is a duplicate; the next attempt finds it."""
    insert = intents.insert_committed

    def late(transaction_ids: Sequence[bytes], generation: int) -> Statement:
        if not decisions(shard):
            shard.run(insert_aborted(transaction_ids[0], generation))
        return insert(transaction_ids, generation)

    monkeypatch.setattr(step_commit, "insert_committed", late)
    with pytest.raises(TransactionAborted):
        decide(cluster, shard, request("PUT", 1))
    assert raw(shard, orders) == {}
    assert decisions(shard) == {1: (Decision.ABORTED, 1)}


def test_control_without_the_unique_key_both_decide(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard.run(insert_aborted(transaction().id, 1))
    insert, read = intents.insert_committed, intents.read_decisions

    def replacing(transaction_ids: Sequence[bytes], generation: int) -> Statement:
        text, values = insert(transaction_ids, generation)
        return text.replace("INSERT", "REPLACE"), values

    def blind(transaction_ids: Sequence[bytes]) -> Statement:
        text, values = read(transaction_ids)
        return f"{text} AND decision > 9", values

    monkeypatch.setattr(step_commit, "insert_committed", replacing)
    monkeypatch.setattr(statements, "read_decisions", blind)
    decide(cluster, shard, request("PUT", 1))
    assert list(raw(shard, orders)) == ["1"]


@pytest.mark.parametrize(("found", "is_over"), [(4, True), (5, False), (6, False), (7, True)])
def test_a_decision_belongs_into_the_generation_of_its_intents_or_the_next_one(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, found: int, is_over: bool
) -> None:
    set_generation(shard, found)
    if is_over:
        with pytest.raises(GenerationOver) as raised:
            decide(cluster, shard, request("PUT", 1), generation=5)
        assert raised.value.found == found
    else:
        decide(cluster, shard, request("PUT", 1), generation=5)
    assert bool(raw(shard, orders)) == bool(decisions(shard)) == (not is_over)


def test_a_new_incarnation_ends_all_generations_before(
    cluster: Cluster, orders: Table, shard: DynamoDBShard
) -> None:
    number = shard.adopt(3)
    assert number is not None
    assert generation(shard) == number << 36
    set_generation(shard, (number + 5) << 36)
    assert shard.adopt(number + 2) is not None
    assert generation(shard) == ((number + 5) << 36) + 2
    with pytest.raises(GenerationOver):
        decide(cluster, shard, request("PUT", 1))


# -- connections that are lost -------------------------------------------------------------------


Step = Callable[[Cluster, DynamoDBShard], object]


def lose_commit(fault: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose the next packet that commits, or its answer.

    The proxy ends a connection with the first result, and then the server may not get to the last
    statement; so the answer is lost here once it has come.
    """
    if fault == "lose_request":
        proxy.on(COMMIT, "lose_request")
        return
    run, lost = Session.run, proxy.struck

    def losing(self: Session, *given: Statement) -> list[Result]:
        results = run(self, *given)
        if given[-1][0] == "COMMIT" and not lost.is_set():
            lost.set()
            self.broken = True
            raise LostConnection("the answer is lost")
        return results

    monkeypatch.setattr(Session, "run", losing)


def _prepare(cluster: Cluster, shard: DynamoDBShard) -> object:
    return prepare_all(cluster, shard, *ALL_KINDS)


def _decide(cluster: Cluster, shard: DynamoDBShard) -> object:
    return decide(cluster, shard, *ALL_KINDS, token=TOKEN)


def _apply(cluster: Cluster, shard: DynamoDBShard) -> object:
    return apply_on(cluster, shard, transaction().id)


def _release(cluster: Cluster, shard: DynamoDBShard) -> None:
    release_on(cluster, shard, transaction().id)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("fault", ["lose_answer", "lose_request"])
@pytest.mark.parametrize("step", [_prepare, _decide, _apply, _release])
def test_a_lost_first_packet_is_sent_again(
    cluster: Cluster,
    orders: Table,
    shard: DynamoDBShard,
    proxy: Proxy,
    lost: Cluster,
    step: Step,
    fault: Any,
) -> None:
    """Without the second one nothing can have happened, and never will."""
    if step in (_apply, _release):
        _prepare(cluster, shard)
    proxy.on(b"FOR UPDATE", fault)
    step(lost, lost.shards[shard.id])
    assert proxy.struck.is_set()
    if step is _prepare:
        assert len(placed(shard)) == 6
        release_on(cluster, shard, transaction().id)
    assert placed(shard) == []
    assert list(raw(shard, orders)) == (["1", "3", "4"] if step in (_decide, _apply) else [*"123"])
    assert damage(cluster, orders) == []


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("fault", ["lose_answer", "lose_request"])
@pytest.mark.parametrize("step", [_prepare, _decide])
def test_whose_commit_is_lost_does_not_know(
    cluster: Cluster,
    orders: Table,
    shard: DynamoDBShard,
    proxy: Proxy,
    lost: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    step: Step,
    fault: str,
) -> None:
    lose_commit(fault, proxy, monkeypatch)
    with pytest.raises(AnswerLost):
        step(lost, lost.shards[shard.id])
    happened = fault == "lose_answer"
    assert len(placed(shard)) == (6 if happened and step is _prepare else 0)
    assert len(decisions(shard)) == (happened and step is _decide)
    release_on(cluster, shard, transaction().id)
    assert damage(cluster, orders) == []


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("fault", ["lose_answer", "lose_request"])
@pytest.mark.parametrize("step", [_apply, _release])
def test_what_may_be_repeated_is_repeated(
    cluster: Cluster,
    orders: Table,
    shard: DynamoDBShard,
    proxy: Proxy,
    lost: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    step: Step,
    fault: str,
) -> None:
    _prepare(cluster, shard)
    count = events(cluster)
    lose_commit(fault, proxy, monkeypatch)
    answer = step(lost, lost.shards[shard.id])
    assert proxy.struck.is_set()
    assert placed(shard) == []
    if step is _apply:
        assert len(answer) == (0 if fault == "lose_answer" else 6)  # type: ignore[arg-type]
    assert events(cluster) == count + (3 if step is _apply else 0)
    assert damage(cluster, orders) == []


# -- many at once -----------------------------------------------------------------------------


def count_up(at: int) -> WriteRequest:
    return ask("orders", "UPDATE", key(at), expression=ADD, values=ONE).request()


def counted_at_once(cluster: Cluster, shard: DynamoDBShard, other: Cluster) -> Counter[str]:
    """Let transactions and plain writes in two processes count up the same few items.

    Returns:
        How far they say that they have counted, by the items' sort keys.
    """
    counted: Counter[str] = Counter()
    numbers = count(1)

    def plain(seed: int) -> None:
        choice, producer = Random(seed), Producer(other)
        for _ in range(25):
            at = choice.randrange(5)
            with suppress(TransactionConflict):
                producer.update("orders", key(at), expression=ADD, values=ONE)
                counted[str(at)] += 1

    def transactions(seed: int) -> None:
        choice = Random(seed)
        for _ in range(25):
            number, own = next(numbers), choice.sample(range(5), 2)
            outcomes = prepare_all(cluster, shard, *map(count_up, own), number=number)
            if any(isinstance(outcome, Refused) for outcome in outcomes):
                continue
            if choice.random() < 0.3:
                release_on(cluster, shard, transaction(number).id)
                continue
            steps = [partial(apply_on, each, each.shards[shard.id], transaction(number).id)
                     for each in (cluster, other)]  # fmt: skip
            assert sum(len(step()) for step in choice.sample(steps, 2)) == 2
            counted.update(map(str, own))

    with ThreadPoolExecutor(6) as pool:
        working = [pool.submit([plain, transactions][seed % 2], seed) for seed in range(6)]
        for each in working:
            each.result()
    return counted


def test_nothing_that_was_counted_is_lost_and_no_intent_stays(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, other: Cluster
) -> None:
    counted = counted_at_once(cluster, shard, other)
    assert all(0 < version < MARK for version, _ in raw(shard, orders).values())
    assert everywhere(cluster, "SELECT table_id FROM mynamo_intent") == []
    items = items_by_key(shard, orders)
    assert {at: int(item["n"]["N"]) for at, item in items.items()} == counted
    assert damage(cluster, orders) == []


def test_control_where_marks_are_not_seen_some_is_lost(
    cluster: Cluster,
    orders: Table,
    shard: DynamoDBShard,
    other: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    do_not_see_marks(monkeypatch)
    producer = Producer(cluster)
    for at in range(5):
        producer.put("orders", {**key(at), "n": 0})
    counted = counted_at_once(cluster, shard, other)
    items = items_by_key(shard, orders)
    assert sum(int(item["n"]["N"]) for item in items.values()) < counted.total()


# -- statements -------------------------------------------------------------------------------


def test_marks_and_placeholders_go_by_the_primary_key(
    cluster: Cluster, orders: Table, shard: DynamoDBShard, producer: Producer
) -> None:
    """A scan would wait for the rows of other writers."""
    for at in range(200):
        producer.put("orders", key(at))
    places = [(orders.id, orders.key_of(stored(at))) for at in (1, 2, 3)]
    for statement in (
        *statements.mark(places), *statements.unmark(places), *statements.delete_rows(places),
    ):  # fmt: skip
        [step] = explain_statement(shard, statement)
        assert (step["type"], step["key"]) == ("range", "PRIMARY")
