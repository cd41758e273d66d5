"""`mynamo put`, `update` and `delete`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from mynamo.cli.command_context import as_json, dynamodb_json, find_table, names, opened, table_name
from mynamo.cli.output import item_json, print_json
from mynamo.cli.plain_items import dump_dynamodb, dump_plain, parse_item
from mynamo.cli.specs import key_words, parse_key
from mynamo.cli.write_options import UPDATE_RETURNS, Terms, read_terms, terms
from mynamo.errors import ConditionFailed
from mynamo.producer import Producer, Receipt

_SHOWN = 500
"""Characters of the item that a failed condition found."""


@click.command()
@table_name
@click.argument("item")
@terms()
@dynamodb_json
@as_json
def put(table: str, item: str, dynamodb_json: bool, as_json: bool, **options: Any) -> None:
    """Write an item, in place of the one with the same key.

    ITEM is a JSON object, or - to read it from stdin. Its numbers are exact. Binary and
    sets are written {"B": "aGVsbG8="}, {"SS": ["a", "b"]}, {"NS": ["1", "2"]}.

    Prints the item's version (for --if-version) and the consistency token: a query of a
    GSI with `--after TOKEN` sees this write.

    \b
    Examples:
      mynamo put orders '{"customer": "ann", "ordered_at": 1, "price": 9.90}'
      mynamo put orders '{"customer": {"S": "ann"}, ...}' --dynamodb-json
      mynamo put orders - --if-not-exists < item.json
      mynamo put orders '{"customer": "ann", "ordered_at": 1, "price": 8}' \\
        --condition 'attribute_not_exists(price) OR price > :p' --values '{":p": 8}'
    """
    text = sys.stdin.buffer.read() if item == "-" else item
    how = read_terms(options, dynamodb_json)
    new = parse_item(text, dynamodb_json)
    with (
        opened() as cluster,
        Producer(cluster) as producer,
        showing_what_was_found(how, dynamodb_json),
    ):
        find_table(cluster, table)
        receipt = producer.put(table, new, **how.words())
        _print_receipt(receipt, "put", how, as_json, dynamodb_json)


@click.command()
@table_name
@key_words
@terms()
@dynamodb_json
@as_json
def delete(
    table: str, key: tuple[str, ...], dynamodb_json: bool, as_json: bool, **options: Any
) -> None:
    """Delete an item; that there is none is no error.

    KEY is NAME=VALUE for each key attribute, or one JSON object.

    \b
    Examples:
      mynamo delete orders customer=ann ordered_at=1
      mynamo delete orders '{"customer": "ann", "ordered_at": 1}' --if-exists
      mynamo delete orders customer=ann ordered_at=1 --return ALL_OLD \\
        --condition '#s = :done' --names '{"#s": "status"}' --values '{":done": "paid"}'
    """
    how = read_terms(options, dynamodb_json)
    with (
        opened() as cluster,
        Producer(cluster) as producer,
        showing_what_was_found(how, dynamodb_json),
    ):
        where = parse_key(key, find_table(cluster, table), dynamodb_json)
        receipt = producer.delete(table, where, **how.words())
        _print_receipt(receipt, "deleted", how, as_json, dynamodb_json)


@click.command()
@table_name
@key_words
@click.option("--expression", metavar="TEXT", help="A DynamoDB update expression.")
@click.option("--set", "changes", metavar="JSON", help="Attributes and their new values.")
@click.option("--remove", callback=names, metavar="A,B", help="Attributes to remove.")
@terms(UPDATE_RETURNS)
@dynamodb_json
@as_json
def update(
    table: str,
    key: tuple[str, ...],
    expression: str | None,
    changes: str | None,
    remove: tuple[str, ...] | None,
    dynamodb_json: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Change an item, creating it if it does not exist.

    KEY is NAME=VALUE for each key attribute, or one JSON object. The change is an --expression, or
    --set and --remove.

    \b
    Examples:
      mynamo update orders customer=ann ordered_at=1 --set '{"status": "paid"}'
      mynamo update orders customer=ann ordered_at=1 --remove note,coupon --if-exists
      mynamo update orders customer=ann ordered_at=1 --return UPDATED_NEW \\
        --expression 'ADD visits :one SET tags[0] = :t' --values '{":one": 1, ":t": "new"}'
      mynamo update orders customer=ann ordered_at=1 \\
        --expression 'SET stock = stock - :n' --condition 'stock >= :n' --values '{":n": 2}'
    """
    if expression is None and changes is None and not remove:
        raise click.UsageError(
            "say what to change: --expression TEXT, or --set JSON, --remove A,B, or both of these"
        )
    if expression is not None and (changes is not None or remove):
        raise click.UsageError("--expression excludes --set and --remove")
    how = read_terms(options, dynamodb_json)
    new = parse_item(changes, dynamodb_json) if changes is not None else None
    if new == {} and not remove:
        raise click.UsageError("--set is empty, so there is nothing to change")
    with (
        opened() as cluster,
        Producer(cluster) as producer,
        showing_what_was_found(how, dynamodb_json),
    ):
        where = parse_key(key, find_table(cluster, table), dynamodb_json)
        receipt = producer.update(
            table, where, expression=expression, set=new, remove=remove or (), **how.words()
        )
        _print_receipt(receipt, "updated", how, as_json, dynamodb_json)


@contextmanager
def showing_what_was_found(how: Terms, dynamodb_json: bool) -> Iterator[None]:
    """Add the item to the message of a failed expression. Simple conditions say enough."""
    try:
        yield
    except ConditionFailed as failure:
        if not isinstance(how.condition, str):
            raise
        if failure.item is None:
            raise ConditionFailed(f"{failure}: there is no such item") from None
        found = (dump_dynamodb if dynamodb_json else dump_plain)(failure.item)
        if len(found) > _SHOWN:
            found = f"{found[:_SHOWN]}..."
        raise ConditionFailed(f"{failure}. The item is: {found}") from None


def _print_receipt(
    receipt: Receipt, done: str, how: Terms, as_json: bool, dynamodb_json: bool
) -> None:
    attributes = receipt.attributes
    if as_json:
        old = item_json(receipt.old, dynamodb_json) if receipt.old is not None else None
        shown = {
            "table": receipt.table,
            "shard": receipt.shard,
            "version": receipt.version,
            "token": receipt.token,
            "old": old,
        }
        if how.return_values != "NONE":
            shown["attributes"] = (
                item_json(attributes, dynamodb_json) if attributes is not None else None
            )
        print_json(shown)
        return
    if receipt.version:
        where = f"on shard {receipt.shard}, version {receipt.version}"
        click.echo(f"{done} {where}; --after {receipt.token}")
    else:
        click.echo("nothing to change: there is no such item")
    if attributes is not None:
        click.echo((dump_dynamodb if dynamodb_json else dump_plain)(attributes))
