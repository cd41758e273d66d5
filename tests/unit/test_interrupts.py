"""Ctrl-C ends a command without a trace, and with 130, at whatever module it is being loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, signal, sys

class Interrupting:
    '''Sends Ctrl-C when a module is about to be imported.'''
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.argv = {words!r}
from {entry} import main
sys.meta_path.insert(0, Interrupting())
main()
"""


def interrupted(
    module: str, *words: str, folder: Path, entry: str = "mynamo.cli"
) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(module=module, words=["mynamo", *words], entry=entry)
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("click", "writer"),
        ("mynamo.cli.app", "serve"),
        ("mynamo.cli.dev", "dev"),
        ("kafka", "dev"),
        ("pydantic", "verify orders"),
        ("pymysql", "indexer"),
        ("mynamo.writer.worker", "writer"),
        ("mynamo.gsi_indexer", "indexer"),
        ("rich.console", "table list"),
    ],
)
def test_ctrl_c_while_a_command_is_loaded(module: str, command: str, tmp_path: Path) -> None:
    done = interrupted(module, *command.split(), folder=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (130, False), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_control_without_the_signal(tmp_path: Path) -> None:
    done = interrupted("none.of.them", "table", "list", folder=tmp_path)
    assert done.returncode == 1
    assert "no configuration file was found" in done.stderr
