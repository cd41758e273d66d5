"""`mynamo index`: add one to a table that has items, or drop one."""

from __future__ import annotations

import time

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.index_status import progress
from mynamo.catalog.tables import Index
from mynamo.cli.command_context import find_table, opened, table_name
from mynamo.cli.groups import Group
from mynamo.cli.output import console, say
from mynamo.cli.specs import parse_global_index, parse_local_index
from mynamo.errors import TableNotFound
from mynamo.writer.backfill.backfiller import Backfiller
from mynamo.writer.backfill.indexes import activate_if_backfilled

POLL_SECONDS = 0.2
PATIENCE = 10.0
"""Seconds without progress until we ask whether anybody works."""
_WORK_SECONDS = 0.2
"""For which each shard is backfilled, one after the other."""


@click.group(cls=Group)
def index() -> None:
    """Add an index to a table, or drop one."""


@index.command()
@table_name
@click.option(
    "--lsi", "local", multiple=True, metavar="NAME=ATTR[:T][:PROJECTION]", help="A local index."
)
@click.option(
    "--gsi", "global_", multiple=True, metavar="NAME=HASH[:T][,SORT[:T]][:PROJECTION]",
    help="A global index; HASH and SORT may each be up to four attributes, as in a+b,c:N+d.",
)  # fmt: skip
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is ACTIVE.")
def add(table: str, local: tuple[str, ...], global_: tuple[str, ...], wait: bool) -> None:
    """Add an index to a table and backfill it with the items that are there.

    From then on every write maintains it. It can be queried once it is ACTIVE. The backfill
    survives any crash; after Ctrl-C, `mynamo writer` and `mynamo indexer` finish it.

    \b
    Examples:
      mynamo index add orders --gsi by_city=city,ordered_at:N:KEYS_ONLY
      mynamo index add orders --lsi by_price=price:N --no-wait
    """
    if len(local) + len(global_) != 1:
        raise click.UsageError("give one --lsi or one --gsi; each command adds one index")
    schema = parse_local_index(local[0]) if local else parse_global_index(global_[0])
    with opened() as cluster:
        find_table(cluster, table)
        made = definitions.add_index(cluster, table, schema)
        if not wait:
            click.echo(f"added index {made.name}: {made.status}; `mynamo writer` backfills it")
            return
        try:
            _backfill(cluster, made)
        except KeyboardInterrupt:
            say(
                f"\nIndex {made.name} stays CREATING: `mynamo writer` and `mynamo indexer` go on "
                f"with its backfill; `mynamo table describe {table}` shows when it is ACTIVE."
            )
            raise SystemExit(130) from None
        done = progress(cluster, made)
    left_out = f", {done.skipped:,} items not in it" if done.skipped else ""
    click.echo(f"index {made.name} is ACTIVE: {done.rows:,} items{left_out}")


@index.command()
@table_name
@click.argument("name", metavar="INDEX")
def drop(table: str, name: str) -> None:
    """Drop an index; the table's items stay.

    \b
    Example:
      mynamo index drop orders by_city
    """
    with opened() as cluster:
        find_table(cluster, table)
        definitions.drop_index(cluster, table, name)
    click.echo(f"dropped index {name} of table {table}")


def _backfill(cluster: Cluster, made: Index) -> None:
    """Take part in the backfill, and show its progress, until the index is ACTIVE."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rows]:,} items"), TimeElapsedColumn(),
        console=console(stderr=True), disable=not console(stderr=True).is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task(f"backfilling {made.name}", total=1.0, rows=0)
        backfillers = [Backfiller(cluster, shard, made) for shard in cluster.shards.values()]
        moved_at, last, hinted = time.monotonic(), None, False
        while True:
            more = [backfiller.work(_WORK_SECONDS) for backfiller in backfillers]
            now = progress(cluster, made)
            bar.update(task, completed=now.fraction, rows=now.rows)
            if any(more):
                continue
            if activate_if_backfilled(cluster, made) or _is_active(cluster, made):
                return
            if now != last:
                moved_at, last = time.monotonic(), now
            if time.monotonic() - moved_at > PATIENCE and not hinted:
                hinted = True
                bar.console.print(
                    "still waiting for the indexers: do `mynamo writer` and `mynamo indexer` run?"
                )
            time.sleep(POLL_SECONDS)


def _is_active(cluster: Cluster, made: Index) -> bool:
    """Whether somebody else made it ACTIVE.

    Raises:
        TableNotFound, IndexNotFound: it was dropped in the meantime.
    """
    known = cluster.refresh().tables.get(made.table_id)
    if known is None:
        raise TableNotFound("the table was dropped in the meantime")
    return known.index(made.name).status == "ACTIVE"
