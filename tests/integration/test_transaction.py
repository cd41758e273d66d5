"""The write transaction, on both engines: all or nothing, fenced, no update lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.errors import ConditionFailed, InvalidItem, MynamoError
from mynamo.expressions import Update
from mynamo.mysql.pool import Session, Statement
from mynamo.producer import MUST_EXIST, MUST_NOT_EXIST, Producer, version_is
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import LocalIndexSchema
from mynamo.writer import Done, Refused, WriteRequest, apply
from mynamo.writer.backfill.indexes import activate_if_backfilled, backfill_chunk
from mynamo.writer.transaction import commit
from mynamo.writer.transaction.statements import statements_of
from tests.meeting import together
from tests.rows import damage, everywhere, in_catalog, items_of, leave_out, make_table, outbox_of

KEY = {"id": "a", "at": "1"}


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


def event_count(cluster: Cluster) -> int:
    return int(sum(row[0] for row in everywhere(cluster, "SELECT COUNT(*) FROM mynamo_outbox")))


# -- all or nothing -------------------------------------------------------------------

REFUSED: Statement = ("SIGNAL SQLSTATE '45000'", ())


def break_at(
    monkeypatch: pytest.MonkeyPatch, position: int, statements: tuple[Statement, ...] = (REFUSED,)
) -> None:
    """Put statements into step 4 of the transaction."""
    made = statements_of

    def broken(*arguments: Any, **named: Any) -> tuple[list[Statement], int]:
        plan, outbox_at = made(*arguments, **named)
        plan[position:position] = statements
        return plan, outbox_at + len(statements) * (position <= outbox_at)

    monkeypatch.setattr(commit, "statements_of", broken)


def changes(producer: Producer) -> list[Callable[[], Any]]:
    """A write of each kind: each has main, LSI and outbox statements."""
    return [
        lambda: producer.put("orders", {"id": "new", "at": "1", "price": 1}),
        lambda: producer.put("orders", {**KEY, "price": 8}),
        lambda: producer.update("orders", KEY, set={"price": 9}),
        lambda: producer.delete("orders", KEY),
    ]


def test_a_write_that_fails_at_any_statement_leaves_nothing(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = Producer(cluster)
    producer.put("orders", {**KEY, "price": 7})
    before = items_of(cluster, orders)
    for change in changes(producer):
        for position in range(4):
            with monkeypatch.context() as patch:
                break_at(patch, position)
                with pytest.raises(MynamoError):
                    change()
            assert items_of(cluster, orders) == before
            assert damage(cluster, orders) == []
    assert event_count(cluster) == 1


def test_control_without_one_transaction_the_parts_disagree(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_at(patch, 1, (("COMMIT", ()), REFUSED))
        with pytest.raises(MynamoError):
            Producer(cluster).put("orders", {**KEY, "price": 7})
    assert damage(cluster, orders)


# -- guards ---------------------------------------------------------------------------


def add_index_behind(cluster: Cluster, stale: Cluster) -> None:
    """Add an LSI, filled and ACTIVE, that another process has not heard of."""
    assert not stale.table("orders").indexes[0].name.startswith("by_weight")
    index = definitions.add_index(
        cluster, "orders", LocalIndexSchema(name="by_weight", sort_key="weight:N")
    )
    for shard in cluster.shards.values():
        while backfill_chunk(cluster, shard, index).more:
            pass
    assert activate_if_backfilled(cluster, index)


def test_a_writer_that_missed_a_new_index_maintains_it(
    cluster: Cluster, orders: Table, engine_config: ClusterConfig
) -> None:
    with Cluster(engine_config) as stale:
        add_index_behind(cluster, stale)
        Producer(stale).put("orders", {**KEY, "weight": 7})
    assert damage(cluster, cluster.table("orders")) == []
    with pytest.raises(InvalidItem, match="by_weight"):
        Producer(cluster).put("orders", {**KEY, "weight": "heavy"})


def test_control_without_the_guard_the_new_index_lacks_the_item(
    cluster: Cluster, orders: Table, engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cluster(engine_config) as stale:
        add_index_behind(cluster, stale)
        with monkeypatch.context() as patch:
            patch.setattr(commit, "check_guards", lambda known, found: None)
            Producer(stale).put("orders", {**KEY, "weight": 7})
    assert any("by_weight lacks" in line for line in damage(cluster, cluster.table("orders")))


def test_a_writer_that_missed_a_new_table_of_the_same_name_writes_to_it(
    cluster: Cluster, orders: Table, engine_config: ClusterConfig
) -> None:
    with Cluster(engine_config) as stale:
        stale.table("orders")
        definitions.drop_table(cluster, "orders")
        again = make_table(cluster)
        Producer(stale).put("orders", {**KEY, "price": 7})
    assert again.id != orders.id
    assert [item["price"] for _, item in items_of(cluster, again).values()] == [{"N": "7"}]


def test_a_writer_that_missed_a_moved_slot_reads_the_catalog_again(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a move of slots would do: raise the epoch on the shards and in the catalog.
    for shard in cluster.shards.values():
        shard.run(("UPDATE mynamo_fence SET version = 2 WHERE id = 0", ()))
    in_catalog(
        cluster.config,
        "UPDATE mynamo_slots SET epoch = 2",
        "UPDATE mynamo_shards SET epoch = 2",
        "UPDATE mynamo_cluster SET version = version + 1",
    )
    refreshed = []
    refresh = Cluster.refresh

    def noted(self: Cluster, *arguments: Any) -> Any:
        refreshed.append(True)
        return refresh(self, *arguments)

    monkeypatch.setattr(Cluster, "refresh", noted)
    Producer(cluster).put("orders", {**KEY, "price": 7})
    assert refreshed
    assert damage(cluster, orders) == []


# -- concurrency ----------------------------------------------------------------------


@pytest.fixture
def producers(engine_config: ClusterConfig, orders: Table) -> Iterator[list[Producer]]:
    """As of four processes: what keeps their writes apart is MySQL's locks alone."""
    with ExitStack() as stack:
        yield [Producer(stack.enter_context(Cluster(engine_config))) for _ in range(4)]


def hammer(threads: int, work: Callable[[int], object]) -> None:
    """Run work(0) ... work(threads - 1) at once; raises what one of them raised."""
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, number) for number in range(threads)]:
            done.result()


def test_concurrent_puts_of_new_and_existing_keys(
    cluster: Cluster, orders: Table, producers: list[Producer]
) -> None:
    def work(number: int) -> None:
        producer = producers[number % 4]
        for turn in range(12):
            own = {"id": f"own{number}", "at": str(turn), "price": turn}
            producer.put("orders", own)
            producer.put("orders", {"id": "shared", "at": str(turn), "price": number})

    hammer(16, work)
    assert len(items_of(cluster, orders)) == 16 * 12 + 12
    assert event_count(cluster) == 2 * 16 * 12
    assert damage(cluster, orders) == []


def test_concurrent_updates_of_one_item_all_take_effect(
    cluster: Cluster, orders: Table, producers: list[Producer]
) -> None:
    def work(number: int) -> None:
        for turn in range(6):
            producers[number % 4].update("orders", KEY, set={f"a{number}_{turn}": turn})

    hammer(8, work)
    ((_, item),) = items_of(cluster, orders).values()
    assert len(item) == 2 + 8 * 6
    assert damage(cluster, orders) == []


@pytest.mark.parametrize("locking", [True, False])
def test_an_update_is_lost_only_without_the_row_lock(
    cluster: Cluster,
    orders: Table,
    producers: list[Producer],
    monkeypatch: pytest.MonkeyPatch,
    locking: bool,
) -> None:
    producers[0].put("orders", KEY)
    together(monkeypatch)
    if not locking:
        leave_out(monkeypatch, " FOR UPDATE")
    hammer(2, lambda number: producers[number].update("orders", KEY, set={f"a{number}": 1}))
    monkeypatch.undo()
    ((_, item),) = items_of(cluster, orders).values()
    assert ("a0" in item and "a1" in item) == locking
    assert (damage(cluster, orders) == []) == locking


def test_one_of_many_conditional_puts_wins(
    cluster: Cluster, orders: Table, producers: list[Producer]
) -> None:
    won: list[int] = []

    def work(number: int) -> None:
        with suppress(ConditionFailed):
            producers[number % 4].put("orders", {**KEY, "price": number}, condition=MUST_NOT_EXIST)
            won.append(number)

    hammer(8, work)
    ((_, item),) = items_of(cluster, orders).values()
    assert [item["price"]["N"]] == [str(number) for number in won]
    assert event_count(cluster) == 1


# -- conditions, batches --------------------------------------------------------------


def test_conditions(cluster: Cluster, orders: Table) -> None:
    producer = Producer(cluster)
    with pytest.raises(ConditionFailed):
        producer.put("orders", KEY, condition=MUST_EXIST)
    first = producer.put("orders", KEY, condition=MUST_NOT_EXIST)
    with pytest.raises(ConditionFailed):
        producer.put("orders", KEY, condition=MUST_NOT_EXIST)
    second = producer.update("orders", KEY, set={"x": 1}, condition=version_is(first.version))
    with pytest.raises(ConditionFailed, match="another version"):
        producer.delete("orders", KEY, condition=version_is(first.version))
    assert producer.delete("orders", KEY, condition=version_is(second.version)).old == {
        **KEY,
        "x": 1,
    }
    assert producer.delete("orders", KEY).version == 0
    assert event_count(cluster) == 3
    assert damage(cluster, orders) == []


def stored(price: int | None = None, /, **key: str) -> dict[str, dict[str, Any]]:
    item: dict[str, dict[str, Any]] = {name: {"S": value} for name, value in key.items()}
    return item if price is None else item | {"price": {"N": str(price)}}


def setting(**attributes: dict[str, Any]) -> Update:
    return Update.setting(attributes, ())


def test_a_batch_applies_writes_to_one_item_in_their_order(cluster: Cluster, orders: Table) -> None:
    key = stored(**KEY)
    requests = [
        WriteRequest("orders", "PUT", stored(1, **KEY), condition=MUST_NOT_EXIST),
        WriteRequest("orders", "PUT", stored(2, **KEY), condition=MUST_NOT_EXIST),
        WriteRequest("orders", "UPDATE", key, setting(price={"N": "3"}, x={"S": "y"})),
        WriteRequest("orders", "PUT", stored(0, id="other", at="1")),
        WriteRequest("orders", "UPDATE", key, setting(at={"S": "2"})),
        WriteRequest("nowhere", "DELETE", key),
        WriteRequest("orders", "DELETE", key),
        WriteRequest("orders", "DELETE", key),
        WriteRequest("orders", "UPDATE", key, setting(price={"N": "4"})),
    ]
    outcomes = [outcome for _, outcome in apply(cluster, requests)]
    refused = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Refused)]
    assert refused == [1, 4, 5]
    done = [outcomes[n] for n in (0, 2, 6, 8)]
    versions = [outcome.version for outcome in done if isinstance(outcome, Done)]
    assert versions == sorted(set(versions))
    assert len(versions) == 4
    assert isinstance(outcomes[7], Done)
    assert outcomes[7].version == 0
    last = items_of(cluster, orders)[orders.key_of(key)]
    assert last == (versions[-1], stored(4, **KEY))
    assert damage(cluster, orders) == []


def test_an_item_that_comes_and_goes_within_a_batch(cluster: Cluster, orders: Table) -> None:
    outcomes = apply(
        cluster,
        [
            WriteRequest("orders", "PUT", stored(1, **KEY)),
            WriteRequest("orders", "DELETE", stored(**KEY)),
        ],
    )
    assert all(isinstance(outcome, Done) and outcome.version for _, outcome in outcomes)
    assert items_of(cluster, orders) == {}
    assert damage(cluster, orders) == []
    operations = [
        event["operation"]
        for shard in cluster.shards.values()
        for _, event in outbox_of(shard, orders)
    ]
    assert operations == ["INSERT", "REMOVE"]


# -- plans ----------------------------------------------------------------------------


def test_the_locking_select_is_a_primary_key_lookup(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = Producer(cluster)
    for number in range(50):
        producer.put("orders", {"id": f"i{number}", "at": "1"})
    producer.put("orders", KEY)
    seen: list[Statement] = []
    run = Session.run

    def noting(self: Session, *statements: Statement) -> Any:
        seen.extend(s for s in statements if " FOR UPDATE" in s[0])
        return run(self, *statements)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", noting)
        producer.update("orders", KEY, set={"price": 1})
    assert len(seen) == 1
    text, values = seen[0]
    shard = cluster.shard_of(values[0])
    # EXPLAIN: id, select_type, table, (partitions, ) type, possible_keys, key, ...
    (plan,) = shard.run(("EXPLAIN FORMAT=TRADITIONAL " + text, values))[0].rows
    assert "const" in plan
    assert "PRIMARY" in plan
