"""In the place of systemctl, for the units in deploy/systemd/: starts and stops what they say.

    python -m tests.service_manager start mynamo-writer

`UNITS` names the folder of the units, and `STATE` one for what it must remember.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

KEEPER = 'echo $$ > "$0.group"; "$@" & echo $! > "$0.pid"; wait $!; echo $? > "$0.status"'
"""A script that keeps the number of a process, and the status that it ends with."""
KILLED = "9"


class Units:
    """Units in a folder.

    Args:
        units: their folder.
        state: a folder for what is known of their processes.
    """

    def __init__(self, units: Path, state: Path) -> None:
        self._units = units
        self._state = state
        common = (units / "mynamo-.service.d" / "common.conf").read_text()
        self._patience = float(dict(settings(common))["TimeoutStopSec"])

    def check(self, name: str) -> None:
        """Exit unless there is such a unit."""
        if not self._file(name).is_file():
            sys.exit(f"Unit {name}.service not found.")

    def start(self, name: str) -> None:
        """Start a unit's process."""
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(self._state)}
        told = settings(self._file(name).read_text())
        for key, value in told:
            if key == "EnvironmentFile":
                environment |= dict(settings(Path(value).read_text()))
            if key == "Environment":
                environment |= dict([value.split("=", 1)])
        for kind in ("pid", "status"):
            self._kept(name, kind).unlink(missing_ok=True)
        words = [
            "bash",
            "-c",
            KEEPER,
            str(self._state / name),
            *shlex.split(dict(told)["ExecStart"]),
        ]
        with self._kept(name, "log").open("a") as log:
            subprocess.Popen(
                words, env=environment, cwd=self._state, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def stop(self, name: str) -> None:
        """Send SIGTERM, and kill what does not end in time."""
        deadline = time.monotonic() + self._patience
        if not self.status(name):
            os.kill(int(self._kept(name, "pid").read_text()), signal.SIGTERM)
        while not self.status(name):
            if time.monotonic() > deadline:
                os.killpg(int(self._kept(name, "group").read_text()), signal.SIGKILL)
                self._kept(name, "status").write_text(KILLED)
            time.sleep(0.05)

    def status(self, name: str) -> str:
        """With which a unit has ended; empty: it runs."""
        file = self._kept(name, "status")
        return file.read_text().strip() if file.exists() else ""

    def _file(self, name: str) -> Path:
        return self._units / f"{name}.service"

    def _kept(self, name: str, kind: str) -> Path:
        return self._state / f"{name}.{kind}"


def settings(text: str) -> list[tuple[str, str]]:
    """Settings of a unit, or variables of an environment file."""
    return re.findall(r"^(\w+)=(.*)$", text, re.M)


def main(verb: str, *words: str) -> None:
    """Do what systemctl is told."""
    units = Units(Path(os.environ["UNITS"]), Path(os.environ["STATE"]))
    names = [word for word in words if not word.startswith("-") and word != "ExecMainStatus"]
    for name in names:
        units.check(name)
    match verb, [word for word in words if word.startswith("-")]:
        case ("start", []) | ("enable", ["--now"]):
            for name in names:
                units.start(name)
        case "stop", []:
            for name in names:
                units.stop(name)
        case "restart", []:
            for name in names:
                units.stop(name)
                units.start(name)
        case "show", ["--property"]:
            for name in names:
                sys.stdout.write(f"ExecMainStatus={units.status(name)}\n")
        case _:
            sys.exit(f"systemctl {verb} {' '.join(words)}: this is not what stands in for it here")


if __name__ == "__main__":
    main(*sys.argv[1:])
