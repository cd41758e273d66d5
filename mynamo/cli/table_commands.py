"""`mynamo table`: create, list, describe, protect, drop."""

from __future__ import annotations

from typing import IO, Any

import click

from mynamo.catalog import definitions, time_to_live
from mynamo.catalog.tables import Index, Table
from mynamo.cli.command_context import as_json, find_table, opened, table_name
from mynamo.cli.groups import Group
from mynamo.cli.output import print_grid, print_json, say
from mynamo.cli.plain_items import parse_item
from mynamo.cli.specs import parse_global_index, parse_local_index
from mynamo.errors import InvalidItem, InvalidSchema
from mynamo.schemas.table import KeyAttribute, Projection, TableSchema


@click.group(cls=Group)
def table() -> None:
    """Create, list, describe and drop tables."""


@table.command()
@click.argument("name", metavar="TABLE", required=False)
@click.option("--hash-key", metavar="ATTR[:T]", help="Key of an item; T is S (default), N or B.")
@click.option("--sort-key", metavar="ATTR[:T]", help="Orders the items of one hash key.")
@click.option(
    "--lsi", "local", multiple=True, metavar="NAME=ATTR[:T][:PROJECTION]",
    help="A local secondary index: the same hash key, another sort key.",
)  # fmt: skip
@click.option(
    "--gsi", "global_", multiple=True, metavar="NAME=HASH[:T][,SORT[:T]][:PROJECTION]",
    help="A global secondary index: a hash key of its own. HASH and SORT may each be up to four "
    "attributes, as in country+city,year:N+month:N.",
)  # fmt: skip
@click.option("--file", type=click.File("rb"), help="The definition as JSON, in place of options.")
@as_json
def create(
    name: str | None,
    hash_key: str | None,
    sort_key: str | None,
    local: tuple[str, ...],
    global_: tuple[str, ...],
    file: IO[bytes] | None,
    as_json: bool,
) -> None:
    """Create a table with its indexes.

    PROJECTION says what an index answers with: ALL (default), KEYS_ONLY or INCLUDE(a,b).

    \b
    Examples:
      mynamo table create orders --hash-key customer --sort-key ordered_at:N \\
          --lsi by_price=price:N --gsi "by_status=status,ordered_at:N:INCLUDE(price)"
      mynamo table create shops --hash-key id --gsi by_place=country+city,year:N+month:N
      mynamo table create orders --file orders.json

    \b
    orders.json:
      {"name": "orders", "hash_key": "customer", "sort_key": "ordered_at:N",
       "local_indexes": [{"name": "by_price", "sort_key": "price:N"}],
       "global_indexes": [{"name": "by_status", "hash_key": "status",
                           "projection": {"type": "KEYS_ONLY"}},
                          {"name": "by_place", "hash_key": ["country", "city"]}]}
    """
    if file is not None:
        if hash_key or sort_key or local or global_:
            raise click.UsageError("--file holds the whole definition; leave the other options out")
        definition = _definition(file)
        if name is not None and definition.setdefault("name", name) != name:
            raise click.UsageError(f"the file defines {definition['name']!r}, not {name!r}")
    else:
        if name is None or hash_key is None:
            raise click.UsageError("name the table and its --hash-key, or give a --file")
        definition = {
            "name": name,
            "hash_key": hash_key,
            "sort_key": sort_key,
            "local_indexes": [parse_local_index(text) for text in local],
            "global_indexes": [parse_global_index(text) for text in global_],
        }
    schema = TableSchema.parse(definition)
    with opened() as cluster:
        made = definitions.create_table(cluster, schema)
    if as_json:
        print_json(described(made))
    else:
        click.echo(f"created table {made.name}")


@table.command("list")
@as_json
def list_tables(as_json: bool) -> None:
    """List all tables.

    \b
    Examples:
      mynamo table list
      mynamo table list --json | jq -r '.[].name'
    """
    with opened() as cluster:
        found = sorted(cluster.snapshot.tables.values(), key=lambda t: t.name)
    if as_json:
        print_json([described(t) for t in found])
    elif found:
        print_grid(
            ["table", "status", "hash key", "sort key", "LSIs", "GSIs"],
            [(t.name, t.status, _key(t.hash_keys), _key(t.sort_keys),
              _listed(t.local_indexes), _listed(t.global_indexes)) for t in found],
        )  # fmt: skip
    else:
        say("there are no tables yet; see `mynamo table create --help`")


@table.command()
@table_name
@as_json
def describe(table: str, as_json: bool) -> None:
    """Show a table's keys and indexes.

    \b
    Example:
      mynamo table describe orders
    """
    with opened() as cluster:
        # Also one that is being made or dropped.
        found = cluster.snapshot.names.get(table) or find_table(cluster, table)
    if as_json:
        print_json(described(found))
        return
    protected = ", protected against deletion" if found.settings.deletion_protection else ""
    click.echo(
        f"table {found.name}: {found.status}, created {found.created_at:%Y-%m-%d %H:%M} UTC"
        + protected
    )
    rows = [("(table)", "", _key(found.hash_keys), _key(found.sort_keys), "", found.status)]
    rows += [
        (i.name, i.kind, _key(i.hash_keys), _key(i.sort_keys), projected(i.projection), i.status)
        for i in found.indexes
        if i.kind != "TTL"
    ]
    print_grid(["index", "kind", "hash key", "sort key", "projection", "status"], rows)
    for i in found.indexes:
        if i.kind == "TTL":
            click.echo(f"time to live: {i.expiry}, {time_to_live.STATUSES[i.status]}")


@table.command()
@table_name
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(table: str, yes: bool) -> None:
    """Drop a table with all its items and indexes.

    \b
    Example:
      mynamo table drop orders
    """
    with opened() as cluster:
        if table not in cluster.snapshot.names:  # one that is half made can be dropped as well
            find_table(cluster, table)
        if not yes:
            click.confirm(f"Drop table {table} with all its items and indexes?", abort=True)
        definitions.drop_table(cluster, table)
    click.echo(f"dropped table {table}")


@table.command()
@table_name
@click.option("--off", is_flag=True, help="No longer.")
def protect(table: str, off: bool) -> None:
    """Protect a table against being dropped.

    \b
    Examples:
      mynamo table protect orders
      mynamo table protect orders --off
    """
    with opened() as cluster:
        cluster.catalog.change_settings(
            find_table(cluster, table).id, lambda now: now.with_(deletion_protection=not off)
        )
    click.echo(f"table {table} is {'no longer ' if off else ''}protected against deletion")


def described(found: Table) -> dict[str, Any]:
    """A table for scripts: its definition, as `--file` takes it, and where it stands."""
    return {
        **definitions.schema_of(found).model_dump(mode="json"),
        "id": found.id,
        "status": found.status,
        "index_status": {i.name: i.status for i in found.indexes if i.kind != "TTL"},
        "time_to_live": found.time_to_live and found.time_to_live.expiry,
        "created_at": found.created_at.isoformat(),
        "settings": found.settings.model_dump(mode="json", exclude_defaults=True),
    }


def projected(projection: Projection) -> str:
    """A projection as people write it."""
    if projection.type != "INCLUDE":
        return projection.type
    return f"INCLUDE({','.join(projection.attributes)})"


def _definition(file: IO[bytes]) -> dict[str, Any]:
    try:
        return parse_item(file.read())
    except InvalidItem as error:
        raise InvalidSchema(f"{file.name}: {error}") from None


def _key(attributes: tuple[KeyAttribute, ...]) -> str:
    return "+".join(f"{key.name}:{key.type}" for key in attributes)


def _listed(indexes: tuple[Index, ...]) -> str:
    return ", ".join(i.name if i.status == "ACTIVE" else f"{i.name} ({i.status})" for i in indexes)
