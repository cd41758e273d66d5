"""The AWS SDK for JavaScript v3, libraries upon it, and dynamodb-admin in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.clients.conftest import WORKS, missing

pytestmark = pytest.mark.slow


LIBRARIES = ["document_client", "transactions", "streams", "dynamoose", "toolbox", "electrodb"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_program_that_uses(library: str, node: Callable[..., str]) -> None:
    assert node(f"{library}.mjs").splitlines()[-1] == WORKS


def test_dynamodb_admin_in_a_browser(node: Callable[..., str]) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        missing("Chromium is not installed; `apt-get install chromium` does it")
    assert node("admin.mjs", browser).splitlines()[-1] == WORKS
