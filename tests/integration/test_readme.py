"""What the README tells a new user to type works as it stands there."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import WORKER_SECONDS, Dev
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    made = Dev(tmp_path)
    made.start()
    yield made
    made.end(signal.SIGTERM)


def commands() -> list[list[str]]:
    """The README's `mynamo` commands, but for the one that runs the cluster."""
    text = README.replace("\\\n", " ")
    lines = re.findall(r"^    mynamo (.*)$", text, flags=re.MULTILINE)
    return [shlex.split(line) for line in lines]


def program() -> str:
    """The README's Python program."""
    (found,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    return str(found)


def test_the_five_minutes(dev: Dev, tmp_path: Path) -> None:
    first, later = commands()[:-3], commands()[-3:]
    assert [words[0] for words in first] == ["table", "put", "query", "query", "get"]
    said = [dev.run(*words) for words in first[:2]]
    eventually(lambda: "ann" in dev.run(*first[2]), WORKER_SECONDS)
    said += [dev.run(*words) for words in first[3:]]
    assert all("ann" in text for text in said[2:])

    script = tmp_path / "program.py"
    script.write_text(program())
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=dev.config.parent,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "bob 8.2" in done.stdout
    assert "global index by_status on shard" in done.stdout
    eventually(
        lambda: "bob" in dev.run("query", "orders", "paid", "--index", "by_status"), WORKER_SECONDS
    )

    assert [words[0] for words in later] == ["index", "lag", "verify"]
    for words in later:
        dev.run(*words)
    assert "CLEAN" in dev.run(*later[-1])
    assert "8.2" in dev.run("query", "orders", "8.20", "--index", "by_price_everywhere")


def test_each_page_that_is_linked_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links {target}"
