"""`mynamo get`, `query` and `scan`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from mynamo import reader
from mynamo.cli.context import as_json, dynamodb_json, opened
from mynamo.cli.items import dump_dynamodb, dump_plain
from mynamo.cli.output import item_json, print_grid, print_items, print_json, say
from mynamo.cli.placeholders import expression_names, read_names
from mynamo.cli.read_options import Shown, paging, projection, read_paging
from mynamo.cli.specs import SortSpec, key_value, parse_key, parse_sort
from mynamo.shards.tables import Index, Table

GetPage = Callable[[str | None], reader.Page]
"""Reads the page with a token."""


@click.command()
@click.argument("table")
@click.argument("key", nargs=-1, required=True)
@projection
@expression_names
@dynamodb_json
@as_json
def get(
    table: str,
    key: tuple[str, ...],
    projection: str | tuple[str, ...] | None,
    expression_names: str | None,
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
      mynamo get orders customer=ann ordered_at=1 --projection 'status,address.city,lines[0]'
    """
    with opened() as cluster:
        known = cluster.table(table)
        where = parse_key(key, known, dynamodb_json)
        names = read_names(expression_names)
        item = reader.Reader(cluster).get(table, where, projection=projection, names=names)
    if item is None:
        raise click.ClickException(f"table {table} has no item with this key")
    if as_json or dynamodb_json:
        print_json(item_json(item, dynamodb_json))
    else:
        print_items([item], known.key_names)


@click.command()
@click.argument("table")
@click.argument("hash_value", metavar="[HASHVALUE]", required=False)
@click.option("--sort", metavar="CONDITION", help="On the sort key; see above.")
@click.option(
    "--key-condition", metavar="TEXT", help="A DynamoDB key condition expression; see above."
)
@click.option("--descending", is_flag=True, help="Highest sort key first.")
@click.option("--explain", is_flag=True, help="Show how it would be read, with MySQL's own plan.")
@paging
def query(
    table: str,
    hash_value: str | None,
    sort: str | None,
    key_condition: str | None,
    explain: bool,
    index: str | None,
    **options: Any,
) -> None:
    """Read the items of one hash key, or of one in an index, in the order of the sort key.

    HASHVALUE is the text, the number, or the base64 of the hash key; one that begins with a
    minus goes last, behind --.
    CONDITION is one of "= 5", "< 5", "<= 5", "> 5", ">= 5", "between 1 5", "begins_with abc".
    In place of both, --key-condition names the attributes, and all of them where an index has
    several in its keys.

    With --json: {"items": [...], "count": n, "scanned_count": n, "page_token": "..." or null}.

    \b
    Examples:
      mynamo query orders ann --sort "between 1 5" --descending
      mynamo query orders paid --index by_status --after AQIDBA...
      mynamo query orders paid --index by_status --explain
      mynamo query orders ann --filter 'price > :p' --values '{":p": 10}' --count
      mynamo query orders --index by_place --key-condition 'country = :c AND city = :t' \\
        --values '{":c": "no", ":t": "Oslo"}'
      mynamo query readings --limit 5 -- -273.15
    """
    shown = read_paging(options)
    if (hash_value is None) == (key_condition is None):
        raise click.UsageError("give either HASHVALUE or --key-condition")
    spec = None if sort is None else parse_sort(sort)
    with opened() as cluster:
        known = cluster.table(table)
        at: Table | Index = known.index(index) if index else known
        where = {"key_condition": key_condition, "index": index, **options}
        if spec is not None:
            where["sort"] = _sort_condition(at, spec)
        value = None if hash_value is None else _hash_value(at, hash_value)
        source = reader.Reader(cluster)
        if explain:
            found = source.explain(
                table, value, limit=shown.limit, page_token=shown.page_token, **where
            )
            _print_explanation(found, shown.as_json)
            return
        _print(
            lambda token, **how: source.query(table, value, page_token=token, **how, **where),
            _leading(known, index),
            shown,
        )


@click.command()
@click.argument("table")
@click.option("--segment", type=click.IntRange(0), help="Of a parallel scan, from 0.")
@click.option("--segments", type=click.IntRange(1), help="Into how many the scan is cut.")
@paging
def scan(
    table: str, segment: int | None, segments: int | None, index: str | None, **options: Any
) -> None:
    """Read all items of a table or an index, page by page, from all shards.

    With --json: {"items": [...], "count": n, "scanned_count": n, "page_token": "..." or null}.

    \b
    Examples:
      mynamo scan orders --limit 10
      mynamo scan orders --lines > orders.jsonl
      mynamo scan orders --lines --segment 0 --segments 4
      mynamo scan orders --count --filter 'attribute_exists(coupon)'
    """
    shown = read_paging(options)
    if (segment is None) != (segments is None):
        raise click.UsageError("--segment and --segments belong together")
    with opened() as cluster:
        known = cluster.table(table)
        source = reader.Reader(cluster)
        where = {"index": index, "segment": segment, "total_segments": segments, **options}
        _print(
            lambda token, **how: source.scan(table, page_token=token, **how, **where),
            _leading(known, index),
            shown,
        )


def _hash_value(at: Table | Index, text: str) -> Any:
    if len(at.hash_keys) > 1:
        names = ", ".join(key.name for key in at.hash_keys)
        raise click.UsageError(f"the hash key of {at.name} is {names}: use --key-condition")
    return key_value(at.hash_keys[0], text)


def _sort_condition(at: Table | Index, spec: SortSpec) -> reader.SortCondition:
    if not at.sort_keys:
        raise click.UsageError(f"{at.name} has no sort key, so --sort has nothing to compare")
    values = [key_value(at.sort_keys[0], value) for value in spec.values]
    condition: reader.SortCondition = getattr(reader, spec.operator)(*values)
    return condition


def _leading(table: Table, index: str | None) -> list[str]:
    """The key attributes that lead a printed table: the index's, then the table's."""
    own = table.index(index).key_names if index else ()
    return list(dict.fromkeys((*own, *table.key_names)))


def _print(page: Callable[..., reader.Page], leading: Sequence[str], shown: Shown) -> None:
    """Print what was asked for: one page, or all of them, or how many items there are.

    Args:
        page: reads the page with a token; takes `limit` and `count` as the reader does.
    """
    if shown.count:
        _print_count(lambda token: page(token, count=True), shown)
    elif shown.lines:
        _print_lines(lambda token: page(token, limit=shown.limit), shown)
    else:
        _print_page(page(shown.page_token, limit=shown.limit), leading, shown)


def _all_pages(page: GetPage, token: str | None) -> Iterator[reader.Page]:
    while True:
        found = page(token)
        yield found
        token = found.page_token
        if token is None:
            return


def _print_count(page: GetPage, shown: Shown) -> None:
    count = scanned = 0
    for found in _all_pages(page, shown.page_token):
        count += found.count
        scanned += found.scanned_count
    if shown.as_json or shown.dynamodb_json:
        print_json({"count": count, "scanned_count": scanned})
    else:
        click.echo(count)


def _print_lines(page: GetPage, shown: Shown) -> None:
    dump = dump_dynamodb if shown.dynamodb_json else dump_plain
    for found in _all_pages(page, shown.page_token):
        for item in found.items:
            click.echo(dump(item))


def _print_page(found: reader.Page, leading: Sequence[str], shown: Shown) -> None:
    if shown.as_json or shown.dynamodb_json:
        print_json(
            {
                "items": [item_json(item, shown.dynamodb_json) for item in found.items],
                "count": found.count,
                "scanned_count": found.scanned_count,
                "page_token": found.page_token,
            }
        )
        return
    if found.items:
        print_items(found.items, leading)
    read = "" if found.count == found.scanned_count else f", of {found.scanned_count} read"
    say(f"{found.count} item{'' if found.count == 1 else 's'}{read}")
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
