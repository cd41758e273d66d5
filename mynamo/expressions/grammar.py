"""The grammars of condition, filter, key condition and update expressions."""

from __future__ import annotations

from functools import lru_cache

from mynamo.errors import InvalidExpression
from mynamo.expressions.parser import (
    CONDITION_FUNCTIONS,
    END,
    UPDATE_FUNCTIONS,
    ActionSyntax,
    Call,
    ConditionSyntax,
    Connective,
    Negation,
    OperandSyntax,
    Parser,
)

__all__ = ["condition_syntax", "update_syntax"]


_COMPARATORS = frozenset({"=", "<>", "<", "<=", ">", ">="})
PRECEDENCE = {"OR": 1, "AND": 2, "NOT": 3}
_CACHED = 1024


@lru_cache(_CACHED)
def condition_syntax(text: str) -> ConditionSyntax:
    """The tree of a condition.

    Raises:
        InvalidExpression: DynamoDB's message, without the name of the parameter.
    """
    parser = _ConditionParser(text)
    condition = parser.condition()
    parser.finish()
    return condition


class _ConditionParser(Parser):
    """Puts conditions together as operators come in: NOT before AND before OR."""

    kind = "a condition"
    functions = CONDITION_FUNCTIONS
    operand_function = "size"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._conditions: list[ConditionSyntax] = []
        # Operators still without their right side, and the numbers of the "(" of open groups.
        self._waiting: list[str | int] = []

    def condition(self) -> ConditionSyntax:
        """Read up to where no condition can go on."""
        tokens = self.tokens
        while True:
            while tokens.kind in ("NOT", "("):
                at = tokens.at
                self._waiting.append(self.operator() if tokens.kind == "NOT" else at)
                if self._waiting[-1] == at:
                    tokens.take()
            self._conditions.append(self._test())
            self.check_groups()
            while tokens.kind == ")":
                self._join(0)
                if not self._waiting:
                    raise tokens.error()
                self.close_group(self._open_group())
                self.check_groups()
            if tokens.kind not in ("AND", "OR"):
                break
            self._join(PRECEDENCE[tokens.kind])
            self._waiting.append(self.operator())
        self._join(0)
        if self._waiting or tokens.kind != END:
            raise tokens.error()
        return self._conditions.pop()

    def _open_group(self) -> int:
        opened = self._waiting.pop()
        assert isinstance(opened, int)  # noqa: S101
        return opened

    def _join(self, precedence: int) -> None:
        """Give the operators that bind at least so strongly their right sides."""
        waiting = self._waiting
        while waiting:
            operator = waiting[-1]
            if isinstance(operator, int) or PRECEDENCE[operator] < precedence:
                return
            waiting.pop()
            right = self._conditions.pop()
            if operator == "NOT":
                self._conditions.append(_negated(right))
            else:
                left = self._conditions.pop()
                parts = (*_parts(operator, left), *_parts(operator, right))
                self._conditions.append(Connective(operator, parts))

    def _test(self) -> Call:
        """A comparison, BETWEEN, IN or a function."""
        tokens = self.tokens
        start = tokens.at
        left = self.operand()
        while tokens.kind == ")" and self._waiting and self._waiting[-1] == start - 1:
            # The group held this operand alone: `(a) = :v`.
            self.close_group(self._open_group())
            start -= 1
        kind = tokens.kind
        if kind not in _COMPARATORS and kind not in ("BETWEEN", "IN"):
            if not isinstance(left, Call):
                raise tokens.error()
            self.check_function(left, left.operator != "size")
            return left
        self.check_groups()
        self.check_operand(left)
        at = tokens.at
        operator = self.operator()
        if kind == "BETWEEN":
            low = self._right_side()
            tokens.take_one("AND")
            return Call(operator, (left, low, self._right_side()), at)
        if kind == "IN":
            return Call(operator, (left, *self._choices()), at)
        return Call(operator, (left, self._right_side()), at)

    def _choices(self) -> list[OperandSyntax]:
        self.tokens.take_one("(")
        choices = [self._right_side()]
        while self.tokens.kind == ",":
            self.tokens.take()
            choices.append(self._right_side())
        self.tokens.take_one(")")
        return choices

    def _right_side(self) -> OperandSyntax:
        operand = self.operand()
        self.check_groups()
        self.check_operand(operand)
        return operand


def _negated(condition: ConditionSyntax) -> ConditionSyntax:
    """NOT and a condition; the third NOT in a row cancels the second, so that no tree is
    deep without a reason."""
    if isinstance(condition, Negation) and isinstance(condition.part, Negation):
        return condition.part
    return Negation(condition)


def _parts(operator: str, condition: ConditionSyntax) -> tuple[ConditionSyntax, ...]:
    if isinstance(condition, Connective) and condition.operator == operator:
        return condition.parts
    return (condition,)


_CLAUSES = frozenset({"SET", "REMOVE", "ADD", "DELETE"})


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
