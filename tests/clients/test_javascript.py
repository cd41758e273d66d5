"""The AWS SDK for JavaScript v3, and dynamodb-admin in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from tests.clients.conftest import missing


def test_the_document_client(node: Callable[..., str]) -> None:
    assert node("document_client.mjs").splitlines()[-1] == "all of it works"


def test_dynamodb_admin_in_a_browser(node: Callable[..., str]) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        missing("Chromium is not installed; `apt-get install chromium` does it")
    assert node("admin.mjs", browser).splitlines()[-1] == "all of it works"
