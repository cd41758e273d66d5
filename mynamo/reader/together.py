"""Statements of readings that meet share a round trip (see `mynamo.shards.lanes`), and those
that ask the same an answer."""

from __future__ import annotations

from collections.abc import Sequence

from mynamo.errors import MynamoError
from mynamo.shards.lanes import Lane, Traveller
from mynamo.shards.pool import Result, Statement
from mynamo.shards.shard import DynamoDBShard, PerShard

AT_ONCE = 2
"""Round trips of a lane that are under way."""
MOST_ROWS = 1600
"""That the statements of one round trip for several callers may give."""

_Asked = tuple[DynamoDBShard, Sequence[Statement]]


class StatementLane:
    """The lane of statements that read from one shard.

    It knows its shard from its callers only, and so ends with it.
    """

    def __init__(self) -> None:
        self.lane: Lane[_Asked, list[Result]] = Lane(
            _carry, at_once=AT_ONCE, max_count=MOST_ROWS, max_size=0
        )


def run_together(shard: DynamoDBShard, statements: Sequence[Statement], rows: int) -> list[Result]:
    """Run statements that read, in their order and side by side with those of others.

    Args:
        statements: with tuples of values.
        rows: that they may give.

    Raises:
        MissingTable, ShardUnavailable: see `DynamoDBShard.run`.
    """
    found = _lane_of(shard).lane.travel(Traveller((shard, statements), rows, 0))
    return shard.run(*statements) if found is None else found


def _carry(callers: Sequence[Traveller[_Asked, list[Result]]]) -> None:
    order: dict[Statement, None] = {}  # of several that are the same, where the last one stands
    for caller in callers:
        for statement in caller.asked[1]:
            order.pop(statement, None)
            order[statement] = None
    try:
        with callers[0].asked[0].session() as session:
            found = dict(zip(order, session.run(*order), strict=True))
    except MynamoError:  # patience, and a table that is gone, are each caller's own
        return
    for caller in callers:
        caller.answer = [found[statement] for statement in caller.asked[1]]


_lane_of = PerShard(lambda _: StatementLane()).of
