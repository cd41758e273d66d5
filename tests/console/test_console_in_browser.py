"""The console in Chromium: by the keyboard alone, for screen readers, live, and without script."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mynamo.console import comparison_pages
from mynamo.console.visits import Console
from tests.clients.conftest import WORKS, installed, missing, tool
from tests.console.conftest import SECRET, key_of

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
SECONDS = 300


@pytest.fixture
def in_browser(console: tuple[str, Console]) -> Callable[[str], None]:
    """Run a script of this folder, beside the packages that it imports."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        missing("Chromium is not installed; `apt-get install chromium` does it")
    node, folder = tool("node", "nodejs npm"), installed("js")
    if not (folder / "node_modules" / "axe-core").exists():
        missing("axe-core is not installed; `make clients` does it")

    def run(script: str) -> None:
        for path in HERE.glob("*.mjs"):
            shutil.copy(path, folder)
        environment = {
            **os.environ, "CONSOLE_SITE": console[0], "CONSOLE_CHROMIUM": browser,
            "CONSOLE_KEY": key_of("admin"), "CONSOLE_SECRET": SECRET,
        }  # fmt: skip
        done = subprocess.run(
            [node, script], cwd=folder, env=environment, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1:] == [WORKS], done.stdout + done.stderr[-6000:]

    return run


@pytest.mark.parametrize("script", ["keyboard", "accessible", "live"])
def test_in_chromium(
    script: str, in_browser: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison_pages, "LEAST_RATE", 1)  # so that a verify can be watched
    in_browser(f"{script}.mjs")
