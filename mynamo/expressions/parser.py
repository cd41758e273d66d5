"""Lexer, syntax trees and parser that all kinds of expressions share: paths, operands, limits.

The trees have placeholders still, so they can be cached.

Observed of DynamoDB: a syntax error names the first token that no valid expression could
have there, and quotes the text from the token before it to the token after it.

The parser is written by hand: no recursion, so no text can exhaust the stack, and errors where
DynamoDB finds them. Observed of DynamoDB, in this order: the size of the text, its syntax
and redundant parentheses, then names and functions as they come in the text, then the
number of operators; only then do placeholders matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from mynamo.errors import InvalidExpression
from mynamo.expressions.reserved import RESERVED_WORDS
from mynamo.schemas.values import utf8_size

__all__ = [
    "CONDITION_FUNCTIONS",
    "END",
    "INDEX",
    "NAME",
    "NAME_PLACEHOLDER",
    "UPDATE_FUNCTIONS",
    "VALUE_PLACEHOLDER",
    "ActionSyntax",
    "Call",
    "ConditionSyntax",
    "Connective",
    "Negation",
    "OperandSyntax",
    "Parser",
    "PathSyntax",
    "Tokens",
    "ValueSyntax",
]


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


@dataclass(frozen=True, slots=True)
class PathSyntax:
    """A document path.

    Attributes:
        parts: names, `#placeholders` and list indexes.
        plain: it has no placeholders.
    """

    parts: tuple[str | int, ...]
    plain: bool


@dataclass(frozen=True, slots=True)
class ValueSyntax:
    """A `:placeholder`."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an operator with its operands: `size(a)`, `a < :b`, `a IN (:b)`, `a + :b`.

    Attributes:
        operator: as DynamoDB's messages name it.
        at: the number of its token.
    """

    operator: str
    operands: tuple[OperandSyntax, ...]
    at: int = 0


@dataclass(frozen=True, slots=True)
class Connective:
    """Conditions joined by AND or OR.

    Attributes:
        operator: AND or OR.
        parts: two or more, none of them a Connective with the same operator.
    """

    operator: str
    parts: tuple[ConditionSyntax, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """NOT and a condition."""

    part: ConditionSyntax


@dataclass(frozen=True, slots=True)
class ActionSyntax:
    """One action of an update.

    Attributes:
        clause: SET, REMOVE, ADD or DELETE.
        operand: None for REMOVE.
    """

    clause: str
    path: PathSyntax
    operand: OperandSyntax | None


OperandSyntax: TypeAlias = PathSyntax | ValueSyntax | Call
ConditionSyntax: TypeAlias = Call | Connective | Negation


MAX_SIZE = 4096
"""UTF-8 bytes of an expression."""
MAX_OPERATORS = 300
"""Operators and functions in an expression: Developer Guide, "Quotas"."""
MAX_INDEX = 2**31 - 1

CONDITION_FUNCTIONS = frozenset(
    {
        "attribute_exists",
        "attribute_not_exists",
        "attribute_type",
        "begins_with",
        "contains",
        "size",
    }
)
UPDATE_FUNCTIONS = frozenset({"if_not_exists", "list_append"})
FUNCTIONS = CONDITION_FUNCTIONS | UPDATE_FUNCTIONS


def _check_size(text: str) -> None:
    """Raises InvalidExpression if a text is empty or over 4 KB."""
    if not text:
        raise InvalidExpression("The expression can not be empty;")
    if len(text) * 4 > MAX_SIZE and (size := utf8_size(text)) > MAX_SIZE:
        raise InvalidExpression(
            f"Expression size has exceeded the maximum allowed size; expression size: {size}"
        )


class Parser:
    """Reads the parts of an expression from its tokens.

    Errors that DynamoDB looks for only once the syntax is right wait in it for `finish`.

    Attributes:
        kind: of expression, with its article, for messages.
        functions: those that it may have.
        operand_function: the one of them that can be an operand.
    """

    kind: ClassVar[str]
    functions: ClassVar[frozenset[str]]
    operand_function: ClassVar[str]

    def __init__(self, text: str) -> None:
        _check_size(text)
        self.tokens = Tokens(text)
        self._operators = 0
        self._faults: list[tuple[int, str]] = []
        self._redundant = False
        self._last_group = (-1, -1)

    def finish(self) -> None:
        """Check that the text ends here and is right as far as it alone can tell.

        Raises:
            InvalidExpression: it is not.
        """
        if self.tokens.kind != END:
            raise self.tokens.error()
        if self._faults:
            raise InvalidExpression(min(self._faults)[1])
        if self._operators > MAX_OPERATORS:
            raise InvalidExpression(
                f"The expression contains too many operators; operator count: {MAX_OPERATORS + 1}"
            )

    def path(self) -> PathSyntax:
        """A document path: `a.b[0]`."""
        tokens = self.tokens
        parts: list[str | int] = [self._name()]
        plain = type(parts[0]) is str and parts[0][0] != "#"
        while True:
            if tokens.kind == ".":
                tokens.take()
                name = self._name()
                plain = plain and name[0] != "#"
                parts.append(name)
            elif tokens.kind == "[":
                tokens.take()
                parts.append(self._index())
                tokens.take_one("]")
            else:
                return PathSyntax(tuple(parts), plain)

    def operand(self) -> OperandSyntax:
        """A path, a value or a function, maybe in parentheses."""
        tokens = self.tokens
        unfinished: list[int | Call] = []  # groups by the number of their "(", and functions
        while True:
            kind = tokens.kind
            if kind == "(":
                unfinished.append(tokens.at)
                tokens.take()
                continue
            if kind == NAME and tokens.following() == "(":
                self._count()
                unfinished.append(Call(tokens.take(), (), tokens.at - 1))
                tokens.take()
                continue
            operand: OperandSyntax = self.value() if kind == VALUE_PLACEHOLDER else self.path()
            while unfinished:
                opened = unfinished.pop()
                if isinstance(opened, int):
                    self.close_group(opened)
                    continue
                call = Call(opened.operator, (*opened.operands, operand), opened.at)
                self.check_operand(operand)
                if tokens.kind == ",":
                    tokens.take()
                    unfinished.append(call)
                    break
                tokens.take_one(")")
                operand = call
            else:
                return operand

    def close_group(self, opened: int) -> None:
        """Read the ")" of a group.

        Args:
            opened: the number of its "(".
        """
        closed = self.tokens.at
        self.tokens.take_one(")")
        if self._last_group == (opened + 1, closed - 1):
            self._redundant = True
        self._last_group = (opened, closed)

    def check_groups(self) -> None:
        """Raises InvalidExpression if there was a group with nothing but a group in it."""
        if self._redundant:
            raise InvalidExpression("The expression has redundant parentheses;")

    def operator(self) -> str:
        """Read an operator and count it: its text in capitals."""
        self._count()
        return self.tokens.take().upper()

    def fault(self, at: int, message: str) -> None:
        """Note what is wrong with token number `at`, for when the syntax is known to be right."""
        self._faults.append((at, message))

    def check_operand(self, operand: OperandSyntax) -> None:
        """Note a fault if it is a function that cannot be an operand."""
        if isinstance(operand, Call):
            self.check_function(operand, operand.operator == self.operand_function)

    def check_function(self, call: Call, in_place: bool) -> None:
        """Note a fault if a function is none of these expressions, or not in its place."""
        function = call.operator
        if function not in FUNCTIONS:
            problem = "Invalid function name"
        elif function not in self.functions:
            problem = f"The function is not allowed in {self.kind} expression"
        elif not in_place:
            problem = "The function is not allowed to be used this way in an expression"
        else:
            return
        self.fault(call.at, f"{problem}; function: {function}")

    def value(self) -> ValueSyntax:
        """A value's placeholder."""
        if self.tokens.kind != VALUE_PLACEHOLDER:
            raise self.tokens.error()
        return ValueSyntax(self.tokens.take())

    def _count(self) -> None:
        self._operators += 1

    def _name(self) -> str:
        kind = self.tokens.kind
        if kind == NAME_PLACEHOLDER:
            return self.tokens.take()
        if kind != NAME:
            raise self.tokens.error()
        name = self.tokens.take()
        if name.upper() in RESERVED_WORDS:
            self.fault(
                self.tokens.at - 1,
                f"Attribute name is a reserved keyword; reserved keyword: {name}",
            )
        return name

    def _index(self) -> int:
        if self.tokens.kind != INDEX:
            raise self.tokens.error()
        digits = self.tokens.take()
        # A text has at most 4096 digits, which int() takes; longer ones are out of range anyway.
        if len(digits) > len(str(MAX_INDEX)) or int(digits) > MAX_INDEX:
            self.fault(
                self.tokens.at - 1,
                f"List index is not within the allowable range; index: [{digits}]",
            )
            return MAX_INDEX
        return int(digits)
