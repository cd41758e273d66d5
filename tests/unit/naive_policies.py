"""A second evaluator of policies, to compare the first one with: slow, and in the words of the
documentation. It takes valid policies as JSON objects, without policy variables."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any

Request = dict[str, list[str]]
"""Values of condition keys, as AWS spells them. A key that is not there is not in the request."""


def outcome(policies: list[dict[str, Any]], action: str, resource: str, request: Request) -> str:
    """ "Allow", "Deny" (explicit) or "" (implicit deny)."""
    effects = []
    for policy in policies:
        for statement in listed(policy["Statement"]):
            if applies(statement, action, resource, request):
                effects.append(statement["Effect"])
    if "Deny" in effects:
        return "Deny"
    return "Allow" if "Allow" in effects else ""


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def applies(statement: dict[str, Any], action: str, resource: str, request: Request) -> bool:
    if "Action" in statement:
        if not any(wild(a.lower(), action.lower()) for a in listed(statement["Action"])):
            return False
    elif any(wild(a.lower(), action.lower()) for a in listed(statement["NotAction"])):
        return False
    if "Resource" in statement:
        if not any(wild(r, resource) for r in listed(statement["Resource"])):
            return False
    elif any(wild(r, resource) for r in listed(statement["NotResource"])):
        return False
    for operator, keys in statement.get("Condition", {}).items():
        for key, values in keys.items():
            if not condition(operator, [str(v) for v in listed(values)], request.get(key, [])):
                return False
    return True


def condition(operator: str, values: list[str], there: list[str]) -> bool:
    if operator == "Null":
        return ("true" if there == [] else "false") in values
    if operator.startswith("ForAllValues:"):
        operator = operator.removeprefix("ForAllValues:").removesuffix("IfExists")
        return all(one(operator, values, value) for value in there)
    if operator.startswith("ForAnyValue:"):
        operator = operator.removeprefix("ForAnyValue:")
        return any(one(operator, values, value) for value in there)
    if operator.endswith("IfExists"):
        return one(operator.removesuffix("IfExists"), values, there[0]) if there else True
    if not there:
        return "Not" in operator
    return one(operator, values, there[0])


def one(operator: str, values: list[str], value: str) -> bool:
    """Several values of a negated operator are joined by a NOR, of others by an OR."""
    if "Not" in operator:
        return not any(one(operator.replace("Not", ""), [wanted], value) for wanted in values)
    return any(match(operator, wanted, value) for wanted in values)


def match(operator: str, wanted: str, value: str) -> bool:
    if operator == "StringEquals":
        return wanted == value
    if operator == "StringEqualsIgnoreCase":
        return wanted.lower() == value.lower()
    if operator == "StringLike":
        return wild(wanted, value)
    if operator == "Bool":
        return wanted == value
    if operator == "IpAddress":
        first = int(ipaddress.ip_address(wanted.partition("/")[0]))
        length = wanted.partition("/")[2] or "32"
        shift = 32 - int(length)
        return first >> shift == int(ipaddress.ip_address(value)) >> shift
    if operator.startswith("Numeric"):
        comparison = operator.removeprefix("Numeric")
        try:
            return compared(comparison, float(value), float(wanted))
        except ValueError:
            return False
    comparison = operator.removeprefix("Date")
    return compared(comparison, seconds(value), seconds(wanted))


def compared(comparison: str, value: float, wanted: float) -> bool:
    return {
        "Equals": value == wanted,
        "LessThan": value < wanted,
        "LessThanEquals": value <= wanted,
        "GreaterThan": value > wanted,
        "GreaterThanEquals": value >= wanted,
    }[comparison]


def seconds(text: str) -> float:
    if "-" not in text:
        return float(text)
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def wild(pattern: str, value: str) -> bool:
    if pattern == "":
        return value == ""
    if pattern[0] == "*":
        return any(wild(pattern[1:], value[n:]) for n in range(len(value) + 1))
    if value == "":
        return False
    return pattern[0] in ("?", value[0]) and wild(pattern[1:], value[1:])
