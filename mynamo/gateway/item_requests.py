"""What the requests of the data plane may look like."""

from __future__ import annotations

from mynamo.gateway.shapes import (
    FLAG,
    NEW_NAME,
    TABLE,
    TEXT,
    AttributeValue,
    ListOf,
    MapOf,
    Structure,
    Text,
    Whole,
    one_of,
    structure,
)

ATTRIBUTE_NAME = Text(None, 65535)
VALUE = AttributeValue()
ITEM = MapOf(VALUE)
"""Names of attributes are checked with the item."""
NAMES = MapOf(ATTRIBUTE_NAME)
VALUES = MapOf(VALUE)
ATTRIBUTES = ListOf(ATTRIBUTE_NAME, 1)
LIMIT = Whole(1, shown=False)

RETURN_VALUES = one_of("ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW")
ON_FAILURE = one_of("ALL_OLD", "NONE")
CAPACITY = one_of("INDEXES", "TOTAL", "NONE")
METRICS = one_of("SIZE", "NONE")
OPERATOR = one_of("OR", "AND")
SELECT = one_of(
    "SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES"
)  # fmt: skip
COMPARISON = one_of(
    "IN", "NULL", "BETWEEN", "LT", "NOT_CONTAINS", "EQ", "GT", "NOT_NULL", "NE", "LE",
    "BEGINS_WITH", "GE", "CONTAINS",
)  # fmt: skip

EXPECTED = MapOf(
    structure(
        "ExpectedAttributeValue",
        Value=VALUE,
        Exists=FLAG,
        ComparisonOperator=COMPARISON,
        AttributeValueList=ListOf(VALUE),
    ),
    ATTRIBUTE_NAME,
)
CONDITIONS = MapOf(
    structure("Condition", AttributeValueList=ListOf(VALUE), ComparisonOperator_=COMPARISON),
    ATTRIBUTE_NAME,
)
UPDATES = MapOf(
    structure("AttributeValueUpdate", Value=VALUE, Action=one_of("ADD", "DELETE", "PUT")),
    ATTRIBUTE_NAME,
)
KEYS_AND_ATTRIBUTES = structure(
    "KeysAndAttributes",
    Keys_=ListOf(ITEM, 1, 100, shown=False),
    AttributesToGet=ATTRIBUTES,
    ConsistentRead=FLAG,
    ProjectionExpression=TEXT,
    ExpressionAttributeNames=NAMES,
)
WRITE_REQUEST = structure(
    "WriteRequest",
    PutRequest=structure("PutRequest", Item_=ITEM),
    DeleteRequest=structure("DeleteRequest", Key_=ITEM),
)

ITEM_REQUESTS: dict[str, Structure] = {
    "BatchGetItem": structure(
        "BatchGetItemInput",
        RequestItems_=MapOf(KEYS_AND_ATTRIBUTES, TABLE, 1, 100),
        ReturnConsumedCapacity=CAPACITY,
    ),
    "BatchWriteItem": structure(
        "BatchWriteItemInput",
        RequestItems_=MapOf(ListOf(WRITE_REQUEST, 1, 25), TABLE, 1, 25),
        ReturnConsumedCapacity=CAPACITY,
        ReturnItemCollectionMetrics=METRICS,
    ),
    "DeleteItem": structure(
        "DeleteItemInput",
        TableName_=TABLE,
        Key_=ITEM,
        Expected=EXPECTED,
        ConditionalOperator=OPERATOR,
        ReturnValues=RETURN_VALUES,
        ReturnConsumedCapacity=CAPACITY,
        ReturnItemCollectionMetrics=METRICS,
        ConditionExpression=TEXT,
        ExpressionAttributeNames=NAMES,
        ExpressionAttributeValues=VALUES,
        ReturnValuesOnConditionCheckFailure=ON_FAILURE,
    ),
    "GetItem": structure(
        "GetItemInput",
        TableName_=TABLE,
        Key_=ITEM,
        AttributesToGet=ATTRIBUTES,
        ConsistentRead=FLAG,
        ReturnConsumedCapacity=CAPACITY,
        ProjectionExpression=TEXT,
        ExpressionAttributeNames=NAMES,
    ),
    "PutItem": structure(
        "PutItemInput",
        TableName_=TABLE,
        Item_=ITEM,
        Expected=EXPECTED,
        ReturnValues=RETURN_VALUES,
        ReturnConsumedCapacity=CAPACITY,
        ReturnItemCollectionMetrics=METRICS,
        ConditionalOperator=OPERATOR,
        ConditionExpression=TEXT,
        ExpressionAttributeNames=NAMES,
        ExpressionAttributeValues=VALUES,
        ReturnValuesOnConditionCheckFailure=ON_FAILURE,
    ),
    "Query": structure(
        "QueryInput",
        TableName_=TABLE,
        IndexName=NEW_NAME,
        Select=SELECT,
        AttributesToGet=ATTRIBUTES,
        Limit=LIMIT,
        ConsistentRead=FLAG,
        KeyConditions=CONDITIONS,
        QueryFilter=CONDITIONS,
        ConditionalOperator=OPERATOR,
        ScanIndexForward=FLAG,
        ExclusiveStartKey=ITEM,
        ReturnConsumedCapacity=CAPACITY,
        ProjectionExpression=TEXT,
        FilterExpression=TEXT,
        KeyConditionExpression=TEXT,
        ExpressionAttributeNames=NAMES,
        ExpressionAttributeValues=VALUES,
    ),
    "Scan": structure(
        "ScanInput",
        TableName_=TABLE,
        IndexName=NEW_NAME,
        AttributesToGet=ATTRIBUTES,
        Limit=LIMIT,
        Select=SELECT,
        ScanFilter=CONDITIONS,
        ConditionalOperator=OPERATOR,
        ExclusiveStartKey=ITEM,
        ReturnConsumedCapacity=CAPACITY,
        TotalSegments=Whole(1, 1000000),
        Segment=Whole(0, 999999),
        ProjectionExpression=TEXT,
        FilterExpression=TEXT,
        ExpressionAttributeNames=NAMES,
        ExpressionAttributeValues=VALUES,
        ConsistentRead=FLAG,
    ),
    "UpdateItem": structure(
        "UpdateItemInput",
        TableName_=TABLE,
        Key_=ITEM,
        AttributeUpdates=UPDATES,
        Expected=EXPECTED,
        ConditionalOperator=OPERATOR,
        ReturnValues=RETURN_VALUES,
        ReturnConsumedCapacity=CAPACITY,
        ReturnItemCollectionMetrics=METRICS,
        UpdateExpression=TEXT,
        ConditionExpression=TEXT,
        ExpressionAttributeNames=NAMES,
        ExpressionAttributeValues=VALUES,
        ReturnValuesOnConditionCheckFailure=ON_FAILURE,
    ),
}
"""By operation."""
