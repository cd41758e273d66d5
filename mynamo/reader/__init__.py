"""Reading items: `Reader`, and the conditions on a sort key."""

from mynamo.reader.conditions import (
    SortCondition,
    begins_with,
    between,
    equal,
    greater,
    greater_or_equal,
    less,
    less_or_equal,
)
from mynamo.reader.pages import Explanation, Page, Plan
from mynamo.reader.projections import ALL_ATTRIBUTES
from mynamo.reader.reader import Reader

__all__ = [
    "ALL_ATTRIBUTES",
    "Explanation",
    "Page",
    "Plan",
    "Reader",
    "SortCondition",
    "begins_with",
    "between",
    "equal",
    "greater",
    "greater_or_equal",
    "less",
    "less_or_equal",
]
