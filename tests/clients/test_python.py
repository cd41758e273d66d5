"""Libraries in Python: PynamoDB, aiodynamo, Celery's result backend, Flask-Session's sessions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.clients.conftest import WORKS

pytestmark = pytest.mark.slow

PROGRAMS = ["pynamodb_models", "aiodynamo_client", "celery_results", "flask_sessions"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_uses(program: str, python: Callable[..., str]) -> None:
    assert python(f"{program}.py").splitlines()[-1] == WORKS
