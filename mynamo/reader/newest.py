"""Reading by the newest catalog, where the one that this process knows turns out outdated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from mynamo.errors import TableNotFound
from mynamo.shards.cluster import Cluster
from mynamo.shards.failures import MissingTable

Answer = TypeVar("Answer")


def by_newest_catalog(
    cluster: Cluster, tables: Iterable[str], read: Callable[[], Answer]
) -> Answer:
    """Read; once more, by the catalog as it is now, if a table is not where it was.

    Args:
        tables: their names, for the message.

    Raises:
        TableNotFound: one is being created or dropped at this moment.
    """
    try:
        return read()
    except MissingTable:
        cluster.refresh()
    try:
        return read()
    except MissingTable:
        names = ", ".join(dict.fromkeys(tables))
        raise TableNotFound(
            f"table {names}, or its index, is being dropped at this moment"
        ) from None
