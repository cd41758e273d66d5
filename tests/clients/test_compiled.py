"""The AWS SDKs for Java, Go and Rust, and libraries upon them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.clients.conftest import WORKS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("program", ["Enhanced", "Transactions", "Locks", "Streams"])
def test_java(program: str, java: Callable[[str], str]) -> None:
    assert java(program).splitlines()[-1] == WORKS


def test_go(go: Callable[[], str]) -> None:
    assert go().splitlines()[-1] == WORKS


def test_rust(rust: Callable[[], str]) -> None:
    assert rust().splitlines()[-1] == WORKS
