"""Mending indexes after a shard has lost changes: step A5 of `mynamo.catalog.incarnation`.

A writer process looks every few seconds for incarnations to mend. One process at a time mends those
of a shard; it renews its claim as it goes, and if it dies another one begins again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Sequence

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.incarnation import CLEAN, MENDING, history, set_state
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import MynamoError, TableNotFound
from mynamo.operations.comparison_progress import Progress
from mynamo.operations.repair import repair

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks for incarnations to mend."""
LONGEST_PAUSE = 60.0
"""Seconds from an attempt to mend a shard's indexes that failed, to the next one, at the most."""
CLAIM_SECONDS = 60
"""For which a claim holds without being renewed."""
_RENEW_EVERY = 10.0


class Claimed(MynamoError):  # noqa: N818
    """Another process mends this shard."""


def run_mending(cluster: Cluster, stop: threading.Event) -> None:
    """Mend what there is to mend, until told to stop, whatever servers come and go."""
    owner = f"{socket.gethostname()[:20]}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
    due: dict[int, float] = {}
    pauses: dict[int, float] = {}
    while not stop.wait(LOOK_EVERY):
        for shard in cluster.shards.values():
            if time.monotonic() < due.get(shard.id, 0.0):
                continue
            if _try(cluster, shard, owner, stop):
                pauses.pop(shard.id, None)
            else:
                pauses[shard.id] = min(LONGEST_PAUSE, 2 * pauses.get(shard.id, LOOK_EVERY / 2))
                due[shard.id] = time.monotonic() + pauses[shard.id]


def _try(cluster: Cluster, shard: DynamoDBShard, owner: str, stop: threading.Event) -> bool:
    """Whether nothing is left to do for this process now."""
    try:
        waiting = to_mend(shard)
    except MynamoError as failure:  # others say that the shard is away
        log.debug("%s: whether there is anything to mend is not known: %s", shard.where, failure)
        return True
    try:
        if not waiting or cluster.lacking:  # else it is left to other processes
            return True
        return mend_indexes(cluster, shard, waiting, owner, stop)
    except Claimed:
        return True
    except MynamoError as failure:
        log.warning("%s: its indexes are not mended yet: %s", shard.where, failure)
    except Exception:
        log.exception("%s: its indexes are not mended yet", shard.where)
    return False


def to_mend(shard: DynamoDBShard) -> list[int]:
    """The numbers of the shard's incarnations that are to be mended.

    Raises:
        ShardUnavailable: it does not answer.
    """
    with shard.session() as session:
        return [each.number for each in history(session) if each.state == MENDING]


def mend_indexes(
    cluster: Cluster,
    shard: DynamoDBShard,
    incarnations: Sequence[int],
    owner: str,
    stop: threading.Event,
) -> bool:
    """Verify and repair all indexes after incarnations of a shard; safe to repeat.

    Args:
        incarnations: that are to be mended, by `to_mend`.
        owner: a name that no other process has, up to 64 bytes.

    Returns:
        Whether all went well: they are clean, or wait for the backfill of an index.

    Raises:
        Claimed: another process is at it.
        ShardUnavailable: a shard does not answer.
    """
    claim = _Claim(shard, owner)
    claim.renew()
    cluster.refresh()
    for table in cluster.snapshot.tables.values():
        if table.status != "ACTIVE" or not table.live_indexes:
            continue
        if any(index.status == "CREATING" for index in table.live_indexes):
            return True  # it is verified when it is done
        try:
            report = repair(cluster, table.name, on_progress=claim.keep)
        except TableNotFound:
            continue
        if stop.is_set() or not report.ok:
            log.warning("%s: %s", shard.where, report)
            return False
        log.warning(
            "%s: table %s is verified: %d findings, all mended",
            shard.where, table.name, report.verdict.findings,
        )  # fmt: skip
    with shard.session() as session:
        for number in incarnations:
            set_state(session, number, MENDING, CLEAN)
    log.warning("%s: its indexes have nothing any more of the changes that it lost", shard.where)
    return True


class _Claim:
    """The right to mend a shard."""

    def __init__(self, shard: DynamoDBShard, owner: str) -> None:
        self._shard = shard
        self._owner = owner.encode()[:64]
        self._renewed_at = 0.0

    def keep(self, _: Progress) -> None:
        """Renew it now and then. Raises Claimed if another process has it."""
        if time.monotonic() - self._renewed_at > _RENEW_EVERY:
            self.renew()

    def renew(self) -> None:
        """Take or renew it.

        Raises:
            Claimed: another process has it.
        """
        with self._shard.session() as session:
            rows = session.run(
                ("BEGIN", ()),
                (f"SELECT mender, mender_until < {sql.NOW} FROM mynamo_incarnation"
                 " WHERE state = %s FOR UPDATE", (MENDING,)),
            )[1].rows  # fmt: skip
            claimed = any(mender not in (None, self._owner) and not over for mender, over in rows)
            if claimed:  # keep none, or two that have some would wait for each other
                session.run(
                    ("UPDATE mynamo_incarnation SET mender = NULL WHERE mender = %s",
                     (self._owner,)),
                    ("COMMIT", ()),
                )  # fmt: skip
                raise Claimed(f"{self._shard.where}: another process mends its indexes")
            session.run(
                ("UPDATE mynamo_incarnation SET mender = %s,"
                 f" mender_until = {sql.NOW} + {CLAIM_SECONDS * 1_000_000:d} WHERE state = %s",
                 (self._owner, MENDING)),
                ("COMMIT", ()),
            )  # fmt: skip
        self._renewed_at = time.monotonic()
