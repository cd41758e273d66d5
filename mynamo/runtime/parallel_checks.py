"""`ParallelChecks`: many servers are asked at once, and one that hangs is not asked twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class ParallelChecks(Generic[Answer]):
    """Runs checks in threads of its own. For one caller at a time.

    Args:
        threads: so many at once at the most.
        name: prefix of the threads' names.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(max(1, threads), thread_name_prefix=name)
        self._running: dict[str, Future[Answer]] = {}

    def run(
        self, checks: Mapping[str, Callable[[], Answer]], seconds: float
    ) -> dict[str, Future[Answer]]:
        """Run all, and wait for so long at the most. A check that has not ended since the last call
        goes on, and is not begun again.

        Args:
            checks: by name.
        """
        self._running = {name: self._begin(name, check) for name, check in checks.items()}
        wait(self._running.values(), seconds)
        return self._running

    def close(self) -> None:
        """End its threads once their checks have ended."""
        self._threads.shutdown(wait=False)

    def _begin(self, name: str, check: Callable[[], Answer]) -> Future[Answer]:
        before = self._running.get(name)
        if before is not None and not before.done():
            return before
        return self._threads.submit(check)
