"""Forms of the console: what of the API they come to, sessions, failed attempts, parts of pages."""

from __future__ import annotations

import subprocess
import sys
import threading
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from mynamo.catalog.cluster import Cluster
from mynamo.console import comparison_jobs, page_parts, sign_ins
from mynamo.console.browse_forms import Source, columns_of, reading_of, source_named, sources_of
from mynamo.console.item_forms import (
    MOST_ATTRIBUTES,
    cell,
    delete_of,
    dump_address,
    dump_form,
    load_address,
    load_form,
    plain,
    put_of,
    update_of,
)
from mynamo.console.page_parts import PageParts
from mynamo.console.refused import Refused
from mynamo.console.sign_in_pages import local_path
from mynamo.console.sign_ins import FailedAttempts, Sessions, signed_in
from mynamo.errors import ShardUnavailable
from mynamo.gateway.auth.credentials import Credential
from mynamo.gateway.operations.request_expressions import Expressions
from mynamo.schemas.gateway_config import AccessKey
from tests.waiting import eventually

DESCRIBED: dict[str, Any] = {
    "TableName": "orders",
    "TableStatus": "ACTIVE",
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": kind} for name, kind in ("hS", "rN", "pN", "gB")
    ],
    "KeySchema": [
        {"AttributeName": "h", "KeyType": "HASH"}, {"AttributeName": "r", "KeyType": "RANGE"},
    ],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "local",
            "KeySchema": [
                {"AttributeName": "h", "KeyType": "HASH"},
                {"AttributeName": "p", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "several",
            "IndexStatus": "CREATING",
            "KeySchema": [
                {"AttributeName": "g", "KeyType": "HASH"},
                {"AttributeName": "h", "KeyType": "HASH"},
                {"AttributeName": "p", "KeyType": "RANGE"},
                {"AttributeName": "r", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["a", "b"]},
        }
    ],
}  # fmt: skip
SOURCES = sources_of(DESCRIBED)
KEYS = ["h", "r"]
ITEM = {"h": {"S": "x"}, "r": {"N": "1"}, "a": {"N": "1"}, "b": {"S": "old"}}


def request(index: str = "", **form: str) -> tuple[str, dict[str, Any]]:
    return reading_of(source_named(SOURCES, index), KEYS, form)


def test_sources_are_the_table_and_its_indexes() -> None:
    shown = [(one.index, one.kind, one.status, one.projection) for one in SOURCES]
    assert shown == [
        ("", "table", "ACTIVE", ""),
        ("local", "LSI", "ACTIVE", "KEYS_ONLY"),
        ("several", "GSI", "CREATING", "INCLUDE a, b"),
    ]
    assert [part.name for part in SOURCES[2].hash_keys] == ["g", "h"]
    assert [part.type for part in SOURCES[2].keys] == ["B", "S", "N", "N"]


def test_without_a_key_it_is_a_scan() -> None:
    operation, asked = request()
    assert operation == "Scan"
    assert asked == {"TableName": "orders", "ReturnConsumedCapacity": "INDEXES", "Limit": 25}


def test_with_a_hash_key_it_is_a_query() -> None:
    operation, asked = request(
        hash0="x", is0="between", sort0=" 1 ", and0="5", order="descending", limit="50",
        consistent="1",
    )  # fmt: skip
    assert operation == "Query"
    assert asked["KeyConditionExpression"] == "#n0 = :v0 AND #n1 BETWEEN :v1 AND :v2"
    assert asked["ExpressionAttributeNames"] == {"#n0": "h", "#n1": "r"}
    assert asked["ExpressionAttributeValues"] == {
        ":v0": {"S": "x"}, ":v1": {"N": "1"}, ":v2": {"N": "5"},
    }  # fmt: skip
    assert (asked["ScanIndexForward"], asked["Limit"], asked["ConsistentRead"]) == (False, 50, True)


def test_keys_of_several_attributes() -> None:
    _, asked = request("several", hash0="AA==", hash1="x", is0="=", sort0="1", is1="<", sort1="2",
                       consistent="1")  # fmt: skip
    assert asked["KeyConditionExpression"] == (
        "#n0 = :v0 AND #n1 = :v1 AND #n2 = :v2 AND #n3 < :v3"
    )
    assert asked["ExpressionAttributeValues"][":v0"] == {"B": "AA=="}
    assert asked["IndexName"] == "several"
    assert "ConsistentRead" not in asked


def test_filter_and_attributes() -> None:
    _, asked = request("local", filter="x.y", filter_is="contains", filter_value="z",
                       attributes=" a, ,b ")  # fmt: skip
    assert asked["FilterExpression"] == "contains(#n0, :v0)"
    names = asked["ExpressionAttributeNames"]
    read = [names[word] for word in asked["ProjectionExpression"].split(", ")]
    assert read == ["h", "r", "p", "a", "b"]  # those of the keys in any case
    assert names["#n0"] == "x.y"
    _, asked = request(filter="b", filter_is="=", filter_type="BOOL", filter_value="true")
    assert asked["ExpressionAttributeValues"] == {":v0": {"BOOL": True}}
    _, asked = request(filter="b", filter_is="attribute_not_exists", filter_value="ignored")
    assert asked["FilterExpression"] == "attribute_not_exists(#n0)"
    assert "ExpressionAttributeValues" not in asked


@pytest.mark.parametrize(
    ("index", "form"),
    [
        ("", {"is0": "=", "sort0": "1"}),
        ("several", {"hash0": "AA=="}),
        ("", {"hash0": "x", "is0": "between", "sort0": "1"}),
        ("", {"hash0": "x", "is0": "OR", "sort0": "1"}),
        ("", {"filter": "a", "filter_is": "OR"}),
        ("", {"filter": "a", "filter_type": "M"}),
        ("", {"filter": "a", "filter_type": "BOOL", "filter_value": "yes"}),
        ("", {"start": "!"}),
        ("nothing", {}),
    ],
)
def test_forms_that_mean_nothing(index: str, form: dict[str, str]) -> None:
    with pytest.raises(Refused):
        request(index, **form)


def test_columns_begin_with_keys() -> None:
    items = [{"z": 1, "r": 1, "h": 1}, {"y": 1, "p": 1}]
    source: Source = SOURCES[1]
    assert columns_of(items, KEYS, source, 4) == (["h", "r", "p", "z"], 1)
    assert columns_of([], KEYS, source, 1) == (["h", "r", "p"], 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_items_pass_through_forms_and_addresses(item: dict[str, Any]) -> None:
    try:
        address = dump_address(item)
    except TypeError:  # a half of a pair of surrogates, which no item has
        return
    assert load_address(address) == item
    assert load_form(dump_form(item)) == item
    assert address.isascii()


@pytest.mark.parametrize("text", ["", "x", "\u00e9", "W10", "bnVsbA"])
def test_addresses_that_name_nothing(text: str) -> None:
    with pytest.raises(Refused, match="no key of an item"):
        load_address(text)


def test_values_as_people_read_them() -> None:
    value = {"L": [{"S": "a"}, {"N": "1"}, {"M": {"x": {"BOOL": True}, "y": {"NULL": True}}},
                   {"B": "AA=="}, {"SS": ["p", "q"]}]}  # fmt: skip
    assert plain(value) == "[a, 1, {x: true, y: null}, binary AA==, {p, q}]"
    assert plain({"BOOL": False}) == "false"
    assert plain("no value") == '"no value"'
    assert cell({"S": "x" * 80}) == "x" * 80
    assert cell({"S": "x" * 81}) == "x" * 79 + "\u2026"


def test_an_edit_names_what_it_changes_and_all_that_was_seen() -> None:
    after = {**ITEM, "a": {"N": "2"}, "c": {"S": "new"}}
    del after["b"]
    made = update_of("orders", ITEM, after, KEYS)
    assert made is not None
    names = made["ExpressionAttributeNames"]
    values = made["ExpressionAttributeValues"]

    def meant(text: str) -> str:
        for word in sorted(names, reverse=True):
            text = text.replace(word, names[word])
        for word in sorted(values, reverse=True):
            ((_, value),) = values[word].items()
            text = text.replace(word, value)
        return text

    assert meant(made["ConditionExpression"]) == (
        "attribute_exists(h) AND a = 1 AND b = old AND attribute_not_exists(c)"
    )
    assert meant(made["UpdateExpression"]) == "SET a = 2, c = new REMOVE b"
    assert made["Key"] == {"h": {"S": "x"}, "r": {"N": "1"}}


def test_an_edit_that_changes_nothing_is_none() -> None:
    assert update_of("orders", ITEM, dict(ITEM), KEYS) is None


@pytest.mark.parametrize("change", [{"h": {"S": "y"}}, {"r": {"N": "2"}}])
def test_an_edit_of_the_key_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="cannot be changed"):
        update_of("orders", ITEM, ITEM | change, KEYS)


def test_items_of_too_many_attributes_are_not_edited() -> None:
    many = ITEM | {f"a{n}": {"N": "1"} for n in range(MOST_ATTRIBUTES)}
    with pytest.raises(Refused, match=f"up to {MOST_ATTRIBUTES}"):
        update_of("orders", many, many | {"a0": {"N": "2"}}, KEYS)
    with pytest.raises(Refused, match=f"up to {MOST_ATTRIBUTES}"):
        delete_of("orders", many, KEYS)


def test_the_largest_edit_is_one_that_the_api_takes() -> None:
    names = [f"a{n}" for n in range(MOST_ATTRIBUTES - len(KEYS))]
    most = {"h": {"S": "x"}, "r": {"N": "1"}} | {name: {"N": "1"} for name in names}
    made = update_of("orders", most, most | {name: {"N": "2"} for name in names}, KEYS)
    assert made is not None
    expressions = Expressions.of("UpdateItem", made)
    assert expressions.condition is not None
    assert expressions.condition.names == {"h", *names}
    assert expressions.update is not None
    assert expressions.update.names == set(names)


def test_a_new_item_is_put_where_none_is() -> None:
    made = put_of("orders", ITEM, KEYS)
    assert made["ConditionExpression"] == "attribute_not_exists(#n0)"
    assert made["ExpressionAttributeNames"] == {"#n0": "h"}


# Signing in


PAIR = AccessKey(access_key_id="KEY", secret_access_key=SecretStr("the-secret"))
TOKEN_PAIR = AccessKey(
    access_key_id="TOK", secret_access_key=SecretStr("the-secret"), session_token=SecretStr("tok")
)
KNOWN = {"KEY": Credential(PAIR, "ann"), "TOK": Credential(TOKEN_PAIR, "bob")}


def test_who_is_signed_in() -> None:
    def who(name: str, secret: str, token: str | None = None) -> str | None:
        found = signed_in(KNOWN.get, name, secret, token, 0.0)
        return None if found is None else found.user

    assert who("KEY", "the-secret") == "ann"
    assert who("TOK", "the-secret", "tok") == "bob"
    for given_ in (("KEY", "x"), ("KEY", ""), ("X", "the-secret"), ("KEY", "the-secret", "tok"),
                   ("TOK", "the-secret"), ("TOK", "the-secret", "x")):  # fmt: skip
        assert who(*given_) is None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_sessions_end() -> None:
    clock, known = Clock(), dict(KNOWN)
    sessions = Sessions(known.get, clock)
    name = sessions.begin(known["KEY"])
    for _ in range(15):  # used again and again, for 7.5 hours
        clock.now += sign_ins.IDLE_SECONDS
        assert sessions.find(name, uses=True) is not None
    clock.now += sign_ins.IDLE_SECONDS + 1
    assert sessions.find(name, uses=True) is None
    name = sessions.begin(known["KEY"])
    for _ in range(10):  # a page that only refreshes itself
        clock.now += sign_ins.IDLE_SECONDS / 10
        assert sessions.find(name, uses=False) is not None
    clock.now += 1
    assert sessions.find(name, uses=False) is None
    name = sessions.begin(known["KEY"])
    for _ in range(16):
        clock.now += sign_ins.IDLE_SECONDS
        assert sessions.find(name, uses=True) is not None
    clock.now += 1
    assert sessions.find(name, uses=True) is None, "not longer than 8 hours"


def test_another_pair_under_the_same_id_ends_a_session() -> None:
    known = dict(KNOWN)
    sessions = Sessions(known.get)
    name = sessions.begin(known["KEY"])
    known["KEY"] = Credential(
        AccessKey(access_key_id="KEY", secret_access_key=SecretStr("another-one")), "ann"
    )
    assert sessions.find(name, uses=True) is None


def test_there_are_so_many_sessions_at_the_most() -> None:
    sessions = Sessions(KNOWN.get)
    first = sessions.begin(KNOWN["KEY"])
    names = [sessions.begin(KNOWN["KEY"]) for _ in range(sign_ins.MOST_SESSIONS)]
    assert sessions.find(first, uses=True) is None
    assert sessions.find(names[0], uses=True) is not None


def test_attempts_are_bounded_by_address_and_by_key() -> None:
    clock = Clock()
    attempts = FailedAttempts(clock)
    for n in range(5):
        assert attempts.begin("address a", f"key {n}") == 0
    assert attempts.begin("address a", "key 9") == 60
    assert attempts.begin("address b", "key 9") == 0
    clock.now = 59.5
    assert attempts.begin("address a", "key 9") == 0.5
    clock.now = 60
    assert attempts.begin("address a", "key 9") == 0
    for _ in range(4):
        assert attempts.begin("address c", "key 0") == 0
    assert attempts.begin("address c", "key 0") == 0, "the first of key 0 was a minute ago"
    assert attempts.begin("address d", "key 0") > 0


def test_attempts_that_succeed_do_not_count() -> None:
    attempts = FailedAttempts(Clock())
    for _ in range(20):
        assert attempts.begin("a", "b") == 0
        attempts.forgive("a", "b")


@pytest.mark.parametrize(
    ("path", "led"),
    [("/lag?x=1", "/lag?x=1"), ("//e.x", "/"), ("/\\e.x", "/"), ("https://e.x", "/"), ("", "/"),
     ("/a\nb", "/")],
)  # fmt: skip
def test_where_signing_in_leads(path: str, led: str) -> None:
    assert local_path(path) == led


# Comparisons


def test_a_job_that_runs_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def compare(_: Any, table: str, **__: Any) -> Any:
        if table == "slow":
            go.wait(30)
        raise ShardUnavailable("away")

    monkeypatch.setattr(comparison_jobs, "verify", compare)
    monkeypatch.setattr(comparison_jobs, "_MOST_KEPT", 3)
    jobs = comparison_jobs.ComparisonJobs(cast(Cluster, None))
    slow = jobs.begin("verify", "slow", None)
    for n in range(6):
        jobs.begin("verify", f"t{n}", None)
        assert eventually(lambda: [job.state for job in jobs.all()].count("running") == 1)
    assert {job.table for job in jobs.all()} == {"slow", "t4", "t5"}
    with pytest.raises(Refused, match="is running already"):
        jobs.begin("verify", "slow", None)
    go.set()
    assert eventually(lambda: slow.state == "failed")


# Parts of pages


def test_a_part_that_hangs_is_not_asked_twice_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_parts, "FRESH_SECONDS", 0.0)
    parts = PageParts(seconds=0.2)
    hanging, calls = threading.Event(), []

    def hang() -> str:
        calls.append(1)
        hanging.wait(30)
        return "late"

    def fail() -> str:
        raise ShardUnavailable("shard 2 is away")

    works = {"hangs": hang, "fails": fail, "works": lambda: "value"}
    try:
        for _ in range(2):
            found = parts.of(works)
            assert found["works"].value == "value"
            assert found["fails"].trouble == "shard 2 is away"
            assert "no answer within 0.2 seconds" in found["hangs"].trouble
        assert len(calls) == 1
    finally:
        hanging.set()


def test_a_defect_in_a_part_is_said_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    parts = PageParts()
    found = parts.of({"broken": lambda: 1 // 0})["broken"]
    assert "defect" in found.trouble
    assert "ZeroDivisionError" in caplog.text


def test_a_refusal_in_a_part_is_shown() -> None:
    def refuse() -> None:
        raise Refused("no right", HTTPStatus.FORBIDDEN)

    parts = PageParts()
    assert parts.of({"refused": refuse})["refused"].trouble == "no right"


def test_a_part_is_shown_again_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, calls = PageParts(), []
    work = {"part": lambda: calls.append(1)}
    parts.of(work)
    parts.of(work)
    assert len(calls) == 1
    parts.forget("part")
    parts.of(work)
    assert len(calls) == 2
    monkeypatch.setattr(page_parts, "FRESH_SECONDS", 0.0)
    parts.of(work)
    assert len(calls) == 3


def test_a_part_that_took_long_is_shown_again_for_a_moment_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(page_parts, "time", SimpleNamespace(monotonic=lambda: now[0]))
    parts, calls = PageParts(), []

    def take_long() -> None:
        calls.append(1)
        now[0] += 2 * page_parts.FRESH_SECONDS

    for _ in range(2):
        parts.of({"part": take_long})
    assert len(calls) == 1


def test_a_part_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    program = (
        "import threading\n"
        "from mynamo.console.page_parts import PageParts\n"
        "print(PageParts(0.1).of({'hangs': lambda: threading.Event().wait(300)}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=20, check=True, capture_output=True, text=True
    )
    assert "still awaited" in done.stdout
