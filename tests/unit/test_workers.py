"""Processes that run until they are told to stop."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from mynamo.cli import workers


@pytest.fixture
def as_before() -> Iterator[None]:
    """What the test does to this process is undone."""
    kinds = (signal.SIGTERM, signal.SIGINT)
    handlers = [signal.getsignal(kind) for kind in kinds]
    yield
    for kind, handler in zip(kinds, handlers, strict=True):
        signal.signal(kind, handler)
    gc.unfreeze()


@pytest.mark.usefixtures("as_before")
def test_what_is_loaded_is_no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection would look at all of it, and nobody works meanwhile."""
    monkeypatch.setattr(workers, "opened", lambda **_: nullcontext("a cluster"))
    frozen: list[int] = []
    assert gc.get_freeze_count() == 0
    workers.run_until_told(lambda cluster, stop: frozen.append(gc.get_freeze_count()))
    assert frozen[0] > 10_000
