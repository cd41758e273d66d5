"""Condition and update expressions through `Producer`, on both engines."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.errors import ConditionFailed, InvalidExpression, InvalidItem, InvalidRequest
from mynamo.expressions import Update
from mynamo.producer import MUST_EXIST, MUST_NOT_EXIST, Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema, TableSchema
from mynamo.writer import Done, Refused, ReturnValues, WriteRequest, apply, parse_texts
from mynamo.writer.transaction import write_requests
from tests.rows import damage, everywhere, items_of

pytestmark = pytest.mark.usefixtures("orders")

KEY = {"id": "a", "at": "1"}
STORED_KEY = {name: {"S": value} for name, value in KEY.items()}


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


def stored(cluster: Cluster, orders: Table) -> dict[str, Any] | None:
    found = items_of(cluster, orders).get(orders.key_of(STORED_KEY))
    return None if found is None else {k: v for k, v in found[1].items() if k not in KEY}


# -- conditions -----------------------------------------------------------------------


def test_a_condition_decides_over_every_kind_of_write(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    absent = "attribute_not_exists(id)"
    cheap: dict[str, Any] = {
        "condition": "#p < :max",
        "names": {"#p": "price"},
        "values": {":max": 5},
    }
    producer.put("orders", {**KEY, "price": 3}, condition=absent)
    writes: tuple[Callable[..., Any], ...] = (
        lambda **terms: producer.put("orders", {**KEY, "price": 9}, **terms),
        lambda **terms: producer.update("orders", KEY, set={"price": 9}, **terms),
        lambda **terms: producer.delete("orders", KEY, **terms),
    )
    for write in writes:
        with pytest.raises(ConditionFailed, match=r"^The conditional request failed$"):
            write(condition=absent)
        assert stored(cluster, orders) == {"price": {"N": "3"}}
        write(**cheap)
        with pytest.raises(ConditionFailed):
            write(**cheap)
        producer.put("orders", {**KEY, "price": 3})
    assert damage(cluster, orders) == []


def test_a_failed_condition_shows_the_item_in_python_form(producer: Producer) -> None:
    for condition in ("attribute_exists(x)", MUST_EXIST):
        with pytest.raises(ConditionFailed) as failure:
            producer.update("orders", KEY, condition=condition)
        assert failure.value.item is None
    producer.put("orders", {**KEY, "price": 3, "raw": b"x", "tags": {"a", "b"}})
    with pytest.raises(ConditionFailed) as failure:
        producer.delete("orders", KEY, condition="price > :p", values={":p": 3})
    assert failure.value.item == {**KEY, "price": Decimal(3), "raw": b"x", "tags": {"a", "b"}}


def test_a_condition_on_nothing_is_evaluated_as_on_an_empty_item(producer: Producer) -> None:
    with pytest.raises(ConditionFailed):
        producer.delete("orders", KEY, condition="price = :p", values={":p": 3})
    assert producer.delete("orders", KEY, condition="NOT price = :p", values={":p": 3}).version == 0


def test_control_without_evaluation_every_write_happens(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mynamo.writer.transaction.write_requests.check_condition", lambda *_: None)
    assert write_requests.check_condition is not None
    producer.put("orders", KEY, condition="attribute_exists(id)")
    assert stored(cluster, orders) == {}


# -- updates --------------------------------------------------------------------------


def test_an_update_expression_changes_parts_of_an_item(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    producer.put("orders", {**KEY, "m": {"a": 1, "b": 2}, "l": [1, 2, 3], "s": {"x", "y"}, "z": 0})
    producer.update(
        "orders",
        KEY,
        expression="SET m.a = m.b + :n, #l[1] = :n, price = if_not_exists(price, :n)"
        " REMOVE z, #l[0] ADD visits :n, s :w DELETE s2 :w",
        names={"#l": "l"},
        values={":n": Decimal("1.5"), ":w": {"w"}},
    )
    assert stored(cluster, orders) == {
        "m": {"M": {"a": {"N": "3.5"}, "b": {"N": "2"}}},
        "l": {"L": [{"N": "1.5"}, {"N": "3"}]},
        "s": {"SS": ["w", "x", "y"]},
        "price": {"N": "1.5"},
        "visits": {"N": "1.5"},
    }
    assert damage(cluster, orders) == []


def test_an_update_of_nothing_starts_from_the_key(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    producer.update("orders", KEY)
    assert stored(cluster, orders) == {}
    producer.delete("orders", KEY)
    producer.update("orders", KEY, expression="SET same = id REMOVE x")
    assert stored(cluster, orders) == {"same": {"S": "a"}}


REMOVALS: tuple[dict[str, Any], ...] = (
    {"remove": ["a", "price"]},
    {"expression": "REMOVE a, m.b, l[0]"},
    {"expression": "DELETE s :s", "values": {":s": {"x"}}},
    {"expression": "REMOVE a DELETE m.s :s", "values": {":s": {1}}},
    {"expression": "REMOVE price", "condition": "attribute_not_exists(id)"},
    {"remove": ["a"], "condition": MUST_NOT_EXIST},
)


def test_an_update_that_only_removes_makes_no_item_and_no_event(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    kinds: tuple[ReturnValues, ...] = ("ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW")
    for removal in REMOVALS:
        for kind in kinds:
            receipt = producer.update("orders", KEY, **removal, return_values=kind)
            assert (receipt.version, receipt.old, receipt.attributes) == (0, None, None)
    with pytest.raises(ConditionFailed):
        producer.update("orders", KEY, remove=["a"], condition=MUST_EXIST)
    assert stored(cluster, orders) is None
    assert everywhere(cluster, "SELECT id FROM mynamo_outbox") == []
    # With anything else in it, it makes one.
    made = producer.update("orders", KEY, set={"b": 1}, remove=["a"])
    assert made.version > 0
    assert stored(cluster, orders) == {"b": {"N": "1"}}


def test_control_an_update_that_is_carried_out_on_the_key_makes_one(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Update, "only_removes", lambda self: False)
    producer.update("orders", KEY, remove=["a"])
    assert stored(cluster, orders) == {}


def test_within_a_batch_a_removal_sees_what_came_before(cluster: Cluster, orders: Table) -> None:
    remove = WriteRequest("orders", "UPDATE", STORED_KEY, parse_texts(update="REMOVE a")[0])
    put = WriteRequest("orders", "PUT", {**STORED_KEY, "a": {"N": "1"}})
    delete = WriteRequest("orders", "DELETE", STORED_KEY)
    outcomes = [o for _, o in apply(cluster, [remove, put, remove, delete, remove])]
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    versions = [outcome.version for outcome in outcomes if isinstance(outcome, Done)]
    assert [version > 0 for version in versions] == [False, True, True, True, False]
    assert stored(cluster, orders) is None
    assert damage(cluster, orders) == []


MISFITS: list[tuple[str, dict[str, Any], str]] = [
    ("SET #k = :v", {":v": "2"}, "Cannot update attribute at. This attribute is part of the key"),
    ("REMOVE id", {}, "Cannot update attribute id. This attribute is part of the key"),
    ("SET price.cents = :v", {":v": 1}, "Key attributes must be scalars; .* IndexKey: price"),
    ("SET price = :v", {":v": True}, "attempted to update the secondary index key to unsupported"),
    ("SET price = :v", {":v": "x"}, "Type mismatch for Index Key price Expected: N Actual: S"),
    ("SET price = id", {}, "Type mismatch for Index Key price Expected: N Actual: S"),
    ("SET #n = :v", {":v": ""}, "cannot contain an empty string value"),
    (
        "SET x = id + :v",
        {":v": 1},
        "An operand in the update expression has an incorrect data type",
    ),
    ("SET x = nothing", {}, "refers to an attribute that does not exist in the item"),
    ("SET x.y = :v", {":v": 1}, "document path provided in the update expression is invalid"),
    ("SET y = :v", {":v": "x" * 250_000}, "Item size to update has exceeded the maximum allowed"),
]


def test_an_update_that_does_not_fit_changes_nothing(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    producer.put("orders", {**KEY, "price": 3, "fill": "x" * 200_000})
    before = items_of(cluster, orders)
    for expression, values, message in MISFITS:
        names = {"#n": "name", "#k": "at"}
        used = {short: name for short, name in names.items() if short in expression}
        with pytest.raises(InvalidItem, match=message):
            producer.update("orders", KEY, expression=expression, names=used, values=values)
    assert items_of(cluster, orders) == before
    assert damage(cluster, orders) == []


def test_a_value_older_than_the_index_does_not_stop_other_updates(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # as when the index came after the item
        patch.setattr(Table, "check", lambda *_: None)
        producer.put("orders", {**KEY, "price": "cheap"})
    producer.update("orders", KEY, expression="SET x = :v", values={":v": 1})
    with pytest.raises(InvalidItem, match="Type mismatch"):
        producer.update("orders", KEY, expression="SET price = :v", values={":v": "dear"})
    producer.update("orders", KEY, expression="SET price = :v", values={":v": 1})
    assert stored(cluster, orders) == {"price": {"N": "1"}, "x": {"N": "1"}}


def test_the_other_key_of_an_index_may_be_older_than_the_index(
    cluster: Cluster, producer: Producer
) -> None:
    """Else what does not fit could only be put right all at once."""
    definitions.create_table(cluster, TableSchema.parse({"name": "old", "hash_key": "id"}))
    producer.put("old", {"id": "a", "x": 1, "y": 1})
    index = GlobalIndexSchema(name="by_x", hash_key="x", sort_key="y")
    definitions.add_index(cluster, "old", index)
    with pytest.raises(InvalidItem, match="Type mismatch for Index Key y"):
        producer.update("old", {"id": "a"}, set={"y": 2})
    producer.update("old", {"id": "a"}, set={"x": "right"})
    producer.update("old", {"id": "a"}, set={"y": "right"})
    with pytest.raises(InvalidItem, match="Type mismatch for Index Key y"):
        producer.update("old", {"id": "a"}, set={"y": 2})


INVERTED = {
    "name": "inverted",
    "hash_key": "id",
    "sort_key": "at",
    "global_indexes": [{"name": "by_at", "hash_key": "at", "sort_key": "id"}],
}
NEW_BY_UPDATE: list[dict[str, Any]] = [
    {},
    {"set": {"x": 1}},
    {"expression": "SET x = :v", "values": {":v": 1}},
]


@pytest.mark.parametrize("terms", NEW_BY_UPDATE)
def test_an_update_makes_no_item_that_a_put_could_not(
    cluster: Cluster, producer: Producer, terms: dict[str, Any]
) -> None:
    """A hash key may have 2048 bytes, but as the sort key of an index only 1024."""
    inverted = definitions.create_table(cluster, TableSchema.parse(INVERTED))
    long = {"id": "x" * 1025, "at": "1"}
    with pytest.raises(InvalidItem, match="Size limit exceeded for Index Key id"):
        producer.put("inverted", long)
    with pytest.raises(InvalidItem, match="Size limit exceeded for Index Key id"):
        producer.update("inverted", long, **terms)
    assert items_of(cluster, inverted) == {}
    producer.update("inverted", {**long, "id": "x" * 1024}, **terms)


def test_control_without_the_check_there_is_an_item_that_its_index_lacks(
    cluster: Cluster, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mynamo.writer.transaction.write_requests.check_index_keys", lambda *_: None
    )
    inverted = definitions.create_table(cluster, TableSchema.parse(INVERTED))
    producer.update("inverted", {"id": "x" * 1025, "at": "1"})
    ((_, item),) = items_of(cluster, inverted).values()
    assert inverted.index("by_at").key_of(item) is None


def update(text: str, **values: dict[str, Any]) -> Any:
    named = {f":{name}": value for name, value in values.items()}
    return parse_texts(update=text, values=named)[0]


def test_a_failing_update_leaves_the_others_of_its_batch_alone(
    cluster: Cluster, orders: Table
) -> None:
    one = {"N": "1"}
    requests = [
        WriteRequest("orders", "PUT", {**STORED_KEY, "s": {"S": "x"}}),
        WriteRequest("orders", "UPDATE", STORED_KEY, update("ADD n :v", v=one)),
        WriteRequest("orders", "UPDATE", STORED_KEY, update("ADD s :v", v=one)),
        WriteRequest("orders", "UPDATE", STORED_KEY, update("ADD n :v", v=one)),
        WriteRequest(
            "orders", "UPDATE", STORED_KEY, update("ADD n :v", v=one),
            parse_texts(condition="n = :v", values={":v": one})[1],
        ),
    ]  # fmt: skip
    outcomes = [outcome for _, outcome in apply(cluster, requests)]
    assert [type(outcome) for outcome in outcomes] == [Done, Done, Refused, Done, Refused]
    assert isinstance(outcomes[2], Refused)
    assert isinstance(outcomes[2].error, InvalidItem)
    assert isinstance(outcomes[4], Refused)
    assert isinstance(outcomes[4].error, ConditionFailed)
    # The item as the writes before it in the batch left it.
    assert outcomes[4].error.item == {**STORED_KEY, "s": {"S": "x"}, "n": {"N": "2"}}
    assert stored(cluster, orders) == {"s": {"S": "x"}, "n": {"N": "2"}}
    assert damage(cluster, orders) == []


# -- what a write returns -------------------------------------------------------------


def test_return_values_of_an_update(producer: Producer) -> None:
    expression: dict[str, Any] = {"expression": "ADD n :v REMOVE z", "values": {":v": 1}}

    def returned(kind: Any) -> Any:
        return producer.update("orders", KEY, **expression, return_values=kind).attributes

    assert returned("ALL_OLD") is None
    assert returned("ALL_OLD") == {**KEY, "n": 1}
    assert returned("ALL_NEW") == {**KEY, "n": 3}
    assert returned("UPDATED_OLD") == {"n": 3}
    assert returned("UPDATED_NEW") == {"n": 5}
    assert returned("NONE") is None


def test_return_values_of_puts_and_deletes(producer: Producer) -> None:
    assert producer.put("orders", KEY, return_values="ALL_OLD").attributes is None
    receipt = producer.put("orders", {**KEY, "x": 1}, return_values="ALL_OLD")
    assert receipt.attributes == KEY
    assert receipt.old == KEY
    assert producer.put("orders", KEY).attributes is None
    assert producer.delete("orders", KEY, return_values="ALL_OLD").attributes == KEY
    assert producer.delete("orders", KEY, return_values="ALL_OLD").attributes is None
    for kind in ("ALL_NEW", "UPDATED_NEW", "nonsense"):
        with pytest.raises(InvalidRequest, match="Return values set to invalid value"):
            producer.put("orders", KEY, return_values=kind)  # type: ignore[arg-type]


# -- slips ----------------------------------------------------------------------------


SLIPS: list[tuple[dict[str, Any], str]] = [
    ({"condition": 5}, "a condition is an expression such as"),
    ({"condition": "a ="}, "Invalid ConditionExpression: Syntax error"),
    ({"expression": "SET a"}, "Invalid UpdateExpression: Syntax error"),
    ({"expression": 5}, "an update expression is text"),
    ({"expression": "SET a = b", "set": {}}, "and not both"),
    ({"expression": "SET a = b", "remove": ["x"]}, "and not both"),
    ({"names": {"#a": "a"}}, "Names can only be specified when using expressions"),
    ({"values": {":a": 1}}, "Values can only be specified when using expressions"),
    ({"names": {"#a": 5}, "condition": "#a = b"}, "names are"),
    ({"names": ["#a"], "condition": "#a = b"}, "names are"),
    ({"values": [1], "condition": "a = :a"}, "values are"),
    ({"condition": "a = :a"}, "attribute value used in expression is not defined"),
    ({"condition": "a = b", "values": {":a": 1}}, "unused in expressions"),
    ({"set": {"a": 1}, "remove": ["a"]}, "both set and removed"),
    ({"remove": 5}, "remove must be names of attributes"),
    ({"remove": [5]}, "Attribute names must be strings"),
    ({"remove": ["\ud800"]}, "lone surrogate"),
    ({"names": {"#a": "\ud800"}, "expression": "REMOVE #a"}, "lone surrogate for key #a"),
    ({"condition": "a = b" + " " * 4090 + "\ud800"}, "Invalid ConditionExpression"),
]


def test_slips_are_explained(producer: Producer) -> None:
    for terms, message in SLIPS:
        with pytest.raises(InvalidRequest, match=message):
            producer.update("orders", KEY, **terms)
        with pytest.raises(InvalidRequest, match=message):
            producer.publish(producer.queued_update("orders", KEY, **terms))
    with pytest.raises(InvalidRequest, match="a table is given by its name"):
        producer.queued_put(5, KEY)  # type: ignore[arg-type]


def test_a_value_that_cannot_be_is_named(producer: Producer) -> None:
    with pytest.raises(InvalidItem) as failure:
        producer.put("orders", KEY, condition="a = :v", values={":v": 0.1})
    assert failure.value.__notes__ == ["In attribute ':v'"]


def test_an_expression_is_an_error_of_its_own_class(producer: Producer) -> None:
    with pytest.raises(InvalidExpression):
        producer.put("orders", KEY, condition="nonsense(a)")
