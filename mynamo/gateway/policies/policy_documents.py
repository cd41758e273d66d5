"""Policies as JSON: what is not valid, or would have no effect by a mistake, is refused.

Source: IAM User Guide, "Grammar of the IAM JSON policy language".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mynamo.errors import InvalidPolicy
from mynamo.gateway.policies.condition_operators import (
    OPERATORS,
    Condition,
    Kind,
    NullCheck,
    WrongValue,
    truth,
)
from mynamo.gateway.policies.iam_actions import ACTIONS, OPERATIONS_ONLY, PREFIX
from mynamo.gateway.policies.text_patterns import ESCAPES, Variables, like, unknown_variable
from mynamo.schemas.suggestions import suggestion

MAX_CHARACTERS = 6144
"""Of a policy, white space aside: IAM's limit of managed policies."""
VERSION = "2012-10-17"
_VERSIONS = (VERSION, "2008-10-17")


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


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy.

    Attributes:
        name: of the policy, with the statement's place in it and its Sid.
        allows: its effect; False: Deny.
        actions: that it is about.
        resources: each tells whether an ARN is one of the resources that it names.
        other_resources: it is about all other resources (NotResource).
        conditions: all must hold.
    """

    name: str
    allows: bool
    actions: frozenset[str]
    resources: tuple[Callable[[str], bool], ...]
    other_resources: bool
    conditions: tuple[Condition | NullCheck, ...]


Policy = tuple[Statement, ...]


def policy_text(path: Path) -> str:
    """The text of a file with a policy.

    Raises:
        InvalidPolicy: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidPolicy(f"{path}: it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidPolicy(f"{path}: it is not UTF-8; save it as such") from None


def parse_policy(text: str, name: str, user: str) -> Policy:
    """Read a policy.

    Args:
        text: its JSON.
        name: for messages.
        user: the name of whom it is for, which is the variable `aws:username`.

    Raises:
        InvalidPolicy: it is not valid, or says something that mynamo does not know.
    """
    if sum(not character.isspace() for character in text) > MAX_CHARACTERS:
        raise InvalidPolicy(
            f"{name}: it has more than {MAX_CHARACTERS} characters without white space; divide it"
        )
    place = _Place(name)
    try:
        document = json.loads(text, object_pairs_hook=place.members, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        raise InvalidPolicy(f"{name}: it is not JSON: {error}") from None
    except RecursionError:
        raise InvalidPolicy(f"{name}: it is nested too deeply for a policy") from None
    members = place.object(document)
    place.only(members, ("Version", "Id", "Statement"))
    version = members.get("Version", "2008-10-17")
    if version not in _VERSIONS:
        place.at("Version").refuse(f'write "{VERSION}"')
    variables = {**ESCAPES, "aws:username": user} if version == VERSION else {}
    if "Statement" not in members:
        place.refuse("Statement is missing; add the list of statements")
    given = members["Statement"]
    if isinstance(given, dict):
        return (_statement(place.at("Statement"), given, variables),)
    if not isinstance(given, list) or not given:
        place.at("Statement").refuse("write a statement, or a list of statements")
    statements = tuple(
        _statement(place.at(f"Statement[{n}]"), each, variables) for n, each in enumerate(given)
    )
    sids = [each["Sid"] for each in given if each.get("Sid")]
    for sid in sids:
        if sids.count(sid) > 1:
            place.at("Statement").refuse(f'two statements have the Sid "{sid}"; rename one')
    return statements


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in a policy.

    Attributes:
        name: of the policy.
        path: of members, from the outermost.
    """

    name: str
    path: str = ""

    def at(self, member: str) -> _Place:
        """A place within."""
        return _Place(self.name, f"{self.path}.{member}" if self.path else member)

    def refuse(self, why: str) -> NoReturn:
        """Raises InvalidPolicy: always."""
        where = f"{self.name}, {self.path}" if self.path else self.name
        raise InvalidPolicy(f"{where}: {why}")

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """A JSON object; of two members of one name the first would have no effect."""
        members = dict(pairs)
        if len(members) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            self.refuse(f'an object has "{twice}" twice; join the two')
        return members

    def object(self, value: Any) -> dict[str, Any]:
        """The value, which must be an object."""
        if not isinstance(value, dict):
            self.refuse("write an object, in { }")
        return value

    def only(self, members: Mapping[str, Any], known: Sequence[str]) -> None:
        """Refuse members of other names."""
        for name in members:
            if name not in known:
                self.refuse(f'"{name}" is no element that can stand here{suggestion(name, known)}')

    def texts(self, value: Any) -> list[str]:
        """The value as a list: of one text or several; true and false are texts too."""
        given = value if isinstance(value, list) else [value]
        texts = [str(each).lower() if isinstance(each, bool) else each for each in given]
        if not texts or not all(isinstance(each, str) for each in texts):
            self.refuse("write a text, or a list of texts")
        return texts


_ELEMENTS = (
    "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition",
)  # fmt: skip


def _statement(place: _Place, given: Any, variables: Variables) -> Statement:
    members = place.object(given)
    for element in ("Principal", "NotPrincipal"):
        if element in members:
            place.refuse(f"{element} has no place in the policy of a credential; remove it")
    place.only(members, _ELEMENTS)
    sid = members.get("Sid", "")
    if not isinstance(sid, str) or not re.fullmatch(r"[A-Za-z0-9]*", sid):
        place.at("Sid").refuse("write a text of A-Z, a-z and 0-9")
    effect = members.get("Effect")
    if effect not in ("Allow", "Deny"):
        place.at("Effect").refuse('write "Allow" or "Deny"')
    action = _one_of(place, members, "Action", "NotAction")
    actions = _actions(place.at(action), members[action])
    resource = _one_of(place, members, "Resource", "NotResource")
    condition = place.at("Condition").object(members.get("Condition", {}))
    return Statement(
        name=f"{place.name}, {place.path}" + (f" ({sid})" if sid else ""),
        allows=effect == "Allow",
        actions=ACTIONS - actions if action == "NotAction" else actions,
        resources=_resources(place.at(resource), members[resource], variables),
        other_resources=resource == "NotResource",
        conditions=tuple(
            test
            for operator, keys in condition.items()
            for test in _conditions(place.at("Condition"), operator, keys, variables)
        ),
    )


def _one_of(place: _Place, members: Mapping[str, Any], name: str, other: str) -> str:
    given = [each for each in (name, other) if each in members]
    if len(given) != 1:
        place.refuse(f"write one of {name} and {other}")
    return given[0]


def _actions(place: _Place, given: Any) -> frozenset[str]:
    found: set[str] = set()
    for text in place.texts(given):
        matched = set(_matching(text))
        if not matched:
            parts = OPERATIONS_ONLY.get(text.lower())
            if parts:
                place.refuse(f"{text} is no action; name those of what is in it: {parts}")
            hint = suggestion(text, ACTIONS) or f"; actions begin with {PREFIX}"
            place.refuse(f"{text} is no action of DynamoDB{hint}")
        found |= matched
    return frozenset(found)


def _matching(text: str) -> Iterator[str]:
    if "$" not in text:
        is_meant = like(text.lower(), {})
        yield from (action for action in ACTIONS if is_meant(action.lower()))


def _is_resource(text: str) -> bool:
    """Whether a text can be like the ARN of something of DynamoDB; `*` may stand for its end."""
    parts = text.split(":")
    if text == "*":
        return True
    if parts[0] != "arn" or (len(parts) < 6 and not text.endswith("*")):
        return False
    service = parts[2] if len(parts) > 2 else "*"
    return "$" not in service and like(service, {})("dynamodb")


def _resources(
    place: _Place, given: Any, variables: Variables
) -> tuple[Callable[[str], bool], ...]:
    texts = place.texts(given)
    for text in texts:
        _check_variables(place, text, variables)
        if not _is_resource(text):
            place.refuse(
                f'{text} is no resource of DynamoDB; write "*", or an ARN such as '
                "arn:aws:dynamodb:us-east-1:000000000000:table/orders"
            )
    return tuple(like(text, variables) for text in texts)


def _check_variables(place: _Place, text: str, variables: Variables) -> None:
    unknown = unknown_variable(text, variables)
    if unknown is not None:
        place.refuse(
            f"{unknown} is no variable that mynamo knows; there is ${{aws:username}}, and "
            f'${{*}}, ${{?}} and ${{$}}, in policies of the Version "{VERSION}"'
        )


_OPERATOR = re.compile(r"(?:(ForAllValues|ForAnyValue):)?(\w+?)(IfExists)?")


def _conditions(
    place: _Place, operator: str, given: Any, variables: Variables
) -> list[Condition | NullCheck]:
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
    place: _Place,
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
            _check_variables(place, text, variables)
        try:
            tests.append(operator.read(text, variables))
        except WrongValue as error:
            place.refuse(f"{text!r} cannot be compared by {base}; {error}")
    return Condition(name.lower(), quantifier, if_exists, operator.negated, tuple(tests))


def _null(place: _Place, name: str, given: Any) -> NullCheck:
    _key(place, name)
    place = place.at(name)
    try:
        return NullCheck(name.lower(), tuple(truth(text) for text in place.texts(given)))
    except WrongValue as error:
        place.refuse(str(error))


def _key(place: _Place, name: str) -> ConditionKey:
    key = CONDITION_KEYS.get(name.lower())
    if key is None:
        names = [known.name for known in _KEYS]
        hint = suggestion(name, names) or f"; there are {', '.join(names)}"
        place.refuse(f"{name} is no condition key that mynamo knows{hint}")
    return key
