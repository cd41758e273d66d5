"""Step T6 of a transaction over several shards: what became of it, and finishing it on a shard.

Anybody may do this at any time, any number of times, and as late as they like:

T6. Insert ABORTED on the deciding shard, which does nothing beside another decision. If T4 is under
    way in another session, the insertion waits for it. Then read the shard's generation, and the
    decision behind it. A crash after it: the row stays, and says the same to the next one.
    a.  COMMITTED: apply the intents (T5).
    b.  ABORTED: release them.
    c.  No decision, and the transaction's generation is over: nobody can ever commit it, so
        release them.
"""

from __future__ import annotations

import logging

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import (
    READ_GENERATION,
    Decision,
    insert_aborted,
    read_decision,
)
from mynamo.catalog.shard import DynamoDBShard, pause
from mynamo.errors import ShardUnavailable
from mynamo.runtime.crash_points import crash_point
from mynamo.writer.transaction.shard_steps import apply_on, release_on

log = logging.getLogger(__name__)


class WentBack(ShardUnavailable):
    """A deciding shard has not reached the generation of a transaction that it once began, so it
    went back in time, and cannot say what became of it; a writer worker sees to it."""


_ATTEMPTS = 5
"""Of finding a decision: the generation may be counted up between the statements."""


def decision_of(
    cluster: Cluster, decider: int, transaction_id: bytes, generation: int
) -> Decision | None:
    """T6: the decision of a transaction, which is aborted if it has none.

    Args:
        decider: number of the deciding shard.
        generation: of that shard, as the transaction's intents have it.

    Returns:
        None: its generation is over, so nobody will decide it any more. If it was committed, it was
        applied everywhere.

    Raises:
        WentBack: see there.
        ShardUnavailable: the deciding shard does not answer.
    """
    shard = cluster.member(decider)
    for attempt in range(_ATTEMPTS):
        _, generations, decisions = shard.ask(
            insert_aborted(transaction_id, generation),
            READ_GENERATION,
            read_decision(transaction_id),
        )
        if decisions.rows:
            return Decision(decisions.rows[0][0])
        found = int(generations.rows[0][0]) if generations.rows else 0
        if found > generation + 1:
            return None
        if found < generation:
            raise WentBack(
                f"{shard.where}: it is at generation {found}, and was at {generation} when a "
                "transaction began, so it went back in time; `mynamo writer` gives it a new "
                "incarnation"
            )
        pause(attempt)
    raise ShardUnavailable(f"{shard.where}: the decision of a transaction could not be made")


def resolve(
    cluster: Cluster, shard: DynamoDBShard, decider: int, transaction_id: bytes, generation: int
) -> Decision | None:
    """Finish a transaction on one shard: apply its intents there, or release them.

    Args:
        decider, transaction_id, generation: see `decision_of`.

    Returns:
        See `decision_of`.

    Raises:
        ShardUnavailable: this shard or the deciding one does not answer.
    """
    decision = decision_of(cluster, decider, transaction_id, generation)
    crash_point("transact.6")
    if decision is Decision.COMMITTED:
        apply_on(cluster, shard, transaction_id)
    else:
        release_on(cluster, shard, transaction_id)
    log.info(
        "%s: transaction %s was %s", shard.where, transaction_id.hex(),
        "applied" if decision is Decision.COMMITTED else "released",
    )  # fmt: skip
    return decision
