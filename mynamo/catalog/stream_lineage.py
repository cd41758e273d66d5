"""Which stream shards a stream lacks, and which have to end: by the slot map and what there is.

A stream shard has the records of a range of slots on one shard, between two numbers. Where the
slots go, a child of it begins. See `docs/design/streams.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mynamo.catalog.snapshot import SlotRange


@dataclass(frozen=True, slots=True)
class StreamShard:
    """One stream shard.

    Attributes:
        name: as consumers see it.
        shard: the number of the shard that has it.
        parent: name of the stream shard whose records come before its own, if there is one.
        generation: larger than those of all its ancestors.
        first, last: slots, both included.
        above: its records are above this number of the shard's,
        end: and not above this one; None: it is open.
        ended_at: by the shard's clock, Unix microseconds.
        trimmed: the greatest number of its records that were deleted.
    """

    name: str
    shard: int
    stream_id: int
    parent: str | None
    generation: int
    first: int
    last: int
    above: int
    end: int | None
    ended_at: int | None
    trimmed: int

    @property
    def is_open(self) -> bool:
        """Whether records may come."""
        return self.end is None

    def overlaps(self, first: int, last: int) -> bool:
        """Whether it has some of these slots."""
        return self.first <= last and self.last >= first


@dataclass(frozen=True, slots=True)
class Piece:
    """Slots, of one owner, that the same stream shards have.

    Attributes:
        owner: the shard that owns them.
        newest: of the stream shards that have them the one of the greatest generation.
        on_owner: the open one on the owner.
    """

    first: int
    last: int
    owner: int
    newest: StreamShard | None
    on_owner: StreamShard | None

    @property
    def is_covered(self) -> bool:
        """Whether who reads parents before children comes to records of the owner in the end."""
        return (
            self.on_owner is not None
            and self.newest is not None
            and self.on_owner.generation >= self.newest.generation
        )


@dataclass(frozen=True, slots=True)
class Beginning:
    """A stream shard that S3 begins.

    Attributes:
        shard: that owns the slots.
        parent: None: of a new stream.
    """

    shard: int
    first: int
    last: int
    parent: StreamShard | None


@dataclass(frozen=True, slots=True)
class Ending:
    """A stream shard that S4 ends.

    Attributes:
        generation: of its children.
        children: ranges of its slots that its shard owns.
    """

    ended: StreamShard
    generation: int
    children: tuple[tuple[int, int], ...]


def pieces(slots: Sequence[SlotRange], shards: Sequence[StreamShard]) -> list[Piece]:
    """Cut all slots so that each piece has one owner, and each stream shard all of it or nothing.

    Args:
        slots: the slot map.
        shards: of one stream.
    """
    edges = {each.first for each in slots} | {each.first for each in shards}
    edges |= {each.last + 1 for each in slots} | {each.last + 1 for each in shards}
    found = []
    ordered = sorted(edges)
    owners = iter(sorted(slots, key=lambda each: each.first))
    owned = next(owners)
    for first, behind in pairwise(ordered):
        while owned.last < first:
            owned = next(owners)
        having = [each for each in shards if each.first <= first <= each.last]
        here = [each for each in having if each.is_open and each.shard == owned.shard_id]
        newest = max(having, key=lambda each: (each.generation, each in here), default=None)
        on_owner = max(here, key=lambda each: each.generation, default=None)
        found.append(Piece(first, behind - 1, owned.shard_id, newest, on_owner))
    return found


def to_begin(cut: Sequence[Piece], busy: Iterable[tuple[int, int]]) -> list[Beginning]:
    """S1 and S2: the stream shards that are to begin; neighbours of one parent as one.

    Args:
        cut: what `pieces` gave.
        busy: slots that are about to go to another shard; they wait.
    """
    moving = list(busy)
    found: list[Beginning] = []
    for piece in cut:
        if piece.on_owner is not None or _is_among(piece.first, piece.last, moving):
            continue
        last = found[-1] if found else None
        if last is not None and (last.last + 1, last.shard, last.parent) == (
            piece.first, piece.owner, piece.newest,
        ):  # fmt: skip
            found[-1] = Beginning(last.shard, last.first, piece.last, last.parent)
        else:
            found.append(Beginning(piece.owner, piece.first, piece.last, piece.newest))
    return found


def to_cover(cut: Sequence[Piece], busy: Iterable[tuple[int, int]]) -> list[Beginning]:
    """The ranges of a stream that is disabled whose newest stream shard is not on their owner: if
    it has records of them, they are to be covered by a stream shard that has ended.

    Args:
        cut, busy: see `to_begin`.
    """
    moving = list(busy)
    return [
        Beginning(piece.owner, piece.first, piece.last, piece.newest)
        for piece in cut
        if (piece.newest is None or piece.newest.shard != piece.owner)
        and not _is_among(piece.first, piece.last, moving)
    ]


def to_end(
    cut: Sequence[Piece],
    shards: Iterable[StreamShard],
    busy: Iterable[tuple[int, int]],
    is_old: Iterable[str] = (),
) -> list[Ending]:
    """S4: the stream shards that are to end now.

    Args:
        cut, busy: see `to_begin`.
        shards: of the stream.
        is_old: names of those that have been open for long enough.
    """
    moving, old = list(busy), set(is_old)
    found = []
    for each in shards:
        if not each.is_open or _is_among(each.first, each.last, moving):
            continue
        own = [piece for piece in cut if each.overlaps(piece.first, piece.last)]
        there = [piece for piece in own if piece.owner == each.shard]
        elsewhere = [piece for piece in own if piece.owner != each.shard]
        # A shard that was restored may have brought one of a greater generation elsewhere.
        is_outranked = any(not piece.is_covered for piece in there)
        if elsewhere and not all(piece.is_covered for piece in elsewhere):
            continue
        if elsewhere or is_outranked or each.name in old:
            generations = [piece.newest.generation for piece in own if piece.newest is not None]
            found.append(Ending(each, max(generations) + 1, _joined(there)))
    return found


def is_covered(cut: Sequence[Piece], shards: Iterable[StreamShard]) -> bool:
    """Whether every slot has its stream shard, and no open one lies where it should not."""
    return all(piece.is_covered for piece in cut) and all(
        piece.owner == each.shard
        for each in shards
        if each.is_open
        for piece in cut
        if each.overlaps(piece.first, piece.last)
    )


def has_ended(shard: StreamShard, shards: Sequence[StreamShard]) -> bool:
    """Whether consumers may see the end of a stream shard: what goes on with its slots has been
    read. These are its children; or those of an ancestor, where its slots had gone to another shard
    before its own shard began a new incarnation. What was read of several shards is not of one
    moment.

    Args:
        shards: of the stream.
    """
    if shard.is_open:
        return False
    parents = {shard.name, *_ancestors(shard, shards)}
    after = sorted(
        (each.first, each.last)
        for each in shards
        if each is not shard and each.parent in parents and each.generation >= shard.generation
    )
    reached = shard.first
    for first, last in after:
        if first > reached:
            break
        reached = max(reached, last + 1)
    return reached > shard.last


def _ancestors(shard: StreamShard, shards: Iterable[StreamShard]) -> set[str]:
    """Names of those whose records come before its own; also of ones that are not there any more,
    as far as they are named."""
    parents = {each.name: each.parent for each in shards}
    found: set[str] = set()
    name = shard.parent
    while name is not None:
        found.add(name)
        name = parents.get(name)
    return found


def _joined(cut: Sequence[Piece]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for piece in cut:
        if found and found[-1][1] + 1 == piece.first:
            found[-1] = found[-1][0], piece.last
        else:
            found.append((piece.first, piece.last))
    return tuple(found)


def _is_among(first: int, last: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(one <= last and other >= first for one, other in ranges)
