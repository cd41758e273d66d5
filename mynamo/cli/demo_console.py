"""The console beside `mynamo demo-watch`, and pictures of its pages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from rich.console import Console

from mynamo.cli.children import Worker
from mynamo.cli.console_command import SHOWN
from mynamo.errors import LocalServerError
from mynamo.local import LocalCluster
from mynamo.local.ports import LOOPBACK

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
        self._profile = local.data_dir / "browser"
        self._pictures = pictures
        self._screen = screen
        words = ("--no-auth", "--port", str(port))
        self._worker = Worker("console", local.data_dir / "workers", local.config_file, *words)
        self._browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        self.url = f"http://{LOOPBACK}:{port}"

    def start(self) -> None:
        """Start it.

        Raises:
            LocalServerError: it does not serve.
        """
        self._worker.start()
        if not self._worker.await_line(SHOWN, _START_SECONDS):
            raise LocalServerError(f"the console does not serve; its log: {self._worker.log}")
        if self._browser is None:
            self._screen.print("no pictures of the console: Chromium was not found")

    def stop(self) -> None:
        """Stop it, if it runs."""
        self._worker.stop()

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
        # Chromium makes a socket in the folder for temporary files, whose path must be short.
        env = {key: value for key, value in os.environ.items() if key != "TMPDIR"}
        try:
            subprocess.run(  # noqa: S603 -- found on the PATH, as users' commands are
                command, capture_output=True, timeout=_PICTURE_SECONDS, check=True, env=env
            )
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip()[-500:]
            self._screen.print(f"no picture {name}: Chromium failed: {said}")
        except (OSError, subprocess.TimeoutExpired) as error:
            self._screen.print(f"no picture {name}: {error}")
        else:
            self._screen.print(f"{self._pictures / name}: {path} of the console")
