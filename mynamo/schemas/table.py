"""Tables and indexes as a user defines them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from mynamo.errors import InvalidSchema
from mynamo.schemas.validation import NAME_PATTERN, explain

KeyType = Literal["S", "N", "B"]

Model = TypeVar("Model", bound=BaseModel)

MAX_LOCAL_INDEXES = 5
MAX_GLOBAL_INDEXES = 20
MAX_KEY_ATTRIBUTES = 4
"""Of a GSI's hash key, and as many of its sort key."""
MAX_INCLUDED = 100
"""Non-key attributes that the INCLUDE projections of one table may name in all."""

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A table's or index's name, by DynamoDB's rule: 3 to 255 of a-z, A-Z, 0-9, '_', '-', '.'."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KeyAttribute(_Strict):
    """An attribute that is part of a key.

    Attributes:
        name: the attribute's name, 1 to 255 bytes of UTF-8.
        type: S (string), N (number) or B (binary).
    """

    name: str = Field(min_length=1)
    type: KeyType = "S"

    @model_validator(mode="after")
    def _name_fits(self) -> KeyAttribute:
        if len(self.name.encode("utf-8", "replace")) > 255:
            raise ValueError("a key attribute's name may have at most 255 bytes")
        return self


def _key_shorthand(value: Any) -> Any:
    """Let "price:N" and "price" (a string key) stand for a KeyAttribute."""
    if not isinstance(value, str):
        return value
    name, colon, kind = value.partition(":")
    if colon and kind not in ("S", "N", "B"):
        raise ValueError(
            f"in {value!r} the type after the colon must be S (string), N (number) or B (binary); "
            'an attribute with a colon in its name is written {"name": ..., "type": ...}'
        )
    return {"name": name, "type": kind} if colon else {"name": name}


Key = Annotated[KeyAttribute, BeforeValidator(_key_shorthand)]
"""A key attribute; also accepted as "name" (a string) or "name:S", "name:N", "name:B"."""


def _one_or_more(value: Any) -> Any:
    """Let one key attribute stand for a list of one, and None for an empty list."""
    if value is None:
        return ()
    return value if isinstance(value, (list, tuple)) else (value,)


def _bare_if_one(keys: tuple[KeyAttribute, ...]) -> Any:
    """One attribute as it was written before keys could have several."""
    dumped = [key.model_dump() for key in keys]
    return dumped if len(dumped) > 1 else next(iter(dumped), None)


Keys = Annotated[
    tuple[Key, ...],
    BeforeValidator(
        _one_or_more, json_schema_input_type=KeyAttribute | tuple[KeyAttribute, ...] | None
    ),
    PlainSerializer(_bare_if_one),
]
"""The attributes of a key, in their order; also accepted as a single one of them."""


class Projection(_Strict):
    """Which attributes of an item an index answers with; keys are always among them.

    Attributes:
        type: ALL, KEYS_ONLY, or INCLUDE for the keys and `attributes`.
        attributes: the further attributes of INCLUDE.
    """

    type: Literal["ALL", "KEYS_ONLY", "INCLUDE"] = "ALL"
    attributes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _attributes_belong_to_include(self) -> Projection:
        if self.type == "INCLUDE" and not self.attributes:
            raise ValueError("a projection of type INCLUDE must name attributes")
        if self.type != "INCLUDE" and self.attributes:
            raise ValueError(f"a projection of type {self.type} takes no attributes")
        if len(set(self.attributes)) != len(self.attributes):
            raise ValueError("the attributes of a projection must be different")
        return self


KEYS_ONLY = Projection(type="KEYS_ONLY")


class LocalIndexSchema(_Strict):
    """A local secondary index: the table's hash key and another sort key.

    Attributes:
        name: unique among the table's indexes.
        sort_key: the attribute that orders the items of one hash key.
        projection: what a query of the index answers with.
    """

    name: Name
    sort_key: Key
    projection: Projection = Projection()


class GlobalIndexSchema(_Strict):
    """A global secondary index: a hash key and optional sort key of its own.

    Each of the two may have up to four attributes, as DynamoDB's may since November 2025
    ("Multi-attribute keys" in its developer guide): a query names all those of the hash key,
    and of the sort key the first ones. An item that lacks one of them is not in the index.

    Attributes:
        name: unique among the table's indexes.
        hash_key: items are found by its value, whatever their own key. One attribute, or a
            list of up to four.
        sort_key: orders the items of one such value. None, one, or a list of up to four.
        projection: what the index stores and a query answers with.
    """

    name: Name
    hash_key: Keys
    sort_key: Keys = ()
    projection: Projection = Projection()

    @model_validator(mode="after")
    def _keys_are_within_limits(self) -> GlobalIndexSchema:
        if not self.hash_key:
            raise ValueError(f"the hash key of index {self.name} must have an attribute")
        for part, keys in (("HASH", self.hash_key), ("RANGE", self.sort_key)):
            if len(keys) > MAX_KEY_ATTRIBUTES:
                raise ValueError(
                    "The KeySchema exceeds the maximum allowed number of "
                    f"{part} key attributes: {len(keys)} in index {self.name}, "
                    f"and the most is {MAX_KEY_ATTRIBUTES}"
                )
        names = [key.name for key in (*self.hash_key, *self.sort_key)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two keys of index {self.name} have the name {name!r}")
        return self


class TimeToLiveSchema(_Strict):
    """Time to live of a table: items are deleted once they have expired.

    Attributes:
        attribute: says when an item expires: a top-level attribute of type N, in seconds since
            1970. 1 to 255 bytes of UTF-8.
    """

    attribute: str = Field(min_length=1)

    @model_validator(mode="after")
    def _attribute_fits(self) -> TimeToLiveSchema:
        if len(self.attribute.encode("utf-8", "replace")) > 255:
            raise ValueError("the attribute's name may have at most 255 bytes")
        return self

    @property
    def name(self) -> str:
        """Of the index of the expiries, which no other index can have."""
        return "time to live"


IndexSchema = LocalIndexSchema | GlobalIndexSchema | TimeToLiveSchema
"""What writes or indexers keep up beside a table's items."""


class TableSchema(_Strict):
    """A table: its keys and its indexes, within DynamoDB's limits.

    Attributes:
        name: 3 to 255 of a-z, A-Z, 0-9, '_', '-', '.'.
        hash_key: what an item is found by.
        sort_key: with it, many items share a hash key and are ordered by this attribute.
        local_indexes: up to 5; they need a table with a sort key.
        global_indexes: up to 20.

    Raises:
        InvalidSchema: from `TableSchema.parse`, saying each thing that is wrong.
    """

    name: Name
    hash_key: Key
    sort_key: Key | None = None
    local_indexes: tuple[LocalIndexSchema, ...] = Field((), max_length=MAX_LOCAL_INDEXES)
    global_indexes: tuple[GlobalIndexSchema, ...] = Field((), max_length=MAX_GLOBAL_INDEXES)

    @classmethod
    def parse(cls, definition: Any) -> TableSchema:
        """Check a definition given as a dictionary (or an existing TableSchema).

        Raises:
            InvalidSchema: it breaks one of DynamoDB's rules.
        """
        return parse(cls, definition)

    @model_validator(mode="after")
    def _fits_together(self) -> TableSchema:
        if self.sort_key and self.sort_key.name == self.hash_key.name:
            raise ValueError(
                "both the hash key and the sort key have the name " + repr(self.hash_key.name)
            )
        if self.local_indexes and self.sort_key is None:
            raise ValueError("a local secondary index needs a table with a sort key")
        names = [i.name for i in self.local_indexes] + [i.name for i in self.global_indexes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"duplicate index name: {name}")
        projections = [i.projection for i in self.local_indexes]
        projections += [i.projection for i in self.global_indexes]
        included = sum(len(projection.attributes) for projection in projections)
        if included > MAX_INCLUDED:
            raise ValueError(
                f"the INCLUDE projections name {included} attributes; the most is {MAX_INCLUDED}"
            )
        self._check_types_agree()
        return self

    def _check_types_agree(self) -> None:
        types: dict[str, str] = {}
        keys = [self.hash_key, self.sort_key]
        keys += [index.sort_key for index in self.local_indexes]
        for index in self.global_indexes:
            keys += [*index.hash_key, *index.sort_key]
        for key in keys:
            if key and types.setdefault(key.name, key.type) != key.type:
                raise ValueError(
                    f"attribute {key.name!r} is a key of type {types[key.name]} in one place "
                    f"and {key.type} in another"
                )


def parse(model: type[Model], definition: Any) -> Model:
    """Validate a definition.

    Raises:
        InvalidSchema: with one clause per mistake.
    """
    try:
        return model.model_validate(definition)
    except ValidationError as error:
        raise InvalidSchema(explain(error, model)) from None
