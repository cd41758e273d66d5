"""The console beside `mynamo demo-watch`, and pictures of its pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from mynamo.local import LocalCluster
from mynamo.local.ports import LOOPBACK, is_listening
from mynamo.local.process import ServerProcess

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_START_SECONDS = 60.0
_PICTURE_SECONDS = 60.0
_SIZE = "1200,820"


class ShownConsole:
    """A console of the demo's cluster that changes nothing, and that nobody signs in to.

    Args:
        port: that is free.
        pictures: folder for pictures.
        screen: where it says which there are.
    """

    def __init__(self, local: LocalCluster, port: int, pictures: Path, screen: Console) -> None:
        self._config = local.config_file
        self._port = port
        self._profile = local.data_dir / "browser"
        self._pictures = pictures
        self._screen = screen
        self._process = ServerProcess("console", local.data_dir / "workers")
        self._browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        self.url = f"http://{LOOPBACK}:{port}"

    def start(self) -> None:
        """Start it. Raises LocalServerError if it does not start."""
        words = ["--config", str(self._config), "console", "--no-auth", "--port", str(self._port)]
        self._process.start(
            [sys.executable, "-m", "mynamo", *words],
            ready=partial(is_listening, self._port),
            timeout=_START_SECONDS,
        )
        if self._browser is None:
            self._screen.print("no pictures of the console: Chromium was not found")

    def stop(self) -> None:
        """Stop it, if it runs."""
        self._process.stop()

    def picture(self, path: str, name: str) -> None:
        """Take a picture of a page, if there is a browser; say so if it cannot be taken.

        Args:
            path: of the page.
            name: of the file.
        """
        if self._browser is None:
            return
        file = (self._pictures / name).resolve()
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # which root cannot have
        command = [
            self._browser, "--headless", *sandbox, "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={self._profile}", f"--window-size={_SIZE}", f"--screenshot={file}",
            self.url + path,
        ]  # fmt: skip
        try:
            subprocess.run(  # noqa: S603 -- found on the PATH, as users' commands are
                command, capture_output=True, timeout=_PICTURE_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._screen.print(f"no picture {name}: {error}")
        else:
            self._screen.print(f"{self._pictures / name}: {path} of the console")
