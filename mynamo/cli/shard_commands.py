"""`mynamo shard`: which shards a cluster has; adding and removing them."""

from __future__ import annotations

from dataclasses import asdict

import click

from mynamo.catalog import enabling, members
from mynamo.cli.command_context import as_json as with_json
from mynamo.cli.command_context import opened
from mynamo.cli.groups import Group
from mynamo.cli.output import print_grid, print_json, say
from mynamo.cli.statuses import FAILED
from mynamo.operations.leaving import TIMEOUT, remove_shard
from mynamo.operations.shard_list import ShardReport, list_shards
from mynamo.schemas.keys import SLOTS


@click.group(cls=Group)
def shard() -> None:
    """Show the shards of a cluster, add one, or remove one."""


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
def add(shard_id: int, yes: bool) -> None:
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
            "with it?", abort=True,
        )  # fmt: skip
    with opened() as cluster:
        members.add_shard(cluster, shard_id, click.echo)


@shard.command()
@click.argument("shard_id", type=click.IntRange(1), metavar="ID")
@click.option(
    "--timeout", type=click.FloatRange(0), default=TIMEOUT, show_default=True,
    help="Seconds to wait until its last changes are applied.",
)  # fmt: skip
def remove(shard_id: int, timeout: float) -> None:
    """Remove a shard that has no slots any more.

    Its last changes are waited for, and its transactions. Then it may leave the configuration of
    every process, and its database may be dropped. Its number is not given again. It is safe to
    repeat; if it was interrupted, run it again.

    \b
    Example:
      mynamo shard remove 3
    """
    with opened() as cluster:
        remove_shard(cluster, shard_id, click.echo, timeout)


@shard.command(name="list")
@with_json
def list_(as_json: bool) -> None:
    """Show all shards: state, slots, items, bytes, and how far indexes are behind.

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
            ["shard", "state", "server", "slots", "items", "bytes", "lag"],
            [_row(each) for each in reports],
            right=["shard", "slots", "items", "bytes", "lag"],
        )
        for each in reports:
            if each.trouble:
                say(f"shard {each.shard}: {each.trouble}")
    if any(each.trouble for each in reports):
        raise SystemExit(FAILED)


def _row(each: ShardReport) -> tuple[object, ...]:
    return (
        each.shard,
        each.state or "no member",
        each.where or "",
        f"{each.slots} ({each.slots / SLOTS:.0%})",
        "" if each.items is None else f"{each.items:,}",
        "" if each.bytes is None else f"{each.bytes:,}",
        "" if each.lag is None else f"{each.lag:.1f} s",
    )
