"""GlobalSecondaryIndexUpdates of UpdateTable: what is to be created, changed and deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mynamo.gateway.errors import ServiceError, invalid
from mynamo.gateway.existing import in_use
from mynamo.gateway.failures import NOT_FOUND
from mynamo.gateway.key_schemas import definitions_of, types_in, wrong
from mynamo.gateway.new_tables import new_global_index
from mynamo.schemas.table import MAX_GLOBAL_INDEXES, GlobalIndexSchema
from mynamo.shards.tables import Table

Action = Mapping[str, Any]

_KINDS = ("Update", "Create", "Delete")
_ONE_AT_A_TIME = (
    "Subscriber limit exceeded: Only 1 online index can be created or deleted "
    "simultaneously per table"
)


@dataclass(frozen=True, slots=True)
class IndexUpdates:
    """The updates of one request, by what they do. At most one of them creates or deletes."""

    created: Action | None
    deleted: Action | None
    updated: tuple[Action, ...]


def index_updates_of(given: Sequence[Mapping[str, Action]]) -> IndexUpdates:
    """Sort a request's updates.

    Raises:
        ServiceError: one is none or two of the three; two are about one index; or more than
            one creates or deletes.
    """
    actions: list[tuple[str, Action]] = []
    for each in given:
        kinds = [kind for kind in _KINDS if kind in each]
        if not kinds:
            names = ", ".join(f"GlobalSecondaryIndexUpdate.{kind}" for kind in _KINDS)
            raise wrong(f"One of {names} must not be null")
        if len(kinds) > 1:
            raise wrong("Only one of Update, Create and Delete is allowed in one index update")
        actions.append((kinds[0], each[kinds[0]]))
    _check_names([action["IndexName"] for _, action in actions])
    created = [action for kind, action in actions if kind == "Create"]
    deleted = [action for kind, action in actions if kind == "Delete"]
    if len(created) + len(deleted) > 1:
        raise _too_many()
    return IndexUpdates(
        created=created[0] if created else None,
        deleted=deleted[0] if deleted else None,
        updated=tuple(action for kind, action in actions if kind == "Update"),
    )


def _check_names(names: list[str]) -> None:
    seen: set[str] = set()  # a request may have a great many of them
    for name in names:
        if name in seen:
            raise wrong(
                "Only one global secondary index update per index is allowed simultaneously. "
                f"Index: {name}"
            )
        seen.add(name)


def check_possible(table: Table, updates: IndexUpdates) -> None:
    """Check updates against the indexes that the table has.

    Raises:
        ServiceError: an index is missing, is there already, or is not to be disturbed now.
    """
    known = {index.name: index for index in table.indexes if index.kind == "GSI"}
    for action in updates.updated:
        index = known.get(action["IndexName"])
        if index is None:
            raise invalid(f"The table does not have the specified index: {action['IndexName']}")
        if index.status == "DELETING":
            raise in_use(f"Index is being deleted: {index.name}")
    if updates.created is not None:
        _check_creation(table, updates.created["IndexName"])
    if updates.deleted is not None:
        index = known.get(updates.deleted["IndexName"])
        if index is None:
            raise ServiceError("ResourceNotFoundException", NOT_FOUND)
        if index.status == "DELETING":
            raise in_use(f"Index is being deleted: {index.name}")
        _check_alone(table, but=index.name)


def _check_creation(table: Table, name: str) -> None:
    if any(index.name == name for index in table.indexes):
        raise invalid("Attempting to create an index which already exists")
    _check_alone(table, but=name)
    if len(table.global_indexes) >= MAX_GLOBAL_INDEXES:
        raise wrong(
            f"GlobalSecondaryIndex count exceeds the per-table limit of {MAX_GLOBAL_INDEXES}"
        )


def _check_alone(table: Table, but: str) -> None:
    """DynamoDB creates and deletes one index at a time; a half-made one may be deleted."""
    if any(index.status != "ACTIVE" and index.name != but for index in table.indexes):
        raise _too_many()


def _too_many() -> ServiceError:
    return ServiceError("LimitExceededException", _ONE_AT_A_TIME)


def created_index(
    table: Table, index: Action, given: Sequence[Mapping[str, str]]
) -> GlobalIndexSchema:
    """The definition of the index to be created.

    Args:
        given: the request's AttributeDefinitions; those of the index's keys must be there, also
            where the table has them, and cannot be changed.

    Raises:
        ServiceError: it breaks a rule, or contradicts the table's definitions.
    """
    types, known = definitions_of(given), types_in(table)
    for name, kind in known.items():
        if types.get(name, kind) != kind:
            raise wrong(f"The type of an attribute that is part of a key cannot change: {name}")
    return new_global_index(index, types)
