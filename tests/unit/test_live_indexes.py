"""Indexes that are being dropped: nothing is checked for them, and nobody is told of them."""

from __future__ import annotations

import pytest

from mynamo.catalog.tables import Index
from mynamo.errors import IndexNotFound, InvalidItem
from tests.made_up import index_of, table_of

LOCAL = index_of("LSI", "h", "a", number=1)
NEW = index_of("GSI", "g", number=2, status="CREATING")
GONE = index_of("GSI", "x", "y", number=3, status="DELETING")
GONE_LOCAL = index_of("LSI", "h", "z", number=4, status="DELETING")
TABLE = table_of(GONE, LOCAL, GONE_LOCAL, NEW)


def test_they_are_left_out() -> None:
    assert TABLE.live_indexes == (LOCAL, NEW)
    assert TABLE.local_indexes == (LOCAL,)
    assert TABLE.global_indexes == (NEW,)
    assert table_of(LOCAL, NEW).live_indexes == (LOCAL, NEW)


@pytest.mark.parametrize("index", [GONE, GONE_LOCAL])
def test_they_are_not_found_and_not_among_the_names_that_are(index: Index) -> None:
    with pytest.raises(IndexNotFound) as missing:
        TABLE.index(index.name)
    assert str(missing.value) == (
        f"table orders has no index '{index.name}'; its indexes: index_1, index_2"
    )
    with pytest.raises(IndexNotFound, match="its indexes: none"):
        table_of(index).index(index.name)


def test_items_need_not_fit_them() -> None:
    TABLE.check({"x": {"N": "1"}, "z": {"N": "1"}})
    with pytest.raises(InvalidItem, match="index_2"):
        TABLE.check({"g": {"N": "1"}})
