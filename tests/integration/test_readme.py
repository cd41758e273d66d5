"""What the README and docs/library.md tell a new user to type works as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mynamo.local import LocalCluster, free_port
from mynamo.local.cache import cache_folder
from tests.commands import WORKER_SECONDS, Dev, processes_of, run, start
from tests.first_minutes import Reader, plain_environment, steps
from tests.integration.test_least_privilege import run_as_root
from tests.waiting import eventually

pytestmark = pytest.mark.slow

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


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Somebody with a fresh clone, in which what this machine has installed counts as installed."""
    clone = tmp_path / "mynamo"
    copied = shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "node_modules")
    shutil.copytree(ROOT, clone, ignore=copied)
    environment = clone / ".venv"
    venv.create(environment, with_pip=False)
    (packages,) = environment.glob("lib/python*/site-packages")
    paths = [str(clone), *(path for path in sys.path if path.endswith("site-packages"))]
    (packages / "shared.pth").write_text("\n".join(paths) + "\n")
    command = environment / "bin" / "mynamo"
    python = environment / "bin" / "python"
    command.write_text(f"#!{python}\nfrom mynamo.cli import main\nmain()\n")
    command.chmod(0o755)
    (environment / ".installed").touch()
    home = tmp_path / "home"
    home.mkdir()
    typed = {**plain_environment(home), "MYNAMO_CACHE": str(cache_folder())}
    made = Reader(clone, typed, free_port())
    yield made
    made.end()


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


def test_the_readme_to_the_letter(reader: Reader) -> None:
    told = steps(README.read_text(encoding="utf-8"))
    assert [step.text for step in told[:2]] == ["make install", ".venv/bin/mynamo dev"]
    verbs = [step.text.split()[1] for step in told if step.text.startswith("mynamo ")]
    assert verbs == ["table", "put", "query", "query", "get", "index", "lag", "verify"]
    said = reader.follow(lambda _: None)
    with_an_sdk, with_the_library = programs(README)
    assert "'price': Decimal('10.5')" in said[with_an_sdk]
    assert "'coupons': {'winter'}" in said[with_an_sdk]
    assert "bob 8.2" in said[with_the_library]
    assert "ann" not in said[with_the_library]
    assert "global index by_status on shard" in said[with_the_library]
    config = reader.clone / ".mynamo" / "mynamo.toml"
    for query, found in ((("paid", "by_status"), "bob"), (("8.20", "by_price_everywhere"), "8.2")):
        words = ("query", "orders", query[0], "--index", query[1])
        eventually(lambda: found in run(config, *words).stdout, WORKER_SECONDS)  # noqa: B023
    assert reader.end() == 0
    assert processes_of(reader.clone) == []


def test_a_step_that_fails_is_noticed(tmp_path: Path) -> None:
    """The control."""
    broken = Reader(tmp_path, plain_environment(tmp_path))
    (tmp_path / "README.md").write_text("    true\n    mynamo-that-is-not-there\n")
    with pytest.raises(AssertionError, match="mynamo-that-is-not-there"):
        broken.follow(lambda _: None)


def test_servers_that_run_already(
    private_cluster: Callable[..., LocalCluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's section on them, with names of servers in place of its names."""
    section = README.read_text(encoding="utf-8").split("## On MySQL and Kafka that run already")[1]
    users, start_up = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)[:2]
    (toml,) = re.findall(r"```toml\n(.*?)```", section, flags=re.DOTALL)
    cluster = private_cluster(2)
    kafka = cluster.config.kafka.bootstrap_servers
    toml = toml.replace("kafka1.internal:9092", kafka)
    for number, server in cluster.shards.items():
        host = f"db{number}.internal"
        assert host in users
        toml = toml.replace(f'"{host}"', f'"127.0.0.1"\nport = {server.port}')
    folder = tmp_path / "somewhere"
    folder.mkdir()
    (folder / "mynamo.toml").write_text(toml)
    client = folder / "mysql"  # prints where it would send what it is given
    client.write_text('#!/bin/sh\nprintf "%s\\n" "-- $2"; cat\n')
    client.chmod(0o755)
    (folder / "deploy").symlink_to(ROOT / "deploy")
    script = f"set -eu; PATH={folder}:$PATH\n{users}"
    made = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    for part in made.stdout.split("-- db")[1:]:
        statements = part.partition("\n")[2]
        run_as_root(cluster.shards[int(part[0])], statements)
    lines = start_up.splitlines()
    assert lines[0] == "export MYNAMO_SHARD_PASSWORD=$ADMIN_PASSWORD"
    assert [line.split()[1] for line in lines[1:]] == ["table", "writer", "indexer", "serve"]
    monkeypatch.setenv("MYNAMO_SHARD_PASSWORD", "secret-1")
    assert "ADMIN_PASSWORD=secret-1" in users
    config = folder / "mynamo.toml"
    for line in lines[1:2]:
        run(config, *line.split()[1:])
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))
        for line in lines[2:]:
            words = line.split()[1:] + (["--port", "0"] if "serve" in line else [])
            process = start("--config", str(config), *words, stdout=log, stderr=log, cwd=folder)
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
        run(config, "table", "create", "trial", "--hash-key", "id", "--gsi", "by_a=a")
        run(config, "put", "trial", '{"id": "1", "a": "x"}')
        eventually(
            lambda: "id" in run(config, "query", "trial", "x", "--index", "by_a", "--json").stdout,
            WORKER_SECONDS,
        )
        eventually(lambda: "DynamoDB's API on" in (folder / "log").read_text(), WORKER_SECONDS)


def test_the_page_on_expressions(dev: Dev, tmp_path: Path) -> None:
    create, *puts, update, count, query, scan, delete, protect, unprotect = commands(LIBRARY)
    for words in (create, *puts):
        dev.run(*words)
    place = ("query", "shop", "--index", "by_place", "--key-condition")
    there = (*place, "country = :c AND city = :t", "--values", '{":c": "no", ":t": "Oslo"}')
    eventually(lambda: dev.run(*there, "--count").split()[0] == "2", WORKER_SECONDS)

    writing, reading, managing, expiring = programs(LIBRARY)
    printed = run_program(dev, writing, tmp_path)
    attributes, failure, refused = printed.splitlines()
    (promised,) = re.findall(r"print\(receipt.attributes\)  # (.*)", writing)
    assert numbers(attributes) == numbers(promised)
    assert len(numbers(promised)) == 2
    assert failure.startswith("The conditional request failed {")
    assert refused.endswith("Missing the key id in the item")
    eventually(lambda: "visits" in dev.run("get", "shop", "kind=lamp", "id=1"), WORKER_SECONDS)
    found, in_oslo, missing, lamps, dear = run_program(dev, reading, tmp_path).splitlines()
    assert numbers(found) == [
        "'id': Decimal('1')",
        "'price': Decimal('12.5')",
        "'stock': Decimal('3')",
    ]
    assert found.endswith("}] 1 1")
    assert (in_oslo, missing, lamps, dear) == ("1", "None", "2", "2")
    assert run_program(dev, managing, tmp_path).splitlines() == [
        "['parts']",
        "[('by_weight', 'LSI', 'ACTIVE'), ('by_id', 'GSI', 'ACTIVE')]",
        "('maker', 'id') GSI",
        *"123",
        "2",
        "1 [None]",
    ]

    assert run_program(dev, expiring, tmp_path) == ""

    assert "stock" in dev.run(*update)
    assert dev.run(*count).split()[0] == "1"
    assert "Oslo" in dev.run(*query)
    assert "lamp" not in dev.run(*scan)
    assert "80" in dev.run(*delete)
    dev.run(*protect)
    assert "protected" in dev.run("table", "describe", "shop")
    dev.run(*unprotect)
    dev.run("table", "drop", "shop", "--yes")
