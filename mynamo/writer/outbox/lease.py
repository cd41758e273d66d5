"""The relay's lease on a shard: a row in the shard's own database, by that server's clock."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NoReturn

from mynamo.catalog import sql
from mynamo.catalog.incarnation import FENCING
from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import MynamoError
from mynamo.mysql.pool import Statement
from mynamo.runtime.counters import counters

log = logging.getLogger(__name__)

TTL = 3.0
"""Seconds for which a lease holds; a relay that died is replaced after so long."""
RENEW_BELOW = 2.0
"""Seconds left at which the holder renews it. So a holder may be held up for as long as that before
it loses the lease, whenever that begins."""
LONGEST_TTL = 4.0
"""Seconds for which a relay of any release takes it. More than that are left only if the server's
clock was set back."""


class LeaseLost(MynamoError):  # noqa: N818
    """Another relay has taken over."""


class WentBack(MynamoError):  # noqa: N818
    """The lease is as it was some time ago, so the shard has gone back in time."""


@dataclass(frozen=True, slots=True)
class RelayState:
    """What the holder of the lease sees.

    Attributes:
        last_seq: the last sequence number given.
        published_seq: everything up to it is in Kafka.
        waiting: there are committed changes without a number.
        restored: an indexer or a person says that the shard has gone back in time.
        fencing: the shard's incarnation is not fenced yet.
    """

    last_seq: int
    published_seq: int
    waiting: bool
    restored: bool
    fencing: bool


class Lease:
    """The lease of one relay on one shard.

    The epoch grows each time another relay takes the lease. All that a relay writes is guarded
    by the epoch, so a relay that wakes up after it was replaced changes nothing.

    A shard that was restored in place has the lease of its backup: an epoch that is over, or an end
    of the lease before the one that was read last. Only the holder can tell the latter, since a
    clock that is set back gives an earlier end, too, when the holder writes it.

    Args:
        owner: a name that no other relay has.
    """

    def __init__(self, shard: DynamoDBShard, owner: str) -> None:
        self.shard = shard
        self.owner = owner.encode()[:64]
        self.epoch: int | None = None
        self._last_epoch = 0
        self._last_end: int | None = None  # as read; None: the holder has written it since

    @property
    def guard(self) -> tuple[bytes, int]:
        """Owner and epoch, for the WHERE of a statement that only the holder may run.

        Raises:
            LeaseLost: it is not held.
        """
        if self.epoch is None:
            raise LeaseLost
        return self.owner, self.epoch

    def hold(self) -> RelayState | None:
        """Take or keep the lease: one round trip, rarely two.

        Returns:
            None while another relay holds it.

        Raises:
            LeaseLost: it was held until now.
            WentBack: the shard has gone back in time.
            ShardUnavailable: the server does not answer.
        """
        with self.shard.session() as session:
            rows = session.run(_LOOK)[0].rows
        owner, epoch, end, left, last_seq, published_seq, waiting, restored, fencing = rows[0]
        self.compare(epoch, end)
        if left > LONGEST_TTL * 1_000_000:  # the server's clock was set back
            left = 0
        if (owner, epoch) == (self.owner, self.epoch):
            if left < RENEW_BELOW * 1_000_000:
                self.renew()
        elif self.epoch is not None:
            self.lost()
        elif owner in (None, self.owner) or left <= 0:
            if not self._take():
                return None
        else:
            return None
        return RelayState(last_seq, published_seq, bool(waiting), bool(restored), bool(fencing))

    def compare(self, epoch: int, end: int) -> None:
        """See that the lease is not as it was some time ago.

        Args:
            end: of the lease, by the server's clock.

        Raises:
            WentBack: it is.
        """
        before, self._last_epoch = self._last_epoch, epoch
        last_end, self._last_end = self._last_end, end
        held = self.epoch is not None and epoch == self.epoch
        if epoch < before or (held and last_end is not None and end < last_end):
            self.epoch = self._last_end = None
            raise WentBack

    def written(self) -> None:
        """Note that the holder writes the end of the lease, whatever becomes of it."""
        self._last_end = None

    def renew(self) -> None:
        """Hold it for another `TTL`.

        Raises:
            LeaseLost: another relay has it.
        """
        self.written()
        with self.shard.session() as session:
            done, lease = session.run(
                (f"UPDATE mynamo_relay SET expires = {EXPIRY} WHERE owner = %s AND epoch = %s",
                 self.guard),
                ("SELECT expires FROM mynamo_relay", ()),
            )  # fmt: skip
        if not done.count:
            self.lost()
        self._last_end = lease.rows[0][0]

    def lost(self) -> NoReturn:
        """Note that another relay has it.

        Raises:
            LeaseLost: always.
        """
        self.epoch = None
        log.info("%s: another relay has taken over", self.shard.where)
        raise LeaseLost

    def release(self) -> None:
        """Give it up, so that another relay need not wait for its end."""
        epoch, self.epoch = self.epoch, None
        if epoch is not None:
            with self.shard.session() as session:
                session.run(
                    ("UPDATE mynamo_relay SET owner = NULL, expires = 0"
                     " WHERE owner = %s AND epoch = %s", (self.owner, epoch))
                )  # fmt: skip

    def _take(self) -> bool:
        with self.shard.session() as session:
            rows = session.run(
                (f"UPDATE mynamo_relay SET owner = %s, epoch = epoch + 1, expires = {EXPIRY}"
                 f" WHERE owner IS NULL OR owner = %s OR expires <= {sql.NOW}"
                 f" OR expires > {_LATEST}",
                 (self.owner, self.owner)),
                ("SELECT owner, epoch FROM mynamo_relay", ()),
            )[1].rows  # fmt: skip
        if rows[0][0] != self.owner:  # another one was faster
            return False
        self.epoch = rows[0][1]
        self.written()
        counters.add("relay_leases_taken", 1, self.shard.id)
        log.info("%s: relaying, as epoch %d", self.shard.where, self.epoch)
        return True


EXPIRY = f"{sql.NOW} + {round(TTL * 1_000_000):d}"
_LATEST = f"{sql.NOW} + {round(LONGEST_TTL * 1_000_000):d}"

_LOOK: Statement = (
    f"SELECT owner, epoch, expires, CAST(expires AS SIGNED) - CAST({sql.NOW} AS SIGNED), last_seq,"
    " published_seq, EXISTS (SELECT 1 FROM mynamo_outbox FORCE INDEX (by_sequence)"
    f" WHERE {sql.UNNUMBERED}), i.server = '', i.state = %s"
    " FROM mynamo_relay LEFT JOIN (SELECT server, state FROM mynamo_incarnation"
    " ORDER BY incarnation DESC LIMIT 1) i ON TRUE",
    (FENCING,),
)
