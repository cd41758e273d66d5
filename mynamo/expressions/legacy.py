"""The parameters that expressions replaced, translated onto the same nodes.

    condition_of_expected(expected, conditional_operator)         -> Condition
    condition_of_filter(conditions, conditional_operator, kind)   -> Condition
    update_of_attribute_updates(updates)                          -> Update
    key_conditions_of(key_conditions)                             -> KeyCondition, ...
    projection_of_attributes(names)                               -> Projection

They take the request's JSON, whose types have been checked but not its values. Each
raises InvalidExpression or, for what is wrong with a single attribute value, InvalidItem,
both with DynamoDB's message. Source: Amazon DynamoDB Developer Guide, "Legacy conditional
parameters"; where it is silent, what the service answers.
"""

from mynamo.expressions.legacy_conditions import (
    condition_of_expected,
    condition_of_filter,
    key_conditions_of,
)
from mynamo.expressions.legacy_updates import projection_of_attributes, update_of_attribute_updates

__all__ = [
    "condition_of_expected",
    "condition_of_filter",
    "key_conditions_of",
    "projection_of_attributes",
    "update_of_attribute_updates",
]
