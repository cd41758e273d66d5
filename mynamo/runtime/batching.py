"""`Lane`: threads of one process that ask a shard at the same time go together.

A round trip costs a process and a server nearly the same for one row as for a hundred, and so
does a commit. So while one is on its way, those who come wait together, and the next one takes
all of them. Who finds the lane free goes at once: nobody waits for company.

Whoever goes first carries the others, be it a thread or a passenger (see
`mynamo.runtime.tasks`): there are no threads of the lane's own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mynamo.runtime import deadlines, forks
from mynamo.runtime.tasks import Passenger, current

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class Traveller(Generic[Asked, Answer]):
    """One caller in a lane.

    Attributes:
        asked: what it asks for.
        count, size: how much that is: rows, and bytes.
        answer: what came of it, which may be an exception for it alone; None: it must go alone.
    """

    asked: Asked
    count: int
    size: int
    answer: Answer | Exception | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _passenger: Passenger | None = field(default_factory=current)
    _leads: bool = False

    def _rest(self) -> None:
        if self._passenger is None:
            self._turn.acquire()
        else:
            self._passenger.wait()

    def _go_on(self) -> None:
        if self._passenger is None:
            self._turn.release()
        else:
            self._passenger.station.wake(self._passenger)


class Lane(Generic[Asked, Answer]):
    """A lane. Safe to share between threads.

    Args:
        together: carries a few callers, and gives each its `answer`. Must not raise anything
            but what ends its thread.
        at_once: how many of them may be under way.
        max_count, max_size: of those who go together; one alone may be more.
    """

    def __init__(
        self,
        together: Callable[[Sequence[Traveller[Asked, Answer]]], None],
        *,
        at_once: int,
        max_count: int,
        max_size: int,
    ) -> None:
        self._together = together
        self._at_once = at_once
        self._max_count = max_count
        self._max_size = max_size
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin empty: who travels or waits is in the parent."""
        self._lock = threading.Lock()
        self._waiting: deque[Traveller[Asked, Answer]] = deque()
        self._under_way = 0

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._waiting)

    def travel(self, me: Traveller[Asked, Answer]) -> Answer | None:
        """Go along the lane, first or with others.

        Returns:
            The answer, or None if this caller must go alone.

        Raises:
            Exception: what came of it for this caller.
        """
        if deadlines.end() is not None:
            return None
        forks.check()
        with self._lock:
            leads = self._under_way < self._at_once
            if leads:
                self._under_way += 1
            else:
                me._turn.acquire()
                self._waiting.append(me)
        if not leads:
            self._wait(me)
        elif me._passenger is not None:
            me._passenger.station.let_pass(me._passenger)
        if leads or me._leads:
            self._carry(me)
        if isinstance(me.answer, Exception):
            raise me.answer
        return me.answer

    def _wait(self, me: Traveller[Asked, Answer]) -> None:
        try:
            me._rest()
        except BaseException:  # this caller is interrupted: it must not be waited for
            with self._lock:
                if me in self._waiting:
                    self._waiting.remove(me)
                leads = me._leads
            if leads:
                self._pass_on()
            raise

    def _carry(self, me: Traveller[Asked, Answer]) -> None:
        """Take those who wait along; then let the next one lead."""
        company: list[Traveller[Asked, Answer]] = []
        try:
            company = self._company(me)
            self._together([me, *company])
        finally:
            self._pass_on()
            for traveller in company:
                traveller._go_on()

    def _pass_on(self) -> None:
        with self._lock:
            leader = self._waiting.popleft() if self._waiting else None
            if leader is None:  # one that led when its own thread forked is not counted here
                self._under_way = max(0, self._under_way - 1)
            else:
                leader._leads = True
        if leader is not None:
            leader._go_on()

    def _company(self, me: Traveller[Asked, Answer]) -> list[Traveller[Asked, Answer]]:
        """Those who wait and fit in, in their order."""
        found: list[Traveller[Asked, Answer]] = []
        if not self._waiting:
            return found
        count, size = me.count, me.size
        with self._lock:
            while self._waiting:
                count += self._waiting[0].count
                size += self._waiting[0].size
                if count > self._max_count or size > self._max_size:
                    break
                found.append(self._waiting.popleft())
        return found
