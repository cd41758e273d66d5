"""Query and Scan over DynamoDB's API."""

from __future__ import annotations

from typing import Any

import pytest

from mynamo.gateway.operations import query_operations
from mynamo.gateway.service import Service
from tests.gateway.asking import defined, error_of, index, keyed
from tests.gateway.orders import Orders, key, orders

INVALID = "One or more parameter values were invalid: "
BAD_START = "The provided starting key is invalid"
NO_SCALAR = (
    "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: "
)
DETECTED = "1 validation error detected: "
P: dict[str, Any] = {
    "KeyConditionExpression": "h = :h",
    "ExpressionAttributeValues": {":h": {"S": "p"}},
}
G: dict[str, Any] = {
    "KeyConditionExpression": "g = :g",
    "ExpressionAttributeValues": {":g": {"S": "x"}},
}


@pytest.fixture(scope="module")
def table(shared_service: Service, shared_url: str) -> Orders:
    """Items p/1 to p/6; `global` has those with an odd r, `local` orders them backwards.
    `shared_url` keeps the workers going that fill the GSIs."""
    table = orders(shared_service)
    for r in range(1, 7):
        index = {"g": {"S": "x"}, "s": {"N": str(r)}} if r % 2 else {}
        table.put(
            r={"N": str(r)}, l={"S": f"l{9 - r}"}, a={"S": "a" * r}, b={"S": f"b{r}"}, **index
        )
    table.caught_up()
    return table


def numbers(answer: dict[str, Any]) -> list[int]:
    return [int(item["r"]["N"]) for item in answer["Items"]]


# --- what they find ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "values", "found"),
    [
        ("r = :a", ["2"], [2]),
        ("r < :a", ["3"], [1, 2]),
        (":a >= r", ["3"], [1, 2, 3]),
        ("r BETWEEN :a AND :b", ["2", "4.5"], [2, 3, 4]),
    ],
)
def test_key_conditions(table: Orders, condition: str, values: list[str], found: Any) -> None:
    bound = dict(zip([":a", ":b"], ({"N": value} for value in values), strict=False))
    request = {
        "KeyConditionExpression": f"h = :h AND {condition}",
        "ExpressionAttributeValues": P["ExpressionAttributeValues"] | bound,
    }
    answer = table.ask("Query", **request)
    assert numbers(answer) == found
    assert answer["Count"] == answer["ScannedCount"] == len(found)
    assert numbers(table.ask("Query", **request, ScanIndexForward=False)) == found[::-1]


def test_old_parameters(table: Orders) -> None:
    answer = table.ask(
        "Query",
        KeyConditions={
            "h": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "p"}]},
            "r": {"ComparisonOperator": "GE", "AttributeValueList": [{"N": "4"}]},
        },
        QueryFilter={
            "a": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "aaaa"}]},
            "b": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "b6"}]},
        },
        ConditionalOperator="OR",
        AttributesToGet=["r"],
    )
    assert answer == {
        "Items": [{"r": {"N": "4"}}, {"r": {"N": "6"}}], "Count": 2, "ScannedCount": 3
    }  # fmt: skip


def test_filters_and_projections(table: Orders) -> None:
    answer = table.ask(
        "Query", KeyConditionExpression="h = :h", FilterExpression="size(#a) > :n",
        ProjectionExpression="#a", ExpressionAttributeNames={"#a": "a"},
        ExpressionAttributeValues={":h": {"S": "p"}, ":n": {"N": "4"}},
    )  # fmt: skip
    found = [{"a": {"S": "aaaaa"}}, {"a": {"S": "aaaaaa"}}]
    assert answer == {"Items": found, "Count": 2, "ScannedCount": 6}


@pytest.mark.parametrize(
    ("index", "select", "more", "names"),
    [
        (None, None, {}, "ablghsr"),
        (None, "ALL_ATTRIBUTES", {}, "ablghsr"),
        (None, "SPECIFIC_ATTRIBUTES", {"ProjectionExpression": "a"}, "a"),
        (None, "SPECIFIC_ATTRIBUTES", {"AttributesToGet": ["a", "b"]}, "ab"),
        ("local", None, {}, "hlr"),
        ("local", "ALL_PROJECTED_ATTRIBUTES", {}, "hlr"),
        ("local", "ALL_ATTRIBUTES", {}, "ablghsr"),
        ("local", "SPECIFIC_ATTRIBUTES", {"ProjectionExpression": "b, l"}, "bl"),
        ("global", None, {}, "aghrs"),
        ("global", "SPECIFIC_ATTRIBUTES", {"ProjectionExpression": "a"}, "a"),
        ("whole", "ALL_ATTRIBUTES", {}, "ablghsr"),
    ],
)
def test_select(
    table: Orders, index: str | None, select: str | None, more: Any, names: str
) -> None:
    request = {"IndexName": index, "Select": select} | more
    request = {name: value for name, value in request.items() if value is not None}
    keyed: Any = (
        {"KeyConditions": {"h": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "p"}]}}}
        if index in (None, "local")
        else {
            "KeyConditions": {"g": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "x"}]}}
        }
    )
    queried = table.ask("Query", **keyed, **request)["Items"]
    scanned = table.ask("Scan", **request)["Items"]
    assert {name for item in queried for name in item} == set(names)
    assert {name for item in scanned for name in item} == set(names)


def test_counting(table: Orders) -> None:
    assert table.ask("Query", **P, Select="COUNT") == {"Count": 6, "ScannedCount": 6}
    assert table.ask("Scan", IndexName="global", Select="COUNT") == {"Count": 3, "ScannedCount": 3}


# --- pages -------------------------------------------------------------------------------


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize(
    ("request_", "names", "found"),
    [
        (P, "hr", [1, 2, 3, 4, 5, 6]),
        (P | {"IndexName": "local"}, "hlr", [6, 5, 4, 3, 2, 1]),
        (G | {"IndexName": "global"}, "ghrs", [1, 3, 5]),
    ],
)
def test_pages(table: Orders, request_: Any, names: str, found: list[int], forward: bool) -> None:
    seen: list[int] = []
    start: dict[str, Any] = {}
    while True:
        page = table.ask("Query", **request_, **start, Limit=2, ScanIndexForward=forward)
        assert len(page["Items"]) <= 2
        seen += numbers(page)
        if "LastEvaluatedKey" not in page:
            break
        assert set(page["LastEvaluatedKey"]) == set(names)
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert seen == (found if forward else found[::-1])


def test_segments_cover_everything_once(table: Orders) -> None:
    for r in range(20):
        table.put(h={"S": f"other{r}"})
    found = [
        item["h"]["S"] + item["r"]["N"]
        for segment in range(3)
        for item in table.ask("Scan", Segment=segment, TotalSegments=3)["Items"]
    ]
    assert len(found) == len(set(found)) == 26
    for r in range(20):
        table.ask("DeleteItem", Key=key(f"other{r}", 1))


def test_a_start_key_of_another_segment(table: Orders) -> None:
    start = key("p", 1)
    results = [
        table.call("Scan", Segment=segment, TotalSegments=4, ExclusiveStartKey=start)
        for segment in range(4)
    ]
    refused = [error_of(answer)[1] for answer in results if answer.status != 200]
    assert len(refused) == 3
    for message in refused:
        assert message.startswith(
            f"{BAD_START}: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct "
            "Segment. TotalSegments: 4 Segment: "
        )


def test_an_index_with_several_key_attributes(shared_service: Service, shared_url: str) -> None:
    table = orders(
        shared_service,
        GlobalSecondaryIndexes=[
            {"IndexName": "global", "KeySchema": keyed("g", "l", "s:RANGE", "t:RANGE"),
             "Projection": {"ProjectionType": "KEYS_ONLY"}},
        ],
        AttributeDefinitions=defined("h", "r:N", "l", "g", "s:N", "t"),
    )  # fmt: skip
    hashed = {"g": {"S": "x"}, "l": {"S": "y"}}
    for r in range(4):
        table.put(r={"N": str(r)}, s={"N": str(r // 2)}, t={"S": f"t{r}"}, **hashed)
    table.put(r={"N": "9"}, g={"S": "x"}, s={"N": "0"}, t={"S": "t"})  # without l: not in it
    table.caught_up()
    values = {":g": {"S": "x"}, ":l": {"S": "y"}, ":s": {"N": "0"}, ":t": {"S": "t1"}}

    def query(condition: str, **more: Any) -> dict[str, Any]:
        used = {name: value for name, value in values.items() if name in condition}
        return {
            "IndexName": "global",
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": used,
        } | more

    assert numbers(table.ask("Query", **query("l = :l AND g = :g"))) == [0, 1, 2, 3]
    assert numbers(table.ask("Query", **query("g = :g AND l = :l AND s = :s"))) == [0, 1]
    narrow = query("g = :g AND l = :l AND s = :s AND t >= :t")
    assert numbers(table.ask("Query", **narrow)) == [1]
    page = table.ask("Query", **query("g = :g AND l = :l"), Limit=3)
    assert page["LastEvaluatedKey"] == key("p", 2) | hashed | {"s": {"N": "1"}, "t": {"S": "t2"}}
    rest = query("g = :g AND l = :l", ExclusiveStartKey=page["LastEvaluatedKey"])
    assert numbers(table.ask("Query", **rest)) == [3]
    for condition, missed in (("g = :g", "l"), ("g = :g AND l = :l AND t = :t", "s")):
        message = table.refusal("Query", **query(condition))
        assert message == f"Query condition missed key schema element: {missed}"
    check_old_key_conditions(table)


def check_old_key_conditions(table: Orders) -> None:
    """KeyConditions are as many as the keys of what is queried have attributes."""

    def equal(**values: Any) -> dict[str, Any]:
        given = {n: {"S" if type(v) is str else "N": str(v)} for n, v in values.items()}
        conditions = {
            n: {"ComparisonOperator": "EQ", "AttributeValueList": [v]} for n, v in given.items()
        }
        return {"IndexName": "global", "KeyConditions": conditions}

    for asked, found in [
        (equal(g="x", l="y"), [0, 1, 2, 3]),
        (equal(g="x", l="y", s=1), [2, 3]),
        (equal(g="x", l="y", s=1, t="t3"), [3]),
    ]:
        assert numbers(table.ask("Query", **asked)) == found
    few = "Conditions can be of length 1 or 2 only"
    for asked, message in [
        (equal(g="x", l="y", t="t3"), "Query condition missed key schema element: s"),
        (equal(g="x", l="y", s=1, t="t3", a="a"), few),
        (equal(**dict.fromkeys("abcdefghi", "x")), few),
        (equal(h="p", r=1, a="a") | {"IndexName": None}, few),
        ({"KeyConditions": {}}, few),
    ]:
        assert table.refusal("Query", **asked) == message


# --- reading one's own writes ------------------------------------------------------------


@pytest.mark.parametrize("operation", ["Query", "Scan"])
def test_a_token_reads_the_write_from_an_index(table: Orders, operation: str) -> None:
    condition = G if operation == "Query" else {}
    item = key("own", 1) | {"g": {"S": "x"}, "s": {"N": "100"}}
    try:
        for n in range(5):
            token = table.call("PutItem", Item=item | {"a": {"N": str(n)}}).headers[
                "x-mynamo-consistency-token"
            ]
            found = table.ask(operation, token, IndexName="global", **condition)["Items"]
            assert [i["a"]["N"] for i in found if i["s"]["N"] == "100"] == [str(n)]
    finally:
        token = table.call("DeleteItem", Key=key("own", 1)).headers["x-mynamo-consistency-token"]
        table.ask("Scan", token, IndexName="global")


def test_without_workers_a_token_waits_in_vain(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: where nothing fills the index, it is seen to be behind."""
    monkeypatch.setattr(query_operations, "TOKEN_TIMEOUT", 0.2)
    table = orders(service)
    table.put(g={"S": "x"}, s={"N": "1"})
    assert table.ask("Query", **G, IndexName="global")["Items"] == []
    for operation, condition in (("Query", G), ("Scan", {})):
        answer = table.call(operation, table.written(), IndexName="global", **condition)
        assert answer.status == 503
        assert error_of(answer)[0] == "ServiceUnavailableException"
    # The table itself and its LSIs never wait.
    assert table.ask("Query", table.written(), **P, IndexName="local")["Count"] == 0
    assert table.ask("Query", table.written(), **P)["Count"] == 1


def test_a_damaged_token(table: Orders) -> None:
    answer = table.call("Query", "nonsense", IndexName="global", **G)
    assert error_of(answer) == ("ValidationException", "'nonsense' is not a consistency token")


# --- what they refuse --------------------------------------------------------------------

MUST_SPECIFY = (
    "Must specify the AttributesToGet or ProjectionExpression when choosing to get "
    "SPECIFIC_ATTRIBUTES"
)
PROJECTED = "ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName"
CANNOT = "Cannot specify the ProjectionExpression when choosing to get"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"Select": "SPECIFIC_ATTRIBUTES"}, MUST_SPECIFY),
        ({"Select": "ALL_PROJECTED_ATTRIBUTES"}, PROJECTED),
        ({"Select": "COUNT", "ProjectionExpression": "a"}, f"{CANNOT} only the Count"),
        ({"Select": "ALL_ATTRIBUTES", "ProjectionExpression": "a"}, f"{CANNOT} ALL_ATTRIBUTES"),
        ({"Select": "ALL_PROJECTED_ATTRIBUTES", "ProjectionExpression": "a"},
         f"{CANNOT} ALL_PROJECTED_ATTRIBUTES"),
    ],
)  # fmt: skip
def test_select_refused(table: Orders, request_: Any, message: str) -> None:
    assert table.refusal("Scan", **request_) == message
    assert table.refusal("Query", **P, **request_) == DETECTED + message


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "Either the KeyConditions or KeyConditionExpression parameter must be specified in "
             "the request."),
        (P | {"IndexName": "nope"}, "The table does not have the specified index: nope"),
        (P | {"IndexName": "global"}, "Query condition missed key schema element: g"),
        (G | {"IndexName": "global", "ConsistentRead": True},
         "Consistent reads are not supported on global secondary indexes"),
        (G | {"IndexName": "global", "Select": "ALL_ATTRIBUTES"},
         f"{INVALID}Select type ALL_ATTRIBUTES is not supported for global secondary index global "
         "because its projection type is not ALL"),
        (G | {"IndexName": "global", "ProjectionExpression": "b"},
         f"{INVALID}Global secondary index global does not project [b]"),
        (G | {"IndexName": "global", "FilterExpression": "b = :g"},
         f"{INVALID}Secondary index global does not project one or more filter attributes: [b]"),
        (P | {"FilterExpression": "h = :h"},
         "Filter Expression can only contain non-primary key attributes: Primary key attribute: h"),
        (P | {"FilterExpression": "attribute_exists(g.x)"},
         f"{NO_SCALAR}IndexKey: g"),
        (P | {"KeyConditionExpression": "h.x = :h"}, f"{NO_SCALAR}Key: h"),
        (G | {"KeyConditionExpression": "size(g[0]) = :g", "IndexName": "global"},
         f"{NO_SCALAR}IndexKey: g"),
        (P | {"KeyConditionExpression": "a.x = :h"},
         "KeyConditionExpressions cannot have conditions on nested attributes"),
        (P | {"KeyConditionExpression": "h <> :h", "ExpressionAttributeNames": {"#a": "a"}},
         "Value provided in ExpressionAttributeNames unused in expressions: keys: {#a}"),
        (P | {"KeyConditionExpression": "h <> :h", "IndexName": "none"},
         "The table does not have the specified index: none"),
        (P | {"KeyConditionExpression": "h <> :h", "TableName": "no-such-table"},
         "Invalid operator used in KeyConditionExpression: <>"),
        (P | {"KeyConditionExpression": "h > :h"}, "Query key condition not supported"),
        (P | {"KeyConditionExpression": "h = :h AND r = :h"},
         f"{INVALID}Condition parameter type does not match schema type"),
        (P | {"ExclusiveStartKey": {"h": {}}},
         f"{BAD_START}: Supplied AttributeValue is empty, must contain exactly one of the "
         "supported datatypes"),
        (P | {"ExclusiveStartKey": {"h": {"S": "p"}}}, BAD_START),
        (P | {"ExclusiveStartKey": key() | {"l": {"S": "x"}}}, BAD_START),
        (P | {"ExclusiveStartKey": {"h": {"S": "q"}, "r": {"N": "1"}}},
         "The provided starting key is outside query boundaries based on provided conditions"),
        ({"KeyConditionExpression": "h = :h AND r > :r", "ExclusiveStartKey": key("p", 1),
          "ExpressionAttributeValues": {":h": {"S": "p"}, ":r": {"N": "2"}}},
         "The provided starting key does not match the range key predicate"),
    ],
)  # fmt: skip
def test_queries_refused(table: Orders, request_: Any, message: str) -> None:
    assert table.refusal("Query", **request_) == message


def test_a_table_without_sort_key_has_no_start_key(shared_service: Service) -> None:
    single = orders(
        shared_service, KeySchema=keyed("h"), AttributeDefinitions=defined("h", "g"),
        LocalSecondaryIndexes=None, GlobalSecondaryIndexes=[index("whole", "g")],
    )  # fmt: skip
    for started, message in [
        ({"h": {"S": "p"}}, "The query can return at most one row and cannot be restarted"),
        ({"h": {"S": "q"}},
         "The provided starting key is outside query boundaries based on provided conditions"),
        ({"h": {"S": "p"}, "r": {"N": "1"}}, BAD_START),
        ({"h": {"N": "1"}}, f"{BAD_START}: The provided key element does not match the schema"),
    ]:  # fmt: skip
        for forward in (True, False):
            assert message == single.refusal(
                "Query", **P, ExclusiveStartKey=started, ScanIndexForward=forward
            )
    # A scan goes on behind it, and so does an index with many items of one key.
    assert single.ask("Scan", ExclusiveStartKey={"h": {"S": "p"}})["Count"] == 0
    both = {"h": {"S": "z"}, "g": {"S": "p"}}
    by_g = {"IndexName": "whole", "KeyConditionExpression": "g = :h"}
    assert single.ask("Query", **P | by_g, ExclusiveStartKey=both)["Count"] == 0


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"TotalSegments": 2},
         "The Segment parameter is required but was not present in the request when parameter "
         "TotalSegments is present"),
        ({"Segment": 0},
         "The TotalSegments parameter is required but was not present in the request when Segment "
         "parameter is present"),
        ({"Segment": 2, "TotalSegments": 2},
         "The Segment parameter is zero-based and must be less than parameter TotalSegments: "
         "Segment: 2 is not less than TotalSegments: 2"),
        ({"ExclusiveStartKey": {"h": {"S": "p"}}},
         f"{BAD_START}: The provided key element does not match the schema"),
        ({"ConditionalOperator": "OR"}, "ConditionalOperator cannot be used without Filter or "
                                        "Expected"),
        ({"IndexName": "global", "ConsistentRead": True},
         "Consistent reads are not supported on global secondary indexes"),
    ],
)  # fmt: skip
def test_scans_refused(table: Orders, request_: Any, message: str) -> None:
    assert table.refusal("Scan", **request_) == message


@pytest.mark.parametrize(
    "wrong",
    [
        {"Select": "SPECIFIC_ATTRIBUTES"},
        {"FilterExpression": "a b"},
        {"ExclusiveStartKey": {"h": {}}},
        {"ProjectionExpression": "a", "AttributesToGet": ["a"]},
    ],
)
def test_the_request_comes_before_the_table(table: Orders, wrong: Any) -> None:
    nowhere = {"TableName": "nowhere", "IndexName": "nope", "ConsistentRead": True}
    for operation, condition in (("Query", P), ("Scan", {})):
        answer = table.call(operation, **nowhere, **condition)
        assert error_of(answer) == ("ResourceNotFoundException", "Requested resource not found")
        assert table.refusal(operation, **nowhere, **condition, **wrong)
