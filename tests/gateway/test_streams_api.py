"""DynamoDB Streams over HTTP, with AWS's own client, beside a writer at work."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import boto3
import orjson
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from mynamo.catalog import stream_shards
from mynamo.catalog.cluster import Cluster
from mynamo.gateway.service import Service
from mynamo.reader.streams import positions
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.gateway_config import GatewayConfig
from tests.rows import as_earlier, everywhere
from tests.waiting import eventually

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/"


@pytest.fixture(scope="module")
def streams(shared_url: str) -> Iterator[Any]:
    """A boto3 client of streams."""
    client = boto3.client(
        "dynamodbstreams",
        endpoint_url=shared_url,
        region_name="us-east-1",
        aws_access_key_id="anyone",
        aws_secret_access_key="anything",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of the test's own table."""
    return re.sub("[^a-zA-Z0-9_.-]", "-", request.node.name)[:100]


def create(dynamodb: Any, name: str, view: str | None = "NEW_AND_OLD_IMAGES") -> str:
    """Make a table with a stream; its ARN."""
    more = {}
    if view is not None:
        more["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": view}
    made = dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "h", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "h", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        **more,
    )["TableDescription"]
    return str(made.get("LatestStreamArn"))


def put(dynamodb: Any, name: str, key: str, **more: Any) -> None:
    dynamodb.put_item(TableName=name, Item={"h": {"S": key}, **more})


def shards(streams: Any, arn: str) -> list[Any]:
    return list(streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"])


def iterator(streams: Any, arn: str, shard: str, kind: str = "TRIM_HORIZON", **more: Any) -> str:
    return str(
        streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType=kind, **more)[
            "ShardIterator"
        ]
    )


def read(streams: Any, arn: str) -> list[Any]:
    """All records of a stream that there are now."""
    found: list[Any] = []
    for shard in shards(streams, arn):
        at: str | None = iterator(streams, arn, shard["ShardId"])
        quiet = 0
        while at is not None and quiet < 2:
            page = streams.get_records(ShardIterator=at)
            found += page["Records"]
            at = page.get("NextShardIterator")
            quiet = 0 if page["Records"] else quiet + 1
    return found


def eventually_read(streams: Any, arn: str, count: int) -> list[Any]:
    found: list[Any] = []

    def there() -> bool:
        found[:] = read(streams, arn)
        return len(found) >= count

    eventually(there)
    return found


def refused(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as failure:
        call(**request)
    error = failure.value.response["Error"]
    return error["Code"], error["Message"]


# -- records -----------------------------------------------------------------------------------


def test_records_are_those_of_dynamodb(shared_dynamodb: Any, streams: Any, name: str) -> None:
    arn = create(shared_dynamodb, name)
    before = int(time.time())
    put(shared_dynamodb, name, "k1", a={"N": "1"})
    put(shared_dynamodb, name, "k1", a={"N": "2"}, b={"B": b"\0"})
    shared_dynamodb.delete_item(TableName=name, Key={"h": {"S": "k1"}})
    records = eventually_read(streams, arn, 3)
    assert [record["eventName"] for record in records] == ["INSERT", "MODIFY", "REMOVE"]
    for record in records:
        assert record["eventVersion"] == "1.1"
        assert record["eventSource"] == "aws:dynamodb"
        assert record["awsRegion"] == "us-east-1"
        assert re.fullmatch("[0-9a-f]{32}", record["eventID"])
        assert "userIdentity" not in record
        change = record["dynamodb"]
        assert change["Keys"] == {"h": {"S": "k1"}}
        assert change["StreamViewType"] == "NEW_AND_OLD_IMAGES"
        assert before <= change["ApproximateCreationDateTime"].timestamp() <= time.time()
        assert change["ApproximateCreationDateTime"].microsecond == 0
        assert re.fullmatch(r"\d{21,40}", change["SequenceNumber"])
    first, second, third = (record["dynamodb"] for record in records)
    one, two = {"h": {"S": "k1"}, "a": {"N": "1"}}, None
    two = {"h": {"S": "k1"}, "a": {"N": "2"}, "b": {"B": b"\0"}}
    assert (first["NewImage"], first.get("OldImage"), first["SizeBytes"]) == (one, None, 3 + 6)
    assert (second["NewImage"], second["OldImage"]) == (two, one)
    assert second["SizeBytes"] == 3 + 6 + 8
    assert (third.get("NewImage"), third["OldImage"], third["SizeBytes"]) == (None, two, 3 + 8)
    assert len({record["eventID"] for record in records}) == 3
    assert read(streams, arn) == records


def test_expired_items_are_removed_by_the_service(
    shared_dynamodb: Any, streams: Any, name: str
) -> None:
    arn = create(shared_dynamodb, name, "KEYS_ONLY")
    shared_dynamodb.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"}
    )
    put(shared_dynamodb, name, "due", until={"N": str(int(time.time()) - 10)})
    put(shared_dynamodb, name, "deleted")
    shared_dynamodb.delete_item(TableName=name, Key={"h": {"S": "deleted"}})
    records = eventually_read(streams, arn, 4)
    removed = {
        record["dynamodb"]["Keys"]["h"]["S"]: record.get("userIdentity")
        for record in records
        if record["eventName"] == "REMOVE"
    }
    assert removed == {
        "deleted": None,
        "due": {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"},
    }


# -- streams and their shards ------------------------------------------------------------------


def test_a_stream_is_described(shared_dynamodb: Any, streams: Any, name: str) -> None:
    arn = create(shared_dynamodb, name, "KEYS_ONLY")
    described = streams.describe_stream(StreamArn=arn)["StreamDescription"]
    label = described["StreamLabel"]
    assert arn == f"{ARN}{name}/stream/{label}"
    assert described["StreamStatus"] == "ENABLED"
    assert described["StreamViewType"] == "KEYS_ONLY"
    assert described["TableName"] == name
    assert described["KeySchema"] == [{"AttributeName": "h", "KeyType": "HASH"}]
    assert abs(described["CreationRequestDateTime"].timestamp() - time.time()) < 60
    assert "LastEvaluatedShardId" not in described
    assert len(described["Shards"]) == 2
    for shard in described["Shards"]:
        assert re.fullmatch(r"shardId-\d{20}-[0-9a-f]{8}", shard["ShardId"])
        assert list(shard["SequenceNumberRange"]) == ["StartingSequenceNumber"]
        assert "ParentShardId" not in shard
    table = shared_dynamodb.describe_table(TableName=name)["Table"]
    assert (table["LatestStreamArn"], table["LatestStreamLabel"]) == (arn, label)


def test_shards_are_listed_by_pages(shared_dynamodb: Any, streams: Any, name: str) -> None:
    arn = create(shared_dynamodb, name)
    all_ = [shard["ShardId"] for shard in shards(streams, arn)]
    first = streams.describe_stream(StreamArn=arn, Limit=1)["StreamDescription"]
    assert [shard["ShardId"] for shard in first["Shards"]] == all_[:1]
    assert first["LastEvaluatedShardId"] == all_[0]
    second = streams.describe_stream(StreamArn=arn, ExclusiveStartShardId=all_[0])
    assert [each["ShardId"] for each in second["StreamDescription"]["Shards"]] == all_[1:]
    after_all = f"shardId-{'9' * 20}-00000000"
    beyond = streams.describe_stream(StreamArn=arn, ExclusiveStartShardId=after_all)
    assert beyond["StreamDescription"]["Shards"] == []


def test_an_ended_shard_has_children(
    shared_config: ClusterConfig, shared_dynamodb: Any, streams: Any, name: str
) -> None:
    arn = create(shared_dynamodb, name)
    (parent, _) = shards(streams, arn)
    children = {"Type": "CHILD_SHARDS", "ShardId": parent["ShardId"]}

    def found() -> list[Any]:
        described = streams.describe_stream(StreamArn=arn, ShardFilter=children)
        return list(described["StreamDescription"]["Shards"])

    assert found() == []
    put(shared_dynamodb, name, "before")
    eventually_read(streams, arn, 1)
    with (
        mock.patch.object(stream_shards, "ROLL_AFTER", 0.0),
        Cluster(shared_config) as cluster,
    ):
        stream = next(one for one in cluster.snapshot.streams if one.table == name)
        stream_shards.follow_slots(cluster, stream)
    (child,) = found()
    assert child["ParentShardId"] == parent["ShardId"]
    ended = next(each for each in shards(streams, arn) if each["ShardId"] == parent["ShardId"])
    assert int(ended["SequenceNumberRange"]["EndingSequenceNumber"]) < int(
        child["SequenceNumberRange"]["StartingSequenceNumber"]
    )
    put(shared_dynamodb, name, "after")
    eventually_read(streams, arn, 2)
    at: str | None = iterator(streams, arn, parent["ShardId"], "LATEST")
    page = streams.get_records(ShardIterator=at)
    assert page["Records"] == []
    assert "NextShardIterator" not in page


def test_streams_are_listed(shared_dynamodb: Any, streams: Any, name: str) -> None:
    arns = [create(shared_dynamodb, f"{name}-{number}") for number in range(3)]
    create(shared_dynamodb, f"{name}-none", None)
    listed = streams.list_streams(TableName=f"{name}-1")
    assert [one["StreamArn"] for one in listed["Streams"]] == arns[1:2]
    assert set(listed["Streams"][0]) == {"StreamArn", "TableName", "StreamLabel"}
    found: list[str] = []
    start: dict[str, str] = {}
    while True:
        page = streams.list_streams(Limit=1, **start)
        found += [one["StreamArn"] for one in page["Streams"]]
        if "LastEvaluatedStreamArn" not in page:
            break
        start = {"ExclusiveStartStreamArn": page["LastEvaluatedStreamArn"]}
    assert [arn for arn in found if arn in arns] == arns
    assert len(found) == len(set(found))
    assert streams.list_streams(TableName=f"{name}-none")["Streams"] == []
    assert refused(streams.list_streams, TableName=f"{name}-missing")[0] == (
        "ResourceNotFoundException"
    )


def test_a_stream_is_disabled_and_enabled_again(
    shared_dynamodb: Any, streams: Any, name: str
) -> None:
    first = create(shared_dynamodb, name)
    put(shared_dynamodb, name, "a")
    off, on = {"StreamEnabled": False}, {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    shared_dynamodb.update_table(TableName=name, StreamSpecification=off)
    table = shared_dynamodb.describe_table(TableName=name)["Table"]
    assert "StreamSpecification" not in table
    assert table["LatestStreamArn"] == first
    put(shared_dynamodb, name, "b")
    code, message = refused(shared_dynamodb.update_table, TableName=name, StreamSpecification=off)
    assert code == "ValidationException"
    answer = shared_dynamodb.update_table(TableName=name, StreamSpecification=on)
    second = answer["TableDescription"]["LatestStreamArn"]
    assert answer["TableDescription"]["StreamSpecification"] == on
    assert second != first
    code, message = refused(shared_dynamodb.update_table, TableName=name, StreamSpecification=on)
    assert (code, "already" in message) == ("ValidationException", True)
    put(shared_dynamodb, name, "c")
    (record,) = eventually_read(streams, second, 1)
    assert record["dynamodb"]["NewImage"] == {"h": {"S": "c"}}
    (record,) = eventually_read(streams, first, 1)
    assert record["dynamodb"]["Keys"] == {"h": {"S": "a"}}

    def is_disabled() -> bool:
        described = streams.describe_stream(StreamArn=first)["StreamDescription"]
        return described["StreamStatus"] == "DISABLED" and all(
            "EndingSequenceNumber" in shard["SequenceNumberRange"] for shard in described["Shards"]
        )

    eventually(is_disabled)
    assert [one["StreamArn"] for one in streams.list_streams(TableName=name)["Streams"]] == [
        first, second,
    ]  # fmt: skip


# -- what is refused ---------------------------------------------------------------------------


def test_what_is_not_there(shared_dynamodb: Any, streams: Any, name: str) -> None:
    arn = create(shared_dynamodb, name)
    other = arn[:-4] + ".000"
    assert refused(streams.describe_stream, StreamArn=other) == (
        "ResourceNotFoundException",
        f"Requested resource not found: Stream: {other} not found",
    )
    unknown = f"shardId-{'0' * 20}-00000000"
    for at, shard in ((other, unknown), (arn, unknown)):
        code, _ = refused(
            streams.get_shard_iterator,
            StreamArn=at, ShardId=shard, ShardIteratorType="LATEST",
        )  # fmt: skip
        assert code == "ResourceNotFoundException"
    foreign = arn.replace("us-east-1", "eu-west-1")
    assert refused(streams.describe_stream, StreamArn=foreign)[0] == "AccessDeniedException"


def test_what_is_not_valid(shared_dynamodb: Any, streams: Any, name: str) -> None:
    arn = create(shared_dynamodb, name)
    shard = shards(streams, arn)[0]["ShardId"]
    number = "1" + "0" * 20
    start = {"StreamArn": arn, "ShardId": shard}
    at = iterator(streams, arn, shard)
    requests: list[tuple[Any, dict[str, Any], str]] = [
        (streams.describe_stream, {"StreamArn": "x" * 40}, "StreamArn"),
        (streams.describe_stream, {"StreamArn": arn, "Limit": 101}, "100"),
        (streams.describe_stream, {"StreamArn": arn, "ShardFilter": {}}, "ShardFilter.Type"),
        (
            streams.describe_stream,
            {"StreamArn": arn, "ShardFilter": {"Type": "CHILD_SHARDS"}},
            "ShardFilter.ShardId",
        ),
        (
            streams.describe_stream,
            {"StreamArn": arn, "ShardFilter": {"Type": "CHILD_SHARDS", "ShardId": "x" * 30}},
            "ShardFilter.ShardId",
        ),
        (streams.list_streams, {"Limit": 101}, "100"),
        (streams.list_streams, {"ExclusiveStartStreamArn": "x" * 40}, "StreamArn"),
        (streams.get_records, {"ShardIterator": "garbage"}, "ShardIterator"),
        (streams.get_records, {"ShardIterator": at[:-3] + "AAA"}, "ShardIterator"),
        (streams.get_records, {"ShardIterator": at, "Limit": 1001}, "1000"),
    ]
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("AT_SEQUENCE_NUMBER", {}),
        ("AFTER_SEQUENCE_NUMBER", {}),
        ("LATEST", {"SequenceNumber": number}),
        ("TRIM_HORIZON", {"SequenceNumber": number}),
        ("AT_TIMESTAMP", {}),
        ("LATEST", {"Timestamp": time.time()}),
        ("AT_TIMESTAMP", {"Timestamp": time.time() + 3600}),
        ("AT_SEQUENCE_NUMBER", {"SequenceNumber": "7" + "0" * 20}),
    ]
    for kind, more in kinds:
        request = {**start, "ShardIteratorType": kind, **more}
        word = "Timestamp" if "TIMESTAMP" in kind or "Timestamp" in more else "SequenceNumber"
        requests.append((streams.get_shard_iterator, request, word))
    for call, request, word in requests:
        code, message = refused(call, **request)
        assert (code, word in message) == ("ValidationException", True), (request, message)


def test_an_old_iterator_is_refused(shared_dynamodb: Any, streams: Any, name: str) -> None:
    arn = create(shared_dynamodb, name)
    at = iterator(streams, arn, shards(streams, arn)[0]["ShardId"])
    with mock.patch.object(positions, "EXPIRES_AFTER", -1.0):
        assert refused(streams.get_records, ShardIterator=at)[0] == "ExpiredIteratorException"
    assert streams.get_records(ShardIterator=at)["Records"] == []


def test_records_that_were_deleted(
    shared_config: ClusterConfig, shared_dynamodb: Any, streams: Any, name: str
) -> None:
    arn = create(shared_dynamodb, name)
    for number in range(3):
        put(shared_dynamodb, name, "a", n={"N": str(number)})
    records = eventually_read(streams, arn, 3)
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
    (shard,) = (
        each["ShardId"]
        for each in shards(streams, arn)
        if streams.get_records(ShardIterator=iterator(streams, arn, each["ShardId"]))["Records"]
    )
    at = iterator(streams, arn, shard, "AFTER_SEQUENCE_NUMBER", SequenceNumber=numbers[0])
    with Cluster(shared_config) as cluster:
        day = 25 * 3_600_000_000
        everywhere(cluster, f"UPDATE mynamo_record SET created = created - {day}")
        eventually(lambda: everywhere(cluster, "SELECT 1 FROM mynamo_record") == [], 30)
    assert refused(streams.get_records, ShardIterator=at)[0] == "TrimmedDataAccessException"
    start = {"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "AT_SEQUENCE_NUMBER"}
    code, _ = refused(streams.get_shard_iterator, **start, SequenceNumber=numbers[2])
    assert code == "TrimmedDataAccessException"
    assert read(streams, arn) == []


def test_a_cluster_of_an_earlier_release_refuses_streams(config: ClusterConfig) -> None:
    request = {
        "TableName": "abc",
        "KeySchema": [{"AttributeName": "h", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "h", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    }
    with Cluster(config) as cluster:
        as_earlier(cluster, 5)
        answer = Service(cluster, GatewayConfig()).call("CreateTable", orjson.dumps(request), {})
        assert answer.status == 400
        assert b"mynamo upgrade" in answer.body
        assert cluster.refresh().names == {}
