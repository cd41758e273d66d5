"""`Mover`: moves one range of slots, from its record to its end, or cancels it.

The protocol, M1 to M13, is `docs/design/resharding.md`. Any process may go on with a move that
another one has left: it takes the move over, and the other one stops at its next step.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from mynamo.catalog import moves
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import READ_GENERATION
from mynamo.catalog.moves import NoLongerMover, SwitchBusy
from mynamo.catalog.shard import pause, retry
from mynamo.catalog.snapshot import SlotMove
from mynamo.errors import CorruptData, InvalidRequest
from mynamo.mysql.failures import MissingTable
from mynamo.operations.resharding.changed_rows import catch_up
from mynamo.operations.resharding.checkpoints import SwitchTooLong
from mynamo.operations.resharding.comparing import compare, missing_items
from mynamo.operations.resharding.copying import Copy, make_room
from mynamo.operations.resharding.hidden_rows import UNTIL_MOVED
from mynamo.operations.resharding.ranges import delete_range, expected_rows, held, take
from mynamo.operations.resharding.switch import Switch, Switched
from mynamo.runtime.crash_points import crash_point
from mynamo.runtime.throttle import Throttle
from mynamo.writer.backfill.backfiller import rest_after
from mynamo.writer.outbox.back_pressure import Backlog, Waiting

log = logging.getLogger(__name__)

CLEAN_AFTER = 60.0
"""Seconds behind the switch after which the source's rows are deleted: a target that fails over
meanwhile, and loses the copy, leaves a source that still has it."""
_PAUSE = 0.05
_AFTER_TAKEN_BACK = 1.0
_BEHIND_SECONDS = 1.0
"""Seconds that changes may wait for the indexers before the copying rests long after each chunk. It
makes them wait, as the shards have more to do."""


@dataclass(frozen=True, slots=True)
class Report:
    """How far a move has come.

    Attributes:
        move: as it is.
        doing: in words.
        rows: copied so far.
        expected: rows that there are to copy, about, by InnoDB's estimates; 0: not known.
        slots_ahead: slots of moves that have not begun yet.
    """

    move: SlotMove
    doing: str
    rows: int
    expected: int = 0
    slots_ahead: int = 0


@dataclass(frozen=True, slots=True)
class Moved:
    """Slots that have moved; until `Mover.clean` the source has rows of them yet.

    Attributes:
        switched: what the switch took; None: another process has done it.
        at: when (monotonic).
    """

    move: SlotMove
    switched: Switched | None
    at: float

    @property
    def is_due(self) -> bool:
        """Whether the source's rows may go now."""
        return time.monotonic() >= self.at + CLEAN_AFTER


class Mover:
    """Moves one range. For one thread.

    Args:
        rate: rows per second that are copied at most; None: no limit.
        on_progress: told what is going on.
        discard: delete what the source has of slots that have moved, also if the target was
            restored and lacks items of it.
    """

    def __init__(
        self,
        cluster: Cluster,
        rate: float | None = None,
        on_progress: Callable[[Report], None] = lambda report: None,
        discard: bool = False,
    ) -> None:
        self.identity = os.urandom(16)
        """By which the catalog and the shards know this mover."""
        self._cluster = cluster
        self._rate = rate
        self._discard = discard
        self._tell = on_progress
        self._rows = 0
        self._expected = 0

    def transfer(self, first: int, last: int, target: int) -> Moved:
        """Move slots to a shard; what the source has of them is yet to be deleted (`clean`).

        Args:
            first, last: the slots, both included, which one shard owns.

        Raises:
            InvalidRequest: they cannot be moved there; nothing was changed.
            NoLongerMover: another process goes on with the move, or has cancelled it.
            CorruptData: source and target differ; the slots stay where they are.
            ShardUnavailable: a server does not answer; `go_on` continues later.
        """
        move = moves.record_move(self._cluster.catalog, first, last, target, self.identity)  # M1
        crash_point("move.1")
        return self._to_target(move)

    def move(self, first: int, last: int, target: int) -> Moved:
        """Move slots to a shard, and delete what the source has of them.

        Raises:
            See `transfer`.
        """
        moved = self.transfer(first, last, target)
        self.clean(moved)
        return moved

    def go_on(self, move_id: int) -> Moved | None:
        """Go on with a move that another process has left, whatever its state.

        Returns:
            What is yet to be cleaned; None: it was cancelled, or has ended.

        Raises:
            See `transfer`.
        """
        move = moves.take_over(self._cluster.catalog, move_id, self.identity)
        if move is None:
            return None
        if move.state == "CANCELLED":
            self._remove_copy(move)
            return None
        if move.state == "DONE":
            return Moved(move, None, time.monotonic())
        return self._to_target(move)

    def cancel(self, move_id: int) -> None:
        """Give up a move: its slots stay where they are, and the copy is deleted.

        Raises:
            InvalidRequest: the slots have moved already.
            ShardUnavailable: a server does not answer; call again.
        """
        self._remove_copy(moves.cancel(self._cluster.catalog, move_id, self.identity))

    def _to_target(self, move: SlotMove) -> Moved:
        """M2 to M11."""
        tries = 0
        while True:
            known = moves.definitions(self._cluster.catalog)
            try:
                move = self._begin(move)
                self._copy_all(move)
                self._report(move, "comparing")
                compare(self._cluster, move)  # M6
                crash_point("move.6")
                moved = self._switch(move, known)
            except MissingTable:  # dropped in the meantime
                pause(tries)
                tries += 1
                continue
            except CorruptData:
                # An index that was added meanwhile has been compared, and not copied yet.
                if moves.definitions(self._cluster.catalog) == known:
                    raise
                continue
            if moved is not None:
                return moved

    def _switch(self, move: SlotMove, known: moves.Definitions) -> Moved | None:
        """M7 to M11, as often as it takes; None: the range is to be copied by new definitions."""
        taken_back: list[float] = []
        switch, since = Switch(self._cluster, move), time.monotonic()
        while self._settle(move, switch, known, since):
            began = time.monotonic()
            try:
                self._report(move, "switching")
                switched = switch.run(known, len(taken_back))
                self._report(switch.move, "moved")
                return Moved(
                    switch.move, replace(switched, taken_back=tuple(taken_back)), time.monotonic()
                )
            except SwitchBusy as busy:
                self._report(move, f"waits for {busy}")
            except SwitchTooLong as late:
                taken_back.append(time.monotonic() - began)
                self._report(move, f"waits for {late}")
            except NoLongerMover:
                if not self._is_mine(move):
                    raise
                taken_back.append(time.monotonic() - began)  # by whoever waited
            time.sleep(_AFTER_TAKEN_BACK)
        return None

    def _begin(self, move: SlotMove) -> SlotMove:
        """M2 and M3."""
        source = self._cluster.shards[move.source]
        epoch = self._cluster.refresh().epochs[move.source]
        retry(lambda: moves.raise_guard(source, epoch))  # M2
        crash_point("move.2")
        again = moves.incarnations_of(self._cluster.catalog, move) != move.incarnations
        self._rows = make_room(self._cluster, move, again).rows  # M3
        self._expected = expected_rows(self._cluster, move)
        if again:
            move = moves.restart(self._cluster.catalog, move)
        return move

    def _is_mine(self, move: SlotMove) -> bool:
        """Whether the move is still this mover's, and not at its end."""
        now = [each for each in self._cluster.refresh().moves if each.id == move.id]
        return bool(now) and now[0].mover == self.identity and now[0].state == "COPYING"

    def _copy_all(self, move: SlotMove) -> None:
        """M4, with M5 by turns."""
        copy = Copy(self._cluster, move)
        backlogs = [
            (self._cluster.shards[number], Backlog()) for number in (move.source, move.target)
        ]
        throttle = Throttle(self._rate)
        began = time.monotonic()
        for rows in copy.chunks():
            self._rows += rows
            took = time.monotonic() - began
            catch_up(self._cluster, move)
            waiting = sum((log_.bound(shard, 2001) for shard, log_ in backlogs), Waiting())
            self._report(move, "copying")
            time.sleep(
                max(rest_after(took, waiting, behind_seconds=_BEHIND_SECONDS), throttle.spend(rows))
            )
            began = time.monotonic()

    def _settle(
        self, move: SlotMove, switch: Switch, known: moves.Definitions, since: float
    ) -> bool:
        """M5 until a switch may begin.

        Args:
            since: when the range was found complete (monotonic).

        Returns:
            Whether the copy is by the newest definitions, and of the newest incarnations.
        """
        catalog = self._cluster.catalog
        attempt = 0
        while True:
            entries = catch_up(self._cluster, move)
            if moves.definitions(catalog) != known:
                return False
            if moves.incarnations_of(catalog, move) != move.incarnations:
                return False
            reason = switch.not_ready(entries, time.monotonic() - since)
            if reason is None:
                return True
            self._report(move, f"waits for {reason}")
            if not entries:
                pause(attempt)
                attempt += 1

    def clean(self, moved: Moved) -> None:
        """M12 and M13: wait until the source's rows may go, and delete them.

        Raises:
            NoLongerMover: another process does it.
            CorruptData: the target was restored since, and lacks items that the source has; these
                are kept.
            ShardUnavailable: a server does not answer; call again.
        """
        move = moved.move
        source, target = self._cluster.shards[move.source], self._cluster.shards[move.target]
        retry(lambda: take(target, move))  # no earlier mover writes there any more
        retry(lambda: self._age_tokens(move))
        crash_point("move.12")
        while (left := moved.at + CLEAN_AFTER - time.monotonic()) > 0:
            self._report(move, f"moved; the old rows are deleted in {left:.0f} s")
            time.sleep(min(1.0, left))
        if not self._discard:
            self._check_target(move)
        self._report(move, "deleting the old rows")
        retry(lambda: take(source, move))
        delete_range(source, move, self._cluster)
        self._forget_log(move)
        moves.end(self._cluster.catalog, move)
        self._cluster.refresh()
        crash_point("move.13")
        self._report(move, "done")

    def _check_target(self, move: SlotMove) -> None:
        """Refuse to delete what the target may have lost."""
        source, target = self._cluster.shards[move.source], self._cluster.shards[move.target]
        target.health()  # who connects to another server than before says so in the catalog
        now = moves.incarnations_of(self._cluster.catalog, move)[1]
        if now <= max(move.incarnations):  # M11 gives the target at least the source's
            return
        missing = missing_items(self._cluster, move)
        if missing:
            raise CorruptData(
                f"{target.where}: it was restored, or is on another server, since slots "
                f"{move.first}-{move.last} moved there, and lacks {missing:,} items that "
                f"{source.where} had of them: it has lost them, or they were deleted since. The "
                "old rows are kept there, where nobody reads them; once you have what you need, "
                "`mynamo slots resume --discard` deletes them"
            )

    def _age_tokens(self, move: SlotMove) -> None:
        """Request tokens that were copied get the generation of the target, by which they go."""
        with held(self._cluster.shards[move.target], move) as (session, _):
            session.run(
                ("UPDATE mynamo_token SET generation ="
                 f" ({READ_GENERATION[0]}) WHERE generation = %s AND slot BETWEEN %s AND %s",
                 (*READ_GENERATION[1], UNTIL_MOVED, move.first, move.last)),
                ("COMMIT", ()),
            )  # fmt: skip

    def _remove_copy(self, move: SlotMove) -> None:
        """What the target has of a move that was cancelled goes."""
        self._report(move, "deleting the copy")
        source, target = self._cluster.shards[move.source], self._cluster.shards[move.target]
        epoch = self._cluster.refresh().epochs[move.source]
        retry(lambda: moves.raise_guard(source, epoch))  # nobody logs keys for it any more
        retry(lambda: take(target, move))
        delete_range(target, move, self._cluster)
        self._forget_log(move)
        moves.end(self._cluster.catalog, move)
        self._cluster.refresh()
        self._report(move, "cancelled")

    def _forget_log(self, move: SlotMove) -> None:
        source = self._cluster.shards[move.source]
        while source.run(("DELETE FROM mynamo_move_log WHERE move_id = %s LIMIT 5000", (move.id,)))[
            0
        ].count:
            pass

    def _report(self, move: SlotMove, doing: str) -> None:
        self._tell(Report(move, doing, self._rows, self._expected))


def open_moves(cluster: Cluster) -> list[SlotMove]:
    """Moves that have something left to do, in their order."""
    return [move for move in cluster.refresh().moves if move.state != "ENDED"]


def move_of(cluster: Cluster, first: int, last: int) -> SlotMove:
    """The open move of just these slots.

    Raises:
        InvalidRequest: there is none.
    """
    for move in open_moves(cluster):
        if (move.first, move.last) == (first, last):
            return move
    found = ", ".join(f"{move.first}-{move.last}" for move in open_moves(cluster)) or "none"
    raise InvalidRequest(f"no move of slots {first}-{last} is open; open moves: {found}")
