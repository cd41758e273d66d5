"""Negative controls: mynamo with one mechanism taken out, which the harness must find out.

Run as `python -m tests.faults.sabotage MECHANISM MODULE ARGUMENTS...`: takes the mechanism
out of this process, and then runs the module as `python -m MODULE ARGUMENTS...` would.
Nothing of this is in mynamo itself.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import random
import re
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mynamo
from mynamo.catalog import shard
from mynamo.gsi_indexer import apply, arrivals, lost_events, paused
from mynamo.mysql.pool import Result, Session, Statement
from mynamo.operations.resharding import checkpoints, switch
from mynamo.reader import transact_gets
from mynamo.writer.backfill import global_index
from mynamo.writer.outbox import relay
from mynamo.writer.outbox.lease import Lease, LeaseLost, RelayState
from mynamo.writer.transaction import commit, write_requests
from mynamo.writer.transaction.write_requests import AllOrNothing, Current

_LOST = 0.02
_LATE = 0.1


@dataclass(frozen=True)
class Mechanism:
    """Something that mynamo's promises rest on.

    Attributes:
        what: is gone without it.
        take_out: removes it from this process; None: it is the servers'.
        mysql_options: that remove it from the shards' servers.
    """

    what: str
    take_out: Callable[[], None] | None = None
    mysql_options: Sequence[str] = ()


@functools.cache
def _sources() -> str:
    """The text of mynamo, with string literals that follow one another as one."""
    files = sorted(Path(mynamo.__path__[0]).rglob("*.py"))
    return re.sub(r'"\s*f?"', "", "".join(file.read_text() for file in files))


def _found(words: str) -> str:
    """Some words of a statement, which must be there: who takes out what is not there any more
    takes nothing out."""
    if words not in _sources():
        raise LookupError(f"no statement of mynamo has {words!r} any more")
    return words


def _put(where: Any, name: str, by: Callable[..., Any]) -> None:
    """Replace a function or a method, which must be there."""
    if not hasattr(where, name):
        raise LookupError(f"{where.__name__} has no {name} any more")
    setattr(where, name, by)


def _rewrite(change: Callable[[Sequence[Statement]], Sequence[Statement]]) -> None:
    """Change statements on their way to a shard."""
    run = Session.run

    def changed(self: Session, *statements: Statement) -> list[Result]:
        return run(self, *change(statements))

    _put(Session, "run", changed)


def _replace(words: str, by: str) -> None:
    _found(words)
    _rewrite(lambda statements: [(sql.replace(words, by), v) for sql, v in statements])


def _before_commit(share: float, statement: str) -> None:
    """Run another statement before some of the commits of writes."""
    insert = _found("INSERT INTO mynamo_outbox")

    def change(statements: Sequence[Statement]) -> Sequence[Statement]:
        if not any(sql.startswith(insert) for sql, _ in statements) or random.random() > share:
            return statements
        return [*statements[:-1], (statement, ()), statements[-1]]

    _rewrite(change)


def _without_locks() -> None:
    lock = commit.lock_statements  # type: ignore[attr-defined]

    def read(*given: Any) -> list[Statement]:
        return [(sql.partition(" FOR UPDATE")[0], values) for sql, values in lock(*given)]

    _put(commit, "lock_statements", read)


def _without_outbox() -> None:
    """Some transactions commit without their first event."""
    _before_commit(_LOST, "DELETE FROM mynamo_outbox WHERE id = LAST_INSERT_ID()")


def _without_sequence() -> None:
    """And some transactions commit late, which alone does no harm."""
    highest = "(SELECT COALESCE(MAX(o.id), 0) FROM mynamo_outbox o WHERE o.seq > 0)"
    _found("WHERE seq {seq} ORDER BY id LIMIT")
    _rewrite(
        lambda statements: [
            (re.sub("WHERE seq (IS NULL|= 0) ORDER BY id LIMIT",
                    rf"WHERE seq \1 AND id > {highest} ORDER BY id LIMIT", sql), values)
            for sql, values in statements
        ]
    )  # fmt: skip
    _before_commit(_LATE, "DO SLEEP(0.05)")


def _without_commands() -> None:
    """A queued write that comes again is applied again."""
    select = "FROM mynamo_applied FORCE INDEX (PRIMARY) WHERE"
    _replace(select, f"{select} FALSE AND")
    _replace("INSERT INTO mynamo_applied", "INSERT IGNORE INTO mynamo_applied")


def _without_fate() -> None:
    _put(commit, "outcome_of_commit", lambda *_: None)


def _without_checkpoints() -> None:
    _put(apply, "is_fresh", lambda *_: True)


def _without_gaps() -> None:
    _put(arrivals, "is_gap", lambda *_: False)
    _put(lost_events.Watch, "look", lambda *_: None)


def _without_comparison() -> None:
    _put(global_index, "is_current", lambda *_: True)


def _without_fencing() -> None:
    """Every relay believes that it holds the lease, and numbers rows without a lock."""
    hold = Lease.hold

    def always(self: Lease) -> RelayState:
        state: RelayState | None = None
        while state is None:
            with self.shard.session() as session:
                row = session.run(("SELECT owner, epoch FROM mynamo_relay", ()))[0].rows[0]
            if row[0] is not None:
                self.owner, self.epoch = row
            try:
                state = hold(self)
            except LeaseLost:
                continue
        return state

    _put(Lease, "hold", always)
    _replace("published_seq FROM mynamo_relay FOR UPDATE", "published_seq FROM mynamo_relay")


def _without_incarnations() -> None:
    """A shard that went back in time goes on with numbers that it has given before."""
    _put(shard.Identity, "check_incarnation", lambda *_: None)
    _put(relay.Relay, "check_incarnation", lambda *_: None)
    _put(relay.Relay, "has_gone_back", lambda *_: False)
    _put(Lease, "compare", lambda *_: None)
    _put(lost_events, "mark_restored", lambda *_: None)


def _without_targets() -> None:
    """A stream waits as a whole once a shard that is away misses one of its events."""
    others = paused.PausedStreams.others

    def whole(self: paused.PausedStreams, found: list[arrivals.Arrival]) -> list[arrivals.Arrival]:
        first = {s: min(m.offset for m in missed.values()) for s, missed in self.missed.items()}
        free = [a for a in found if a.record.offset < first.get(a.stream, a.record.offset + 1)]
        return others(self, free)

    _put(paused.PausedStreams, "others", whole)


def _without_guards() -> None:
    _put(commit, "check_guards", lambda *_: None)


def _without_decisions() -> None:
    """COMMITTED takes the place of ABORTED, and T4 does not look whether that is there."""
    insert = _found("INSERT INTO mynamo_transaction")
    look = _found("SELECT id, decision FROM mynamo_transaction")

    def change(statements: Sequence[Statement]) -> Sequence[Statement]:
        return [
            (f"{sql} AND FALSE" if sql.startswith(look) else
             sql.replace(insert, "REPLACE INTO mynamo_transaction"), values)
            for sql, values in statements
        ]  # fmt: skip

    _rewrite(change)


def _without_intents() -> None:
    """Writes in no transaction overwrite marks and placeholders, as before there were any."""
    see = commit.evaluate  # type: ignore[attr-defined]

    def blind(callers: Sequence[Any], rows: dict[Any, Any], *more: Any) -> Any:
        if not any(isinstance(own, AllOrNothing) for own in callers):
            for row in rows.values():
                if row.now.in_transaction:
                    row.placeholder = row.now.item is None
                    row.before = row.now = Current(row.now.item, row.now.version)
        return see(callers, rows, *more)

    _put(commit, "evaluate", blind)


def _without_deletion() -> None:
    """T5 deletes its intents in a transaction of its own, before which some processes die."""
    outbox = _found("INSERT INTO mynamo_outbox")
    delete = _found("DELETE FROM mynamo_intent")
    run = Session.run

    def later(self: Session, *statements: Statement) -> list[Result]:
        deletions = [each for each in statements if each[0].startswith(delete)]
        if not deletions or not any(sql.startswith(outbox) for sql, _ in statements):
            return run(self, *statements)
        results = run(self, *(each for each in statements if each not in deletions))
        if random.random() > _LATE:
            run(self, *deletions)
        return results

    _put(Session, "run", later)


def _without_second_look() -> None:
    reading: Any = transact_gets._Reading
    _put(reading, "_moving", lambda *_: set())


def _without_slot_guard() -> None:
    """Whoever has an old slot map reads and writes where slots were."""
    _everywhere("check_epoch", lambda *_: None)
    compare = commit.check_guards

    def blind(writes: Sequence[Any], found: Mapping[int, int]) -> None:
        for write in writes:
            fitting = {**found, 0: write.route.epoch}
            compare([write], fitting)

    _everywhere("check_guards", blind)


def _everywhere(name: str, by: Callable[..., Any]) -> None:
    """Replace a function wherever it was imported to."""
    places = [m for n, m in sys.modules.items() if n.startswith("mynamo.") and hasattr(m, name)]
    if not places:
        raise LookupError(f"nobody has {name} any more")
    for place in places:
        _put(place, name, by)


def _import_all() -> None:
    """So that no module imports what was taken out later on."""
    for module in pkgutil.walk_packages(mynamo.__path__, "mynamo."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _without_drain() -> None:
    _put(switch._Goals, "are_reached", lambda _: True)


def _without_outbox_ids() -> None:
    _put(switch, "raise_ids", lambda *_: None)


def _without_meeting() -> None:
    """The target gets the intents, and its checkpoints stay where they are."""
    _put(checkpoints, "_events_between", lambda *_: [])
    _put(checkpoints, "move_checkpoints", lambda _: ("DO 0", ()))


def _without_expiry() -> None:
    _put(write_requests, "is_due", lambda *_: True)


def _without_records() -> None:
    """Records are written behind the transaction that gives numbers, and some relays die before."""
    insert = _found("INSERT INTO mynamo_record")
    run = Session.run

    def later(self: Session, *statements: Statement) -> list[Result]:
        records = [each for each in statements if each[0].startswith(insert)]
        if not records:
            return run(self, *statements)
        results = run(self, *(each for each in statements if each not in records))
        if random.random() > _LOST:
            run(self, *records)
        return results

    _put(Session, "run", later)


def _without_move_log() -> None:
    _everywhere("log_gsi_rows", lambda *_: [])


MECHANISMS = {
    "locks": Mechanism("rows are read without a lock", _without_locks),
    "fate": Mechanism("a commit whose answer was lost is repeated unasked", _without_fate),
    "outbox": Mechanism("now and then a write has no row in the outbox", _without_outbox),
    "fencing": Mechanism("relays do not respect the lease", _without_fencing),
    "sequence": Mechanism(
        "the relay takes rows after the highest id that it has seen", _without_sequence
    ),
    "checkpoint": Mechanism(
        "indexers apply whatever they have read, known or not", _without_checkpoints
    ),
    "gaps": Mechanism("indexers do not notice what Kafka has lost", _without_gaps),
    "commands": Mechanism("queued writes are not remembered", _without_commands),
    "comparison": Mechanism(
        "who fills an index does not look whether items have changed", _without_comparison
    ),
    "incarnations": Mechanism("a shard that was restored goes on as before", _without_incarnations),
    "targets": Mechanism(
        "what needs a shard that is away holds up its whole stream", _without_targets
    ),
    "guards": Mechanism("writes with outdated definitions are let in", _without_guards),
    "decisions": Mechanism("a transaction can be committed and aborted", _without_decisions),
    "intents": Mechanism("plain writes do not see intents", _without_intents),
    "deletion": Mechanism(
        "items are applied, and their intents deleted in another transaction", _without_deletion
    ),
    "second-look": Mechanism(
        "several items are read once, and not looked at again", _without_second_look
    ),
    "slot_guard": Mechanism("nobody compares slot maps with slot guards", _without_slot_guard),
    "drain": Mechanism("a switch does not wait for the indexes", _without_drain),
    "outbox_ids": Mechanism("a target's ids are not above the source's", _without_outbox_ids),
    "checkpoints": Mechanism(
        "the checkpoints of source and target are not brought together", _without_meeting
    ),
    "expiry": Mechanism("what has expired is deleted without a second look", _without_expiry),
    "move_log": Mechanism("changed index rows are not in the move log", _without_move_log),
    "records": Mechanism(
        "records of streams are written behind the transaction that gives numbers", _without_records
    ),
    "durability": Mechanism(
        "the shards acknowledge commits before they are on disk",
        mysql_options=("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"),
    ),
}  # fmt: skip


def launcher(mechanism: str | None) -> Callable[[str], Sequence[str]]:
    """Arguments of Python that run a module with this mechanism taken out."""
    if mechanism is None or MECHANISMS[mechanism].take_out is None:
        return lambda module: ("-m", module)
    return lambda module: ("-m", "tests.faults.sabotage", mechanism, module)


def main() -> None:
    """Take a mechanism out and run a module."""
    mechanism, module, *arguments = sys.argv[1:]
    _import_all()
    take_out: Any = MECHANISMS[mechanism].take_out
    take_out()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
