"""What is typed on the command line, and what it means: items, keys, indexes, sort conditions."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import click
import pytest
from hypothesis import given

from mynamo.cli.app import SECTIONS
from mynamo.cli.plain_items import dump_dynamodb, dump_plain, parse_item
from mynamo.cli.specs import key_value, parse_global_index, parse_key, parse_local_index, parse_sort
from mynamo.errors import InvalidItem, InvalidSchema
from mynamo.schemas.table import KeyAttribute, TableSchema
from tests.strategies import python_items

DIGITS = "12345678901234567890123456789012345678"
ORDERS = TableSchema.parse({"name": "orders", "hash_key": "customer", "sort_key": "at:N"})


@pytest.mark.parametrize(
    "number", ["0", "-0.1", "9.90", DIGITS, f"-{DIGITS[:10]}.{DIGITS[10:]}", "1E+125", "1e-130"]
)
def test_numbers_are_exact_in_both_directions(number: str) -> None:
    item = parse_item(f'{{"price": {number}}}')
    assert item == {"price": Decimal(number)}
    assert json.loads(dump_plain(item), parse_float=Decimal, parse_int=Decimal) == item


def test_a_float_would_have_lost_digits() -> None:
    """The control: the JSON reader without our number parser rounds."""
    assert Decimal(json.loads(f"0.{DIGITS}")) != Decimal(f"0.{DIGITS}")
    assert parse_item(f'{{"a": 0.{DIGITS}}}')["a"] == Decimal(f"0.{DIGITS}")


@pytest.mark.parametrize("number", ["1" * 39, "1e126", "1e-131", "NaN", "-Infinity", "1e99999999"])
def test_numbers_that_do_not_fit_are_refused(number: str) -> None:
    with pytest.raises(InvalidItem):
        parse_item(f'{{"price": {number}}}')


@given(python_items())
def test_plain_json_holds_every_item(item: dict[str, Any]) -> None:
    assert parse_item(dump_plain(item)) == item


@given(python_items())
def test_dynamodb_json_holds_every_item(item: dict[str, Any]) -> None:
    assert parse_item(dump_dynamodb(item), dynamodb_json=True) == item


def test_binary_and_sets_are_typed_in_plain_json() -> None:
    item = parse_item('{"b": {"B": "aGk="}, "s": {"SS": ["x"]}, "n": {"NS": ["1", "2.0"]}}')
    assert item == {"b": b"hi", "s": {"x"}, "n": {Decimal(1), Decimal(2)}}


@pytest.mark.parametrize("name", ["B", "SS", "NS", "BS", "M"])
def test_a_map_that_looks_typed_stays_a_map(name: str) -> None:
    item = {"grades": {name: "x"}, name: "an item's own name is never a type"}
    assert parse_item(dump_plain(item)) == item


def test_a_map_that_is_not_valid_as_typed_says_how_to_write_it() -> None:
    with pytest.raises(InvalidItem, match=r'written \{"M": \{"B": '):
        parse_item('{"grades": {"B": "not base64!"}}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "an item is a JSON object"),
        ("5", "an item is a JSON object"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
        (b'{"a": "\xff"}', "not valid UTF-8"),
    ],
)
def test_what_is_no_item_is_refused_with_the_reason(text: str | bytes, message: str) -> None:
    with pytest.raises(InvalidItem, match=message):
        parse_item(text)


def test_index_specifications() -> None:
    local = parse_local_index("by_price=price:N")
    assert (local.name, local.sort_key.name, local.sort_key.type) == ("by_price", "price", "N")
    assert local.projection.type == "ALL"
    both = parse_global_index("by_status=status,at:N:INCLUDE(price, note)")
    assert both.hash_key == (KeyAttribute(name="status", type="S"),)
    assert both.sort_key == (KeyAttribute(name="at", type="N"),)
    assert both.projection.attributes == ("price", "note")
    keys_only = parse_global_index("by_city=city:KEYS_ONLY")
    assert [key.name for key in keys_only.hash_key] == ["city"]
    assert keys_only.sort_key == ()
    assert keys_only.projection.type == "KEYS_ONLY"


def test_keys_of_several_attributes() -> None:
    place = parse_global_index("by_place=country + city,year:N+month:N:INCLUDE(name)")
    assert [(key.name, key.type) for key in place.hash_key] == [("country", "S"), ("city", "S")]
    assert [(key.name, key.type) for key in place.sort_key] == [("year", "N"), ("month", "N")]
    assert place.projection.attributes == ("name",)
    with pytest.raises(InvalidSchema, match="maximum allowed number of RANGE key attributes"):
        parse_global_index("by_x=a,b+c+d+e+f")


@pytest.mark.parametrize(
    "text", ["by_price", "by_price=", "by_x=a,b,c", "by_x=a,", "by_x=,a", "by_x=a+,b", "by_x=a,+b"]
)
def test_what_is_no_index_specification(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not an index; write NAME="):
        parse_global_index(text)


def test_a_local_index_has_one_key() -> None:
    with pytest.raises(click.BadParameter):
        parse_local_index("by_price=price,at")


def test_an_index_that_breaks_a_rule_is_refused_with_the_rule() -> None:
    with pytest.raises(InvalidSchema, match="name"):
        parse_local_index("x=price:N")


@pytest.mark.parametrize(
    ("text", "operator", "values"),
    [
        ("= 5", "equal", ("5",)),
        ("<5", "less", ("5",)),
        ("<= 5", "less_or_equal", ("5",)),
        (" > -3", "greater", ("-3",)),
        (">=x y", "greater_or_equal", ("x y",)),
        ('= "x y "', "equal", ("x y ",)),
        ("between 1 5", "between", ("1", "5")),
        ("BETWEEN 1 and 5", "between", ("1", "5")),
        ("between 'a b' c", "between", ("a b", "c")),
        ("begins_with 2024-", "begins_with", ("2024-",)),
        ("begins_with it's", "begins_with", ("it's",)),
    ],
)
def test_sort_conditions(text: str, operator: str, values: tuple[str, ...]) -> None:
    assert parse_sort(text) == (operator, values)


@pytest.mark.parametrize("text", ["", "5", "=", "between 1", "between 1 2 3", "like x", "= 'a"])
def test_what_is_no_sort_condition(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write one of"):
        parse_sort(text)


def test_keys_as_words_and_as_json() -> None:
    expected = {"customer": "ann=1", "at": Decimal("1.50")}
    assert parse_key(["customer=ann=1", "at=1.5"], ORDERS) == expected
    assert parse_key(['{"customer": "ann=1", "at": 1.5}'], ORDERS) == expected
    stored = '{"customer": {"S": "ann=1"}, "at": {"N": "1.5"}}'
    assert parse_key([stored], ORDERS, dynamodb_json=True) == expected


@pytest.mark.parametrize(
    "words", [["customer=a"], ["customer=a", "at=1", "x=2"], ["ann"], ["customer=a", "customer=b"]]
)
def test_words_that_are_no_key(words: list[str]) -> None:
    with pytest.raises(click.UsageError, match="write customer=VALUE at=VALUE"):
        parse_key(words, ORDERS)


def test_values_of_a_wrong_type_name_the_key() -> None:
    with pytest.raises(InvalidItem, match="the key at is a number"):
        key_value(KeyAttribute(name="at", type="N"), "soon")
    with pytest.raises(InvalidItem, match="the key raw is binary"):
        key_value(KeyAttribute(name="raw", type="B"), "!")
    assert key_value(KeyAttribute(name="raw", type="B"), "aGk=") == b"hi"


def test_the_help_lists_every_command_as_it_describes_itself() -> None:
    for section in SECTIONS.values():
        for name, entry in section.items():
            module = importlib.import_module(f"mynamo.cli.{entry.module}")
            command = getattr(module, name.replace("-", "_"))
            assert isinstance(command, click.Command)
            assert command.name == name
            assert entry.attribute == name.replace("-", "_")


def test_the_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from mynamo.cli.app import root; root.main(['--help'], standalone_mode=False);"
        "print(sorted({'pydantic', 'pymysql', 'kafka', 'rich', 'orjson'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
