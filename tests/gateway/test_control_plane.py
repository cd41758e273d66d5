"""Tables over DynamoDB's API: made, described, changed, dropped."""

from __future__ import annotations

import re
import uuid
from typing import Any
from unittest import mock

import pytest

from mynamo.catalog import catalog, definitions, roll_forward
from mynamo.errors import ConfigError, CorruptData, ShardUnavailable, WriteOutcomeUnknown
from mynamo.gateway.operations import table_operations
from mynamo.gateway.service import Service
from mynamo.schemas.table_settings import TableSettings
from tests.expiring import finished
from tests.gateway.asking import ask, defined, error_of, index, keyed, on_demand, refused
from tests.waiting import eventually

UNITS = {"ReadCapacityUnits": 3, "WriteCapacityUnits": 4}
WARM_UNITS = {"ReadUnitsPerSecond": 3, "WriteUnitsPerSecond": 4}
ACCOUNT = "000000000000"
ARN = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/"


def warm_units(read: int, write: int) -> dict[str, Any]:
    return {"ReadUnitsPerSecond": read, "WriteUnitsPerSecond": write}


@pytest.fixture
def name() -> str:
    """A table's name that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


def described(service: Service, name: str) -> dict[str, Any]:
    table: dict[str, Any] = ask(service, "DescribeTable", TableName=name)["Table"]
    return table


class TestCreateTable:
    def test_everything_given_is_described(self, shared_service: Service, name: str) -> None:
        request = {
            "TableName": name,
            "KeySchema": keyed("h", "r:RANGE"),
            "AttributeDefinitions": defined("h", "r:N", "l:B", "g1", "g2:N", "g3"),
            "ProvisionedThroughput": UNITS,
            "LocalSecondaryIndexes": [index("by-l", "h", "l:RANGE")],
            "GlobalSecondaryIndexes": [
                index(
                    "by-g", "g1", "g2", "g3:RANGE",
                    ProvisionedThroughput=UNITS,
                    Projection={"ProjectionType": "INCLUDE", "NonKeyAttributes": ["x"]},
                )
            ],
            "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
            "SSESpecification": {"Enabled": True},
            "TableClass": "STANDARD_INFREQUENT_ACCESS",
            "DeletionProtectionEnabled": True,
            "Tags": [{"Key": "team", "Value": "x"}],
        }  # fmt: skip
        created = ask(shared_service, "CreateTable", **request)["TableDescription"]
        table = described(shared_service, name)
        assert created["TableStatus"] == "CREATING"
        assert table["TableStatus"] == "ACTIVE"
        (coming,), (there,) = created["GlobalSecondaryIndexes"], table["GlobalSecondaryIndexes"]
        assert created.pop("WarmThroughput")["Status"] == "CREATING"
        assert table.pop("WarmThroughput") == WARM_UNITS | {"Status": "ACTIVE"}
        assert coming.pop("WarmThroughput")["Status"] == "UPDATING"
        assert there.pop("WarmThroughput") == WARM_UNITS | {"Status": "ACTIVE"}
        assert created | {"TableStatus": "ACTIVE"} == table
        for same in ("TableName", "KeySchema", "AttributeDefinitions", "StreamSpecification"):
            assert table[same] == request[same]
        assert table["TableArn"] == ARN + name
        assert table["ProvisionedThroughput"] == UNITS | {"NumberOfDecreasesToday": 0}
        assert table["LatestStreamArn"] == f"{ARN}{name}/stream/{table['LatestStreamLabel']}"
        key = table["SSEDescription"].pop("KMSMasterKeyArn")
        assert re.fullmatch(f"arn:aws:kms:us-east-1:{ACCOUNT}:key/[0-9a-f-]{{36}}", key)
        assert table["SSEDescription"] == {"Status": "ENABLED", "SSEType": "KMS"}
        assert table["TableClassSummary"] == {"TableClass": "STANDARD_INFREQUENT_ACCESS"}
        assert table["DeletionProtectionEnabled"] is True
        assert (table["ItemCount"], table["TableSizeBytes"]) == (0, 0)
        assert "BillingModeSummary" not in table
        (local,), (global_,) = table["LocalSecondaryIndexes"], table["GlobalSecondaryIndexes"]
        assert local == index("by-l", "h", "l:RANGE") | {
            "IndexArn": f"{ARN}{name}/index/by-l", "IndexSizeBytes": 0, "ItemCount": 0,
        }  # fmt: skip
        assert global_["KeySchema"] == keyed("g1", "g2", "g3:RANGE")
        assert global_["Projection"] == {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["x"]}
        assert global_["IndexStatus"] == "ACTIVE"
        assert global_["ProvisionedThroughput"] == UNITS | {"NumberOfDecreasesToday": 0}

    def test_its_id_is_its_own_for_good(self, shared_service: Service, name: str) -> None:
        ask(shared_service, "CreateTable", **on_demand(name, "h"))
        first = described(shared_service, name)
        assert described(shared_service, name)["TableId"] == first["TableId"]
        assert str(uuid.UUID(first["TableId"])) == first["TableId"]
        ask(shared_service, "DeleteTable", TableName=name)
        ask(shared_service, "CreateTable", **on_demand(name, "h"))
        assert described(shared_service, name)["TableId"] != first["TableId"]

    def test_on_demand(self, shared_service: Service, name: str) -> None:
        limits = {"MaxReadRequestUnits": 10, "MaxWriteRequestUnits": -1}
        ask(shared_service, "CreateTable", **on_demand(name, "h", OnDemandThroughput=limits))
        table = described(shared_service, name)
        assert table["BillingModeSummary"] == {
            "BillingMode": "PAY_PER_REQUEST",
            "LastUpdateToPayPerRequestDateTime": table["CreationDateTime"],
        }
        assert table["ProvisionedThroughput"]["ReadCapacityUnits"] == 0
        assert table["OnDemandThroughput"] == limits

    def test_a_second_one_of_the_name_is_refused(self, shared_service: Service, name: str) -> None:
        ask(shared_service, "CreateTable", **on_demand(name, "h"))
        assert refused(shared_service, "CreateTable", **on_demand(name, "x")) == (
            "ResourceInUseException",
            f"Table already exists: {name}",
        )

    def test_stays_creating_while_a_shard_does_not_answer(
        self, service: Service, name: str
    ) -> None:
        key = {"h": {"S": "x"}}
        with mock.patch.object(roll_forward, "on_every_shard", side_effect=ShardUnavailable):
            answer = ask(service, "CreateTable", **on_demand(name, "h"))
            assert answer["TableDescription"]["TableStatus"] == "CREATING"
            assert described(service, name)["TableStatus"] == "CREATING"
            kind, _ = refused(service, "GetItem", TableName=name, Key=key)
            assert kind == "ResourceNotFoundException"
            busy = (
                "ResourceInUseException",
                "Attempt to change a resource which is still in use: "
                f"Table is being created: {name}",
            )
            assert refused(service, "DeleteTable", TableName=name) == busy
            update = {"TableName": name, "DeletionProtectionEnabled": True}
            assert refused(service, "UpdateTable", **update) == busy
        table = service.context.cluster.snapshot.names[name]
        assert definitions.finish(service.context.cluster, table.id)
        assert described(service, name)["TableStatus"] == "ACTIVE"
        assert ask(service, "GetItem", TableName=name, Key=key) == {}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"BillingMode": "PROVISIONED"},
             "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits"
             " must both be specified when BillingMode is PROVISIONED"),
            ({"ProvisionedThroughput": UNITS},
             "One or more parameter values were invalid: Neither ReadCapacityUnits nor"
             " WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST"),
            ({"KeySchema": keyed("h:RANGE")},
             "Invalid KeySchema: The first KeySchemaElement is not a HASH key type"),
            ({"KeySchema": keyed("h", "h")},
             "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type"),
            ({"KeySchema": keyed("h", "h:RANGE")},
             "Both the Hash Key and the Range Key element in the KeySchema have the same name"),
            ({"KeySchema": keyed("h", "z:RANGE")},
             "Invalid KeySchema: Some index key attribute have no definition"),
            ({"KeySchema": keyed("z")},
             "One or more parameter values were invalid: Some index key attributes are not defined"
             " in AttributeDefinitions. Keys: [z], AttributeDefinitions: [h]"),
            ({"AttributeDefinitions": defined("h", "z")},
             "One or more parameter values were invalid: Number of attributes in KeySchema does not"
             " exactly match number of attributes defined in AttributeDefinitions"),
            ({"AttributeDefinitions": defined("h", "h:N")},
             "Cannot have two attributes with the same name"),
            ({"AttributeDefinitions": defined("h", "g", "z"),
              "GlobalSecondaryIndexes": [index("gsi", "g")]},
             "One or more parameter values were invalid: Some AttributeDefinitions are not used."
             " AttributeDefinitions: [h, g, z], keys used: [h, g]"),
            ({"GlobalSecondaryIndexes": []},
             "One or more parameter values were invalid: List of GlobalSecondaryIndexes is empty"),
            ({"LocalSecondaryIndexes": [index("lsi", "h", "h:RANGE")]},
             "One or more parameter values were invalid: Table KeySchema does not have a range key,"
             " which is required when specifying a LocalSecondaryIndex"),
            ({"GlobalSecondaryIndexes": [index("gsi", "h"), index("gsi", "h")]},
             "One or more parameter values were invalid: Duplicate index name: gsi"),
            ({"GlobalSecondaryIndexes": [index("gsi", "h", Projection={})]},
             "One or more parameter values were invalid: Unknown ProjectionType: null"),
            ({"GlobalSecondaryIndexes": [index("gsi", "h",
              Projection={"ProjectionType": "INCLUDE"})]},
             "One or more parameter values were invalid: ProjectionType is INCLUDE, but"
             " NonKeyAttributes is not specified"),
            ({"GlobalSecondaryIndexes": [index("gsi", "h", ProvisionedThroughput=UNITS)]},
             "One or more parameter values were invalid: ProvisionedThroughput should not be"
             " specified for index: gsi when BillingMode is PAY_PER_REQUEST"),
            ({"GlobalSecondaryIndexes": [index("gsi", "h:RANGE")]},
             "Invalid KeySchema: The first KeySchemaElement is not a HASH key type"),
            ({"GlobalSecondaryIndexes": [index("gsi", "h", "a:RANGE", "b")]},
             "Invalid KeySchema: All HASH key attributes must precede RANGE key attributes in the"
             " KeySchema"),
            ({"GlobalSecondaryIndexes": [index("gsi", *"habcd")]},
             "Invalid KeySchema: The KeySchema exceeds the maximum allowed number of HASH key"
             " attributes"),
            ({"GlobalSecondaryIndexes": [index(f"gsi{i}", "h") for i in range(21)]},
             "One or more parameter values were invalid: GlobalSecondaryIndex count exceeds the"
             " per-table limit of 20"),
            ({"KeySchema": keyed("é" * 128), "AttributeDefinitions": defined("é" * 128)},
             "a key attribute's name may have at most 255 bytes"),
            ({"ResourcePolicy": "{}"},
             "ResourcePolicy: mynamo does not support it yet; leave it out"),
            ({"StreamSpecification": {"StreamEnabled": True}},
             "Invalid StreamViewType: Stream ViewType must not be null or empty when enabling"
             " streams."),
            ({"StreamSpecification": {"StreamEnabled": False, "StreamViewType": "NEW_IMAGE"}},
             "One or more parameter values were invalid: Table is being created with a stream "
             "disabled, UpdateViewType should not be specified"),
            ({"Tags": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]},
             "One or more parameter values were invalid: Duplicate tag key: k"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_said(
        self, shared_service: Service, name: str, change: dict[str, Any], message: str
    ) -> None:
        request = on_demand(name, "h") | change
        assert refused(shared_service, "CreateTable", **request) == ("ValidationException", message)
        assert name not in shared_service.context.cluster.refresh().names

    def test_local_indexes_belong_to_the_hash_key(self, shared_service: Service, name: str) -> None:
        request = on_demand(name, "h", "r:RANGE")
        for local, message in (
            (index("lsi", "r", "h:RANGE"),
             "Index KeySchema does not have the same leading hash key as table KeySchema for index:"
             " lsi. index hash key: r, table hash key: h"),
            (index("lsi", "h"), "Index KeySchema does not have a range key for index: lsi"),
        ):  # fmt: skip
            _, said = refused(
                shared_service, "CreateTable", **request, LocalSecondaryIndexes=[local]
            )
            assert said == f"One or more parameter values were invalid: {message}"


class TestDeleteTable:
    def test_is_gone(self, shared_service: Service, name: str) -> None:
        ask(shared_service, "CreateTable", **on_demand(name, "h"))
        answer = ask(shared_service, "DeleteTable", TableName=name)["TableDescription"]
        assert (answer["TableName"], answer["TableStatus"]) == (name, "DELETING")
        missing = (
            "ResourceNotFoundException",
            f"Requested resource not found: Table: {name} not found",
        )
        assert refused(shared_service, "DescribeTable", TableName=name) == missing
        assert refused(shared_service, "DeleteTable", TableName=name) == missing
        for operation in ("GetItem", "DeleteItem"):
            request = {"TableName": name, "Key": {"h": {"S": "x"}}}
            kind, message = refused(shared_service, operation, **request)
            assert (kind, message) == (missing[0], "Requested resource not found")

    def test_is_deleting_while_a_shard_does_not_answer(self, service: Service, name: str) -> None:
        ask(service, "CreateTable", **on_demand(name, "h"))
        with mock.patch.object(roll_forward, "on_every_shard", side_effect=ShardUnavailable):
            ask(service, "DeleteTable", TableName=name)
        assert described(service, name)["TableStatus"] == "DELETING"
        kind, message = refused(service, "DeleteTable", TableName=name)
        assert (kind, message.rpartition(": ")[0]) == (
            "ResourceInUseException",
            "Attempt to change a resource which is still in use: Table is being deleted",
        )

    def test_protection(self, shared_service: Service, name: str) -> None:
        ask(shared_service, "CreateTable", **on_demand(name, "h", DeletionProtectionEnabled=True))
        assert refused(shared_service, "DeleteTable", TableName=name) == (
            "ValidationException",
            "Resource cannot be deleted as it is currently protected against deletion. "
            "Disable deletion protection first.",
        )
        assert described(shared_service, name)["TableStatus"] == "ACTIVE"
        ask(shared_service, "UpdateTable", TableName=name, DeletionProtectionEnabled=False)
        ask(shared_service, "DeleteTable", TableName=name)

    def test_negative_control_without_its_check_protection_protects_nothing(
        self, shared_service: Service, name: str
    ) -> None:
        ask(shared_service, "CreateTable", **on_demand(name, "h", DeletionProtectionEnabled=True))
        with mock.patch.object(catalog, "refuse_protected"):
            ask(shared_service, "DeleteTable", TableName=name)
        assert name not in shared_service.context.cluster.refresh().names


class TestUpdateTable:
    def test_billing_and_capacity(self, shared_service: Service, name: str) -> None:
        def update(**change: Any) -> dict[str, Any]:
            answer = ask(shared_service, "UpdateTable", TableName=name, **change)
            assert answer["TableDescription"]["TableStatus"] == "UPDATING"
            return described(shared_service, name)

        request = on_demand(name, "h", GlobalSecondaryIndexes=[index("gsi", "h")])
        ask(shared_service, "CreateTable", **request)
        both = {"BillingMode": "PROVISIONED", "ProvisionedThroughput": UNITS}
        assert refused(shared_service, "UpdateTable", TableName=name, **both) == (
            "ValidationException",
            "One or more parameter values were invalid: ProvisionedThroughput must be specified"
            " for index: gsi",
        )
        own = [{"Update": {"IndexName": "gsi", "ProvisionedThroughput": UNITS}}]
        table = update(**both, GlobalSecondaryIndexUpdates=own)
        assert table["ProvisionedThroughput"] == UNITS | {"NumberOfDecreasesToday": 0}
        (gsi,) = table["GlobalSecondaryIndexes"]
        assert gsi["ProvisionedThroughput"] == UNITS | {"NumberOfDecreasesToday": 0}
        _, message = refused(
            shared_service, "UpdateTable", TableName=name, ProvisionedThroughput=UNITS
        )
        assert message.startswith("The provisioned throughput for the table will not change.")
        more = {"ReadCapacityUnits": 30, "WriteCapacityUnits": 4}
        raised = update(ProvisionedThroughput=more)["ProvisionedThroughput"]
        assert raised["ReadCapacityUnits"] == 30
        assert "LastIncreaseDateTime" in raised
        assert "LastDecreaseDateTime" not in raised
        table = update(BillingMode="PAY_PER_REQUEST")
        assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
        assert table["BillingModeSummary"]["LastUpdateToPayPerRequestDateTime"] > 1.7e9
        assert table["ProvisionedThroughput"]["ReadCapacityUnits"] == 0
        (gsi,) = table["GlobalSecondaryIndexes"]
        assert gsi["ProvisionedThroughput"]["ReadCapacityUnits"] == 0

    def test_stream_class_and_encryption(self, shared_service: Service, name: str) -> None:
        ask(shared_service, "CreateTable", **on_demand(name, "h"))
        stream = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
        change: dict[str, Any] = {"StreamSpecification": stream}
        ask(shared_service, "UpdateTable", TableName=name, **change)
        table = described(shared_service, name)
        assert table["StreamSpecification"] == stream
        assert refused(shared_service, "UpdateTable", TableName=name, **change) == (
            "ValidationException",
            "Table already has an enabled stream",
        )
        change = {
            "StreamSpecification": {"StreamEnabled": False},
            "TableClass": "STANDARD_INFREQUENT_ACCESS",
            "SSESpecification": {"Enabled": True, "KMSMasterKeyId": "alias/x"},
        }
        ask(shared_service, "UpdateTable", TableName=name, **change)
        after = described(shared_service, name)
        assert "StreamSpecification" not in after
        assert after["LatestStreamArn"] == table["LatestStreamArn"]
        assert after["TableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
        of_alias = after["SSEDescription"]["KMSMasterKeyArn"]
        own = "arn:aws:kms:eu-west-1:123456789012:key/1"
        for given, arn in [
            ("arn:aws:kms:us-east-1:000000000000:alias/x", of_alias),
            ("mrk-1", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/mrk-1"),
            (own, own),
        ]:
            encryption = {"Enabled": True, "KMSMasterKeyId": given}
            ask(shared_service, "UpdateTable", TableName=name, SSESpecification=encryption)
            assert described(shared_service, name)["SSEDescription"]["KMSMasterKeyArn"] == arn
        assert of_alias.startswith(f"arn:aws:kms:us-east-1:{ACCOUNT}:key/")

    def test_the_answer_has_the_old_throughput(self, shared_service: Service, name: str) -> None:
        ask(
            shared_service, "CreateTable", **on_demand(name, "h") | {"BillingMode": "PROVISIONED"},
            ProvisionedThroughput=UNITS,
            GlobalSecondaryIndexes=[index("gsi", "h", ProvisionedThroughput=UNITS)],
        )  # fmt: skip
        more = {"ReadCapacityUnits": 30, "WriteCapacityUnits": 40}
        answer = ask(
            shared_service, "UpdateTable", TableName=name, ProvisionedThroughput=more,
            GlobalSecondaryIndexUpdates=[
                {"Update": {"IndexName": "gsi", "ProvisionedThroughput": more}}
            ],
        )["TableDescription"]  # fmt: skip
        assert answer["TableStatus"] == "UPDATING"
        for status, shown, units in (("old", answer, UNITS),
                                     ("new", described(shared_service, name), more)):  # fmt: skip
            (gsi,) = shown["GlobalSecondaryIndexes"]
            for each in (shown, gsi):
                assert units.items() <= each["ProvisionedThroughput"].items(), status
                warm = each["WarmThroughput"]
                assert warm["ReadUnitsPerSecond"] == units["ReadCapacityUnits"], status

    def test_the_billing_mode_keeps_its_summary(self, shared_service: Service, name: str) -> None:
        ask(shared_service, "CreateTable", **on_demand(name, "h"))
        made = described(shared_service, name)["BillingModeSummary"]
        for _ in range(2):
            ask(
                shared_service, "UpdateTable", TableName=name,
                BillingMode="PROVISIONED", ProvisionedThroughput=UNITS,
            )  # fmt: skip
            summary = described(shared_service, name)["BillingModeSummary"]
            assert summary == made | {"BillingMode": "PROVISIONED"}
            ask(shared_service, "UpdateTable", TableName=name, BillingMode="PAY_PER_REQUEST")
            made = described(shared_service, name)["BillingModeSummary"]
            assert (
                made["LastUpdateToPayPerRequestDateTime"]
                >= (summary["LastUpdateToPayPerRequestDateTime"])
            )
        # What it was ready for on demand it stays ready for.
        warm = described(shared_service, name)["WarmThroughput"]
        assert warm == warm_units(12_000, 4_000) | {"Status": "ACTIVE"}

    def test_warm_throughput(self, shared_service: Service, name: str) -> None:
        ask(
            shared_service, "CreateTable",
            **on_demand(name, "h", WarmThroughput=warm_units(12_345, 4_567)),
            GlobalSecondaryIndexes=[index("gsi", "h", WarmThroughput=warm_units(13_000, 5_000))],
        )  # fmt: skip

        def warm() -> list[dict[str, Any]]:
            table = described(shared_service, name)
            return [table["WarmThroughput"], table["GlobalSecondaryIndexes"][0]["WarmThroughput"]]

        active = {"Status": "ACTIVE"}
        assert warm() == [warm_units(12_345, 4_567) | active, warm_units(13_000, 5_000) | active]
        answer = ask(
            shared_service,
            "UpdateTable",
            TableName=name,
            WarmThroughput={"WriteUnitsPerSecond": 5_000},
        )["TableDescription"]
        assert answer["TableStatus"] == "ACTIVE"
        assert answer["WarmThroughput"] == warm_units(12_345, 4_567) | {"Status": "UPDATING"}
        update = {"IndexName": "gsi", "WarmThroughput": warm_units(14_000, 5_000)}
        ask(
            shared_service, "UpdateTable", TableName=name,
            GlobalSecondaryIndexUpdates=[{"Update": update}],
        )  # fmt: skip
        there = [warm_units(12_345, 5_000) | active, warm_units(14_000, 5_000) | active]
        assert warm() == there
        decreases: list[tuple[dict[str, Any], str]] = [
            ({"WarmThroughput": warm_units(12_344, 5_000)},
             "Requested ReadUnitsPerSecond for WarmThroughput for table is lower than current "
             "WarmThroughput, decreasing WarmThroughput is not supported"),
            ({"WarmThroughput": {"WriteUnitsPerSecond": 1}},
             "Requested WriteUnitsPerSecond for WarmThroughput for table is lower than current "
             "WarmThroughput, decreasing WarmThroughput is not supported"),
            ({"GlobalSecondaryIndexUpdates": [{"Update": update | {
                "WarmThroughput": {"ReadUnitsPerSecond": 13_999}}}]},
             "Requested ReadUnitsPerSecond for WarmThroughput for index gsi is lower than current "
             "WarmThroughput, decreasing WarmThroughput is not supported"),
        ]  # fmt: skip
        for change, message in decreases:
            assert refused(shared_service, "UpdateTable", TableName=name, **change) == (
                "ValidationException",
                f"One or more parameter values were invalid: {message}",
            )
        # The same again is no decrease.
        same = {"WarmThroughput": warm_units(12_345, 5_000)}
        ask(shared_service, "UpdateTable", TableName=name, **same)
        assert warm() == there

    def test_nothing_to_update(self, shared_service: Service, name: str) -> None:
        ask(shared_service, "CreateTable", **on_demand(name, "h"))
        message = (
            "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, "
            "GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required"
        )
        changes: list[dict[str, Any]] = [{}, {"GlobalSecondaryIndexUpdates": []}]
        for change in changes:
            assert refused(shared_service, "UpdateTable", TableName=name, **change) == (
                "ValidationException",
                message,
            )

    @pytest.mark.parametrize(
        ("updates", "kind", "message"),
        [
            ([{}], "ValidationException",
             "One or more parameter values were invalid: One of GlobalSecondaryIndexUpdate.Update,"
             " GlobalSecondaryIndexUpdate.Create, GlobalSecondaryIndexUpdate.Delete must not be"
             " null"),
            ([{"Delete": {"IndexName": "nope"}}], "ResourceNotFoundException",
             "Requested resource not found"),
            ([{"Update": {"IndexName": "nope", "OnDemandThroughput": {"MaxReadRequestUnits": 1}}}],
             "ValidationException", "The table does not have the specified index: nope"),
            ([{"Create": index("gsi", "h")}], "ValidationException",
             "Attempting to create an index which already exists"),
            ([{"Create": index("gsi2", "z")}], "ValidationException",
             "Invalid KeySchema: Some index key attribute have no definition"),
            ([{"Create": index("gsi2", "h")}], "ValidationException",
             "Invalid KeySchema: Some index key attribute have no definition"),
            ([{"Create": index("gsi2", "h")}, {"Delete": {"IndexName": "gsi"}}],
             "LimitExceededException",
             "Subscriber limit exceeded: Only 1 online index can be created or deleted"
             " simultaneously per table"),
            ([{"Delete": {"IndexName": "gsi"}}, {"Update": {"IndexName": "gsi"}}],
             "ValidationException",
             "One or more parameter values were invalid: Only one global secondary index update per"
             " index is allowed simultaneously. Index: gsi"),
        ],
    )  # fmt: skip
    def test_wrong_index_updates(
        self,
        shared_service: Service,
        name: str,
        updates: list[dict[str, Any]],
        kind: str,
        message: str,
    ) -> None:
        request = on_demand(name, "h", GlobalSecondaryIndexes=[index("gsi", "h")])
        ask(shared_service, "CreateTable", **request)
        change = {"TableName": name, "GlobalSecondaryIndexUpdates": updates}
        assert refused(shared_service, "UpdateTable", **change) == (kind, message)
        assert [
            i["IndexName"] for i in described(shared_service, name)["GlobalSecondaryIndexes"]
        ] == ["gsi"]

    def test_all_is_checked_before_anything_changes(
        self, shared_service: Service, name: str
    ) -> None:
        ask(shared_service, "CreateTable", **on_demand(name, "h"))
        before = described(shared_service, name)
        good: dict[str, Any] = {
            "DeletionProtectionEnabled": True,
            "GlobalSecondaryIndexUpdates": [{"Create": index("gsi", "h")}],
        }
        for bad in (
            {"ProvisionedThroughput": UNITS},
            {"StreamSpecification": {"StreamEnabled": False}},
        ):
            kind, _ = refused(shared_service, "UpdateTable", TableName=name, **good | bad)
            assert kind == "ValidationException"
            assert described(shared_service, name) == before

    def test_a_table_that_is_not_there(self, shared_service: Service, name: str) -> None:
        change = {"TableName": name, "BillingMode": "PAY_PER_REQUEST"}
        assert refused(shared_service, "UpdateTable", **change) == (
            "ResourceNotFoundException",
            f"Requested resource not found: Table: {name} not found",
        )


class TestIndexes:
    """On a service without workers: nothing fills an index."""

    def test_an_index_is_active_only_once_its_backfill_is_complete(
        self, service: Service, name: str
    ) -> None:
        ask(service, "CreateTable", **on_demand(name, "h"))
        ask(service, "PutItem", TableName=name, Item={"h": {"S": "1"}, "g": {"N": "7"}})
        created = ask(
            service, "UpdateTable", TableName=name, AttributeDefinitions=defined("h", "g:N"),
            GlobalSecondaryIndexUpdates=[{"Create": index("by-g", "g")}],
        )["TableDescription"]  # fmt: skip
        (gsi,) = created["GlobalSecondaryIndexes"]
        assert (created["TableStatus"], gsi["IndexStatus"]) == ("UPDATING", "CREATING")
        table = described(service, name)
        (gsi,) = table["GlobalSecondaryIndexes"]
        assert (table["TableStatus"], gsi["IndexStatus"]) == ("UPDATING", "CREATING")
        assert gsi["Backfilling"] is True
        assert table["AttributeDefinitions"] == defined("h", "g:N")
        query = {
            "TableName": name,
            "IndexName": "by-g",
            "KeyConditionExpression": "g = :g",
            "ExpressionAttributeValues": {":g": {"N": "7"}},
        }
        assert refused(service, "Query", **query) == (
            "ValidationException",
            "Cannot read from backfilling global secondary index: by-g",
        )
        other = {"Create": index("gsi2", "h")}
        kind, _ = refused(
            service, "UpdateTable", TableName=name, GlobalSecondaryIndexUpdates=[other]
        )
        assert kind == "LimitExceededException"
        assert refused(service, "DeleteTable", TableName=name) == (
            "ResourceInUseException",
            f"Attempt to change a resource which is still in use: Table is being updated: {name}",
        )
        # Half-made, it can be deleted.
        gone = ask(
            service, "UpdateTable", TableName=name,
            GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-g"}}],
        )["TableDescription"]  # fmt: skip
        assert gone["GlobalSecondaryIndexes"][0]["IndexStatus"] == "DELETING"
        after = described(service, name)
        assert "GlobalSecondaryIndexes" not in after
        assert after["TableStatus"] == "ACTIVE"
        assert after["AttributeDefinitions"] == defined("h")
        ask(service, "DeleteTable", TableName=name)

    def test_negative_control_active_too_early_and_a_query_misses_items(
        self, service: Service, name: str
    ) -> None:
        ask(service, "CreateTable", **on_demand(name, "h"))
        ask(service, "PutItem", TableName=name, Item={"h": {"S": "1"}, "g": {"N": "7"}})
        ask(
            service, "UpdateTable", TableName=name, AttributeDefinitions=defined("g:N"),
            GlobalSecondaryIndexUpdates=[{"Create": index("by-g", "g")}],
        )  # fmt: skip
        (made,) = service.context.cluster.refresh().names[name].indexes
        service.context.cluster.catalog.activate_index(made.id)
        (gsi,) = described(service, name)["GlobalSecondaryIndexes"]
        assert gsi["IndexStatus"] == "ACTIVE"
        found = ask(
            service, "Query", TableName=name, IndexName="by-g", KeyConditionExpression="g = :g",
            ExpressionAttributeValues={":g": {"N": "7"}},
        )  # fmt: skip
        assert found["Count"] == 0  # although the table has one


class TestListTables:
    def test_pages(self, service: Service) -> None:
        names = [f"table-{number}" for number in range(5)]
        for each in names:
            ask(service, "CreateTable", **on_demand(each, "h"))
        assert ask(service, "ListTables") == {"TableNames": names}
        page = ask(service, "ListTables", Limit=2)
        assert page == {"TableNames": names[:2], "LastEvaluatedTableName": names[1]}
        page = ask(service, "ListTables", ExclusiveStartTableName=names[1], Limit=3)
        assert page == {"TableNames": names[2:]}
        assert ask(service, "ListTables", ExclusiveStartTableName="table-30") == {
            "TableNames": ["table-4"]
        }

    @pytest.mark.parametrize(
        ("limit", "bound"), [(0, "greater than or equal to 1"), (101, "less than or equal to 100")]
    )
    def test_limit(self, shared_service: Service, limit: int, bound: str) -> None:
        assert refused(shared_service, "ListTables", Limit=limit) == (
            "ValidationException",
            f"1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint:"
            f" Member must have value {bound}",
        )


class TestTags:
    def test_added_replaced_and_removed(self, shared_service: Service, name: str) -> None:
        tags = [{"Key": "a", "Value": "1"}]
        ask(shared_service, "CreateTable", **on_demand(name, "h", Tags=tags))
        arn = ARN + name
        assert ask(shared_service, "ListTagsOfResource", ResourceArn=arn) == {"Tags": tags}
        more = [{"Key": "b", "Value": ""}, {"Key": "a", "Value": "2"}]
        assert ask(shared_service, "TagResource", ResourceArn=arn, Tags=more) == {}
        found = ask(shared_service, "ListTagsOfResource", ResourceArn=arn)["Tags"]
        assert found == [{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}]
        ask(shared_service, "UntagResource", ResourceArn=arn, TagKeys=["a", "nope"])
        found = ask(shared_service, "ListTagsOfResource", ResourceArn=arn)["Tags"]
        assert found == [{"Key": "b", "Value": ""}]

    def test_at_most_fifty(self, shared_service: Service, name: str) -> None:
        tags = [{"Key": str(number), "Value": "x"} for number in range(51)]
        ask(shared_service, "CreateTable", **on_demand(name, "h", Tags=tags[:40]))
        arn = ARN + name
        kind, _ = refused(shared_service, "TagResource", ResourceArn=arn, Tags=tags[30:])
        assert kind == "ValidationException"
        ask(shared_service, "TagResource", ResourceArn=arn, Tags=tags[30:50])
        assert len(ask(shared_service, "ListTagsOfResource", ResourceArn=arn)["Tags"]) == 50

    def test_characters(self, shared_service: Service, name: str) -> None:
        good = {"Key": "Größe 1 + - = . _ : / @", "Value": "数\u00a0٣"}
        ask(shared_service, "CreateTable", **on_demand(name, "h", Tags=[good]))
        for bad, part in [
            ({"Key": "a,b", "Value": "x"}, "key"),
            ({"Key": "a\t", "Value": "x"}, "key"),
            ({"Key": "a", "Value": "x;"}, "value"),
            ({"Key": "a", "Value": "☃"}, "value"),
        ]:
            for request in (
                ("TagResource", {"ResourceArn": ARN + name, "Tags": [bad]}),
                ("CreateTable", on_demand(name + "-2", "h", Tags=[bad])),
            ):
                kind, message = refused(shared_service, request[0], **request[1])
                assert kind == "ValidationException"
                assert f"The tag {part} " in message
        found = ask(shared_service, "ListTagsOfResource", ResourceArn=ARN + name)["Tags"]
        assert found == [good]

    def test_arns(self, shared_service: Service, name: str) -> None:
        cases = {
            "foo": ("ValidationException",
                    "Invalid TableArn: Invalid ResourceArn provided as input foo"),
            ARN + name: ("ResourceNotFoundException",
                         f"Requested resource not found: ResourcArn: {ARN}{name} not found"),
        }  # fmt: skip
        for arn, error in cases.items():
            assert refused(shared_service, "ListTagsOfResource", ResourceArn=arn) == error
        other = ARN.replace("us-east-1", "eu-west-1") + name
        kind, _ = refused(shared_service, "ListTagsOfResource", ResourceArn=other)
        assert kind == "AccessDeniedException"


class TestTimeToLive:
    def test_on_and_off(self, shared_service: Service, name: str) -> None:
        def update(enabled: bool, attribute: str) -> dict[str, Any]:
            wanted = {"Enabled": enabled, "AttributeName": attribute}
            return {"TableName": name, "TimeToLiveSpecification": wanted}

        def fails(enabled: bool, attribute: str) -> str:
            return refused(shared_service, "UpdateTimeToLive", **update(enabled, attribute))[1]

        def status() -> Any:
            answer = ask(shared_service, "DescribeTimeToLive", TableName=name)
            return answer["TimeToLiveDescription"]

        ask(shared_service, "CreateTable", **on_demand(name, "h"))
        assert status() == {"TimeToLiveStatus": "DISABLED"}
        assert fails(False, "at") == "TimeToLive is already disabled"
        answer = ask(shared_service, "UpdateTimeToLive", **update(True, "at"))
        assert answer == {"TimeToLiveSpecification": {"Enabled": True, "AttributeName": "at"}}
        assert status() == {"TimeToLiveStatus": "ENABLING", "AttributeName": "at"}
        assert described(shared_service, name)["TableStatus"] == "ACTIVE"
        assert "LocalSecondaryIndexes" not in described(shared_service, name)
        finished(shared_service.context.cluster, name)
        assert status() == {"TimeToLiveStatus": "ENABLED", "AttributeName": "at"}
        assert fails(True, "at") == "TimeToLive is already enabled"
        other = "TimeToLive is active on a different AttributeName: current AttributeName is at"
        assert fails(True, "x") == fails(False, "x") == other
        ask(shared_service, "UpdateTimeToLive", **update(False, "at"))
        assert status() == {"TimeToLiveStatus": "DISABLED"}


def test_a_table_goes_by_its_arn_as_well(shared_service: Service, name: str) -> None:
    ask(shared_service, "CreateTable", **on_demand(name, "h"))
    item = {"h": {"S": "1"}}
    ask(shared_service, "PutItem", TableName=ARN + name, Item=item)
    assert ask(shared_service, "GetItem", TableName=ARN + name, Key=item) == {"Item": item}
    asked = {ARN + name: {"Keys": [item]}}
    assert ask(shared_service, "BatchGetItem", RequestItems=asked)["Responses"] == {name: [item]}
    assert described(shared_service, ARN + name)["TableName"] == name
    kind, _ = refused(shared_service, "CreateTable", **on_demand(ARN + "new", "h"))
    assert kind == "ValidationException"


def test_continuous_backups(shared_service: Service, name: str) -> None:
    def specified(enabled: bool, **more: Any) -> dict[str, Any]:
        own = {"PointInTimeRecoveryEnabled": enabled} | more
        return {"TableName": name, "PointInTimeRecoverySpecification": own}

    missing = ("TableNotFoundException", f"Table not found: {name}")
    assert refused(shared_service, "DescribeContinuousBackups", TableName=name) == missing
    assert refused(shared_service, "UpdateContinuousBackups", **specified(True)) == missing
    ask(shared_service, "CreateTable", **on_demand(name, "h"))
    there = ask(shared_service, "DescribeContinuousBackups", TableName=name)
    assert there == {
        "ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "DISABLED"},
        }
    }
    assert ask(shared_service, "UpdateContinuousBackups", **specified(False)) == there
    for request, why in [
        (specified(True), "mynamo does not support point-in-time recovery yet"),
        (specified(False, RecoveryPeriodInDays=36), "value less than or equal to 35"),
    ]:
        kind, message = refused(shared_service, "UpdateContinuousBackups", **request)
        assert kind == "ValidationException"
        assert why in message


def test_what_the_service_says_of_itself(shared_service: Service, name: str) -> None:
    assert ask(shared_service, "DescribeLimits")["TableMaxReadCapacityUnits"] == 40_000
    answer = shared_service.call("DescribeEndpoints", b"{}", {"host": "here:8000"})
    assert b'"Address":"here:8000"' in answer.body


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ("Nonsense", ""),
        ("ExecuteTransaction", "mynamo does not support ExecuteTransaction yet"),
    ],
)
def test_operations_that_are_not_there(
    shared_service: Service, operation: str, message: str
) -> None:
    assert refused(shared_service, operation) == ("UnknownOperationException", message)


@pytest.mark.parametrize("kind", [RuntimeError, ConfigError, CorruptData])
def test_what_nobody_foresaw_is_an_answer_too(
    shared_service: Service, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """What is not the client's fault is in the log, and nothing of it in the answer."""
    with mock.patch.object(table_operations, "existing_table", side_effect=kind("what is wrong")):
        answer = shared_service.call("DescribeTable", b'{"TableName": "abc"}', {})
    assert (answer.status, *error_of(answer)) == (
        500, "InternalServerError", "Internal server error"
    )  # fmt: skip
    assert caplog.text.count("DescribeTable failed") == 1
    assert "what is wrong" in caplog.text


def test_an_unknown_outcome_is_logged(
    shared_service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with mock.patch.object(table_operations, "existing_table", side_effect=WriteOutcomeUnknown):
        kind, _ = refused(shared_service, "DescribeTable", TableName="abc")
    assert kind == "InternalServerError"
    assert caplog.text.count("DescribeTable failed") == 1


def test_what_will_pass_is_not_logged_as_a_failure(
    shared_service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with mock.patch.object(table_operations, "existing_table", side_effect=ShardUnavailable):
        kind, _ = refused(shared_service, "DescribeTable", TableName="abc")
    assert kind == "ServiceUnavailableException"
    assert "DescribeTable failed" not in caplog.text


def test_settings_of_two_updates_at_once_both_stay(service: Service, name: str) -> None:
    """The second one works on what the first has left, whatever it knew before."""
    ask(service, "CreateTable", **on_demand(name, "h"))
    store = service.context.cluster.catalog.change_settings
    arn = ARN + name

    def interrupted(table_id: int, change: Any) -> TableSettings:
        service.context.cluster.catalog.change_settings = store  # type: ignore[method-assign]
        ask(service, "TagResource", ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}])
        return store(table_id, change)

    service.context.cluster.catalog.change_settings = interrupted  # type: ignore[method-assign]
    ask(service, "UpdateTable", TableName=name, DeletionProtectionEnabled=True)
    assert described(service, name)["DeletionProtectionEnabled"] is True
    assert ask(service, "ListTagsOfResource", ResourceArn=arn)["Tags"]


def test_waiters_and_a_backfilled_index(shared_dynamodb: Any, name: str) -> None:
    shared_dynamodb.create_table(**on_demand(name, "h"))
    shared_dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    for number in range(30):
        item = {"h": {"S": str(number)}, "g": {"N": "7"}}
        shared_dynamodb.put_item(TableName=name, Item=item)
    shared_dynamodb.update_table(
        TableName=name,
        AttributeDefinitions=defined("h", "g:N"),
        GlobalSecondaryIndexUpdates=[{"Create": index("by-g", "g")}],
    )

    def active() -> bool:
        table = shared_dynamodb.describe_table(TableName=name)["Table"]
        (gsi,) = table["GlobalSecondaryIndexes"]
        assert ("Backfilling" in gsi) == (gsi["IndexStatus"] != "ACTIVE")
        assert (gsi["IndexStatus"] == "ACTIVE") == (table["TableStatus"] == "ACTIVE")
        return bool(gsi["IndexStatus"] == "ACTIVE")

    eventually(active, 60)
    found = shared_dynamodb.query(
        TableName=name,
        IndexName="by-g",
        KeyConditionExpression="g = :g",
        ExpressionAttributeValues={":g": {"N": "7"}},
    )
    assert found["Count"] == 30

    def counted() -> bool:
        table = shared_dynamodb.describe_table(TableName=name)["Table"]
        return bool(table["ItemCount"] == 30 and table["TableSizeBytes"] > 0)

    eventually(counted, 30)
    shared_dynamodb.delete_table(TableName=name)
    shared_dynamodb.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
