"""The indexer on real servers of both engines, with the log in memory: step by step."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest

from mynamo.catalog import definitions, sql
from mynamo.catalog.cluster import Cluster, Owner
from mynamo.catalog.gsi_rows import (
    GsiRow,
    RowChange,
    delete_row,
    lock_checkpoints,
    move_checkpoints,
    next_published,
)
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.snapshot import Snapshot
from mynamo.errors import ConsistencyTimeout, NewerFormat, ShardUnavailable, TableNotFound
from mynamo.gsi_indexer import Indexer, apply, arrivals, event_batches, indexer, lost_events
from mynamo.gsi_indexer.apply import Effect
from mynamo.gsi_indexer.arrivals import Arrival, Positions, Stream
from mynamo.gsi_indexer.lost_events import publish_again
from mynamo.gsi_indexer.paused import PausedStreams
from mynamo.reader import Reader, read_page, waiting
from mynamo.runtime import deadlines
from mynamo.schemas import validation
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.events import load_event
from mynamo.schemas.items import to_stored
from mynamo.schemas.table import GlobalIndexSchema
from mynamo.writer.backfill import re_emit
from mynamo.writer.backfill.indexes import backfill_chunk
from tests.comparing import gsi_damage, gsi_rows
from tests.fake_log import Bench, waiting_events
from tests.waiting import eventually

THINGS = {
    "name": "things",
    "hash_key": "id",
    "sort_key": "part:N",
    "global_indexes": [
        {"name": "by_group", "hash_key": "group"},
        {"name": "by_price", "hash_key": "group", "sort_key": "price:N",
         "projection": {"type": "KEYS_ONLY"}},
        {"name": "by_note", "hash_key": "note", "sort_key": "part:N",
         "projection": {"type": "INCLUDE", "attributes": ["group"]}},
    ],
}  # fmt: skip


@pytest.fixture
def bench(engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A cluster with the table `things`."""
    bench = Bench(engine_config, monkeypatch)
    bench.create(THINGS)
    yield bench
    bench.close()


def thing(key: str, **others: Any) -> dict[str, Any]:
    return {"id": key, "part": 1, **others}


def rows_of(bench: Bench, name: str) -> list[dict[str, Any]]:
    """What the items in an index say, in the order of the index's keys."""
    index = bench.cluster.table("things").index(name)
    found = gsi_rows(bench.cluster, index)
    return [orjson.loads(found[key][1]) for key in sorted(found)]


def test_each_kind_of_write_reaches_every_index(bench: Bench) -> None:
    put, one = bench.producer.put, bench.indexer()

    def check(groups: list[str]) -> None:
        bench.catch_up(one)
        assert gsi_damage(bench.cluster, "things") == []
        assert sorted(row["group"]["S"] for row in rows_of(bench, "by_group")) == groups

    put("things", thing("a", group="x", price=1, note="n"))
    check(["x"])
    put("things", thing("a", group="x", price=1, note="n"))  # the same again
    check(["x"])
    put("things", thing("a", group="y", price=2, note="n"))  # moves, perhaps to another shard
    check(["y"])
    for group in ("z", "y", "z", "y"):  # changed and changed back, in one batch
        put("things", thing("a", group=group, price=2, note="n"))
    check(["y"])
    put("things", thing("b", group="y", price=2, note="n"))  # equal index keys, other item
    check(["y", "y"])
    put("things", thing("b", note="n"))  # sparse
    check(["y"])
    bench.producer.update("things", {"id": "b", "part": 1}, set={"group": "x"})
    check(["x", "y"])
    bench.producer.delete("things", {"id": "a", "part": 1})
    check(["x"])
    put("things", thing("a", group="x"))  # created again
    check(["x", "x"])
    put("things", thing("c", group="x"))  # here and gone in one batch
    bench.producer.delete("things", {"id": "c", "part": 1})
    check(["x", "x"])


def test_rows_lie_on_both_shards(bench: Bench) -> None:
    for number in range(12):
        bench.producer.put("things", thing("a", group=f"g{number}"))
        bench.producer.put("things", thing(f"b{number}", group=f"g{number}"))
    bench.catch_up(bench.indexer())
    table = sql.index_table(bench.cluster.table("things").index("by_group"))
    counts = [
        shard.run((f"SELECT COUNT(*) FROM {table}", ()))[0].rows[0][0]
        for shard in bench.cluster.shards.values()
    ]
    assert min(counts) > 0
    assert sum(counts) == 13
    assert gsi_damage(bench.cluster, "things") == []


def test_a_table_may_have_twenty_indexes(bench: Bench) -> None:
    indexes = [{"name": f"by_{n}", "hash_key": f"k{n}"} for n in range(20)]
    bench.create({"name": "wide", "hash_key": "id", "global_indexes": indexes})
    one, choice = bench.indexer(), random.Random(20)
    for _ in range(2):
        for key in range(8):
            keys = {f"k{n}": choice.choice("xyz") for n in range(20) if choice.random() < 0.8}
            bench.producer.put("wide", {"id": str(key), **keys})
        bench.catch_up(one)
        assert gsi_damage(bench.cluster, "wide") == []


def test_large_items_are_applied_in_several_round_trips(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "STATEMENT_BYTES", 100_000)
    monkeypatch.setattr(event_batches, "BATCH_BYTES", 1_000_000)
    for number in range(12):
        bench.producer.put("things", thing(f"a{number}", group="x", pad='"' * 100_000))
    bench.catch_up(bench.indexer())
    assert gsi_damage(bench.cluster, "things") == []


def moves(bench: Bench, groups: str = "xyxz") -> None:
    """Let an item wander through the index, and others beside it."""
    for number, group in enumerate(groups):
        for key in "abc":
            bench.producer.put("things", thing(key, group=group, price=number))
    bench.publish()


def test_repeated_messages_change_nothing(bench: Bench) -> None:
    moves(bench)
    one = bench.indexer()
    bench.catch_up(one)
    for shard in bench.cluster.shards.values():  # the relays publish everything again
        shard.run(("UPDATE mynamo_relay SET published_seq = 0", ()))
    before = sum(map(len, bench.log.records.values()))
    bench.publish()
    assert sum(map(len, bench.log.records.values())) > before
    one.step(0)
    bench.consumers[-1].rebalance()
    one.step(0)
    assert gsi_damage(bench.cluster, "things") == []


def take_and_stop(bench: Bench, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """An indexer takes what is published and is stopped before it applies it.

    Returns:
        What it does when it wakes up.
    """
    taken: list[tuple[Cluster, Snapshot, list[Effect], Executor]] = []

    def stop(*arguments: Any, **_: Any) -> None:
        taken.append(arguments)
        raise ShardUnavailable("stopped")

    zombie = bench.indexer()
    with patch.context() as stopped:
        stopped.setattr(event_batches, "apply_effects", stop)
        with pytest.raises(ShardUnavailable):
            zombie.step(0)
    ((cluster, slots, batch, pool),) = taken

    def wake() -> None:
        apply.apply_effects(cluster, slots, batch, pool, due={}, own={})
        apply.record_progress(cluster, {e.stream: e.sequence for e in batch}, pool)

    return wake


def test_a_zombie_that_wakes_up_late_does_no_harm(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves(bench, "xy")
    wake = take_and_stop(bench, monkeypatch)
    moves(bench, "xz")
    bench.catch_up(bench.indexer())
    wake()
    assert gsi_damage(bench.cluster, "things") == []


def test_without_checkpoints_the_zombie_does_harm(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves(bench, "xy")
    wake = take_and_stop(bench, monkeypatch)
    moves(bench, "xz")
    bench.catch_up(bench.indexer())
    monkeypatch.setattr(apply, "is_fresh", lambda effect, contained: True)
    wake()
    damage = gsi_damage(bench.cluster, "things")
    assert any("ghost" in line for line in damage)


def test_without_deletes_old_rows_are_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    changes_of = apply.changes_of
    monkeypatch.setattr(
        event_batches,
        "changes_of",
        lambda e, t: [c for c in changes_of(e, t) if c.item is not None],
    )
    moves(bench)
    bench.catch_up(bench.indexer())
    assert any("ghost" in line for line in gsi_damage(bench.cluster, "things"))


def die_before_shard_2(dying: pytest.MonkeyPatch) -> None:
    apply_on = apply.apply_on_shard

    def first_only(owner: Owner, *rest: Any) -> None:
        if owner.shard.id == 2:
            raise ShardUnavailable("died")
        apply_on(owner, *rest)

    dying.setattr(apply, "apply_on_shard", first_only)


@pytest.mark.parametrize("broken", [False, True])
def test_an_indexer_that_died_between_two_shards_is_followed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    """It applied to one shard, died, and another one starts from the recorded progress."""
    for number in range(20):
        bench.producer.put("things", thing(f"a{number}", group=f"g{number}"))
    bench.publish()
    with monkeypatch.context() as dying:
        if broken:  # as if progress could go with the rows that are on the stream's own shard
            dying.setattr(apply, "progress_at_home", lambda progress, _: progress)
        die_before_shard_2(dying)
        bench.indexer().step(0)
    assert waiting_events(bench.cluster)
    bench.catch_up(bench.indexer())
    assert bool(gsi_damage(bench.cluster, "things")) is broken


def test_a_zombie_that_was_first_is_overtaken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It applied to one shard only, and newer events came before another one began."""
    moves(bench)
    with monkeypatch.context() as dying:
        die_before_shard_2(dying)
        bench.indexer().step(0)
    assert waiting_events(bench.cluster)
    moves(bench, "zyx")
    bench.catch_up(bench.indexer())
    assert gsi_damage(bench.cluster, "things") == []


def test_a_shard_that_does_not_answer_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves(bench)
    bench.publish()
    one = bench.indexer()
    for module, name in (
        (apply, "apply_on_shard"),
        (apply, "_record"),
        (indexer, "home_progress"),
    ):
        with monkeypatch.context() as broken:
            broken.setattr(module, name, _unavailable)
            bench.consumers[-1].rebalance()
            steps(one, 3)  # progress may be recorded in the second
    catch_up(bench, one)
    assert gsi_damage(bench.cluster, "things") == []


def test_partitions_are_changed_for_others_by_a_slow_rebalance(bench: Bench) -> None:
    """It takes several polls, in which the old ones are still there."""
    one, consumer = bench.indexer(), bench.consumers[-1]
    for given in ([0, 1], [2, 3]):
        consumer.leave()
        one.step(0)
        consumer.join(given)
        moves(bench)
        one.step(0)
    assert {stream.partition for stream in one._positions.applied} == {2, 3}
    consumer.join(range(4))
    bench.catch_up(one)
    assert gsi_damage(bench.cluster, "things") == []


def catch_up(bench: Bench, one: Indexer) -> None:
    """As `Bench.catch_up`, when shards have yet to be found to be back."""

    def is_done() -> bool:
        bench.publish()
        one.step(0)
        return not waiting_events(bench.cluster)

    eventually(is_done, 60)


def from_shard(bench: Bench, count: int = 40) -> dict[int, list[str]]:
    """Names of items by the shard that they are on."""
    table = bench.cluster.table("things")
    names: dict[int, list[str]] = {1: [], 2: []}
    for number in range(count):
        key = table.key_of(to_stored(thing(f"n{number}")))
        names[bench.cluster.shard_of(key.hash).id].append(f"n{number}")
    return names


def groups_on(bench: Bench, shard_id: int) -> list[str]:
    """Names of groups whose rows in `by_group` are on a shard."""
    index = bench.cluster.table("things").index("by_group")
    names = []
    for number in range(60):
        place = index.key_of(to_stored(thing("a", group=f"g{number}")))
        assert place is not None
        if bench.cluster.shard_of(place.hash).id == shard_id:
            names.append(f"g{number}")
    return names


def shown(bench: Bench) -> set[tuple[str, str]]:
    """The items whose rows on shard 1 the index has, and their turns."""
    table = sql.index_table(bench.cluster.table("things").index("by_group"))
    rows = bench.cluster.shards[1].run((f"SELECT item FROM {table}", ()))[0].rows
    items = [orjson.loads(row[0]) for row in rows]
    return {(item["id"]["S"], item.get("turn", {"N": "0"})["N"]) for item in items}


def whole_batches(broken: pytest.MonkeyPatch) -> None:
    """A shard that is away ends the batch."""
    failing = apply._side_by_side

    def whole(*arguments: Any) -> None:
        try:
            failing(*arguments)
        except apply.ShardsAway as failure:
            raise ShardUnavailable(str(failure)) from None

    broken.setattr(apply, "_side_by_side", whole)


def whole_streams(broken: pytest.MonkeyPatch) -> None:
    """Once a target misses an event of a stream, all targets do."""
    passes_over = PausedStreams.passes_over

    def whole(paused: PausedStreams, arrival: Arrival, target: int, away: Collection[int]) -> bool:
        waits = arrival.stream in paused.missed
        return passes_over(paused, arrival, target, {target} if waits else away)

    broken.setattr(PausedStreams, "passes_over", whole)


@pytest.mark.parametrize("control", [None, whole_batches, whole_streams])
def test_a_shard_that_is_away_holds_up_its_own_rows_alone(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    control: Callable[[pytest.MonkeyPatch], None] | None,
) -> None:
    """Shard 2 is away. In each stream of shard 1 are changes for both shards, first one for shard
    2; shard 2's have rows on shard 1 alone."""
    names, here, away = from_shard(bench), groups_on(bench, 1), groups_on(bench, 2)
    waiting, others = names[1][::2], names[1][1::2] + names[2]
    one = bench.indexer()
    steps(one, 1)
    with monkeypatch.context() as broken:
        die_before_shard_2(broken)
        if control is not None:
            control(broken)
        for turn in range(2):  # the second time it is known to be away
            for name in waiting:
                bench.producer.put("things", thing(name, group=away[turn]))
            for name in others:
                bench.producer.put("things", thing(name, group=here[turn], turn=turn))
            bench.publish()
            known = sum(one._positions.applied.values())
            for _ in range(3):
                with suppress(ShardUnavailable):
                    one.step(0)
        go_on = sum(one._positions.applied.values()) > known
        assert (go_on and shown(bench) == {(name, "1") for name in others}) is (control is None)
    if control is None:
        catch_up(bench, one)
        assert gsi_damage(bench.cluster, "things") == []


@pytest.mark.parametrize("control", [None, "checkpoints", "readers"])
def test_a_query_with_a_token_does_not_wait_for_a_shard_that_it_does_not_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, control: str | None
) -> None:
    """Nor does it for a write without a row in the index. The controls leave out what an indexer
    tells the other targets, and that readers ask them."""
    names, here, away = from_shard(bench), groups_on(bench, 1), groups_on(bench, 2)
    one, reader = bench.indexer(), Reader(bench.cluster)
    steps(one, 1)
    if control == "checkpoints":
        monkeypatch.setattr(event_batches, "tell_targets", lambda *_: None)
    elif control == "readers":
        monkeypatch.setattr(waiting, "_missing", lambda pending, _: pending)
    die_before_shard_2(monkeypatch)
    for name in names[1][:8]:  # in each stream
        bench.producer.put("things", thing(name, group=away[0]))
    receipts = [bench.producer.put("things", thing(n, group=here[0])) for n in names[1][8:12]]
    receipts += [bench.producer.put("things", thing(n)) for n in names[1][12:16]]
    bench.publish()
    steps(one, 2)
    if control is None:
        found = reader.query("things", here[0], index="by_group", after=receipts, timeout=20).items
        assert {item["id"] for item in found} == set(names[1][8:12])
    else:
        with pytest.raises(ConsistencyTimeout):
            reader.query("things", here[0], index="by_group", after=receipts, timeout=1)
    with pytest.raises(ConsistencyTimeout):
        reader.query("things", away[0], index="by_group", after=receipts, timeout=1)
    with pytest.raises(ConsistencyTimeout):
        reader.scan("things", index="by_group", after=receipts, timeout=1)


def test_a_look_that_the_end_of_the_call_cuts_off_says_that_the_index_is_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long what came before the first look has taken."""
    receipt = bench.producer.put("things", thing(from_shard(bench)[1][0]))
    wait = read_page._wait

    def late(*arguments: Any) -> None:
        time.sleep(0.2)
        wait(*arguments)

    def cut_off(*_: Any) -> Any:
        time.sleep(deadlines.left(5.0))
        raise ShardUnavailable("the time of the call is over")

    monkeypatch.setattr(read_page, "_wait", late)
    monkeypatch.setattr(waiting, "_pending", cut_off)
    with pytest.raises(ConsistencyTimeout):
        Reader(bench.cluster).query("things", "g", index="by_group", after=[receipt], timeout=0.5)


def test_a_shard_that_lacks_an_indexs_table_holds_up_its_own_rows_alone(bench: Bench) -> None:
    """As one that was restored from a backup that is older than the index, until it is mended."""
    names, here, there = from_shard(bench), groups_on(bench, 1), groups_on(bench, 2)
    one = bench.indexer()
    steps(one, 1)
    table = sql.index_table(bench.cluster.table("things").index("by_group"))
    shard = bench.cluster.shards[2]
    shard.run((f"RENAME TABLE {table} TO away", ()))
    for number, name in enumerate(names[1]):
        bench.producer.put("things", thing(name, group=(here if number % 2 else there)[0]))
    bench.publish()
    steps(one, 3)
    assert shown(bench) == {(name, "0") for name in names[1][1::2]}
    shard.run((f"RENAME TABLE away TO {table}", ()))
    catch_up(bench, one)
    assert gsi_damage(bench.cluster, "things") == []


@pytest.mark.parametrize("control", [None, "positions", "order"])
def test_a_target_gets_what_it_missed_in_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, control: str | None
) -> None:
    """The controls leave the streams' positions where they are, or do not read again either."""
    names, groups = from_shard(bench), groups_on(bench, 2)
    if control is not None:
        monkeypatch.setattr(Positions, "set_back", lambda *_: None)
    if control == "order":
        monkeypatch.setattr(PausedStreams, "resume", lossy(PausedStreams.resume))
    one = bench.indexer()
    steps(one, 1)
    with monkeypatch.context() as broken:
        die_before_shard_2(broken)
        for group in groups[:2]:
            for name in names[1]:
                bench.producer.put("things", thing(name, group=group))
            bench.publish()
            steps(one, 2)
    eventually(lambda: one.step(0) >= 0 and not one._away.ids, 60)
    for name in names[1][::2]:
        bench.producer.put("things", thing(name, group=groups[2]))
    bench.publish()
    steps(one, 6)
    eventually(lambda: one.step(0) >= 0 and not one._away.ids, 60)
    assert (gsi_damage(bench.cluster, "things") == []) is (control is None)


def progress_of_1(bench: Bench) -> int:
    return sum(applied for _, applied in indexer.home_progress(bench.cluster, 1))


@pytest.mark.parametrize("careful", [True, False])
def test_no_offset_passes_an_event_that_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, careful: bool
) -> None:
    """The next owner of the partitions begins at the offsets that were committed. The control
    commits all offsets, and then only the search for lost events finds what was passed over."""
    names, away = from_shard(bench), groups_on(bench, 2)
    monkeypatch.setattr(indexer, "COMMIT_EVERY", 0.0)
    monkeypatch.setattr(lost_events.Watch, "look", lambda *_: None)
    with monkeypatch.context() as broken:
        die_before_shard_2(broken)
        if not careful:
            broken.setattr(Indexer, "_offsets", lambda _: None)
        for name in names[1]:
            bench.producer.put("things", thing(name, group=away[0]))
        bench.publish()
        steps(bench.indexer(), 4)
    after = bench.indexer()
    bench.consumers[-1].begin_at(bench.consumers[-2].committed)
    for _ in range(4):
        after.step(0)
    assert (waiting_events(bench.cluster) == 0) is careful


@pytest.mark.parametrize("coming_back", [True, False])
def test_what_was_passed_over_is_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, coming_back: bool
) -> None:
    """It is not taken for lost, and it need not be published again; the control does not seek."""
    names, away = from_shard(bench), groups_on(bench, 2)
    asked: list[int] = []
    monkeypatch.setattr(lost_events, "publish_again", lambda _, number: asked.append(number))
    if not coming_back:
        monkeypatch.setattr(PausedStreams, "resume", lossy(PausedStreams.resume))
    one = bench.indexer()
    with monkeypatch.context() as broken:
        die_before_shard_2(broken)
        for name in names[1]:
            bench.producer.put("things", thing(name, group=away[0]))
        bench.publish()
        steps(one, 6)
        assert asked == []
    eventually(lambda: one.step(0) >= 0 and not one._away.ids, 60)
    steps(one, 6)
    assert (waiting_events(bench.cluster) == 0) is coming_back
    assert (asked == []) is coming_back


def lossy(resume: Callable[..., Any]) -> Callable[..., Any]:
    def without_offsets(*arguments: Any) -> dict[int, int]:
        resume(*arguments)
        return {}

    return without_offsets


def test_a_source_that_is_away_keeps_others_progress_from_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its progress cannot be recorded and is kept; the others' is recorded."""
    names, here = from_shard(bench), groups_on(bench, 1)
    one = bench.indexer()
    one.step(0)
    record = apply._record

    def but_2(shard: DynamoDBShard, reached: Any) -> None:
        if shard.id == 2:
            raise ShardUnavailable("gone")
        record(shard, reached)

    with monkeypatch.context() as broken:
        broken.setattr(apply, "_record", but_2)
        for name in (*names[1], *names[2]):
            bench.producer.put("things", thing(name, group=here[0]))
        bench.publish()
        steps(one, 4)
        assert shown(bench) == {(name, "0") for name in (*names[1], *names[2])}
        assert {stream.shard for stream in one._due} == {2}
        assert not any(dict(indexer.home_progress(bench.cluster, 2)).values())
        assert any(dict(indexer.home_progress(bench.cluster, 1)).values())
    catch_up(bench, one)
    assert one._due == {}
    assert gsi_damage(bench.cluster, "things") == []


def steps(one: Indexer, times: int) -> None:
    for _ in range(times):
        one.step(0)


def _unavailable(*_: object, **__: object) -> None:
    raise ShardUnavailable("gone")


def test_what_the_log_lost_is_published_again(bench: Bench) -> None:
    one = bench.indexer()
    moves(bench, "xy")
    bench.catch_up(one)
    moves(bench, "xz")
    bench.log.wipe()  # published, and never read
    bench.catch_up(one)
    assert gsi_damage(bench.cluster, "things") == []


def lose_one(bench: Bench) -> tuple[dict[int, list[int]], DynamoDBShard]:
    """Many events are applied; then the log loses one of an idle stream, and a few come after it.

    Returns:
        The numbers that are sent again, by shard; and the shard whose event was lost.
    """
    one = bench.indexer()
    idle = thing("idle", group="x")
    table = bench.cluster.table("things")
    slot = table.key_of(to_stored(idle)).slot
    shard = bench.cluster.shard_of(table.key_of(to_stored(idle)).hash)
    part = bench.cluster.partition_of(table.id, slot)
    for number in range(40):
        bench.producer.put("things", thing(f"early{number}", group="x"))
    bench.catch_up(one)
    bench.producer.put("things", idle)
    bench.publish()
    [*kept, _] = bench.log.records[part]
    bench.log.records[part] = kept
    for number in range(3):
        bench.producer.put("things", thing(f"late{number}", group="x"))
    bench.publish()
    before = {number: len(records) for number, records in bench.log.records.items()}
    bench.catch_up(one)
    again: dict[int, list[int]] = {}
    for number, records in bench.log.records.items():
        for record in records[before.get(number, 0) :]:
            event = load_event(record.value)
            again.setdefault(event.shard, []).append(event.sequence)
    assert gsi_damage(bench.cluster, "things") == []
    return again, shard


def test_one_lost_event_is_published_again_with_what_came_after_it_and_nothing_else(
    bench: Bench,
) -> None:
    again, shard = lose_one(bench)
    assert set(again) == {shard.id}
    assert 1 <= len(again[shard.id]) <= 1 + 3


def test_control_from_an_old_position_on_nearly_all_is_published_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the last applied event of a stream that was idle for long would be."""
    monkeypatch.setattr(lost_events, "publish_again", lambda shard, _: publish_again(shard, 0))
    again, shard = lose_one(bench)
    assert len(again[shard.id]) > 10


@pytest.mark.parametrize("waits", [True, False])
def test_an_event_of_a_newer_format_waits_for_an_upgrade(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """An old indexer applies what comes before it and what is in other partitions, and makes no
    dead letter of it; the control does."""
    one = bench.indexer()
    for number in range(20):
        bench.producer.put("things", thing(f"n{number}", group="x"))
    bench.publish()
    records = max(bench.log.records.values(), key=len)
    old, middle = b'"format":1', len(records) // 2
    records[middle] = replace(
        records[middle], value=records[middle].value.replace(old, b'"format":2')
    )
    if not waits:
        monkeypatch.setattr(validation, "_check_format", lambda *_: None)
        one.step(0)
        assert len(bench.log.dead_letters) == 1
        return
    for _ in range(2):
        with pytest.raises(NewerFormat, match=r"a change event of format 2.*upgrade"):
            one.step(0)
    index = bench.cluster.table("things").index("by_group")
    assert len(gsi_rows(bench.cluster, index)) == 20 - (len(records) - middle)
    monkeypatch.setattr(
        arrivals, "read_event", lambda message: load_event(message.replace(b'"format":2', old))
    )
    bench.catch_up(one)
    assert bench.log.dead_letters == []
    assert gsi_damage(bench.cluster, "things") == []


def test_later_events_wait_for_what_the_log_lost(bench: Bench) -> None:
    one = bench.indexer()
    moves(bench, "xy")
    bench.log.wipe()
    moves(bench, "xz")  # these arrive
    one.step(0)
    bench.catch_up(one)
    assert gsi_damage(bench.cluster, "things") == []


def test_without_gap_detection_what_the_log_lost_is_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "is_gap", lambda arrival, position: False)
    one = bench.indexer()
    moves(bench, "xy")
    bench.producer.put("things", thing("lost", group="x"))
    bench.publish()
    bench.log.wipe()
    for number in range(16):  # in every partition
        bench.producer.put("things", thing(f"other{number}", group="x"))
    bench.catch_up(one)
    assert any("missing" in line for line in gsi_damage(bench.cluster, "things"))


def test_nothing_is_asked_for_while_the_log_is_being_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow consumer is not a loss."""
    asked: list[int] = []
    monkeypatch.setattr(
        lost_events, "publish_again", lambda shard, sequence: asked.append(sequence)
    )
    moves(bench)
    one = bench.indexer()
    monkeypatch.setattr(bench.consumers[-1], "poll", lambda timeout_ms: {})
    for _ in range(4):
        one.step(0)
    assert asked == []
    for partition in bench.consumers[
        -1
    ].assignment():  # now the log says that it was read to the end
        bench.consumers[-1].seek(partition, 1000)
    one.step(0)
    assert asked


def test_progress_goes_with_rows_or_is_recorded_when_no_more_come(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "COMMIT_EVERY", 3600.0)  # which records progress, too
    one = bench.indexer()
    bench.producer.put("things", thing("a", group="x"))
    bench.publish()
    one.step(0)
    assert waiting_events(bench.cluster) == 0  # alone, it does not wait for a later batch

    recorded: list[object] = []
    record = apply.record_progress

    def noted(*arguments: Any) -> None:
        recorded.append(arguments)
        record(*arguments)

    monkeypatch.setattr(indexer, "record_progress", noted)

    def many(prefix: str) -> None:
        """Apply 20 events in one step, which records no progress by itself."""
        for attempt in range(20):
            for number in range(20):
                item = thing(f"{prefix}{attempt}-{number}", group=f"g{number}")
                bench.producer.put("things", item)
            bench.publish()
            before = len(recorded)
            if one.step(0) == 20:
                assert len(recorded) == before
                return
            while waiting_events(bench.cluster):  # they did not come together
                one.step(0)
        pytest.fail("20 events never came together")

    many("b")
    assert (after_one := waiting_events(bench.cluster)) > 0
    many("c")
    assert waiting_events(bench.cluster) < after_one + 20
    one.step(0)
    assert waiting_events(bench.cluster) == 0
    assert gsi_damage(bench.cluster, "things") == []


@pytest.mark.parametrize("broken", [False, True])
def test_offsets_are_not_committed_before_progress_is_recorded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    one = bench.indexer()
    for number in range(20):
        bench.producer.put("things", thing(f"a{number}", group=f"g{number}"))
    bench.publish()
    waiting = []
    monkeypatch.setattr(
        bench.consumers[-1], "commit_async", lambda _: waiting.append(waiting_events(bench.cluster))
    )
    if broken:
        monkeypatch.setattr(indexer, "record_progress", lambda *_: None)
    monkeypatch.setattr(indexer, "COMMIT_EVERY", 0.0)
    one.step(0)
    assert [some > 0 for some in waiting] == [broken]


@pytest.mark.parametrize("broken", [False, True])
def test_progress_does_not_pass_an_event_whose_dead_letter_is_not_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    bench.producer.put("things", thing("a", group="x"))
    bench.publish()
    partition, (record,) = bench.log.records.popitem()
    bench.log.append(partition, b"\xff", record.headers)
    if broken:  # as if a dead letter came after its batch
        written = event_batches.BatchWriter.write
        lost = event_batches.Written([], {})
        monkeypatch.setattr(
            event_batches.BatchWriter,
            "write",
            lambda *args: lost if written(*args).dead_letters else None,
        )
    monkeypatch.setattr(bench.log, "send", _unavailable)
    one = bench.indexer()
    with suppress(ShardUnavailable):
        one.step(0)
    assert (waiting_events(bench.cluster) == 0) is broken


def test_damaged_messages_are_put_aside(bench: Bench) -> None:
    one = bench.indexer()
    bench.log.append(0, b"not JSON")
    bench.log.append(1, b"{}", [("shard", b"?"), ("sequence", b"1")])
    bench.producer.put("things", thing("a", group="x"))
    bench.catch_up(one)
    assert gsi_damage(bench.cluster, "things") == []
    assert [
        (dead_letter.letter_id, dead_letter.message) for dead_letter in bench.log.dead_letters
    ] == [
        (f"{bench.log.config.changes_topic}/0/0", b"not JSON"),
        (f"{bench.log.config.changes_topic}/1/0", b"{}"),
    ]


@pytest.mark.parametrize("flaw", ["format", "json", "keys", "shard"])
def test_a_poisonous_event_does_not_stop_its_stream(bench: Bench, flaw: str) -> None:
    put = bench.producer.put
    put("things", thing("a", group="x"))
    put("things", thing("a", group="y"))
    bench.publish()
    partition, records = next((p, r) for p, r in bench.log.records.items() if len(r) == 2)
    event = orjson.loads(records[0].value)
    event |= {"format": {"format": 0}, "keys": {"keys": {}}, "shard": {"shard": 77}}.get(flaw, {})
    value = b"\xff" if flaw == "json" else orjson.dumps(event)
    bench.log.wipe()
    bench.log.append(partition, value, records[0].headers)
    bench.log.append(partition, records[1].value, records[1].headers)
    put("things", thing("b", group="x"))
    bench.catch_up(bench.indexer())
    assert [dead_letter.message for dead_letter in bench.log.dead_letters] == [value]
    # Of "a" only its second event was applied, which states it whole.
    assert gsi_damage(bench.cluster, "things") == []


def refuse_poison(bench: Bench) -> None:
    """Have MySQL refuse some rows."""
    index = bench.cluster.table("things").index("by_group")
    for shard in bench.cluster.shards.values():
        shard.run(
            (f"ALTER TABLE {sql.index_table(index)} ADD CONSTRAINT no_poison"
             " CHECK (item NOT LIKE '%%poison%%')", ("",)[:0])
        )  # fmt: skip


def test_an_event_that_mysql_refuses_is_found_and_put_aside(bench: Bench) -> None:
    refuse_poison(bench)
    keys = [f"a{number}" for number in range(20)]
    for key in keys:
        bench.producer.put("things", thing(key, group="poison" if key == "a7" else "x"))
    bench.catch_up(bench.indexer())
    (dead_letter,) = bench.log.dead_letters
    assert orjson.loads(dead_letter.message)["keys"]["id"] == {"S": "a7"}
    assert "no_poison" in dead_letter.reason
    assert len(rows_of(bench, "by_group")) == len(keys) - 1
    assert len(gsi_damage(bench.cluster, "things")) == 1


@pytest.mark.parametrize("soon", [True, False])
def test_no_later_event_hides_one_that_mysql_refuses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, soon: bool
) -> None:
    """Its dead letter cannot be sent at first. The control sends it behind the batch, when the
    checkpoint has passed it."""
    refuse_poison(bench)
    one = bench.indexer()
    steps(one, 1)
    keys = [f"a{number}" for number in range(40)]
    for key in keys:
        bench.producer.put("things", thing(key, group="x", text="poison" if key == "a7" else ""))
    bench.publish()
    with monkeypatch.context() as broken:
        if soon:
            broken.setattr(bench.log, "send", _unavailable)
        else:
            broken.setattr(one._batches, "_send", lambda _: None)
            broken.setattr(apply, "progress_at_home", lambda *_: {})  # it dies before that
        with suppress(ShardUnavailable):
            one.step(0)
    bench.consumers[-1].rebalance()
    one._due.clear()
    catch_up(bench, one)
    assert len(bench.log.dead_letters) == soon
    assert len(rows_of(bench, "by_group")) == len(keys) - 1


def test_events_of_a_dropped_table_hold_nothing_up(bench: Bench) -> None:
    bench.create({**THINGS, "name": "other"})
    one = bench.indexer(bench.open_cluster())
    one.step(0)
    for key in "abcd":
        bench.producer.put("things", thing(key, group="x"))
        bench.producer.put("other", thing(key, group="x"))
    definitions.drop_table(bench.cluster, "things")
    bench.catch_up(one)
    assert gsi_damage(bench.cluster, "other") == []
    assert bench.log.dead_letters == []


def test_a_table_of_the_same_name_shows_nothing_old(bench: Bench) -> None:
    one = bench.indexer(bench.open_cluster())
    one.step(0)
    for key in "abcd":
        bench.producer.put("things", thing(key, group="old"))
    bench.publish()
    definitions.drop_table(bench.cluster, "things")
    bench.create(THINGS)
    bench.producer.put("things", thing("a", group="new"))
    bench.catch_up(one)
    assert gsi_damage(bench.cluster, "things") == []
    assert [row["group"]["S"] for row in rows_of(bench, "by_group")] == ["new"]


def test_an_index_dropped_in_flight_leaves_the_others(bench: Bench) -> None:
    one = bench.indexer(bench.open_cluster())
    one.step(0)
    moves(bench)
    definitions.drop_index(bench.cluster, "things", "by_price")
    bench.catch_up(one)
    assert gsi_damage(bench.cluster, "things") == []
    assert len(bench.cluster.table("things").global_indexes) == 2


def test_a_missing_table_that_the_catalog_knows_is_waited_for(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody dropped it by hand: nothing may be counted as applied."""
    index = bench.cluster.table("things").index("by_group")
    for shard in bench.cluster.shards.values():
        shard.run((f"DROP TABLE {sql.index_table(index)}", ()))
    moves(bench)
    one = bench.indexer()
    steps(one, 2)
    assert "an index is damaged" in caplog.text
    assert waiting_events(bench.cluster)
    for shard in bench.cluster.shards.values():
        shard.run((sql.create_index(index), ()))
    catch_up(bench, one)
    assert gsi_damage(bench.cluster, "things") == []


def backfill(cluster: Cluster, table: str, index: str) -> None:
    """Put all items into a new index's events."""
    for shard in cluster.shards.values():
        while backfill_chunk(cluster, shard, cluster.table(table).index(index)).more:
            pass


@pytest.mark.parametrize("first_knows", [True, False])
def test_a_new_index_is_right_whoever_applies_what_is_older(
    bench: Bench, first_knows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two indexers work alternately; one of them does not know of the new index yet."""
    ignorant = bench.open_cluster()
    bench.producer.put("things", thing("a", group="x", note="n"))
    bench.publish()
    definitions.add_index(
        bench.cluster, "things", GlobalIndexSchema(name="by_both", hash_key="group")
    )
    order = [bench.cluster, ignorant] if first_knows else [ignorant, bench.cluster]
    bench.indexer(order[0]).step(0)
    bench.producer.put("things", thing("a", group="y", note="n"))
    bench.publish()
    bench.indexer(order[1]).step(0)
    backfill(bench.cluster, "things", "by_both")
    bench.catch_up(bench.indexer(ignorant))
    assert gsi_damage(bench.cluster, "things") == []


def test_a_repair_deletes_orphaned_rows_and_inserts_missing_ones(bench: Bench) -> None:
    bench.producer.put("things", thing("a", group="x"))
    one = bench.indexer()
    bench.catch_up(one)
    table = bench.cluster.table("things")
    index = table.index("by_group")
    for shard in bench.cluster.shards.values():
        shard.run((f"UPDATE {sql.index_table(index)} SET item = '{{}}', version = 0", ()))
    ghost = to_stored(thing("gone", group="x"))
    index_key = index.key_of(ghost)
    assert index_key is not None
    bench.cluster.shard_of(index_key.hash).run(
        (f"INSERT INTO {sql.index_table(index)} VALUES (%s, %s, %s, %s, 1, '{{}}')",
         (*index_key, *table.key_of(ghost)))
    )  # fmt: skip
    assert len(gsi_damage(bench.cluster, "things")) == 2
    for stored, seen in ((to_stored(thing("a")), None), (ghost, ghost)):
        row = table.key_of(stored)
        re_emit.re_emit(bench.cluster, table, index, row, seen)
    bench.catch_up(one)
    assert gsi_damage(bench.cluster, "things") == []


def test_an_unknown_table_is_asked_for_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    moves(bench)
    definitions.drop_table(bench.cluster, "things")
    with pytest.raises(TableNotFound):
        bench.cluster.table("things")
    one = bench.indexer()
    one.step(0)
    bench.consumers[-1].rebalance()
    monkeypatch.setattr(Cluster, "refresh", lambda self: pytest.fail("asked again"))
    one.step(0)


def explain(shard: DynamoDBShard, statement: tuple[str, Any]) -> list[tuple[str, str]]:
    """Type of access and index of each step of a statement's plan."""
    text, values = statement
    maria = "MariaDB" in shard.run(("SELECT VERSION()", ()))[0].rows[0][0]
    rows = shard.run(
        (f"EXPLAIN {'' if maria else 'FORMAT=TRADITIONAL '}{text}", values)
    )[0].rows  # fmt: skip
    kind, key = (3, 5) if maria else (4, 6)  # MySQL names the partitions before them
    return [(row[kind], row[key]) for row in rows]


def test_hot_statements_use_their_keys(bench: Bench) -> None:
    """Point operations: they must not slow down as the tables grow."""
    moves(bench)
    one = bench.indexer()
    bench.catch_up(one)
    shard = bench.cluster.shards[1]
    index = bench.cluster.table("things").index("by_group")
    ghost = RowChange(index, GsiRow(b"\0" * 16, b"", b"\0" * 16, b""), 1, None)
    deleting = explain(shard, delete_row(ghost))
    assert deleting in ([("range", "PRIMARY")], [("const", "PRIMARY")])
    part = shard.run(("SELECT part FROM mynamo_checkpoint WHERE shard = 1 LIMIT 1", ()))[0].rows
    arrivals = [Stream(1, part[0][0]), Stream(1, 7), Stream(2, 0)]
    for statement in (
        lock_checkpoints(arrivals),
        move_checkpoints(dict.fromkeys(arrivals, 1)),
        sql.raise_streams("applied_seq", {0: 1, 1: 2}),
    ):
        assert explain(shard, statement) == [("range", "PRIMARY")]
    assert explain(shard, lock_checkpoints(arrivals[:1])) == [("const", "PRIMARY")]
    plan = explain(shard, next_published("seq", Stream(shard.id, 0), 0))
    assert ("range", "by_sequence") in plan
