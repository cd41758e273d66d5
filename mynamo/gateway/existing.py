"""The table that an operation of the control plane is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mynamo.gateway.errors import ServiceError
from mynamo.gateway.failures import NOT_FOUND
from mynamo.shards.tables import Table

if TYPE_CHECKING:
    from mynamo.gateway.service import Service

_DOING = {"CREATING": "created", "DELETING": "deleted"}


def existing_table(service: Service, name: str) -> Table:
    """The table as the catalog has it now, whatever its status.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    table = service.cluster.refresh().names.get(name)
    if table is None:
        message = f"{NOT_FOUND}: Table: {name} not found"
        raise ServiceError("ResourceNotFoundException", message)
    return table


def changeable_table(service: Service, name: str) -> Table:
    """The table, if it can be changed now.

    Raises:
        ServiceError: ResourceNotFoundException; or ResourceInUseException while it is being
            created or deleted.
    """
    table = existing_table(service, name)
    check_changeable(table)
    return table


def check_changeable(table: Table) -> None:
    """Refuse to change a table that comes or goes.

    Raises:
        ServiceError: ResourceInUseException.
    """
    doing = _DOING.get(table.status)
    if doing is not None:
        raise in_use(f"Table is being {doing}: {table.name}")


def in_use(why: str) -> ServiceError:
    """ResourceInUseException, for a change that has to wait."""
    message = f"Attempt to change a resource which is still in use: {why}"
    return ServiceError("ResourceInUseException", message)
