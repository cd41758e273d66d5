"""What conditions are made of: operands and the predicates over them.

Every node is bound: it holds attribute names and stored values, no placeholders. They are
made from text by the binder, and from the parameters that expressions replaced by
`mynamo.expressions.legacy`. Operands answer `value(item)`, a value in stored form or None
where the item has none; predicates answer `holds(item)`. Neither raises.

Stored form is canonical, so equal values are equal dicts: numbers by value, sets
whatever order they came in, lists and maps deeply.
"""

from __future__ import annotations

from mynamo.expressions.operands import (
    Literal,
    Operand,
    Path,
    Size,
    Value,
    member,
    path_text,
)
from mynamo.expressions.predicates import (
    And,
    AttributeExists,
    AttributeNotExists,
    AttributeType,
    BeginsWith,
    Between,
    Comparison,
    Contains,
    In,
    Not,
    Or,
    Predicate,
    ordered,
)

__all__ = [
    "And",
    "AttributeExists",
    "AttributeNotExists",
    "AttributeType",
    "BeginsWith",
    "Between",
    "Comparison",
    "Contains",
    "In",
    "Literal",
    "Not",
    "Operand",
    "Or",
    "Path",
    "Predicate",
    "Size",
    "Value",
    "member",
    "ordered",
    "path_text",
]
