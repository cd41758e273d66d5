"""Policies as JSON: what is not valid, or would have no effect by a mistake, is refused.

Source: IAM User Guide, "Grammar of the IAM JSON policy language".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mynamo.errors import InvalidPolicy
from mynamo.gateway.policies.condition_operators import Condition, NullCheck
from mynamo.gateway.policies.iam_actions import (
    ACTIONS,
    OPERATIONS_ONLY,
    OPERATOR_PREFIX,
    PREFIX,
)
from mynamo.gateway.policies.policy_conditions import conditions_of
from mynamo.gateway.policies.policy_places import VERSION, Place
from mynamo.gateway.policies.text_patterns import ESCAPES, Variables, like
from mynamo.schemas.suggestions import suggestion

MAX_CHARACTERS = 6144
"""Of a policy, white space aside: IAM's limit of managed policies."""
_VERSIONS = (VERSION, "2008-10-17")


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
    place = Place(name)
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


_ELEMENTS = (
    "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition",
)  # fmt: skip


def _statement(place: Place, given: Any, variables: Variables) -> Statement:
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
            for test in conditions_of(place.at("Condition"), operator, keys, variables)
        ),
    )


def _one_of(place: Place, members: Mapping[str, Any], name: str, other: str) -> str:
    given = [each for each in (name, other) if each in members]
    if len(given) != 1:
        place.refuse(f"write one of {name} and {other}")
    return given[0]


def _actions(place: Place, given: Any) -> frozenset[str]:
    found: set[str] = set()
    for text in place.texts(given):
        matched = set(_matching(text))
        if not matched:
            parts = OPERATIONS_ONLY.get(text.lower())
            if parts:
                place.refuse(f"{text} is no action; name those of what is in it: {parts}")
            begin = f"; actions begin with {PREFIX} or {OPERATOR_PREFIX}"
            hint = suggestion(text, ACTIONS) or begin
            place.refuse(f"{text} is no action of DynamoDB or mynamo{hint}")
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


def _resources(place: Place, given: Any, variables: Variables) -> tuple[Callable[[str], bool], ...]:
    texts = place.texts(given)
    for text in texts:
        place.check_variables(text, variables)
        if not _is_resource(text):
            place.refuse(
                f'{text} is no resource of DynamoDB; write "*", or an ARN such as '
                "arn:aws:dynamodb:us-east-1:000000000000:table/orders"
            )
    return tuple(like(text, variables) for text in texts)
