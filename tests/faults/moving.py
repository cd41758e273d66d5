"""A mover: moves slots there and back while everything runs.

    python -m tests.faults.moving --config CONFIG.toml --seed 1 --journal FILE

It runs until it is ended, which may be at any step, and hardly waits for indexers. There are
several of them: a move that nobody has brought forward for a while is taken over by whoever sees
it, so the one that has left it finds another mover when it wakes up.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import orjson

from mynamo.catalog import moves
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.moves import NoLongerMover, SwitchBusy
from mynamo.catalog.snapshot import SlotMove, Snapshot
from mynamo.errors import InvalidRequest, Unavailable
from mynamo.operations.resharding import mover, rebalance, switch
from mynamo.operations.resharding.mover import Mover, Report, open_moves
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import to_stored
from mynamo.schemas.keys import SLOTS, slot_of
from mynamo.writer.backfill import backfiller
from tests.faults.model import INDEXES, TABLE
from tests.faults.transactions import ACCOUNT_KEYS, ACCOUNTS
from tests.faults.workload import COLD_HASHES, GRADES, HOT_KEYS, STATUSES

CLEAN_AFTER = 1.0
"""Seconds behind a switch after which the source's rows are deleted."""
LEFT_ALONE = (6.0, 20.0)
LEFT_ALONE_AT_FIRST = (0.5, 3.0)
"""Seconds without a step after which a move counts as left by its mover; for a process that has
just begun, less."""
_SIZES = ((1, 64), (1, 64), (1, 64), (65, 1024))
"""Numbers of slots, of which one pair is drawn."""
_GIVEN_UP = 0.15
_CANCELLED = 0.25
_CANCELLED_AT_FIRST = 0.35
"""Shares of moves that their own mover, another one, and one that has just begun, cancel: the last
so that it gets to the first steps of a move."""
_BACK = 0.4
"""Share of moves that go back at once."""
_DRAINED = 0.03
"""Share of turns at which a shard begins to be drained."""
_PAUSE = 0.3
_EXPECTED = (NoLongerMover, SwitchBusy, InvalidRequest, Unavailable)


class _GivenUp(Exception):  # noqa: N818
    """The mover cancels its move."""


class RandomMover:
    """Moves slots that have items and index rows, drawn by chance.

    Args:
        journal: gets a line for each thing done.
    """

    def __init__(self, cluster: Cluster, choice: random.Random, journal: Path) -> None:
        self._cluster = cluster
        self._choice = choice
        self._journal = journal
        self._seen: tuple[Any, float, float] | None = None
        self._has_just_begun = True
        self._slots = _slots_in_use(cluster)

    def turn(self) -> None:
        """Do one thing.

        Raises:
            NoLongerMover, SwitchBusy, InvalidRequest: somebody else was faster.
            Unavailable: a server does not answer.
        """
        snapshot = self._cluster.refresh()
        found = open_moves(self._cluster)
        if found:
            if self._are_left(found):
                self._take_over(self._choice.choice(found))
            else:
                time.sleep(_PAUSE)
            return
        draining = [id_ for id_, one in snapshot.members.items() if one.state == "DRAINING"]
        if draining:
            self._drain(snapshot, draining[0])
        elif self._choice.random() < _DRAINED:
            shard_id = self._choice.choice(_active(snapshot))
            moves.set_draining(self._cluster.catalog, shard_id, True)
            self._note("draining", shard=shard_id)
        else:
            self._move_some(snapshot)

    def _are_left(self, found: Sequence[SlotMove]) -> bool:
        """Whether nobody has brought open moves forward for a while."""
        now = time.monotonic()
        state = [(move.id, move.state, move.attempt, move.term) for move in found]
        if self._seen is None or state != self._seen[0]:
            patience = LEFT_ALONE_AT_FIRST if self._seen is None else LEFT_ALONE
            self._seen = state, now, self._choice.uniform(*patience)
        _, since, seconds = self._seen
        return now - since >= seconds

    def _take_over(self, move: SlotMove) -> None:
        share = _CANCELLED_AT_FIRST if self._has_just_begun else _CANCELLED
        self._has_just_begun = False
        if move.is_open and self._choice.random() < share:
            Mover(self._cluster).cancel(move.id)
            self._note("cancelled for another", move)
            return
        one = Mover(self._cluster, on_progress=_log)
        moved = one.go_on(move.id)
        if moved is not None:
            one.clean(moved)
        self._note("taken over", move, left=move.state)

    def _drain(self, snapshot: Snapshot, shard_id: int) -> None:
        """Move a range of a shard that is draining; one that has none is to have slots again."""
        owners = snapshot.shard_ids
        if shard_id not in owners:
            moves.set_draining(self._cluster.catalog, shard_id, False)
            self._note("drained", shard=shard_id)
            return
        first, last = _around(owners, owners.index(shard_id))
        self._move(first, last, self._choice.choice(_active(snapshot)))

    def _move_some(self, snapshot: Snapshot) -> None:
        slot = self._choice.choice(self._choice.choice(self._slots))
        source = snapshot.shard_ids[slot]
        low, high = _around(snapshot.shard_ids, slot)
        size = self._choice.randint(*self._choice.choice(_SIZES))
        first = max(low, slot - self._choice.randrange(size))
        last = min(high, first + size - 1)
        target = self._choice.choice([id_ for id_ in _active(snapshot) if id_ != source])
        self._move(first, last, target)
        if self._choice.random() < _BACK:
            self._move(first, last, source)

    def _move(self, first: int, last: int, target: int) -> None:
        left = self._choice.randint(1, 6) if self._choice.random() < _GIVEN_UP else -1
        recorded: list[SlotMove] = []

        def tell(report: Report) -> None:
            nonlocal left
            _log(report)
            recorded.append(report.move)
            left -= 1
            if left == 0:
                raise _GivenUp

        try:
            moved = Mover(self._cluster, on_progress=tell).move(first, last, target)
        except _GivenUp:
            Mover(self._cluster).cancel(recorded[-1].id)
            self._note("cancelled", recorded[-1])
            return
        switched = moved.switched
        assert switched is not None
        pauses = {"writes": switched.writes, "reads": switched.reads}
        self._note("moved", recorded[-1], attempts=len(switched.pauses), **pauses)

    def _note(self, what: str, move: SlotMove | None = None, **more: Any) -> None:
        if move is not None:
            places = ("id", "first", "last", "source", "target")
            more |= {name: getattr(move, name) for name in places}
        with self._journal.open("ab") as file:
            file.write(orjson.dumps({"what": what, **more}) + b"\n")


@contextmanager
def _quick_moves() -> Iterator[None]:
    """Many moves in a short time, on a machine whose indexers are always behind."""
    with (
        mock.patch.object(mover, "CLEAN_AFTER", CLEAN_AFTER),
        mock.patch.object(backfiller, "_LONGEST_REST", 0.0),
        mock.patch.object(switch, "LAG", 5.0),
        mock.patch.object(switch, "MOST_LAG", 5.0),
        mock.patch.object(switch, "FIRST_ATTEMPT", 1.0),
    ):
        yield


def _log(report: Report) -> None:
    """For whoever looks for a violation's cause."""
    move = report.move
    what = f"{move.first}-{move.last} {move.source}->{move.target}: {report.doing}"
    sys.stderr.write(f"{time.monotonic():.1f} move {move.id}, {what} ({report.rows} rows)\n")


def finish(config: ClusterConfig) -> str:
    """End all open moves, once no mover is there.

    Returns:
        What is nevertheless left, in words; empty: nothing.

    Raises:
        MynamoError: a move could not be ended.
    """
    with _quick_moves(), Cluster(config) as cluster:
        rebalance.resume(cluster)
        left = [str(move) for move in open_moves(cluster)]
        for shard in cluster.shards.values():
            (found,) = shard.run(("SELECT COUNT(*) FROM mynamo_move_log", ()))
            if found.rows[0][0]:
                left.append(f"{shard.where}: {found.rows[0][0]} entries of the move log")
    return "; ".join(left)


def told(journals: Iterable[Path]) -> tuple[Counter[str], list[str]]:
    """What movers have done, and what the switches took, in words."""
    lines = [
        orjson.loads(line)
        for journal in journals
        if journal.exists()
        for line in journal.read_bytes().splitlines()
        if line.endswith(b"}")
    ]
    pauses = sorted(line["writes"] for line in lines if line["what"] == "moved")
    words = []
    if pauses:
        words.append(
            f"switches of {len(pauses)} moves: {pauses[len(pauses) // 2] * 1000:.0f} ms (p50), "
            f"{pauses[-1] * 1000:.0f} ms (longest)"
        )
    return Counter(line["what"] for line in lines), words


def _slots_in_use(cluster: Cluster) -> list[list[int]]:
    """Slots of items and of index rows, those of one kind together."""
    table = cluster.table(TABLE)
    keys = [{*(h for h, _ in HOT_KEYS)}, {f"cold-{number}" for number in range(COLD_HASHES)}]
    found = [sorted(slot_of(table.key_of(to_stored({"h": h, "n": 0})).hash) for h in one)
             for one in keys]  # fmt: skip
    if ACCOUNTS in cluster.snapshot.names:
        accounts = cluster.table(ACCOUNTS)
        stored = [to_stored({"h": h, "n": n}) for h, n in ACCOUNT_KEYS]
        found.append(sorted(slot_of(accounts.key_of(each).hash) for each in stored))
    for name, values in (("by_status", STATUSES), ("by_grade", range(GRADES))):
        places = [
            table.index(name).key_of(to_stored({"grade": 0, INDEXES[name].hash_key: value}))
            for value in values
        ]
        found.append(sorted(slot_of(place.hash) for place in places if place is not None))
    return found


def _active(snapshot: Snapshot) -> list[int]:
    return [id_ for id_, one in snapshot.members.items() if one.state == "ACTIVE"]


def _around(owners: Sequence[int], slot: int) -> tuple[int, int]:
    """The first and the last of the slots around one that its shard owns."""
    low = high = slot
    while low > 0 and owners[low - 1] == owners[slot]:
        low -= 1
    while high < SLOTS - 1 and owners[high + 1] == owners[slot]:
        high += 1
    return low, high


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--journal", required=True, type=Path)
    given = parser.parse_args(arguments)
    with _quick_moves():
        _move_for_ever(ClusterConfig.load(given.config), given.seed, given.journal)


def _move_for_ever(config: ClusterConfig, seed: int, journal: Path) -> None:
    done = len(journal.read_bytes().splitlines()) if journal.exists() else 0
    choice = random.Random(seed * 10_007 + done)
    while True:
        try:
            with Cluster(config) as cluster:
                one = RandomMover(cluster, choice, journal)
                while True:
                    try:
                        one.turn()
                    except _EXPECTED as failure:
                        now = time.monotonic()
                        sys.stderr.write(f"{now:.1f} {type(failure).__name__}: {failure}\n")
                        time.sleep(_PAUSE)
        except Unavailable:  # before it has begun
            time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
