"""`mynamo incarnation`: what became of shards that went back in time, and telling that one did."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from mynamo.catalog.incarnation import history, incarnation_of
from mynamo.cli.command_context import opened
from mynamo.cli.groups import Group
from mynamo.cli.output import print_grid, print_json, say
from mynamo.errors import ConfigError


@click.group(cls=Group)
def incarnation() -> None:
    """Show the incarnations of shards, or begin a new one after a restore."""


@incarnation.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
def list_(as_json: bool) -> None:
    """Show when shards got a new incarnation, and what became of their indexes.

    A shard gets one when its server is another one, or when it has gone back in time. `lost
    changes` says that indexes had changes that the shard does not have any more. `fencing`: the
    relay keeps old events out of the indexes; `mending`: `mynamo writer` verifies and repairs
    the indexes; `clean`: nothing is left to do.

    \b
    Example:
      mynamo incarnation list
    """
    with opened() as cluster:
        rows = []
        for shard in cluster.shards.values():
            with shard.session() as session:
                rows += [(shard.id, each) for each in history(session)]
    if as_json:
        print_json(
            [
                {
                    "shard": shard_id,
                    "incarnation": each.number,
                    "began": _time(each.adopted_at),
                    "server": each.server.decode(errors="replace"),
                    "lost": each.lost,
                    "state": each.state,
                }
                for shard_id, each in rows
            ]
        )
        return
    print_grid(
        ["shard", "incarnation", "began", "server", "lost changes", "state"],
        [
            (shard_id, each.number, _time(each.adopted_at), each.server.decode(errors="replace"),
             "yes" if each.lost else "no", each.state)
            for shard_id, each in rows
        ],
        right=["shard", "incarnation"],
    )  # fmt: skip


@incarnation.command()
@click.argument("shard_id", type=int, metavar="SHARD")
def begin(shard_id: int) -> None:
    """Begin a new incarnation of a shard whose database was restored.

    mynamo finds a failover by itself, as the server is another one, and many restores, as
    indexes have changes that the shard does not know of. Where a backup, physical or logical, was
    restored into the server on which the shard was, begin one by hand. It does no harm to begin
    one without need.

    \b
    Example:
      mynamo incarnation begin 2
    """
    with opened() as cluster:
        shard = cluster.shards.get(shard_id)
        if shard is None:
            raise ConfigError(
                f"there is no shard {shard_id}; the cluster's shards: {sorted(cluster.shards)}"
            )
        with shard.session() as session:
            last = history(session)[-1].number
            (relay,) = session.run(("SELECT last_seq FROM mynamo_relay", ()))
        begun = shard.adopt(max(last, incarnation_of(relay.rows[0][0])) + 1)
        if begun is not None:
            say(
                f"shard {shard_id}: incarnation {begun} has begun; `mynamo writer` "
                "verifies and mends the indexes (`mynamo incarnation list`)"
            )


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
