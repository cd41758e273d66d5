"""The actions that policies can name: DynamoDB's, and mynamo's own for operators.

Source of DynamoDB's: Service Authorization Reference, "Actions, resources, and condition keys for
Amazon DynamoDB", and the service's public API model.
"""

from __future__ import annotations

PREFIX = "dynamodb:"

OPERATOR_PREFIX = "mynamo:"
DESCRIBE_CLUSTER = OPERATOR_PREFIX + "DescribeCluster"
LIST_DEAD_LETTERS = OPERATOR_PREFIX + "ListDeadLetters"
REPAIR = OPERATOR_PREFIX + "Repair"
REPLAY_DEAD_LETTERS = OPERATOR_PREFIX + "ReplayDeadLetters"
VERIFY = OPERATOR_PREFIX + "Verify"
OPERATOR_ACTIONS = frozenset(
    {DESCRIBE_CLUSTER, LIST_DEAD_LETTERS, REPAIR, REPLAY_DEAD_LETTERS, VERIFY}
)
"""What operators do in the console; DynamoDB's API has nothing of it."""

ACTIONS = OPERATOR_ACTIONS | frozenset(
    PREFIX + name
    for name in (
        "BatchGetItem",
        "BatchWriteItem",
        "ConditionCheckItem",
        "CreateBackup",
        "CreateGlobalTable",
        "CreateTable",
        "DeleteBackup",
        "DeleteItem",
        "DeleteResourcePolicy",
        "DeleteTable",
        "DescribeBackup",
        "DescribeContinuousBackups",
        "DescribeContributorInsights",
        "DescribeEndpoints",
        "DescribeExport",
        "DescribeGlobalTable",
        "DescribeGlobalTableSettings",
        "DescribeImport",
        "DescribeKinesisStreamingDestination",
        "DescribeLimits",
        "DescribeStream",
        "DescribeTable",
        "DescribeTableReplicaAutoScaling",
        "DescribeTimeToLive",
        "DisableKinesisStreamingDestination",
        "EnableKinesisStreamingDestination",
        "ExportTableToPointInTime",
        "GetItem",
        "GetRecords",
        "GetResourcePolicy",
        "GetShardIterator",
        "ImportTable",
        "ListBackups",
        "ListContributorInsights",
        "ListExports",
        "ListGlobalTables",
        "ListImports",
        "ListStreams",
        "ListTables",
        "ListTagsOfResource",
        "PartiQLDelete",
        "PartiQLInsert",
        "PartiQLSelect",
        "PartiQLUpdate",
        "PutItem",
        "PutResourcePolicy",
        "Query",
        "RestoreTableFromBackup",
        "RestoreTableToPointInTime",
        "Scan",
        "TagResource",
        "UntagResource",
        "UpdateContinuousBackups",
        "UpdateContributorInsights",
        "UpdateGlobalTable",
        "UpdateGlobalTableSettings",
        "UpdateItem",
        "UpdateKinesisStreamingDestination",
        "UpdateTable",
        "UpdateTableReplicaAutoScaling",
        "UpdateTimeToLive",
    )
)
"""All of them, as they are spelled; in a policy upper and lower case are the same."""

OPERATIONS_ONLY = {
    "dynamodb:transactgetitems": "dynamodb:GetItem",
    "dynamodb:transactwriteitems": "dynamodb:PutItem, UpdateItem, DeleteItem and "
    "ConditionCheckItem",
    "dynamodb:executestatement": "dynamodb:PartiQLSelect, PartiQLInsert, PartiQLUpdate and "
    "PartiQLDelete",
    "dynamodb:executetransaction": "dynamodb:PartiQLSelect, PartiQLInsert, PartiQLUpdate and "
    "PartiQLDelete",
    "dynamodb:batchexecutestatement": "dynamodb:PartiQLSelect, PartiQLInsert, PartiQLUpdate and "
    "PartiQLDelete",
}
"""Operations that are no actions, in lower case, and the actions of what is in them."""
