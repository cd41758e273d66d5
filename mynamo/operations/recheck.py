"""Telling damage from changes that are not applied yet.

A difference between a table and a GSI is only a suspicion: the pipeline may be about to
remove it. Many suspicions are decided together, in these steps:

1.  Note the versions of the items, as they are now.
2.  Wait until every event committed so far on their shards is applied. If it takes too long,
    the suspicion stays undecided.
3.  Read the item, its index row, and the item's version again. If the version is that of
    step 1 throughout, nobody wrote the item in between (versions never come again), so the
    index row must be what the item says. If it is not, that is a finding.
4.  The item was written in between: begin again, or follow its events (see `follow`).

A row that the item should not have is easier: if the same row is still there although an
event of another version has been applied since, no event will remove it. The same holds if an
absent item was written and deleted between 1 and 3: the row is older than the deletion, which
is applied.

While slots move, all of this is by one slot map. If the catalog is another one at the end, what
seemed to be a finding is looked at again, by the new map. A row that is hidden (`visible_slots`) is
no finding. If it was seen before its slots moved away, the shard decides that has them now.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.operations import comparison_statements
from mynamo.operations.expected_rows import (
    Location,
    Stored,
    by_shard,
    expected_row,
    only,
    read_item,
)
from mynamo.operations.findings import Finding
from mynamo.operations.follow import follow
from mynamo.operations.pipeline import Horizon, doze
from mynamo.operations.visible_slots import is_newest
from mynamo.schemas.keys import slot_of
from mynamo.schemas.values import StoredItem


@dataclass(frozen=True, slots=True)
class Suspect:
    """A difference that may be a finding.

    Attributes:
        index: a GSI.
        row: the item that it is about.
        location: of a row that the item should not have; None: the item's own row is missing
            or stale.
        version: of that row.
    """

    index: Index
    row: RowKey
    location: Location | None = None
    version: int = 0

    def seen_as(self, found: Stored | None) -> Suspect:
        """The suspicion against the row as it is now."""
        if self.location is None or found is None:
            return self
        return replace(self, version=found.version)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about suspicions; those that are not here were unfounded.

    Attributes:
        findings: certain.
        behind: not decided, since the indexers have not applied what concerns them.
        busy: not decided, since their items were written all the time.
    """

    findings: Sequence[Finding]
    behind: Sequence[Suspect]
    busy: Sequence[Suspect]

    @property
    def undecided(self) -> tuple[Suspect, ...]:
        """All that could not be decided in time."""
        return (*self.behind, *self.busy)


class Rechecker:
    """Decides suspicions. One for each thread.

    Args:
        wait: seconds that one call waits for the pipeline. After a shard has not caught up in
            that time, it is not waited for again until it makes progress.
    """

    def __init__(self, cluster: Cluster, table: Table, wait: float) -> None:
        self._cluster = cluster
        self._table = table
        self._wait = wait
        self._standing_still: set[int] = set()

    def decide(self, suspects: Sequence[Suspect]) -> Decision:
        """Find out which suspicions are true.

        Raises:
            ShardUnavailable: a shard does not answer.
            MissingTable: the index was dropped.
        """
        deadline = time.monotonic() + self._wait
        findings: list[Finding] = []
        behind: list[Suspect] = []
        changed: list[Suspect] = []
        attempt = 0
        while suspects:
            snapshot = self._cluster.snapshot
            versions = self._versions(suspects)  # step 1
            applied, behind = self._await(suspects, deadline)  # step 2
            changed = []
            found: list[tuple[Suspect, Finding]] = []
            for suspect in applied:
                outcome = self._examine(suspect, versions[suspect.row])  # steps 3 and 4
                if isinstance(outcome, Finding):
                    found.append((suspect, outcome))
                elif outcome is not None:
                    changed.append(outcome)
            if found and not is_newest(self._cluster, snapshot):
                changed += [suspect for suspect, _ in found]
            else:
                findings += [finding for _, finding in found]
            suspects = [*changed, *behind]
            if not changed or time.monotonic() >= deadline:
                break
            doze(attempt, deadline)
            attempt += 1
        return Decision(findings, behind, changed)

    def _versions(self, suspects: Iterable[Suspect]) -> dict[RowKey, int | None]:
        versions: dict[RowKey, int | None] = {suspect.row: None for suspect in suspects}
        for shard, rows in by_shard(self._cluster, versions).items():
            for start in range(0, len(rows), comparison_statements.CHUNK_ROWS):
                some = rows[start : start + comparison_statements.CHUNK_ROWS]
                found = shard.run(comparison_statements.versions_of(self._table, some))[0].rows
                versions |= {RowKey(h, s): version for h, s, version in found}
        return versions

    def _await(
        self, suspects: Sequence[Suspect], deadline: float
    ) -> tuple[list[Suspect], list[Suspect]]:
        """Those whose events are applied, and those whose events are not in time."""
        homes = {suspect.row: self._home(suspect) for suspect in suspects}
        horizons = {shard.id: Horizon(shard) for shard in set(homes.values())}
        attempt = 0
        while True:
            pending = {shard_id: horizon.pending() for shard_id, horizon in horizons.items()}
            waited_for = {
                homes[s.row].id for s in suspects if self._partition(s) in pending[homes[s.row].id]
            }
            if waited_for <= self._standing_still or time.monotonic() >= deadline:
                break
            doze(attempt, deadline)
            attempt += 1
        self._standing_still = (self._standing_still - horizons.keys()) | waited_for
        applied: list[Suspect] = []
        behind: list[Suspect] = []
        for suspect in suspects:
            late = self._partition(suspect) in pending[homes[suspect.row].id]
            (behind if late else applied).append(suspect)
        return applied, behind

    def _examine(self, suspect: Suspect, before: int | None) -> Finding | Suspect | None:
        """Steps 3 and 4: a finding, or what to look at again, or nothing."""
        if suspect.location is not None and self._is_hidden(suspect.location):
            return self._on_owner(suspect, suspect.location)
        home = self._home(suspect)
        item = only(home, comparison_statements.items_of(self._table, [suspect.row]))
        image = read_item(self._table, suspect.row, item.item) if item else None
        if item is not None and image is None:
            return None  # the item itself is damaged; the index may hold what is left of it
        expected = expected_row(self._cluster, suspect.index, image, item.version if item else 0)
        location = suspect.location or (expected.location if expected else None)
        if location is None:
            return None  # by now the item has no row in this index
        wanted = expected.content if expected and expected.location == location else None
        if suspect.location and wanted:
            return None  # by now it is the item's own row
        found = self._row_at(suspect, location)
        if found == wanted:
            return None
        if suspect.location and found and found.version != suspect.version:
            return suspect.seen_as(found)
        rows = home.run(comparison_statements.versions_of(self._table, [suspect.row]))[0].rows
        after = rows[0][2] if rows else None
        unchanged = before == after == (item.version if item else None)
        if unchanged or (suspect.location and before != suspect.version):
            return self._finding(suspect, location, image, wanted, found)
        if suspect.location or before is None:
            return suspect
        return self._follow(suspect, before)

    def _is_hidden(self, location: Location) -> bool:
        return self._cluster.snapshot.is_hidden(location.shard, slot_of(location.key.hash))

    def _on_owner(self, suspect: Suspect, location: Location) -> Suspect | None:
        """The suspicion against the row on the shard that its slots have moved to; None: it is in
        a copy."""
        owned = self._cluster.snapshot.owners[slot_of(location.key.hash)]
        if owned.move is None or owned.move.state != "DONE":
            return None
        return replace(suspect, location=location._replace(shard=owned.shard_id))

    def _follow(self, suspect: Suspect, before: int) -> Finding | Suspect | None:
        """Step 4 for an item that is written all the time."""
        followed = follow(self._cluster, self._table, suspect.index, suspect.row, before)
        if followed is None:
            return suspect
        said, found = followed
        if found == said.content:
            return None
        return self._finding(suspect, said.location, said.item, said.content, found)

    def _row_at(self, suspect: Suspect, location: Location) -> Stored | None:
        shard = self._cluster.member(location.shard)
        row = location.of(suspect.row)
        return only(shard, comparison_statements.global_rows_of(suspect.index, [row]))

    def _finding(
        self,
        suspect: Suspect,
        location: Location,
        item: StoredItem | None,
        wanted: Stored | None,
        found: Stored | None,
    ) -> Finding:
        known = item
        if known is None and found is not None:
            known = read_item(self._table, suspect.row, found.item)
        return Finding(
            kind="missing" if found is None else "ghost" if wanted is None else "stale",
            index=suspect.index,
            row=suspect.row,
            shard=self._home(suspect).id,
            index_key=location.key,
            index_shard=location.shard,
            keys=self._table.key_attributes(known) if known else None,
            detail=self._detail(location, item, wanted, found),
        )

    def _detail(
        self,
        location: Location,
        item: StoredItem | None,
        wanted: Stored | None,
        found: Stored | None,
    ) -> str:
        where = f"on shard {location.shard}"
        if found is None:
            return f"its row {where} is not there"
        if wanted is not None:
            if found.version != wanted.version:
                return f"its row {where} is of version {found.version}, not {wanted.version}"
            return f"its row {where} has another content than its version {wanted.version}"
        if self._cluster.shard_id_of(location.key.hash) != location.shard:
            return f"a row {where}, which does not own this index key"
        if item is None:
            return f"a row {where}, but there is no such item"
        return f"a row {where} under an index key that the item does not have"

    def _home(self, suspect: Suspect) -> DynamoDBShard:
        return self._cluster.member(self._cluster.shard_id_of(suspect.row.hash))

    def _partition(self, suspect: Suspect) -> int:
        return self._cluster.partition_of(self._table.id, suspect.row.slot)
