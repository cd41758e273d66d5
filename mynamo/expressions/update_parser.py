"""The syntax of update expressions."""

from __future__ import annotations

from functools import lru_cache

from mynamo.errors import InvalidExpression
from mynamo.expressions.lexer import END
from mynamo.expressions.parser import UPDATE_FUNCTIONS, Parser
from mynamo.expressions.syntax import ActionSyntax, Call, OperandSyntax

__all__ = ["update_syntax"]

_CLAUSES = frozenset({"SET", "REMOVE", "ADD", "DELETE"})
_CACHED = 1024


@lru_cache(_CACHED)
def update_syntax(text: str) -> tuple[ActionSyntax, ...]:
    """The actions of an update, in the order of the text.

    Raises:
        InvalidExpression: DynamoDB's message, without the name of the parameter.
    """
    parser = _UpdateParser(text)
    actions = parser.actions()
    parser.finish()
    return tuple(actions)


class _UpdateParser(Parser):
    """Reads clauses, each one a list of actions."""

    kind = "an update"
    functions = UPDATE_FUNCTIONS
    operand_function = "if_not_exists"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._repeated: str | None = None

    def actions(self) -> list[ActionSyntax]:
        tokens = self.tokens
        actions: list[ActionSyntax] = []
        clauses: set[str] = set()
        while tokens.kind in _CLAUSES:
            clause = tokens.take().upper()
            if clause in clauses and self._repeated is None:
                self._repeated = clause
            clauses.add(clause)
            actions.append(self._action(clause))
            while tokens.kind == ",":
                tokens.take()
                actions.append(self._action(clause))
        if not actions:
            raise tokens.error()
        return actions

    def finish(self) -> None:
        super().finish()
        if self._repeated:
            raise InvalidExpression(
                f'The "{self._repeated}" section can only be used once in an update expression;'
            )

    def _action(self, clause: str) -> ActionSyntax:
        tokens = self.tokens
        path = self.path()
        if clause == "REMOVE":
            return ActionSyntax(clause, path, None)
        if clause == "SET":
            tokens.take_one("=")
            return ActionSyntax(clause, path, self._new_value())
        return ActionSyntax(clause, path, self.value())

    def _new_value(self) -> OperandSyntax:
        """What SET sets: an operand, or the sum or difference of two, maybe in parentheses."""
        tokens = self.tokens
        groups: list[int] = []
        while tokens.kind == "(":
            groups.append(tokens.at)
            tokens.take()
        value = self.operand()
        self.check_groups()
        result: Call | None = None
        while True:
            if tokens.kind == ")" and groups:
                self.close_group(groups.pop())
                self.check_groups()
            elif tokens.kind in ("+", "-") and result is None:
                at = tokens.at
                operator = self.operator()
                right = self.operand()
                self.check_groups()
                self.check_operand(value)
                self.check_operand(right)
                result = Call(operator, (value, right), at)
            elif groups or tokens.kind not in (END, ",", *_CLAUSES):
                raise tokens.error()
            else:
                break
        if result is None and isinstance(value, Call):
            self.check_function(value, in_place=True)
        return result or value
