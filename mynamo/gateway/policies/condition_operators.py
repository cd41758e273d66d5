"""Condition operators: what a condition of a policy compares, and how.

Source: IAM User Guide, "IAM JSON policy elements: Condition operators" and "Set operators for
multivalued context keys".
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from mynamo.gateway.policies.text_patterns import Variables, like, resolved

Kind = Literal["String", "Numeric", "Date", "Bool", "IpAddress"]
Matches = Callable[[str], bool]
"""Whether a value of the request matches a value of the policy."""


class WrongValue(Exception):  # noqa: N818
    """A policy's value that an operator cannot compare with; the text says what it should be."""


@dataclass(frozen=True, slots=True)
class Operator:
    """What an operator does, without its prefix and suffix.

    Attributes:
        kind: of the values that it compares.
        read: a value of the policy as a test of one value of the request; raises WrongValue.
        negated: it holds where none of the policy's values matches.
    """

    kind: Kind
    read: Callable[[str, Variables], Matches]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition key of a statement with its operator.

    Attributes:
        key: in lower case.
        quantifier: of a set operator; empty: the operator has none.
        if_exists: it holds for a request without the key.
        negated: see `Operator`.
        tests: one per value of the policy.
    """

    key: str
    quantifier: Literal["", "ForAllValues", "ForAnyValue"]
    if_exists: bool
    negated: bool
    tests: tuple[Matches, ...]

    def holds(self, values: Sequence[str]) -> bool:
        """Whether it holds for a request.

        Args:
            values: of the key; none: the request does not have it.
        """
        if self.quantifier == "ForAllValues":
            return all(map(self._holds_for, values))
        if self.quantifier == "ForAnyValue":
            return any(map(self._holds_for, values))
        if not values:
            return self.if_exists or self.negated
        return self._holds_for(values[0])

    def _holds_for(self, value: str) -> bool:
        return any(test(value) for test in self.tests) is not self.negated


@dataclass(frozen=True, slots=True)
class NullCheck:
    """The operator Null: whether a request has a key.

    Attributes:
        key: in lower case.
        absent: what the policy allows: True, that the key is not there; False, that it is.
    """

    key: str
    absent: tuple[bool, ...]

    def holds(self, values: Sequence[str]) -> bool:
        """See `Condition.holds`."""
        return (not values) in self.absent


def _equals(wanted: str, variables: Variables) -> Matches:
    return resolved(wanted, variables).__eq__


def _equals_ignoring_case(wanted: str, variables: Variables) -> Matches:
    lower = resolved(wanted, variables).lower()
    return lambda value: value.lower() == lower


_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


_DATE = re.compile(
    r"\d{4}-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?)?", re.ASCII
)
"""The forms of ISO 8601 that the W3C's note has, but a year alone: digits are seconds since
1970."""


def _moment(text: str) -> Decimal | None:
    """Seconds since 1970; of a month its beginning, in UTC."""
    if not _DATE.fullmatch(text):
        return _number(text)
    try:
        moment = datetime.fromisoformat(f"{text}-01" if len(text) == 7 else text)
    except ValueError:
        return None
    return Decimal(str((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


def _comparison(
    read: Callable[[str], Decimal | None], compare: Callable[[Any, Any], bool], form: str
) -> Callable[[str, Variables], Matches]:
    def of(wanted: str, _: Variables) -> Matches:
        bound = read(wanted)
        if bound is None:
            raise WrongValue(form)

        def matches(value: str) -> bool:
            number = read(value)
            return number is not None and compare(number, bound)

        return matches

    return of


def truth(text: str) -> bool:
    """True or false. Raises WrongValue."""
    folded = text.lower()
    if folded not in ("true", "false"):
        raise WrongValue('write "true" or "false"')
    return folded == "true"


def _bool(wanted: str, _: Variables) -> Matches:
    folded = "true" if truth(wanted) else "false"
    return lambda value: value.lower() == folded


def _ip(wanted: str, _: Variables) -> Matches:
    try:
        network = ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        raise WrongValue("write an address or a range, such as 203.0.113.0/24") from None

    def matches(value: str) -> bool:
        try:
            return ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return matches


def _ordered(
    kind: Kind, read: Callable[[str], Decimal | None], form: str
) -> Iterable[tuple[str, Operator]]:
    equals = _comparison(read, operator.eq, form)
    yield kind + "Equals", Operator(kind, equals)
    yield kind + "NotEquals", Operator(kind, equals, negated=True)
    for name, compare in (
        ("LessThan", operator.lt),
        ("LessThanEquals", operator.le),
        ("GreaterThan", operator.gt),
        ("GreaterThanEquals", operator.ge),
    ):
        yield kind + name, Operator(kind, _comparison(read, compare, form))


OPERATORS: dict[str, Operator] = {
    "StringEquals": Operator("String", _equals),
    "StringNotEquals": Operator("String", _equals, negated=True),
    "StringEqualsIgnoreCase": Operator("String", _equals_ignoring_case),
    "StringNotEqualsIgnoreCase": Operator("String", _equals_ignoring_case, negated=True),
    "StringLike": Operator("String", like),
    "StringNotLike": Operator("String", like, negated=True),
    **dict(_ordered("Numeric", _number, "write a number")),
    **dict(_ordered("Date", _moment, "write a date, such as 2026-01-31T12:00:00Z")),
    "Bool": Operator("Bool", _bool),
    "IpAddress": Operator("IpAddress", _ip),
    "NotIpAddress": Operator("IpAddress", _ip, negated=True),
}
"""By name; Null is none of them."""
