"""The shapes of the requests of every operation.

`tools/request_shapes.py` writes this file from AWS's public model of the API; do not edit it.
"""

from __future__ import annotations

from mynamo.gateway.model.shapes import (
    FLAG,
    MOMENT,
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

TABLE_ARN = Text(least=3, most=255, pattern="[a-zA-Z0-9_.-]+", or_arn=True)
ATTRIBUTE_VALUE = AttributeValue()
KEY = MapOf(ATTRIBUTE_VALUE)
KEY_LIST = ListOf(KEY, least=1, most=100, shown=False)
ATTRIBUTE_NAME = Text(most=65535)
ATTRIBUTE_NAME_LIST = ListOf(ATTRIBUTE_NAME, least=1)
EXPRESSION_ATTRIBUTE_NAME_MAP = MapOf(ATTRIBUTE_NAME)
KEYS_AND_ATTRIBUTES = structure(
    "KeysAndAttributes",
    Keys_=KEY_LIST,
    AttributesToGet=ATTRIBUTE_NAME_LIST,
    ConsistentRead=FLAG,
    ProjectionExpression=TEXT,
    ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
)
BATCH_GET_REQUEST_MAP = MapOf(KEYS_AND_ATTRIBUTES, key=TABLE_ARN, least=1, most=100)
RETURN_CONSUMED_CAPACITY = one_of("INDEXES", "TOTAL", "NONE")
PUT_ITEM_INPUT_ATTRIBUTE_MAP = MapOf(ATTRIBUTE_VALUE)
PUT_REQUEST = structure(
    "PutRequest",
    Item_=PUT_ITEM_INPUT_ATTRIBUTE_MAP,
)
DELETE_REQUEST = structure(
    "DeleteRequest",
    Key_=KEY,
)
WRITE_REQUEST = structure(
    "WriteRequest",
    PutRequest=PUT_REQUEST,
    DeleteRequest=DELETE_REQUEST,
)
WRITE_REQUESTS = ListOf(WRITE_REQUEST, least=1, most=25)
BATCH_WRITE_ITEM_REQUEST_MAP = MapOf(WRITE_REQUESTS, key=TABLE_ARN, least=1, most=25)
RETURN_ITEM_COLLECTION_METRICS = one_of("SIZE", "NONE")
COMPARISON_OPERATOR = one_of(
    "IN",
    "NULL",
    "BETWEEN",
    "LT",
    "NOT_CONTAINS",
    "EQ",
    "GT",
    "NOT_NULL",
    "NE",
    "LE",
    "BEGINS_WITH",
    "GE",
    "CONTAINS",
)
ATTRIBUTE_VALUE_LIST = ListOf(ATTRIBUTE_VALUE)
EXPECTED_ATTRIBUTE_VALUE = structure(
    "ExpectedAttributeValue",
    Value=ATTRIBUTE_VALUE,
    Exists=FLAG,
    ComparisonOperator=COMPARISON_OPERATOR,
    AttributeValueList=ATTRIBUTE_VALUE_LIST,
)
EXPECTED_ATTRIBUTE_MAP = MapOf(EXPECTED_ATTRIBUTE_VALUE, key=ATTRIBUTE_NAME)
CONDITIONAL_OPERATOR = one_of("OR", "AND")
RETURN_VALUE = one_of("ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW")
EXPRESSION_ATTRIBUTE_VALUE_MAP = MapOf(ATTRIBUTE_VALUE)
RETURN_VALUES_ON_CONDITION_CHECK_FAILURE = one_of("ALL_OLD", "NONE")
INDEX_NAME = Text(least=3, most=255, pattern="[a-zA-Z0-9_.-]+")
SELECT = one_of("SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES")
POSITIVE_INTEGER_OBJECT = Whole(least=1, shown=False)
CONDITION = structure(
    "Condition",
    AttributeValueList=ATTRIBUTE_VALUE_LIST,
    ComparisonOperator_=COMPARISON_OPERATOR,
)
KEY_CONDITIONS = MapOf(CONDITION, key=ATTRIBUTE_NAME)
FILTER_CONDITION_MAP = MapOf(CONDITION, key=ATTRIBUTE_NAME)
SCAN_TOTAL_SEGMENTS = Whole(least=1, most=1000000)
SCAN_SEGMENT = Whole(least=0, most=999999)
GET = structure(
    "Get",
    Key_=KEY,
    TableName_=TABLE_ARN,
    ProjectionExpression=TEXT,
    ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
)
TRANSACT_GET_ITEM = structure(
    "TransactGetItem",
    Get_=GET,
)
TRANSACT_GET_ITEM_LIST = ListOf(TRANSACT_GET_ITEM, least=1, most=100)
CONDITION_CHECK = structure(
    "ConditionCheck",
    Key_=KEY,
    TableName_=TABLE_ARN,
    ConditionExpression_=TEXT,
    ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
    ExpressionAttributeValues=EXPRESSION_ATTRIBUTE_VALUE_MAP,
    ReturnValuesOnConditionCheckFailure=RETURN_VALUES_ON_CONDITION_CHECK_FAILURE,
)
PUT = structure(
    "Put",
    Item_=PUT_ITEM_INPUT_ATTRIBUTE_MAP,
    TableName_=TABLE_ARN,
    ConditionExpression=TEXT,
    ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
    ExpressionAttributeValues=EXPRESSION_ATTRIBUTE_VALUE_MAP,
    ReturnValuesOnConditionCheckFailure=RETURN_VALUES_ON_CONDITION_CHECK_FAILURE,
)
DELETE = structure(
    "Delete",
    Key_=KEY,
    TableName_=TABLE_ARN,
    ConditionExpression=TEXT,
    ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
    ExpressionAttributeValues=EXPRESSION_ATTRIBUTE_VALUE_MAP,
    ReturnValuesOnConditionCheckFailure=RETURN_VALUES_ON_CONDITION_CHECK_FAILURE,
)
UPDATE = structure(
    "Update",
    Key_=KEY,
    UpdateExpression_=TEXT,
    TableName_=TABLE_ARN,
    ConditionExpression=TEXT,
    ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
    ExpressionAttributeValues=EXPRESSION_ATTRIBUTE_VALUE_MAP,
    ReturnValuesOnConditionCheckFailure=RETURN_VALUES_ON_CONDITION_CHECK_FAILURE,
)
TRANSACT_WRITE_ITEM = structure(
    "TransactWriteItem",
    ConditionCheck=CONDITION_CHECK,
    Put=PUT,
    Delete=DELETE,
    Update=UPDATE,
)
TRANSACT_WRITE_ITEM_LIST = ListOf(TRANSACT_WRITE_ITEM, least=1, most=100)
CLIENT_REQUEST_TOKEN = Text(least=1, most=36)
ATTRIBUTE_ACTION = one_of("ADD", "DELETE", "PUT")
ATTRIBUTE_VALUE_UPDATE = structure(
    "AttributeValueUpdate",
    Value=ATTRIBUTE_VALUE,
    Action=ATTRIBUTE_ACTION,
)
ATTRIBUTE_UPDATES = MapOf(ATTRIBUTE_VALUE_UPDATE, key=ATTRIBUTE_NAME)
KEY_SCHEMA_ATTRIBUTE_NAME = Text(least=1, most=255)
SCALAR_ATTRIBUTE_TYPE = one_of("B", "N", "S")
ATTRIBUTE_DEFINITION = structure(
    "AttributeDefinition",
    AttributeName_=KEY_SCHEMA_ATTRIBUTE_NAME,
    AttributeType_=SCALAR_ATTRIBUTE_TYPE,
)
ATTRIBUTE_DEFINITIONS = ListOf(ATTRIBUTE_DEFINITION)
TABLE_NAME = Text(least=3, most=255, pattern="[a-zA-Z0-9_.-]+")
KEY_TYPE = one_of("HASH", "RANGE")
KEY_SCHEMA_ELEMENT = structure(
    "KeySchemaElement",
    AttributeName_=KEY_SCHEMA_ATTRIBUTE_NAME,
    KeyType_=KEY_TYPE,
)
TABLE_KEY_SCHEMA = ListOf(KEY_SCHEMA_ELEMENT, least=1, most=2)
PROJECTION_TYPE = one_of("ALL", "INCLUDE", "KEYS_ONLY")
NON_KEY_ATTRIBUTE_NAME = Text(least=1, most=255)
NON_KEY_ATTRIBUTE_NAME_LIST = ListOf(NON_KEY_ATTRIBUTE_NAME, least=1, most=20)
PROJECTION = structure(
    "Projection",
    ProjectionType=PROJECTION_TYPE,
    NonKeyAttributes=NON_KEY_ATTRIBUTE_NAME_LIST,
)
LOCAL_SECONDARY_INDEX = structure(
    "LocalSecondaryIndex",
    IndexName_=INDEX_NAME,
    KeySchema_=TABLE_KEY_SCHEMA,
    Projection_=PROJECTION,
)
LOCAL_SECONDARY_INDEX_LIST = ListOf(LOCAL_SECONDARY_INDEX)
KEY_SCHEMA = ListOf(KEY_SCHEMA_ELEMENT, least=1)
POSITIVE_LONG_OBJECT = Whole(least=1, java="Long")
PROVISIONED_THROUGHPUT = structure(
    "ProvisionedThroughput",
    ReadCapacityUnits_=POSITIVE_LONG_OBJECT,
    WriteCapacityUnits_=POSITIVE_LONG_OBJECT,
)
LONG_OBJECT = Whole(java="Long")
ON_DEMAND_THROUGHPUT = structure(
    "OnDemandThroughput",
    MaxReadRequestUnits=LONG_OBJECT,
    MaxWriteRequestUnits=LONG_OBJECT,
)
WARM_THROUGHPUT = structure(
    "WarmThroughput",
    ReadUnitsPerSecond=LONG_OBJECT,
    WriteUnitsPerSecond=LONG_OBJECT,
)
GLOBAL_SECONDARY_INDEX = structure(
    "GlobalSecondaryIndex",
    IndexName_=INDEX_NAME,
    KeySchema_=KEY_SCHEMA,
    Projection_=PROJECTION,
    ProvisionedThroughput=PROVISIONED_THROUGHPUT,
    OnDemandThroughput=ON_DEMAND_THROUGHPUT,
    WarmThroughput=WARM_THROUGHPUT,
)
GLOBAL_SECONDARY_INDEX_LIST = ListOf(GLOBAL_SECONDARY_INDEX)
BILLING_MODE = one_of("PROVISIONED", "PAY_PER_REQUEST")
STREAM_VIEW_TYPE = one_of("NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES", "KEYS_ONLY")
STREAM_SPECIFICATION = structure(
    "StreamSpecification",
    StreamEnabled_=FLAG,
    StreamViewType=STREAM_VIEW_TYPE,
)
SSE_TYPE = one_of("AES256", "KMS")
SSE_SPECIFICATION = structure(
    "SSESpecification",
    Enabled=FLAG,
    SSEType=SSE_TYPE,
    KMSMasterKeyId=TEXT,
)
TAG_KEY_STRING = Text(least=1, most=128)
TAG_VALUE_STRING = Text(least=0, most=256)
TAG = structure(
    "Tag",
    Key_=TAG_KEY_STRING,
    Value_=TAG_VALUE_STRING,
)
TAG_LIST = ListOf(TAG)
TABLE_CLASS = one_of("STANDARD", "STANDARD_INFREQUENT_ACCESS")
GLOBAL_TABLE_SETTINGS_REPLICATION_MODE = one_of("ENABLED", "DISABLED", "ENABLED_WITH_OVERRIDES")
VECTOR_ATTRIBUTE_NAME = Text(least=1, most=255)
VECTOR_ATTRIBUTE_DEFINITION = structure(
    "VectorAttributeDefinition",
    AttributeName_=VECTOR_ATTRIBUTE_NAME,
)
SEARCH_SCHEMA_ELEMENT_TYPE = one_of("HASH", "INLINE_FILTER")
SEARCH_SCHEMA_ELEMENT = structure(
    "SearchSchemaElement",
    AttributeName_=ATTRIBUTE_NAME,
    SearchSchemaElementType_=SEARCH_SCHEMA_ELEMENT_TYPE,
)
SEARCH_SCHEMA = ListOf(SEARCH_SCHEMA_ELEMENT, least=1)
VECTOR_DISTANCE_FUNCTION = one_of("COSINE", "DOT_PRODUCT", "EUCLIDEAN")
VECTOR_INDEX = structure(
    "VectorIndex",
    IndexName_=INDEX_NAME,
    VectorAttribute_=VECTOR_ATTRIBUTE_DEFINITION,
    SearchSchema=SEARCH_SCHEMA,
    Projection_=PROJECTION,
    Dimensions_=POSITIVE_LONG_OBJECT,
    DistanceFunction_=VECTOR_DISTANCE_FUNCTION,
)
VECTOR_INDEX_LIST = ListOf(VECTOR_INDEX)
LIST_TABLES_INPUT_LIMIT = Whole(least=1, most=100)
RESOURCE_ARN_STRING = Text(least=1, most=1283)
TAG_KEY_LIST = ListOf(TAG_KEY_STRING)
RECOVERY_PERIOD_IN_DAYS = Whole(least=1, most=35)
POINT_IN_TIME_RECOVERY_SPECIFICATION = structure(
    "PointInTimeRecoverySpecification",
    PointInTimeRecoveryEnabled_=FLAG,
    RecoveryPeriodInDays=RECOVERY_PERIOD_IN_DAYS,
)
UPDATE_GLOBAL_SECONDARY_INDEX_ACTION = structure(
    "UpdateGlobalSecondaryIndexAction",
    IndexName_=INDEX_NAME,
    ProvisionedThroughput=PROVISIONED_THROUGHPUT,
    OnDemandThroughput=ON_DEMAND_THROUGHPUT,
    WarmThroughput=WARM_THROUGHPUT,
)
CREATE_GLOBAL_SECONDARY_INDEX_ACTION = structure(
    "CreateGlobalSecondaryIndexAction",
    IndexName_=INDEX_NAME,
    KeySchema_=KEY_SCHEMA,
    Projection_=PROJECTION,
    ProvisionedThroughput=PROVISIONED_THROUGHPUT,
    OnDemandThroughput=ON_DEMAND_THROUGHPUT,
    WarmThroughput=WARM_THROUGHPUT,
)
DELETE_GLOBAL_SECONDARY_INDEX_ACTION = structure(
    "DeleteGlobalSecondaryIndexAction",
    IndexName_=INDEX_NAME,
)
GLOBAL_SECONDARY_INDEX_UPDATE = structure(
    "GlobalSecondaryIndexUpdate",
    Update=UPDATE_GLOBAL_SECONDARY_INDEX_ACTION,
    Create=CREATE_GLOBAL_SECONDARY_INDEX_ACTION,
    Delete=DELETE_GLOBAL_SECONDARY_INDEX_ACTION,
)
GLOBAL_SECONDARY_INDEX_UPDATE_LIST = ListOf(GLOBAL_SECONDARY_INDEX_UPDATE)
PROVISIONED_THROUGHPUT_OVERRIDE = structure(
    "ProvisionedThroughputOverride",
    ReadCapacityUnits=POSITIVE_LONG_OBJECT,
)
ON_DEMAND_THROUGHPUT_OVERRIDE = structure(
    "OnDemandThroughputOverride",
    MaxReadRequestUnits=LONG_OBJECT,
)
REPLICA_GLOBAL_SECONDARY_INDEX = structure(
    "ReplicaGlobalSecondaryIndex",
    IndexName_=INDEX_NAME,
    ProvisionedThroughputOverride=PROVISIONED_THROUGHPUT_OVERRIDE,
    OnDemandThroughputOverride=ON_DEMAND_THROUGHPUT_OVERRIDE,
)
REPLICA_GLOBAL_SECONDARY_INDEX_LIST = ListOf(REPLICA_GLOBAL_SECONDARY_INDEX, least=1)
CREATE_REPLICATION_GROUP_MEMBER_ACTION = structure(
    "CreateReplicationGroupMemberAction",
    RegionName_=TEXT,
    KMSMasterKeyId=TEXT,
    ProvisionedThroughputOverride=PROVISIONED_THROUGHPUT_OVERRIDE,
    OnDemandThroughputOverride=ON_DEMAND_THROUGHPUT_OVERRIDE,
    GlobalSecondaryIndexes=REPLICA_GLOBAL_SECONDARY_INDEX_LIST,
    TableClassOverride=TABLE_CLASS,
)
UPDATE_REPLICATION_GROUP_MEMBER_ACTION = structure(
    "UpdateReplicationGroupMemberAction",
    RegionName_=TEXT,
    KMSMasterKeyId=TEXT,
    ProvisionedThroughputOverride=PROVISIONED_THROUGHPUT_OVERRIDE,
    OnDemandThroughputOverride=ON_DEMAND_THROUGHPUT_OVERRIDE,
    GlobalSecondaryIndexes=REPLICA_GLOBAL_SECONDARY_INDEX_LIST,
    TableClassOverride=TABLE_CLASS,
)
DELETE_REPLICATION_GROUP_MEMBER_ACTION = structure(
    "DeleteReplicationGroupMemberAction",
    RegionName_=TEXT,
)
DISASSOCIATION_MODE = one_of("WAIT_FOR_REPLICATION")
DISASSOCIATE_REPLICATION_GROUP_MEMBER_ACTION = structure(
    "DisassociateReplicationGroupMemberAction",
    RegionName_=TEXT,
    DisassociationMode_=DISASSOCIATION_MODE,
)
REPLICATION_GROUP_UPDATE = structure(
    "ReplicationGroupUpdate",
    Create=CREATE_REPLICATION_GROUP_MEMBER_ACTION,
    Update=UPDATE_REPLICATION_GROUP_MEMBER_ACTION,
    Delete=DELETE_REPLICATION_GROUP_MEMBER_ACTION,
    Disassociate=DISASSOCIATE_REPLICATION_GROUP_MEMBER_ACTION,
)
REPLICATION_GROUP_UPDATE_LIST = ListOf(REPLICATION_GROUP_UPDATE, least=1)
MULTI_REGION_CONSISTENCY = one_of("EVENTUAL", "STRONG")
CREATE_GLOBAL_TABLE_WITNESS_GROUP_MEMBER_ACTION = structure(
    "CreateGlobalTableWitnessGroupMemberAction",
    RegionName_=TEXT,
)
DELETE_GLOBAL_TABLE_WITNESS_GROUP_MEMBER_ACTION = structure(
    "DeleteGlobalTableWitnessGroupMemberAction",
    RegionName_=TEXT,
)
GLOBAL_TABLE_WITNESS_GROUP_UPDATE = structure(
    "GlobalTableWitnessGroupUpdate",
    Create=CREATE_GLOBAL_TABLE_WITNESS_GROUP_MEMBER_ACTION,
    Delete=DELETE_GLOBAL_TABLE_WITNESS_GROUP_MEMBER_ACTION,
)
GLOBAL_TABLE_WITNESS_GROUP_UPDATE_LIST = ListOf(GLOBAL_TABLE_WITNESS_GROUP_UPDATE, least=1, most=1)
CREATE_VECTOR_INDEX_ACTION = structure(
    "CreateVectorIndexAction",
    IndexName_=INDEX_NAME,
    VectorAttribute_=VECTOR_ATTRIBUTE_DEFINITION,
    SearchSchema=SEARCH_SCHEMA,
    Projection_=PROJECTION,
    Dimensions_=POSITIVE_LONG_OBJECT,
    DistanceFunction_=VECTOR_DISTANCE_FUNCTION,
)
DELETE_VECTOR_INDEX_ACTION = structure(
    "DeleteVectorIndexAction",
    IndexName_=INDEX_NAME,
)
VECTOR_INDEX_UPDATE = structure(
    "VectorIndexUpdate",
    Create=CREATE_VECTOR_INDEX_ACTION,
    Delete=DELETE_VECTOR_INDEX_ACTION,
)
VECTOR_INDEX_UPDATE_LIST = ListOf(VECTOR_INDEX_UPDATE)
TIME_TO_LIVE_ATTRIBUTE_NAME = Text(least=1, most=255)
TIME_TO_LIVE_SPECIFICATION = structure(
    "TimeToLiveSpecification",
    Enabled_=FLAG,
    AttributeName_=TIME_TO_LIVE_ATTRIBUTE_NAME,
)
STREAM_ARN = Text(least=37, most=1024)
LIMIT_OF100 = Whole(least=1, most=100)
SHARD_ID = Text(least=28, most=65)
SHARD_FILTER_TYPE = one_of("CHILD_SHARDS")
SHARD_FILTER = structure(
    "ShardFilter",
    Type=SHARD_FILTER_TYPE,
    ShardId=SHARD_ID,
)
SHARD_ITERATOR = Text(least=1, most=2048)
LIMIT_OF1000 = Whole(least=1, most=1000)
SHARD_ITERATOR_TYPE = one_of(
    "TRIM_HORIZON",
    "LATEST",
    "AT_SEQUENCE_NUMBER",
    "AFTER_SEQUENCE_NUMBER",
    "AT_TIMESTAMP",
)
SEQUENCE_NUMBER = Text(least=21, most=40)

ITEM_REQUESTS: dict[str, Structure] = {
    "BatchGetItem": structure(
        "BatchGetItemInput",
        RequestItems_=BATCH_GET_REQUEST_MAP,
        ReturnConsumedCapacity=RETURN_CONSUMED_CAPACITY,
    ),
    "BatchWriteItem": structure(
        "BatchWriteItemInput",
        RequestItems_=BATCH_WRITE_ITEM_REQUEST_MAP,
        ReturnConsumedCapacity=RETURN_CONSUMED_CAPACITY,
        ReturnItemCollectionMetrics=RETURN_ITEM_COLLECTION_METRICS,
    ),
    "DeleteItem": structure(
        "DeleteItemInput",
        TableName_=TABLE_ARN,
        Key_=KEY,
        Expected=EXPECTED_ATTRIBUTE_MAP,
        ConditionalOperator=CONDITIONAL_OPERATOR,
        ReturnValues=RETURN_VALUE,
        ReturnConsumedCapacity=RETURN_CONSUMED_CAPACITY,
        ReturnItemCollectionMetrics=RETURN_ITEM_COLLECTION_METRICS,
        ConditionExpression=TEXT,
        ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
        ExpressionAttributeValues=EXPRESSION_ATTRIBUTE_VALUE_MAP,
        ReturnValuesOnConditionCheckFailure=RETURN_VALUES_ON_CONDITION_CHECK_FAILURE,
    ),
    "GetItem": structure(
        "GetItemInput",
        TableName_=TABLE_ARN,
        Key_=KEY,
        AttributesToGet=ATTRIBUTE_NAME_LIST,
        ConsistentRead=FLAG,
        ReturnConsumedCapacity=RETURN_CONSUMED_CAPACITY,
        ProjectionExpression=TEXT,
        ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
    ),
    "PutItem": structure(
        "PutItemInput",
        TableName_=TABLE_ARN,
        Item_=PUT_ITEM_INPUT_ATTRIBUTE_MAP,
        Expected=EXPECTED_ATTRIBUTE_MAP,
        ReturnValues=RETURN_VALUE,
        ReturnConsumedCapacity=RETURN_CONSUMED_CAPACITY,
        ReturnItemCollectionMetrics=RETURN_ITEM_COLLECTION_METRICS,
        ConditionalOperator=CONDITIONAL_OPERATOR,
        ConditionExpression=TEXT,
        ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
        ExpressionAttributeValues=EXPRESSION_ATTRIBUTE_VALUE_MAP,
        ReturnValuesOnConditionCheckFailure=RETURN_VALUES_ON_CONDITION_CHECK_FAILURE,
    ),
    "Query": structure(
        "QueryInput",
        TableName_=TABLE_ARN,
        IndexName=INDEX_NAME,
        Select=SELECT,
        AttributesToGet=ATTRIBUTE_NAME_LIST,
        Limit=POSITIVE_INTEGER_OBJECT,
        ConsistentRead=FLAG,
        KeyConditions=KEY_CONDITIONS,
        QueryFilter=FILTER_CONDITION_MAP,
        ConditionalOperator=CONDITIONAL_OPERATOR,
        ScanIndexForward=FLAG,
        ExclusiveStartKey=KEY,
        ReturnConsumedCapacity=RETURN_CONSUMED_CAPACITY,
        ProjectionExpression=TEXT,
        FilterExpression=TEXT,
        KeyConditionExpression=TEXT,
        ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
        ExpressionAttributeValues=EXPRESSION_ATTRIBUTE_VALUE_MAP,
    ),
    "Scan": structure(
        "ScanInput",
        TableName_=TABLE_ARN,
        IndexName=INDEX_NAME,
        AttributesToGet=ATTRIBUTE_NAME_LIST,
        Limit=POSITIVE_INTEGER_OBJECT,
        Select=SELECT,
        ScanFilter=FILTER_CONDITION_MAP,
        ConditionalOperator=CONDITIONAL_OPERATOR,
        ExclusiveStartKey=KEY,
        ReturnConsumedCapacity=RETURN_CONSUMED_CAPACITY,
        TotalSegments=SCAN_TOTAL_SEGMENTS,
        Segment=SCAN_SEGMENT,
        ProjectionExpression=TEXT,
        FilterExpression=TEXT,
        ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
        ExpressionAttributeValues=EXPRESSION_ATTRIBUTE_VALUE_MAP,
        ConsistentRead=FLAG,
    ),
    "TransactGetItems": structure(
        "TransactGetItemsInput",
        TransactItems_=TRANSACT_GET_ITEM_LIST,
        ReturnConsumedCapacity=RETURN_CONSUMED_CAPACITY,
    ),
    "TransactWriteItems": structure(
        "TransactWriteItemsInput",
        TransactItems_=TRANSACT_WRITE_ITEM_LIST,
        ReturnConsumedCapacity=RETURN_CONSUMED_CAPACITY,
        ReturnItemCollectionMetrics=RETURN_ITEM_COLLECTION_METRICS,
        ClientRequestToken=CLIENT_REQUEST_TOKEN,
    ),
    "UpdateItem": structure(
        "UpdateItemInput",
        TableName_=TABLE_ARN,
        Key_=KEY,
        AttributeUpdates=ATTRIBUTE_UPDATES,
        Expected=EXPECTED_ATTRIBUTE_MAP,
        ConditionalOperator=CONDITIONAL_OPERATOR,
        ReturnValues=RETURN_VALUE,
        ReturnConsumedCapacity=RETURN_CONSUMED_CAPACITY,
        ReturnItemCollectionMetrics=RETURN_ITEM_COLLECTION_METRICS,
        UpdateExpression=TEXT,
        ConditionExpression=TEXT,
        ExpressionAttributeNames=EXPRESSION_ATTRIBUTE_NAME_MAP,
        ExpressionAttributeValues=EXPRESSION_ATTRIBUTE_VALUE_MAP,
        ReturnValuesOnConditionCheckFailure=RETURN_VALUES_ON_CONDITION_CHECK_FAILURE,
    ),
}
"""By operation."""

TABLE_REQUESTS: dict[str, Structure] = {
    "CreateTable": structure(
        "CreateTableInput",
        AttributeDefinitions_=ATTRIBUTE_DEFINITIONS,
        TableName_=TABLE_NAME,
        KeySchema_=TABLE_KEY_SCHEMA,
        LocalSecondaryIndexes=LOCAL_SECONDARY_INDEX_LIST,
        GlobalSecondaryIndexes=GLOBAL_SECONDARY_INDEX_LIST,
        BillingMode=BILLING_MODE,
        ProvisionedThroughput=PROVISIONED_THROUGHPUT,
        StreamSpecification=STREAM_SPECIFICATION,
        SSESpecification=SSE_SPECIFICATION,
        Tags=TAG_LIST,
        TableClass=TABLE_CLASS,
        DeletionProtectionEnabled=FLAG,
        WarmThroughput=WARM_THROUGHPUT,
        ResourcePolicy=TEXT,
        OnDemandThroughput=ON_DEMAND_THROUGHPUT,
        GlobalTableSourceArn=TABLE_ARN,
        GlobalTableSettingsReplicationMode=GLOBAL_TABLE_SETTINGS_REPLICATION_MODE,
        VectorIndexes=VECTOR_INDEX_LIST,
    ),
    "DeleteTable": structure(
        "DeleteTableInput",
        TableName_=TABLE_ARN,
    ),
    "DescribeContinuousBackups": structure(
        "DescribeContinuousBackupsInput",
        TableName_=TABLE_ARN,
    ),
    "DescribeEndpoints": structure("DescribeEndpointsRequest"),
    "DescribeLimits": structure("DescribeLimitsInput"),
    "DescribeTable": structure(
        "DescribeTableInput",
        TableName_=TABLE_ARN,
    ),
    "DescribeTimeToLive": structure(
        "DescribeTimeToLiveInput",
        TableName_=TABLE_ARN,
    ),
    "ListTables": structure(
        "ListTablesInput",
        ExclusiveStartTableName=TABLE_NAME,
        Limit=LIST_TABLES_INPUT_LIMIT,
    ),
    "ListTagsOfResource": structure(
        "ListTagsOfResourceInput",
        ResourceArn_=RESOURCE_ARN_STRING,
        NextToken=TEXT,
    ),
    "TagResource": structure(
        "TagResourceInput",
        ResourceArn_=RESOURCE_ARN_STRING,
        Tags_=TAG_LIST,
    ),
    "UntagResource": structure(
        "UntagResourceInput",
        ResourceArn_=RESOURCE_ARN_STRING,
        TagKeys_=TAG_KEY_LIST,
    ),
    "UpdateContinuousBackups": structure(
        "UpdateContinuousBackupsInput",
        TableName_=TABLE_ARN,
        PointInTimeRecoverySpecification_=POINT_IN_TIME_RECOVERY_SPECIFICATION,
    ),
    "UpdateTable": structure(
        "UpdateTableInput",
        AttributeDefinitions=ATTRIBUTE_DEFINITIONS,
        TableName_=TABLE_ARN,
        BillingMode=BILLING_MODE,
        ProvisionedThroughput=PROVISIONED_THROUGHPUT,
        GlobalSecondaryIndexUpdates=GLOBAL_SECONDARY_INDEX_UPDATE_LIST,
        StreamSpecification=STREAM_SPECIFICATION,
        SSESpecification=SSE_SPECIFICATION,
        ReplicaUpdates=REPLICATION_GROUP_UPDATE_LIST,
        TableClass=TABLE_CLASS,
        DeletionProtectionEnabled=FLAG,
        MultiRegionConsistency=MULTI_REGION_CONSISTENCY,
        GlobalTableWitnessUpdates=GLOBAL_TABLE_WITNESS_GROUP_UPDATE_LIST,
        OnDemandThroughput=ON_DEMAND_THROUGHPUT,
        WarmThroughput=WARM_THROUGHPUT,
        GlobalTableSettingsReplicationMode=GLOBAL_TABLE_SETTINGS_REPLICATION_MODE,
        DisassociationProtectionEnabled=FLAG,
        VectorIndexUpdates=VECTOR_INDEX_UPDATE_LIST,
    ),
    "UpdateTimeToLive": structure(
        "UpdateTimeToLiveInput",
        TableName_=TABLE_ARN,
        TimeToLiveSpecification_=TIME_TO_LIVE_SPECIFICATION,
    ),
}
"""By operation."""

STREAM_REQUESTS: dict[str, Structure] = {
    "DescribeStream": structure(
        "DescribeStreamInput",
        StreamArn_=STREAM_ARN,
        Limit=LIMIT_OF100,
        ExclusiveStartShardId=SHARD_ID,
        ShardFilter=SHARD_FILTER,
    ),
    "GetRecords": structure(
        "GetRecordsInput",
        ShardIterator_=SHARD_ITERATOR,
        Limit=LIMIT_OF1000,
    ),
    "GetShardIterator": structure(
        "GetShardIteratorInput",
        StreamArn_=STREAM_ARN,
        ShardId_=SHARD_ID,
        ShardIteratorType_=SHARD_ITERATOR_TYPE,
        SequenceNumber=SEQUENCE_NUMBER,
        Timestamp=MOMENT,
    ),
    "ListStreams": structure(
        "ListStreamsInput",
        TableName=TABLE_NAME,
        Limit=LIMIT_OF100,
        ExclusiveStartStreamArn=STREAM_ARN,
    ),
}
"""By operation."""
