"""Items: two forms, one meaning; everything DynamoDB refuses is refused."""

from __future__ import annotations

import base64
import enum
import json
import random
import re
from collections import OrderedDict
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mynamo.errors import CorruptData, InvalidItem
from mynamo.schemas import items
from mynamo.schemas.items import (
    MAX_ITEM_SIZE,
    Binary,
    StoredItem,
    check_size,
    dump_item,
    from_stored,
    item_size,
    load_item,
    normalise,
    to_stored,
)
from mynamo.schemas.numbers import format_number
from tests.strategies import python_items, stored_items


class Boto3Binary:
    """Compares and hashes as `boto3.dynamodb.types.Binary` does."""

    def __init__(self, value: bytes | bytearray) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, Boto3Binary) else other)

    def __hash__(self) -> int:
        return hash(self.value)


Boto3Binary.__name__ = "Binary"


class Colour(str, enum.Enum):  # noqa: UP042 - the kind whose str() is not its text
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


# --- both ways ----------------------------------------------------------------


@given(python_items())
def test_python_to_stored_and_back(item: dict[str, Any]) -> None:
    assert from_stored(to_stored(item)) == item


@given(stored_items())
def test_stored_form_is_a_fixed_point(stored: StoredItem) -> None:
    assert normalise(stored) == stored
    assert to_stored(from_stored(stored)) == stored
    assert load_item(dump_item(stored)) == stored


@given(stored_items())
def test_normalise_shares_nothing_with_its_input(stored: StoredItem) -> None:
    before = json.dumps(stored)
    for value in normalise(stored).values():
        value.clear()
    assert json.dumps(stored) == before


def shuffled(value: Any, generator: random.Random) -> Any:
    """The same DynamoDB JSON in another spelling: names and sets in another order,
    numbers with an exponent."""
    if isinstance(value, dict):
        pairs = [(name, shuffled(body, generator)) for name, body in value.items()]
        generator.shuffle(pairs)
        return {name: respelt(name, body, generator) for name, body in pairs}
    return [shuffled(each, generator) for each in value] if isinstance(value, list) else value


def respelt(kind: str, body: Any, generator: random.Random) -> Any:
    if kind == "N" and isinstance(body, str):
        return f"{Decimal(body):E}"
    if kind in ("SS", "NS", "BS") and isinstance(body, list):
        generator.shuffle(body)
    return body


@given(stored_items(), st.randoms(use_true_random=False))
def test_equal_items_have_equal_bytes(stored: StoredItem, generator: random.Random) -> None:
    assert dump_item(normalise(shuffled(stored, generator))) == dump_item(stored)


def test_every_type_written_out() -> None:
    item = {
        "text": "é",
        "int": 7,
        "decimal": Decimal("1.50"),
        "bytes": b"\x00\xff",
        "true": True,
        "none": None,
        "list": [1, (2, "x")],
        "map": {"b": {}, "a": []},
        "strings": frozenset({"b", "a", ""}),
        "numbers": {10, Decimal(9), Decimal("-1.0")},
        "binaries": {b"b", Binary(b"a")},
    }
    stored: StoredItem = {
        "text": {"S": "é"},
        "int": {"N": "7"},
        "decimal": {"N": "1.5"},
        "bytes": {"B": "AP8="},
        "true": {"BOOL": True},
        "none": {"NULL": True},
        "list": {"L": [{"N": "1"}, {"L": [{"N": "2"}, {"S": "x"}]}]},
        "map": {"M": {"b": {"M": {}}, "a": {"L": []}}},
        "strings": {"SS": ["", "a", "b"]},
        "numbers": {"NS": ["-1", "9", "10"]},
        "binaries": {"BS": ["YQ==", "Yg=="]},
    }
    assert to_stored(item) == stored
    assert normalise(stored) == stored
    assert dump_item({"b": {"M": {"z": {"N": "1"}, "a": {"S": "é"}}}, "a": {"NULL": True}}) == (
        '{"a":{"NULL":true},"b":{"M":{"a":{"S":"é"},"z":{"N":"1"}}}}'.encode()
    )


def test_subclasses_and_lookalikes_become_the_plain_types() -> None:
    item = OrderedDict(
        a=Colour.RED,
        b=Level.HIGH,
        c=Point(1, 2),
        d=OrderedDict({Colour.RED: 1}),
        e=bytearray(b"a"),
        f=Boto3Binary(bytearray(b"a")),
        g={Boto3Binary(b"a"), b"b"},
        h={"k": 1}.keys(),
        i=10**37,
    )
    stored = to_stored(item)
    assert dump_item(stored) == (
        b'{"a":{"S":"red"},"b":{"N":"3"},"c":{"L":[{"N":"1"},{"N":"2"}]},'
        b'"d":{"M":{"red":{"N":"1"}}},"e":{"B":"YQ=="},"f":{"B":"YQ=="},'
        b'"g":{"BS":["YQ==","Yg=="]},"h":{"SS":["k"]},"i":{"N":"1' + b"0" * 37 + b'"}}'
    )
    assert type(stored["a"]["S"]) is str


def test_binary_stands_in_for_boto3s() -> None:
    binary = Binary(bytearray(b"a"))
    assert binary == b"a" == binary.value == bytes(binary)
    assert type(binary.value) is type(bytes(binary)) is bytes
    assert binary == Boto3Binary(b"a")
    assert Boto3Binary(b"a") == binary
    assert binary != Binary(b"b")
    assert len({binary, b"a", Boto3Binary(b"a")}) == 1
    assert repr(binary) == str(binary) == "Binary(b'a')"
    for wrong in (5, "a", None):
        with pytest.raises(TypeError, match="takes bytes or bytearray"):
            Binary(wrong)  # type: ignore[arg-type]


# --- refused in Python form ---------------------------------------------------


def nested(levels: int, value: Any, wrap: str | None = None) -> Any:
    """A value with `levels` lists around it, in stored form if `wrap` is "L"."""
    for _ in range(levels):
        value = {wrap: [value]} if wrap else [value]
    return value


TOO_DEEP = "Nesting Levels have exceeded supported limits: Attributes in the item have nested"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "^Float types are not supported. Use Decimal types instead.$"),
        ([{"x": 1.5}], "Float types are not supported"),
        ({1.5}, "Float types are not supported"),
        (Decimal("1E126"), "Number overflow"),
        (10**126, "Number overflow"),
        (Decimal("NaN"), "cannot be converted to a numeric value: NaN"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
        (set(), "may not be empty"),
        (frozenset(), "may not be empty"),
        ({1, "a"}, "only strings, only numbers or only binary values, not N, S"),
        ({True, 5}, "only strings, only numbers or only binary values, not BOOL, N"),
        ({None}, "only strings, only numbers or only binary values, not NULL"),
        ({(1, 2)}, "only strings, only numbers or only binary values, not L"),
        (object(), "Unsupported type \"<class 'object'>\""),
        (1j, 'Unsupported type "<class \'complex\'>" for value "1j"'),
        ({1: "x"}, "Attribute names must be strings, not int"),
        ({"": "x"}, "Empty attribute name"),
        ({"é" * 32768: "x"}, "Attribute name is too large, must be less than 65536 bytes"),
        (nested(32, 1), TOO_DEEP),
        (nested(31, []), TOO_DEEP),
        (nested(31, {}), TOO_DEEP),
        (nested(100_000, 1), TOO_DEEP),
    ],
    ids=lambda value: type(value).__name__,
)
def test_python_values_that_are_refused(value: Any, message: str) -> None:
    with pytest.raises(InvalidItem) as caught:
        to_stored({"fine": 1, "broken": value})
    assert re.search(message, str(caught.value))
    assert caught.value.__notes__ == ["In attribute 'broken'"]
    assert len(str(caught.value)) < 500


def test_names_and_depth_at_their_limits() -> None:
    for item in (
        {"a" * 65535: nested(31, 1)},
        {"é" * 32767: {"x": nested(30, {1})}},
        {"a": nested(30, [])},
    ):
        stored = to_stored(item)
        assert normalise(stored) == stored
        assert from_stored(load_item(dump_item(stored))) == item


def test_an_item_is_a_mapping() -> None:
    with pytest.raises(InvalidItem, match="must be a mapping, not list"):
        to_stored([("a", 1)])  # type: ignore[arg-type]


# --- refused in DynamoDB JSON -------------------------------------------------

EMPTY = "^Supplied AttributeValue is empty, must contain exactly one of the supported datatypes$"
INVALID = "^One or more parameter values were invalid: "


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, EMPTY),
        ({"X": "a"}, EMPTY),
        ({"L": [{}]}, EMPTY),
        ({"M": {"a": {}}}, EMPTY),
        ({"S": "a", "N": "1"}, "^Supplied AttributeValue has more than one datatypes set, must"),
        ("a", "An AttributeValue must be a JSON object, not str"),
        (None, "An AttributeValue must be a JSON object, not NoneType"),
        ({"S": 1}, "type S must be a JSON string, not int"),
        ({"S": None}, "type S must be a JSON string, not NoneType"),
        ({"S": "\ud800"}, "lone surrogate"),
        ({"N": 1}, "type N must be a JSON string, not int"),
        ({"N": ""}, "^The parameter cannot be converted to a numeric value$"),
        ({"N": "b"}, "^The parameter cannot be converted to a numeric value: b$"),
        ({"N": "1" * 39}, "^Attempting to store more than 38 significant digits in a Number$"),
        ({"B": 1}, "type B must be a JSON string, not int"),
        ({"B": "QQ"}, "Base64 encoded binary is not valid"),
        ({"B": "Q Q="}, "Base64 encoded binary is not valid"),
        ({"B": "QQ==\n"}, "Base64 encoded binary is not valid"),
        ({"B": "_w=="}, "Base64 encoded binary is not valid"),
        ({"B": "é"}, "Base64 encoded binary is not valid"),
        ({"BOOL": "true"}, "type BOOL must be a JSON true or false, not str"),
        ({"BOOL": 1}, "type BOOL must be a JSON true or false, not int"),
        ({"NULL": False}, f"{INVALID}Null attribute value types must have the value of true$"),
        ({"NULL": "no"}, f"{INVALID}Null attribute value types must have the value of true$"),
        ({"L": {}}, "type L must be a JSON array, not dict"),
        ({"M": []}, "type M must be a JSON object, not list"),
        ({"M": {"": {"S": "a"}}}, "Empty attribute name"),
        ({"SS": "a"}, "type SS must be a JSON array, not str"),
        ({"SS": [1]}, "type SS must be a JSON string, not int"),
        ({"SS": []}, f"{INVALID}An string set  may not be empty$"),
        ({"NS": []}, f"{INVALID}An number set  may not be empty$"),
        ({"BS": []}, f"{INVALID}Binary sets should not be empty$"),
        ({"SS": ["a", "a"]}, rf"{INVALID}Input collection \[a, a\] contains duplicates\.$"),
        ({"NS": ["1", "2", "1.0"]}, "^Input collection contains duplicates$"),
        (
            {"BS": ["Yg==", "Yg=="]},
            rf"{INVALID}Input collection \[Yg==, Yg==\]of type BS contains duplicates\.$",
        ),
        ({"BS": ["QQ==", "QR=="]}, "contains duplicates"),
        ({"NS": ["1", ""]}, "cannot be converted to a numeric value"),
        ({"SS": ["a" * 1000, "a" * 1000]}, "contains duplicates"),
        (nested(32, {"S": "a"}, "L"), TOO_DEEP),
        (nested(31, {"L": []}, "L"), TOO_DEEP),
        (nested(31, {"M": {}}, "L"), TOO_DEEP),
        (nested(100_000, {"S": "a"}, "L"), TOO_DEEP),
    ],
    ids=lambda value: type(value).__name__,
)
def test_json_values_that_are_refused(value: Any, message: str) -> None:
    with pytest.raises(InvalidItem) as caught:
        normalise({"broken": value})
    assert re.search(message, str(caught.value))
    assert caught.value.__notes__ == ["In attribute 'broken'"]
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", [None, [], "a", 1])
def test_a_json_item_is_an_object(value: Any) -> None:
    with pytest.raises(InvalidItem, match="must be a JSON object"):
        normalise(value)


def test_json_becomes_canonical() -> None:
    assert normalise(
        {"n": {"N": "1.50e1"}, "b": {"B": "QR=="}, "s": {"NS": ["10", "9.0"]}, "e": {"S": ""}}
    ) == {"n": {"N": "15"}, "b": {"B": "QQ=="}, "s": {"NS": ["9", "10"]}, "e": {"S": ""}}


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*"SNBLM", "SS", "NS", "BS", "NULL", "BOOL"]), inner),
    ),
)


@given(JSON)
def test_any_json_is_normalised_or_refused(value: Any) -> None:
    try:
        stored = normalise(value)
    except InvalidItem:
        return
    assert load_item(dump_item(stored)) == stored == to_stored(from_stored(stored))


# --- bytes --------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b"1", b"\xff", b'{"a":{"S":"x"}', b"[" * 100_000),
        *(b'{"a":1}', b'{"a":{}}', b'{"a":{"S":"x","N":"1"}}'),
    ],
    ids=lambda data: repr(data[:30]),
)
def test_garbage_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptData):
        load_item(data)


@pytest.mark.parametrize(
    "value",
    [{}, {"X": 1}, {"N": "x"}, {"B": "A"}, {"L": 5}, {"M": {"b": None}}, 1, None],
    ids=repr,
)
def test_what_is_not_stored_form_is_corrupt(value: Any) -> None:
    with pytest.raises(CorruptData):
        from_stored({"a": value})


def test_stored_form_too_deep_to_be_ours_is_corrupt() -> None:
    with pytest.raises(CorruptData):
        from_stored({"a": nested(5000, {"S": ""}, "L")})


def test_what_json_cannot_express_is_refused() -> None:
    with pytest.raises(InvalidItem, match="cannot be written as JSON"):
        dump_item({"a": {"S": object()}})


# --- size ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({}, 0),
        ({"string": "string", "number": 27, "buffer": b"buffer"}, 12 + 8 + 12),
        ({"é": "€"}, 2 + 3),
        ({"n": 0}, 1 + 1),
        ({"n": 5}, 1 + 2),
        ({"n": 123}, 1 + 3),
        ({"n": -123}, 1 + 4),
        ({"n": 1200}, 1 + 2),
        ({"n": 12000}, 1 + 3),
        ({"n": Decimal("12e99")}, 1 + 3),
        ({"n": Decimal("0.0012")}, 1 + 2),
        ({"n": Decimal("0.00012")}, 1 + 3),
        ({"n": Decimal("1.5")}, 1 + 3),
        ({"n": Decimal("123.4")}, 1 + 4),
        ({"n": Decimal("1e-130")}, 1 + 2),
        ({"n": Decimal("-10.5")}, 1 + 4),
        ({"n": int("9" * 38)}, 1 + 20),
        ({"b": b""}, 1),
        *[({"b": bytes(length)}, 1 + length) for length in (1, 2, 3, 4)],
        ({"t": True, "f": False, "z": None}, 3 + 3),
        ({"l": [], "m": {}}, 2 + 6),
        ({"l": ["ab", 1]}, 1 + 3 + (1 + 2) + (1 + 2)),
        ({"m": {"key": "ab"}}, 1 + 3 + (1 + 3 + 2)),
        ({"m": {"l": [None]}}, 1 + 3 + (1 + 1 + 3 + (1 + 1))),
        ({"ss": {"a", "bc"}, "ns": {1, -123}, "bs": {b"", b"xyz"}}, (2 + 3) + (2 + 6) + (2 + 3)),
    ],
    ids=lambda value: "sets" if "ss" in repr(value) else repr(value),  # of sets in no fixed order
)
def test_sizes_by_hand(item: dict[str, Any], size: int) -> None:
    assert item_size(to_stored(item)) == size


@given(stored_items())
def test_an_item_is_never_larger_than_its_json(stored: StoredItem) -> None:
    assert item_size(stored) <= len(dump_item(stored))


def test_400_kb_is_the_limit() -> None:
    fits = to_stored({"pk": "a", "data": bytes(MAX_ITEM_SIZE - 7)})
    check_size(fits)
    assert item_size(fits) == MAX_ITEM_SIZE
    fits["x"] = {"S": ""}
    with pytest.raises(InvalidItem, match=r"^Item size has exceeded the maximum allowed size$"):
        check_size(fits)


def test_control_json_length_is_not_the_size() -> None:
    data = bytes(MAX_ITEM_SIZE - 4)
    stored = to_stored({"data": data})
    check_size(stored)
    assert len(base64.b64encode(data)) > MAX_ITEM_SIZE


def test_public_names_exist() -> None:
    assert sorted(items.__all__, key=lambda n: (not n.isupper(), n)) == items.__all__
    assert all(hasattr(items, name) for name in items.__all__)


def test_numbers_that_take_far_more_as_text_than_dynamodb_counts_are_bounded() -> None:
    tiny = {"N": format_number(Decimal("1E-130"))}
    check_size({"l": {"L": [tiny] * 40_000}})
    with pytest.raises(InvalidItem, match="as JSON it takes more than"):
        check_size({"l": {"L": [tiny] * 60_000}})


def test_the_largest_items_of_other_types_fit() -> None:
    check_size({"l": {"L": [{"NULL": True}] * 200_000}})
    check_size({"s": {"S": "\x01" * 400_000}})
