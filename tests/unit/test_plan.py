"""Which slots a rebalancing moves."""

from __future__ import annotations

import pytest

from mynamo.catalog.snapshot import Member, MemberState, SlotMove, SlotRange, Snapshot
from mynamo.operations.resharding.plan import MOST_BYTES, MOST_SLOTS, PlannedMove, plan
from mynamo.schemas.keys import SLOTS

Owned = tuple[int, int, int]


def snapshot(
    slots: list[Owned], states: dict[int, MemberState], moves: tuple[SlotMove, ...] = ()
) -> Snapshot:
    return Snapshot(
        cluster_id=bytes(16), partitions=4, version=1, format=4,
        slots=tuple(SlotRange(first, last, shard, 1) for first, last, shard in slots),
        members={id_: Member(id_, state, 1) for id_, state in states.items()},
        moves=moves, streams=(), tables={}, names={},
    )  # fmt: skip


def counts_after(before: list[Owned], planned: list[PlannedMove]) -> dict[int, int]:
    owner: dict[int, int] = {}
    for first, last, shard in before:
        owner |= dict.fromkeys(range(first, last + 1), shard)
    for move in planned:
        for slot in range(move.first, move.last + 1):
            assert owner[slot] == move.source
            owner[slot] = move.target
    return {shard: list(owner.values()).count(shard) for shard in set(owner.values())}


ONE = [(0, SLOTS - 1, 1)]
TWO = [(0, 2047, 1), (2048, SLOTS - 1, 2)]
CASES: dict[str, tuple[list[Owned], dict[int, MemberState], dict[int, int]]] = {
    "a second shard": (ONE, {1: "ACTIVE", 2: "ACTIVE"}, {1: 2048, 2: 2048}),
    "a third one": (TWO, {1: "ACTIVE", 2: "ACTIVE", 3: "ACTIVE"}, {1: 1366, 2: 1365, 3: 1365}),
    "to drain": (TWO, {1: "DRAINING", 2: "ACTIVE"}, {2: 4096}),
    "to drain among three": (
        [(0, 1365, 1), (1366, 2730, 2), (2731, SLOTS - 1, 3)],
        {1: "ACTIVE", 2: "DRAINING", 3: "ACTIVE"},
        {1: 2048, 3: 2048},
    ),
    "even already": (TWO, {1: "ACTIVE", 2: "ACTIVE"}, {1: 2048, 2: 2048}),
    "a shard that joins gets none": (TWO, {1: "ACTIVE", 2: "ACTIVE", 3: "JOINING"},
                                     {1: 2048, 2: 2048}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_all_active_shards_have_as_many(case: str) -> None:
    slots, states, wanted = CASES[case]
    planned = plan(snapshot(slots, states), {})
    assert counts_after(slots, planned) == wanted
    before = counts_after(slots, [])
    # No slot moves that need not.
    assert sum(move.slots for move in planned) == sum(
        max(0, count - wanted.get(shard, 0)) for shard, count in before.items()
    )
    assert all(move.slots <= MOST_SLOTS for move in planned)


def test_large_slots_move_a_few_at_a_time() -> None:
    planned = plan(snapshot(ONE, {1: "ACTIVE", 2: "ACTIVE"}), {1: MOST_BYTES / 10})
    assert {move.slots for move in planned[:-1]} == {10}
    planned = plan(snapshot(ONE, {1: "ACTIVE", 2: "ACTIVE"}), {1: MOST_BYTES * 10})
    assert {move.slots for move in planned} == {1}


def test_slots_on_their_way_are_left_alone() -> None:
    slots = [(0, 2047, 1), (2048, SLOTS - 1, 1)]
    move = SlotMove(1, 2048, SLOTS - 1, 1, 2, "COPYING", 0, bytes(16), 1, (0, 0), None)
    planned = plan(snapshot(slots, {1: "ACTIVE", 2: "ACTIVE"}, (move,)), {})
    assert planned
    assert all(each.last <= 2047 for each in planned)
