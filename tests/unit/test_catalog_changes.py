"""A gateway that follows the catalog goes on when that is away."""

from __future__ import annotations

import logging
from typing import cast

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.snapshot import Snapshot
from mynamo.errors import ShardUnavailable
from mynamo.gateway import catalog_changes
from tests.waiting import eventually


class Fake:
    """In the place of a cluster: a catalog that answers or does not."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.now = object()

    def refresh(self) -> Snapshot:
        if self.failure is not None:
            raise self.failure
        return cast(Snapshot, self.now)


@pytest.mark.parametrize("failure", [ShardUnavailable(), RuntimeError("nobody foresaw it")])
def test_it_is_looked_at_until_the_block_ends_and_again_once_it_is_back(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr(catalog_changes, "LOOK_EVERY", 0.001)
    fake = Fake()
    seen: list[object] = []
    caplog.set_level(logging.WARNING)
    with catalog_changes.following(cast(Cluster, fake), [seen.append]):
        eventually(lambda: fake.now in seen)
        fake.failure = failure
        eventually(lambda: "cannot be read" in caplog.text)
        fake.now = object()
        fake.failure = None
        eventually(lambda: fake.now in seen)
    count = len(seen)
    fake.now = object()
    assert caplog.text.count("cannot be read") == 1
    assert ("Traceback" in caplog.text) is isinstance(failure, RuntimeError)
    assert seen[count:] == []
