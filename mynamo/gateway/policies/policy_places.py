"""Places in a policy's JSON: what can be said of a value there, and where a refusal points to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from mynamo.errors import InvalidPolicy
from mynamo.gateway.policies.text_patterns import Variables, unknown_variable
from mynamo.schemas.suggestions import suggestion

VERSION = "2012-10-17"
"""Of policies that may have variables."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a policy.

    Attributes:
        name: of the policy.
        path: of members, from the outermost.
    """

    name: str
    path: str = ""

    def at(self, member: str) -> Place:
        """A place within."""
        return Place(self.name, f"{self.path}.{member}" if self.path else member)

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

    def check_variables(self, text: str, variables: Variables) -> None:
        """Refuse a text with variables that stand for nothing."""
        unknown = unknown_variable(text, variables)
        if unknown is not None:
            self.refuse(
                f"{unknown} is no variable that mynamo knows; there is ${{aws:username}}, and "
                f'${{*}}, ${{?}} and ${{$}}, in policies of the Version "{VERSION}"'
            )
