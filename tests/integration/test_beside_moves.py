"""Beside a move of slots: who writes logs keys, and who must wait waits; states are set by hand."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from mynamo.catalog import definitions, gsi_rows, move_log, sql
from mynamo.catalog.cluster import Cluster, RangeStopped
from mynamo.catalog.intents import Decision
from mynamo.catalog.snapshot import SlotMove
from mynamo.catalog.tables import RowKey, Table
from mynamo.errors import ShardUnavailable, WriteOutcomeUnknown
from mynamo.gsi_indexer import apply, event_batches
from mynamo.gsi_indexer.arrivals import Stream
from mynamo.gsi_indexer.paused import PausedStreams
from mynamo.operations import mend as mend_module
from mynamo.operations.findings import Finding
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.runtime.batching import Entry
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import load_item, to_stored
from mynamo.schemas.keys import hash_of_parts, slot_of
from mynamo.schemas.table import GlobalIndexSchema
from mynamo.writer import Done, Refused, RequestToken, WriteRequest, apply_each, transact
from mynamo.writer.backfill import re_emit
from mynamo.writer.backfill.indexes import backfill_chunk
from mynamo.writer.transaction import (
    across_shards,
    commit,
    group_commit,
    request_tokens,
    resolver,
    shard_steps,
    statements,
    sweeper,
)
from mynamo.writer.transaction import transact as transact_module
from mynamo.writer.transaction.sweeper import Sweeper
from mynamo.writer.transaction.write_requests import prepare
from tests.fake_log import Bench
from tests.intents import decide, place
from tests.rows import damage, make_table, outbox_of, select
from tests.slots import HandMove

BY_COLOUR = GlobalIndexSchema.model_validate({"name": "by_colour", "hash_key": "colour"})


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@pytest.fixture
def move(cluster: Cluster, orders: Table) -> HandMove:
    """Of the slots of some items and index rows of `orders`; it has not begun."""
    return HandMove(cluster)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as opened:
        yield opened


def key_of(table: Table, name: str) -> bytes:
    return table.key_of(to_stored({"id": name, "at": "1"})).hash


def names(table: Table, has: Callable[[bytes], bool], count: int = 1) -> list[str]:
    """Hash keys of items whose hashes are such."""
    every = (f"i{number}" for number in range(100_000))
    found = (name for name in every if has(key_of(table, name)))
    return [next(found) for _ in range(count)]


def value(move: HandMove, start: str = "c") -> str:
    """The value of an index's hash key whose rows move."""
    every = (f"{start}{number}" for number in range(10_000))
    return next(n for n in every if move.has(hash_of_parts([n.encode()])))


def request(
    operation: Any, name: str, command: uuid.UUID | None = None, **more: Any
) -> WriteRequest:
    item = to_stored({"id": name, "at": "1"} | more)
    return WriteRequest(
        "orders", operation, item, command_id=None if command is None else command.bytes
    )


def kinds(move: HandMove) -> list[int]:
    return [row[0] for row in move.log()]


def waits(working: Future[Any], seconds: float = 0.2) -> bool:
    """Whether it is not done for so long."""
    with suppress(TimeoutError):
        working.result(seconds)
    return not working.done()


# -- writes ----------------------------------------------------------------------------------------

Writing = Callable[[Cluster, str], None]


def _write(cluster: Cluster, *requests: WriteRequest) -> None:
    for _, outcome in apply_each(cluster, requests):
        assert not hasattr(outcome, "error"), outcome


def token_of(name: str) -> RequestToken:
    return RequestToken(name.encode().ljust(16, b"t"), b"r" * 16)


def command_of(name: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, name)


def _transact(cluster: Cluster, name: str) -> None:
    requests = [request("PUT", name, price=1), request("PUT", name, at="2")]
    transact(cluster, requests, token_of(name))


WRITES: dict[str, tuple[Writing, list[int]]] = {
    "put": (lambda c, n: _write(c, request("PUT", n)), [1]),
    "delete": (lambda c, n: _write(c, request("DELETE", n)), [1]),
    "two of one item": (lambda c, n: _write(c, request("PUT", n), request("PUT", n, a=1)), [1]),
    "queued": (lambda c, n: _write(c, request("PUT", n, command_of(n))), [1, 4]),
    "transaction with a token": (_transact, [1, 1, 3]),
    "write without effect": (lambda c, n: _write(c, request("DELETE", f"{n}-none")), []),
}


@pytest.mark.parametrize("packets", ["one packet", "packets"])
@pytest.mark.parametrize("kind", WRITES)
def test_who_writes_an_item_of_a_moving_slot_logs_its_key(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    move: HandMove,
    kind: str,
    packets: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if packets == "packets":
        if kind != "transaction with a token":
            pytest.skip("only a transaction alone takes several")
        monkeypatch.setattr(commit, "MAX_BYTES", 10)
    before, during = names(orders, move.has, 2)
    (staying,) = names(orders, lambda hash16: not move.has(hash16))
    for name in (before, during, staying):
        producer.put("orders", {"id": name, "at": "1", "price": 2})
    write, logged = WRITES[kind]
    write(cluster, before)
    move.to("COPYING")
    cluster.refresh()
    write(cluster, staying)
    assert move.log() == []
    write(cluster, during)
    assert kinds(move) == logged
    hash16 = key_of(orders, during)
    expected = {
        move_log.ITEM: (orders.id, 0, hash16, b"1", None, None),
        move_log.TOKEN: (0, 0, token_of(during).token, b"", None, None),
        move_log.COMMAND: (0, slot_of(hash16), command_of(during).bytes, b"", None, None),
    }
    for kind_, *entry in move.log():
        assert tuple(entry) in (expected[kind_], (orders.id, 0, hash16, b"2", None, None))
    assert damage(cluster, orders) == []  # versions are those of the events


def test_control_a_log_before_the_versions_damages_them(
    cluster: Cluster, orders: Table, move: HandMove, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LAST_INSERT_ID() is the log's then."""
    for name in names(orders, lambda h: cluster.shard_of(h).id == 1 and not move.has(h), 3):
        _write(cluster, request("PUT", name))  # ids of both are not the same then
    move.to("COPYING")
    cluster.refresh()
    statements_of = statements.statements_of

    def first(*args: Any, **more: Any) -> Any:
        *before, log = args
        made, outbox_at = statements_of(*before, **more)
        made[outbox_at + 1 : outbox_at + 1] = log
        return made, outbox_at

    monkeypatch.setattr(commit, "statements_of", first)
    made = names(orders, move.has, 3)
    for name in made:
        _write(cluster, request("PUT", name))
    assert damage(cluster, orders) != []


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("state", ["STOPPED", "CLOSED"])
def test_writes_of_stopped_slots_wait_and_go_on_with_their_owner(
    cluster: Cluster,
    orders: Table,
    move: HandMove,
    pool: ThreadPoolExecutor,
    kind: str,
    state: Any,
) -> None:
    (moving,) = names(orders, move.has)
    (staying,) = names(orders, lambda hash16: not move.has(hash16))
    write, _ = WRITES[kind]
    move.to("COPYING")
    move.to(state)
    cluster.refresh()
    working = pool.submit(write, cluster, moving)
    assert waits(working)
    _write(cluster, request("PUT", staying, a=1))  # other slots go on
    assert not working.done()
    if state == "STOPPED":
        move.to("CLOSED")
    assert waits(working, 0.05)
    move.to("DONE")
    working.result(20)
    assert move.log() == []
    there = [row for _, row in outbox_of(cluster.shards[2], orders)]
    assert {event["keys"]["id"]["S"] for event in there} <= {moving}
    assert bool(there) == (kind not in ("delete", "write without effect"))


@pytest.mark.parametrize("kind", WRITES)
def test_control_without_states_a_write_of_closed_slots_is_done_on_the_source(
    cluster: Cluster, orders: Table, move: HandMove, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlotMove, "stops_writes", False)
    (moving,) = names(orders, move.has)
    move.to("CLOSED")
    cluster.refresh()
    write, _ = WRITES[kind]
    write(cluster, moving)
    there = list(outbox_of(cluster.shards[1], orders))
    assert bool(there) == (kind not in ("delete", "write without effect"))
    assert move.log() == []


def test_writes_of_stopped_slots_go_on_when_the_switch_is_taken_back(
    cluster: Cluster, orders: Table, move: HandMove, pool: ThreadPoolExecutor
) -> None:
    (moving,) = names(orders, move.has)
    move.to("STOPPED")
    cluster.refresh()
    working = pool.submit(_write, cluster, request("PUT", moving))
    assert waits(working)
    move.to("COPYING")
    working.result(20)
    assert kinds(move) == [1]


@pytest.mark.parametrize("state", ["STOPPED", "CLOSED"])
def test_who_waits_for_one_attempt_for_long_takes_it_back(
    cluster: Cluster,
    orders: Table,
    move: HandMove,
    state: Any,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mynamo.catalog.slot_guard.TAKE_BACK_AFTER", 0.3)
    (moving,) = names(orders, move.has)
    move.to(state)
    cluster.refresh()
    working = pool.submit(_write, cluster, request("PUT", moving))
    assert waits(working)
    working.result(20)
    (found,) = cluster.snapshot.moves
    assert found.state == "COPYING"
    assert kinds(move) == [1]


def test_who_waits_for_slots_for_too_long_hears_which_and_nothing_is_written(
    cluster: Cluster, orders: Table, move: HandMove, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mynamo.catalog.slot_guard.PATIENCE", 0.1)
    moving, other = names(orders, move.has, 2)
    (staying,) = names(orders, lambda hash16: not move.has(hash16))
    move.to("STOPPED")
    cluster.refresh()
    requests = [request("PUT", name) for name in (moving, staying, other)]
    (_, first), (_, second), (_, third) = apply_each(cluster, requests)
    assert isinstance(first, Refused)
    assert isinstance(first.error, RangeStopped)
    assert first.whole
    assert f"{move.first}-{move.last}" in str(first.error)
    assert third == first
    assert isinstance(second, Done)
    with pytest.raises(RangeStopped):
        transact(cluster, requests[:1])
    assert len(list(outbox_of(cluster.shards[1], orders))) == (
        cluster.shard_of(key_of(orders, staying)).id == 1
    )


def test_an_items_writes_keep_their_order_while_the_slots_move(
    cluster: Cluster, orders: Table, move: HandMove, pool: ThreadPoolExecutor
) -> None:
    (moving,) = names(orders, move.has)
    move.to("STOPPED")
    cluster.refresh()
    writes = [request("PUT", moving, number=number) for number in range(40)]
    working = pool.submit(_write, cluster, *writes)
    assert waits(working, 0.05)
    move.to("CLOSED")
    move.to("DONE")
    working.result(20)
    numbers = [
        event["new_image"]["number"]["N"] for _, event in outbox_of(cluster.shards[2], orders)
    ]
    assert numbers == [str(number) for number in range(40)]


def test_one_look_at_the_catalog_is_for_all_who_wait(
    cluster: Cluster,
    orders: Table,
    move: HandMove,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moving = names(orders, move.has, 16)
    move.to("STOPPED")
    cluster.refresh()
    looks = []
    load = cluster.catalog.load

    def counting(*args: Any) -> Any:
        looks.append(time.monotonic())
        return load(*args)

    monkeypatch.setattr(cluster.catalog, "load", counting)
    with ThreadPoolExecutor(16) as many:
        began = time.monotonic()
        working = [many.submit(_write, cluster, request("PUT", name)) for name in moving]
        assert waits(working[0], 0.5)
        seconds, count = time.monotonic() - began, len(looks)
        move.to("COPYING")
        for each in working:
            each.result(20)
    assert 5 < count <= seconds / 0.005 + 5


# -- reads -----------------------------------------------------------------------------------------

READS: dict[str, Callable[[Reader, str, str], Any]] = {
    "get": lambda read, name, _: read.get("orders", {"id": name, "at": "1"}),
    "batch get": lambda read, name, _: read.batch_get("orders", [{"id": name, "at": "1"}]),
    "transact get": lambda read, name, _: read.transact_get([("orders", {"id": name, "at": "1"})]),
    "query": lambda read, name, _: read.query("orders", name).items,
    "local index": lambda read, name, _: read.query("orders", name, index="by_price").items,
    "global index": lambda read, _, colour: read.query("orders", colour, index="by_name").items,
    "scan": lambda read, *_: read.scan("orders").items,
    "scan of an index": lambda read, *_: read.scan("orders", index="by_name").items,
}


@pytest.mark.parametrize("kind", READS)
def test_reads_go_on_until_slots_are_closed_and_then_wait_for_their_owner(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    move: HandMove,
    pool: ThreadPoolExecutor,
    kind: str,
) -> None:
    (moving,) = names(orders, move.has)
    colour = value(move)
    producer.put("orders", {"id": moving, "at": "1", "price": 1})
    read, reader = READS[kind], Reader(cluster)
    before = read(reader, moving, colour)
    for state in ("COPYING", "STOPPED"):
        move.to(state)
        cluster.refresh()
        assert read(reader, moving, colour) == before
    move.to("CLOSED", guards=False)
    cluster.refresh()
    working = pool.submit(read, reader, moving, colour)
    assert waits(working)
    staying = reader.get("orders", {"id": names(orders, lambda h: not move.has(h))[0], "at": "1"})
    assert staying is None  # at once
    move.raise_guards()
    assert waits(working, 0.05)
    move.to("DONE")
    found = working.result(20)
    assert found in (None, [None], [])  # shard 2 has nothing of it


@pytest.mark.parametrize("kind", READS)
def test_control_without_states_a_read_of_closed_slots_is_answered_by_the_source(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    move: HandMove,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SlotMove, "stops_all", False)
    (moving,) = names(orders, move.has)
    producer.put("orders", {"id": moving, "at": "1", "price": 1})
    move.to("CLOSED")
    cluster.refresh()
    found = READS[kind](Reader(cluster), moving, value(move))
    assert bool(found) == (kind not in ("global index", "scan of an index"))


def test_a_scan_reads_what_lies_before_a_closed_range(
    cluster: Cluster, orders: Table, producer: Producer, move: HandMove
) -> None:
    lower = names(orders, lambda h: cluster.shard_of(h).id == 1 and not move.has(h), 3)
    for name in lower:
        producer.put("orders", {"id": name, "at": "1"})
    move.to("CLOSED")
    cluster.refresh()
    assert len(Reader(cluster).scan("orders", limit=2).items) == 2


# -- index rows ------------------------------------------------------------------------------------


@pytest.fixture
def bench(engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(engine_config, monkeypatch)
    make_table(bench.cluster)
    yield bench
    bench.close()


def gsi_entry(table: Table, index_name: str, item: dict[str, Any]) -> tuple[Any, ...]:
    """What is logged of an item's row in an index."""
    index, stored = table.index(index_name), to_stored(item)
    at, row = index.key_of(stored), table.key_of(stored)
    assert at is not None
    return (move_log.GSI_ROW, table.id, index.id, *at, *row)


@pytest.mark.parametrize("state", ["COPYING", "STOPPED"])
def test_an_indexer_logs_rows_of_moving_slots_until_they_are_closed(
    bench: Bench, state: Any, pool: ThreadPoolExecutor
) -> None:
    table, move = bench.cluster.table("orders"), HandMove(bench.cluster)
    one = bench.indexer(bench.open_cluster())
    (name,) = names(table, lambda h: not move.has(h))  # the item stays, its index row moves
    first, second = ({"id": name, "at": "1", "name": value(move, start)} for start in ("c", "d"))
    bench.producer.put("orders", first)
    bench.catch_up(one)
    assert move.log() == []
    move.to(state)
    bench.producer.put("orders", second)
    bench.catch_up(one)
    assert move.log() == [gsi_entry(table, "by_name", item) for item in (first, second)]
    move.to("CLOSED")
    third = {"id": name, "at": "1", "name": value(move, "e")}
    bench.producer.put("orders", third)
    bench.publish()
    working = pool.submit(one.step, 0)
    assert waits(working)
    assert len(move.log()) == 2
    move.to("DONE")
    working.result(20)
    bench.catch_up(one)
    index = table.index("by_name")
    [(index_hash,)] = select(
        bench.cluster.shards[2], f"SELECT index_hash FROM {sql.index_table(index)}"
    )
    assert index_hash == hash_of_parts([third["name"].encode()])
    assert len(move.log()) == 2


@pytest.mark.parametrize("by", ["compared", "control"])
def test_no_target_is_told_by_an_old_map(
    bench: Bench, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target's checkpoint must not pass an event by a map that another one has replaced."""
    stale, move = bench.open_cluster(), HandMove(bench.cluster)
    move.to("CLOSED")
    one = bench.indexer(stale)
    told = {2: {Stream(1, 0): 50}}
    if by == "control":
        hold = gsi_rows.hold_checkpoints
        monkeypatch.setattr(apply, "hold_checkpoints", lambda *args, owner: hold(*args))
        apply.tell_targets(stale, stale.snapshot, told, one._pool)
    else:
        with pytest.raises(ShardUnavailable):
            apply.tell_targets(stale, stale.snapshot, told, one._pool)
    checkpoints = select(bench.cluster.shards[2], "SELECT seq FROM mynamo_checkpoint")
    assert checkpoints == (((50,),) if by == "control" else ())


def test_a_backfill_logs_rows_of_moving_slots_and_waits_while_they_are_stopped(
    bench: Bench, pool: ThreadPoolExecutor
) -> None:
    table, move = bench.cluster.table("orders"), HandMove(bench.cluster)
    items = [
        {"id": name, "at": "1", "colour": value(move, f"v{name}")}
        for name in names(table, lambda h: not move.has(h), 4)
    ]
    for item in items:
        bench.producer.put("orders", item)
    index = definitions.add_index(bench.cluster, "orders", BY_COLOUR)
    table = bench.cluster.table("orders")
    move.to("STOPPED")
    bench.cluster.refresh()
    for shard in bench.cluster.shards.values():
        working = pool.submit(backfill_chunk, bench.cluster, shard, index)
        assert waits(working)
        move.to("COPYING")
        assert not working.result(20).more
        move.to("STOPPED")
        bench.cluster.refresh()
    assert sorted(move.log()) == sorted(gsi_entry(table, "by_colour", item) for item in items)


def test_chunks_beside_a_move_are_small(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mynamo.writer.backfill.indexes.BESIDE_MOVES_ROWS", 2)
    table, move = bench.cluster.table("orders"), HandMove(bench.cluster)
    for name in names(table, lambda h: bench.cluster.shard_of(h).id == 1, 4):
        bench.producer.put("orders", {"id": name, "at": "1", "colour": name})
    index = definitions.add_index(bench.cluster, "orders", BY_COLOUR)
    move.to("COPYING")
    bench.cluster.refresh()
    done = backfill_chunk(bench.cluster, bench.cluster.shards[1], index)
    assert done.more
    move.to("CANCELLED")
    bench.cluster.refresh()
    assert not backfill_chunk(bench.cluster, bench.cluster.shards[1], index).more


def test_an_item_of_stopped_slots_is_not_re_emitted(bench: Bench, pool: ThreadPoolExecutor) -> None:
    """Its event would be one of the source's, behind those that the switch has waited for."""
    table, move = bench.cluster.table("orders"), HandMove(bench.cluster)
    (name,) = names(table, move.has)
    bench.producer.put("orders", {"id": name, "at": "1", "name": "n"})
    move.to("STOPPED")
    bench.cluster.refresh()
    row = table.key_of(to_stored({"id": name, "at": "1"}))
    working = pool.submit(re_emit.re_emit, bench.cluster, table, table.index("by_name"), row)
    assert waits(working)
    assert len(list(outbox_of(bench.cluster.shards[1], table))) == 1
    move.to("COPYING")
    assert working.result(20)


def test_repair_logs_an_index_row_that_it_deletes(bench: Bench) -> None:
    table, move = bench.cluster.table("orders"), HandMove(bench.cluster)
    index, item = table.index("by_name"), {"id": "gone", "at": "1", "name": value(move)}
    stored = to_stored(item)
    at, row = index.key_of(stored), table.key_of(stored)
    assert at is not None
    move.to("COPYING")
    bench.cluster.refresh()
    bench.cluster.shards[1].run(
        (f"INSERT INTO {sql.index_table(index)} VALUES (%s, %s, %s, %s, 1, %s)",
         (*at, *row, b"no item"))
    )  # fmt: skip
    shard = bench.cluster.shard_of(row.hash).id
    finding = Finding("ghost", index, row, shard, at, 1, stored, "made up")
    assert mend_module.mend(bench.cluster, table, finding) == mend_module.DELETED
    assert move.log() == [gsi_entry(table, "by_name", item)]


@pytest.mark.parametrize("kind", ["", "control"])
def test_an_indexer_begins_again_when_slots_have_another_owner(
    bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source misses an event, and the target is not told of it, when the process is held."""
    monkeypatch.setattr(event_batches, "tell_targets", lambda *_: None)
    if kind == "control":
        monkeypatch.setattr(PausedStreams, "check_owners", lambda *_: None)
    found = _missed_and_moved(bench, monkeypatch, "COPYING")
    assert found == (["second"] if kind == "control" else ["first", "second"])


@pytest.mark.parametrize("kind", ["", "control"])
def test_no_row_of_a_closed_slot_is_passed_over(
    bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its shard is away for this indexer: the target must not be told that it has it."""
    if kind == "control":
        monkeypatch.setattr(SlotMove, "stops_all", False)
    found = _missed_and_moved(bench, monkeypatch, "CLOSED")
    assert found == (["second"] if kind == "control" else ["first", "second"])


def _missed_and_moved(bench: Bench, monkeypatch: pytest.MonkeyPatch, state: Any) -> list[str]:
    """In a state of a move, the source misses an event with a row of the slots; then the target,
    which owns them by now, gets a later event of the stream. Returns what the index says of both in
    the end."""
    table, move = bench.cluster.table("orders"), HandMove(bench.cluster)
    one, back = bench.indexer(), set[int]()
    monkeypatch.setattr(one._away, "back", lambda: back)
    (item,) = names(table, lambda h: bench.cluster.shard_of(h).id == 2)
    every = (f"n{number}" for number in range(10_000))
    elsewhere = next(
        n for n in every if bench.cluster.shard_of(hash_of_parts([n.encode()])).id == 2
    )
    bench.producer.put("orders", {"id": item, "at": "1", "name": value(move), "is": "first"})
    one._away.note(1, ShardUnavailable("made up: it is away"))
    bench.publish()
    move.to(state)
    with ThreadPoolExecutor(1) as pool:
        stepping = pool.submit(one.step, 0)
        waits(stepping)
        if state != "CLOSED":
            move.to("CLOSED")
        move.to("DONE")
        stepping.result(20)
    bench.cluster.refresh()
    bench.producer.put("orders", {"id": item, "at": "2", "name": elsewhere, "is": "second"})
    bench.publish()
    one.step(0)
    one._away.ids.clear()
    back.add(1)
    for _ in range(4):
        one.step(0)
    index = table.index("by_name")
    rows = select(bench.cluster.shards[2], f"SELECT item FROM {sql.index_table(index)}")
    return sorted(load_item(data)["is"]["S"] for (data,) in rows)


# -- group commit ----------------------------------------------------------------------------------


def test_a_batch_that_a_guard_refuses_gives_one_answer_to_all_whose_map_is_old(
    cluster: Cluster, orders: Table, move: HandMove
) -> None:
    shard = cluster.shards[1]
    staying = names(orders, lambda h: cluster.shard_of(h).id == 1 and not move.has(h), 3)
    old = [[prepare(cluster, request("PUT", name), orders)] for name in staying[:2]]
    move.to("COPYING")
    cluster.refresh()
    new = [prepare(cluster, request("PUT", staying[2]), orders)]
    callers: list[group_commit._Entry] = [
        Entry(group_commit._Request(cluster, shard, writes, 0.0), 1, 1) for writes in (*old, new)
    ]
    group_commit._commit_batch(commit.lock_waits_of(shard), callers)
    assert [type(caller.answer) for caller in callers[:2]] == [commit.StaleDefinition] * 2
    assert callers[2].answer is None  # it goes by itself
    assert list(outbox_of(shard, orders)) == []


# -- transactions ----------------------------------------------------------------------------------


def test_transactions_over_several_shards_log_what_they_write(
    cluster: Cluster, orders: Table, move: HandMove
) -> None:
    decided, applied = names(orders, move.has, 2)
    (other,) = names(orders, lambda h: cluster.shard_of(h).id == 2)
    move.to("COPYING")
    cluster.refresh()
    transact(cluster, [request("PUT", decided), request("PUT", other)], token_of("a"))  # T4
    assert kinds(move) == [1, 3]
    transact(cluster, [request("PUT", other, a=1), request("PUT", applied)], token_of("b"))  # T5
    assert kinds(move) == [1, 3, 1]
    rows = [orders.key_of(to_stored({"id": name, "at": "1"})) for name in (decided, applied)]
    logged = [entry[3:5] for entry in move.log() if entry[0] == move_log.ITEM]
    assert logged == [(row.hash, row.sort) for row in rows]
    transact(cluster, [request("PUT", other, a=2), request("DELETE", f"{applied}-none")])
    assert len(move.log()) == 3
    assert damage(cluster, orders) == []


def switch(cluster: Cluster, table: Table, move: HandMove) -> None:
    """Close the slots, copy rows and intents with their marks, and open them on shard 2."""
    move.to("CLOSED")
    source, target = cluster.shards[1], cluster.shards[2]
    for name in (sql.main_table(table.id), "mynamo_intent"):
        for row in select(source, f"SELECT * FROM {name}"):
            key = RowKey(*row[:2]) if name != "mynamo_intent" else RowKey(*row[1:3])
            if move.has(key.hash):
                places = ", ".join(["%s"] * len(row))
                target.run((f"INSERT INTO {name} VALUES ({places})", row))
    move.to("DONE")


@pytest.mark.parametrize("kind", ["", "control"])
def test_what_is_committed_is_applied_where_the_items_have_moved(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    move: HandMove,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T5 behind the switch."""
    (moving,) = names(orders, move.has)
    (other,) = names(orders, lambda h: cluster.shard_of(h).id == 2)
    producer.put("orders", {"id": moving, "at": "1", "price": 1})
    apply_on = shard_steps.apply_on

    def late(cluster_: Cluster, shard: Any, id_: bytes, writes: Any, *more: Any) -> Any:
        switch(cluster, orders, move)
        if kind == "control":
            move.raise_guards()
            cluster.refresh()
            return apply_on(cluster_, shard, id_, (), *more)
        return apply_on(cluster_, shard, id_, writes, *more)

    monkeypatch.setattr(across_shards, "apply_on", late)
    done = transact(cluster, [request("PUT", other), request("PUT", moving, price=2)])
    item = Reader(cluster).get("orders", {"id": moving, "at": "1"})
    assert item is not None
    assert item["price"] == (1 if kind == "control" else 2)
    assert done.shards == [2, 2]
    if not kind:
        [(version,)] = select(
            cluster.shards[2],
            f"SELECT version FROM {sql.main_table(orders.id)} WHERE hash = %s",
            key_of(orders, moving),
        )
        assert done.done[1].version == version


@pytest.mark.parametrize("is_moved", [True, False], ids=["", "control"])
def test_what_is_left_of_intents_on_the_source_is_left_alone(
    cluster: Cluster,
    orders: Table,
    move: HandMove,
    is_moved: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What S has of them is not applied there, nor released, and no sweeper asks for it."""
    monkeypatch.setattr(sweeper, "SEEN_FOR", 0.0)
    (moving,) = names(orders, move.has)
    one = place(cluster, orders, {"id": moving, "at": "1"}, decider=2, generation=1)
    decide(cluster.shards[2], one.transaction_id, Decision.COMMITTED)
    if is_moved:
        switch(cluster, orders, move)
        cluster.refresh()
    asked: list[int] = []

    def noted(cluster_: Cluster, shard: Any, *more: Any) -> Any:
        asked.append(shard.id)
        return resolver.resolve(cluster_, shard, *more)

    monkeypatch.setattr(sweeper, "resolve", noted)
    Sweeper(cluster).round()
    assert asked == ([2] if is_moved else [1])
    left = [len(select(s, "SELECT 1 FROM mynamo_intent")) for s in cluster.shards.values()]
    assert left == ([1, 0] if is_moved else [0, 0])
    if is_moved:
        assert shard_steps.apply_on(cluster, cluster.shards[1], one.transaction_id) == []
        shard_steps.release_on(cluster, cluster.shards[1], one.transaction_id)
        assert len(select(cluster.shards[1], "SELECT 1 FROM mynamo_intent")) == 1
    assert Reader(cluster).get("orders", {"id": moving, "at": "1"}) is not None


@pytest.mark.parametrize("is_own", [True, False], ids=["own", "another's"])
@pytest.mark.parametrize("state", ["STOPPED", "CLOSED"])
def test_intents_on_stopped_slots_are_applied_once_they_go_on(
    cluster: Cluster,
    orders: Table,
    move: HandMove,
    pool: ThreadPoolExecutor,
    state: Any,
    is_own: bool,
) -> None:
    (moving,) = names(orders, move.has)
    one = place(cluster, orders, {"id": moving, "at": "1"}, decider=2, generation=1)
    own = [prepare(cluster, request("PUT", moving), orders)] if is_own else []
    move.to(state)
    cluster.refresh()
    working = pool.submit(shard_steps.apply_on, cluster, cluster.shards[1], one.transaction_id, own)
    assert waits(working)
    assert len(select(cluster.shards[1], "SELECT 1 FROM mynamo_intent")) == 1
    move.to("COPYING")
    assert len(working.result(20)) == 1
    assert kinds(move) == [1]


# -- request tokens --------------------------------------------------------------------------------


def test_an_attempt_goes_on_behind_a_switch_if_it_began_in_time(
    cluster: Cluster, orders: Table, move: HandMove
) -> None:
    (moving,) = names(orders, move.has)

    def write() -> Any:
        return prepare(cluster, request("PUT", moving), orders)

    calls = [transact_module._Call(cluster, token_of("a")) for _ in range(4)]
    [began] = {call.generation_on(write()) for call in calls}
    move.to("DONE")
    cluster.refresh()
    with pytest.raises(ShardUnavailable, match="moved"):
        calls[0].generation_on(write())
    for source in (began, began + 1):
        move.keep_generations(source, 40)
        cluster.refresh()
        assert calls[source - began].generation_on(write()) == 40
        assert calls[source - began].generation_on(write()) == 40
    move.keep_generations(began + 2, 40)
    cluster.refresh()
    with pytest.raises(WriteOutcomeUnknown):
        calls[2].generation_on(write())
    move.to("ENDED")
    move.keep_generations(began, 41)
    cluster.refresh()
    assert calls[3].generation_on(write()) == 41


def test_a_copied_token_does_not_age_before_the_switch(cluster: Cluster, orders: Table) -> None:
    shard = cluster.shards[2]
    for number, generation in enumerate((1, 97, 98, 2**63)):
        shard.run(
            ("INSERT INTO mynamo_token (token, generation, slot, request) VALUES (%s, %s, 1, %s)",
             (bytes([number]) * 16, generation, bytes(16)))
        )  # fmt: skip
    known = request_tokens.Generation(100, (98,))
    shard.run(request_tokens.forget_tokens(known, 100))
    left = select(shard, "SELECT generation FROM mynamo_token ORDER BY 1")
    assert left == ((98,), (2**63,))
