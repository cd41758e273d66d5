"""Ways to the cluster for the workload: the library, and the gateway over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from http.client import HTTPException
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.errors import (
    ConditionFailed,
    ConsistencyTimeout,
    IdempotentParameterMismatch,
    IndexBehind,
    LogUnavailable,
    MynamoError,
    ShardUnavailable,
    TransactionCanceled,
    TransactionConflict,
    TransactionInProgress,
    WriteOutcomeUnknown,
)
from mynamo.producer import MUST_NOT_EXIST, Delete, Producer, Put, Receipt, version_is
from mynamo.reader import Reader
from mynamo.schemas.commands import WriteCommand
from mynamo.schemas.events import ConsistencyToken
from mynamo.schemas.items import from_stored, to_stored
from tests.faults.asking import ask_of, change_text, names_in, whole_item
from tests.faults.history import Key, Outcome
from tests.faults.model import INDEXES, LOCAL_INDEX, NEVER, TABLE
from tests.faults.transactions import Part
from tests.gateway.calling import Caller

_PATIENCE = 8.0
"""Seconds that a query waits for the writes it must see, in the library."""
_PUBLISHINGS = 3

BatchWrite = tuple[str, Key, dict[str, Any]]
"""Kind, key and argument of one write of a batch."""


@dataclass(frozen=True)
class Answer:
    """What an operation that succeeded gave."""

    result: dict[str, Any] = field(default_factory=dict)
    version: int | None = None
    token: str | None = None


@dataclass(frozen=True)
class Failure:
    """What a failure means for the history; `reopen`: the way to the cluster is broken."""

    outcome: Outcome
    result: dict[str, Any]
    reopen: bool = False


class HttpError(Exception):
    """An answer of the gateway that is no success."""

    def __init__(self, status: int, answer: dict[str, Any]) -> None:
        super().__init__(f"{status}: {answer}")
        self.status = status
        self.answer = answer
        self.kind = str(answer.get("__type", "")).rpartition("#")[2]
        self.message = str(answer.get("message", answer.get("Message", "")))


def failure_of(error: Exception, kind: str) -> Failure:
    """What an exception means.

    What no user of the library or the gateway should ever get is a "crash".
    """
    if isinstance(error, HttpError):
        return _http_failure(error)
    if isinstance(error, TransactionCanceled):
        return _cancelled([_reason(reason) for reason in error.reasons])
    match error:
        case ConditionFailed():
            item = None if error.item is None else seen(error.item)
            return Failure("refused", {"reason": "condition", "item": item})
        case WriteOutcomeUnknown() | LogUnavailable():
            return Failure("unknown", {"error": str(error)})
        case ShardUnavailable() | TransactionConflict() | TransactionInProgress():
            return Failure("refused", {"reason": NEVER, "error": str(error)})
        case IdempotentParameterMismatch():
            return Failure("refused", {"reason": "mismatch"})
        case ConsistencyTimeout() if kind == "query_index":
            return Failure("refused", {"reason": "late"})
        case Unprocessed():
            return Failure("refused", {"reason": NEVER})
        case NotConnected():
            return Failure("refused", {"reason": NEVER, "error": str(error)}, reopen=True)
        case BrokenConnection():
            return Failure("unknown", {"error": str(error)}, reopen=True)
    if "Throttl" in type(error).__name__:
        return Failure("refused", {"reason": NEVER, "error": str(error)})
    return Failure("crash", {"error": f"{type(error).__name__}: {error}"})


class Unprocessed(Exception):  # noqa: N818
    """A part of a batch that the gateway has left undone, as it says."""


class NotConnected(Exception):  # noqa: N818
    """The gateway does not listen: the request was not sent."""


class BrokenConnection(Exception):  # noqa: N818
    """The HTTP connection ended before the answer was there."""


def _http_failure(error: HttpError) -> Failure:
    result: dict[str, Any] = {"error": str(error)}
    if error.kind == "ConditionalCheckFailedException":
        item = error.answer.get("Item")
        found = None if item is None else seen(from_stored(item))
        return Failure("refused", {"reason": "condition", "item": found})
    if error.kind == "TransactionCanceledException":
        return _cancelled([_stored_reason(one) for one in error.answer["CancellationReasons"]])
    if error.kind == "IdempotentParameterMismatchException":
        return Failure("refused", {"reason": "mismatch"})
    busy = "Throttl" in error.kind or "Throughput" in error.kind or error.kind in _IN_CONFLICT
    if error.status == 503 or busy:
        return Failure("refused", {"reason": NEVER, **result})
    if error.status == 500 and error.message != _UNFORESEEN:
        return Failure("unknown", result)
    return Failure("crash", result)


_IN_CONFLICT = ("TransactionConflictException", "TransactionInProgressException")
_UNFORESEEN = "Internal server error"
"""Says the gateway of what it does not know; of a write whose outcome is not known it says more."""

Reason = dict[str, Any] | None
"""Why one write of a transaction was refused; its `reason` is "crash" if no user should see it."""


def _cancelled(reasons: Sequence[Reason]) -> Failure:
    crashed = any(reason and reason["reason"] == "crash" for reason in reasons)
    result = {"reason": "cancelled", "reasons": list(reasons)}
    if crashed or not any(reasons):
        return Failure("crash", {**result, "error": f"cancelled: {reasons}"})
    return Failure("refused", result)


def _reason(error: MynamoError | None) -> Reason:
    match error:
        case None:
            return None
        case ConditionFailed():
            return {"reason": "condition", "item": seen(error.item)}
        case TransactionConflict() | IndexBehind() | ShardUnavailable():
            return {"reason": NEVER, "error": str(error)}
    return {"reason": "crash", "error": f"{type(error).__name__}: {error}"}


def _stored_reason(reason: Mapping[str, Any]) -> Reason:
    code = reason["Code"]
    if code == "None":
        return None
    if code == "ConditionalCheckFailed":
        return {"reason": "condition", "item": _seen_stored(reason.get("Item"))}
    if code in ("TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"):
        return {"reason": NEVER, "error": reason.get("Message")}
    return {"reason": "crash", "error": str(reason)}


def seen(item: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What of an item goes into the history; numbers as they are, if whole."""
    if item is None:
        return None
    names = ("h", "n", "op", "counter", "status", "grade", "balance", "values")
    return {name: _plain(item[name]) for name in names if name in item}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else str(value)
    return value


def key_item(key: Key) -> dict[str, Any]:
    """A key as attributes."""
    return {"h": key[0], "n": key[1]}


class LibraryAccess:
    """Producer and Reader; safe to share between threads."""

    def __init__(self, cluster: Cluster) -> None:
        self._producer = Producer(cluster)
        self._reader = Reader(cluster)

    def write(self, kind: str, key: Key, argument: dict[str, Any], twice: bool = False) -> Answer:
        """Write, or queue; `twice`: publish the same command again."""
        if kind.startswith("queued"):
            self._publish(self._command(kind, key, argument), twice)
            return Answer()
        if kind == "delete":
            return _answer(self._producer.delete(TABLE, key_item(key)))
        if kind.startswith("update"):
            text, values = change_text(argument)
            receipt = self._producer.update(
                TABLE, key_item(key), expression=text, names=names_in(text), values=values,
                return_values="ALL_NEW",
            )  # fmt: skip
            return _answer(receipt, new=seen(receipt.attributes))
        condition = {
            "put": None,
            "put_if_absent": MUST_NOT_EXIST,
            "put_if_version": version_is(argument.get("expected", 1)),
        }[kind]
        return _answer(self._producer.put(TABLE, whole_item(key, argument), condition=condition))

    def write_batch(self, writes: Sequence[BatchWrite]) -> list[Answer | Exception]:
        """Put and delete several items in one call."""
        batch = [
            Delete(TABLE, key_item(key))
            if kind == "batch_delete"
            else Put(TABLE, whole_item(key, argument))
            for kind, key, argument in writes
        ]
        return [
            _answer(one) if isinstance(one, Receipt) else one
            for one in self._producer.write_batch(batch)
        ]

    def get_batch(self, keys: Sequence[Key]) -> list[Answer | Exception]:
        """Read several items in one call."""
        items = self._reader.batch_get(TABLE, [key_item(key) for key in keys])
        return [Answer({"item": seen(item)}) for item in items]

    def get(self, key: Key, table: str = TABLE) -> Answer:
        """Read by key."""
        return Answer({"item": seen(self._reader.get(table, key_item(key)))})

    def update(self, table: str, part: Part) -> Answer:
        """Update one item of another table, in no transaction."""
        asked = ask_of(part)
        receipt = self._producer.update(
            table, asked.subject, expression=asked.update, condition=asked.condition,
            names=asked.names or None, values=asked.values,
        )  # fmt: skip
        return _answer(receipt)

    def transact(self, table: str, parts: Sequence[Part], token: str) -> Answer:
        """Write several items, all or none."""
        writes = [ask_of(part).for_library(table) for part in parts]
        done = self._producer.transact(writes, request_token=token)
        versions = [receipt.version for receipt in done.receipts]
        return Answer({"repeated": done.repeated, "versions": versions}, token=done.token)

    def transact_get(self, table: str, keys: Sequence[Key]) -> Answer:
        """Read several items as of one moment."""
        found = self._reader.transact_get([(table, key_item(key)) for key in keys])
        return Answer({"items": [seen(item) for item in found]})

    def query_index(self, index: str, value: Any, tokens: Sequence[str]) -> Answer:
        """All pages of a global index."""
        rows = self._reader.query_all(
            TABLE, value, index=index, after=list(tokens), timeout=_PATIENCE
        )
        return Answer({"items": [seen(row) for row in rows]})

    def query_local(self, hash_value: str) -> Answer:
        """All pages of the local index."""
        rows = self._reader.query_all(TABLE, hash_value, index=LOCAL_INDEX)
        return Answer({"items": [seen(row) for row in rows]})

    def close(self) -> None:
        """Nothing: other threads use it too."""

    def finish(self) -> None:
        """Close the connection to Kafka."""
        self._producer.close()

    def _command(self, kind: str, key: Key, argument: dict[str, Any]) -> WriteCommand:
        if kind == "queued_put":
            return self._producer.queued_put(TABLE, whole_item(key, argument))
        if kind == "queued_delete":
            return self._producer.queued_delete(TABLE, key_item(key))
        text, values = change_text(argument)
        return self._producer.queued_update(
            TABLE, key_item(key), expression=text, names=names_in(text), values=values
        )

    def _publish(self, command: WriteCommand, twice: bool) -> None:
        """Publish until Kafka has it: to publish the same command again is safe."""
        for attempt in range(_PUBLISHINGS):
            try:
                self._producer.publish(*[command] * (2 if twice else 1))
                return
            except LogUnavailable:
                if attempt == _PUBLISHINGS - 1:
                    raise


def _answer(receipt: Receipt, **result: Any) -> Answer:
    return Answer({"old": seen(receipt.old), **result}, receipt.version, receipt.token)


class GatewayAccess:
    """JSON over HTTP, on one connection; for one thread."""

    def __init__(self, endpoint: str) -> None:
        self._caller = Caller(endpoint)

    def write(self, kind: str, key: Key, argument: dict[str, Any], twice: bool = False) -> Answer:
        """Write."""
        request: dict[str, Any] = {"TableName": TABLE}
        if kind == "delete":
            answer = self._call("DeleteItem", request | {"Key": to_stored(key_item(key)), **_OLD})
            return self._answer(answer, "old")
        if kind.startswith("update"):
            text, values = change_text(argument)
            request |= {
                "Key": to_stored(key_item(key)),
                "UpdateExpression": text,
                "ExpressionAttributeValues": to_stored(values),
                "ReturnValues": "ALL_NEW",
            }
            if names := names_in(text):
                request["ExpressionAttributeNames"] = names
            return self._answer(self._call("UpdateItem", request), "new")
        request |= {"Item": to_stored(whole_item(key, argument)), **_OLD}
        if kind == "put_if_absent":
            request["ConditionExpression"] = "attribute_not_exists(h)"
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        elif kind == "put_if_op":
            request["ConditionExpression"] = "op = :expected"
            request["ExpressionAttributeValues"] = {":expected": {"S": argument["expected"]}}
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        return self._answer(self._call("PutItem", request), "old")

    def write_batch(self, writes: Sequence[BatchWrite]) -> list[Answer | Exception]:
        """Put and delete several items in one request."""
        requests = [
            {"DeleteRequest": {"Key": to_stored(key_item(key))}}
            if kind == "batch_delete"
            else {"PutRequest": {"Item": to_stored(whole_item(key, argument))}}
            for kind, key, argument in writes
        ]
        answer = self._call("BatchWriteItem", {"RequestItems": {TABLE: requests}})
        left = answer["UnprocessedItems"].get(TABLE, [])
        unprocessed = {_key_in(one) for one in left}
        return [Unprocessed() if key in unprocessed else Answer() for _, key, _ in writes]

    def get_batch(self, keys: Sequence[Key]) -> list[Answer | Exception]:
        """Read several items consistently in one request."""
        wanted = [to_stored(key_item(key)) for key in keys]
        request = {"RequestItems": {TABLE: {"Keys": wanted, "ConsistentRead": True}}}
        answer = self._call("BatchGetItem", request)
        items = [_seen_stored(item) for item in answer["Responses"].get(TABLE, [])]
        found = {(item["h"], item["n"]): item for item in items if item is not None}
        left = answer["UnprocessedKeys"].get(TABLE, {}).get("Keys", [])
        unprocessed = {_key_of(one) for one in left}
        return [
            Unprocessed() if key in unprocessed else Answer({"item": found.get(key)})
            for key in keys
        ]

    def get(self, key: Key, table: str = TABLE) -> Answer:
        """Read consistently."""
        request = {"TableName": table, "Key": to_stored(key_item(key)), "ConsistentRead": True}
        answer = self._call("GetItem", request)
        return Answer({"item": _seen_stored(answer.get("Item"))})

    def update(self, table: str, part: Part) -> Answer:
        """Update one item of another table, in no transaction."""
        request = ask_of(part).for_gateway(table)
        return self._answer(self._call("UpdateItem", request | _OLD), "old")

    def transact(self, table: str, parts: Sequence[Part], token: str) -> Answer:
        """Write several items, all or none.

        The capacity tells whether that had happened before: then the items are only read.
        """
        asked = [ask_of(part) for part in parts]
        request = {
            "TransactItems": [{one.kind: one.for_gateway(table)} for one in asked],
            "ClientRequestToken": token,
            "ReturnConsumedCapacity": "TOTAL",
        }
        (consumed,) = self._call("TransactWriteItems", request)["ConsumedCapacity"]
        result = {"repeated": "ReadCapacityUnits" in consumed, "versions": []}
        return Answer(result, token=",".join(self._caller.tokens))

    def transact_get(self, table: str, keys: Sequence[Key]) -> Answer:
        """Read several items as of one moment."""
        wanted = [{"Get": {"TableName": table, "Key": to_stored(key_item(key))}} for key in keys]
        answer = self._call("TransactGetItems", {"TransactItems": wanted})
        return Answer({"items": [_seen_stored(one.get("Item")) for one in answer["Responses"]]})

    def query_index(self, index: str, value: Any, tokens: Sequence[str]) -> Answer:
        """All pages of a global index."""
        return self._query(index, INDEXES[index].hash_key, value, tokens)

    def query_local(self, hash_value: str) -> Answer:
        """All pages of the local index."""
        return self._query(LOCAL_INDEX, "h", hash_value, (), ConsistentRead=True)

    def close(self) -> None:
        """Close the connection."""
        self._caller.connection.close()

    def _query(
        self, index: str, name: str, value: Any, tokens: Sequence[str], **more: Any
    ) -> Answer:
        request: dict[str, Any] = {
            "TableName": TABLE,
            "IndexName": index,
            "KeyConditionExpression": "#k = :v",
            "ExpressionAttributeNames": {"#k": name},
            "ExpressionAttributeValues": to_stored({":v": value}),
            **more,
        }
        rows: list[Any] = []
        while True:
            answer = self._call("Query", request, tokens)
            rows += [_seen_stored(row) for row in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return Answer({"items": rows})
            request["ExclusiveStartKey"], tokens = answer["LastEvaluatedKey"], ()

    def _call(
        self, operation: str, request: dict[str, Any], tokens: Sequence[str] = ()
    ) -> dict[str, Any]:
        self._caller.tokens.clear()
        try:
            status, answer = self._caller(operation, request, tokens)
        except ConnectionRefusedError as error:
            raise NotConnected(repr(error)) from error
        except (OSError, HTTPException, ValueError) as error:
            raise BrokenConnection(repr(error)) from error
        if status != 200:
            raise HttpError(status, answer)
        return answer

    def _answer(self, answer: dict[str, Any], name: str) -> Answer:
        attributes = _seen_stored(answer.get("Attributes"))
        token = self._caller.tokens[0] if self._caller.tokens else None
        version = ConsistencyToken.parse(token).version if token else None
        return Answer({name: attributes}, version, token)


_OLD = {"ReturnValues": "ALL_OLD"}


def _key_of(stored: Mapping[str, Any]) -> Key:
    return stored["h"]["S"], int(stored["n"]["N"])


def _key_in(request: Mapping[str, Any]) -> Key:
    """The key in one request of a batch."""
    if "DeleteRequest" in request:
        return _key_of(request["DeleteRequest"]["Key"])
    return _key_of(request["PutRequest"]["Item"])


def _seen_stored(item: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if item is None else seen(from_stored(item))
