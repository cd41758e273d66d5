"""The form by which items are browsed, and the Query or Scan that it comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mynamo.console.item_forms import dump_address, load_address
from mynamo.console.refused import Refused

LIMITS = (25, 50, 100)
SORT_OPERATORS = ("=", "<", "<=", ">", ">=", "between", "begins_with")
"""The last one is not for numbers."""
FILTER_OPERATORS = (
    "=", "<>", "<", "<=", ">", ">=", "begins_with", "contains", "attribute_exists",
    "attribute_not_exists",
)  # fmt: skip
FILTER_TYPES = ("S", "N", "BOOL")
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class KeyPart:
    """An attribute of a key.

    Attributes:
        type: S, N or B.
    """

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Source:
    """What items are read from: a table or one of its indexes, as DescribeTable says.

    Attributes:
        index: its name; empty: the table.
        kind: "table", "LSI" or "GSI".
        status: of a GSI: CREATING, ACTIVE or DELETING.
        projection: of an index, in words.
    """

    table: str
    index: str
    kind: Literal["table", "LSI", "GSI"]
    hash_keys: tuple[KeyPart, ...]
    sort_keys: tuple[KeyPart, ...]
    status: str
    projection: str = ""

    @property
    def keys(self) -> tuple[KeyPart, ...]:
        """All parts of its key."""
        return self.hash_keys + self.sort_keys


def sources_of(described: Mapping[str, Any]) -> list[Source]:
    """The table first, then its indexes."""
    types = {
        one["AttributeName"]: one["AttributeType"] for one in described["AttributeDefinitions"]
    }
    name, status = described["TableName"], described["TableStatus"]

    def parts(keys: Sequence[Mapping[str, str]], kind: str) -> tuple[KeyPart, ...]:
        names = [one["AttributeName"] for one in keys if one["KeyType"] == kind]
        return tuple(KeyPart(each, types[each]) for each in names)

    def source(index: Mapping[str, Any], kind: Literal["table", "LSI", "GSI"]) -> Source:
        keys, projection = index["KeySchema"], index.get("Projection", {})
        shown = projection.get("ProjectionType", "")
        if shown == "INCLUDE":
            shown = f"INCLUDE {', '.join(projection['NonKeyAttributes'])}"
        return Source(
            name, index.get("IndexName", ""), kind, parts(keys, "HASH"), parts(keys, "RANGE"),
            index.get("IndexStatus", status), shown,
        )  # fmt: skip

    return [
        source(described, "table"),
        *(source(one, "LSI") for one in described.get("LocalSecondaryIndexes", ())),
        *(source(one, "GSI") for one in described.get("GlobalSecondaryIndexes", ())),
    ]


def source_named(sources: Sequence[Source], index: str) -> Source:
    """The index of that name; empty: the table.

    Raises:
        Refused: there is none.
    """
    for each in sources:
        if each.index == index:
            return each
    raise Refused(f"table {sources[0].table} has no index {index}")


class _Expression:
    """Placeholders, and what they stand for."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, Any] = {}

    def name(self, name: str) -> str:
        word = f"#n{len(self.names)}"
        self.names[word] = name
        return word

    def value(self, kind: str, text: str) -> str:
        word = f":v{len(self.values)}"
        if kind == "BOOL":
            if text not in _TRUTH:
                raise Refused("a value of the type BOOL is true or false")
            self.values[word] = {kind: _TRUTH[text]}
        else:
            self.values[word] = {kind: text.strip() if kind == "N" else text}
        return word


def reading_of(
    source: Source, key_names: Sequence[str], form: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """The operation and its request: a Query if the hash key is given, else a Scan.

    Args:
        key_names: of the table: read in any case, as they lead to the items.
        form: `hash0` and so on: values of the hash key; `is0`, `sort0`, `and0`: operator and values
            of the sort key; `attributes`: those to show, with commas; `filter`, `filter_is`,
            `filter_type`, `filter_value`; `limit`; `order`: "descending"; `consistent`: anything;
            `start`: see `start_of`.

    Raises:
        Refused: the form is not filled in so that it means something.
    """
    words = _Expression()
    request: dict[str, Any] = {"TableName": source.table, "ReturnConsumedCapacity": "INDEXES"}
    if source.index:
        request["IndexName"] = source.index
    conditions = _key_conditions(source, form, words)
    operation = "Query" if conditions else "Scan"
    if conditions:
        request["KeyConditionExpression"] = " AND ".join(conditions)
        if form.get("order") == "descending":
            request["ScanIndexForward"] = False
    if form.get("filter"):
        request["FilterExpression"] = _filter(form, words)
    shown = [name.strip() for name in form.get("attributes", "").split(",") if name.strip()]
    if shown:
        names = dict.fromkeys([*key_names, *(part.name for part in source.keys), *shown])
        request["ProjectionExpression"] = ", ".join(words.name(name) for name in names)
    if form.get("consistent") and source.kind != "GSI":
        request["ConsistentRead"] = True
    limit = form.get("limit", "")
    request["Limit"] = int(limit) if limit in map(str, LIMITS) else LIMITS[0]
    if form.get("start"):
        request["ExclusiveStartKey"] = load_address(form["start"])
    if words.names:
        request["ExpressionAttributeNames"] = words.names
    if words.values:
        request["ExpressionAttributeValues"] = words.values
    return operation, request


def _key_conditions(source: Source, form: Mapping[str, str], words: _Expression) -> list[str]:
    given = [form.get(f"hash{n}", "") for n in range(len(source.hash_keys))]
    operators = [form.get(f"is{n}", "") for n in range(len(source.sort_keys))]
    if not all(given):
        if any(given) or any(operators):
            names = ", ".join(part.name for part in source.hash_keys)
            raise Refused(
                f"a query needs a value of the hash key ({names}); leave all fields of the key "
                "empty to scan"
            )
        return []
    found = [
        f"{words.name(part.name)} = {words.value(part.type, text)}"
        for part, text in zip(source.hash_keys, given, strict=True)
    ]
    for n, part in enumerate(source.sort_keys):
        if operators[n]:
            values = form.get(f"sort{n}", ""), form.get(f"and{n}", "")
            found.append(_sort_condition(part, operators[n], values, words))
    return found


def _sort_condition(
    part: KeyPart, operator: str, values: tuple[str, str], words: _Expression
) -> str:
    if operator not in SORT_OPERATORS:
        raise Refused(f"{operator} is no operator of a sort key")
    if not values[0] or (operator == "between" and not values[1]):
        raise Refused(f"{part.name} {operator}: the value is missing")
    name, first = words.name(part.name), words.value(part.type, values[0])
    if operator == "between":
        return f"{name} BETWEEN {first} AND {words.value(part.type, values[1])}"
    if operator == "begins_with":
        return f"begins_with({name}, {first})"
    return f"{name} {operator} {first}"


def _filter(form: Mapping[str, str], words: _Expression) -> str:
    operator, kind = form.get("filter_is", "="), form.get("filter_type", "S")
    if operator not in FILTER_OPERATORS or kind not in FILTER_TYPES:
        raise Refused(f"{operator} {kind} is no filter")
    name = words.name(form["filter"])
    if operator.startswith("attribute_"):
        return f"{operator}({name})"
    value = words.value(kind, form.get("filter_value", ""))
    if operator in ("begins_with", "contains"):
        return f"{operator}({name}, {value})"
    return f"{name} {operator} {value}"


def start_of(last_key: Mapping[str, Any] | None) -> str:
    """Where the next page begins, as the form has it; empty: there is none."""
    return dump_address(last_key) if last_key else ""


def columns_of(
    items: Sequence[Mapping[str, Any]], key_names: Sequence[str], source: Source, most: int
) -> tuple[list[str], int]:
    """The attributes to show as columns, those of the keys first, and how many are left out."""
    first = [*key_names, *(part.name for part in source.keys)]
    names = dict.fromkeys(first)
    for item in items:
        names.update(dict.fromkeys(item))
    shown = list(names)[: max(most, len(dict.fromkeys(first)))]
    return shown, len(names) - len(shown)
