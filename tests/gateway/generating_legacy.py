"""Random uses of the parameters that expressions replaced."""

from __future__ import annotations

from tests.gateway.generating_values import Making
from tests.gateway.legacy_requests import OldCondition
from tests.gateway.model_expressions import Path, Tree
from tests.gateway.model_values import SETS, Value

_COMPARED = ("LT", "LE", "GT", "GE", "BEGINS_WITH", "BETWEEN", "IN", "CONTAINS", "NOT_CONTAINS")


def old_condition(making: Making) -> OldCondition:
    """Of one to three attributes that the making may look at."""
    names = making.random.sample(
        [*making.names, *making.keys], min(making.random.randint(1, 3), len(making.names))
    )
    parts = {name: _part(making, name) for name in names}
    joint = making.random.choice((None, "AND", "OR")) if len(parts) > 1 else None
    return OldCondition(joint, parts)


def _part(making: Making, name: str) -> tuple[str, list[Value]]:
    there = making.about.get(name)
    if making.chance(0.25):
        return making.random.choice(("NULL", "NOT_NULL")), []
    if making.chance(0.5):
        value = there if there and making.chance(0.7) else making.value()
        return making.random.choice(("EQ", "EQ", "NE")), [value]
    kind = there[0] if there and there[0] in ("S", "N", "B") else making.random.choice("SNB")
    operator = making.random.choice(_COMPARED)
    if operator == "BEGINS_WITH" and kind == "N":
        kind = "S"
    values = [making.value_of(kind) for _ in range(3)]
    if there and there[0] == kind and making.chance(0.5):
        values[0] = there
    if operator == "BETWEEN":
        return operator, sorted(values)[:2]
    return operator, values if operator == "IN" else values[:1]


def old_actions(making: Making) -> list[Tree]:
    """Of one to three whole attributes."""
    names = making.random.sample(making.names, making.random.randint(1, 3))
    return [_action(making, (name,)) for name in names]


def _action(making: Making, path: Path) -> Tree:
    old = making.about.get(str(path[0]))
    kind = old[0] if old and making.chance(0.8) else making.random.choice(("N", "L", *SETS))
    if kind in SETS and making.chance(0.3):
        return "DELETE", path, making.value_of(kind)
    if kind in ("N", "L", *SETS) and making.chance(0.6):
        return "ADD", path, making.value_of(kind)
    if making.chance(0.3):
        return "REMOVE", path
    return "SET", path, ("value", making.value())


def old_paths(making: Making) -> list[Path]:
    """Whole attributes to show."""
    return [(name,) for name in making.random.sample([*making.names, *making.keys], 3)]
