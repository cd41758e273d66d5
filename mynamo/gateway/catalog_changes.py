"""`following`: what others change in the catalog counts in this process within seconds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.snapshot import Snapshot
from mynamo.errors import MynamoError
from mynamo.runtime import deadlines

log = logging.getLogger(__name__)

LOOK_EVERY = 2.0
"""Seconds between two looks at the catalog: at its version, and at the rest if that has changed."""

LOOK_FOR = 5.0
"""Seconds that a look may take: whoever needs the newest catalog, or ends, waits for it."""


@contextmanager
def following(cluster: Cluster, looks: Sequence[Callable[[Snapshot], None]]) -> Iterator[None]:
    """Read the catalog again and again, in a thread, for as long as the block runs.

    While it does not answer, what was read last counts on.

    Args:
        looks: called with what was read, also if it has not changed; may raise.
    """
    stop = threading.Event()

    def look_once() -> None:
        snapshot = cluster.refresh()
        for look in looks:
            look(snapshot)

    def follow() -> None:
        answers = True
        while not stop.wait(LOOK_EVERY):
            try:
                deadlines.within(LOOK_FOR, None, look_once)
                answers = True
            except Exception as error:  # whoever is revoked later must not count for ever
                if answers:
                    foreseen = isinstance(error, MynamoError)
                    log.warning(
                        "changes of the catalog cannot be read: %s", error, exc_info=not foreseen
                    )
                answers = False

    thread = threading.Thread(target=follow, name="gateway-catalog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
