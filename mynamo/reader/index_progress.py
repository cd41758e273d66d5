"""`Follower`: how far the indexes have applied one shard's changes, for all reads that wait.

A read waits for every change that is committed when the follower looks at the shard next. One
look, of three small statements in one round trip, serves all reads of a process.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, field

from mynamo.catalog.incarnation import incarnation_of
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.sql import first_unnumbered
from mynamo.errors import MynamoError
from mynamo.mysql.pool import Statement
from mynamo.reader.waiting import FIRST_PAUSE, LONGEST_PAUSE
from mynamo.runtime import forks

LOOK: tuple[Statement, ...] = (
    ("SELECT MAX(id) FROM mynamo_outbox", ()),
    (first_unnumbered("id"), ()),
    ("SELECT part, last_seq, applied_seq FROM mynamo_stream", ()),
)  # fmt: skip
"""The order matters. What the relay numbers between the second and the third statement is below
the goal. What is committed between the first and the second, no read waits for."""


@dataclass(frozen=True, slots=True)
class Look:
    """A shard's outbox and streams.

    Attributes:
        newest: the highest id of a change.
        unnumbered: the lowest id of a change that the relay has not numbered; None: there is none.
        last, applied: per partition, the last number given, and the last that all indexes have.
    """

    newest: int
    unnumbered: int | None
    last: dict[int, int]
    applied: dict[int, int]


@dataclass(slots=True, eq=False)
class Waiter:
    """One who waits for the changes of some partitions.

    Ids are not in the order of commits: a change may be committed after one with a higher id. But
    everything committed at a moment has an id up to the highest of that moment. Once the relay has
    numbered all of these, their numbers are at most the last number of their partition; and
    indexes apply changes in the order of the numbers.

    Attributes:
        partitions: whose changes.
        newest: the highest id at its first look.
        goals: per partition, the number that must be applied; None: not all are numbered yet.
        over: it need not wait any longer.
        failure: why nobody can say whether they are applied.
    """

    partitions: Collection[int]
    newest: int | None = None
    goals: dict[int, int] | None = None
    over: threading.Event = field(default_factory=threading.Event)
    failure: MynamoError | None = None

    def is_served_by(self, look: Look) -> bool:
        """Take note of a look; returns whether everything that it waits for is applied."""
        if self.goals is not None and any(
            incarnation_of(look.applied[part]) > incarnation_of(goal)
            for part, goal in self.goals.items()
        ):  # the shard has begun a new incarnation: what waited has other numbers now
            self.newest = self.goals = None
        if self.newest is None:
            self.newest = look.newest
        if self.goals is None:
            if look.unnumbered is not None and look.unnumbered <= self.newest:
                return False
            self.goals = {part: look.last[part] for part in self.partitions}
        return all(look.applied[part] >= goal for part, goal in self.goals.items())


class Follower:
    """Looks at a shard as long as somebody waits. Safe to share between threads.

    It has a thread while it looks, and none at other times.

    Args:
        shard: whose changes.
    """

    def __init__(self, shard: DynamoDBShard) -> None:
        self._shard = shard
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin without waiters and without a thread: both are the parent's."""
        self._lock = threading.Lock()
        self._waiters: list[Waiter] = []
        self._looks = False
        self._pause = FIRST_PAUSE
        self._news = threading.Event()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def join(self, partitions: Collection[int]) -> Waiter:
        """Have the follower look until the indexes have every change of these partitions that is
        committed by now. The caller calls `wait` next.
        """
        me = Waiter(partitions)
        with self._lock:
            self._waiters.append(me)
            if not self._looks:
                self._looks = True
                threading.Thread(target=self._look_on, name="mynamo-follower", daemon=True).start()
            elif self._pause > FIRST_PAUSE:
                self._news.set()
        return me

    def wait(self, me: Waiter, seconds: float) -> bool:
        """Wait for what one joined for.

        Args:
            seconds: at most.

        Returns:
            Whether the indexes have it; if the shard does not answer, `me.failure` says so.
        """
        served = me.over.wait(seconds)
        if not served:
            with self._lock:
                if me in self._waiters:
                    self._waiters.remove(me)
        return served and me.failure is None

    def _look_on(self) -> None:
        """Look, until nobody waits."""
        try:
            while waiters := self._those_who_wait():
                served = self._serve(waiters)
                with self._lock:
                    self._waiters = [each for each in self._waiters if not each.over.is_set()]
                    left = len(self._waiters)
                    soon = served or left > len(waiters)
                    self._pause = FIRST_PAUSE if soon else min(1.5 * self._pause, LONGEST_PAUSE)
                    self._news.clear()
                if left:
                    self._news.wait(self._pause)
        except BaseException:
            self._looks = False  # the next caller starts a thread again
            raise

    def _those_who_wait(self) -> list[Waiter]:
        with self._lock:
            self._looks = bool(self._waiters)
            return list(self._waiters)

    def _serve(self, waiters: Collection[Waiter]) -> int:
        """Look once; returns how many of these need not wait any longer."""
        served = 0
        try:
            look = self._look()
        except MynamoError as failure:
            for waiter in waiters:
                waiter.failure = failure
                waiter.over.set()
            return len(waiters)
        for waiter in waiters:
            if waiter.is_served_by(look):
                waiter.over.set()
                served += 1
        return served

    def _look(self) -> Look:
        newest, unnumbered, streams = self._shard.ask(*LOOK)
        return Look(
            newest.rows[0][0] or 0,
            min((id_ for (id_,) in unnumbered.rows), default=None),
            {part: last for part, last, _ in streams.rows},
            {part: applied for part, _, applied in streams.rows},
        )
