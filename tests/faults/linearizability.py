"""Is there an order of an item's operations that explains what every client saw?

The search follows Wing and Gong, in the just-in-time form of Lowe: it walks over the
beginnings and ends of the operations, and keeps every *configuration* (the item, and which of
the operations under way have had their effect) that explains all that has ended so far. When
an operation ends, each configuration takes effects of operations under way until it contains
that one; those that cannot are dropped. If none is left, that end is the first that no order
explains.

* Looking changes nothing, so a look is taken as soon as it fits.
* An item is made once, as every write has an `op` of its own. So nothing may change it before
  all that must find it have found it.
* A configuration that has used fewer of the writes with unknown outcome can do all that one
  with more of them can, and more; the latter is dropped.
* Versions must agree with the order; known ones make the search short. `Timeline`s from the
  change stream do the same for writes without receipts. Neither is trusted: a wrong one
  leaves no order, which is a violation too.
* At quiet points nothing is under way, so that the configurations become few by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults.model import Item, Step
from tests.faults.story import tell

MAX_CONFIGURATIONS = 500
"""Beyond that some are dropped; a failure then proves nothing."""
_WORDING = 20_000
"""Configurations that may be looked at to word a failure better."""


class Config(NamedTuple):
    """One explanation of all that has ended.

    Attributes:
        item: as it would be now.
        version: the last one that is known.
        done, used, seen: bits of steps under way: writes that must happen and have, writes
            that may happen and have, and looks that fitted.
    """

    item: Item
    version: int
    done: int
    used: int
    seen: int


@dataclass(frozen=True)
class Timeline:
    """All changes of an item, from the change stream.

    Attributes:
        following: after each version (0: none), the next version and the `op` that it shows
            (None: the item is gone).
    """

    following: Mapping[int, tuple[int, str | None]]


@dataclass
class Verdict:
    """What the search has found.

    Attributes:
        explained: there is an order.
        decided: False: none was found, but not all were tried.
        story: for a person; empty if explained.
        steps: how many configurations were looked at.
    """

    explained: bool
    decided: bool = True
    story: str = ""
    steps: int = 0


def check(
    steps: Sequence[Step], timeline: Timeline | None = None, limit: int = MAX_CONFIGURATIONS
) -> Verdict:
    """Look for an order of one item's steps, which begins without an item.

    Args:
        steps: by their start.
        timeline: of the item, if it is known completely.
        limit: of configurations at a time.
    """
    search = _Search(steps, timeline, limit)
    failed_at = search.run()
    if failed_at is None:
        return Verdict(True, steps=search.count)
    reason = "no order of its operations explains what clients saw"
    if any(step.version for step in steps) or timeline:
        blind = [_without_version(step) for step in steps]
        if _Search(blind, None, min(limit, 100), budget=_WORDING).run() is None:
            reason = "an order explains what clients saw, but versions or events contradict it"
    needed = {p for config in search.before for p in search.still_needed(config)}
    items = {config.item for config in search.before}
    story = tell(steps, failed_at, items, needed, reason)
    if search.truncated:
        story += "\n  (not all orders were tried)"
    return Verdict(False, not search.truncated, story, search.count)


def _without_version(step: Step) -> Step:
    return Step(
        step.operation, step.change, step.fits, step.must, step.start, step.end,
        before=step.before, needs=step.needs,
    )  # fmt: skip


@dataclass
class _Search:
    steps: Sequence[Step]
    timeline: Timeline | None
    limit: int
    budget: float = float("inf")
    count: int = 0
    truncated: bool = False
    before: set[Config] = field(default_factory=set)
    """The configurations before the end that none explained."""
    writes: list[int] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    bits: dict[int, int] = field(default_factory=dict)
    returned: set[int] = field(default_factory=set)
    needing: dict[str, list[int]] = field(default_factory=dict)
    """By `op` of an item: the steps that must find that item, of the whole history."""
    makers: dict[str, int] = field(default_factory=dict)
    """By `op` of an item: the step that makes it."""

    def __post_init__(self) -> None:
        for position, step in enumerate(self.steps):
            if step.change is not None and step.operation.op is not None:
                self.makers[step.operation.op] = position
            if step.needs is not None:
                self.needing.setdefault(step.needs, []).append(position)

    def run(self) -> int | None:
        """Search.

        Returns:
            None if there is an order, or the position of the first step whose end none explains.
        """
        configs = {Config(None, 0, 0, 0, 0)}
        for position, ends in _events(self.steps):
            if not ends:
                self._begin(position)
                configs = {self._look(config) for config in configs}
                continue
            after = self._reach(configs, position)
            if not after:
                self.before = configs
                return position
            configs = self._forget(after, position)
        return None

    def _begin(self, position: int) -> None:
        taken = set(self.bits.values())
        bit = 1
        while bit in taken:
            bit <<= 1
        self.bits[position] = bit
        (self.looks if self.steps[position].change is None else self.writes).append(position)

    def _reach(self, configs: set[Config], goal: int) -> set[Config]:
        """All ways to come from these to configurations that contain `goal`."""
        bit = self.bits[goal]
        reached = {c for c in configs if (c.done | c.seen) & bit}
        frontier = {c for c in configs - reached if self._can_reach(c, goal)}
        known = set(configs)
        while frontier and self.count < self.budget:
            following: set[Config] = set()
            for config in frontier:
                for new in self._moves(config):
                    if new in known:
                        continue
                    known.add(new)
                    if (new.done | new.seen) & bit:
                        reached.add(new)
                    elif self._can_reach(new, goal):
                        following.add(new)
            self.count += len(following)
            frontier = self._few(_best(following))
        return self._few(_best(reached))

    def _can_reach(self, config: Config, goal: int) -> bool:
        """Whether the item that a step must find is there, or can still be made."""
        needs = self.steps[goal].needs
        if needs is None or (config.item is not None and config.item.op == needs):
            return True
        bit = self.bits.get(self.makers.get(needs, -1), 0)
        return bool(bit) and not (config.done | config.used) & bit

    def _few(self, configs: set[Config]) -> set[Config]:
        if len(configs) <= self.limit:
            return configs
        self.truncated = True
        kept = sorted(configs, key=lambda c: (c.used.bit_count(), c.done.bit_count()))
        return set(kept[: self.limit])

    def _moves(self, config: Config) -> Iterator[Config]:
        lowest = self._lowest(config)
        still_needed = self.still_needed(config)
        if len(still_needed) > 1:
            return
        for position in still_needed or self.writes:
            step = self.steps[position]
            bit = self.bits.get(position, 0)
            if not bit or step.change is None:
                return
            if (config.done | config.used) & bit or not self._in_turn(step, config):
                continue
            if step.version is not None and lowest is not None and step.version > lowest:
                continue
            new = self._apply(step, config)
            if new is None:
                continue
            item, version = new
            done, used = config.done, config.used
            if step.must:
                done |= bit
            else:
                used |= bit
            yield self._look(Config(item, version, done, used, config.seen))

    def still_needed(self, config: Config) -> list[int]:
        """Steps that must find the item as it is and have not yet. As it never comes back,
        nothing else may change it before: they may not even have begun."""
        if config.item is None:
            return []
        return [
            position
            for position in self.needing.get(config.item.op, ())
            if position not in self.returned
            and not (config.done | config.seen) & self.bits.get(position, 0)
        ]

    def _lowest(self, config: Config) -> int | None:
        """The lowest version of the writes that still have to happen."""
        return min(
            (
                version
                for position in self.writes
                if (version := self.steps[position].version) is not None
                and self.steps[position].must
                and not config.done & self.bits[position]
            ),
            default=None,
        )

    def _in_turn(self, step: Step, config: Config) -> bool:
        return all(p in self.returned or config.done & self.bits[p] for p in step.before)

    def _apply(self, step: Step, config: Config) -> tuple[Item, int] | None:
        assert step.change is not None
        if not step.fits(config.item):
            return None
        item = step.change(config.item)
        if item is None and config.item is None:  # what deletes nothing has no version
            return (None, config.version) if step.must and step.version is None else None
        version = config.version
        if step.version is not None:
            if step.version <= version:
                return None
            version = step.version
        if self.timeline is not None:
            following = self.timeline.following.get(config.version)
            if following is None or following[1] != (item.op if item else None):
                return None
            if step.version not in (None, following[0]):
                return None
            version = following[0]
        return item, version

    def _look(self, config: Config) -> Config:
        seen = config.seen
        for position in self.looks:
            bit = self.bits[position]
            if not seen & bit and self.steps[position].fits(config.item):
                seen |= bit
        return config._replace(seen=seen)

    def _forget(self, configs: set[Config], position: int) -> set[Config]:
        """An operation that has ended is contained in all of them."""
        keep = ~self.bits.pop(position)
        self.returned.add(position)
        (self.looks if self.steps[position].change is None else self.writes).remove(position)
        return _best({c._replace(done=c.done & keep, seen=c.seen & keep) for c in configs})


def _events(steps: Sequence[Step]) -> Iterator[tuple[int, bool]]:
    """Beginnings and ends by time; what has no end but must happen ends last."""
    events = []
    for position, step in enumerate(steps):
        events.append((step.start, 0, position))
        if step.must:
            end = step.end if step.end is not None else 1 << 63
            events.append((max(end, step.start), 1, position))
    for _, ends, position in sorted(events):
        yield position, bool(ends)


def _best(configs: set[Config]) -> set[Config]:
    """Without those that can do nothing that another one cannot."""
    groups: dict[tuple[Item, int, int], list[Config]] = {}
    for config in configs:
        groups.setdefault((config.item, config.version, config.done), []).append(config)
    best: set[Config] = set()
    for group in groups.values():
        if len(group) == 1:
            best.add(group[0])
            continue
        group.sort(key=lambda c: (c.used.bit_count(), -c.seen.bit_count()))
        kept: list[Config] = []
        for config in group:
            if not any(
                k.used & config.used == k.used and k.seen & config.seen == config.seen for k in kept
            ):
                kept.append(config)
        best.update(kept)
    return best
