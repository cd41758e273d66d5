"""`mynamo transact`: several writes, all or none; or several reads as of one moment."""

from __future__ import annotations

from functools import partial
from typing import IO, Any

import click

from mynamo.catalog.cluster import Cluster
from mynamo.cli.app import reserved_word, wording
from mynamo.cli.command_context import as_json, find_table, opened
from mynamo.cli.output import print_grid, print_json
from mynamo.cli.plain_items import dump_plain
from mynamo.cli.statuses import FAILED
from mynamo.cli.transaction_files import Entry, TransactionFile, parse_transaction
from mynamo.errors import (
    ConditionFailed,
    InvalidExpression,
    InvalidRequest,
    MynamoError,
    TransactionCanceled,
    cancellation_code,
)
from mynamo.producer import Producer, TransactionReceipt
from mynamo.reader import StoredReader
from mynamo.schemas.items import from_stored, to_stored
from mynamo.writer import finish_transaction

_SHOWN = 500
"""Characters of an item that a failed condition found."""


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--request-token", metavar="TEXT",
    help="The same request, sent again with it within ten minutes, happens once.  "
    "[default: the file's ClientRequestToken]",
)  # fmt: skip
@as_json
def transact(file: IO[bytes], request_token: str | None, as_json: bool) -> None:
    """Do several writes, all or none; or read several items as of one moment.

    FILE, or - for stdin, is a request of TransactWriteItems as DynamoDB has it, in DynamoDB JSON:
    {"TransactItems": [...]}, or the list alone, of {"Put": {...}}, {"Update": {...}}, {"Delete":
    {...}} and {"ConditionCheck": {...}}, up to 100 of any tables, at most one for each item. Or it
    is a request of TransactGetItems, of {"Get": {...}}.

    Prints what happened, and the consistency token: a query of a GSI with `--after TOKEN` sees all
    of the writes. If one of them was refused, none happened: prints the reason of each, and ends
    with status 1.

    \b
    Examples:
      mynamo transact order.json
      mynamo transact order.json --request-token 7f0c
      echo '[{"Put": {"TableName": "orders",
                "Item": {"customer": {"S": "ann"}, "ordered_at": {"N": "2"}}}},
             {"ConditionCheck": {"TableName": "customers", "Key": {"name": {"S": "ann"}},
                "ConditionExpression": "attribute_exists(since)"}}]' | mynamo transact -
      echo '[{"Get": {"TableName": "customers", "Key": {"name": {"S": "ann"}}}},
             {"Get": {"TableName": "customers", "Key": {"name": {"S": "bob"}}}}]' |
        mynamo transact -
    """
    try:
        _transact(parse_transaction(file.read()), request_token, as_json)
    except InvalidExpression as error:
        raise _in_a_file(error) from None


def _transact(asked: TransactionFile, request_token: str | None, as_json: bool) -> None:
    token = request_token if request_token is not None else asked.request_token
    if asked.gets and token is not None:
        raise InvalidRequest("a request token is for writes; a transaction of Get has none")
    with opened() as cluster:
        keys = [_key_of(cluster, each) for each in asked.entries]
        if asked.gets:
            _read(cluster, asked, keys, as_json)
            return
        try:
            with Producer(cluster) as producer:
                receipt = producer.transact(asked.writes, request_token=token)
        except TransactionCanceled as failure:
            _print_reasons(failure, asked, keys, as_json)
            raise SystemExit(FAILED) from None
    _print_receipt(receipt, asked, keys, as_json)


def _in_a_file(error: InvalidExpression) -> InvalidRequest:
    """The same error with a hint at what a file has, in place of one at options."""
    answer = InvalidRequest(str(error))
    for note in getattr(error, "__notes__", ()):
        answer.add_note(note)
    word = reserved_word(error)
    if word is not None:
        answer.add_note(
            f'write #{word} in its place, and "ExpressionAttributeNames": {{"#{word}": "{word}"}}'
        )
    return answer


def _key_of(cluster: Cluster, entry: Entry) -> dict[str, Any]:
    """The key of an entry's item, as far as it has one.

    Raises:
        TableNotFound: there is no such table.
    """
    names = find_table(cluster, entry.table).key_names
    return {name: entry.subject[name] for name in names if name in entry.subject}


def _read(
    cluster: Cluster, asked: TransactionFile, keys: list[dict[str, Any]], as_json: bool
) -> None:
    reader = StoredReader(cluster, partial(finish_transaction, cluster))
    found = [got.item for got in reader.transact_get(asked.gets)]
    if as_json:
        print_json({"items": found})
        return
    print_grid(
        ["", "table", "key", "item"],
        [
            (n, entry.table, dump_plain(key), item and dump_plain(from_stored(item)))
            for n, (entry, key, item) in enumerate(zip(asked.entries, keys, found, strict=True), 1)
        ],
        right=[""],
    )


def _print_receipt(
    receipt: TransactionReceipt, asked: TransactionFile, keys: list[dict[str, Any]], as_json: bool
) -> None:
    done = list(zip(asked.entries, keys, receipt.receipts, strict=True))
    if as_json:
        print_json(
            {
                "committed": True,
                "repeated": receipt.repeated,
                "token": receipt.token,
                "writes": [
                    {
                        "action": entry.kind,
                        "table": entry.table,
                        "key": to_stored(key),
                        "shard": each.shard,
                        "version": each.version,
                    }
                    for entry, key, each in done
                ],
            }
        )
        return
    print_grid(
        ["", "action", "table", "key", "shard", "version"],
        [
            (n, entry.kind, entry.table, dump_plain(key), each.shard, each.version or None)
            for n, (entry, key, each) in enumerate(done, 1)
        ],
        right=["", "shard", "version"],
    )
    happened = "happened before, and not again" if receipt.repeated else "committed"
    click.echo(f"{happened}; --after {receipt.token}")


def _print_reasons(
    failure: TransactionCanceled,
    asked: TransactionFile,
    keys: list[dict[str, Any]],
    as_json: bool,
) -> None:
    refused = list(zip(asked.entries, keys, failure.reasons, strict=True))
    if as_json:
        print_json({"committed": False, "reasons": [_reason(each) for *_, each in refused]})
    else:
        print_grid(
            ["", "action", "table", "key", "reason", "message", "item found"],
            [
                (n, entry.kind, entry.table, dump_plain(key), *_cells(each))
                for n, (entry, key, each) in enumerate(refused, 1)
            ],
            right=[""],
        )
    click.echo(f"Error: {wording(failure)}", err=True)


def _reason(reason: MynamoError | None) -> dict[str, Any]:
    item = reason.item if isinstance(reason, ConditionFailed) else None
    return {
        "code": _code(reason),
        "message": None if reason is None else wording(reason),
        "item": None if item is None else to_stored(item),
    }


def _cells(reason: MynamoError | None) -> tuple[str, str | None, str | None]:
    if reason is None:
        return "none", None, None
    item = reason.item if isinstance(reason, ConditionFailed) else None
    found = None if item is None else dump_plain(item)
    if found is not None and len(found) > _SHOWN:
        found = f"{found[:_SHOWN]}..."
    return _code(reason), wording(reason), found


def _code(reason: MynamoError | None) -> str:
    """DynamoDB's code of a reason, or mynamo's name of it where DynamoDB has none."""
    return cancellation_code(reason) or type(reason).__name__
