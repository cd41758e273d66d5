"""`AwayShards`: the shards that did not answer a worker, and asking whether they are back.

A worker that goes on with other shards must not ask one that is away again and again: each attempt
may take seconds, in which the others wait. So it notes the shard, leaves out whatever needs it, and
threads of their own ask for a sign of life, one at a time for each shard.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from mynamo.catalog.cluster import Cluster
from mynamo.errors import MynamoError
from mynamo.runtime.counters import counters

log = logging.getLogger(__name__)

ASK_EVERY = 0.5
"""Seconds between two questions."""
LONGEST_PAUSE = 30.0
"""Seconds until a shard counts as back that answers, but fails at its work each time."""
_SOUND = 60.0
"""Seconds without a failure after which a shard's pauses begin at `ASK_EVERY` again."""


@dataclass(slots=True)
class _Absence:
    """What is known of a shard that was away.

    Attributes:
        pause: seconds from the failure until it is believed to be back.
        failed_at: when its work failed last (monotonic).
        asked_at: when it was asked last.
    """

    pause: float
    failed_at: float
    asked_at: float
    asking: bool = False
    answered: bool = False


class AwayShards:
    """Use by one thread, which never waits here.

    Args:
        cluster: of the shards.
        what: waits for them, for the log.

    Attributes:
        ids: of the shards that are away.
    """

    def __init__(self, cluster: Cluster, what: str) -> None:
        self.ids: set[int] = set()
        self._cluster = cluster
        self._what = what
        self._absences: dict[int, _Absence] = {}
        for shard_id in cluster.configured:
            counters.put("shard_away", 0, shard_id)

    def note_all(self, failures: Mapping[int, MynamoError]) -> None:
        """`note`, for several shards by their numbers."""
        for shard_id, failure in failures.items():
            self.note(shard_id, failure)

    def note(self, shard_id: int, failure: MynamoError) -> None:
        """A shard has not answered, or not done what it should do."""
        now = time.monotonic()
        before = self._absences.get(shard_id)
        pause = ASK_EVERY
        if before is not None and now - before.failed_at < before.pause + _SOUND:
            pause = min(LONGEST_PAUSE, 2 * before.pause)
        if shard_id not in self.ids:
            log.warning("%s: what needs it waits, all else goes on: %s", self._what, failure)
        self.ids.add(shard_id)
        counters.put("shard_away", 1, shard_id)
        self._absences[shard_id] = _Absence(pause, now, now)

    def back(self) -> set[int]:
        """The shards that answer again, which do not count as away from now on. Asks the others."""
        if not self.ids:
            return set()
        now = time.monotonic()
        back = set()
        for shard_id in self.ids:
            absence = self._absences[shard_id]
            if absence.answered and now - absence.failed_at >= absence.pause:
                back.add(shard_id)
            elif not absence.asking and now - absence.asked_at >= ASK_EVERY:
                absence.asking, absence.asked_at = True, now
                threading.Thread(target=self._ask, args=(shard_id, absence), daemon=True).start()
        self.ids -= back
        for shard_id in back:
            counters.put("shard_away", 0, shard_id)
        if back:
            log.info("%s: shards %s are back", self._what, sorted(back))
        return back

    def _ask(self, shard_id: int, absence: _Absence) -> None:
        """One that the configuration lacks is back when it has no slots any more."""
        try:
            shard = self._cluster.configured.get(shard_id)
            if shard is not None:
                shard.health()
            elif any(owned.shard_id == shard_id for owned in self._cluster.refresh().slots):
                absence.answered = False
                return
        except Exception as failure:  # it is asked again
            log.debug("still away: %s", failure)
            absence.answered = False
        else:
            absence.answered = True
        finally:
            absence.asking = False
