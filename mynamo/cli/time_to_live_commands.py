"""`mynamo ttl`: time to live of tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from mynamo.catalog import time_to_live
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.index_status import progress
from mynamo.catalog.tables import Index, Table
from mynamo.cli.backfilling import backfill
from mynamo.cli.command_context import as_json as with_json
from mynamo.cli.command_context import find_table, opened, table_name
from mynamo.cli.groups import Group
from mynamo.cli.output import print_grid, print_json, say
from mynamo.cli.statuses import FAILED
from mynamo.operations.due_items import MOST_COUNTED, DueItems, due_items


@click.group(cls=Group)
def ttl() -> None:
    """Time to live: have items deleted once they have expired."""


@ttl.command()
@table_name
@click.argument("attribute", metavar="ATTRIBUTE")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is ENABLED.")
def enable(table: str, attribute: str, wait: bool) -> None:
    """Have a table's items deleted when the time in ATTRIBUTE is over.

    ATTRIBUTE is a number (N): seconds since 1970. Items without it, with another type, or with a
    time that is more than five years ago are left alone. Items that have expired already are
    deleted soon after. `mynamo writer` does it, within seconds; until then they can be read.

    \b
    Example:
      mynamo ttl enable sessions expires_at
    """
    with opened() as cluster:
        find_table(cluster, table)
        made = time_to_live.enable(cluster, table, attribute)
        if not wait:
            click.echo(f"time to live of table {table} is ENABLING; `mynamo writer` goes on")
            return
        backfill(
            cluster,
            made,
            "Time to live stays ENABLING: `mynamo writer` goes on with it; `mynamo ttl list` shows "
            "when it is ENABLED.",
        )
        done = progress(cluster, made)
    click.echo(
        f"time to live of table {table} is ENABLED: {done.rows:,} of {done.rows + done.skipped:,} "
        f"items have a time in {attribute}"
    )


@ttl.command()
@table_name
def disable(table: str) -> None:
    """Have a table's items stay, whatever their time is.

    \b
    Example:
      mynamo ttl disable sessions
    """
    with opened() as cluster:
        find_table(cluster, table)
        time_to_live.disable(cluster, table)
    click.echo(f"time to live of table {table} is DISABLED")


@ttl.command(name="list")
@with_json
def list_(as_json: bool) -> None:
    """Show which tables have time to live, and what is due there.

    DUE are the items that have expired and are not deleted yet, BEHIND says how long ago the first
    of them expired. Ends with status 1 if a shard does not answer.

    \b
    Examples:
      mynamo ttl list
      mynamo ttl list --json | jq '.[] | {table, behind: [.shards[].seconds] | max}'
    """
    with opened() as cluster:
        found = [
            (table, index, due_items(cluster, index))
            for table in sorted(cluster.snapshot.tables.values(), key=lambda table: table.name)
            for index in table.indexes
            if index.kind == "TTL"
        ]
        ignored = _ignored(cluster)
    troubles = {one.trouble: None for _, _, due in found for one in due if one.trouble}
    if as_json:
        print_json([_json(*each) for each in found])
    elif found:
        print_grid(
            ["table", "attribute", "status", "due", "behind"],
            [(table.name, index.expiry, time_to_live.STATUSES[index.status], *_summed(due))
             for table, index, due in found],
            right=["due", "behind"],
        )  # fmt: skip
    else:
        say("no table has time to live; see `mynamo ttl enable --help`")
    for line in [*troubles, *ignored]:
        say(line)
    if troubles:
        raise SystemExit(FAILED)


def _summed(due: list[DueItems]) -> tuple[str, str]:
    if any(one.trouble for one in due):
        return "?", "?"
    more = "+" if any(one.items >= MOST_COUNTED for one in due) else ""
    return f"{sum(one.items for one in due):,}{more}", f"{max(one.seconds for one in due):,} s"


def _json(table: Table, index: Index, due: list[DueItems]) -> dict[str, Any]:
    return {
        "table": table.name,
        "attribute": index.expiry,
        "status": time_to_live.STATUSES[index.status],
        "shards": [asdict(one) for one in due],
    }


def _ignored(cluster: Cluster) -> list[str]:
    """What an earlier release recorded of tables, and did not act upon."""
    return [
        f"table {table.name}: an earlier release recorded time to live by "
        f"{table.settings.ttl.attribute}, and deleted nothing; to have items deleted run "
        f"`mynamo ttl enable {table.name} {table.settings.ttl.attribute}`"
        for table in cluster.snapshot.tables.values()
        if table.settings.ttl.enabled and table.time_to_live is None
    ]
