"""`mynamo get`, `query` and `scan`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from mynamo import reader
from mynamo.catalog.tables import Index, Table
from mynamo.cli.command_context import as_json, dynamodb_json, find_table, opened, table_name
from mynamo.cli.output import item_json, print_grid, print_items, print_json, say
from mynamo.cli.plain_items import dump_dynamodb, dump_plain
from mynamo.cli.read_options import (
    Shown,
    expression_names,
    paging,
    projection,
    read_names,
    read_paging,
)
from mynamo.cli.specs import (
    QueryKey,
    SortSpec,
    key_value,
    key_words,
    parse_key,
    parse_query_key,
    parse_sort,
)
from mynamo.schemas.table import KeyAttribute

GetPage = Callable[[str | None], reader.Page]
"""Reads the page with a token."""


@click.command()
@table_name
@key_words
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

    KEY is NAME=VALUE for each key attribute, or one JSON object. With --json the item is printed as
    plain JSON with exact numbers; binary and sets stand as {"B": "..."}, {"SS": [...]}.

    \b
    Examples:
      mynamo get orders customer=ann ordered_at=1
      mynamo get orders '{"customer": "ann", "ordered_at": 1}' --json
      mynamo get orders customer=ann ordered_at=1 --projection 'status,address.city,lines[0]'
    """
    with opened() as cluster:
        known = find_table(cluster, table)
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
@table_name
@click.argument("key", metavar="[KEY]...", nargs=-1)
@click.option("--sort", metavar="CONDITION", help="On the sort key; see above.")
@click.option(
    "--key-condition", metavar="TEXT", help="A DynamoDB key condition expression; see above."
)
@click.option("--descending", is_flag=True, help="Highest sort key first.")
@click.option("--explain", is_flag=True, help="Show how it would be read, with MySQL's own plan.")
@paging
def query(
    table: str,
    key: tuple[str, ...],
    sort: str | None,
    key_condition: str | None,
    explain: bool,
    index: str | None,
    **options: Any,
) -> None:
    """Read the items of one hash key, or of one in an index, in the order of the sort key.

    KEY is NAME=VALUE for each attribute of the hash key, and for those of the sort key that must
    be equal; or one JSON object; or only the value of the hash key: its text, its number, or its
    base64. A value that has an equals sign in it is written with its name: customer=a=b.
    CONDITION is one of "= 5", "< 5", "<= 5", "> 5", ">= 5", "between 1 5", "begins_with abc".
    In place of both, --key-condition is an expression.

    With --json: {"items": [...], "count": n, "scanned_count": n, "page_token": "..." or null}.

    \b
    Examples:
      mynamo query orders customer=ann --sort "between 1 5" --descending
      mynamo query orders paid --index by_status --after AQIDBA...
      mynamo query orders paid --index by_status --explain
      mynamo query orders ann --filter 'price > :p' --values '{":p": 10}' --count
      mynamo query orders country=no city=Oslo --index by_place
      mynamo query orders --key-condition 'customer = :c' --values '{":c": "ann"}'
      mynamo query readings celsius=-273.15 --limit 5
    """
    shown = read_paging(options)
    if bool(key) == (key_condition is not None):
        raise click.UsageError("give either KEY, such as NAME=VALUE, or --key-condition")
    if key_condition is not None and sort is not None:
        raise click.UsageError("--key-condition excludes --sort: it can say that itself")
    if explain and (shown.count or shown.lines):
        raise click.UsageError("--explain reads no items: leave out --count and --lines")
    spec = None if sort is None else parse_sort(sort)
    with opened() as cluster:
        known = find_table(cluster, table)
        at: Table | Index = known if index is None else known.index(index)
        where = {"key_condition": key_condition, "index": index, **options}
        value = None
        if key:
            asked = parse_query_key(key, at, shown.dynamodb_json)
            value = _one_or_all(asked.hash_values, len(at.hash_keys))
            where["sort"] = _sort(at, asked, spec)
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
@table_name
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
        known = find_table(cluster, table)
        source = reader.Reader(cluster)
        where = {"index": index, "segment": segment, "total_segments": segments, **options}
        _print(
            lambda token, **how: source.scan(table, page_token=token, **how, **where),
            _leading(known, index),
            shown,
        )


def _sort(at: Table | Index, asked: QueryKey, spec: SortSpec | None) -> Any:
    """What the sort key must be, as the reader takes it: equal to what is given, and then this.

    Raises:
        click.UsageError: there is no attribute left to which the condition could apply.
    """
    given: dict[str, Any] = dict(asked.sort_values)
    if spec is not None:
        left = at.sort_keys[len(given) :]
        if not left:
            raise click.UsageError(
                f"{at.name} has no sort key, so --sort has nothing to compare"
                if not at.sort_keys
                else "the sort key is given already, so --sort has nothing to compare"
            )
        given[left[0].name] = _sort_condition(left[0], spec)
    return _one_or_all(given, len(at.sort_keys)) if given else None


def _sort_condition(key: KeyAttribute, spec: SortSpec) -> reader.SortCondition:
    values = [key_value(key, value) for value in spec.values]
    condition: reader.SortCondition = getattr(reader, spec.operator)(*values)
    return condition


def _one_or_all(values: dict[str, Any], attributes: int) -> Any:
    """As the reader takes a key: of several attributes by name, of one as it is."""
    if attributes > 1:
        return values
    (value,) = values.values()
    return value


def _leading(table: Table, index: str | None) -> list[str]:
    """The key attributes that lead a printed table: the index's, then the table's."""
    own = () if index is None else table.index(index).key_names
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
