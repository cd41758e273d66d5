"""Whether policies allow an access.

Source: IAM User Guide, "Policy evaluation logic": an explicit Deny wins; what no statement allows
is denied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mynamo.gateway.policies.policy_documents import Policy, Statement


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom policies are for.

    Attributes:
        name: of the user, as ARNs have it.
        policies: all of the user's.
    """

    name: str
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """What is to be allowed.

    Attributes:
        action: such as "dynamodb:GetItem".
        resource: an ARN.
        values: of condition keys, by their names in lower case; no values are the same as no key.
    """

    action: str
    resource: str
    values: Mapping[str, Sequence[str]]


class Decision(NamedTuple):
    """Whether an access is allowed.

    Attributes:
        statement: that decided; None: none is about the access, so it is denied.
    """

    allowed: bool
    statement: Statement | None


def decide(policies: Sequence[Policy], access: Access) -> Decision:
    """Whether policies allow an access."""
    allowing = None
    for statement in _applicable(policies, access):
        if not statement.allows:
            return Decision(False, statement)
        allowing = allowing or statement
    return Decision(allowing is not None, allowing)


def names(policies: Sequence[Policy], access: Access) -> bool:
    """Whether an Allow names action and resource of an access, whatever its conditions."""
    return any(
        statement.allows and access.action in statement.actions and _names(statement, access)
        for policy in policies
        for statement in policy
    )


def denies(policies: Sequence[Policy], access: Access) -> bool:
    """Whether a Deny is about an access; not whether it is allowed."""
    return any(not statement.allows for statement in _applicable(policies, access))


def _applicable(policies: Sequence[Policy], access: Access) -> Iterator[Statement]:
    for policy in policies:
        for statement in policy:
            if access.action in statement.actions and _is_about(statement, access):
                yield statement


def _names(statement: Statement, access: Access) -> bool:
    named = any(matches(access.resource) for matches in statement.resources)
    return named is not statement.other_resources


def _is_about(statement: Statement, access: Access) -> bool:
    return _names(statement, access) and all(
        condition.holds(access.values.get(condition.key, ())) for condition in statement.conditions
    )
