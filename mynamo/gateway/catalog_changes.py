"""What others change in the catalog counts in this process within seconds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.snapshot import Snapshot
from mynamo.errors import MynamoError
from mynamo.gateway.auth.credentials import Credential, Find, StoredCredentials
from mynamo.runtime import deadlines
from mynamo.schemas.gateway_config import GatewayConfig

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


@contextmanager
def following_credentials(
    cluster: Cluster, config: GatewayConfig, configured: Mapping[str, Credential] | None
) -> Iterator[Find | None]:
    """Find credentials of the configuration, and of the catalog if there is a key for them; what of
    the catalog counts for requests is followed as long as the block runs.

    Args:
        configured: from `of_pairs`; None: nobody signs requests.

    Raises:
        ShardUnavailable: the catalog does not answer.
    """
    find: Find | None = None if configured is None else configured.get
    looks = []
    if configured is not None and config.credentials_key is not None:
        stored = StoredCredentials(cluster.catalog, config.stored_secrets_key(), configured)
        stored.look(cluster.snapshot)
        find, looks = stored.find, [stored.look]
    if looks or config.enforce_provisioned_throughput:
        with following(cluster, looks):
            yield find
    else:
        yield find
