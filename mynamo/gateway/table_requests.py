"""What the requests of the control plane may look like."""

from __future__ import annotations

from mynamo.gateway.shapes import (
    FLAG,
    NEW_NAME,
    TABLE,
    TEXT,
    ListOf,
    Structure,
    Text,
    Whole,
    one_of,
    structure,
)

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
