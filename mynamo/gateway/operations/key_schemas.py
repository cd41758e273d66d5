"""Key schemas, attribute definitions and projections of requests, by DynamoDB's rules.

Messages as the service words them. Rules of November 2025 for keys of several attributes:
GSIs only, up to four hash and then up to four range attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mynamo.catalog.tables import Table
from mynamo.gateway.service_errors import ServiceError, invalid
from mynamo.schemas.table import MAX_KEY_ATTRIBUTES, KeyAttribute, Projection, parse

INVALID = "One or more parameter values were invalid: "
_NO_DEFINITION = "Invalid KeySchema: Some index key attribute have no definition"

Definitions = Mapping[str, Any]
"""The types of attributes, by name."""


class Keys(NamedTuple):
    """The attributes of a key."""

    hash: tuple[KeyAttribute, ...]
    sort: tuple[KeyAttribute, ...]


def wrong(message: str) -> ServiceError:
    """A ValidationException of the usual beginning."""
    return invalid(INVALID + message)


def definitions_of(given: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Read AttributeDefinitions.

    Raises:
        ServiceError: an attribute is there twice.
    """
    types: dict[str, Any] = {}
    for each in given:
        if each["AttributeName"] in types:
            raise invalid("Cannot have two attributes with the same name")
        types[each["AttributeName"]] = each["AttributeType"]
    return types


def types_in(table: Table) -> dict[str, Any]:
    """The types of all attributes that are part of a key of a table or its indexes."""
    types: dict[str, Any] = {}
    keys = [*table.hash_keys, *table.sort_keys]
    for index in table.indexes:
        keys += [*index.hash_keys, *index.sort_keys]
    for key in keys:
        types.setdefault(key.name, key.type)
    return types


def table_keys(schema: Sequence[Mapping[str, str]], types: Definitions) -> Keys:
    """Read the KeySchema of a table or an LSI: one hash key, perhaps one range key.

    Raises:
        ServiceError: it is not one.
    """
    check_order(schema)
    if len(schema) == 2 and schema[0]["AttributeName"] == schema[1]["AttributeName"]:
        raise invalid(
            "Both the Hash Key and the Range Key element in the KeySchema have the same name"
        )
    return _typed(schema, types)


def check_order(schema: Sequence[Mapping[str, str]]) -> None:
    """Refuse a KeySchema that is not HASH, or HASH and RANGE.

    Raises:
        ServiceError: see above.
    """
    if schema[0]["KeyType"] != "HASH":
        raise invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
    if len(schema) > 1 and schema[1]["KeyType"] != "RANGE":
        raise invalid("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")


def global_keys(schema: Sequence[Mapping[str, str]], types: Definitions) -> Keys:
    """Read the KeySchema of a GSI.

    Raises:
        ServiceError: it is not one.
    """
    kinds = [element["KeyType"] for element in schema]
    names = [element["AttributeName"] for element in schema]
    if kinds[0] != "HASH":
        raise invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
    if kinds != sorted(kinds):  # HASH comes before RANGE
        raise invalid(
            "Invalid KeySchema: All HASH key attributes must precede RANGE key attributes "
            "in the KeySchema"
        )
    for kind in ("HASH", "RANGE"):
        if kinds.count(kind) > MAX_KEY_ATTRIBUTES:
            raise invalid(
                f"Invalid KeySchema: The KeySchema exceeds the maximum allowed number of {kind} "
                "key attributes"
            )
    if len(set(names)) < len(names):
        raise invalid(
            "Both the Hash Key and the Range Key element in the KeySchema have the same name"
        )
    return _typed(schema, types)


def _typed(schema: Sequence[Mapping[str, str]], types: Definitions) -> Keys:
    missing = [e["AttributeName"] for e in schema if e["AttributeName"] not in types]
    if missing and len(types) < len(schema):
        raise invalid(_NO_DEFINITION)
    if missing:
        names = [element["AttributeName"] for element in schema]
        raise wrong(
            "Some index key attributes are not defined in AttributeDefinitions. "
            f"Keys: {shown(names)}, AttributeDefinitions: {shown(types)}"
        )
    keys = [
        (e["KeyType"], _attribute(e["AttributeName"], types[e["AttributeName"]])) for e in schema
    ]
    return Keys(
        tuple(key for kind, key in keys if kind == "HASH"),
        tuple(key for kind, key in keys if kind == "RANGE"),
    )


def _attribute(name: str, kind: Any) -> KeyAttribute:
    """A key attribute; its name is limited in bytes as well.

    Raises:
        InvalidSchema: the name is too long.
    """
    return parse(KeyAttribute, {"name": name, "type": kind})


def shown(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Names as messages list them."""
    return f"[{', '.join(names)}]"


def projection_of(given: Mapping[str, Any]) -> Projection:
    """Read a Projection.

    Raises:
        ServiceError: its parts do not fit together.
    """
    kind, attributes = given.get("ProjectionType"), given.get("NonKeyAttributes")
    if kind is None:
        raise wrong("Unknown ProjectionType: null")
    if kind == "INCLUDE" and attributes is None:
        raise wrong("ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
    if kind != "INCLUDE" and attributes is not None:
        raise wrong(f"ProjectionType is {kind}, but NonKeyAttributes is specified")
    unique = tuple(dict.fromkeys(attributes or ()))
    if attributes is not None and len(unique) < len(attributes):
        raise wrong("NonKeyAttributes contains duplicate attributes")
    return Projection(type=kind, attributes=unique)
