"""Which stream shards begin and end: random slot maps, moves between any two steps, restores."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mynamo.catalog.snapshot import SlotRange
from mynamo.catalog.stream_lineage import (
    Beginning,
    Ending,
    StreamShard,
    has_ended,
    is_covered,
    pieces,
    to_begin,
    to_end,
)
from mynamo.schemas.keys import SLOTS

EDGES = [0, 100, 1000, 2048, 3000, SLOTS]


class Stream:
    """Stream shards as S3 and S4 leave them; numbers grow by one for each step."""

    def __init__(self, owners: list[int]) -> None:
        self.owners = list(owners)
        self.shards: list[StreamShard] = []
        self.seq = 10

    @property
    def slots(self) -> list[SlotRange]:
        return [
            SlotRange(first, behind - 1, owner, 1)
            for first, behind, owner in zip(EDGES, EDGES[1:], self.owners, strict=False)
        ]

    def add(
        self, shard: int, first: int, last: int, parent: StreamShard | None, generation: int
    ) -> None:
        self.seq += 1
        self.shards.append(
            StreamShard(
                f"{len(self.shards):04d}", shard, 1, None if parent is None else parent.name,
                generation, first, last, self.seq, None, None, 0,
            )
        )  # fmt: skip

    def begin(self, each: Beginning) -> None:
        """S3: if nobody else has."""
        there = [one for one in self.shards if one.shard == each.shard]
        if any(one.is_open and one.overlaps(each.first, each.last) for one in there):
            return
        generation = 1 if each.parent is None else each.parent.generation + 1
        self.add(each.shard, each.first, each.last, each.parent, generation)

    def end(self, each: Ending) -> None:
        """S4."""
        self.seq += 1
        ended = replace(each.ended, end=self.seq)
        self.shards[int(each.ended.name)] = ended
        for first, last in each.children:
            self.add(ended.shard, first, last, ended, each.generation)

    def follow(self) -> bool:
        """S1 to S4, once; whether nothing was left to do."""
        for beginning in to_begin(pieces(self.slots, self.shards), ()):
            self.begin(beginning)
        for ending in to_end(pieces(self.slots, self.shards), self.shards, ()):
            self.end(ending)
        return is_covered(pieces(self.slots, self.shards), self.shards)

    def settle(self) -> None:
        for _ in range(6):
            if self.follow():
                return
        raise AssertionError("the slot map is not followed")

    def restore(self, shard: int) -> None:
        """A2 of a shard: what is open there ends, with children."""
        for each in list(self.shards):
            if each.shard == shard and each.is_open:
                self.end(Ending(each, each.generation + 1, ((each.first, each.last),)))


owner = st.integers(1, 3)
maps = st.lists(owner, min_size=len(EDGES) - 1, max_size=len(EDGES) - 1)


def open_of(stream: Stream, slot: int) -> list[StreamShard]:
    return [each for each in stream.shards if each.is_open and each.overlaps(slot, slot)]


def lineage(stream: Stream, shard: StreamShard) -> list[str]:
    """Names of a stream shard and all its ancestors."""
    by_name = {each.name: each for each in stream.shards}
    found = [shard.name]
    while shard.parent is not None:
        shard = by_name[shard.parent]
        found.append(shard.name)
    return found


@given(maps, st.lists(maps, max_size=5))
def test_each_slot_has_one_stream_shard_on_its_owner(
    first: list[int], later: list[list[int]]
) -> None:
    stream = Stream(first)
    stream.settle()
    assert all(each.generation == 1 for each in stream.shards)
    for owners in later:
        stream.owners = owners
        stream.settle()
    for edge, owned in zip(EDGES, stream.owners, strict=False):
        (found,) = open_of(stream, edge)
        assert found.shard == owned


@given(maps, st.lists(maps, max_size=5))
def test_what_comes_later_is_a_descendant_of_all_that_was(
    first: list[int], later: list[list[int]]
) -> None:
    """So who reads parents before children has read all that the slot had before."""
    stream = Stream(first)
    stream.settle()
    for owners in later:
        before = {edge: open_of(stream, edge)[0] for edge in EDGES[:-1]}
        stream.owners = owners
        stream.settle()
        for edge, known in before.items():
            (now,) = open_of(stream, edge)
            assert known.name in lineage(stream, now)
            assert now is known or now.generation >= known.generation
    for each in stream.shards:
        assert each.is_open or has_ended(each, stream.shards)


@given(maps, st.lists(st.tuples(maps, st.integers(0, 3)), max_size=5))
def test_restored_shards_are_followed_too(
    first: list[int], later: list[tuple[list[int], int]]
) -> None:
    stream = Stream(first)
    stream.settle()
    for owners, restored in later:
        stream.owners = owners
        for beginning in to_begin(pieces(stream.slots, stream.shards), ()):
            stream.begin(beginning)
        if restored:
            stream.restore(restored)  # between S3 and S4
        stream.settle()
        assert all(each.is_open or has_ended(each, stream.shards) for each in stream.shards)
        for edge, owned in zip(EDGES, owners, strict=False):
            (found,) = open_of(stream, edge)
            assert found.shard == owned


def test_slots_that_are_moving_wait() -> None:
    stream = Stream([1, 1, 1, 1, 1])
    cut = pieces(stream.slots, ())
    assert to_begin(cut, [(0, SLOTS - 1)]) == []
    assert [(each.first, each.last) for each in to_begin(cut, [(0, 99)])] == [(100, SLOTS - 1)]
    stream.settle()
    stream.owners = [2, 1, 1, 1, 1]
    for beginning in to_begin(pieces(stream.slots, stream.shards), ()):
        stream.begin(beginning)
    cut = pieces(stream.slots, stream.shards)
    assert to_end(cut, stream.shards, [(50, 60)]) == []
    (ending,) = to_end(cut, stream.shards, ())
    assert ending.children == ((100, SLOTS - 1),)


def test_what_is_not_covered_elsewhere_stays_open() -> None:
    stream = Stream([1, 1, 1, 1, 1])
    stream.settle()
    stream.owners = [2, 1, 1, 1, 1]
    assert to_end(pieces(stream.slots, stream.shards), stream.shards, ()) == []


def test_an_end_is_shown_once_all_children_are_there() -> None:
    parent = StreamShard("p", 1, 1, None, 1, 0, 99, 0, 10, None, 0)
    children = [
        replace(parent, name=str(first), parent="p", first=first, last=last, end=None)
        for first, last in ((0, 49), (50, 80), (81, 99))
    ]
    assert has_ended(parent, [parent, *children])
    for left_out in range(3):
        others = children[:left_out] + children[left_out + 1 :]
        assert not has_ended(parent, [parent, *others])
    assert not has_ended(replace(parent, end=None), children)
