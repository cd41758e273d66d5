"""GlobalSecondaryIndexUpdates, sorted: also a great many of them."""

from __future__ import annotations

import pytest

from mynamo.gateway.operations.table_updates import index_updates_of
from mynamo.gateway.service_errors import ServiceError


class Compared(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    times = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)


def test_a_great_many_cost_no_more_each() -> None:
    """A body of 16 MB has room for 300,000 names; each with each would take hours."""
    Compared.times = 0
    names = [Compared(f"index-{number}") for number in range(2000)]
    updates = index_updates_of([{"Update": {"IndexName": name}} for name in names])
    assert len(updates.updated) == len(names)
    assert Compared.times < len(names)
    with pytest.raises(ServiceError, match=r"simultaneously\. Index: index-7$"):
        index_updates_of([{"Update": {"IndexName": name}} for name in [*names, "index-7"]])
