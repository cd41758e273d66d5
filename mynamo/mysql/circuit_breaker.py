"""`CircuitBreaker`: what one process knows of whether a server answers.

    closed     everybody asks the server
    open       nobody does; whoever wants to gets `CircuitOpen` at once
    half-open  one caller does, the probe; all others get `CircuitOpen` at once

    closed -> open       nothing was answered and every attempt to connect failed, for `opens_after`
                         seconds; the first and the last of these attempts are at least so far apart
    open -> half-open    `probe_after` seconds later, with the next caller, who is the probe
    half-open -> closed  the probe has an answer
    half-open -> open    the probe has none
    any -> closed        anything is answered

Any answer is a sign of life, an error message too, whenever its statement was sent: a server that
has answered is there. So a late answer closes an open breaker. Only an attempt to connect is
evidence against a server: a live one greets a new connection at once, whatever else it is busy
with, while a statement may be slow, and a lost connection may be the network's fault. A failure
of an attempt that began before the last answer says nothing, in any state.
"""

from __future__ import annotations

import logging
import threading
import time
from enum import Enum

from mynamo.mysql.failures import CircuitOpen, LostConnection
from mynamo.runtime import forks

log = logging.getLogger(__name__)

LOOK_AFTER = 1.0
"""Seconds without any answer after which somebody who waits for one looks whether the server is
there at all (`ConnectionPool.look`)."""

ATTEMPT_EVERY = 0.05
"""Seconds between attempts to connect to a server that did not take the last one."""


class State(Enum):
    """See above."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CircuitBreaker:
    """The circuit breaker of one server. Safe to share between threads.

    Args:
        where: the server is, for messages.
        opens_after: seconds, see above.
        probe_after: likewise.

    Attributes:
        state: see above.
        answered_at: when the server last answered anything (monotonic).
    """

    def __init__(self, where: str, opens_after: float, probe_after: float) -> None:
        self.state = State.CLOSED
        self.answered_at = time.monotonic()
        self._where = where
        self._opens_after = opens_after
        self._probe_after = probe_after
        self._failing_since: float | None = None  # set in every state but closed
        self._failed_at = 0.0
        self._reason = ""
        self._opened_at = self._next_probe = 0.0
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Know what the parent knew; its probe, look and attempt are its own."""
        self._lock = threading.Lock()
        self._looking = self._attempting = False
        if self.state is State.HALF_OPEN:
            self.state = State.OPEN

    def answered(self, at: float) -> None:
        """The server has answered something, at this moment (monotonic)."""
        self.answered_at = at
        if self._failing_since is not None:
            self._close(at)

    def failed(self, began_at: float, failure: Exception) -> None:
        """An attempt to connect failed.

        Args:
            began_at: when it began (monotonic).
            failure: for messages.
        """
        with self._lock:
            if began_at < self.answered_at:
                return
            self._reason = str(failure)
            if self.state is not State.CLOSED:
                return
            since, now = self._failing_since, time.monotonic()
            # Nobody may have looked between two short outages.
            if since is None or began_at - self._failed_at > self._opens_after:
                since = began_at
            self._failing_since, self._failed_at = since, now
            if now - since >= self._opens_after:
                self.state = State.OPEN
                self._opened_at = now
                self._next_probe = now + self._probe_after
                log.warning(
                    "%s: circuit breaker open, after %.1f s without an answer: requests fail at "
                    "once, and from %g s on one at a time asks again (%s)",
                    self._where, now - since, self._probe_after, failure,
                )  # fmt: skip

    def check(self) -> None:
        """Refuse whoever could not ask the server now.

        Raises:
            CircuitOpen: as `admit`.
        """
        with self._lock:
            if self.state is not State.CLOSED and not self._probe_is_due():
                raise self._refusal()

    def admit(self) -> bool:
        """Let a caller ask the server.

        Returns:
            Whether this caller is the probe, which calls `probe_ended`.

        Raises:
            CircuitOpen: the breaker is open, and this caller is not the probe.
        """
        with self._lock:
            if self._probe_is_due():
                self.state = State.HALF_OPEN
                return True
            if self.state is State.CLOSED:
                return False
            raise self._refusal()

    def probe_ended(self) -> None:
        """The probe has done what it wanted, or failed."""
        with self._lock:
            if self.state is State.HALF_OPEN:
                self.state = State.OPEN
                self._next_probe = time.monotonic() + self._probe_after

    def refuse(self) -> None:
        """Refuse whoever was admitted before the breaker opened, and is not the probe.

        Raises:
            CircuitOpen: it is not closed.
        """
        with self._lock:
            if self.state is not State.CLOSED:
                raise self._refusal()

    def begin_attempt(self) -> None:
        """Let a caller try to connect.

        Where the last attempt failed, one at a time may, twenty times a second. Hundreds who wait
        for a server to come back would cost their process as much as all its other work.

        Raises:
            LostConnection: somebody else tries, or has just tried.
        """
        if self._failing_since is None:
            return
        with self._lock:
            if self._attempting or time.monotonic() - self._failed_at < ATTEMPT_EVERY:
                raise LostConnection(self._reason)
            self._attempting = True

    def end_attempt(self) -> None:
        """It has failed or not."""
        self._attempting = False

    def begin_look(self) -> bool:
        """Whether somebody who waits should look for the server; if so, `end_look` ends it."""
        with self._lock:
            due = not self._looking and time.monotonic() - self.answered_at >= LOOK_AFTER
            self._looking = self._looking or due
            return due

    def end_look(self) -> None:
        """The look is over."""
        self._looking = False

    def _probe_is_due(self) -> bool:
        return self.state is State.OPEN and time.monotonic() >= self._next_probe

    def _close(self, at: float) -> None:
        with self._lock:
            was, self.state, self._failing_since = self.state, State.CLOSED, None
        if was is not State.CLOSED:
            log.warning(
                "%s: circuit breaker closed: the server answers again, after %.1f s",
                self._where, at - self._opened_at,
            )  # fmt: skip

    def _refusal(self) -> CircuitOpen:
        now = time.monotonic()
        seconds = max(0.0, self._next_probe - now)
        probe = f"next probe in {seconds:.1f} s"
        if self.state is State.HALF_OPEN:
            probe = "a probe is under way"
        return CircuitOpen(
            f"{self._reason} (circuit breaker open for {now - self._opened_at:.1f} s, {probe})"
        )
