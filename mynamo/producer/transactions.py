"""Transactions: puts, updates, deletes and checks that all happen, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from hashlib import blake2b
from typing import Any

import orjson

from mynamo.catalog.cluster import Cluster
from mynamo.errors import ConditionFailed, InvalidRequest, MynamoError, TransactionCanceled
from mynamo.producer.batch_writes import Delete, Put
from mynamo.producer.receipt import (
    Receipt,
    TransactionReceipt,
    in_python_form,
    receipt_of,
    token_of_all,
)
from mynamo.producer.requests import Asked, ask
from mynamo.schemas.commands import Condition
from mynamo.writer import RequestToken, WriteRequest, transact

_LONGEST_TOKEN = 36


@dataclass(frozen=True, slots=True)
class Update:
    """Change an item, creating it if it does not exist, unless the update only removes.

    Attributes:
        table: the table's name.
        key: the key attributes, and no others.
        expression, set, remove, condition, names, values: as `Producer.update` takes them.
    """

    table: str
    key: Mapping[str, Any]
    expression: str | None = None
    set: Mapping[str, Any] | None = None
    remove: Iterable[str] = ()
    condition: Condition | str | None = None
    names: Mapping[str, str] | None = None
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Demand something of an item, and leave it as it is.

    Attributes:
        table: the table's name.
        key: the key attributes, and no others.
        condition: what must hold when the transaction happens.
        names, values: what its placeholders stand for.
    """

    table: str
    key: Mapping[str, Any]
    condition: Condition | str
    names: Mapping[str, str] | None = None
    values: Mapping[str, Any] | None = None


InTransaction = Put | Update | Delete | Check


def transact_writes(
    cluster: Cluster, writes: Sequence[InTransaction], request_token: str | None
) -> TransactionReceipt:
    """See `Producer.transact`."""
    asked: list[Asked] = []
    requests: list[WriteRequest] = []
    for number, write in enumerate(_checked(writes), 1):
        try:
            asked.append(_asked(write))
            requests.append(asked[-1].request())
        except MynamoError as error:
            error.add_note(f"In number {number} ({type(write).__name__})")
            raise
    token = None if request_token is None else _token(request_token, asked)
    try:
        transacted = transact(cluster, requests, token)
    except TransactionCanceled as failure:
        raise _in_python_form(failure, writes) from None
    receipts: list[Receipt] = [
        receipt_of(cluster, request, shard_id, done)
        for request, shard_id, done in zip(
            requests, transacted.shards, transacted.done, strict=True
        )
    ]
    token_of = token_of_all(cluster, zip(transacted.shards, transacted.done, strict=True))
    return TransactionReceipt(tuple(receipts), token_of, transacted.repeated)


def _checked(writes: object) -> Sequence[InTransaction]:
    if not isinstance(writes, list | tuple):
        raise InvalidRequest(
            f"a transaction is a list of Put, Update, Delete and Check, not {type(writes).__name__}"
        )
    for write in writes:
        if not isinstance(write, InTransaction):
            raise InvalidRequest(
                "a transaction is a list of Put, Update, Delete and Check, which has no "
                f"{type(write).__name__}"
            )
    return writes


def _asked(write: InTransaction) -> Asked:
    more: dict[str, Any] = {
        "condition": write.condition, "names": write.names, "values": write.values,
    }  # fmt: skip
    if isinstance(write, Put):
        return ask(write.table, "PUT", write.item, **more)
    if isinstance(write, Delete):
        return ask(write.table, "DELETE", write.key, **more)
    if isinstance(write, Check):
        return ask(write.table, "CHECK", write.key, **more)
    return ask(
        write.table, "UPDATE", write.key,
        expression=write.expression, set=write.set, remove=write.remove, **more,
    )  # fmt: skip


def _token(text: object, asked: Sequence[Asked]) -> RequestToken:
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_TOKEN:
        raise InvalidRequest(
            f"a request token is a text of 1 to {_LONGEST_TOKEN} characters, not {text!r:.80}"
        )
    content = orjson.dumps(
        [astuple(each) for each in asked],
        default=lambda condition: condition.model_dump(),
        option=orjson.OPT_SORT_KEYS,
    )
    return RequestToken(_hash(b"Producer.transact\0" + text.encode()), _hash(content))


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _in_python_form(
    failure: TransactionCanceled, writes: Sequence[InTransaction]
) -> TransactionCanceled:
    """The same failure for a caller of the library, with the first reason in its message."""
    reasons: list[MynamoError | None] = [
        in_python_form(reason) if isinstance(reason, ConditionFailed) else reason
        for reason in failure.reasons
    ]
    position, reason = next((n, each) for n, each in enumerate(reasons) if each is not None)
    return TransactionCanceled(
        f"the transaction was cancelled; nothing was written: number {position + 1} "
        f"({type(writes[position]).__name__} in table {writes[position].table}): {reason}",
        reasons=reasons,
    )
