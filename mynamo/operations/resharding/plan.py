"""Which slots to move so that active shards have as many each, and those to be drained none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mynamo.catalog.snapshot import Snapshot
from mynamo.schemas.keys import SLOTS

MOST_SLOTS = 256
MOST_BYTES = 1_000_000_000
"""In one move, unless a single slot has more."""


class PlannedMove(NamedTuple):
    """Slots to move, both included, and between which shards."""

    first: int
    last: int
    source: int
    target: int

    @property
    def slots(self) -> int:
        """How many slots it moves."""
        return self.last - self.first + 1


def plan(snapshot: Snapshot, bytes_per_slot: Mapping[int, float]) -> list[PlannedMove]:
    """The least number of slots whose move leaves each active shard its share, in moves of a
    bounded size. Slots that are under way are left where they are.

    Args:
        bytes_per_slot: of each shard, on average.
    """
    members = snapshot.members.values()
    active = sorted(one.shard_id for one in members if one.state == "ACTIVE")
    ranges: dict[int, list[tuple[int, int]]] = {one.shard_id: [] for one in members}
    moving = {move.first for move in snapshot.moves if move.state != "ENDED"}
    for owned in sorted(snapshot.slots, key=lambda one: one.first):
        if owned.first not in moving:
            ranges[owned.shard_id].append((owned.first, owned.last))
    counts = snapshot.slot_counts
    shares = _shares(active, counts)
    surplus = {
        id_: counts[id_] - shares.get(id_, 0)
        for id_ in sorted(counts)
        if counts[id_] > shares.get(id_, 0)
    }
    wanted = {id_: share - counts[id_] for id_, share in shares.items() if share > counts[id_]}
    planned: list[PlannedMove] = []
    for target in sorted(wanted):
        for source in surplus:
            most = _most(bytes_per_slot.get(source, 0.0))
            while wanted[target] and surplus[source] and ranges[source]:
                first, last = ranges[source].pop()
                count = min(last - first + 1, wanted[target], surplus[source], most)
                planned.append(PlannedMove(last - count + 1, last, source, target))
                if count < last - first + 1:
                    ranges[source].append((first, last - count))
                wanted[target] -= count
                surplus[source] -= count
    return planned


def _shares(active: Sequence[int], counts: Mapping[int, int]) -> dict[int, int]:
    """How many slots each active shard is to have: those with most of them keep the odd ones."""
    if not active:
        return {}
    each, odd = divmod(SLOTS, len(active))
    by_count = sorted(active, key=lambda id_: (-counts[id_], id_))
    return {id_: each + (position < odd) for position, id_ in enumerate(by_count)}


def _most(bytes_per_slot: float) -> int:
    if bytes_per_slot <= 0:
        return MOST_SLOTS
    return max(1, min(MOST_SLOTS, int(MOST_BYTES / bytes_per_slot)))
