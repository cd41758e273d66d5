"""The shapes of requests of the data plane and the control plane."""

from __future__ import annotations

from mynamo.gateway.model.shapes import (
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


LONG = Whole(java="Long")
KEY_NAME = Text(1, 255)

KEY_ELEMENT = structure(
    "KeySchemaElement", AttributeName_=KEY_NAME, KeyType_=one_of("HASH", "RANGE")
)
KEY_SCHEMA = ListOf(KEY_ELEMENT, 1, 2)
GLOBAL_KEY_SCHEMA = ListOf(KEY_ELEMENT, 1)
DEFINITIONS = ListOf(
    structure("AttributeDefinition", AttributeName_=KEY_NAME, AttributeType_=one_of("B", "N", "S"))
)
PROJECTION = structure(
    "Projection",
    ProjectionType=one_of("ALL", "INCLUDE", "KEYS_ONLY"),
    NonKeyAttributes=ListOf(Text(1, 255), 1, 20),
)
UNITS = Whole(1, java="Long")
THROUGHPUT = structure("ProvisionedThroughput", ReadCapacityUnits_=UNITS, WriteCapacityUnits_=UNITS)
ON_DEMAND = structure("OnDemandThroughput", MaxReadRequestUnits=LONG, MaxWriteRequestUnits=LONG)
WARM = structure("WarmThroughput", ReadUnitsPerSecond=LONG, WriteUnitsPerSecond=LONG)
BILLING_MODE = one_of("PROVISIONED", "PAY_PER_REQUEST")
STREAM = structure(
    "StreamSpecification",
    StreamEnabled_=FLAG,
    StreamViewType=one_of("NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES", "KEYS_ONLY"),
)
ENCRYPTION = structure(
    "SSESpecification", Enabled=FLAG, SSEType=one_of("AES256", "KMS"), KMSMasterKeyId=TEXT
)
TABLE_CLASS = one_of("STANDARD", "STANDARD_INFREQUENT_ACCESS")
TAG_KEY = Text(1, 128)
TAGS = ListOf(structure("Tag", Key_=TAG_KEY, Value_=Text(0, 256)))
ARN = Text(1, 1283)
TIME_TO_LIVE = structure("TimeToLiveSpecification", Enabled_=FLAG, AttributeName_=Text(1, 255))


def _global_index(name: str) -> Structure:
    return structure(
        name,
        IndexName_=NEW_NAME,
        KeySchema_=GLOBAL_KEY_SCHEMA,
        Projection_=PROJECTION,
        ProvisionedThroughput=THROUGHPUT,
        OnDemandThroughput=ON_DEMAND,
        WarmThroughput=WARM,
    )


LOCAL_INDEX = structure(
    "LocalSecondaryIndex", IndexName_=NEW_NAME, KeySchema_=KEY_SCHEMA, Projection_=PROJECTION
)
INDEX_UPDATE = structure(
    "GlobalSecondaryIndexUpdate",
    Update=structure(
        "UpdateGlobalSecondaryIndexAction",
        IndexName_=NEW_NAME,
        ProvisionedThroughput=THROUGHPUT,
        OnDemandThroughput=ON_DEMAND,
        WarmThroughput=WARM,
    ),
    Create=_global_index("CreateGlobalSecondaryIndexAction"),
    Delete=structure("DeleteGlobalSecondaryIndexAction", IndexName_=NEW_NAME),
)

TABLE_REQUESTS: dict[str, Structure] = {
    "CreateTable": structure(
        "CreateTableInput",
        AttributeDefinitions_=DEFINITIONS,
        TableName_=NEW_NAME,
        KeySchema_=KEY_SCHEMA,
        LocalSecondaryIndexes=ListOf(LOCAL_INDEX),
        GlobalSecondaryIndexes=ListOf(_global_index("GlobalSecondaryIndex")),
        BillingMode=BILLING_MODE,
        ProvisionedThroughput=THROUGHPUT,
        StreamSpecification=STREAM,
        SSESpecification=ENCRYPTION,
        Tags=TAGS,
        TableClass=TABLE_CLASS,
        DeletionProtectionEnabled=FLAG,
        WarmThroughput=WARM,
        ResourcePolicy=TEXT,
        OnDemandThroughput=ON_DEMAND,
        GlobalTableSourceArn=TEXT,
        GlobalTableSettingsReplicationMode=TEXT,
        VectorIndexes=ListOf(structure("VectorIndex")),
    ),
    "DeleteTable": structure("DeleteTableInput", TableName_=TABLE),
    "DescribeContinuousBackups": structure("DescribeContinuousBackupsInput", TableName_=TABLE),
    "DescribeEndpoints": structure("DescribeEndpointsRequest"),
    "DescribeLimits": structure("DescribeLimitsInput"),
    "DescribeTable": structure("DescribeTableInput", TableName_=TABLE),
    "DescribeTimeToLive": structure("DescribeTimeToLiveInput", TableName_=TABLE),
    "ListTables": structure(
        "ListTablesInput", ExclusiveStartTableName=NEW_NAME, Limit=Whole(1, 100)
    ),
    "ListTagsOfResource": structure("ListTagsOfResourceInput", ResourceArn_=ARN, NextToken=TEXT),
    "TagResource": structure("TagResourceInput", ResourceArn_=ARN, Tags_=TAGS),
    "UntagResource": structure("UntagResourceInput", ResourceArn_=ARN, TagKeys_=ListOf(TAG_KEY)),
    "UpdateContinuousBackups": structure(
        "UpdateContinuousBackupsInput",
        TableName_=TABLE,
        PointInTimeRecoverySpecification_=structure(
            "PointInTimeRecoverySpecification",
            PointInTimeRecoveryEnabled_=FLAG,
            RecoveryPeriodInDays=Whole(1, 35),
        ),
    ),
    "UpdateTable": structure(
        "UpdateTableInput",
        AttributeDefinitions=DEFINITIONS,
        TableName_=TABLE,
        BillingMode=BILLING_MODE,
        ProvisionedThroughput=THROUGHPUT,
        GlobalSecondaryIndexUpdates=ListOf(INDEX_UPDATE),
        StreamSpecification=STREAM,
        SSESpecification=ENCRYPTION,
        ReplicaUpdates=ListOf(structure("ReplicationGroupUpdate"), 1),
        TableClass=TABLE_CLASS,
        DeletionProtectionEnabled=FLAG,
        MultiRegionConsistency=one_of("EVENTUAL", "STRONG"),
        GlobalTableWitnessUpdates=ListOf(structure("GlobalTableWitnessGroupUpdate"), 1, 1),
        OnDemandThroughput=ON_DEMAND,
        WarmThroughput=WARM,
        GlobalTableSettingsReplicationMode=TEXT,
        DisassociationProtectionEnabled=FLAG,
        VectorIndexUpdates=ListOf(structure("VectorIndexUpdate")),
    ),
    "UpdateTimeToLive": structure(
        "UpdateTimeToLiveInput", TableName_=TABLE, TimeToLiveSpecification_=TIME_TO_LIVE
    ),
}
"""By operation."""
