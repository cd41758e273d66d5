"""Table definitions: DynamoDB's rules, and messages that say what to change."""

from typing import Any

import pytest

from mynamo.errors import InvalidSchema
from mynamo.schemas.table import GlobalIndexSchema, KeyAttribute, TableSchema


def definition(**changes: Any) -> dict[str, Any]:
    return {"name": "orders", "hash_key": "order_id", "sort_key": "created:N", **changes}


def test_shorthand_and_long_form_say_the_same() -> None:
    long = {"name": "created", "type": "N"}
    assert TableSchema.parse(definition()) == TableSchema.parse(definition(sort_key=long))
    assert TableSchema.parse(definition()).hash_key == KeyAttribute(name="order_id", type="S")


@pytest.mark.parametrize("key", ["id:NUMBER", "id:n", "id:", "a:b:N", "c:N:KEYS_ONLY"])
def test_a_mistyped_type_does_not_become_part_of_the_name(key: str) -> None:
    with pytest.raises(InvalidSchema, match="the type after the colon must be S"):
        TableSchema.parse(definition(hash_key=key))


def test_a_name_with_a_colon_has_a_long_form() -> None:
    parsed = TableSchema.parse(definition(hash_key={"name": "a:b:N", "type": "B"}))
    assert parsed.hash_key == KeyAttribute(name="a:b:N", type="B")


@pytest.mark.parametrize("name", ["ab", "a" * 256, "has space", "umlaut-ü", ""])
def test_names_that_dynamodb_refuses(name: str) -> None:
    with pytest.raises(InvalidSchema, match="name"):
        TableSchema.parse(definition(name=name))


def lsi(number: int, **changes: Any) -> dict[str, Any]:
    return {"name": f"local{number}", "sort_key": f"l{number}", **changes}


def gsi(number: int, **changes: Any) -> dict[str, Any]:
    return {"name": f"global{number}", "hash_key": f"g{number}", **changes}


def test_the_limits_on_indexes_are_inclusive() -> None:
    full = TableSchema.parse(
        definition(
            local_indexes=[lsi(i) for i in range(5)], global_indexes=[gsi(i) for i in range(20)]
        )
    )
    assert (len(full.local_indexes), len(full.global_indexes)) == (5, 20)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"local_indexes": [lsi(i) for i in range(6)]}, "local_indexes"),
        ({"global_indexes": [gsi(i) for i in range(21)]}, "global_indexes"),
        ({"sort_key": None, "local_indexes": [lsi(1)]}, "needs a table with a sort key"),
        ({"sort_key": "order_id"}, "both the hash key and the sort key"),
        ({"global_indexes": [gsi(1), gsi(1)]}, "duplicate index name: global1"),
        ({"local_indexes": [lsi(1)], "global_indexes": [gsi(1, name="local1")]}, "duplicate"),
        ({"global_indexes": [gsi(1, sort_key="g1")]}, "two keys of index global1"),
        ({"global_indexes": [gsi(1, hash_key="created:S")]}, "type N in one place and S"),
        ({"global_indexes": [gsi(1, projection={"type": "INCLUDE"})]}, "must name attributes"),
        (
            {"global_indexes": [gsi(1, projection={"type": "ALL", "attributes": ["a"]})]},
            "takes no attributes",
        ),
        (
            {
                "global_indexes": [
                    gsi(
                        i,
                        projection={"type": "INCLUDE", "attributes": [f"a{n}" for n in range(51)]},
                    )
                    for i in range(2)
                ]
            },
            "102 attributes; the most is 100",
        ),
        ({"hash_kay": 1}, "hash_kay"),
        ({"hash_key": {"name": "x", "type": "BOOL"}}, "hash_key.type"),
        ({"hash_key": "x" * 256}, "at most 255 bytes"),
    ],
)
def test_definitions_that_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidSchema, match=complaint):
        TableSchema.parse(definition(**changes))


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(InvalidSchema) as caught:
        TableSchema.parse({"name": "x", "global_indexes": [{"name": "y"}]})
    message = str(caught.value)
    assert "hash_key: is missing" in message
    assert "global_indexes.0.hash_key: is missing" in message
    assert "pydantic" not in message


def test_a_schema_is_accepted_as_it_is() -> None:
    schema = TableSchema.parse(definition(global_indexes=[gsi(1)]))
    assert TableSchema.parse(schema) is schema
    assert schema.global_indexes == (
        GlobalIndexSchema(name="global1", hash_key=KeyAttribute(name="g1")),
    )


def test_index_keys_of_several_attributes() -> None:
    index = GlobalIndexSchema.model_validate(
        {"name": "places", "hash_key": ["country", "city"], "sort_key": ["year:N", "street"]}
    )
    assert [key.name for key in index.hash_key] == ["country", "city"]
    assert [key.type for key in index.sort_key] == ["N", "S"]
    assert GlobalIndexSchema.model_validate(index.model_dump()) == index
    assert GlobalIndexSchema.model_validate_json(index.model_dump_json()) == index


def test_one_attribute_is_written_as_before() -> None:
    dumped = GlobalIndexSchema.model_validate(gsi(1)).model_dump()
    assert dumped["hash_key"] == {"name": "g1", "type": "S"}
    assert dumped["sort_key"] is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"hash_key": list("abcde")}, "maximum allowed number of HASH key attributes"),
        ({"sort_key": list("abcde")}, "maximum allowed number of RANGE key attributes"),
        ({"hash_key": []}, "the hash key of index global1 must have an attribute"),
        ({"hash_key": ["a", "b"], "sort_key": ["c", "a"]}, "two keys of index global1"),
        ({"hash_key": ["a", "a:N"]}, "two keys of index global1 have the name 'a'"),
        ({"hash_key": ["a", "created:S"]}, "type N in one place and S"),
        ({"sort_key": ["a", "b:X"]}, "the type after the colon"),
    ],
)
def test_index_keys_that_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidSchema, match=complaint):
        TableSchema.parse(definition(global_indexes=[gsi(1, **changes)]))


def test_four_and_four_attributes_are_the_most() -> None:
    full = gsi(1, hash_key=list("abcd"), sort_key=list("efgh"))
    (index,) = TableSchema.parse(definition(global_indexes=[full])).global_indexes
    assert (len(index.hash_key), len(index.sort_key)) == (4, 4)


@pytest.mark.parametrize("part", ["hash_key", "sort_key"])
def test_tables_and_local_indexes_have_one_attribute_in_each_key(part: str) -> None:
    with pytest.raises(InvalidSchema, match=part):
        TableSchema.parse(definition(**{part: ["a", "b"]}))
    with pytest.raises(InvalidSchema, match="sort_key"):
        TableSchema.parse(definition(local_indexes=[lsi(1, sort_key=["a", "b"])]))
