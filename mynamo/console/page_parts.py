"""`PageParts`: parts of a page that take a bounded time, whatever servers are away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from math import inf
from typing import Any

from mynamo.console.refused import Refused
from mynamo.errors import MynamoError
from mynamo.runtime import deadlines

log = logging.getLogger(__name__)

SECONDS = 4.0
"""That a page waits for its parts."""
_SHARE = 0.75
"""Of that time: after which servers are not waited for any more, so that a part says which one does
not answer."""
FRESH_SECONDS = 1.0
"""For which a part is shown again once it is known: several browsers that look cost as much as
one."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a page.

    Attributes:
        value: what it shows; None if there is trouble.
        trouble: why it is not known, for a person; empty: it is.
    """

    value: Any = None
    trouble: str = ""


@dataclass(slots=True)
class _Asked:
    future: Future[Any] = field(default_factory=Future)
    ended_at: float = inf


class PageParts:
    """Finds out what parts of pages show. One that hangs is not asked for a second time: whoever
    wants it next waits for the same answer. Safe to share between threads.

    Args:
        seconds: that all parts of a page may take together.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._asked: dict[str, _Asked] = {}

    def of(self, works: Mapping[str, Callable[[], Any]]) -> dict[str, Part]:
        """Find out several, at the same time.

        Args:
            works: by names, which stand for the same work in all pages. They may raise MynamoError
                or Refused.
        """
        begun = {name: self._begin(name, work) for name, work in works.items()}
        wait(begun.values(), self._seconds)
        return {name: self._part(name, future) for name, future in begun.items()}

    def forget(self, name: str) -> None:
        """Ask anew from now on: something was changed. What is still awaited stays."""
        with self._lock:
            if name in self._asked and self._asked[name].future.done():
                del self._asked[name]

    def _begin(self, name: str, work: Callable[[], Any]) -> Future[Any]:
        now = time.monotonic()
        with self._lock:
            asked = self._asked.get(name)
            if asked is not None and now - asked.ended_at < FRESH_SECONDS:
                return asked.future
            asked = self._asked[name] = _Asked()
        threading.Thread(
            target=_find_out, args=(asked, work, now + _SHARE * self._seconds),
            name="mynamo-console-part", daemon=True,  # one that hangs does not hold up the end
        ).start()  # fmt: skip
        return asked.future

    def _part(self, name: str, future: Future[Any]) -> Part:
        if not future.done():
            return Part(trouble=f"no answer within {self._seconds:g} seconds; it is still awaited")
        error = future.exception()
        if error is None:
            return Part(future.result())
        if isinstance(error, (MynamoError, Refused)):
            return Part(trouble=str(error))
        log.error("the console's part %s failed", name, exc_info=error)
        return Part(trouble="this is a defect in mynamo; the console's log has more")


def _find_out(asked: _Asked, work: Callable[[], Any], ends_at: float) -> None:
    try:
        value = deadlines.until(ends_at, work)
    except Exception as error:
        asked.ended_at = time.monotonic()
        asked.future.set_exception(error)
    else:
        asked.ended_at = time.monotonic()
        asked.future.set_result(value)
