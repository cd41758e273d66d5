"""The words of an expression, and where they stand.

Observed of DynamoDB: a syntax error names the first token that no valid expression could
have there, and quotes the text from the token before it to the token after it.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from mynamo.errors import InvalidExpression

__all__ = ["END", "INDEX", "NAME", "NAME_PLACEHOLDER", "VALUE_PLACEHOLDER", "Tokens"]

NAME = "name"
NAME_PLACEHOLDER = "#name"
VALUE_PLACEHOLDER = ":value"
INDEX = "index"
END = "<EOF>"

KEYWORDS = frozenset({"ADD", "AND", "BETWEEN", "DELETE", "IN", "NOT", "OR", "REMOVE", "SET"})
"""In any case, in every kind of expression."""

_TOKEN = re.compile(
    r"[ \t\r\n]*(?:"
    r"([A-Za-z][A-Za-z0-9_]*)|(\#[A-Za-z0-9_]+)|(:[A-Za-z0-9_]+)|(0|[1-9][0-9]*)"
    r"|(<[=>]?|>=?|.)|\Z)",
    re.DOTALL,
)
_KINDS = (END, NAME, NAME_PLACEHOLDER, VALUE_PLACEHOLDER, INDEX, "")

Token: TypeAlias = tuple[str, str, int, int]
"""Its kind (one of the above, a keyword in capitals, or the text itself), its text, and
where it begins and ends."""


class Tokens:
    """The tokens of a text, read from the first to the last.

    Attributes:
        at: the number of the token to be read next.
        kind: of that token.
    """

    __slots__ = ("_text", "_tokens", "at", "kind")

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens_of(text)
        self.at = 0
        self.kind = self._tokens[0][0]

    def take(self) -> str:
        """Read one token: its text."""
        text = self._tokens[self.at][1]
        self.at += 1
        self.kind = self._tokens[self.at][0]
        return text

    def take_one(self, kind: str) -> None:
        """Read a token of this kind. Raises InvalidExpression if it is another."""
        if self.kind != kind:
            raise self.error()
        self.take()

    def following(self) -> str:
        """The kind of the token after the next one."""
        return END if self.kind == END else self._tokens[self.at + 1][0]

    def error(self) -> InvalidExpression:
        """What is wrong with the next token."""
        start = self._tokens[self.at - 1][2] if self.at else 0
        end = self._tokens[min(self.at + 1, len(self._tokens) - 1)][3]
        token = self._tokens[self.at][1]
        return InvalidExpression(f'Syntax error; token: "{token}", near: "{self._text[start:end]}"')


def _tokens_of(text: str) -> list[Token]:
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        group = match.lastindex or 0
        if not group:
            break
        word = match[group]
        kind = _KINDS[group] or word
        if group == 1 and word.upper() in KEYWORDS:
            kind = word.upper()
        tokens.append((kind, word, match.start(group), match.end(group)))
    tokens.append((END, END, len(text), len(text)))
    return tokens
