"""Tables and indexes as the catalog knows them, and how an item maps to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple

import orjson

from mynamo.errors import IndexNotFound, InvalidItem
from mynamo.schemas import expiry
from mynamo.schemas.keys import (
    MAX_HASH_KEY,
    MAX_SORT_KEY,
    encode_key,
    hash_of,
    hash_of_parts,
    slot_of,
    sort_code,
)
from mynamo.schemas.table import KeyAttribute, Projection
from mynamo.schemas.table_settings import StreamView, TableSettings

IndexKind = Literal["LSI", "GSI", "TTL"]
"""TTL: the expiries of a table with time to live, which users do not see; see `expiry`."""
Status = Literal["CREATING", "ACTIVE", "DELETING"]
Attributes = Mapping[str, Mapping[str, Any]]


class EmptyKey(InvalidItem):
    """A key attribute of a table or an index is empty, which no item may have."""


class RowKey(NamedTuple):
    """Where an item lies in a main table: its key, as bytes."""

    hash: bytes
    sort: bytes

    @property
    def slot(self) -> int:
        """The slot that owns it."""
        return slot_of(self.hash)


class IndexKey(NamedTuple):
    """Where an item lies in an index, before its own key makes the place unique."""

    hash: bytes
    sort: bytes


@dataclass(frozen=True)
class Index:
    """One index of a table.

    Attributes:
        id: never used again; names the physical tables.
        hash_keys: of a GSI its own, one to four; of an LSI the table's.
        sort_keys: of a GSI none to four; of an LSI one. What a query's conditions on them
            mean in the index is said by `keys.sort_bounds`.
        table_keys: names of the table's key attributes, which every projection has.
        since: version of the table's definition that brought the index. Events of earlier
            versions never touch it, whoever applies them: its backfill covers them.
        expiry: of the kind TTL: the attribute that says when an item expires. It is in the index
            under `expiry.sort_of`, and no key attribute: it may have any value.
    """

    id: int
    table_id: int
    name: str
    kind: IndexKind
    hash_keys: tuple[KeyAttribute, ...]
    sort_keys: tuple[KeyAttribute, ...]
    projection: Projection
    status: Status
    table_keys: tuple[str, ...]
    since: int = 1
    expiry: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether its rows lie beside their items, and each write keeps them up itself."""
        return self.kind != "GSI"

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        """Names of the index's own key attributes, those of the hash key first."""
        return tuple(key.name for key in (*self.hash_keys, *self.sort_keys))

    def key_of(self, item: Attributes | None) -> IndexKey | None:
        """Where the item lies in this index; None if it is not in it (sparse).

        An item without one of the key attributes is not in it. An attribute of a wrong type
        or size, which a write would have been refused for but which may be older than the
        index, counts as absent.
        """
        if item is None:
            return None
        try:
            return self._key(item)
        except InvalidItem:
            return None

    def sort_of(self, item: Attributes | None) -> bytes | None:
        """As `key_of`, the sort key alone, of an index beside its items: it has the hash key of its
        table, without which there is no item."""
        if item is None:
            return None
        if self.expiry is not None:
            seconds = expiry.expires_at(item, self.expiry)
            return None if seconds is None else expiry.sort_of(seconds)
        try:
            sorted_by = self._parts(item, self.sort_keys, MAX_SORT_KEY)
        except InvalidItem:
            return None
        return None if sorted_by is None else sorted_by[0]

    def check(self, item: Attributes) -> None:
        """Refuse an item whose index key attributes are not fit for this index.

        Raises:
            InvalidItem: DynamoDB's validation message, with index and attribute named.
        """
        self._parts(item, self.hash_keys, MAX_HASH_KEY)
        self.check_sort(item)

    def check_sort(self, item: Attributes) -> None:
        """As `check`, of the sort key alone: the hash key of an LSI is its table's."""
        if self.sort_keys:
            self._parts(item, self.sort_keys, MAX_SORT_KEY)

    def encoded(self, key: KeyAttribute, value: Mapping[str, Any]) -> bytes:
        """The bytes of a key attribute's value, which is of the key's type.

        Raises:
            InvalidItem: it is empty.
        """
        data = encode_key(key.type, value)
        if data:
            return data
        raise EmptyKey(
            "One or more parameter values are not valid. A value specified for a secondary index "
            f"key is not supported. {_empty(key)} IndexName: {self.name}, IndexKey: {key.name}"
        )

    def project(self, item: Attributes) -> dict[str, Any]:
        """The part of the item that the index answers with."""
        if self.projection.type == "ALL":
            return dict(item)
        keys = {*self.key_names, *self.table_keys, *self.projection.attributes}
        return {name: value for name, value in item.items() if name in keys}

    def _key(self, item: Attributes) -> IndexKey | None:
        hashed = self._parts(item, self.hash_keys, MAX_HASH_KEY)
        if self.expiry is not None:
            sort = self.sort_of(item)
            return None if hashed is None or sort is None else IndexKey(hash_of_parts(hashed), sort)
        sorted_by = self._parts(item, self.sort_keys, MAX_SORT_KEY)
        if hashed is None or sorted_by is None:
            return None
        if len(sorted_by) == 1:
            return IndexKey(hash_of_parts(hashed), sorted_by[0])
        types = [key.type for key in self.sort_keys]
        return IndexKey(hash_of_parts(hashed), sort_code(types, sorted_by, len(types)))

    def _parts(
        self, item: Attributes, keys: tuple[KeyAttribute, ...], limit: int
    ) -> list[bytes] | None:
        """The bytes of key attributes; None if one is absent. All that are there are checked."""
        if len(keys) == 1:  # as most have, in half the time
            value = item.get(keys[0].name)
            if value is None:
                return None
            part = self._encode(keys[0], value)
            if len(part) <= limit:
                return [part]
        parts: list[bytes] = []
        size = 0
        for key in keys:
            value = item.get(key.name)
            if value is not None:
                part = self._encode(key, value)
                size += len(part)
                parts.append(part)
        if size > limit:
            raise InvalidItem(
                "One or more parameter values were invalid: Size limit exceeded for Index Key "
                f"{', '.join(key.name for key in keys if key.name in item)} Actual Size: {size} "
                f"bytes Max Size: {limit} bytes IndexName: {self.name}"
            )
        return parts if len(parts) == len(keys) else None

    def _encode(self, key: KeyAttribute, value: Mapping[str, Any]) -> bytes:
        if key.type not in value:
            actual = next(iter(value), "nothing")
            raise InvalidItem(
                "One or more parameter values were invalid: Type mismatch for Index Key "
                f"{key.name} Expected: {key.type} Actual: {actual} IndexName: {self.name}"
            )
        return encode_key(key.type, value) or self.encoded(
            key, value
        )  # which refuses what is empty


StreamStatus = Literal["ENABLING", "ENABLED", "DISABLING", "DISABLED"]
"""DynamoDB's words. ENABLING: not all shards know of it, or it has not all of its stream shards;
DISABLING: not all know of its end. A disabled stream can be read until its records are gone."""


@dataclass(frozen=True)
class TableStream:
    """A stream of a table: a record of each change of an item, for some time.

    Attributes:
        id: never used again.
        table: the table's name; it may be dropped by now.
        view: what a record shows of an item.
        label: distinguishes the streams of tables of one name: when it was made, UTC.
        hash_key, sort_key: of the table.
        since: the version of the table's definition that brought it.
        until: the version from which on writes make no records; None: it is enabled.
        mark: of the call that made it, for an attempt whose answer was lost.
    """

    id: int
    table_id: int
    table: str
    status: StreamStatus
    view: StreamView
    label: str
    hash_key: KeyAttribute
    sort_key: KeyAttribute | None
    since: int
    until: int | None = None
    mark: str = ""

    @property
    def is_active(self) -> bool:
        """Whether writes that know it make records."""
        return self.until is None


def stream_of(row: Sequence[Any]) -> TableStream:
    """One stream, from its row in the catalog."""
    stream_id, table_id, status, definition_json = row
    definition = orjson.loads(definition_json)
    sort_key = definition["keys"]["sort_key"]
    return TableStream(
        id=stream_id,
        table_id=table_id,
        table=definition["table"],
        status=status,
        view=definition["view"],
        label=definition["label"],
        hash_key=KeyAttribute(**definition["keys"]["hash_key"]),
        sort_key=None if sort_key is None else KeyAttribute(**sort_key),
        since=definition["since"],
        until=definition.get("until"),
        mark=definition.get("mark", ""),
    )


_TYPE_NAMES = {"S": "string", "B": "binary", "N": "number"}
_TOO_LONG = {  # as DynamoDB writes it, with the missing space
    "hash": f"Size of hashkey has exceeded the maximum size limit of{MAX_HASH_KEY} bytes",
    "range": "Aggregated size of all range keys has exceeded the size limit of "
    f"{MAX_SORT_KEY} bytes",
}


def _empty(key: KeyAttribute) -> str:
    what = _TYPE_NAMES[key.type]
    return f"The AttributeValue for a key attribute cannot contain an empty {what} value."


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        id: its identity; a table dropped and created again has another one.
        version: of its definition; raised whenever writes must know about a change.
        settings: what writes need not know about; changing them leaves the version alone.
        latest_stream: the newest of its streams that can be read, also if it is disabled.
    """

    id: int
    name: str
    version: int
    status: Status
    hash_key: KeyAttribute
    sort_key: KeyAttribute | None
    indexes: tuple[Index, ...]
    created_at: datetime
    settings: TableSettings = field(default=TableSettings(), hash=False)
    latest_stream: TableStream | None = None

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What others have derived from this definition, which ends with it."""
        return {}

    @cached_property
    def all_keys(self) -> tuple[KeyAttribute, ...]:
        """The hash key, and the sort key if there is one."""
        return (*self.hash_keys, *self.sort_keys)

    @cached_property
    def hash_keys(self) -> tuple[KeyAttribute, ...]:
        """The hash key, as an index has it."""
        return (self.hash_key,)

    @cached_property
    def sort_keys(self) -> tuple[KeyAttribute, ...]:
        """The sort key, as an index has it."""
        return (self.sort_key,) if self.sort_key else ()

    @cached_property
    def stream(self) -> TableStream | None:
        """The stream that its writes make records for."""
        latest = self.latest_stream
        return latest if latest is not None and latest.is_active else None

    @cached_property
    def live_indexes(self) -> tuple[Index, ...]:
        """The indexes that are not being dropped."""
        return tuple(i for i in self.indexes if i.status != "DELETING")

    @cached_property
    def user_indexes(self) -> tuple[Index, ...]:
        """Those of the live indexes that its users have defined."""
        return tuple(i for i in self.live_indexes if i.kind != "TTL")

    @cached_property
    def local_indexes(self) -> tuple[Index, ...]:
        """The LSIs."""
        return tuple(i for i in self.live_indexes if i.kind == "LSI")

    @cached_property
    def indexes_beside(self) -> tuple[Index, ...]:
        """The indexes that writes keep up, see `Index.is_local`."""
        return tuple(i for i in self.live_indexes if i.is_local)

    @cached_property
    def time_to_live(self) -> Index | None:
        """The index of the expiries, if the table has time to live."""
        return next((i for i in self.live_indexes if i.kind == "TTL"), None)

    @cached_property
    def global_indexes(self) -> tuple[Index, ...]:
        """The GSIs that indexers keep up."""
        return tuple(i for i in self.live_indexes if i.kind == "GSI")

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        """Names of the key attributes."""
        return tuple(key.name for key in self.all_keys)

    def index(self, name: str) -> Index:
        """The index of that name.

        Raises:
            IndexNotFound: with the names there are.
        """
        for index in self.user_indexes:
            if index.name == name:
                return index
        names = ", ".join(i.name for i in self.user_indexes) or "none"
        raise IndexNotFound(f"table {self.name} has no index {name!r}; its indexes: {names}")

    def key_attributes(self, item: Attributes) -> dict[str, Any]:
        """The item's key, as attributes."""
        return {name: item[name] for name in self.key_names}

    def key_of(self, item: Attributes) -> RowKey:
        """Where the item lies.

        Raises:
            InvalidItem: a key attribute is missing, of a wrong type, empty or too long.
        """
        hash_bytes = self._encode(self.hash_key, item, MAX_HASH_KEY, "hash")
        sort_bytes = b""
        if self.sort_key:
            sort_bytes = self._encode(self.sort_key, item, MAX_SORT_KEY, "range")
        return RowKey(hash_of(hash_bytes), sort_bytes)

    def encoded(self, key: KeyAttribute, value: Mapping[str, Any]) -> bytes:
        """The bytes of a key attribute's value; see `Index.encoded`."""
        data = encode_key(key.type, value)
        if data:
            return data
        raise EmptyKey(f"One or more parameter values are not valid. {_empty(key)} Key: {key.name}")

    def key_only(self, key: Attributes) -> RowKey:
        """Like `key_of`, for a key that must have no further attributes.

        Raises:
            InvalidItem: see `key_of`; or it is not the table's key, in DynamoDB's words.
        """
        keys = self.all_keys
        fits = len(key) == len(keys)
        for each in keys:
            fits = fits and each.type in key.get(each.name, ())
        if not fits:
            mismatch = InvalidItem("The provided key element does not match the schema")
            wanted = " and ".join(f"{k.name} (type {k.type})" for k in keys)
            mismatch.add_note(f"the key of table {self.name} is {wanted}")
            raise mismatch
        return self.key_of(key)

    def check(self, item: Attributes) -> None:
        """Refuse an item that an index could not take.

        Args:
            item: whose key of this table is valid.

        Raises:
            InvalidItem: see `Index.check`.
        """
        for index in self.user_indexes:
            if index.kind == "LSI":
                index.check_sort(item)
            else:
                index.check(item)

    def _encode(self, key: KeyAttribute, item: Attributes, limit: int, part: str) -> bytes:
        value = item.get(key.name)
        if value is None:
            raise InvalidItem(
                f"One or more parameter values were invalid: Missing the key {key.name} in the item"
            )
        if key.type not in value:
            actual = next(iter(value), "nothing")
            raise InvalidItem(
                "One or more parameter values were invalid: Type mismatch for key "
                f"{key.name} expected: {key.type} actual: {actual}"
            )
        data = encode_key(key.type, value) or self.encoded(
            key, value
        )  # which refuses what is empty
        if len(data) > limit:
            raise InvalidItem(f"One or more parameter values were invalid: {_TOO_LONG[part]}")
        return data
