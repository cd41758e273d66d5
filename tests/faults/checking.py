"""All checkers on the histories of a run."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.log.dead_letter_topic import read_dead_letters
from mynamo.operations.lag import lag
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.events import ChangeEvent
from mynamo.schemas.items import load_item, to_stored
from tests.faults import indexes, linearizability, streams, transactions
from tests.faults.history import Key, Operation, load
from tests.faults.linearizability import Timeline
from tests.faults.model import (
    DELETES,
    INDEXES,
    TABLE,
    IndexDefinition,
    Item,
    State,
    reads_of_queries,
    state_of,
    steps_of,
)
from tests.faults.transactions import ACCOUNTS, LISTS, Request
from tests.rows import damaged_local_indexes, items_of

MAX_TOLD = 20
"""Violations of one kind that are told in full."""


@dataclass
class Report:
    """What was checked, and what is wrong.

    Attributes:
        checks: how many checks of each kind were made.
        violations: each a few lines for a person; none: all is well.
        notes: what could not be decided.
    """

    checks: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, checks: int, violations: Sequence[str] = ()) -> None:
        """Take over what a checker says."""
        self.checks[kind] += checks
        self.violations += [f"[{kind}] {text}" for text in violations[:MAX_TOLD]]
        if len(violations) > MAX_TOLD:
            self.violations.append(f"[{kind}] and {len(violations) - MAX_TOLD} more")

    def __str__(self) -> str:
        lines = [f"{kind}: {number:,} checks" for kind, number in sorted(self.checks.items())]
        return "\n".join([*lines, *self.notes, *self.violations])


@dataclass
class Final:
    """What is there once everything is at rest.

    Attributes:
        table: every item with its version.
        rows: of each global index, by two ways: plain SQL (with versions), and its readers.
        local: what is wrong with the local index.
        dead_letters: dead letters, in words.
    """

    table: dict[Key, tuple[int, State]] = field(default_factory=dict)
    rows: dict[str, list[tuple[Key, int | None, State]]] = field(default_factory=dict)
    read: dict[str, list[tuple[Key, int | None, State]]] = field(default_factory=dict)
    local: list[str] = field(default_factory=list)
    dead_letters: list[str] = field(default_factory=list)


def check_all(
    histories: Sequence[Path],
    config: ClusterConfig,
    *,
    events: Sequence[ChangeEvent] | None = None,
    wiped_at: int = 0,
    restored_at: Mapping[str, int] | None = None,
    sent_again: Collection[Key] = (),
) -> Report:
    """Check everything, on a cluster that is at rest (`wait_until_quiet`).

    Args:
        histories: of all clients; the last reads of every key among them (`final_reads`).
        config: of the cluster, past any proxies.
        events: all of the table, in their order; None: those in the topic.
        wiped_at: when the broker lost its queued writes for the last time, by
            `time.monotonic_ns`; 0: never.
        restored_at: by shard, such as "shard-2", when it was there again without its last changes.
        sent_again: items with changes that new incarnations have sent again (`streams.sent_again`).
            Where such changes fill several batches, an index goes through its rows once more.
    """
    recorded = load(histories)
    operations = transactions.of_common_table(recorded)
    if events is None:
        events = streams.read_topic(config.kafka, TABLE)
    restored = Restored.of(config, operations, restored_at or {})
    return check_recorded(
        operations, events, final_of(config), wiped_at=wiped_at, restored=restored,
        sent_again=sent_again,
        transacted=[o for o in recorded if o.kind.startswith("transact") or o.table != TABLE],
    )  # fmt: skip


@dataclass(frozen=True)
class Restored:
    """What cannot be checked, as shards have lost changes that they had acknowledged.

    Attributes:
        items: when the shard of an item was there again, by `time.monotonic_ns`. Who wrote the
            item before may have written in vain, and who read it may have read what is lost.
        values: indexes, and values of their hash keys, whose rows are on such a shard.
    """

    items: Mapping[Key, int] = field(default_factory=dict)
    values: frozenset[tuple[str, Any]] = frozenset()

    @classmethod
    def of(
        cls, config: ClusterConfig, operations: Sequence[Operation], restored_at: Mapping[str, int]
    ) -> Restored:
        """Look up which items and rows are on restored shards."""
        if not restored_at:
            return cls()
        by_id = {int(name.rpartition("-")[2]): at for name, at in restored_at.items()}
        with Cluster(config) as cluster:
            table = cluster.table(TABLE)
            items = {}
            for key in {o.key for o in operations if not o.kind.startswith("query")}:
                at = by_id.get(
                    cluster.shard_of(table.key_of(to_stored({"h": key[0], "n": key[1]})).hash).id
                )
                if at is not None:
                    items[key] = at
            values = set()
            for name, value in {
                (o.argument["index"], o.argument["value"])
                for o in operations
                if o.kind == "query_index"
            }:
                row = {"grade": 0, INDEXES[name].hash_key: value}
                place = table.index(name).key_of(to_stored(row))
                if place is not None and cluster.shard_of(place.hash).id in by_id:
                    values.add((name, value))
        return cls(items, frozenset(values))

    def lasting(self, operations: Sequence[Operation]) -> list[Operation]:
        """Those that no restore has undone, that waited for no such ones, and that read no index
        rows which are missing until a restored shard is mended."""
        undone = {o.op for o in operations if o.key in self.items and o.op is not None}
        return [
            o
            for o in operations
            if o.key not in self.items
            and undone.isdisjoint((o.argument or {}).get("after", ()))
            and (
                o.kind != "query_index"
                or (o.argument["index"], o.argument["value"]) not in self.values
            )
        ]

    def is_settled(self, operation: Operation) -> bool:
        """Whether what it wrote or saw is certain."""
        return operation.start > self.items.get(operation.key, 0)


def check_recorded(
    operations: Sequence[Operation],
    events: Sequence[ChangeEvent],
    final: Final,
    *,
    complete: bool = True,
    wiped_at: int = 0,
    restored: Restored = Restored(),
    sent_again: Collection[Key] = (),
    transacted: Sequence[Operation] = (),
) -> Report:
    """As `check_all`, on what has been gathered.

    Args:
        operations: on the common table, without transactions.
        transacted: transactions, and all that was done to the other tables.
    """
    report = Report()
    answered = [*operations, *transacted]
    report.add(
        "answers",
        len(answered),
        [
            f"{o.kind} of {o.table} {o.key} by client {o.client}: {o.result['error']}"
            for o in answered
            if o.outcome == "crash"
        ],
    )
    table: Mapping[Key, tuple[int, Item]] = final.table
    settled = [o for o in operations if restored.is_settled(o)]
    found = streams.check(events, table, _acknowledged(settled), complete)
    report.add("stream", found.checked, found.violations)
    if transacted:
        requests = _check_transactions(transacted, found.versions, complete, report)
        operations = [*operations, *_parts(requests, transacted, found.versions)]
    versions = found.versions | _receipts(operations)
    _check_refused(operations, found, final, report)
    lasting = restored.lasting(operations)
    _check_orders(lasting, versions, found.timelines, complete, wiped_at, report)
    places = indexes.sightings(operations, versions)
    for index, value, key in list(places):
        left_out = key in restored.items or (index, value) in restored.values
        if left_out or key in sent_again:
            del places[index, value, key]
    compared, problems = indexes.never_back(places)
    report.add("index never back", compared, problems)
    report.add("own writes seen", *indexes.own_writes_seen(lasting, versions))
    report.add("rows plausible", *indexes.plausible_rows(operations))
    _check_final(operations, final, report)
    return report


def _check_transactions(
    transacted: Sequence[Operation], versions: Mapping[str, int], complete: bool, report: Report
) -> list[Request]:
    """Check what concerns transactions alone; returns those of the common table."""
    of = {name: [o for o in transacted if o.table == name] for name in (ACCOUNTS, LISTS)}
    others = [o for o in transacted if o.kind == "transact_other"]
    requests = transactions.requests_of(transacted, TABLE)
    rest = [each for name in of for each in transactions.requests_of(of[name], name)]
    report.add("tokens", *transactions.check_tokens([*requests, *rest], others, versions))
    report.add("accounts", *transactions.check_accounts(of[ACCOUNTS]))
    report.add("lists", *transactions.check_lists(of[LISTS]))
    if not complete:
        return requests
    report.add("atomicity", *transactions.check_atomicity(requests, versions))
    return [request.settled(versions) for request in requests]


def _parts(
    requests: Sequence[Request], transacted: Sequence[Operation], versions: Mapping[str, int]
) -> list[Operation]:
    """The parts of transactions on the common table, as operations on single items.

    Their versions are those of the change stream: a receipt may have later ones.
    """
    parts = [part for request in requests for part in request.operations()]
    for part in parts:
        if part.outcome == "ok" and part.op is not None and part.kind not in DELETES:
            part.version = versions.get(part.op)
    return [*parts, *transactions.single_reads(transacted, TABLE)]


def _receipts(operations: Sequence[Operation]) -> dict[str, int]:
    """The versions of the items that acknowledged writes left, by their `op`."""
    return {
        o.op: o.version
        for o in operations
        if o.outcome == "ok" and o.version and o.op is not None and o.kind not in DELETES
    }


def _acknowledged(operations: Sequence[Operation]) -> dict[Key, dict[int, str | None]]:
    found: dict[Key, dict[int, str | None]] = defaultdict(dict)
    for o in operations:
        if o.outcome == "ok" and o.version:
            found[o.key][o.version] = None if o.kind in DELETES else o.op
    return found


def _check_refused(
    operations: Sequence[Operation], found: streams.Found, final: Final, report: Report
) -> None:
    """Nothing of a refused write is anywhere."""
    there = {item.op for _, item in final.table.values()}
    refused = [o for o in operations if o.outcome == "refused" and o.op is not None]
    report.add(
        "refused absent",
        len(refused),
        [
            f"{o.kind} {o.op} of {o.key} was refused ({o.result}), and happened"
            for o in refused
            if o.op in found.versions or o.op in there
        ],
    )


def _check_orders(
    operations: Sequence[Operation],
    versions: Mapping[str, int],
    timelines: Mapping[Key, Timeline],
    complete: bool,
    wiped_at: int,
    report: Report,
) -> None:
    by_key: dict[Key, list[Operation]] = defaultdict(list)
    sorts: dict[str, set[Key]] = defaultdict(set)
    for operation in operations:
        if not operation.kind.startswith("query"):
            by_key[operation.key].append(operation)
            sorts[operation.key[0]].add(operation.key)
    for read in reads_of_queries(operations, sorts):
        by_key[read.key].append(read)
    horizon = min(
        (o.start for o in operations if o.kind == "get" and (o.argument or {}).get("final")),
        default=None,
    )
    violations = []
    for key, mine in sorted(by_key.items()):
        givers = {o.version: o.op for o in mine if o.version and o.outcome == "ok"}
        steps = steps_of(mine, givers, versions, horizon, wiped_at)
        timeline = timelines.get(key)
        verdict = linearizability.check(steps, timeline)
        if timeline and not verdict.explained and not complete:
            # Changes that left no item may be missing unnoticed.
            verdict = linearizability.check(steps)
        report.checks["orders searched"] += verdict.steps
        if not verdict.explained and verdict.decided:
            violations.append(verdict.story)
        elif not verdict.explained:
            report.notes.append(f"not decided: {verdict.story}")
    report.add("linearizable", sum(map(len, by_key.values())), violations)


def _check_final(operations: Sequence[Operation], final: Final, report: Report) -> None:
    """The end: reads are the table, indexes follow from it, there are no dead letters."""
    reads = [o for o in operations if o.kind == "get" and (o.argument or {}).get("final")]
    wrong = []
    for read in reads:
        there = final.table.get(read.key, (0, None))[1]
        if state_of(read.result["item"]) != there:
            wrong.append(f"{read.key}: the last read saw {read.result['item']}; it is {there}")
    report.add("last reads", len(reads), wrong)
    report.add("local index", len(final.table), final.local)
    report.add("dead letters", 1, final.dead_letters)
    for name, index in INDEXES.items():
        for rows in (final.rows, final.read):
            if name in rows:
                problems = indexes.differences(index, final.table, rows[name])
                report.add("index equals table", len(rows[name]), problems)


def final_of(config: ClusterConfig) -> Final:
    """Read what is there, by SQL of its own and by the reader."""
    with Cluster(config) as cluster:
        table = cluster.table(TABLE)
        items = items_of(cluster, table)
        final = Final(local=damaged_local_indexes(cluster, table, items))
        for version, item in items.values():
            state = streams.item_of(item)
            assert state is not None
            final.table[streams.key_of(item)] = (version, state)
        for name in INDEXES:
            final.rows[name] = _rows_by_sql(cluster, sql.index_table(table.index(name)))
            final.read[name] = _rows_by_reader(cluster, INDEXES[name], final.table)
    final.dead_letters = [
        f"{dead_letter.kind} {dead_letter.letter_id}: {dead_letter.reason}"
        for dead_letter in read_dead_letters(config.kafka)
    ]
    return final


def _rows_by_sql(cluster: Cluster, physical: str) -> list[tuple[Key, int | None, State]]:
    found: list[tuple[Key, int | None, State]] = []
    for shard in cluster.shards.values():
        for version, data in shard.run((f"SELECT version, item FROM {physical}", ()))[0].rows:
            item = load_item(data)
            state = streams.item_of(item)
            assert state is not None
            found.append((streams.key_of(item), version, state))
    return found


def _rows_by_reader(
    cluster: Cluster, index: IndexDefinition, table: Mapping[Key, tuple[int, State]]
) -> list[tuple[Key, int | None, State]]:
    """By a query for each value of the hash key that the table has."""
    reader = Reader(cluster)
    values: set[Any] = {getattr(item, index.hash_key) for _, item in table.values()} - {None}
    found: list[tuple[Key, int | None, State]] = []
    for value in sorted(values):
        for row in reader.query_all(TABLE, value, index=index.name):
            item = State(row["op"], *(_number(row.get(name)) for name in State._fields[1:]))
            found.append(((row["h"], int(row["n"])), None, item))
    return found


def _number(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else int(value)


def wait_until_quiet(config: ClusterConfig, seconds: float = 120.0) -> str:
    """Wait until nothing waits any more: queued writes, outboxes, indexes.

    Returns:
        What still waits when the time is over; empty: nothing.
    """
    deadline = time.monotonic() + seconds
    quiet = 0
    with Cluster(config) as cluster:
        while True:
            now = lag(cluster)
            unpublished = sum(shard.unpublished for shard in now.shards)
            still = now.complete and not (now.events or unpublished or now.queued_writes)
            quiet = quiet + 1 if still and now.queued_writes == 0 else 0
            if quiet >= 2:  # a command that was taken in between has its events by now
                return ""
            if time.monotonic() > deadline:
                return str(now)
            time.sleep(0.3)
