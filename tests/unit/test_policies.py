"""Policies: AWS's documented examples, what is refused, and a comparison with a naive evaluator."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mynamo.errors import InvalidPolicy
from mynamo.gateway.policies.iam_actions import ACTIONS
from mynamo.gateway.policies.policy_conditions import CONDITION_KEYS
from mynamo.gateway.policies.policy_decisions import Access, Decision, decide, denies
from mynamo.gateway.policies.policy_documents import (
    MAX_CHARACTERS,
    Policy,
    parse_policy,
)
from mynamo.gateway.policies.text_patterns import like
from tests.unit.naive_policies import Request, outcome, wild

SCORES = "arn:aws:dynamodb:us-west-2:123456789012:table/GameScores"
INDEX = f"{SCORES}/index/TopScoreDateTimeIndex"
ITEMS = [
    "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem",
    "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem",
]  # fmt: skip


def policy(*statements: dict[str, Any], user: str = "ann") -> Policy:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return parse_policy(json.dumps(document), "made-up.json", user)


def statement(effect: str = "Allow", **members: Any) -> dict[str, Any]:
    if not {"Action", "NotAction"} & members.keys():
        members["Action"] = "dynamodb:*"
    if not {"Resource", "NotResource"} & members.keys():
        members["Resource"] = "*"
    return {"Effect": effect, **members}


def decision(policies: Policy, action: str, resource: str = SCORES, **values: Any) -> Decision:
    """Args: values: of condition keys by their names after the colon."""
    names = {name.partition(":")[2].lower(): name for name in CONDITION_KEYS}
    given = {
        names[name.lower()]: value if isinstance(value, list) else [value]
        for name, value in values.items()
    }
    return decide([policies], Access(f"dynamodb:{action}", resource, given))


# Developer Guide, "Using IAM policy conditions for fine-grained access control"; the variables of
# web identities are a user's name here.

OWN_ITEMS = statement(
    Action=ITEMS, Resource=[SCORES],
    Condition={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["${aws:username}"]}},
)  # fmt: skip
GAME = statement(
    Sid="AllowAccessToOnlyItemsMatchingUserID", Action=ITEMS, Resource=[SCORES],
    Condition={
        "ForAllValues:StringEquals": {
            "dynamodb:LeadingKeys": ["${aws:username}"],
            "dynamodb:Attributes": [
                "UserId", "GameTitle", "Wins", "Losses", "TopScore", "TopScoreDateTime",
            ],
        },
        "StringEqualsIfExists": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"},
    },
)  # fmt: skip
LIMITED = statement(
    Action=[
        "dynamodb:UpdateItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:BatchGetItem",
        "dynamodb:Scan",
    ],
    Resource=[SCORES],
    Condition={
        "ForAllValues:StringEquals": {"dynamodb:Attributes": ["UserId", "TopScore"]},
        "StringEqualsIfExists": {
            "dynamodb:Select": "SPECIFIC_ATTRIBUTES",
            "dynamodb:ReturnValues": ["NONE", "UPDATED_OLD", "UPDATED_NEW"],
        },
    },
)  # fmt: skip
NOT_UPDATED = statement(
    Action=["dynamodb:UpdateItem"], Resource=SCORES,
    Condition={
        "ForAllValues:StringNotLike": {
            "dynamodb:Attributes": ["FreeGamesAvailable", "BossLevelUnlocked"]
        },
        "StringEquals": {"dynamodb:ReturnValues": ["NONE", "UPDATED_OLD", "UPDATED_NEW"]},
    },
)  # fmt: skip
PROJECTED = statement(
    Action=["dynamodb:Query"], Resource=[INDEX],
    Condition={
        "ForAllValues:StringEquals": {
            "dynamodb:Attributes": ["TopScoreDateTime", "GameTitle", "Wins", "Losses", "Attempts"]
        },
        "StringEquals": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"},
    },
)  # fmt: skip
ALL_PROJECTED = statement(
    Action=["dynamodb:Query"], Resource=[INDEX],
    Condition={"StringEquals": {"dynamodb:Select": "ALL_PROJECTED_ATTRIBUTES"}},
)  # fmt: skip
# Developer Guide, "Using IAM with DynamoDB transactions", examples 2 and 3.
TRANSACTED: dict[str, Any] = {
    "Action": ["dynamodb:ConditionCheckItem", "dynamodb:PutItem", "dynamodb:GetItem"],
    "Condition": {
        "ForAnyValue:StringEquals": {
            "dynamodb:EnclosingOperation": ["TransactWriteItems", "TransactGetItems"]
        }
    },
}
# Developer Guide, "IAM security policies with PartiQL for DynamoDB".
NO_FULL_SCAN = [
    statement(
        "Deny", Action=["dynamodb:PartiQLSelect"], Resource=[SCORES],
        Condition={"Bool": {"dynamodb:FullTableScan": ["true"]}},
    ),
    statement(Action=["dynamodb:PartiQLSelect"], Resource=[SCORES, INDEX]),
]  # fmt: skip
# IAM User Guide, "NotAction with Deny", "Condition operators", "Policy variables".
FROM_OFFICE = statement(Condition={"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}})
MIXED_RANGES = statement(
    Condition={"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:DB8:1234:5678::/64"]}}
)
ONLY_TLS = [statement("Deny", Condition={"Bool": {"aws:SecureTransport": "false"}}), statement()]
ONE_DAY = statement(
    Condition={
        "DateGreaterThan": {"aws:CurrentTime": "2020-04-01T00:00:00Z"},
        "DateLessThan": {"aws:CurrentTime": "2020-06-30T23:59:59Z"},
    }
)


@pytest.mark.parametrize(
    ("statements", "action", "asked", "allowed"),
    [
        ([OWN_ITEMS], "GetItem", {"LeadingKeys": "ann"}, True),
        ([OWN_ITEMS], "GetItem", {"LeadingKeys": "bob"}, False),
        ([OWN_ITEMS], "BatchGetItem", {"LeadingKeys": ["ann", "bob"]}, False),
        ([OWN_ITEMS], "BatchGetItem", {"LeadingKeys": ["ann", "ann"]}, True),
        ([OWN_ITEMS], "Query", {}, True),  # ForAllValues holds for a key that is not there
        ([OWN_ITEMS], "Scan", {}, False),
        ([OWN_ITEMS], "Query", {"LeadingKeys": "ann", "resource": INDEX}, False),
        ([GAME], "GetItem", {"LeadingKeys": "ann", "Attributes": ["UserId", "Wins"],
                             "Select": "SPECIFIC_ATTRIBUTES"}, True),
        ([GAME], "GetItem", {"LeadingKeys": "ann", "Attributes": ["UserId"],
                             "Select": "ALL_ATTRIBUTES"}, False),
        ([GAME], "GetItem", {"LeadingKeys": "ann", "Attributes": ["UserId", "Password"],
                             "Select": "SPECIFIC_ATTRIBUTES"}, False),
        ([GAME], "GetItem", {"LeadingKeys": "bob", "Attributes": ["UserId"],
                             "Select": "SPECIFIC_ATTRIBUTES"}, False),
        ([GAME], "PutItem", {"LeadingKeys": "ann", "Attributes": ["UserId", "Wins"]}, True),
        ([LIMITED], "UpdateItem", {"Attributes": ["UserId", "TopScore"],
                                   "ReturnValues": "UPDATED_NEW"}, True),
        ([LIMITED], "UpdateItem", {"Attributes": ["UserId", "TopScore"],
                                   "ReturnValues": "ALL_OLD"}, False),
        ([LIMITED], "Scan", {"Attributes": ["TopScore"], "Select": "SPECIFIC_ATTRIBUTES"}, True),
        ([LIMITED], "Scan", {"Select": "COUNT"}, False),
        ([LIMITED], "PutItem", {"Attributes": ["UserId"]}, False),
        ([NOT_UPDATED], "UpdateItem", {"Attributes": ["UserId", "Wins"],
                                       "ReturnValues": "NONE"}, True),
        ([NOT_UPDATED], "UpdateItem", {"Attributes": ["UserId", "BossLevelUnlocked"],
                                       "ReturnValues": "NONE"}, False),
        ([NOT_UPDATED], "UpdateItem", {"Attributes": ["UserId"], "ReturnValues": "ALL_NEW"}, False),
        ([NOT_UPDATED], "UpdateItem", {"Attributes": ["UserId"]}, False),
        ([PROJECTED], "Query", {"resource": INDEX, "Attributes": ["Wins"],
                                "Select": "SPECIFIC_ATTRIBUTES"}, True),
        ([PROJECTED], "Query", {"resource": INDEX, "Attributes": ["Wins", "Email"],
                                "Select": "SPECIFIC_ATTRIBUTES"}, False),
        ([PROJECTED], "Query", {"resource": INDEX, "Attributes": ["Wins"]}, False),
        ([PROJECTED], "Query", {"Attributes": ["Wins"], "Select": "SPECIFIC_ATTRIBUTES"}, False),
        ([ALL_PROJECTED], "Query", {"resource": INDEX,
                                    "Select": "ALL_PROJECTED_ATTRIBUTES"}, True),
        ([ALL_PROJECTED], "Query", {"resource": INDEX, "Select": "ALL_ATTRIBUTES"}, False),
        ([statement(**TRANSACTED)], "PutItem",
         {"EnclosingOperation": "TransactWriteItems"}, True),
        ([statement(**TRANSACTED)], "PutItem", {}, False),
        ([statement(), statement("Deny", **TRANSACTED)], "PutItem", {}, True),
        ([statement(), statement("Deny", **TRANSACTED)], "PutItem",
         {"EnclosingOperation": "TransactWriteItems"}, False),
        (NO_FULL_SCAN, "PartiQLSelect", {"FullTableScan": "true"}, False),
        (NO_FULL_SCAN, "PartiQLSelect", {"FullTableScan": "false"}, True),
        (NO_FULL_SCAN, "PartiQLSelect", {}, True),
        ([FROM_OFFICE], "Scan", {"SourceIp": "203.0.113.255"}, True),
        ([FROM_OFFICE], "Scan", {"SourceIp": "203.0.114.0"}, False),
        ([FROM_OFFICE], "Scan", {}, False),
        ([MIXED_RANGES], "Scan", {"SourceIp": "2001:db8:1234:5678::9"}, True),
        ([MIXED_RANGES], "Scan", {"SourceIp": "2001:db8:1234:5679::9"}, False),
        (ONLY_TLS, "Scan", {"SecureTransport": "true"}, True),
        (ONLY_TLS, "Scan", {"SecureTransport": "false"}, False),
        ([ONE_DAY], "Scan", {"CurrentTime": "2020-05-01T00:00:00Z"}, True),
        ([ONE_DAY], "Scan", {"CurrentTime": "1593561599"}, False),  # the end, as seconds
        ([ONE_DAY], "Scan", {"CurrentTime": "1593561598"}, True),
        ([statement(NotAction="dynamodb:Delete*")], "PutItem", {}, True),
        ([statement(NotAction="dynamodb:Delete*")], "DeleteItem", {}, False),
        ([statement("Deny", NotAction=["dynamodb:GetItem"]), statement()], "GetItem", {}, True),
        ([statement("Deny", NotAction=["dynamodb:GetItem"]), statement()], "Query", {}, False),
        ([statement(NotResource=f"{SCORES}*")], "GetItem", {}, False),
        ([statement(NotResource=f"{SCORES}*")], "GetItem", {"resource": SCORES[:-1]}, True),
        ([statement(Action="DYNAMODB:getitem")], "GetItem", {}, True),
        ([statement(Resource=SCORES.lower())], "GetItem", {}, False),
        ([statement(Resource="arn:aws:dynamodb:*:*:table/Game?cores")], "GetItem", {}, True),
        ([statement(Condition={"Null": {"dynamodb:LeadingKeys": "false"}})], "Scan", {}, False),
        ([statement(Condition={"Null": {"dynamodb:LeadingKeys": "true"}})], "Scan", {}, True),
        ([statement(Condition={"StringNotEquals": {"dynamodb:Select": "COUNT"}})], "GetItem",
         {}, True),  # a negated operator holds for a key that is not there
        ([statement(Condition={"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}})], "GetItem",
         {}, True),
        ([statement(Condition={"ForAnyValue:StringNotEquals": {"dynamodb:Attributes": "a"}})],
         "GetItem", {}, False),
        ([statement(Condition={"NumericLessThan": {"aws:EpochTime": 5}})], "Scan",
         {"EpochTime": "4.5"}, True),
        ([statement(Condition={"StringEquals": {"AWS:UserName": "ann"}})], "Scan",
         {"username": "ann"}, True),
        ([statement(Condition={"NumericEquals": {"aws:EpochTime": 10}})], "Scan",
         {"EpochTime": "1_0"}, False),  # other spellings of numbers than AWS's are texts
        ([statement(Condition={"NumericEquals": {"aws:EpochTime": 10}})], "Scan",
         {"EpochTime": " 10"}, False),
        ([statement(Condition={"StringEqualsIgnoreCase": {"aws:username": "STRASSE"}})], "Scan",
         {"username": "straße"}, False),
        ([statement(Condition={"StringEqualsIgnoreCase": {"aws:username": "ANN"}})], "Scan",
         {"username": "ann"}, True),
    ],
)  # fmt: skip
def test_documented_rules(
    statements: list[dict[str, Any]], action: str, asked: dict[str, Any], allowed: bool
) -> None:
    asked = dict(asked)
    resource = asked.pop("resource", SCORES)
    assert decision(policy(*statements), action, resource, **asked).allowed is allowed


def test_the_statement_that_decided() -> None:
    both = policy(statement(Sid="Most"), statement("Deny", Action="dynamodb:Scan", Sid="NoScans"))
    for action, allowed, name in (
        ("GetItem", True, "made-up.json, Statement[0] (Most)"),
        ("Scan", False, "made-up.json, Statement[1] (NoScans)"),
    ):
        decided = decision(both, action)
        assert decided.allowed is allowed
        assert decided.statement is not None
        assert decided.statement.name == name
    assert decision(policy(statement(Action="dynamodb:Query")), "Scan") == Decision(False, None)


def test_no_policy_allows_nothing() -> None:
    access = Access("dynamodb:GetItem", SCORES, {})
    assert decide([], access) == Decision(False, None)
    assert not denies([], access)


def test_a_deny_of_another_policy_wins() -> None:
    access = Access("dynamodb:GetItem", SCORES, {})
    allow, deny = policy(statement()), policy(statement("Deny"))
    assert not decide([allow, deny], access).allowed
    assert not decide([deny, allow], access).allowed
    assert denies([allow, deny], access)
    assert not denies([allow], access)


def test_variables_have_no_wildcards() -> None:
    """A user of the name `*` is not everybody."""
    own = statement(
        Condition={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "${aws:username}#*"}}
    )
    assert decision(policy(own, user="*"), "GetItem", LeadingKeys="*#1").allowed
    assert not decision(policy(own, user="*"), "GetItem", LeadingKeys="bob#1").allowed
    literal = statement(Resource="arn:aws:dynamodb:*:*:table/a${*}b${?}${$}")
    assert decision(policy(literal), "GetItem", "arn:aws:dynamodb:x:1:table/a*b?$").allowed
    assert not decision(policy(literal), "GetItem", "arn:aws:dynamodb:x:1:table/aab?$").allowed


def test_the_policy_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rights.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    orders = SCORES.replace("GameScores", "orders")
    documented = parse_policy(text, "rights.md", "ann")
    assert decision(documented, "GetItem", orders, LeadingKeys="ann").allowed
    assert not decision(documented, "GetItem", orders, LeadingKeys="bob").allowed


REFUSED: list[tuple[Any, str]] = [
    ("{", "it is not JSON"),
    ("[" * 100_000, "more than 6144 characters"),
    ("[" * 6000, "nested too deeply"),
    ([], "write an object"),
    ({"Version": "2012-10-17"}, "Statement is missing"),
    ({"Version": "2012", "Statement": [statement()]}, 'Version: write "2012-10-17"'),
    ({"Statement": []}, "Statement: write a statement"),
    ({"Statement": "x"}, "Statement: write a statement"),
    ({"Statement": [statement()], "Statements": []},
     '"Statements" is no element that can stand here; did you mean Statement?'),
    ('{"Statement": [], "Statement": []}', 'an object has "Statement" twice'),
    ('{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": '
     '{"Bool": {"aws:SecureTransport": true}, "Bool": {}}}]}', 'an object has "Bool" twice'),
]  # fmt: skip
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"Sid": "a b"}, "Statement[0].Sid: write a text of A-Z"),
    ({"Sid": 1.5}, "Statement[0].Sid: write a text of A-Z"),
    ({"Effect": "allow"}, 'Statement[0].Effect: write "Allow" or "Deny"'),
    ({"Effect": None}, 'Statement[0].Effect: write "Allow" or "Deny"'),
    ({"Principal": "*"}, "Statement[0]: Principal has no place"),
    ({"Actions": "*"}, 'Statement[0]: "Actions" is no element'),
    ({"NotAction": "*"}, "Statement[0]: write one of Action and NotAction"),
    ({"NotResource": "*"}, "Statement[0]: write one of Resource and NotResource"),
    ({"Action": []}, "Statement[0].Action: write a text, or a list of texts"),
    ({"Action": [None]}, "Statement[0].Action: write a text, or a list of texts"),
    ({"Action": "dynamodb:GetItems"},
     "Statement[0].Action: dynamodb:GetItems is no action of DynamoDB or mynamo; did you mean "),
    ({"Action": ["dynamodb:GetItem", "s3:GetObject"]}, "s3:GetObject is no action of DynamoDB"),
    ({"Action": "mynamo:Verfy"}, "did you mean mynamo:Verify"),
    ({"Action": "x"}, "actions begin with dynamodb: or mynamo:"),
    ({"Action": "GetItem"}, "GetItem is no action"),
    ({"Action": "dynamodb:${aws:username}"}, "is no action"),
    ({"Action": "dynamodb:TransactWriteItems"},
     "is no action; name those of what is in it: dynamodb:PutItem, UpdateItem"),
    ({"Resource": "orders"}, "Statement[0].Resource: orders is no resource of DynamoDB; write"),
    ({"Resource": "arn:aws:s3:::bucket/*"}, "is no resource of DynamoDB"),
    ({"Resource": "arn:aws:dynamodb:x:1"}, "is no resource of DynamoDB"),
    ({"Resource": "arn:aws:${*}:x:1:table/a"}, "is no resource of DynamoDB"),
    ({"Resource": "arn:aws:dynamodb:*:*:table/${www.amazon.com:user_id}"},
     "${www.amazon.com:user_id} is no variable that mynamo knows; there is ${aws:username}"),
    ({"Resource": "arn:aws:dynamodb:*:*:table/${aws:username"}, "${aws:username is no variable"),
    ({"Condition": []}, "Statement[0].Condition: write an object"),
    ({"Condition": {"StringEquals": []}}, "Statement[0].Condition.StringEquals: write an object"),
    ({"Condition": {"StringEquals": {}}}, "Condition.StringEquals: no condition key is named"),
    ({"Condition": {"StringEqual": {"dynamodb:Select": "COUNT"}}},
     "StringEqual is no condition operator that mynamo knows; did you mean StringEquals"),
    ({"Condition": {"ForSomeValues:StringEquals": {"dynamodb:Select": "COUNT"}}},
     "ForSomeValues:StringEquals is no condition operator"),
    ({"Condition": {"NullIfExists": {"dynamodb:Select": "true"}}},
     "NullIfExists is no condition operator"),
    ({"Condition": {"ForAnyValue:StringLikeIfExists": {"dynamodb:Attributes": "a"}}},
     "ForAnyValue wants a value to be there and IfExists does not"),
    ({"Condition": {"StringEquals": {"dynamodb:LeadingKey": "a"}}},
     "Condition.StringEquals: dynamodb:LeadingKey is no condition key that mynamo knows; did you "
     "mean dynamodb:LeadingKeys"),
    ({"Condition": {"Null": {"aws:MultiFactorAuthAge": "true"}}}, "is no condition key"),
    ({"Condition": {"StringEquals": {"dynamodb:LeadingKeys": "a"}}},
     "dynamodb:LeadingKeys may have several values: write ForAllValues:StringEquals"),
    ({"Condition": {"StringEquals": {"aws:SourceIp": "1.2.3.4"}}},
     "aws:SourceIp cannot be compared by StringEquals; there are IpAddress and NotIpAddress"),
    ({"Condition": {"IpAddress": {"aws:SourceIp": "1.2.3"}}},
     "'1.2.3' cannot be compared by IpAddress; write an address or a range"),
    ({"Condition": {"Bool": {"aws:SecureTransport": "yes"}}}, 'write "true" or "false"'),
    ({"Condition": {"Null": {"aws:SourceIp": "yes"}}}, 'write "true" or "false"'),
    ({"Condition": {"DateLessThan": {"aws:CurrentTime": "tomorrow"}}}, "write a date"),
    ({"Condition": {"DateLessThan": {"aws:CurrentTime": "2026-13-01"}}}, "write a date"),
    ({"Condition": {"NumericEquals": {"aws:EpochTime": "NaN"}}}, "write a number"),
    ({"Condition": {"StringEquals": {"dynamodb:Select": {}}}}, "write a text"),
    ({"Condition": {"StringEquals": {"dynamodb:Select": "${x}"}}}, "${x} is no variable"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "message"),
    REFUSED
    + [({"Version": "2012-10-17", "Statement": [statement() | f]}, said) for f, said in FAULTS],
)
def test_what_is_refused(document: Any, message: str) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(InvalidPolicy) as caught:
        parse_policy(text, "made-up.json", "ann")
    assert str(caught.value).startswith("made-up.json")
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
MEMBERS = st.sampled_from([
    "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition",
])  # fmt: skip
OPERATORS_GIVEN = st.sampled_from(["Null", "Bool", "StringLike", "ForAllValues:StringEquals"])
KEYS_GIVEN = st.sampled_from(sorted(CONDITION_KEYS)) | st.text(max_size=5)


@given(
    st.dictionaries(MEMBERS, JSON, max_size=2)
    | st.fixed_dictionaries(
        {"Condition": st.dictionaries(OPERATORS_GIVEN, JSON | st.dictionaries(KEYS_GIVEN, JSON))}
    ),
    JSON,
)
def test_any_json_is_a_policy_or_refused(members: dict[str, Any], version: Any) -> None:
    """By no other error, whatever stands wherever."""
    for document in (
        {"Statement": statement() | members},
        {"Version": version, "Statement": [statement(), members]},
    ):
        with suppress(InvalidPolicy):
            assert parse_policy(json.dumps(document), "made-up.json", "ann")


def test_variables_need_their_version() -> None:
    document = {"Statement": statement(Resource="arn:aws:dynamodb:*:*:table/${aws:username}")}
    with pytest.raises(InvalidPolicy, match="policies of the Version"):
        parse_policy(json.dumps(document), "old.json", "ann")


def test_a_sid_stands_once() -> None:
    with pytest.raises(InvalidPolicy, match='two statements have the Sid "A"'):
        policy(statement(Sid="A"), statement("Deny", Sid="A"))


def test_white_space_is_not_counted() -> None:
    text = json.dumps({"Statement": statement()})
    assert parse_policy(text + " " * MAX_CHARACTERS, "wide.json", "ann")


@given(st.text("ab*?", max_size=8), st.text("ab*?", max_size=8))
def test_wildcards(pattern: str, value: str) -> None:
    assert like(pattern, {})(value) is wild(pattern, value)


def test_many_wildcards_take_no_time() -> None:
    """Values come from clients: with backtracking this would not end."""
    assert not like("*a" * 200 + "b", {})("a" * 10_000)


TEXTS = st.sampled_from(["a", "b", "A", "a*", "?", "ab", ""])
ARNS = st.sampled_from([
    "*", "arn:*", "arn:aws:dynamodb:*:*:table/a", "arn:aws:dynamodb:r:1:table/*",
    "arn:aws:dynamodb:r:1:table/a", "arn:aws:dynamodb:r:1:table/?/index/*",
])  # fmt: skip
NAMES = st.sampled_from([
    "*", "dynamodb:*", "dynamodb:Get*", "DynamoDB:getitem", "dynamodb:?etItem", "dynamodb:Query",
    "dynamodb:PartiQL*",
])  # fmt: skip
NUMBERS = st.sampled_from(["0", "1", "1.0", "-2.5", "1e3"])
DATES = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "1767225600", "0"])
RANGES = st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0"])
TRUTHS = st.sampled_from(["true", "false"])
KINDS: list[tuple[str, list[str], st.SearchStrategy[str], list[str]]] = [
    ("dynamodb:LeadingKeys", ["String", "Numeric"], TEXTS, ["ForAllValues:", "ForAnyValue:"]),
    ("dynamodb:Attributes", ["String"], TEXTS, ["ForAllValues:", "ForAnyValue:"]),
    ("dynamodb:Select", ["String"], TEXTS, ["", "ForAllValues:", "ForAnyValue:"]),
    ("aws:EpochTime", ["Numeric"], NUMBERS, [""]),
    ("aws:CurrentTime", ["Date"], DATES, ["", "ForAnyValue:"]),
    ("aws:SourceIp", ["IpAddress"], RANGES, [""]),
    ("aws:SecureTransport", ["Bool"], TRUTHS, [""]),
]
ORDERS = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]
OPERATOR_NAMES = {
    "String": ["StringEquals", "StringNotEquals", "StringEqualsIgnoreCase",
               "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike"],
    "Numeric": [f"Numeric{each}" for each in ORDERS],
    "Date": [f"Date{each}" for each in ORDERS],
    "IpAddress": ["IpAddress", "NotIpAddress"],
    "Bool": ["Bool"],
}  # fmt: skip


def some(values: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3)


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for _ in range(draw(st.integers(0, 3))):
        key, kinds, values, quantifiers = draw(st.sampled_from(KINDS))
        if draw(st.integers(0, 4)) == 0:
            found.setdefault("Null", {})[key] = draw(some(TRUTHS))
            continue
        kind = draw(st.sampled_from(kinds))
        quantifier = draw(st.sampled_from(quantifiers))
        suffix = draw(st.sampled_from(["", "IfExists"])) if quantifier != "ForAnyValue:" else ""
        operator = quantifier + draw(st.sampled_from(OPERATOR_NAMES[kind])) + suffix
        found.setdefault(operator, {})[key] = draw(some(NUMBERS if kind == "Numeric" else values))
    return found


@st.composite
def statements(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "Effect": draw(st.sampled_from(["Allow", "Allow", "Deny"])),
        draw(st.sampled_from(["Action", "NotAction"])): draw(some(NAMES)),
        draw(st.sampled_from(["Resource", "NotResource"])): draw(some(ARNS)),
        "Condition": draw(conditions()),
    }


REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "dynamodb:LeadingKeys": st.lists(TEXTS | NUMBERS, min_size=1, max_size=3),
        "dynamodb:Attributes": st.lists(TEXTS, min_size=1, max_size=3),
        "dynamodb:Select": st.lists(TEXTS, min_size=1, max_size=1),
        "aws:EpochTime": st.lists(NUMBERS, min_size=1, max_size=1),
        "aws:CurrentTime": st.lists(DATES, min_size=1, max_size=1),
        "aws:SourceIp": st.sampled_from([["10.1.2.3"], ["10.9.9.9"], ["192.0.2.1"]]),
        "aws:SecureTransport": st.lists(TRUTHS, min_size=1, max_size=1),
    },
)


@given(conditions(), REQUESTS)
def test_conditions(tests: dict[str, Any], request: Request) -> None:
    """As below, of a statement that is about everything."""
    document = {"Statement": statement(Condition=tests)}
    values = {name.lower(): given for name, given in request.items()}
    access = Access("dynamodb:GetItem", "*", values)
    decided = decide([parse_policy(json.dumps(document), "fuzzed", "ann")], access)
    assert decided.allowed is bool(outcome([document], "dynamodb:GetItem", "*", request))


POLICIES = st.lists(
    st.builds(
        lambda s: {"Statement": s}, statements() | st.lists(statements(), min_size=1, max_size=3)
    ),
    max_size=3,
)
ACCESSED = st.sampled_from([
    "arn:aws:dynamodb:r:1:table/a", "arn:aws:dynamodb:r:1:table/b",
    "arn:aws:dynamodb:r:1:table/a/index/i", "*",
])  # fmt: skip


@given(POLICIES, st.sampled_from(sorted(ACTIONS)) | st.just("dynamodb:GetItem"), ACCESSED, REQUESTS)
def test_a_naive_evaluator_agrees(
    documents: list[dict[str, Any]], action: str, resource: str, request: Request
) -> None:
    policies = [parse_policy(json.dumps(each), "fuzzed", "ann") for each in documents]
    values = {name.lower(): given for name, given in request.items()}
    decided = decide(policies, Access(action, resource, values))
    wanted = outcome(documents, action, resource, request)
    assert decided.allowed is (wanted == "Allow")
    assert (decided.statement is None) is (wanted == "")
    assert denies(policies, Access(action, resource, values)) is (wanted == "Deny")
