"""DynamoDB's expressions: parsed once, evaluated on items in stored form.

    Placeholders(names, values)              what #name and :value stand for in a request
    parse_condition(text, placeholders)      -> Condition       .holds(item)
    parse_update(text, placeholders)         -> Update          .apply(item), .touched(item)
    parse_projection(text, placeholders)     -> Projection      .of(item)
    parse_key_condition(text, placeholders)  -> KeyCondition, ...

What conditions and updates are made of is in `nodes` and `actions`.
"""

from mynamo.expressions.conditions import Condition, parse_condition
from mynamo.expressions.key_conditions import KeyCondition, parse_key_condition
from mynamo.expressions.placeholders import Placeholders, checked_names
from mynamo.expressions.projections import Projection, parse_projection
from mynamo.expressions.updates import Update, parse_update

__all__ = [
    "Condition",
    "KeyCondition",
    "Placeholders",
    "Projection",
    "Update",
    "checked_names",
    "parse_condition",
    "parse_key_condition",
    "parse_projection",
    "parse_update",
]
