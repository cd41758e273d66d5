"""LastEvaluatedKey and ExclusiveStartKey: a row's position, as attributes.

They have the key attributes of the table and, for an index, the index's own. What is refused, and
with which message, follows DynamoDB, whose queries and scans have different messages for the same
mistake.
"""

from __future__ import annotations

from mynamo.catalog.tables import IndexKey
from mynamo.errors import InvalidItem, InvalidRequest
from mynamo.reader.access_paths import Access, Keyed, Position
from mynamo.reader.page_tokens import Order
from mynamo.reader.read_plans import Resolved
from mynamo.schemas.keys import hash_of_parts, segment_range, sort_code
from mynamo.schemas.values import StoredItem

_INVALID = "The provided starting key is invalid"
_NO_MATCH = "The provided key element does not match the schema"
_OUTSIDE = "The provided starting key is outside query boundaries based on provided conditions"
_NOT_IN_RANGE = "The provided starting key does not match the range key predicate"
_ONE_ROW = "The query can return at most one row and cannot be restarted"


def last_key(access: Access, item: StoredItem) -> StoredItem:
    """The key of an item that was read, as a page's LastEvaluatedKey."""
    return {name: item[name] for name in _names(access)}


def start_position(resolved: Resolved, start: StoredItem) -> Position:
    """Where a page begins: behind the row with this key, whether it is still there or not.

    Raises:
        InvalidRequest: it is not a key of the table and the index; or it is not one at
            which this query or segment can have ended a page with more to read behind it.
    """
    access = resolved.access
    if set(start) != set(_names(access)):
        raise InvalidRequest(_INVALID if resolved.within else f"{_INVALID}: {_NO_MATCH}")
    try:
        position = _position_of(access, start)
    except InvalidItem as error:
        raise InvalidRequest(f"{_INVALID}: {error}") from None
    _check_within(resolved, position)
    return position


def is_last(resolved: Resolved, position: Position) -> bool:
    """Whether the key conditions alone say that there can be nothing behind this row.

    Keys of the table are unique, so nothing shares the highest sort key that a query
    admits. DynamoDB then gives no LastEvaluatedKey, though Limit ended the page.
    """
    if resolved.within is None or resolved.access.index is not None:
        return False
    if resolved.access.table.sort_key is None:
        return True
    return resolved.within.ends_at(position[1], resolved.order is Order.DESCENDING)


def _check_within(resolved: Resolved, position: Position) -> None:
    hash16, sort, *_ = position
    if resolved.segment is not None:
        low, end = segment_range(*resolved.segment)
        if hash16 < low or (end is not None and hash16 >= end):
            segment, total = resolved.segment
            raise InvalidRequest(
                f"{_INVALID}: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with "
                f"correct Segment. TotalSegments: {total} Segment: {segment}"
            )
    if resolved.within is None:
        return
    if hash16 != resolved.within.hash16:
        raise InvalidRequest(_OUTSIDE)
    if resolved.access.index is None and resolved.access.table.sort_key is None:
        raise InvalidRequest(_ONE_ROW)
    if is_last(resolved, position) or not resolved.within.admits(sort):
        raise InvalidRequest(_NOT_IN_RANGE)


def _position_of(access: Access, start: StoredItem) -> Position:
    row = _position(access.table, start)
    if access.index is None:
        return row
    own = _position(access.index, start)
    return (*own, row.sort) if access.index.kind == "LSI" else (*own, *row)


def _names(access: Access) -> tuple[str, ...]:
    own = access.index.key_names if access.index else ()
    return tuple(dict.fromkeys((*access.table.key_names, *own)))


def _position(at: Keyed, start: StoredItem) -> IndexKey:
    """Where a key lies in a table or an index."""
    parts = {}
    for key in (*at.hash_keys, *at.sort_keys):
        if key.type not in start[key.name]:
            raise InvalidItem(_NO_MATCH)
        parts[key.name] = at.encoded(key, start[key.name])
    types = [key.type for key in at.sort_keys]
    sorts = [parts[key.name] for key in at.sort_keys]
    return IndexKey(
        hash_of_parts([parts[key.name] for key in at.hash_keys]),
        sort_code(types, sorts, len(types)),
    )
