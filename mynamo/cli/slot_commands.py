"""`mynamo slots`: moving certain slots, and going on with moves or giving them up."""

from __future__ import annotations

import click

from mynamo.cli.command_context import opened
from mynamo.cli.groups import Group
from mynamo.cli.moving import finish, shown, with_rate
from mynamo.cli.output import say
from mynamo.operations.resharding import rebalance
from mynamo.schemas.keys import SLOTS


class _Range(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    name = "range"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Read `FIRST-LAST`, or one number."""
        if isinstance(value, tuple):
            return value
        first, dash, last = value.partition("-")
        try:
            found = int(first), int(last if dash else first)
        except ValueError:
            self.fail(f"{value!r} is not FIRST-LAST, as in 0-63", param, ctx)
        if not 0 <= found[0] <= found[1] < SLOTS:
            self.fail(f"slots are numbered from 0 to {SLOTS - 1}, not {value}", param, ctx)
        return found


SLOT_RANGE = _Range()


@click.group(cls=Group)
def slots() -> None:
    """Move slots to another shard while everything runs."""


@slots.command()
@click.argument("range_", metavar="FIRST-LAST", type=SLOT_RANGE)
@click.option("--to", "target", type=int, required=True, metavar="SHARD", help="The new owner.")
@with_rate
def move(range_: tuple[int, int], target: int, rate: float | None, as_json: bool) -> None:
    """Move slots, which one shard has, to another shard.

    Reads and writes go on; items of these slots are not written for a moment at the end. If the
    command is interrupted, `mynamo slots resume` goes on, or `mynamo slots cancel` undoes it.

    \b
    Example:
      mynamo slots move 0-63 --to 3
    """
    with opened() as cluster, shown(as_json) as progress:
        moved = rebalance.move_slots(cluster, *range_, target, rate=rate, on_progress=progress)
    finish([moved], as_json, f"slots {range_[0]}-{range_[1]} are on shard {target}: ")


@slots.command()
@click.option(
    "--discard", is_flag=True,
    help="Delete the old rows of slots that have moved, also if their new shard was restored since "
    "and lacks items.",
)  # fmt: skip
@with_rate
def resume(discard: bool, rate: float | None, as_json: bool) -> None:
    """Go on with moves that were interrupted.

    \b
    Example:
      mynamo slots resume
    """
    with opened() as cluster, shown(as_json) as progress:
        found = rebalance.resume(cluster, rate=rate, on_progress=progress, discard=discard)
    if not as_json:
        for each in found:
            click.echo(f"slots {each.first}-{each.last}: {each.source} -> {each.target}: done")
        if not found:
            say("no move of slots is open")


@slots.command()
@click.argument("range_", metavar="FIRST-LAST", type=SLOT_RANGE)
def cancel(range_: tuple[int, int]) -> None:
    """Give up a move before its slots have moved; what was copied is deleted.

    \b
    Example:
      mynamo slots cancel 0-63
    """
    with opened() as cluster:
        rebalance.cancel_move(cluster, *range_)
    click.echo(f"slots {range_[0]}-{range_[1]} stay where they are")
