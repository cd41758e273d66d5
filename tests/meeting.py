"""Bringing two write transactions together at the worst moment."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest

from mynamo.writer.transaction import commit, evaluation


def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two transactions meet between reading and writing, if nothing keeps them apart."""
    meeting = threading.Barrier(2)
    evaluate = evaluation.evaluate

    def waiting(*arguments: Any) -> Any:
        plan = evaluate(*arguments)
        with suppress(threading.BrokenBarrierError):
            meeting.wait(0.5)
        return plan

    monkeypatch.setattr(commit, "evaluate", waiting)
