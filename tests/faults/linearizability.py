"""Is there an order of an item's operations that explains what every client saw?

The search follows Wing and Gong, in the just-in-time form of Lowe: it walks over the
beginnings and ends of the operations, and keeps every *configuration* (the item, and which of
the operations under way have had their effect) that explains all that has ended so far. When
an operation ends, each configuration takes effects of operations under way until it contains
that one; those that cannot are dropped. If none is left, that end is the first that no order
explains.

* Looking changes nothing, so a look is taken as soon as it fits.
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

from tests.faults.model import Item, State, Step

MAX_CONFIGURATIONS = 20_000
"""Beyond that some are dropped; a failure then proves nothing."""
_SHOWN = 25


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
        if _Search(blind, None, min(limit, 2_000)).run() is None:
            reason = "an order explains what clients saw, but versions or events contradict it"
    story = _tell(steps, failed_at, search, reason)
    return Verdict(False, not search.truncated, story, search.count)


def _without_version(step: Step) -> Step:
    return Step(
        step.operation, step.change, step.fits, step.must, step.start, step.end,
        before=step.before,
    )  # fmt: skip


@dataclass
class _Search:
    steps: Sequence[Step]
    timeline: Timeline | None
    limit: int
    count: int = 0
    truncated: bool = False
    before: set[Config] = field(default_factory=set)
    """The configurations before the end that none explained."""
    writes: list[int] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    bits: dict[int, int] = field(default_factory=dict)
    returned: set[int] = field(default_factory=set)

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
        frontier = configs - reached
        known = set(configs)
        while frontier:
            following: set[Config] = set()
            for config in frontier:
                for new in self._moves(config):
                    if new not in known:
                        known.add(new)
                        (reached if (new.done | new.seen) & bit else following).add(new)
            self.count += len(following)
            frontier = self._few(_best(following))
        return self._few(_best(reached))

    def _few(self, configs: set[Config]) -> set[Config]:
        if len(configs) <= self.limit:
            return configs
        self.truncated = True
        kept = sorted(configs, key=lambda c: (c.used.bit_count(), c.done.bit_count()))
        return set(kept[: self.limit])

    def _moves(self, config: Config) -> Iterator[Config]:
        lowest = self._lowest(config)
        for position in self.writes:
            step = self.steps[position]
            bit = self.bits[position]
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


def _tell(steps: Sequence[Step], failed_at: int, search: _Search, reason: str) -> str:
    failed = steps[failed_at]
    first = failed.operation
    end = failed.end if failed.end is not None else max(step.start for step in steps)
    around = [s for s in steps if s.start <= end and (_end_of(s) >= failed.start)]
    earlier = sorted((s for s in steps if _end_of(s) < failed.start), key=_end_of)[-5:]
    shown = sorted({id(s): s for s in (*earlier, *around)}.values(), key=lambda s: s.start)
    if len(shown) > _SHOWN:
        rest = [s for s in shown if s is not failed]
        shown = sorted([*rest[-_SHOWN + 1 :], failed], key=lambda s: s.start)
    items = sorted({_short(config.item) for config in search.before})
    zero = shown[0].start
    lines = [
        f"{first.table} {first.key}: {reason}",
        f"  no order has the end of {first.kind} by client {first.client} (marked >); the item "
        f"before it could be: {', '.join(items[:8])}",
        *(_line(step, zero, step is failed) for step in shown),
    ]
    if search.truncated:
        lines.append("  (not all orders were tried)")
    return "\n".join(lines)


def _end_of(step: Step) -> float:
    return float("inf") if step.end is None else step.end


def _line(step: Step, zero: int, failed: bool) -> str:
    operation = step.operation
    end = "      ..." if step.end is None else f"{(step.end - zero) / 1e6:9.1f}"
    version = "" if step.version is None else f" v{step.version}"
    argument = {k: v for k, v in (operation.argument or {}).items() if v is not None}
    return (
        f"  {'>' if failed else ' '} {(step.start - zero) / 1e6:9.1f} to {end} ms  client "
        f"{operation.client}: {operation.kind} {argument} -> {operation.outcome}{version} "
        f"{operation.result if operation.result is not None else ''}"
    )


def _short(item: Item) -> str:
    if not isinstance(item, State):
        return "none"
    return f"{item.op} (counter {item.counter}, status {item.status}, grade {item.grade})"
