"""What each write of a transaction asks for, for the library and for the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mynamo.producer import Check, Delete, Put, Update
from mynamo.schemas.items import to_stored
from tests.faults.history import Key

PAYLOAD = "x" * 100
_NAMES = {"#c": "counter", "#s": "status", "#g": "grade", "#l": "last", "#v": "values"}
_SAME_OP = "op = :expected"


@dataclass(frozen=True, slots=True)
class Ask:
    """One write.

    Attributes:
        kind: as TransactWriteItems names it.
        subject: the item of a put, else the key.
    """

    kind: str
    subject: dict[str, Any]
    update: str | None = None
    condition: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        """What the placeholders of its expressions stand for."""
        return names_in(f"{self.update} {self.condition}")

    def for_library(self, table: str) -> Put | Update | Delete | Check:
        """As `Producer.transact` takes it."""
        more: dict[str, Any] = {"names": self.names or None, "values": self.values or None}
        if self.kind == "Put":
            return Put(table, self.subject, self.condition, **more)
        if self.kind == "Update":
            return Update(table, self.subject, self.update, condition=self.condition, **more)
        if self.kind == "Delete":
            return Delete(table, self.subject, self.condition, **more)
        assert self.condition is not None
        return Check(table, self.subject, self.condition, **more)

    def for_gateway(self, table: str) -> dict[str, Any]:
        """As an operation on one item takes it."""
        request: dict[str, Any] = {
            "TableName": table,
            "Item" if self.kind == "Put" else "Key": to_stored(self.subject),
        }
        if self.update is not None:
            request["UpdateExpression"] = self.update
        if self.condition is not None:
            request["ConditionExpression"] = self.condition
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if self.names:
            request["ExpressionAttributeNames"] = self.names
        if self.values:
            request["ExpressionAttributeValues"] = to_stored(dict(self.values))
        return request


def ask_of(part: Mapping[str, Any]) -> Ask:
    """What a part of a transaction asks for, see `transactions`."""
    key = {"h": part["h"], "n": part["n"]}
    kind = part["kind"]
    match kind:
        case "put":
            return Ask("Put", whole_item((part["h"], part["n"]), part))
        case "update_add" | "update_set":
            text, values = change_text(part)
            return Ask("Update", key, text, values=values)
        case "delete":
            return Ask("Delete", key)
        case "check_absent":
            return Ask("ConditionCheck", key, condition="attribute_not_exists(h)")
        case "check_op":
            values = {":expected": part["expected"]}
            return Ask("ConditionCheck", key, condition=_SAME_OP, values=values)
        case "move":
            values = {":amount": part["amount"]}
            if part["amount"] >= 0:
                return Ask("Update", key, "ADD balance :amount", values=values)
            enough = {":least": -part["amount"]}
            return Ask("Update", key, "ADD balance :amount", "balance >= :least", values | enough)
        case "close":
            return Ask("Delete", key, None, "balance = :balance", {":balance": part["balance"]})
        case "session_begin" | "session_prolong":
            values = {":ends": part["ends"], ":op": part["op"]}
            there = "attribute_exists(h)" if kind == "session_prolong" else None
            return Ask("Update", key, "SET ends = :ends, op = :op", there, values)
        case "note":
            condition = "attribute_exists(h)"
            return Ask("Update", key, "SET note = :op", condition, {":op": part["op"]})
        case "append":
            text = "SET #v = list_append(if_not_exists(#v, :none), :new), #l = :op"
            values = {":none": [], ":new": [part["op"]], ":op": part["op"]}
            if "last" not in part:
                return Ask("Update", key, text, values=values)
            condition, more = _ends_with(part)
            return Ask("Update", key, text, condition, values | more)
        case "see":
            return Ask("ConditionCheck", key, None, *_ends_with(part))
    raise ValueError(f"there is no part of kind {kind}")


def _ends_with(part: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if part["last"] is None:
        return "attribute_not_exists(h)", {}
    return "#l = :last", {":last": part["last"]}


def whole_item(key: Key, argument: Mapping[str, Any]) -> dict[str, Any]:
    """The item that a put writes."""
    values = {name: argument[name] for name in ("op", "counter", "status", "grade")}
    return {
        "h": key[0],
        "n": key[1],
        **{name: value for name, value in values.items() if value is not None},
        "payload": PAYLOAD,
    }


def change_text(argument: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The update expression of an update, and its values."""
    if "add" in argument:
        return "SET op = :op ADD #c :n", {":op": argument["op"], ":n": argument["add"]}
    sets, removes, values = ["op = :op"], [], {":op": argument["op"]}
    for name in ("status", "grade"):
        if argument[name] is None:
            removes.append(f"#{name[0]}")
        else:
            sets.append(f"#{name[0]} = :{name}")
            values[f":{name}"] = argument[name]
    text = "SET " + ", ".join(sets)
    return text + (" REMOVE " + ", ".join(removes) if removes else ""), values


def names_in(text: str) -> dict[str, str]:
    """The placeholders that a text has, and what they stand for."""
    return {short: name for short, name in _NAMES.items() if short in text}
