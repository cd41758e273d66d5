"""Negative controls: mynamo with one mechanism taken out, which the harness must find out.

Run as `python -m tests.faults.sabotage MECHANISM MODULE ARGUMENTS...`: takes the mechanism
out of this process, and then runs the module as `python -m MODULE ARGUMENTS...` would.
Nothing of this is in mynamo itself.
"""

from __future__ import annotations

import random
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mynamo.gsi_indexer import apply, streams, watch
from mynamo.shards.pool import Result, Session, Statement
from mynamo.writer import transaction
from mynamo.writer.lease import Lease, LeaseLost, RelayState

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


def _rewrite(change: Callable[[Sequence[Statement]], Sequence[Statement]]) -> None:
    """Change statements on their way to a shard."""
    run = Session.run

    def changed(self: Session, *statements: Statement) -> list[Result]:
        return run(self, *change(statements))

    Session.run = changed  # type: ignore[method-assign]


def _replace(words: str, by: str) -> Callable[[], None]:
    def take_out() -> None:
        _rewrite(lambda statements: [(sql.replace(words, by), v) for sql, v in statements])

    return take_out


def _without_outbox() -> None:
    """Some transactions commit without their first event."""

    def change(statements: Sequence[Statement]) -> Sequence[Statement]:
        inserts = any(sql.startswith("INSERT INTO mynamo_outbox") for sql, _ in statements)
        if not inserts or random.random() > _LOST:
            return statements
        forget = ("DELETE FROM mynamo_outbox WHERE id = LAST_INSERT_ID()", ())
        return [*statements[:-1], forget, statements[-1]]

    _rewrite(change)


def _without_sequence() -> None:
    """And some transactions commit late, which alone does no harm."""
    highest = "(SELECT COALESCE(MAX(o.id), 0) FROM mynamo_outbox o WHERE o.seq IS NOT NULL)"
    _replace("WHERE seq IS NULL ORDER BY id", f"WHERE seq IS NULL AND id > {highest} ORDER BY id")()

    def change(statements: Sequence[Statement]) -> Sequence[Statement]:
        inserts = any(sql.startswith("INSERT INTO mynamo_outbox") for sql, _ in statements)
        if not inserts or random.random() > _LATE:
            return statements
        return [*statements[:-1], ("DO SLEEP(0.05)", ()), statements[-1]]

    _rewrite(change)


def _without_commands() -> None:
    """A queued write that comes again is applied again."""
    select = "SELECT command_id, version, refused FROM mynamo_command WHERE"
    _replace(select, f"{select} FALSE AND")()
    _replace("INSERT INTO mynamo_command", "INSERT IGNORE INTO mynamo_command")()


def _without_fate() -> None:
    transaction.fate_of = lambda *_: None  # type: ignore[attr-defined]


def _without_checkpoints() -> None:
    apply.is_fresh = lambda *_: True


def _without_gaps() -> None:
    streams.is_gap = lambda *_: False
    watch.Watch.look = lambda *_: None  # type: ignore[method-assign]


def _without_fencing() -> None:
    """Every relay believes that it holds the lease, and numbers rows without a lock."""
    hold = Lease.hold

    def always(self: Lease) -> RelayState:
        state: RelayState | None = None
        while state is None:
            with self._shard.session() as session:
                row = session.run(("SELECT owner, epoch FROM mynamo_relay", ()))[0].rows[0]
            if row[0] is not None:
                self.owner, self.epoch = row
            try:
                state = hold(self)
            except LeaseLost:
                continue
        return state

    Lease.hold = always  # type: ignore[method-assign]
    _replace("published_seq FROM mynamo_relay FOR UPDATE", "published_seq FROM mynamo_relay")()


MECHANISMS = {
    "locks": Mechanism(
        "rows are read without a lock",
        _replace("(hash = %s AND sort = %s) FOR UPDATE", "(hash = %s AND sort = %s)"),
    ),
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
    take_out: Any = MECHANISMS[mechanism].take_out
    take_out()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
