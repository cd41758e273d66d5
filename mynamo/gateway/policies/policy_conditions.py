"""The conditions of a statement, from JSON: which keys there are, and which operators fit them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mynamo.gateway.policies.condition_operators import (
    OPERATORS,
    Condition,
    Kind,
    NullCheck,
    WrongValue,
    truth,
)
from mynamo.gateway.policies.policy_places import Place
from mynamo.gateway.policies.text_patterns import Variables
from mynamo.schemas.suggestions import suggestion


@dataclass(frozen=True, slots=True)
class ConditionKey:
    """What is known of a condition key.

    Attributes:
        name: as AWS spells it.
        kinds: of the operators that it can be compared by.
        several: a request may have several values of it.
    """

    name: str
    kinds: tuple[Kind, ...]
    several: bool = False


LEADING_KEYS = "dynamodb:LeadingKeys"
ATTRIBUTES = "dynamodb:Attributes"

_KEYS = (
    ConditionKey(LEADING_KEYS, ("String", "Numeric"), several=True),
    ConditionKey(ATTRIBUTES, ("String",), several=True),
    ConditionKey("dynamodb:Select", ("String",)),
    ConditionKey("dynamodb:ReturnValues", ("String",)),
    ConditionKey("dynamodb:ReturnConsumedCapacity", ("String",)),
    ConditionKey("dynamodb:EnclosingOperation", ("String",)),
    ConditionKey("dynamodb:FullTableScan", ("Bool",)),
    ConditionKey("aws:SourceIp", ("IpAddress",)),
    ConditionKey("aws:CurrentTime", ("Date",)),
    ConditionKey("aws:EpochTime", ("Date", "Numeric")),
    ConditionKey("aws:SecureTransport", ("Bool",)),
    ConditionKey("aws:username", ("String",)),
)
CONDITION_KEYS = {key.name.lower(): key for key in _KEYS}

_OPERATOR = re.compile(r"(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?")


def conditions_of(
    place: Place, operator: str, given: Any, variables: Variables
) -> list[Condition | NullCheck]:
    """The conditions of an operator, one per condition key.

    Args:
        place: of the statement's Condition.
        given: the operator's keys with their values.

    Raises:
        InvalidPolicy: they are not valid, or not known.
    """
    here = place.at(operator)
    keys = here.object(given)
    if not keys:
        here.refuse("no condition key is named; name one, or remove the operator")
    if operator == "Null":
        return [_null(here, name, values) for name, values in keys.items()]
    parts = _OPERATOR.fullmatch(operator)
    quantifier, base, if_exists = parts.groups() if parts else (None, operator, None)
    if base not in OPERATORS:
        hint = suggestion(base, (*OPERATORS, "Null"))
        place.refuse(f"{operator} is no condition operator that mynamo knows{hint}")
    if quantifier == "ForAnyValue" and if_exists:
        here.refuse(
            "ForAnyValue wants a value to be there and IfExists does not; use two statements, one "
            "of them with Null"
        )
    return [
        _condition(here, base, quantifier or "", bool(if_exists), name, values, variables)
        for name, values in keys.items()
    ]


def _condition(
    place: Place,
    base: str,
    quantifier: Any,
    if_exists: bool,
    name: str,
    given: Any,
    variables: Variables,
) -> Condition:
    operator, key = OPERATORS[base], _key(place, name)
    place = place.at(name)
    if operator.kind not in key.kinds:
        wanted = " and ".join(each for each, known in OPERATORS.items() if known.kind in key.kinds)
        place.refuse(f"{key.name} cannot be compared by {base}; there are {wanted}")
    if key.several and not quantifier:
        place.refuse(
            f"{key.name} may have several values: write ForAllValues:{base} or ForAnyValue:{base}"
        )
    tests = []
    for text in place.texts(given):
        if operator.kind == "String":
            place.check_variables(text, variables)
        try:
            tests.append(operator.read(text, variables))
        except WrongValue as error:
            place.refuse(f"{text!r} cannot be compared by {base}; {error}")
    return Condition(name.lower(), quantifier, if_exists, operator.negated, tuple(tests))


def _null(place: Place, name: str, given: Any) -> NullCheck:
    _key(place, name)
    place = place.at(name)
    try:
        return NullCheck(name.lower(), tuple(truth(text) for text in place.texts(given)))
    except WrongValue as error:
        place.refuse(str(error))


def _key(place: Place, name: str) -> ConditionKey:
    key = CONDITION_KEYS.get(name.lower())
    if key is None:
        names = [known.name for known in _KEYS]
        hint = suggestion(name, names) or f"; there are {', '.join(names)}"
        place.refuse(f"{name} is no condition key that mynamo knows{hint}")
    return key
