"""Mistakes that the command line answers before it asks any server."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from subprocess import PIPE

import pytest
from click.testing import CliRunner

from mynamo.cli.app import root
from tests.commands import start


@pytest.mark.parametrize(
    ("words", "status", "answer"),
    [
        ("index add orders --gsi aaa=x --gsi bbb=y", 2, "each command adds one index"),
        ("index add orders --gsi aaa=x --lsi bbb=y", 2, "each command adds one index"),
        ("index add orders", 2, "each command adds one index"),
        ("index add orders --gsi aaa=x:NUMBER", 1, "type after the colon must be S"),
        ("table create orders --hash-key id:NUMBER", 1, "type after the colon must be S"),
        ("table create orders --hash-key id --gsi aaa=x:N:NONSENSE", 1, "NONSENSE"),
        ("table create orders --hash-key id --sort-key a --lsi aaa=x:N:keys_only", 1, "keys_only"),
        ("query orders a --sort=", 2, "is not a sort condition"),
        ("query orders a --after x --timeout nan", 2, "not a number of seconds"),
        ("query orders a --after x --timeout -3", 2, "not a number of seconds"),
        ("query orders", 2, "either KEY, such as NAME=VALUE, or --key-condition"),
        ("query orders a --key-condition x=:x", 2, "either KEY, such as"),
        ("query orders a --count --limit 5", 2, "one number for all pages"),
        ("scan orders --count --lines", 2, "one number for all pages"),
        ("scan orders --names [1]", 1, "in --names, which is JSON such as"),
        ("scan orders --values 5", 1, "in --values, which is JSON such as"),
        ("scan orders --projection a,,b", 2, "joined by commas"),
        ("index add orders --gsi a=b", 1, "name: must be 3 to 255 of"),
        ("table create o! --hash-key id", 1, "name: must be 3 to 255 of"),
        ("dev --data /proc/nope", 1, "the folder /proc/nope cannot be used"),
    ],
)
def test_the_answer_says_what_is_wrong(words: str, status: int, answer: str) -> None:
    result = CliRunner().invoke(root, words.split())
    assert answer in result.output
    assert result.exit_code == status
    assert "Traceback" not in result.output


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("writer", signal.SIGTERM),
        ("serve --no-auth --port 0", signal.SIGINT),
        ("serve --no-auth --port 0 --workers 2", signal.SIGTERM),
        ("serve --no-auth --port 0 --workers 2", signal.SIGINT),
    ],
)
def test_a_signal_ends_the_wait_for_a_catalog(
    words: str, kind: signal.Signals, closed_port: int, tmp_path: Path
) -> None:
    file = tmp_path / "mynamo.toml"
    place = f'host = "127.0.0.1"\nport = {closed_port}\n'
    file.write_text(
        f'[catalog]\n{place}database = "c"\n[[shards]]\nid = 1\n{place}database = "s"\n'
    )
    with start("--config", str(file), *words.split(), stderr=PIPE, text=True) as process:
        assert process.stderr is not None
        assert "trying for another" in process.stderr.readline()
        process.send_signal(kind)
        assert process.wait() == (130 if kind == signal.SIGINT else 0)
        assert "Error" not in process.stderr.read()
