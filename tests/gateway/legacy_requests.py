"""Operations by the parameters that expressions replaced."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from tests.gateway.model_expressions import Path, Tree
from tests.gateway.model_operations import KeyCondition
from tests.gateway.model_values import Value, to_wire

_SIGNS = {"EQ": "=", "NE": "<>", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}
_OPERATORS = {
    **{sign: name for name, sign in _SIGNS.items()},
    "between": "BETWEEN",
    "begins_with": "BEGINS_WITH",
}
_ACTIONS = {"SET": "PUT", "REMOVE": "DELETE", "ADD": "ADD", "DELETE": "DELETE"}


@dataclass(frozen=True)
class OldCondition:
    """Expected, QueryFilter or ScanFilter.

    Attributes:
        joint: the ConditionalOperator; None: it is left out.
        parts: by attribute, the ComparisonOperator and its values.
    """

    joint: str | None
    parts: dict[str, tuple[str, list[Value]]]

    @property
    def tree(self) -> Tree:
        """What it means."""
        first, *others = (
            _meaning((name,), operator, [("value", value) for value in values])
            for name, (operator, values) in self.parts.items()
        )
        for other in others:
            first = ("or" if self.joint == "OR" else "and", first, other)
        return first

    def conditions(self) -> dict[str, Any]:
        """As QueryFilter or ScanFilter."""
        return {name: _condition(*part) for name, part in self.parts.items()}

    def expected(self, choices: Random) -> dict[str, Any]:
        """As Expected, which has a short form of some conditions."""
        return {name: _expected(*part, choices) for name, part in self.parts.items()}

    def operator(self) -> dict[str, Any]:
        return {"ConditionalOperator": self.joint} if self.joint else {}


def _meaning(path: Path, operator: str, values: list[Tree]) -> Tree:
    attribute = ("path", path)
    match operator:
        case "NULL":
            return "missing", path
        case "NOT_NULL":
            return "exists", path
        case "IN":
            return "in", attribute, values
        case "BETWEEN":
            return "between", attribute, *values
        case "BEGINS_WITH":
            return "begins_with", path, values[0]
        case "CONTAINS":
            return "contains", path, values[0]
        case "NOT_CONTAINS":
            return "and", ("exists", path), ("not", ("contains", path, values[0]))
    return _SIGNS[operator], attribute, values[0]


def _condition(operator: str, values: list[Value]) -> dict[str, Any]:
    return {
        "ComparisonOperator": operator,
        **({"AttributeValueList": [to_wire(value) for value in values]} if values else {}),
    }


def _expected(operator: str, values: list[Value], choices: Random) -> dict[str, Any]:
    if choices.random() < 0.5:
        if operator == "EQ":
            return {"Value": to_wire(values[0])}
        if operator == "NULL":
            return {"Exists": False}
    return _condition(operator, values)


def attribute_updates(actions: list[Tree]) -> dict[str, Any]:
    """As AttributeUpdates: actions on whole attributes, SET with plain values only."""
    updates = {}
    for kind, (name,), *value in actions:
        update: dict[str, Any] = {"Action": _ACTIONS[kind]}
        if value:
            update["Value"] = to_wire(value[0][1] if kind == "SET" else value[0])
        updates[str(name)] = update
    return updates


def key_conditions(conditions: list[KeyCondition]) -> dict[str, Any]:
    return {name: _condition(_OPERATORS[sign], list(values)) for name, sign, values in conditions}


def attributes_to_get(paths: list[Path] | None) -> dict[str, Any]:
    return {} if paths is None else {"AttributesToGet": [path[0] for path in paths]}
