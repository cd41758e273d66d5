"""Parsing indexes, keys and sort conditions from the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import click

from mynamo.cli.plain_items import parse_item
from mynamo.errors import InvalidItem
from mynamo.schemas.items import Binary, binary_of
from mynamo.schemas.numbers import parse_number
from mynamo.schemas.table import GlobalIndexSchema, KeyAttribute, KeyType, LocalIndexSchema, parse

_INDEX = re.compile(
    r"(?P<name>[^=]*)=(?P<keys>.+?)"
    r"(?::(?P<type>ALL|KEYS_ONLY|INCLUDE\((?P<attributes>[^()]*)\)))?"
)
_OPERATORS = {
    "=": "equal",
    "<": "less",
    "<=": "less_or_equal",
    ">": "greater",
    ">=": "greater_or_equal",
}
_SORT_HELP = (
    'one of "= 5", "< 5", "<= 5", "> 5", ">= 5", "between 1 5", "begins_with abc"; '
    "values with spaces in quotes"
)


class Keyed(Protocol):
    """Anything with a key: a table, or its schema."""

    @property
    def hash_key(self) -> KeyAttribute:
        """What an item is found by."""

    @property
    def sort_key(self) -> KeyAttribute | None:
        """What orders the items of one hash key, if anything does."""


class SortSpec(NamedTuple):
    """A sort condition: the name of its function in `mynamo.reader`, and its values."""

    operator: str
    values: tuple[str, ...]


def parse_local_index(text: str) -> LocalIndexSchema:
    """Read `NAME=attribute[:T][:PROJECTION]`.

    Raises:
        click.BadParameter: it is not that.
        InvalidSchema: the definition breaks a rule.
    """
    definition = _index(text, "NAME=attribute[:T][:PROJECTION], such as by_price=price:N", 1)
    (sort_key,) = definition.pop("keys")
    return parse(LocalIndexSchema, {**definition, "sort_key": sort_key})


def parse_global_index(text: str) -> GlobalIndexSchema:
    """Read `NAME=hash[:T][+...][,sort[:T][+...]][:PROJECTION]`.

    Raises:
        click.BadParameter: it is not that.
        InvalidSchema: the definition breaks a rule.
    """
    wanted = (
        "NAME=hash[:T][,sort[:T]][:PROJECTION], such as by_status=status,price:N:KEYS_ONLY, and "
        "with several attributes in a key by_place=country+city,year:N+month:N"
    )
    definition = _index(text, wanted, 2)
    keys = [[name.strip() for name in key.split("+")] for key in definition.pop("keys")]
    if not all(name for key in keys for name in key):
        raise _no_index(text, wanted)
    definition["hash_key"], definition["sort_key"] = keys[0], keys[1] if keys[1:] else []
    return parse(GlobalIndexSchema, definition)


def parse_sort(text: str) -> SortSpec:
    """Read a sort condition; its values stay text until the key's type is known.

    Raises:
        click.BadParameter: it is not one.
    """
    symbol = re.fullmatch(r"\s*(<=|>=|<|>|=)(.*)", text, re.DOTALL)
    if symbol:
        return SortSpec(_OPERATORS[symbol[1]], (_one(symbol[2], text),))
    word, _, rest = text.strip().partition(" ")
    if word.lower() == "begins_with":
        return SortSpec("begins_with", (_one(rest, text),))
    if word.lower() == "between":
        values = _words(rest, text)
        if len(values) == 3 and values[1].lower() == "and":
            del values[1]
        if len(values) == 2:
            return SortSpec("between", tuple(values))
    raise click.BadParameter(f"{text!r} is not a sort condition; write {_SORT_HELP}")


def key_value(key: KeyAttribute, text: str) -> Any:
    """A key attribute's value from what was typed: text, a number, or base64.

    Raises:
        InvalidItem: it is not of the key's type.
    """
    kinds: dict[KeyType, str] = {
        "S": "text",
        "N": "a number",
        "B": "binary, and is typed in base64",
    }
    try:
        if text == "":
            raise InvalidItem("it is empty")
        if key.type == "N":
            return parse_number(text)
        return text if key.type == "S" else Binary(binary_of(text))
    except InvalidItem as error:
        raise InvalidItem(f"the key {key.name} is {kinds[key.type]}: {error}") from None


key_words = click.argument("key", metavar="KEY...", nargs=-1, required=True)
"""The key of an item: `NAME=VALUE` words, or one JSON object."""


def parse_key(words: Sequence[str], table: Keyed, dynamodb_json: bool = False) -> dict[str, Any]:
    """Read a key given as one JSON object, or as `attribute=value` words.

    Args:
        words: as typed.
        table: whose key it is.
        dynamodb_json: an object is DynamoDB JSON.

    Raises:
        click.UsageError: it is neither.
        InvalidItem: a value is not of its key's type, or the JSON is not valid.
    """
    if _is_object(words):
        return parse_item(words[0], dynamodb_json)
    keys = [key for key in (table.hash_key, table.sort_key) if key]
    made = _named(words, keys, keys)
    _check_complete(made, keys)
    return made


class Indexed(Protocol):
    """Anything that is queried: a table or an index."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def hash_keys(self) -> tuple[KeyAttribute, ...]:
        """One, or up to four."""

    @property
    def sort_keys(self) -> tuple[KeyAttribute, ...]:
        """None, or up to four."""


class QueryKey(NamedTuple):
    """What the words of a query say.

    Attributes:
        hash_values: of all attributes of the hash key.
        sort_values: of the first attributes of the sort key, which must be equal.
    """

    hash_values: dict[str, Any]
    sort_values: dict[str, Any]


def parse_query_key(words: Sequence[str], at: Indexed, dynamodb_json: bool = False) -> QueryKey:
    """Read what is looked for: `NAME=VALUE` words, one JSON object, or the hash key's value alone.

    A word with an equals sign is always `NAME=VALUE`, and one that begins with a brace is always
    JSON: a value that looks so is written with its name.

    Raises:
        click.UsageError: it is none of these, or not complete.
        InvalidItem: a value is not of its key's type, or the JSON is not valid.
    """
    if len(words) == 1 and len(at.hash_keys) == 1 and "=" not in words[0]:
        (key,) = at.hash_keys
        if not _is_object(words):
            return QueryKey({key.name: key_value(key, words[0])}, {})
    if _is_object(words):
        made = parse_item(words[0], dynamodb_json)
        for name in made:
            _known(name, words[0], (*at.hash_keys, *at.sort_keys), at.hash_keys)
    else:
        made = _named(words, (*at.hash_keys, *at.sort_keys), at.hash_keys)
    _check_complete(made, at.hash_keys)
    hash_values = {key.name: made.pop(key.name) for key in at.hash_keys}
    first = {key.name: made[key.name] for key in at.sort_keys[: len(made)] if key.name in made}
    if len(first) < len(made):
        names = ", ".join(key.name for key in at.sort_keys)
        raise click.UsageError(f"of the sort key {names} the first attributes must be given first")
    return QueryKey(hash_values, first)


def _is_object(words: Sequence[str]) -> bool:
    return len(words) == 1 and words[0].lstrip().startswith("{")


def _named(
    words: Sequence[str], keys: Sequence[KeyAttribute], needed: Sequence[KeyAttribute]
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        known = _known(name if equals else "", word, keys, needed)
        if name in made:
            wanted = " ".join(f"{key.name}=VALUE" for key in needed)
            raise click.UsageError(f"{name} is given twice; write {wanted}")
        made[name] = key_value(known, text)
    return made


def _known(
    name: str, word: str, keys: Sequence[KeyAttribute], needed: Sequence[KeyAttribute]
) -> KeyAttribute:
    for key in keys:
        if key.name == name:
            return key
    wanted = " ".join(f"{key.name}=VALUE" for key in needed)
    also = "" if "=" not in word else f"; a value with an equals sign too: {needed[0].name}={word}"
    raise click.UsageError(f"{word!r} is no part of a key here; write {wanted}{also}")


def _check_complete(made: Mapping[str, Any], keys: Sequence[KeyAttribute]) -> None:
    if not all(key.name in made for key in keys):
        wanted = " ".join(f"{key.name}=VALUE" for key in keys)
        raise click.UsageError(f"the key is not complete; write {wanted}")


def _index(text: str, wanted: str, most_keys: int) -> dict[str, Any]:
    match = _INDEX.fullmatch(text)
    keys = [key.strip() for key in match["keys"].split(",")] if match else []
    if match is None or not all(keys) or len(keys) > most_keys:
        raise _no_index(text, wanted)
    projection: dict[str, Any] = {"type": (match["type"] or "ALL").partition("(")[0]}
    if match["attributes"] is not None:
        projection["attributes"] = [name.strip() for name in match["attributes"].split(",")]
    return {"name": match["name"].strip(), "keys": keys, "projection": projection}


def _no_index(text: str, wanted: str) -> click.BadParameter:
    return click.BadParameter(
        f"{text!r} is not an index; write {wanted}. T is S, N or B; PROJECTION is ALL, "
        "KEYS_ONLY or INCLUDE(a,b)"
    )


def _one(rest: str, text: str) -> str:
    """The one value after an operator; quotes around it are optional."""
    rest = rest.strip()
    if rest[:1] not in ("'", '"'):
        if not rest:
            raise click.BadParameter(f"{text!r} lacks a value; write {_SORT_HELP}")
        return rest
    values = _words(rest, text)
    if len(values) != 1:
        raise click.BadParameter(f"{text!r} has {len(values)} values; write {_SORT_HELP}")
    return values[0]


def _words(rest: str, text: str) -> list[str]:
    try:
        return shlex.split(rest)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}; write {_SORT_HELP}") from None
