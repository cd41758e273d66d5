"""The actions that policies can name.

Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon
DynamoDB", and the service's public API model.
"""

from __future__ import annotations

PREFIX = "dynamodb:"

ACTIONS = frozenset(
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
"""Those of DynamoDB, as they are spelled; in a policy upper and lower case are the same."""

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
