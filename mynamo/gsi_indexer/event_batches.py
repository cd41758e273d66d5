"""Batches of events: limited in size, turned into effects, applied. Events that cannot be applied
are found and left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from mynamo.catalog.away_shards import AwayShards
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.gsi_rows import RowChange
from mynamo.catalog.slot_guard import by_newest_slots
from mynamo.catalog.snapshot import Snapshot
from mynamo.catalog.tables import Table
from mynamo.errors import MynamoError, ShardNotConfigured, ShardUnavailable
from mynamo.gsi_indexer.apply import (
    Effect,
    ShardsAway,
    TablesMissing,
    apply_effects,
    changes_of,
    tell_targets,
)
from mynamo.gsi_indexer.arrivals import Arrival, Stream, dead_letter
from mynamo.gsi_indexer.paused import PausedStreams
from mynamo.mysql.failures import StatementRefused
from mynamo.runtime.parts import parts_of
from mynamo.schemas.dead_letters import DeadLetter

BATCH_BYTES = 4 * 1024 * 1024
"""Of messages that are applied at once; a batch has one message at least."""


def cut_batches(arrivals: Sequence[Arrival]) -> Iterator[list[Arrival]]:
    """Cut arrivals into batches of about `BATCH_BYTES`, in order."""
    return parts_of(arrivals, lambda arrival: len(arrival.record.value or b""), BATCH_BYTES)


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a batch.

    Attributes:
        dead_letters: for what can never be applied. They must be sent before the batch's progress
            is recorded.
        noted: the progress that was recorded along with it.
    """

    dead_letters: list[DeadLetter]
    noted: Mapping[Stream, int]


class BatchWriter:
    """Applies batches, by the newest definitions that their events know.

    Args:
        cluster: whose indexes it writes.
        away: shards that are left out; those that turn out to be away are added.
        paused: learns what these miss.
        pool: shards are worked on side by side.
        send: puts dead letters into their topic.
    """

    def __init__(
        self,
        cluster: Cluster,
        away: AwayShards,
        paused: PausedStreams,
        pool: Executor,
        send: Callable[[list[DeadLetter]], None],
    ) -> None:
        self._away = away
        self._cluster = cluster
        self._paused = paused
        self._send = send
        self._pool = pool
        self._dropped: set[int] = set()

    def write(self, batch: Sequence[Arrival], due: Mapping[Stream, int]) -> Written:
        """Apply a batch, but for what shards that are away, or are not configured, miss of it; safe
        to repeat.

        Args:
            batch: of each stream, what follows without a gap on what was applied before.
            due: progress that is yet to be recorded.

        Raises:
            ShardUnavailable: the catalog does not answer, or slots keep moving; some may have been
                done.
            OwnersChanged: see there.
            LogUnavailable: a dead letter could not be sent; likewise.
        """
        while True:
            try:
                return by_newest_slots(self._cluster, lambda: self._write_and_tell(batch, due))
            except ShardsAway as failure:  # the rest again: what is done of it is known
                self._away.note_all(failure.failures)
            except ShardNotConfigured as failure:  # likewise
                self._away.note(failure.shard, failure)

    def _write_and_tell(self, batch: Sequence[Arrival], due: Mapping[Stream, int]) -> Written:
        """One attempt, by one slot map. Raises SlotsMoved if it is outdated, or slots are closed:
        what was left out for shards that are away was left out by this map."""
        snapshot = self._cluster.snapshot
        self._paused.check_owners(snapshot.shard_ids)
        written = self._write(snapshot, batch, due, whole=True)
        if self._paused.missed:
            there = self._cluster.shards.keys() - self._away.ids
            told = self._paused.targets(reached_by(batch), there)
            tell_targets(self._cluster, snapshot, told, self._pool)
        return written

    def _write(
        self,
        snapshot: Snapshot,
        batch: Sequence[Arrival],
        due: Mapping[Stream, int],
        whole: bool,
    ) -> Written:
        for _ in range(2):
            effects, dead_letters = self._effects(snapshot, batch)
            own = {}
            if whole and not dead_letters:  # those are sent before progress passes their events
                own = self._paused.settled(reached_by(batch))
            try:
                noted = apply_effects(
                    self._cluster, snapshot, effects, self._pool, due=due, own=own
                )
                return Written(dead_letters, noted)
            except TablesMissing as failure:  # dropped in the meantime: the catalog says so
                missing = failure.failures
                self._cluster.refresh()
            except StatementRefused as refusal:
                if len(batch) == 1:
                    # At once: the shard's checkpoint passes this event with the next one that is
                    # applied, and then nobody finds it again.
                    self._send([_dead_letter(batch[0], str(refusal))])
                    return Written([], {})
                # Find those that are refused; they must not block the others.
                middle = len(batch) // 2
                halves = [
                    self._write(snapshot, half, {}, whole=False)
                    for half in (batch[:middle], batch[middle:])
                ]
                return Written([one for half in halves for one in half.dead_letters], {})
        raise ShardsAway(  # as if it were away, until it is mended
            {id_: ShardUnavailable(f"an index is damaged: {one}") for id_, one in missing.items()}
        )

    def _effects(
        self, snapshot: Snapshot, batch: Sequence[Arrival]
    ) -> tuple[list[Effect], list[DeadLetter]]:
        tables = self._tables(batch)
        effects = []
        dead_letters = []
        for arrival in batch:
            event = arrival.event
            if event is None:
                dead_letters.append(_dead_letter(arrival, arrival.flaw))
                continue
            table = tables.get(event.table_id)
            if table is None:  # dropped: there is nothing to maintain
                continue
            try:
                changes = changes_of(event, table)
            except (MynamoError, LookupError, TypeError, ValueError) as flaw:
                dead_letters.append(_dead_letter(arrival, f"it cannot be applied: {flaw}"))
                continue
            if self._away.ids or self._paused.missed:
                changes = self._within_reach(snapshot, arrival, changes)
            effects.append(Effect(arrival.stream, arrival.sequence, changes))
        return effects, dead_letters

    def _within_reach(
        self, snapshot: Snapshot, arrival: Arrival, changes: Sequence[RowChange]
    ) -> list[RowChange]:
        """The changes that are not passed over, as their target is away. Raises RangeStopped if the
        slot of one is closed: what is passed over there, its next owner might never get."""
        targets = [self._cluster.target_of(change.row.index_hash, snapshot) for change in changes]
        return [
            change
            for change, target in zip(changes, targets, strict=True)
            if not self._paused.passes_over(arrival, target, self._away.ids)
        ]

    def _tables(self, batch: Sequence[Arrival]) -> dict[int, Table]:
        """The tables of events, as new as the events know them."""
        versions: dict[int, int] = {}
        for arrival in batch:
            if arrival.event is not None:
                number, version = arrival.event.table_id, arrival.event.schema_version
                versions[number] = max(version, versions.get(number, 0))
        tables = {}
        for number, version in versions.items():
            if number in self._dropped:
                continue
            table = self._cluster.table_by_id(number, at_least=version)
            if table is None or table.status == "DELETING":
                self._dropped.add(number)
            else:
                tables[number] = table
        return tables


def reached_by(batch: Sequence[Arrival]) -> dict[Stream, int]:
    """Per stream of a batch, its last event."""
    return {arrival.stream: arrival.sequence for arrival in batch}


def _dead_letter(arrival: Arrival, reason: str) -> DeadLetter:
    event_id = arrival.event.event_id if arrival.event is not None else None
    return dead_letter(arrival.record, reason, event_id)
