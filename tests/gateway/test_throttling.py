"""An index that is too far behind throttles its table's writes, in DynamoDB's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mynamo.schemas.config import ClusterConfig, LimitsConfig
from tests.gateway.conftest import client_of, served
from tests.waiting import eventually
from tests.workers import pipeline

LIMIT = 10


@pytest.fixture
def dynamodb(config: ClusterConfig) -> Iterator[Any]:
    """A client of a gateway with limits, on a cluster whose indexes nobody fills."""
    limits = LimitsConfig(index_events=LIMIT)
    with served(config.model_copy(update={"limits": limits})) as url:
        client = client_of(url)
        yield client
        client.close()


def make(client: Any, name: str, **more: Any) -> None:
    attributes = [{"AttributeName": n, "AttributeType": "S"} for n in ("id", "kind")]
    client.create_table(
        TableName=name,
        AttributeDefinitions=attributes if more else attributes[:1],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        **more,
    )


GSI = {
    "IndexName": "by-kind",
    "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
    "Projection": {"ProjectionType": "ALL"},
}


def item(number: int) -> dict[str, Any]:
    return {"id": {"S": str(number)}, "kind": {"S": "k"}}


def test_writes_are_throttled_by_the_index_and_recover(
    config: ClusterConfig, dynamodb: Any
) -> None:
    make(dynamodb, "indexed", GlobalSecondaryIndexes=[GSI])
    make(dynamodb, "plain")
    numbers = iter(range(1_000_000))

    def put() -> ClientError | None:
        try:
            dynamodb.put_item(TableName="indexed", Item=item(next(numbers)))
        except ClientError as error:
            return error
        return None

    refused: ClientError = eventually(put, 60)
    answer: dict[str, Any] = refused.response
    assert answer["Error"]["Code"] == "ProvisionedThroughputExceededException"
    assert answer["Error"]["Message"].startswith(
        "The level of configured provisioned throughput for one or more global secondary "
        "indexes of the table was exceeded. "
    )
    assert "by-kind" in answer["Error"]["Message"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["ThrottlingReasons"] == [
        {
            "reason": "IndexWriteProvisionedThroughputExceeded",
            "resource": "arn:aws:dynamodb:us-east-1:000000000000:table/indexed/index/by-kind",
        }
    ]
    # What is beyond its limit comes back from a batch; the rest is written.
    requests = [{"PutRequest": {"Item": item(n)}} for n in range(12)]
    batch = dynamodb.batch_write_item(RequestItems={"indexed": requests, "plain": requests})
    assert list(batch["UnprocessedItems"]) == ["indexed"]
    assert dynamodb.scan(TableName="plain")["Count"] == 12
    # Bad requests hear what is wrong with them, and reads go on.
    with pytest.raises(ClientError, match="ValidationException"):
        dynamodb.put_item(TableName="indexed", Item={"id": {"N": "1"}})
    assert dynamodb.get_item(TableName="indexed", Key={"id": {"S": "0"}})["Item"]
    with pipeline(config):
        eventually(lambda: put() is None, 60)
    dynamodb.delete_table(TableName="indexed")
