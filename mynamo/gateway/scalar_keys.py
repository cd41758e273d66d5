"""Key attributes are scalars: a document path cannot lead into one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mynamo.expressions import Condition, Projection, Update
from mynamo.expressions.actions import Set
from mynamo.gateway.errors import invalid
from mynamo.shards.tables import Table

Expression = Condition | Projection | Update


def check_scalar_keys(table: Table, *expressions: Expression | None) -> None:
    """Refuse document paths into key attributes of the table or of any of its indexes.

    Raises:
        ServiceError: there is one.
    """
    parts = [set() if each is None else set(_divided(each)) for each in expressions]
    if not any(parts):
        return
    keys = {"Key": table.key_names}
    keys |= {"IndexKey": tuple(name for index in table.indexes for name in index.key_names)}
    for divided in parts:
        for kind, names in keys.items():
            for name in names:
                if name in divided:
                    raise invalid(
                        "Key attributes must be scalars; list random access '[]' and map lookup "
                        f"'.' are not allowed: {kind}: {name}"
                    )


def _divided(expression: Expression) -> Iterator[str]:
    """The attributes of which an expression names a part, not the whole."""
    if isinstance(expression, Condition):
        yield from (path.name for path in expression.predicate.paths() if path.rest)
        return
    yield from (str(name) for name, part in expression.tree.items() if type(part) is dict)
    for action in _leaves(expression.tree):
        if isinstance(action, Set):
            yield from (path.name for path in action.operand.paths() if path.rest)


def _leaves(tree: dict[Any, Any]) -> Iterator[Any]:
    for branch in tree.values():
        if type(branch) is dict:
            yield from _leaves(branch)
        else:
            yield branch
