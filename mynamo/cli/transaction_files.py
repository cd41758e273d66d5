"""The file of `mynamo transact`: the request of TransactWriteItems or TransactGetItems, as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mynamo.cli.plain_items import dump_dynamodb, item_of, parse_json
from mynamo.errors import InvalidItem, InvalidRequest, MynamoError
from mynamo.producer import Check, Delete, Put, Update
from mynamo.reader import Get
from mynamo.reader.arguments import Arguments
from mynamo.schemas.items import to_stored
from mynamo.schemas.suggestions import suggestion

Write = Put | Update | Delete | Check
_SHAPE = (
    'a transaction is {"TransactItems": [...]}, or the list alone, of {"Put": {...}}, '
    '{"Update": {...}}, {"Delete": {...}} and {"ConditionCheck": {...}}, or of {"Get": {...}}'
)
_TOP = ("TransactItems", "ClientRequestToken", "ReturnConsumedCapacity",
        "ReturnItemCollectionMetrics")  # fmt: skip
_NAMES = "ExpressionAttributeNames"
_VALUES = "ExpressionAttributeValues"
_CONDITION = "ConditionExpression"
_SHOW = "ReturnValuesOnConditionCheckFailure"
_MEMBERS = {
    "Put": ("TableName", "Item", _CONDITION, _NAMES, _VALUES, _SHOW),
    "Update": ("TableName", "Key", "UpdateExpression", _CONDITION, _NAMES, _VALUES, _SHOW),
    "Delete": ("TableName", "Key", _CONDITION, _NAMES, _VALUES, _SHOW),
    "ConditionCheck": ("TableName", "Key", _CONDITION, _NAMES, _VALUES, _SHOW),
    "Get": ("TableName", "Key", "ProjectionExpression", _NAMES),
}
"""Members of each kind of entry, as DynamoDB has them."""
_NEEDED = {"Update": ("UpdateExpression",), "ConditionCheck": (_CONDITION,)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a transaction.

    Attributes:
        kind: as DynamoDB names it, such as "Put".
        table: the table's name.
        subject: the item that is put, or the key, in Python form.
        asked: what to do.
    """

    kind: str
    table: str
    subject: dict[str, Any]
    asked: Write | Get


@dataclass(frozen=True, slots=True)
class TransactionFile:
    """What a file says.

    Attributes:
        entries: writes only, or gets only.
        request_token: None: it has none.
    """

    entries: list[Entry]
    request_token: str | None

    @property
    def gets(self) -> list[Get]:
        """Of a transaction that reads."""
        return [each.asked for each in self.entries if isinstance(each.asked, Get)]

    @property
    def writes(self) -> list[Write]:
        """Of one that writes."""
        return [each.asked for each in self.entries if not isinstance(each.asked, Get)]


def parse_transaction(text: bytes) -> TransactionFile:
    """Read a transaction.

    Raises:
        InvalidRequest: it is not JSON of this form. The message says where.
    """
    whole = parse_json(text)
    if isinstance(whole, list):
        whole = {"TransactItems": whole}
    if not isinstance(whole, dict) or not isinstance(whole.get("TransactItems"), list):
        raise InvalidRequest(_SHAPE)
    _check_members("the request", whole, _TOP)
    token = whole.get("ClientRequestToken")
    if token is not None and not isinstance(token, str):
        raise InvalidRequest("ClientRequestToken is text")
    entries = [_entry(n, given) for n, given in enumerate(whole["TransactItems"], 1)]
    kinds = {each.kind == "Get" for each in entries}
    if len(kinds) != 1:
        raise InvalidRequest(
            f"{_SHAPE}; it has no entries"
            if not kinds
            else "a transaction reads or writes: Get stands beside other entries"
        )
    return TransactionFile(entries, token)


def _entry(number: int, given: Any) -> Entry:
    where = f"number {number}"
    if not isinstance(given, dict) or len(given) != 1:
        raise InvalidRequest(f"{where}: an entry has one member; {_SHAPE}")
    ((kind, members),) = given.items()
    if kind not in _MEMBERS:
        likely = suggestion(kind, _MEMBERS) or f"; {_SHAPE}"
        raise InvalidRequest(f"{where}: {kind!r} is no entry{likely}")
    if not isinstance(members, dict):
        raise InvalidRequest(f"{where}: {kind} is an object")
    where += f" ({kind})"
    _check_members(where, members, _MEMBERS[kind])
    subject = "Item" if kind == "Put" else "Key"
    for name in ("TableName", subject, *_NEEDED.get(kind, ())):
        if name not in members:
            raise InvalidRequest(f"{where}: {name} is missing")
    try:
        return _read(kind, members, _item(members[subject]))
    except MynamoError as error:
        error.add_note(f"In {where}")
        raise


def _read(kind: str, members: Mapping[str, Any], item: dict[str, Any]) -> Entry:
    table = _text(members, "TableName") or ""
    names = members.get(_NAMES)
    if kind == "Get":
        projection = Arguments(
            projection=_text(members, "ProjectionExpression"), names=names
        ).projection
        return Entry(kind, table, item, Get(table, to_stored(item), projection))
    values = members.get(_VALUES)
    more: dict[str, Any] = {
        "names": names,
        "values": None if values is None else _item(values),
    }
    condition = _text(members, _CONDITION)
    asked: Write
    if kind == "Update":
        text = _text(members, "UpdateExpression")
        asked = Update(table, item, text, condition=condition, **more)
    elif kind == "ConditionCheck":
        asked = Check(table, item, condition or "", **more)
    else:
        make: Callable[..., Write] = Put if kind == "Put" else Delete
        asked = make(table, item, condition, **more)
    return Entry(kind, table, item, asked)


def _item(given: Any) -> dict[str, Any]:
    """An item, a key or values, from DynamoDB JSON to Python form.

    Raises:
        InvalidItem: it is not one. The message says how a value is written that is plain JSON.
    """
    for name, value in given.items() if isinstance(given, dict) else ():
        if not isinstance(value, dict):
            written = dump_dynamodb({name: value})[1:-1]
            raise InvalidItem(f"values are in DynamoDB JSON: write {written}")
    return item_of(given, dynamodb_json=True)


def _text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidItem(f"{name} is text")
    return value


def _check_members(where: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            likely = suggestion(name, known) or f"; it has {', '.join(known)}"
            raise InvalidRequest(f"{where} has no member {name!r}{likely}")
