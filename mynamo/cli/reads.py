"""`mynamo get`, `query` and `scan`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from mynamo import reader
from mynamo.cli.context import as_json, dynamodb_json, names, opened
from mynamo.cli.items import dump_dynamodb, dump_plain
from mynamo.cli.output import item_json, print_grid, print_items, print_json, say
from mynamo.cli.specs import key_value, parse_key, parse_sort
from mynamo.shards.tables import Index, Table

PAGE_ITEMS = 100

Command = TypeVar("Command", bound=Callable[..., Any])


def paging(command: Command) -> Command:
    """Add the options of everything that answers with pages of items."""
    for option in (
        as_json,
        dynamodb_json,
        click.option(
            "--lines", is_flag=True,
            help="Print all pages, an item per line, as `mynamo load` reads them.",
        ),
        click.option("--projection", callback=names, metavar="A,B", help="Only these attributes."),
        click.option("--page-token", metavar="TOKEN", help="Go on where a page ended."),
        click.option(
            "--limit", type=click.IntRange(1), default=PAGE_ITEMS, show_default=True,
            help="Items per page.",
        ),
        click.option("--index", metavar="NAME", help="An index in place of the table."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.argument("table")
@click.argument("key", nargs=-1, required=True)
@click.option("--projection", callback=names, metavar="A,B", help="Only these attributes.")
@dynamodb_json
@as_json
def get(
    table: str,
    key: tuple[str, ...],
    projection: tuple[str, ...] | None,
    dynamodb_json: bool,
    as_json: bool,
) -> None:
    """Read an item by its key; ends with status 1 if there is none.

    KEY is a JSON object, or `attribute=value` words. With --json the item is printed as
    plain JSON with exact numbers; binary and sets stand as {"B": "..."}, {"SS": [...]}.

    \b
    Examples:
      mynamo get orders customer=ann ordered_at=1
      mynamo get orders '{"customer": "ann", "ordered_at": 1}' --json
    """
    with opened() as cluster:
        known = cluster.table(table)
        where = parse_key(key, known, dynamodb_json)
        item = reader.Reader(cluster).get(table, where, projection=projection)
    if item is None:
        raise click.ClickException(f"table {table} has no item with this key")
    if as_json or dynamodb_json:
        print_json(item_json(item, dynamodb_json))
    else:
        print_items([item], known.key_names)


@click.command()
@click.argument("table")
@click.argument("hash_value", metavar="HASHVALUE")
@click.option("--sort", metavar="CONDITION", help="On the sort key; see above.")
@click.option("--descending", is_flag=True, help="Highest sort key first.")
@click.option(
    "--after", multiple=True, metavar="TOKEN", help="Wait until the GSI has applied this write."
)
@click.option(
    "--timeout", type=float, default=5.0, show_default=True, help="Seconds to wait for --after."
)
@click.option("--explain", is_flag=True, help="Show how it would be read, with MySQL's own plan.")
@paging
def query(
    table: str,
    hash_value: str,
    sort: str | None,
    descending: bool,
    after: tuple[str, ...],
    timeout: float,
    explain: bool,
    index: str | None,
    limit: int,
    page_token: str | None,
    projection: tuple[str, ...] | None,
    lines: bool,
    dynamodb_json: bool,
    as_json: bool,
) -> None:
    """Read the items of one hash key, or of one in an index, in the order of the sort key.

    HASHVALUE is the text, the number, or the base64 of the hash key; one that begins with a
    minus goes last, behind --.
    CONDITION is one of "= 5", "< 5", "<= 5", "> 5", ">= 5", "between 1 5", "begins_with abc".

    With --json: {"items": [...], "count": n, "page_token": "..." or null}.

    \b
    Examples:
      mynamo query orders ann --sort "between 1 5" --descending
      mynamo query orders paid --index by_status --after AQIDBA...
      mynamo query orders paid --index by_status --explain
      mynamo query readings --limit 5 -- -273.15
    """
    with opened() as cluster:
        known = cluster.table(table)
        at: Table | Index = known.index(index) if index else known
        value = key_value(at.hash_key, hash_value)
        condition = _sort_condition(at, sort) if sort else None
        source = reader.Reader(cluster)
        if explain:
            found = source.explain(
                table, value, index=index, sort=condition, descending=descending, limit=limit,
                page_token=page_token, projection=projection,
            )  # fmt: skip
            _print_explanation(found, as_json)
            return

        def page(token: str | None) -> reader.Page:
            return source.query(
                table, value, index=index, sort=condition, descending=descending, limit=limit,
                page_token=token, projection=projection, after=after, timeout=timeout,
            )  # fmt: skip

        _print_pages(page, page_token, _leading(known, index), lines, dynamodb_json, as_json)


@click.command()
@click.argument("table")
@click.option("--segment", type=click.IntRange(0), help="Of a parallel scan, from 0.")
@click.option("--segments", type=click.IntRange(1), help="Into how many the scan is cut.")
@paging
def scan(
    table: str,
    segment: int | None,
    segments: int | None,
    index: str | None,
    limit: int,
    page_token: str | None,
    projection: tuple[str, ...] | None,
    lines: bool,
    dynamodb_json: bool,
    as_json: bool,
) -> None:
    """Read all items of a table or an index, page by page, from all shards.

    \b
    Examples:
      mynamo scan orders --limit 10
      mynamo scan orders --lines > orders.jsonl
      mynamo scan orders --lines --segment 0 --segments 4
    """
    if (segment is None) != (segments is None):
        raise click.UsageError("--segment and --segments belong together")
    with opened() as cluster:
        known = cluster.table(table)
        source = reader.Reader(cluster)

        def page(token: str | None) -> reader.Page:
            return source.scan(
                table, index=index, limit=limit, page_token=token, segment=segment,
                total_segments=segments, projection=projection,
            )  # fmt: skip

        _print_pages(page, page_token, _leading(known, index), lines, dynamodb_json, as_json)


def _sort_condition(at: Table | Index, text: str) -> Any:
    if at.sort_key is None:
        raise click.UsageError(f"{at.name} has no sort key, so --sort has nothing to compare")
    spec = parse_sort(text)
    values = [key_value(at.sort_key, value) for value in spec.values]
    return getattr(reader, spec.operator)(*values)


def _leading(table: Table, index: str | None) -> list[str]:
    """The key attributes that lead a printed table: the index's, then the table's."""
    found = list(table.key_names)
    if index:
        known = table.index(index)
        keys = [known.hash_key.name, *([known.sort_key.name] if known.sort_key else [])]
        found = keys + [name for name in found if name not in keys]
    return found


def _print_pages(
    page: Callable[[str | None], reader.Page],
    token: str | None,
    leading: Sequence[str],
    lines: bool,
    dynamodb_json: bool,
    as_json: bool,
) -> None:
    """Print one page, or with `lines` all of them."""
    if lines:
        dump = dump_dynamodb if dynamodb_json else dump_plain
        while True:
            found = page(token)
            for item in found.items:
                click.echo(dump(item))
            token = found.page_token
            if token is None:
                return
    found = page(token)
    if as_json or dynamodb_json:
        items = [item_json(item, dynamodb_json) for item in found.items]
        print_json({"items": items, "count": found.count, "page_token": found.page_token})
        return
    if found.items:
        print_items(found.items, leading)
    say(f"{found.count} item{'' if found.count == 1 else 's'}")
    if found.page_token is not None:
        say(f"there are more: --page-token {found.page_token}")


def _print_explanation(found: reader.Explanation, as_json: bool) -> None:
    plan = found.plan
    if as_json:
        print_json(
            {
                "kind": plan.kind,
                "index": plan.index,
                "shards": plan.shards,
                "summary": plan.summary,
                "statement": found.statement,
                "rows": found.rows,
            }
        )
        return
    click.echo(f"{plan}\n\n{found.statement}\n")
    columns = list(found.rows[0]) if found.rows else []
    print_grid(columns, ([row[column] for column in columns] for row in found.rows))
