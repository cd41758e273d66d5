"""`mynamo shard`: which shards a cluster has; adding, filling, draining and removing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import click

from mynamo.catalog import enabling, members, moves
from mynamo.cli.command_context import as_json as with_json
from mynamo.cli.command_context import opened
from mynamo.cli.groups import Group
from mynamo.cli.moving import finish, shown, with_rate
from mynamo.cli.output import print_grid, print_json, say
from mynamo.cli.statuses import FAILED
from mynamo.operations.leaving import TIMEOUT, remove_shard
from mynamo.operations.resharding import rebalance as resharding
from mynamo.operations.resharding.plan import PlannedMove
from mynamo.operations.shard_list import ShardReport, list_shards
from mynamo.schemas.keys import SLOTS


@click.group(cls=Group)
def shard() -> None:
    """Show the shards of a cluster; add, fill, drain or remove one."""


@shard.command()
def enable() -> None:
    """Allow shards to come and go in a cluster of an earlier release.

    A new cluster allows it. In one that an earlier release has set up, run this once, when all
    processes are of this release: those of earlier releases refuse to work from then on, and there
    is no way back. It allows transactions over several shards as well. Reads and writes pause for a
    moment meanwhile. It is safe to repeat, and says what it did; if it was interrupted, run it
    again, or leave the rest to a writer worker.

    \b
    Example:
      mynamo shard enable
    """
    with opened() as cluster:
        enabling.enable(cluster, click.echo, enabling.MOVES)
    click.echo("shards can be added and removed")


@shard.command()
@click.argument("shard_id", type=click.IntRange(1), metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask whether all processes know the shard.")
@with_json
def add(shard_id: int, yes: bool, as_json: bool) -> None:
    """Make a shard of the configuration a member of the cluster.

    Its database is empty, and its number is new to the cluster. First add it to the configuration
    of every process, and start these again, one after another: a process that does not know the
    shard cannot reach what is moved there. The shard has no slots at first. It is safe to repeat;
    if it was interrupted, run it again.

    \b
    Example:
      mynamo shard add 3
    """
    if not yes:
        click.confirm(
            f"Is shard {shard_id} in the configuration of every process, and has each been started "
            "with it?", abort=True, err=True,
        )  # fmt: skip
    with opened() as cluster:
        members.add_shard(cluster, shard_id, _steps(shard_id, as_json))


@shard.command()
@click.argument("shard_id", type=click.IntRange(1), metavar="ID")
@click.option(
    "--timeout", type=click.FloatRange(0), default=TIMEOUT, show_default=True,
    help="Seconds to wait until its last changes are applied.",
)  # fmt: skip
@click.option(
    "--discard-streams", is_flag=True,
    help="Remove it though it has records of streams that can be read.",
)  # fmt: skip
@with_json
def remove(shard_id: int, timeout: float, discard_streams: bool, as_json: bool) -> None:
    """Remove a shard that has no slots any more.

    Its last changes are waited for, and its transactions. Then it may leave the configuration of
    every process, and its database may be dropped. Its number is not given again. It is safe to
    repeat; if it was interrupted, run it again.

    What a shard has of streams of tables can be read there for a day; until then it is not removed,
    or with --discard-streams.

    \b
    Example:
      mynamo shard remove 3
    """
    with opened() as cluster:
        remove_shard(
            cluster,
            shard_id,
            _steps(shard_id, as_json),
            timeout,
            discard_streams=discard_streams,
        )


def _steps(shard_id: int, as_json: bool) -> Callable[[str], None]:
    """Tells of each step that was done, as a line."""
    if not as_json:
        return click.echo
    return lambda done: print_json({"shard": shard_id, "done": done}, indent=False)


@shard.command(name="list")
@with_json
def list_(as_json: bool) -> None:
    """Show all shards: state, slots, items, bytes, writes, and how far indexes are behind.

    Items and bytes are counted while they are few; else they are InnoDB's estimate. Ends with
    status 1 if a shard did not answer.

    \b
    Example:
      mynamo shard list
    """
    with opened() as cluster:
        reports = list_shards(cluster)
    if as_json:
        print_json([asdict(each) for each in reports])
    else:
        print_grid(
            ["shard", "state", "server", "slots", "items", "bytes", "writes/s", "lag", "moves"],
            [_row(each) for each in reports],
            right=["shard", "slots", "items", "bytes", "writes/s", "lag"],
        )
        for each in reports:
            if each.trouble:
                say(f"shard {each.shard}: {each.trouble}")
    if any(each.trouble for each in reports):
        raise SystemExit(FAILED)


with_parallel = click.option(
    "--parallel", type=click.IntRange(1, 16), default=1, show_default=True, metavar="N",
    help="Pairs of shards between which slots are copied at the same time.",
)  # fmt: skip


@shard.command()
@click.option(
    "--plan", "only_plan", is_flag=True, help="Show what would be moved, and move nothing."
)
@with_parallel
@with_rate
def rebalance(only_plan: bool, parallel: int, rate: float | None, as_json: bool) -> None:
    """Move slots until all active shards have as many, and those to be drained none.

    Moves that were interrupted go on first. Reads and writes go on meanwhile; items of slots that
    change their shard are not written for a moment. Once interrupted, it is safe to repeat.

    \b
    Examples:
      mynamo shard rebalance --plan
      mynamo shard rebalance --rate 20000 --parallel 2
    """
    with opened() as cluster:
        if only_plan:
            _show_plan(resharding.planned_moves(cluster), as_json)
            return
        with shown(as_json) as progress:
            moved = resharding.rebalance(
                cluster, rate=rate, parallel=parallel, on_progress=progress
            )
    finish(moved, as_json, "")


@shard.command()
@click.argument("shard_id", type=click.IntRange(1), metavar="ID")
@click.option("--undo", is_flag=True, help="Let the shard have slots again; none is moved back.")
@with_parallel
@with_rate
def drain(shard_id: int, undo: bool, parallel: int, rate: float | None, as_json: bool) -> None:
    """Move all slots of a shard to the others; then `mynamo shard remove` can remove it.

    No slots are moved to the shard from now on. Once interrupted, it is safe to repeat.

    \b
    Example:
      mynamo shard drain 1
    """
    with opened() as cluster:
        if undo:
            moves.set_draining(cluster.catalog, shard_id, False)
            say(f"shard {shard_id} can have slots again: `mynamo shard rebalance` gives it some")
            return
        with shown(as_json) as progress:
            moved = resharding.drain(
                cluster, shard_id, rate=rate, parallel=parallel, on_progress=progress
            )
    finish(moved, as_json, f"shard {shard_id} has no slots: ")


def _show_plan(planned: Sequence[PlannedMove], as_json: bool) -> None:
    if as_json:
        print_json([each._asdict() for each in planned])
        return
    pairs: dict[tuple[int, int], list[PlannedMove]] = {}
    for each in planned:
        pairs.setdefault((each.source, each.target), []).append(each)
    for (source, target), some in pairs.items():
        slots = sum(each.slots for each in some)
        click.echo(f"{source} -> {target}: {slots:,} slots in {len(some)} moves")
    if not planned:
        say("nothing to move: all active shards have their share of the slots")


def _row(each: ShardReport) -> tuple[object, ...]:
    return (
        each.shard,
        each.state or "no member",
        each.where or "",
        f"{each.slots} ({each.slots / SLOTS:.0%})",
        "" if each.items is None else f"{each.items:,}",
        "" if each.bytes is None else f"{each.bytes:,}",
        "" if each.writes is None else f"{each.writes:,.0f}",
        "" if each.lag is None else f"{each.lag:.1f} s",
        ", ".join(each.moves),
    )
