"""From what a caller says to the request, or to the command that waits in Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mynamo.errors import InvalidExpression, InvalidItem, InvalidRequest
from mynamo.expressions import Update, checked_names
from mynamo.schemas.commands import Condition, WriteCommand
from mynamo.schemas.items import to_stored
from mynamo.schemas.values import StoredItem, checked_name
from mynamo.writer import Operation, WriteRequest, parse_texts


@dataclass(frozen=True, slots=True)
class Asked:
    """A write, checked as far as that goes without its table.

    Attributes:
        item: PUT: the whole item; otherwise the key. Stored form, as all values here.
        set: for UPDATE: attributes and their new values.
        remove: for UPDATE: names of attributes that go.
        expression: for UPDATE: in place of both.
        condition: a simple one.
        condition_expression: in its place: DynamoDB's text.
        names: what `#placeholders` stand for.
        values: what `:placeholders` stand for.
    """

    table: str
    operation: Operation
    item: StoredItem
    set: StoredItem
    remove: tuple[str, ...]
    expression: str | None
    condition: Condition | None
    condition_expression: str | None
    names: dict[str, str]
    values: StoredItem

    def request(self) -> WriteRequest:
        """The write, for `apply`.

        Raises:
            InvalidExpression: an expression is not valid.
        """
        update, condition = parse_texts(
            update=self.expression,
            condition=self.condition_expression,
            names=self.names,
            values=self.values,
        )
        if self.set or self.remove:
            update = Update.setting(self.set, self.remove)
        return WriteRequest(
            self.table, self.operation, self.item, update, condition or self.condition
        )

    def command(self) -> WriteCommand:
        """The write, for `publish`."""
        return WriteCommand(
            table=self.table,
            operation=self.operation,
            item=self.item if self.operation == "PUT" else None,
            key=self.item if self.operation != "PUT" else None,
            set=self.set,
            remove=self.remove,
            condition=self.condition or Condition(),
            update_expression=self.expression,
            condition_expression=self.condition_expression,
            expression_names=self.names,
            expression_values=self.values,
        )


def ask(
    table: str,
    operation: Operation,
    item: Mapping[str, Any],
    *,
    set: Mapping[str, Any] | None = None,  # noqa: A002 -- the field's own word
    remove: Iterable[str] = (),
    expression: str | None = None,
    condition: Condition | str | None = None,
    names: Mapping[str, str] | None = None,
    values: Mapping[str, Any] | None = None,
) -> Asked:
    """Check what a caller says, and turn it into stored form.

    Raises:
        InvalidItem: the item, the key or a value is not valid.
        InvalidRequest: an argument is not of its kind, or two exclude each other.
    """
    check_table_name(table)
    if expression is not None and not isinstance(expression, str):
        raise InvalidRequest(f"an update expression is text, not {expression!r}")
    if condition is not None and not isinstance(condition, Condition | str):
        raise InvalidRequest(
            "a condition is an expression such as 'attribute_exists(price)', or MUST_EXIST, "
            f"MUST_NOT_EXIST or version_is(n), not {condition!r}"
        )
    if expression is not None and (set is not None or remove):
        raise InvalidRequest("an update is an expression, or set and remove, and not both")
    return Asked(
        table=table,
        operation=operation,
        item=to_stored(item),
        set=to_stored(set or {}),
        remove=_removed(remove, set or {}),
        expression=expression,
        condition=None if isinstance(condition, str) else condition,
        condition_expression=condition if isinstance(condition, str) else None,
        names=dict(checked_names(names) or {}),
        values=_values(values),
    )


def check_table_name(name: object) -> None:
    """Raises InvalidRequest if it is no text."""
    if not isinstance(name, str):
        raise InvalidRequest(f"a table is given by its name, not {name!r:.200}")


def _removed(remove: Iterable[str], changes: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(remove, str):
        raise InvalidItem(f"remove must be names of attributes, not one string: [{remove!r}]")
    if not isinstance(remove, Iterable):
        raise InvalidItem(f"remove must be names of attributes, not {remove!r:.200}")
    names = tuple(map(checked_name, remove))
    both = {*names} & {*changes}
    if both:
        raise InvalidItem(f"attributes cannot be both set and removed: {', '.join(sorted(both))}")
    return tuple(dict.fromkeys(names))


def _values(values: Mapping[str, Any] | None) -> StoredItem:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise InvalidExpression(f"values are {{':placeholder': value}}, not {values!r:.200}")
    return to_stored(values)
