"""`PageParts`: parts of a page that take a bounded time, whatever servers are away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
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
"""For which a part is shown again: several browsers that look cost as much as one."""
_THREADS = 16


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a page.

    Attributes:
        value: what it shows; None if there is trouble.
        trouble: why it is not known, for a person; empty: it is.
    """

    value: Any = None
    trouble: str = ""


class PageParts:
    """Finds out what parts of pages show. One that hangs is not asked for a second time: whoever
    wants it next waits for the same answer. Safe to share between threads.

    Args:
        seconds: that all parts of a page may take together.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(_THREADS, "mynamo-console-part")
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Future[Any], float]] = {}

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
        """Ask anew from now on: something was changed."""
        with self._lock:
            self._running.pop(name, None)

    def close(self) -> None:
        """Begin no more of them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, name: str, work: Callable[[], Any]) -> Future[Any]:
        now = time.monotonic()
        with self._lock:
            future, begun_at = self._running.get(name, (None, 0.0))
            if future is not None and (not future.done() or now - begun_at < FRESH_SECONDS):
                return future
            future = self._threads.submit(
                partial(deadlines.until, now + _SHARE * self._seconds, work)
            )
            self._running[name] = future, now
            return future

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
