"""The faults of a run, drawn from a seed: what happens when, to whom, for how long."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from mynamo.runtime.crash_points import COMMAND_LABELS, LABELS
from tests.faults.cluster import SESSION_SECONDS
from tests.faults.faults import Fault

AT_ONCE = 3
"""Faults that are under way at the same time, at the most."""
_GAP = (0.3, 4.0)
"""Seconds from one fault to the next."""
_RECOVERY = 6.0
"""Seconds that a process or server is left alone after a fault."""
_LONG = (SESSION_SECONDS + 1, SESSION_SECONDS + 7)
"""Longer than a session in Kafka and a lease: whoever wakes up then has been replaced."""

_JUMPED = (0.5, 15.0)
"""Seconds from a clock's jump to its jump back."""
AWAY = 120.0
"""Seconds for which a shard is away."""
_SHORTEST_AWAY = 25.0
_AWAY_SHARE = 3
"""A third of a run has a shard away, if that is long enough."""
RESOLVING, SWEEPING = "transact.6", "transact.7"
"""The steps that not only coordinators get to, and that they do not get to."""
BETWEEN = ("transact.3", "transact.4", "transact.5")
"""Steps behind which a transaction is left half done: prepared, decided, applied on one shard."""
MOVE_LABELS = [label for label in COMMAND_LABELS if label.startswith("move.")]
_MANY = ("move.4", "move.5")
"""Steps that a move gets to several times."""
_LONGEST_JUMP = 3_600
"""Of a clock, in seconds."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Who may be harmed.

    Attributes:
        disk: whether a shard's disk can be filled up.
        clocks: whether clocks can be moved.
        keeping: whether a broker that dies has everything when it is started again.
        restores: the shards that may be restored from a backup.
        upgrades: the processes that change between this release and an earlier one.
        coordinators: the processes that make transactions over several shards.
        cleaning: whether decisions of transactions are deleted within a run.
        movers: the processes that move slots.
    """

    workers: Sequence[str]
    clients: Sequence[str]
    shards: Sequence[str]
    brokers: Sequence[str]
    disk: bool = True
    clocks: bool = True
    keeping: bool = True
    restores: Sequence[str] = ()
    upgrades: Sequence[str] = ()
    coordinators: Sequence[str] = ()
    cleaning: bool = False
    movers: Sequence[str] = ()

    @property
    def zones(self) -> list[str]:
        """Whose links may be harmed."""
        return [*self.workers, *self.movers, "gateway", "clients"]


def draw(seed: int, seconds: float, cast: Cast, only: Sequence[str] = ()) -> list[Fault]:
    """Draw the faults of a run.

    They come from a deck that holds every kind, so that a short run has them all too.

    Args:
        only: beginnings of faults as `Fault.what` says them; the others are left out.
    """
    choice = random.Random(seed)
    cards = _deck(cast)
    away = _away_times(choice, seconds, cast) if not only or "away" in only else []
    if list(only) == ["away"]:
        return away
    if only:
        cards = [_limited(card, only) for card in cards if _can_be(card, only, _labels(cast))]
        if not cards:
            raise ValueError(f"no fault is like {only}")
    deck = _forever(choice, cards)
    labels = _forever(choice, _labels(cast))
    faults: list[Fault] = []
    put_off: list[Card] = []
    now = 1.0
    while now < seconds:
        if away and away[0].at <= now:  # and nothing else meanwhile
            now = max([now, *(f.at + f.seconds + _RECOVERY for f in faults)])
            faults.append(replace(away.pop(0), at=now))
            now += faults[-1].seconds + _RECOVERY
        for card in [*put_off, next(deck)]:
            fault = card(choice, now, labels)
            if _fits(fault, faults):
                faults.append(fault)
                put_off = [other for other in put_off if other is not card]
                break
            if card not in put_off:
                put_off.append(card)
        now += choice.uniform(*_GAP)
    return faults


def _labels(cast: Cast) -> list[str]:
    """The points that somebody gets to."""
    return [
        label
        for label in LABELS
        if not label.startswith("transact")
        or (cast.cleaning if label == SWEEPING else bool(cast.coordinators))
    ]


Drawn = TypeVar("Drawn")
Card = Callable[[random.Random, float, Iterator[str]], Fault]


def _deck(cast: Cast) -> list[Card]:
    workers, shards, brokers = cast.workers, cast.shards, cast.brokers
    short, long = (0.0, 4.0), _LONG
    cards = [
        *[_simple("kill", workers, short)] * 2,
        _simple("kill", ["gateway"], short),
        *[_simple("kill", shards, short)] * 2,
        *[_simple("kill", brokers, short)] * cast.keeping,
        _simple("stop", [*workers, "gateway"], short),
        *[_simple("freeze", workers, long)] * 3,
        _simple("freeze", ["gateway"], long),
        _simple("freeze", shards, (1.0, 8.0)),
        _simple("freeze", brokers, (1.0, 10.0)),
        *[_at_point(cast, "crash", (0.0, 3.0))] * 6,
        *[_at_point(cast, "halt", long)] * 4,
        *[_weather(cast, "cut", (0.0, 5.0))] * 2,
        _weather(cast, "reset", (0.0, 0.0)),
        *[_weather(cast, "forgetful", (0.2, 4.0))] * 2,
        _weather(cast, "delay", (3.0, 8.0)),
        _weather(cast, "throttle", (3.0, 8.0)),
        *[_weather(cast, "late", (2.0, 12.0))] * 3,
        *[_weather(cast, "half-open", (2.0, 12.0))] * 2,
        _simple("topic", ["changes"], (0.0, 0.0)),
        _simple("wipe", ["brokers"], (0.0, 3.0)),
    ]
    if cast.coordinators:
        cards += [_strand(cast)] * 3
    if cast.movers:
        cards += [
            _simple("kill", cast.movers, short),
            _simple("freeze", cast.movers, long),
            *[_at_move(cast, "crash", short)] * 3,
            *[_at_move(cast, "halt", long)] * 4,
        ]
    if cast.clients:
        cards += [
            _simple("kill", cast.clients, (0.0, 0.0)),
            _simple("freeze", cast.clients, (1.0, 12.0)),
        ]
    if cast.clocks:
        cards += [_clock([*workers, *cast.movers, "gateway", *cast.clients]), _clock(shards)]
    if cast.disk:
        cards.append(_simple("disk", shards[-1:], (1.0, 5.0)))
    if cast.restores:
        cards += [_restore(cast.restores, detail) for detail in ("backup", "replica")]
    if cast.upgrades:
        cards += [_simple("upgrade", cast.upgrades, short)] * 4
    return cards


def _simple(kind: str, targets: Sequence[str], seconds: tuple[float, float]) -> Card:
    def card(choice: random.Random, now: float, _: Iterator[str]) -> Fault:
        return Fault(now, kind, choice.choice(targets), choice.uniform(*seconds))

    return card


def _away_times(choice: random.Random, seconds: float, cast: Cast) -> list[Fault]:
    """A shard is dead, or frozen, for long, at regular times."""
    long = min(AWAY, seconds / _AWAY_SHARE)
    if long < _SHORTEST_AWAY:
        return []
    count = max(1, round(seconds / _AWAY_SHARE / long))
    details = itertools.cycle(choice.sample(["dead", "frozen"], 2))
    return [
        Fault(seconds * (2 * n + 1) / (2 * count) - long / 2, "away", choice.choice(cast.shards),
              long, next(details))
        for n in range(count)
    ]  # fmt: skip


def _restore(targets: Sequence[str], detail: str) -> Card:
    """A shard goes back to what it had so long ago."""

    def card(choice: random.Random, now: float, _: Iterator[str]) -> Fault:
        return Fault(now, "restore", choice.choice(targets), choice.uniform(3.0, 15.0), detail)

    return card


def _clock(targets: Sequence[str]) -> Card:
    """A jump by a second, by an hour or by anything in between, forwards or back."""

    def card(choice: random.Random, now: float, _: Iterator[str]) -> Fault:
        jump = choice.choice((1, -1)) * round(_LONGEST_JUMP ** choice.random())
        return Fault(now, "clock", choice.choice(targets), choice.uniform(*_JUMPED), f"{jump:+}")

    return card


def _at_point(cast: Cast, kind: str, seconds: tuple[float, float]) -> Card:
    def card(choice: random.Random, now: float, labels: Iterator[str]) -> Fault:
        label = next(labels)
        part = label.partition(".")[0]
        role = "indexer" if part in ("indexer", "apply") else "writer"
        targets = [name for name in cast.workers if name.startswith(role)]
        if part == "writer":  # whoever writes is a writer
            targets += ["gateway", *cast.clients]
        elif part == "transact":
            targets = _at_step(cast, label, targets)
        times = 1 if label == "indexer.6" else choice.randint(1, 4)  # that one is once a second
        target = choice.choice(targets)
        return Fault(now, kind, target, choice.uniform(*seconds), f"{label}:{times}")

    return card


def _at_move(cast: Cast, kind: str, seconds: tuple[float, float]) -> Card:
    """A mover ends or freezes at a step."""

    def card(choice: random.Random, now: float, _: Iterator[str]) -> Fault:
        label = choice.choice(MOVE_LABELS)
        times = choice.randint(1, 4) if label in _MANY else 1
        target = choice.choice(cast.movers)
        return Fault(now, kind, target, choice.uniform(*seconds), f"{label}:{times}")

    return card


def _at_step(cast: Cast, label: str, writers: Sequence[str]) -> list[str]:
    """Who gets to a step of a transaction over several shards."""
    if label == SWEEPING:
        return [*writers]
    return [*cast.coordinators, *(writers if label == RESOLVING else ())]


def _strand(cast: Cast) -> Card:
    """A coordinator freezes between two steps, and a shard dies meanwhile."""

    def card(choice: random.Random, now: float, _: Iterator[str]) -> Fault:
        point = f"{choice.choice(BETWEEN)}:{choice.randint(1, 3)}"
        target = choice.choice(cast.coordinators)
        detail = f"{point}@{choice.choice(cast.shards)}"
        return Fault(now, "strand", target, choice.uniform(*_LONG), detail)

    return card


def _weather(cast: Cast, kind: str, seconds: tuple[float, float]) -> Card:
    values: dict[str, Callable[[random.Random], str]] = {
        "cut": lambda choice: "",
        "reset": lambda choice: "",
        "forgetful": lambda choice: "",
        "delay": lambda choice: f":{choice.randint(10, 200)}",
        "throttle": lambda choice: f":{choice.randint(20, 200)}",
        "late": lambda choice: ":" + choice.choice(("requests", "answers", "both")),
        "half-open": lambda choice: ":" + choice.choice(("requests", "answers", "both")),
    }

    def card(choice: random.Random, now: float, _: Iterator[str]) -> Fault:
        commits = kind == "forgetful"  # there are none in Kafka
        servers = [*cast.shards] if commits else [*cast.shards, *cast.brokers]
        zone, server = choice.choice(cast.zones), choice.choice(servers)
        where = choice.choice((f"{zone}>{server}", f"{zone}>{server}", f"{zone}>*", f"*>{server}"))
        return Fault(now, "link", where, choice.uniform(*seconds), kind + values[kind](choice))

    return card


def _forever(choice: random.Random, cards: Sequence[Drawn]) -> Iterator[Drawn]:
    while True:
        yield from choice.sample(cards, len(cards))


def _can_be(card: Card, only: Sequence[str], points: Sequence[str]) -> bool:
    choice = random.Random(0)
    labels = itertools.cycle(points)
    drawn = (card(choice, 0.0, labels) for _ in range(100))
    return any(fault.what.startswith(tuple(only)) for fault in drawn)


def _limited(card: Card, only: Sequence[str]) -> Card:
    """The same card, drawn again until it is one of these."""

    def limited(choice: random.Random, now: float, labels: Iterator[str]) -> Fault:
        while True:
            fault = card(choice, now, labels)
            if fault.what.startswith(tuple(only)):
                return fault

    return limited


def _fits(fault: Fault, before: Sequence[Fault]) -> bool:
    """Whether a fault leaves those alone that still suffer from another one."""
    under_way = [f for f in before if f.at + f.seconds + _RECOVERY > fault.at]
    if sum(f.at + f.seconds > fault.at for f in under_way) >= AT_ONCE:
        return False
    return not any(_same(fault.target, other.target) for other in under_way)


def _same(one: str, other: str) -> bool:
    if "broker" in one and "broker" in other and ">" not in one + other:
        return "brokers" in (one, other) or one == other
    if one.startswith("mover") and other.startswith("mover") and ">" not in one + other:
        return True  # who is to get to a step of a move has no rivals
    return one == other
