"""Reading items: `Reader`, and the conditions on a sort key.

`StoredReader` is the same in stored form, in DynamoDB's terms, with `Query`, `Scan` and `Get`
for what it is asked and `StoredPage` and `Got` for what it answers.
"""

from mynamo.reader.arguments import ALL_ATTRIBUTES
from mynamo.reader.read_requests import (
    Explanation,
    Get,
    Got,
    Page,
    Plan,
    Query,
    Scan,
    Select,
    StoredPage,
)
from mynamo.reader.reader import Reader
from mynamo.reader.sort_conditions import (
    SortCondition,
    begins_with,
    between,
    equal,
    greater,
    greater_or_equal,
    less,
    less_or_equal,
)
from mynamo.reader.stored import StoredReader

__all__ = [
    "ALL_ATTRIBUTES",
    "Explanation",
    "Get",
    "Got",
    "Page",
    "Plan",
    "Query",
    "Reader",
    "Scan",
    "Select",
    "SortCondition",
    "StoredPage",
    "StoredReader",
    "begins_with",
    "between",
    "equal",
    "greater",
    "greater_or_equal",
    "less",
    "less_or_equal",
]
