"""A reader who does what the README says, from `make install` to `mynamo verify`.

    python -m tests.first_minutes

does it to the letter, in a fresh clone, with an empty cache and a home folder of its own; it needs
port 8000. The tests do the same in a clone that shares what is installed, on another port. This
module needs nothing but Python.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[1]
END = "## What you can rely on"
DEV = ".venv/bin/mynamo dev"
ENDPOINT = "http://127.0.0.1:8000"
READY_SECONDS = 900.0
INDEX_SECONDS = 120.0

Say = Callable[[str], object]


@dataclass(frozen=True)
class Step:
    """Something to type, or a program to run."""

    kind: Literal["shell", "python"]
    text: str


def steps(readme: str) -> list[Step]:
    """What the README tells its reader to do, in order, up to `END`."""
    text = readme.partition(END)[0].replace("\\\n", " ")
    found = re.finditer(r"^    (\S[^\n]*)$|^```(\w+)\n(.*?)^```$", text, re.M | re.S)
    return [
        Step("shell", one[1]) if one[1] else Step("python", one[3])
        for one in found
        if one[1] or one[2] == "python"  # blocks of other kinds are for other servers
    ]


class Reader:
    """Follows the README in a clone.

    Args:
        clone: its folder.
        environment: of all that is typed.
        port: of DynamoDB's API in place of 8000, where others may have that.
    """

    def __init__(
        self, clone: Path, environment: Mapping[str, str], port: int | None = None
    ) -> None:
        self.clone = clone
        self.environment = dict(environment)
        self.port = port
        self.dev: subprocess.Popen[bytes] | None = None
        self.log = clone.parent / "dev.log"

    def follow(self, say: Say) -> dict[str, str]:
        """Do everything; returns what each step printed.

        Raises:
            AssertionError: a step failed, or did not say what it should.
        """
        said = {}
        for step in steps((self.clone / "README.md").read_text(encoding="utf-8")):
            started = time.monotonic()
            said[step.text] = self._do(step)
            say(f"{time.monotonic() - started:6.1f} s  {step.text.splitlines()[0]}")
        return said

    def end(self) -> int | None:
        """Press Ctrl-C in the first terminal; returns the status of `mynamo dev`."""
        if self.dev is None:
            return None
        with suppress(ProcessLookupError):
            self.dev.send_signal(2)
        return self.dev.wait(120)

    def _do(self, step: Step) -> str:
        if step.text == DEV:
            return self._start_dev()
        if step.text.startswith("export "):
            name, _, value = step.text.removeprefix("export ").partition("=")
            self.environment[name] = self._run(["bash", "-c", f"echo {value}"]).strip()
            return ""
        if step.kind == "python":
            return self._run(["python", "-c", self._on_its_port(step.text)])
        deadline = time.monotonic() + INDEX_SECONDS
        while True:
            said = self._run(["bash", "-c", step.text])
            if expected(step.text) in said:
                return said
            assert time.monotonic() < deadline, f"{step.text} says {said}"

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.clone,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start_dev(self) -> str:
        options = [] if self.port is None else ["--port", str(self.port)]
        with self.log.open("wb") as log:
            self.dev = subprocess.Popen(
                [*DEV.split(), *options],
                cwd=self.clone,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while "Ready after" not in (said := self.log.read_text()):
            assert self.dev.poll() is None, f"mynamo dev ended: {said}"
            assert time.monotonic() < deadline, f"mynamo dev is not ready: {said}"
            time.sleep(0.2)
        return said

    def _on_its_port(self, text: str) -> str:
        return (
            text if self.port is None else text.replace(ENDPOINT, f"http://127.0.0.1:{self.port}")
        )


def expected(command: str) -> str:
    """What a command must say, some time soon where an index is asked."""
    if re.match(r"mynamo (query|get) orders", command):
        return "ann"
    return "CLEAN" if command.startswith("mynamo verify") else ""


def plain_environment(home: Path) -> dict[str, str]:
    """That of somebody who has never heard of mynamo."""
    private = ("MYNAMO_", "XDG_", "PYTHON", "VIRTUAL_ENV", "MAKE", "MFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(private)}
    return {**kept, "HOME": str(home)}


def clone_into(folder: Path) -> Path:
    """A fresh clone of what is committed here."""
    clone = folder / "mynamo"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    return clone


def main() -> None:
    """Follow the README to the letter, and say how long each step took."""
    with tempfile.TemporaryDirectory(prefix="mynamo-readme-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        reader = Reader(clone_into(Path(folder)), plain_environment(home))
        try:
            reader.follow(lambda line: sys.stdout.write(f"{line}\n"))
        finally:
            status = reader.end()
            if reader.log.exists():
                sys.stdout.write(reader.log.read_text().partition("DynamoDB's API:")[0])
        assert status == 0, f"mynamo dev ended with {status}"


if __name__ == "__main__":
    main()
