"""What the README and docs/library.md tell a new user to type works as it stands there."""

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
README = ROOT / "README.md"
LIBRARY = ROOT / "docs" / "library.md"
ENDPOINT = "http://127.0.0.1:8000"
"""Where the pages say that DynamoDB's API is."""


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    made = Dev(tmp_path_factory.mktemp("dev"))
    made.start()
    yield made
    made.end(signal.SIGTERM)


def commands(page: Path) -> list[list[str]]:
    """A page's `mynamo` commands, but for the one that runs the cluster."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^    mynamo (.*)$", text, flags=re.MULTILINE)
    return [shlex.split(line) for line in lines]


def programs(page: Path) -> list[str]:
    """A page's Python programs."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def numbers(text: str) -> list[str]:
    """The attributes that are numbers in a printed item; their order means nothing."""
    return sorted(re.findall(r"'\w+': Decimal\('[\d.]+'\)", text))


def run_program(dev: Dev, text: str, folder: Path) -> str:
    """Run a program as a user would, in the folder of the cluster; returns what it prints."""
    script = folder / "program.py"
    script.write_text(text.replace(ENDPOINT, dev.endpoint))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=dev.config.parent,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_five_minutes(dev: Dev, tmp_path: Path) -> None:
    first, later = commands(README)[:-3], commands(README)[-3:]
    assert [words[0] for words in first] == ["table", "put", "query", "query", "get"]
    said = [dev.run(*words) for words in first[:2]]
    eventually(lambda: "ann" in dev.run(*first[2]), WORKER_SECONDS)
    said += [dev.run(*words) for words in first[3:]]
    assert all("ann" in text for text in said[2:])

    with_an_sdk, with_the_library = programs(README)
    assert ENDPOINT in with_an_sdk
    printed = run_program(dev, with_an_sdk, tmp_path)
    assert "'price': Decimal('10.5')" in printed
    assert "'coupons': {'winter'}" in printed

    printed = run_program(dev, with_the_library, tmp_path)
    assert "bob 8.2" in printed
    assert "ann" not in printed
    assert "global index by_status on shard" in printed
    eventually(
        lambda: "bob" in dev.run("query", "orders", "paid", "--index", "by_status"), WORKER_SECONDS
    )

    assert [words[0] for words in later] == ["index", "lag", "verify"]
    for words in later:
        dev.run(*words)
    assert "CLEAN" in dev.run(*later[-1])
    assert "8.2" in dev.run("query", "orders", "8.20", "--index", "by_price_everywhere")


def test_the_page_on_expressions(dev: Dev, tmp_path: Path) -> None:
    create, *puts, update, count, query, scan, delete, protect, unprotect = commands(LIBRARY)
    for words in (create, *puts):
        dev.run(*words)
    place = ("query", "shop", "--index", "by_place", "--key-condition")
    there = (*place, "country = :c AND city = :t", "--values", '{":c": "no", ":t": "Oslo"}')
    eventually(lambda: dev.run(*there, "--count").split()[0] == "2", WORKER_SECONDS)

    writing, reading = programs(LIBRARY)
    printed = run_program(dev, writing, tmp_path)
    attributes, failure, refused = printed.splitlines()
    (promised,) = re.findall(r"print\(receipt.attributes\)  # (.*)", writing)
    assert numbers(attributes) == numbers(promised)
    assert len(numbers(promised)) == 2
    assert failure.startswith("The conditional request failed {")
    assert refused.endswith("Missing the key id in the item")
    eventually(lambda: "visits" in dev.run("get", "shop", "kind=lamp", "id=1"), WORKER_SECONDS)
    found, in_oslo, missing, dear = run_program(dev, reading, tmp_path).splitlines()
    assert numbers(found) == [
        "'id': Decimal('1')",
        "'price': Decimal('12.5')",
        "'stock': Decimal('3')",
    ]
    assert found.endswith("}] 1 1")
    assert (in_oslo, missing, dear) == ("1", "None", "2")

    assert "stock" in dev.run(*update)
    assert dev.run(*count).split()[0] == "1"
    assert "Oslo" in dev.run(*query)
    assert "lamp" not in dev.run(*scan)
    assert "80" in dev.run(*delete)
    dev.run(*protect)
    assert "protected" in dev.run("table", "describe", "shop")
    dev.run(*unprotect)
    dev.run("table", "drop", "shop", "--yes")
