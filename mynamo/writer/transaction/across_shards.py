"""Transactions over several shards: intents, one decision, and what follows from it.

The coordinator is the process that has the request. What it does on a shard is one local
transaction (`shard_steps`); all shards of a step do it side by side:

T1. Route each write. The deciding shard is that of the first one. Make an id, of which no two
    attempts have the same. A crash here: nothing happened.
T2. Learn the deciding shard's generation, unless it is known. A crash here: nothing happened.
T3. Prepare, on all shards but the deciding one: lock the rows, evaluate the writes, and leave an
    intent beside each item. A crash from here on, before T4's commit: the intents stay, until
    somebody meets them, or a writer worker finds them; who does aborts the transaction, and
    releases them (T6). T3 is never sent again under the same id: if its answer is lost, the
    attempt is over.
T4. Decide: evaluate and write the deciding shard's own items, and keep COMMITTED and the request
    token, in one commit. This is when the transaction happens. If the answer is lost, T6 says what
    became of it. A crash after it: others apply the intents.
T5. Apply the intents, and answer. A crash in it: others apply the rest.

If a write is refused before T4, those of the deciding shard are evaluated all the same, so that
every reason is known. Whoever does not go on to T5 releases its intents first. So if an item is
another transaction's, `transact` waits without holding anything, and makes another attempt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import Decision, Transaction
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.errors import (
    MynamoError,
    ShardUnavailable,
    TransactionCanceled,
    TransactionConflict,
    WriteOutcomeUnknown,
)
from mynamo.runtime import deadlines
from mynamo.runtime.crash_points import crash_point
from mynamo.runtime.side_by_side import side_by_side
from mynamo.runtime.tasks import in_thread
from mynamo.writer.transaction.commit import StaleDefinition
from mynamo.writer.transaction.evaluation import Done, Outcome, Refused, not_current
from mynamo.writer.transaction.meeting import note_gone
from mynamo.writer.transaction.repeated_requests import (
    answer_again,
    ids_behind,
    stream_of,
    waits_for_shard,
)
from mynamo.writer.transaction.request_tokens import RequestToken, note_generation
from mynamo.writer.transaction.resolver import decision_of
from mynamo.writer.transaction.shard_steps import (
    apply_on,
    commit_decision,
    evaluate_on_decider,
    prepare_on,
    release_on,
)
from mynamo.writer.transaction.statements import LockedRow
from mynamo.writer.transaction.step_commit import (
    AnswerLost,
    Applied,
    Decided,
    GenerationOver,
    TransactionAborted,
)
from mynamo.writer.transaction.transacted import Transacted, all_done
from mynamo.writer.transaction.transaction_ids import new_id
from mynamo.writer.transaction.turns import Turn
from mynamo.writer.transaction.write_requests import AllOrNothing, Deciding, Write

log = logging.getLogger(__name__)

RELEASE_SECONDS = 3.0
"""For which a coordinator tries to release its intents; others do it later."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt.

    Attributes:
        writes: of the request.
        decider: the deciding shard.
        parts: positions of each shard's writes, that of the deciding one among them.
    """

    cluster: Cluster
    transaction: Transaction
    writes: Sequence[Write]
    token: RequestToken | None
    decider: DynamoDBShard
    parts: Mapping[DynamoDBShard, Sequence[int]]

    @property
    def others(self) -> list[DynamoDBShard]:
        """The shards that get intents."""
        return [shard for shard in self.parts if shard is not self.decider]

    def on(self, shard: DynamoDBShard) -> list[Write]:
        """The writes of one shard."""
        return [self.writes[position] for position in self.parts[shard]]


class AttemptOver(MynamoError):  # noqa: N818
    """The attempt was aborted by somebody else, or its intents may or may not be placed; nothing
    was written. Make another attempt.

    Attributes:
        aborted: by somebody who met its intents.
        cancelled: what the caller hears if this goes on.
        patience: seconds for which to try, if it was not aborted.
    """

    def __init__(self, attempt: _Attempt, failure: MynamoError) -> None:
        super().__init__(str(failure))
        self.aborted = not isinstance(failure, GenerationOver | AnswerLost)
        self.patience = attempt.decider.timeout
        self.cancelled = TransactionCanceled(
            reasons=[
                None if write.route.shard is attempt.decider else TransactionConflict()
                for write in attempt.writes
            ]
        )


Prepared = Sequence[Outcome] | MynamoError
"""What T3 came to on a shard."""


def transact_across(
    cluster: Cluster,
    writes: Sequence[Write],
    token: RequestToken | None,
    generation: int,
    age: bytes,
    turn: Turn,
) -> Transacted:
    """Make one attempt of a transaction over several shards.

    Args:
        generation: of the shard of the first write; see `request_tokens.generation_of`.
        age: of the request's first attempt; see `transaction_ids`.
        turn: of the request at its items.

    Raises:
        StaleDefinition: nothing was written; refresh the catalog and make another attempt.
        Met: nothing was written; some items are other transactions'.
        AttemptOver: nothing was written; make another attempt.
        TransactionCanceled, IdempotentParameterMismatch, ShardUnavailable: nothing was written.
        WriteOutcomeUnknown: it may have happened, or it has and a part of it waits for a shard.
    """
    attempt = _begin(cluster, writes, token, generation, age)
    prepared = _prepare_all(attempt)
    outcomes, known = _decide(attempt, prepared)
    if known is not None:
        return known
    turn.pass_on()
    applied = _apply_all(attempt)
    return _answer(attempt, outcomes, applied)


def _begin(
    cluster: Cluster,
    writes: Sequence[Write],
    token: RequestToken | None,
    generation: int,
    age: bytes,
) -> _Attempt:
    """T1 and T2."""
    decider = writes[0].route.shard
    parts: dict[DynamoDBShard, list[int]] = {}
    for position, write in enumerate(writes):
        parts.setdefault(write.route.shard, []).append(position)
    crash_point("transact.1")
    transaction = Transaction(
        new_id(age), decider.id, generation, None if token is None else token.token
    )
    crash_point("transact.2")
    return _Attempt(cluster, transaction, writes, token, decider, parts)


def _prepare_all(attempt: _Attempt) -> dict[DynamoDBShard, Prepared]:
    """T3."""
    others = attempt.others
    found = side_by_side([partial(_prepare, attempt, shard) for shard in others])
    return dict(zip(others, found, strict=True))


def _prepare(attempt: _Attempt, shard: DynamoDBShard) -> Prepared:
    try:
        with shard.admission:
            found = prepare_on(attempt.cluster, shard, attempt.on(shard), attempt.transaction)
    except MynamoError as failure:
        return failure
    crash_point("transact.3")
    return found


def _may_have_intents(prepared: Prepared) -> bool:
    if isinstance(prepared, MynamoError):
        return isinstance(prepared, AnswerLost)
    return not any(isinstance(outcome, Refused) for outcome in prepared)


def _decide(
    attempt: _Attempt, prepared: Mapping[DynamoDBShard, Prepared]
) -> tuple[list[Done], Transacted | None]:
    """T4. Whoever comes back from here without a failure has committed the transaction, or the
    request has happened before.

    Returns:
        The outcomes of all writes; and the answer, if the request has happened before.
    """
    placed = [shard for shard, each in prepared.items() if _may_have_intents(each)]
    try:
        found = _evaluated(attempt, prepared)
        decided = _ask_decider(attempt, found, refused=len(placed) < len(found))
    except WriteOutcomeUnknown:
        raise  # the intents may have to be applied yet
    except MynamoError:  # after any other exception nobody knows whether it was committed
        _release_all(attempt, placed)
        raise
    # From here on it is known, and a committed transaction's intents are never released.
    outcomes = _all_outcomes(attempt, found, decided)
    if decided.known is None and not any(isinstance(each, Refused) for each in outcomes):
        crash_point("transact.4")
        return all_done(attempt.writes, outcomes), None
    _release_all(attempt, placed)
    if decided.known is not None:
        return [], answer_again(attempt.cluster, attempt.writes, decided.known)
    return all_done(attempt.writes, outcomes), None  # which raises


Found = Mapping[DynamoDBShard, Sequence[Outcome]]
"""The outcomes of T3 where it did not fail."""


def _evaluated(attempt: _Attempt, prepared: Mapping[DynamoDBShard, Prepared]) -> Found:
    """The outcomes of T3. Raises the failure for which T4 cannot be sent."""
    failures = [each for each in prepared.values() if isinstance(each, MynamoError)]
    outdated = [each for each in failures if isinstance(each, StaleDefinition)]
    if outdated:
        raise StaleDefinition({table_id for each in outdated for table_id in each.table_ids})
    for failure in failures:
        if isinstance(failure, AnswerLost):
            raise AttemptOver(attempt, failure)
        raise failure
    return {shard: each for shard, each in prepared.items() if not isinstance(each, MynamoError)}


def _ask_decider(attempt: _Attempt, found: Found, refused: bool) -> Decided:
    """Send T4, or, if a write is refused elsewhere, have the others evaluated.

    Raises:
        WriteOutcomeUnknown: it may have been committed.
        MynamoError: it was not, and never will be.
    """
    writes = AllOrNothing(
        attempt.on(attempt.decider), attempt.token, decision=_deciding(attempt, found)
    )
    ask = evaluate_on_decider if refused else commit_decision
    try:
        with attempt.decider.admission:
            return ask(attempt.cluster, attempt.decider, writes)
    except AnswerLost as failure:
        return _what_became_of(attempt, failure)
    except TransactionAborted as failure:
        raise AttemptOver(attempt, failure) from None
    except GenerationOver as failure:
        note_generation(attempt.decider, failure.found)
        if attempt.token is None and failure.found > attempt.transaction.generation:
            raise AttemptOver(attempt, failure) from None
        reason = not_current(attempt.transaction.generation, failure.found)
        return Decided([Refused(reason) for _ in writes])


def _deciding(attempt: _Attempt, found: Found) -> Deciding:
    elsewhere: list[bool | None] = [None] * len(attempt.writes)
    for shard, outcomes in found.items():
        for position, outcome in zip(attempt.parts[shard], outcomes, strict=True):
            elsewhere[position] = _changes(attempt.writes[position], outcome)
    transaction = attempt.transaction
    return Deciding(transaction.id, transaction.generation, tuple(elsewhere))


def _changes(write: Write, outcome: Outcome) -> bool:
    """Whether a write makes an event."""
    return (
        isinstance(outcome, Done)
        and write.request.operation != "CHECK"
        and (outcome.old is not None or outcome.new is not None)
    )


@in_thread
def _what_became_of(attempt: _Attempt, lost: AnswerLost) -> Decided:
    """T6, by the coordinator itself.

    Raises:
        AttemptOver: it was aborted.
        WriteOutcomeUnknown: nobody can say.
    """
    decider, transaction = attempt.decider, attempt.transaction
    seconds = deadlines.outcome_timeout(decider.outcome_timeout)
    try:
        decision = deadlines.until(
            time.monotonic() + seconds,
            lambda: retry(
                lambda: decision_of(
                    attempt.cluster, decider.id, transaction.id, transaction.generation
                ),
                patience=seconds,
                mends=(ShardUnavailable,),
            ),
        )
    except MynamoError as failure:
        raise WriteOutcomeUnknown(
            f"{decider.where}: the connection was lost during the commit of a transaction, and the "
            f"server did not say within the outcome_timeout of {seconds:g} s what became of it; "
            f"read the items to see whether they were written ({failure})"
        ) from None
    if decision is Decision.COMMITTED:
        return Decided(
            [
                Done(0, o.old, o.new, partition=o.partition) if isinstance(o, Done) else o
                for o in lost.outcomes
            ]
        )
    if decision is Decision.ABORTED:
        raise AttemptOver(attempt, TransactionAborted())
    raise WriteOutcomeUnknown(
        f"{decider.where}: the connection was lost during the commit of a transaction, and it has "
        "taken so long to ask that the shard may have forgotten it; read the items to see whether "
        "they were written"
    )


def _all_outcomes(attempt: _Attempt, found: Found, decided: Decided) -> list[Outcome]:
    """Of all writes, in the order of the request."""
    by_position: dict[int, Outcome] = {}
    for shard, outcomes in [(attempt.decider, decided.outcomes), *found.items()]:
        by_position |= zip(attempt.parts[shard], outcomes, strict=True)
    return [by_position[position] for position in range(len(attempt.writes))]


def _apply_all(attempt: _Attempt) -> dict[LockedRow, Applied]:
    """T5. Returns what was applied here, by place."""
    found = side_by_side([partial(_apply, attempt, shard) for shard in attempt.others])
    everything: dict[LockedRow, Applied] = {}
    for each in found:
        if isinstance(each, MynamoError):
            raise waits_for_shard(each)
        everything |= {(applied.table_id, applied.row): applied for applied in each}
    return everything


def _apply(attempt: _Attempt, shard: DynamoDBShard) -> list[Applied] | MynamoError:
    seconds = deadlines.outcome_timeout(shard.outcome_timeout)
    one = attempt.cluster, shard, attempt.transaction.id
    try:
        applied = apply_on(*one, attempt.on(shard), seconds)
    except MynamoError as failure:
        return failure
    note_gone(shard, attempt.transaction.id)
    crash_point("transact.5")
    return applied


def _release_all(attempt: _Attempt, shards: Collection[DynamoDBShard]) -> None:
    """Take away this attempt's intents, which nobody will ever commit, as far as it can be done at
    once."""
    side_by_side([partial(_release, attempt, shard) for shard in shards])


def _release(attempt: _Attempt, shard: DynamoDBShard) -> None:
    one = attempt.cluster, shard, attempt.transaction.id
    try:
        release_on(*one, attempt.on(shard), RELEASE_SECONDS)
    except MynamoError as failure:  # others will
        log.debug("intents of a transaction stay for a while: %s", failure)
    note_gone(shard, attempt.transaction.id)


def _answer(
    attempt: _Attempt, outcomes: Sequence[Done], applied: Mapping[LockedRow, Applied]
) -> Transacted:
    """The outcomes with their versions. Where somebody else has applied an item, or the answer
    that had the version is lost, they say which change of the stream to wait for instead."""
    done, shards = list(outcomes), [write.route.shard.id for write in attempt.writes]
    unknown: dict[int, Write] = {}
    for position, write in enumerate(attempt.writes):
        known = applied.get((write.table.id, write.row))
        if known is not None:
            done[position] = replace(done[position], version=known.version)
            shards[position] = known.shard
        if not done[position].version and _changes(write, done[position]):
            unknown[position] = write
    if not unknown:
        return Transacted(done, shards)
    try:
        behind = ids_behind(attempt.cluster, list(unknown.values()))
    except ShardUnavailable as failure:
        raise waits_for_shard(failure) from None
    for position, write in unknown.items():
        stream = stream_of(attempt.cluster, write)
        done[position] = replace(done[position], followed_by=behind.get(stream, 0))
        shards[position] = stream[0]
    return Transacted(done, shards)
