"""Moving many ranges: rebalancing all shards, draining one, going on with what is open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace

from mynamo.catalog import moves
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.snapshot import SlotMove
from mynamo.operations.resharding.mover import Moved, Mover, Report, move_of, open_moves
from mynamo.operations.resharding.plan import PlannedMove, plan

OnProgress = Callable[[Report], None]


class _Interrupted(Exception):  # noqa: N818
    """Another move has failed, or the caller was interrupted."""


def planned_moves(cluster: Cluster) -> list[PlannedMove]:
    """What `rebalance` would move now.

    Raises:
        ShardUnavailable: a server does not answer.
    """
    snapshot = cluster.refresh()
    per_slot = {
        id_: size_of(cluster.shards[id_]) / count
        for id_, count in snapshot.slot_counts.items()
        if count
    }
    return plan(snapshot, per_slot)


def size_of(shard: DynamoDBShard) -> int:
    """Bytes of all tables and indexes of a shard, as its server estimates them.

    Raises:
        ShardUnavailable: it does not answer.
    """
    ((size,),) = shard.run(
        ("SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables"
         " WHERE table_schema = DATABASE() AND table_name LIKE 't%%'", ())
    )[0].rows  # fmt: skip
    return int(size)


def rebalance(
    cluster: Cluster,
    *,
    rate: float | None = None,
    parallel: int = 1,
    on_progress: OnProgress = lambda report: None,
) -> list[Moved]:
    """Go on with moves that are open, then move slots until all shards have their share.

    Args:
        rate: rows per second that each move copies at most; None: no limit.
        parallel: pairs of shards between which ranges are copied at the same time. Switches come
            one after another.
        on_progress: told what is going on, by several threads if several work.

    Returns:
        What has moved, with what each switch took.

    Raises:
        NoLongerMover: another process goes on with a move.
        CorruptData: source and target differ; these slots stay where they are.
        ShardUnavailable: a server does not answer; call again later.
    """
    stop = threading.Event()
    todo: list[PlannedMove] = []

    def tell(report: Report) -> None:
        if stop.is_set():
            raise _Interrupted
        on_progress(replace(report, slots_ahead=sum(each.slots for each in todo)))

    mover = Mover(cluster, rate, on_progress)
    to_clean = [moved for move in open_moves(cluster) if (moved := mover.go_on(move.id))]
    done = list(to_clean)
    todo += planned_moves(cluster)
    with ThreadPoolExecutor(parallel, thread_name_prefix="mynamo-move") as pool:
        running: dict[Future[Moved], frozenset[int]] = {}
        try:
            while running or todo:
                for each in _startable(todo, running.values(), parallel):
                    todo.remove(each)
                    one = Mover(cluster, rate, tell)
                    future = pool.submit(one.transfer, each.first, each.last, each.target)
                    running[future] = frozenset((each.source, each.target))
                ended, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in ended:
                    del running[future]
                    to_clean.append(future.result())
                    done.append(to_clean[-1])
                while to_clean and running and to_clean[0].is_due:
                    mover.clean(to_clean.pop(0))
        finally:
            stop.set()  # those under way end at their next step
    for moved in to_clean:
        mover.clean(moved)
    return done


def drain(
    cluster: Cluster,
    shard_id: int,
    *,
    rate: float | None = None,
    parallel: int = 1,
    on_progress: OnProgress = lambda report: None,
) -> list[Moved]:
    """Move all slots of a shard to the others.

    Args:
        shard_id: which gets no slots any more (D1).
        others: see `rebalance`.

    Raises:
        InvalidRequest: it is not a shard that can be drained; nothing was changed.
        others: see `rebalance`.
    """
    moves.set_draining(cluster.catalog, shard_id, True)
    return rebalance(cluster, rate=rate, parallel=parallel, on_progress=on_progress)


def move_slots(
    cluster: Cluster,
    first: int,
    last: int,
    target: int,
    *,
    rate: float | None = None,
    on_progress: OnProgress = lambda report: None,
) -> Moved:
    """Move slots, which one shard has, to another one.

    Args:
        first, last: of the range, 0 to 4095.
        target: number of the shard.
        others: see `rebalance`.

    Raises:
        InvalidRequest: the slots are not one shard's, or are on their way; or the target is no
            active shard. Nothing was changed.
        others: see `rebalance`.
    """
    return Mover(cluster, rate, on_progress).move(first, last, target)


def cancel_move(cluster: Cluster, first: int, last: int) -> None:
    """Give up the move of just these slots; what was copied is deleted.

    Raises:
        InvalidRequest: there is no such move, or the slots have moved. Nothing was changed.
        ShardUnavailable: a server does not answer; call again.
    """
    Mover(cluster).cancel(move_of(cluster, first, last).id)


def resume(
    cluster: Cluster,
    *,
    rate: float | None = None,
    on_progress: OnProgress = lambda report: None,
    discard: bool = False,
) -> list[SlotMove]:
    """Go on with all moves that are open, to their ends.

    Args:
        discard: see `Mover`.
        others: see `rebalance`.

    Returns:
        Those that there were.

    Raises:
        See `rebalance`.
    """
    mover = Mover(cluster, rate, on_progress, discard)
    found = open_moves(cluster)
    for moved in [moved for move in found if (moved := mover.go_on(move.id))]:
        mover.clean(moved)
    return found


def _startable(
    todo: Sequence[PlannedMove], busy: Iterable[frozenset[int]], parallel: int
) -> list[PlannedMove]:
    """The next moves, of which no two are between the same shards."""
    pairs = set(busy)
    found = []
    for each in todo:
        pair = frozenset((each.source, each.target))
        if pair not in pairs and len(pairs) < parallel:
            pairs.add(pair)
            found.append(each)
    return found
