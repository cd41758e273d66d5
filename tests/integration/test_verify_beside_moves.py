"""`verify`, `repair` and counts while slots move: what is hidden is no finding, all else is."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from mynamo.catalog import moves
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.snapshot import MoveState, Snapshot
from mynamo.catalog.statistics import Statistics
from mynamo.catalog.tables import Index
from mynamo.operations import Verdict, lag, repair, verify, wait_until_applied
from mynamo.operations import journal as journals
from mynamo.operations.comparison_statements import Span
from mynamo.operations.journal import Journal
from mynamo.operations.resharding import mover as mover_module
from mynamo.operations.resharding import rebalance, switch
from mynamo.operations.resharding.mover import Mover, open_moves
from mynamo.operations.scan import Scan
from mynamo.operations.scan_parts import ScanPart, Step, all_scan_parts
from mynamo.operations.shard_list import list_shards
from mynamo.operations.verify import examine
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.keys import slot_of
from tests.amounts import one_of
from tests.comparing import gsi_damage
from tests.damages import ITEMS
from tests.integration.test_moves_steps import is_stopped, moving
from tests.operations import Damage, key_of, order
from tests.small_chunks import small_chunks
from tests.waiting import eventually
from tests.workers import pipeline

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switches succeed on a busy machine, and rows are deleted soon behind them."""
    monkeypatch.setattr(mover_module, "CLEAN_AFTER", 0.1)
    monkeypatch.setattr(switch, "LAG", 1.0)
    monkeypatch.setattr(switch, "FIRST_ATTEMPT", 1.0)


def slots_of_first(cluster: Cluster) -> tuple[int, int]:
    """The slots of shard 1."""
    owned = next(one for one in cluster.refresh().slots if one.shard_id == 1)
    return owned.first, owned.last


def copied(cluster: Cluster) -> Mover:
    """All slots of shard 1 are copied to shard 2; the move is COPYING."""
    first, last = slots_of_first(cluster)
    move = moves.record_move(cluster.catalog, first, last, 2, bytes(16))
    mover = Mover(cluster)
    taken = moves.take_over(cluster.catalog, move.id, mover.identity)
    assert taken is not None
    mover._copy_all(mover._begin(taken))
    return mover


def cancelled(cluster: Cluster) -> None:
    """The same, and given up; the copy is there."""
    mover = copied(cluster)
    moves.cancel(cluster.catalog, open_moves(cluster)[0].id, mover.identity)
    cluster.refresh()


def done(cluster: Cluster) -> None:
    """All slots of shard 1 have moved to shard 2; shard 1 has its rows yet."""
    first, last = slots_of_first(cluster)
    with pipeline(cluster.config):
        Mover(cluster).transfer(first, last, 2)
    cluster.refresh()


@contextmanager
def writers(config: ClusterConfig, count: int = 2) -> Iterator[None]:
    """Clients that change items of all slots, and delete and make them, until the block ends."""
    stop = threading.Event()

    def work(seed: int) -> None:
        chance = Random(seed)
        with Cluster(config) as cluster, Producer(cluster) as producer:
            while not stop.wait(0.01):
                item = order(chance.randrange(100, 160), name=f"name {chance.randrange(9)}")
                if chance.randrange(4):
                    producer.put("orders", item | {"city": f"city {chance.randrange(9)}"})
                else:
                    producer.delete("orders", key_of(item))

    with ThreadPoolExecutor(count) as pool:
        working = [pool.submit(work, seed) for seed in range(count)]
        try:
            yield
        finally:
            stop.set()
        for each in working:
            each.result(60)


def state_of(cluster: Cluster) -> MoveState | None:
    left = open_moves(cluster)
    return left[0].state if left else None


def is_clean(verdict: Verdict) -> bool:
    return verdict.ok and not verdict.findings and not verdict.undecided


def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing counts as hidden: a control."""
    monkeypatch.setattr(Snapshot, "hidden", property(lambda _: {}))  # also where it is known
    monkeypatch.setattr(Snapshot, "is_hidden", lambda *_: False)


STATES: dict[str, Callable[[Cluster], Any]] = {
    "COPYING": copied,
    "DONE": done,
    "CANCELLED": cancelled,
}


@pytest.mark.parametrize("state", one_of(3, [*STATES], 1))
def test_hidden_rows_are_no_finding(
    config: ClusterConfig, cluster: Cluster, damage: Damage, state: str
) -> None:
    STATES[state](cluster)
    assert state_of(cluster) == state
    quiet = verify(cluster, "orders")
    assert is_clean(quiet), str(quiet)
    assert quiet.items == len(ITEMS)
    assert [index.rows for index in quiet.indexes if index.kind == "LSI"] == [len(ITEMS)]
    with pipeline(config), writers(config):
        for _ in range(3):
            verdict = verify(cluster, "orders")
            assert is_clean(verdict), str(verdict)
    assert state_of(cluster) == state


@pytest.mark.parametrize("state", one_of(3, [*STATES], 2))
def test_control_without_hidden_ranges_there_are_findings(
    cluster: Cluster, damage: Damage, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    STATES[state](cluster)
    blind(monkeypatch)
    verdict = verify(cluster, "orders")
    assert verdict.findings
    assert verdict.unreadable


@pytest.mark.parametrize(("step", "state"), [("move.7", "STOPPED"), ("move.9", "CLOSED")])
def test_a_frozen_mover(
    config: ClusterConfig,
    config_file: Path,
    cluster: Cluster,
    damage: Damage,
    step: str,
    state: str,
) -> None:
    """Nobody waits for the slots, and they stay stopped; then writers do, and it is taken back."""
    first, last = slots_of_first(cluster)
    with pipeline(config), moving(config_file, f"{step}:1:freeze", first, last) as process:
        eventually(lambda: is_stopped(process), 60)
        assert state_of(cluster) == state
        verdict = verify(cluster, "orders")
        assert is_clean(verdict), str(verdict)
        assert state_of(cluster) == state
        with writers(config):
            verdict = verify(cluster, "orders")
            assert is_clean(verdict), str(verdict)
            eventually(lambda: state_of(cluster) == "COPYING", 30)
            verdict = verify(cluster, "orders")
            assert is_clean(verdict), str(verdict)


@pytest.mark.parametrize("phase", ["survey", "compare"])
def test_slots_that_move_in_the_middle(
    config: ClusterConfig,
    cluster: Cluster,
    damage: Damage,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
) -> None:
    """There and back while a comparison is at work, and clients too."""
    seen = move_in(config, phase, monkeypatch)
    with pipeline(config), writers(config):
        verdict = verify(cluster, "orders")
    assert seen == ["moved"]
    assert is_clean(verdict), str(verdict)
    with pipeline(config):
        assert wait_until_applied(cluster)
    assert gsi_damage(cluster, "orders") == []


def move_in(config: ClusterConfig, phase: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In the middle of a phase, all slots of shard 1 move to shard 2, and none of the other's.
    Another process does it, so the one that verifies is not told."""
    note = Journal.note
    seen: list[str] = []
    noted = 0
    small_chunks(monkeypatch.setattr, 5)

    def move_then(self: Journal, steps: list[tuple[ScanPart, Step]]) -> None:
        nonlocal noted
        note(self, steps)
        noted += self.phase == phase
        if noted == 30 and not seen:
            seen.append("moved")
            with Cluster(config) as other:
                first, last = slots_of_first(other)
                Mover(other).move(first, last, 2)

    monkeypatch.setattr(Journal, "note", move_then)
    return seen


@pytest.mark.parametrize("phase", ["survey", "compare"])
def test_damage_in_slots_that_move_in_the_middle_is_found(
    config: ClusterConfig,
    cluster: Cluster,
    damage: Damage,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
) -> None:
    """On whichever shard the comparison meets it, and if it meets it on none."""
    ghosts = [order(number, name=f"ghost {number}") for number in range(90, 96)]
    for ghost in ghosts:
        damage.insert_row("by_name", ghost, version=10**9)
    missing = ITEMS[10:14]
    for item in missing:
        damage.on_row("by_name", item, "DELETE FROM {table}")
    bad = ITEMS[20]
    damage.on_main(bad, "UPDATE {table} SET item = REPLACE(item, 'order-10', 'other-10')")
    seen = move_in(config, phase, monkeypatch)
    with pipeline(config):
        verdict = verify(cluster, "orders")
    assert seen == ["moved"]
    found = {(f.kind, f.row) for index in verdict.indexes for f in index.examples}
    assert found >= {("ghost", damage.home(ghost)[1]) for ghost in ghosts}
    assert found >= {("missing", damage.home(item)[1]) for item in missing}
    assert verdict.unreadable
    assert not verdict.undecided


@pytest.mark.parametrize("again", [True, False])
def test_an_index_that_was_read_on_neither_shard(
    config: ClusterConfig,
    cluster: Cluster,
    damage: Damage,
    monkeypatch: pytest.MonkeyPatch,
    again: bool,
) -> None:
    """Shard 2's part is read before the slots move there, and shard 1's afterwards. Control: slots
    that have moved are not compared again."""
    first, last = slots_of_first(cluster)
    name = next(
        name
        for name in (f"ghost {number}" for number in range(1000))
        if first <= slot_of(damage.location("by_name", order(90, name=name))[1].index_hash) <= last
    )
    damage.insert_row("by_name", order(90, name=name), version=10**9)
    if not again:
        monkeypatch.setattr(journals, "_expanded", lambda _: {})
    rows = Scan.global_rows
    moved: list[int] = []

    def in_this_order(self: Scan, index: Index, span: Span) -> Iterator[Step]:
        if not moved and self._shard.id == 1:
            moved.append(1)
            with Cluster(config) as other:
                Mover(other).move(first, last, 2)
            cluster.refresh()
            self._slots.renew()
        return rows(self, index, span)

    def target_first(shards: Iterable[int], indexes: Iterable[int]) -> list[ScanPart]:
        return sorted(all_scan_parts(shards, indexes), key=lambda part: -part.shard_id)

    monkeypatch.setattr(Scan, "global_rows", in_this_order)
    monkeypatch.setattr(sys.modules[examine.__module__], "all_scan_parts", target_first)
    with pipeline(config):
        verdict = verify(cluster, "orders", parallel=1)
    assert moved
    assert verdict.findings == int(again)


def contents(cluster: Cluster, shard_id: int, damage: Damage) -> dict[str, set[tuple[Any, ...]]]:
    """All rows of the table and its indexes that a shard has."""
    names = [f"t{damage.table.id}"]
    names += [f"t{damage.table.id}_{i.kind[0].lower()}{i.id}" for i in damage.table.indexes]
    shard = cluster.shards[shard_id]
    return {name: set(shard.run((f"SELECT * FROM {name}", ()))[0].rows) for name in names}


@pytest.mark.parametrize("state", one_of(3, [*STATES]))
def test_repair_deletes_nothing_that_is_hidden(
    config: ClusterConfig, cluster: Cluster, damage: Damage, state: str
) -> None:
    """And mends what is wrong on the owner."""
    STATES[state](cluster)
    owner = 2 if state == "DONE" else 1
    before = {number: contents(cluster, number, damage) for number in (1, 2)}
    ghost = order(90, name=in_moving(cluster, owner))
    damage.insert_row("by_name", ghost, version=10**9)
    with pipeline(config):
        report = repair(cluster, "orders")
        assert report.ok, str(report)
        assert report.mended == 1
        assert wait_until_applied(cluster)
    assert {number: contents(cluster, number, damage) for number in (1, 2)} == before
    assert state_of(cluster) == state


def test_control_repair_without_hidden_ranges_deletes(
    config: ClusterConfig, cluster: Cluster, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(cluster)
    before = contents(cluster, 2, damage)
    blind(monkeypatch)
    with pipeline(config):
        repair(cluster, "orders", wait=5)
    assert contents(cluster, 2, damage) != before


def in_moving(cluster: Cluster, owner: int) -> str:
    """A name whose index rows are in slots that move, on their owner."""
    (move,) = open_moves(cluster)
    index = cluster.table("orders").index("by_name")
    for number in range(1000):
        key = index.key_of({"name": {"S": f"ghost {number}"}, "price": {"N": "90"}})
        assert key is not None
        if move.has(slot_of(key.hash)):
            assert cluster.shard_id_of(key.hash) == owner
            return f"ghost {number}"
    raise AssertionError("there is none")


@pytest.mark.parametrize("state", one_of(3, [*STATES], 1))
def test_a_ghost_on_the_owner_of_a_moving_range_is_found(
    cluster: Cluster, damage: Damage, state: str
) -> None:
    STATES[state](cluster)
    name = in_moving(cluster, 2 if state == "DONE" else 1)
    damage.insert_row("by_name", order(90, name=name), version=10**9)
    verdict = verify(cluster, "orders")
    assert [index.ghosts for index in verdict.indexes if index.name == "by_name"] == [1]
    assert verdict.findings == 1


def test_leftovers_are_findings_once_the_move_has_ended(
    config: ClusterConfig, cluster: Cluster, damage: Damage
) -> None:
    first, last = slots_of_first(cluster)
    with pipeline(config):
        Mover(cluster).move(first, last, 2)
        assert is_clean(verify(cluster, "orders"))
        item = ITEMS[1]
        damage.insert_row("by_name", item, cluster.shards[1])
        damage.insert_main(order(95), cluster.shards[1])
        verdict = verify(cluster, "orders")
        assert [index.ghosts for index in verdict.indexes if index.name == "by_name"] == [1]
        assert verdict.unreadable == 1
        report = repair(cluster, "orders")
        assert report.mended == 1
        assert verify(cluster, "orders").findings == 0


@pytest.mark.parametrize("state", one_of(3, [*STATES], 2))
def test_counts_leave_hidden_rows_out(cluster: Cluster, damage: Damage, state: str) -> None:
    whole = Statistics(cluster).of(damage.table)
    assert whole.table.items == len(ITEMS)
    STATES[state](cluster)
    assert Statistics(cluster).of(damage.table) == whole
    assert sum(one.items or 0 for one in list_shards(cluster)) == len(ITEMS)
    (shown,) = lag(cluster).moves
    assert shown.endswith(f"shard 1 -> 2, {state}")


def test_a_comparison_of_other_shards_begins_again(
    cluster: Cluster, damage: Damage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    kept = Journal(state, "verify", dict)
    indexes = list(damage.table.indexes)
    kept.begin(cluster, damage.table, indexes, [1])
    kept.counts.items = 10**6
    kept.save()
    kept.close()
    assert verify(cluster, "orders", resume=state).items == len(ITEMS)


def test_a_comparison_goes_on_beside_moves(
    config: ClusterConfig, cluster: Cluster, damage: Damage, tmp_path: Path
) -> None:
    """One that was saved in the middle, before the slots moved."""
    state = tmp_path / "state"

    class Killed(BaseException):
        pass

    with pytest.MonkeyPatch.context() as patch:
        note, count = Journal.note, 0

        def noted(self: Journal, steps: list[tuple[ScanPart, Step]]) -> None:
            nonlocal count
            note(self, steps)
            count += 1
            if count == 100:
                raise Killed

        patch.setattr(Journal, "note", noted)
        with pytest.raises(Killed):
            verify(cluster, "orders", resume=state)
    assert orjson.loads(state.read_bytes())["phase"] == "survey"
    done(cluster)
    with ExitStack() as stack:
        stack.enter_context(pipeline(config))
        verdict = verify(cluster, "orders", resume=state)
        assert is_clean(verdict), str(verdict)
        rebalance.resume(cluster)
        assert is_clean(verify(cluster, "orders"))
