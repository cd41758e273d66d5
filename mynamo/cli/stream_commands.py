"""`mynamo stream`: streams of tables."""

from __future__ import annotations

from typing import Any

import click

from mynamo.catalog import table_streams
from mynamo.catalog.cluster import Cluster
from mynamo.cli.command_context import as_json as with_json
from mynamo.cli.command_context import dynamodb_json, find_table, opened, table_name
from mynamo.cli.groups import Group
from mynamo.cli.output import item_json, print_grid, print_json, say
from mynamo.cli.plain_items import dump_plain
from mynamo.reader.streams.follower import StreamFollower
from mynamo.reader.streams.stream_reader import StreamReader
from mynamo.schemas.item_changes import Change
from mynamo.schemas.stream_records import VIEWS
from mynamo.schemas.table_settings import StreamView


@click.group(cls=Group)
def stream() -> None:
    """Streams of tables: a record of each change of an item, for a day."""


@stream.command()
@table_name
@click.option(
    "--view", type=click.Choice(VIEWS), default="NEW_AND_OLD_IMAGES",
    show_default=True, help="What a record shows of an item besides its key.",
)  # fmt: skip
def enable(table: str, view: StreamView) -> None:
    """Have each change of a table's items recorded from now on.

    Records can be read for a day, by `mynamo stream tail`, the library, and clients of DynamoDB
    Streams at the address of the gateway. `mynamo writer` writes them, milliseconds after the
    change.

    \b
    Example:
      mynamo stream enable orders --view NEW_IMAGE
    """
    with opened() as cluster:
        find_table(cluster, table)
        made = table_streams.enable(cluster, table, view)
    click.echo(f"the stream of table {table} is ENABLED: {made.label}, {view}")


@stream.command()
@table_name
def disable(table: str) -> None:
    """Have a table's changes not recorded any more.

    The records that there are can be read until they are a day old.

    \b
    Example:
      mynamo stream disable orders
    """
    with opened() as cluster:
        find_table(cluster, table)
        table_streams.disable(cluster, table)
    click.echo(f"the stream of table {table} is DISABLED")


@stream.command(name="list")
@with_json
def list_(as_json: bool) -> None:
    """Show the streams that can be read, those of dropped tables too.

    \b
    Examples:
      mynamo stream list
      mynamo stream list --json | jq '.[] | select(.status == "ENABLED") | .table'
    """
    with opened() as cluster:
        reader = StreamReader(cluster)
        found = [(one, reader.shards(one)) for one in reader.streams()]
        ignored = _ignored(cluster)
    rows = [
        (one.table, one.label, one.view, one.status, sum(each.is_open for each in shards),
         len(shards))
        for one, shards in found
    ]  # fmt: skip
    titles = ["table", "label", "view", "status", "open shards", "shards"]
    if as_json:
        names = [title.replace(" ", "_") for title in titles]
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    elif rows:
        print_grid(titles, rows, right=["open shards", "shards"])
    else:
        say("no table has a stream; see `mynamo stream enable --help`")
    for line in ignored:
        say(line)


@stream.command()
@table_name
@click.option("--label", help="Of the stream, if it is not the table's newest.")
@click.option("--from-start", is_flag=True, help="Begin with the oldest record that there is.")
@click.option(
    "--for", "seconds", type=click.FloatRange(0), metavar="SECONDS",
    help="End after so long without a record.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), metavar="N", help="End after so many records.")
@with_json
@dynamodb_json
def tail(
    table: str,
    label: str | None,
    from_start: bool,
    seconds: float | None,
    limit: int | None,
    as_json: bool,
    dynamodb_json: bool,
) -> None:
    """Show a table's changes as they come, a line for each.

    A line has the time, what happened, the item's key and what it is now (or was, if it was
    deleted), as far as the stream's view type shows that. An item's changes come in their order. It
    ends with Ctrl-C, and when a disabled stream was read to its end.

    \b
    Examples:
      mynamo stream tail orders
      mynamo stream tail orders --from-start --for 1 --json | jq .keys
    """
    with opened() as cluster:
        reader = StreamReader(cluster)
        found = reader.stream(table, label)
        follower = StreamFollower(reader, found, from_horizon=from_start or not found.is_active)
        if not (as_json or dynamodb_json):
            say(f"table {table}, stream {found.label} ({found.view}); Ctrl-C ends it")
        for count, record in enumerate(follower.records(seconds), 1):
            change = Change.of_record(table, record)
            if as_json or dynamodb_json:
                print_json(_json(change, dynamodb_json), indent=False)
            else:
                click.echo(_line(change))
            if count == limit:
                break


def _line(change: Change) -> str:
    moment = change.at.astimezone()
    shown = change.old if change.new is None else change.new
    parts = [
        f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}",
        f"{'EXPIRE' if change.expired else change.event:6}",
        dump_plain(change.keys),
    ]
    if shown is not None:
        parts.append(dump_plain({k: v for k, v in shown.items() if k not in change.keys}))
    return "  ".join(parts)


def _json(change: Change, dynamodb_json: bool) -> dict[str, Any]:
    def image(item: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if item is None else item_json(item, dynamodb_json)

    return {
        "event": change.event,
        "at": change.at.isoformat(timespec="microseconds"),
        "sequence_number": change.sequence_number,
        "expired": change.expired,
        "keys": image(change.keys),
        "new": image(change.new),
        "old": image(change.old),
    }


def _ignored(cluster: Cluster) -> list[str]:
    """What an earlier release recorded of tables, and did not act upon."""
    return [
        f"table {table.name}: an earlier release recorded a stream "
        f"({table.settings.stream.view}), and no changes; to have them recorded run `mynamo stream "
        f"enable {table.name} --view {table.settings.stream.view}`"
        for table in cluster.snapshot.tables.values()
        if table.settings.stream.enabled and table.stream is None
    ]
