"""`mynamo index`: add one to a table that has items, or drop one."""

from __future__ import annotations

import click

from mynamo.catalog import definitions
from mynamo.catalog.index_status import progress
from mynamo.cli.backfilling import backfill
from mynamo.cli.command_context import find_table, opened, table_name
from mynamo.cli.groups import Group
from mynamo.cli.specs import parse_global_index, parse_local_index


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
        backfill(
            cluster,
            made,
            f"Index {made.name} stays CREATING: `mynamo writer` and `mynamo indexer` go on with "
            f"its backfill; `mynamo table describe {table}` shows when it is ACTIVE.",
        )
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
