"""`mynamo put`, `update` and `delete`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from mynamo.cli.context import as_json, dynamodb_json, names, opened
from mynamo.cli.items import parse_item
from mynamo.cli.output import item_json, print_json
from mynamo.cli.specs import parse_key
from mynamo.producer import Condition, Producer, Receipt

Command = TypeVar("Command", bound=Callable[..., Any])


def conditions(command: Command) -> Command:
    """Add the options that make a condition."""
    for option in (
        click.option("--if-version", type=click.IntRange(1), help="Only if it has this version."),
        click.option("--if-exists", is_flag=True, help="Only if the item exists."),
        click.option("--if-not-exists", is_flag=True, help="Only if the item does not exist."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("table")
@click.argument("item")
@conditions
@dynamodb_json
@as_json
def put(
    table: str,
    item: str,
    if_not_exists: bool,
    if_exists: bool,
    if_version: int | None,
    dynamodb_json: bool,
    as_json: bool,
) -> None:
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
    """
    text = sys.stdin.buffer.read() if item == "-" else item
    condition = _condition(if_not_exists, if_exists, if_version)
    new = parse_item(text, dynamodb_json)
    with opened() as cluster, Producer(cluster) as producer:
        receipt = producer.put(table, new, condition=condition)
        _print_receipt(receipt, "put", as_json, dynamodb_json)


@click.command()
@click.argument("table")
@click.argument("key", nargs=-1, required=True)
@conditions
@dynamodb_json
@as_json
def delete(
    table: str,
    key: tuple[str, ...],
    if_not_exists: bool,
    if_exists: bool,
    if_version: int | None,
    dynamodb_json: bool,
    as_json: bool,
) -> None:
    """Delete an item; that there is none is no error.

    KEY is a JSON object, or `attribute=value` words.

    \b
    Examples:
      mynamo delete orders customer=ann ordered_at=1
      mynamo delete orders '{"customer": "ann", "ordered_at": 1}' --if-exists
    """
    condition = _condition(if_not_exists, if_exists, if_version)
    with opened() as cluster, Producer(cluster) as producer:
        where = parse_key(key, cluster.table(table), dynamodb_json)
        receipt = producer.delete(table, where, condition=condition)
        _print_receipt(receipt, "deleted", as_json, dynamodb_json)


@click.command()
@click.argument("table")
@click.argument("key", nargs=-1, required=True)
@click.option("--set", "changes", metavar="JSON", help="Attributes and their new values.")
@click.option("--remove", callback=names, metavar="A,B", help="Attributes to remove.")
@conditions
@dynamodb_json
@as_json
def update(
    table: str,
    key: tuple[str, ...],
    changes: str | None,
    remove: tuple[str, ...] | None,
    if_not_exists: bool,
    if_exists: bool,
    if_version: int | None,
    dynamodb_json: bool,
    as_json: bool,
) -> None:
    """Set and remove attributes of an item, creating it if it does not exist.

    KEY is a JSON object, or `attribute=value` words.

    \b
    Examples:
      mynamo update orders customer=ann ordered_at=1 --set '{"status": "paid"}'
      mynamo update orders customer=ann ordered_at=1 --remove note,coupon --if-exists
    """
    if changes is None and not remove:
        raise click.UsageError("say what to change: --set JSON, --remove A,B, or both")
    condition = _condition(if_not_exists, if_exists, if_version)
    new = parse_item(changes, dynamodb_json) if changes is not None else {}
    with opened() as cluster, Producer(cluster) as producer:
        where = parse_key(key, cluster.table(table), dynamodb_json)
        receipt = producer.update(table, where, set=new, remove=remove or (), condition=condition)
        _print_receipt(receipt, "updated", as_json, dynamodb_json)


def _condition(not_exists: bool, exists: bool, version: int | None) -> Condition | None:
    if not_exists and (exists or version is not None):
        raise click.UsageError("--if-not-exists excludes --if-exists and --if-version")
    if not (not_exists or exists or version is not None):
        return None
    return Condition(exists=False if not_exists else True if exists else None, version=version)


def _print_receipt(receipt: Receipt, done: str, as_json: bool, dynamodb_json: bool) -> None:
    if as_json:
        old = item_json(receipt.old, dynamodb_json) if receipt.old is not None else None
        print_json(
            {
                "table": receipt.table,
                "shard": receipt.shard,
                "version": receipt.version,
                "token": receipt.token,
                "old": old,
            }
        )
        return
    if not receipt.version:
        click.echo("nothing to change: there is no such item")
        return
    where = f"on shard {receipt.shard}, version {receipt.version}"
    click.echo(f"{done} {where}; --after {receipt.token}")
