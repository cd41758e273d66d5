"""Points at which a process can be made to end at once, as a power failure would end it, or to
freeze.

They stand between the numbered steps of what mynamo does in several steps, and are named
after the step that is done: `relay.3` is reached when the relay has done its step 3. Where a
step has an inside worth dying in, it has a point of its own (`relay.2.open`: the transaction
of step 2 is open). The tests kill a process at every one of them.

A process ends at the point that the environment variable `MYNAMO_CRASH_AT` named when it was
started: `relay.3`, or `relay.3:5` for the fifth time that it gets there. With `relay.3:5:freeze`
it stops there once, until it is sent SIGCONT. Without it, a point is a call that does nothing.
"""

from __future__ import annotations

import itertools
import os
import signal

VARIABLE = "MYNAMO_CRASH_AT"

LABELS = (
    "writer.1", "writer.3", "writer.4",
    "relay.1", "relay.2.open", "relay.2", "relay.3", "relay.4", "relay.5",
    "queue.1", "queue.2", "queue.3", "queue.4",
    "indexer.1", "indexer.2", "indexer.3", "indexer.4", "indexer.5", "indexer.6",
    "apply.1", "apply.3", "apply.4",
    "fill.1", "fill.2", "fill.3", "fill.4", "fill.5", "fill.6", "fill.7",
    "transact.1", "transact.2", "transact.3", "transact.4", "transact.5", "transact.6",
    "transact.7",
    "expiry.2", "expiry.3",
    "stream.2", "stream.3", "stream.4",
)  # fmt: skip
"""Of the write transaction, the relay, the queue of writes, the indexer, what the indexer does on
one shard, the backfill of a new index, transactions over several shards, time to live, and stream
shards that follow the slot map."""
COMMAND_LABELS = (
    "shard.add.1", "shard.add.2", "shard.add.3", "shard.add.4",
    "shard.remove.2", "shard.remove.3", "shard.remove.4",
    "move.1", "move.2", "move.3", "move.4", "move.5", "move.6", "move.7", "move.8", "move.9",
    "move.10", "move.11", "move.12", "move.13",
)  # fmt: skip
"""Of commands that add and remove shards, and move slots."""

_label, _times, _what = (*os.environ.get(VARIABLE, "").split(":"), "", "")[:3]
_passes = itertools.count(1)


def _end_here(label: str) -> None:
    if label != _label:
        return
    passed = next(_passes)
    if _what == "freeze":
        if passed == int(_times):
            os.kill(os.getpid(), signal.SIGSTOP)
    elif passed >= int(_times or 1):
        os.kill(os.getpid(), signal.SIGKILL)


def _go_on(label: str) -> None:
    pass


crash_point = _end_here if _label else _go_on
"""Called with its label when a point is reached."""
