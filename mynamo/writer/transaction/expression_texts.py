"""A write's expressions, from their texts and placeholders."""

from __future__ import annotations

from collections.abc import Mapping

from mynamo import expressions
from mynamo.errors import InvalidExpression
from mynamo.expressions import Condition, Placeholders, Update
from mynamo.schemas.values import StoredItem


def parse_texts(
    *,
    update: str | None = None,
    condition: str | None = None,
    names: Mapping[str, str] | None = None,
    values: StoredItem | None = None,
) -> tuple[Update | None, Condition | None]:
    """Parse the expressions of one write.

    Args:
        update: DynamoDB's UpdateExpression.
        condition: its ConditionExpression.
        names: what each `#placeholder` stands for.
        values: what each `:placeholder` stands for, in stored form.

    Raises:
        InvalidExpression: DynamoDB's message; also when a placeholder is not used.
    """
    if update is None and condition is None:
        _refuse_lonely(names, values)
        return None, None
    placeholders = Placeholders(names or None, values or None)
    change = expressions.parse_update(update, placeholders) if update is not None else None
    demand = None
    if condition is not None:
        demand = expressions.parse_condition(condition, placeholders)
    placeholders.check_all_used()
    return change, demand


def _refuse_lonely(names: Mapping[str, str] | None, values: StoredItem | None) -> None:
    for kind, given in (("Names", names), ("Values", values)):
        if given:
            raise InvalidExpression(
                f"ExpressionAttribute{kind} can only be specified when using expressions"
            )
