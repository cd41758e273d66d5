"""All commands, one by one: what each of them has, and how it ends."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest
from click.testing import CliRunner

from mynamo.cli.app import root
from tests.commands import start

OWN_CLUSTER = {"dev", "demo", "demo-grow", "demo-watch"}
"""They make a cluster of their own, and take no `--config`."""
ABOUT_TABLES = {
    "table describe", "table drop", "table protect", "table create", "index add", "index drop",
    "put", "get", "query", "scan", "update", "delete", "load", "verify", "repair",
    "ttl enable", "ttl disable", "stream enable", "stream disable", "stream tail",
}  # fmt: skip


def commands(group: click.Group = root, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


COMMANDS = dict(commands())


def arguments(command: click.Command) -> list[click.Argument]:
    return [param for param in command.params if isinstance(param, click.Argument)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_configuration_and_shows_an_example(name: str) -> None:
    command = COMMANDS[name]
    options = {word for param in command.params for word in param.opts}
    assert ("--config" in options) is (name not in OWN_CLUSTER)
    assert f"      mynamo {name}" in (command.help or "").replace("| mynamo", "|       mynamo")
    assert "Example" in (command.help or "")
    shown = CliRunner().invoke(root, [*name.split(), "--help"])
    assert shown.exit_code == 0


def test_the_table_is_the_first_word_of_every_command_that_takes_one() -> None:
    with_table = {
        name for name, command in COMMANDS.items()
        if [a.make_metavar(click.Context(command)).strip("[]") for a in arguments(command)][:1]
        == ["TABLE"]
    }  # fmt: skip
    assert with_table == ABOUT_TABLES
    for name, command in COMMANDS.items():
        visible = {
            word for param in command.params if not getattr(param, "hidden", False)
            for word in param.opts
        }  # fmt: skip
        assert "--table" not in visible, name


@pytest.mark.parametrize("name", COMMANDS)
def test_surplus_words_and_options_are_refused(name: str) -> None:
    if not any(argument.nargs == -1 for argument in arguments(COMMANDS[name])):
        words = ["x" * 5] * (len(arguments(COMMANDS[name])) + 1)
        assert CliRunner().invoke(root, [*name.split(), *words]).exit_code == 2
    result = CliRunner().invoke(root, [*name.split(), "--no-such-option"])
    assert result.exit_code == 2
    assert "No such option" in result.output


@pytest.mark.parametrize("name", sorted(ABOUT_TABLES - {"table create"}))
@pytest.mark.parametrize("table", ["", "a b", '{"id": "a"}', "id=1"])
def test_what_can_be_no_table_is_refused_before_any_server_is_asked(name: str, table: str) -> None:
    rest = ["x=1"] * (len(arguments(COMMANDS[name])) - 1)
    result = CliRunner().invoke(root, ["--config", "/nowhere", *name.split(), table, *rest])
    assert result.exit_code == 2
    assert "is no name of a table" in result.output
    assert "the table comes first: TABLE" in result.output


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("tabel list", "No such command 'tabel'; did you mean table?"),
        ("table lst", "No such command 'lst'; did you mean list?"),
        ("dlq reply", "No such command 'reply'; did you mean replay?"),
        ("lag --every 3", "--every is for --watch"),
        ("scan orders --timeout 3", "--timeout is for --after"),
        ("query orders id=1 --explain --count", "--explain reads no items"),
        ("query orders --key-condition a --sort <5", "--key-condition excludes --sort"),
        ("update orders id=1 --set {}", "--set is empty"),
        ("load orders", "name a file, or - for stdin"),
        ("load orders nowhere.jsonl", "'nowhere.jsonl': no file of that name"),
        ("load orders /", "a folder; name its files"),
        ("load orders /dev/null --types a:X", "is no type of a column"),
        ("--config /some/file dev", "`mynamo dev` makes a cluster of its own"),
        ("--config /a lag --config /b", "--config is given twice: /a and /b"),
    ],
)
def test_nothing_that_is_typed_silently_means_nothing(words: str, answer: str) -> None:
    result = CliRunner().invoke(root, words.split())
    assert answer in result.output
    assert result.exit_code == 2


def test_a_file_instead_of_a_table_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("items.jsonl").touch()
    result = CliRunner().invoke(root, ["load", "items.jsonl", "orders"])
    assert "the table comes first: mynamo load orders items.jsonl" in result.output
    assert result.exit_code == 2


def test_the_configuration_is_named_before_or_behind_the_command() -> None:
    for words in (["--config", "/nowhere", "lag"], ["lag", "--config", "/nowhere"]):
        result = CliRunner().invoke(root, words)
        assert result.exit_code == 1
        assert "there is no configuration file /nowhere" in result.stderr


CATALOG = '[catalog]\ndatabase = "m"\n[[shards]]\nid = 1\ndatabase = "s"\n'


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (CATALOG + '[kafak]\nbootstrap_servers = "a:1"\n', "kafak: not known; did you mean kafka?"),
        (CATALOG.replace("[[", 'hots = "x"\n[['), "catalog.hots: not known; did you mean host?"),
        (CATALOG + "prot = 3\n", "shards.0.prot: not known; did you mean port?"),
        (CATALOG + "[gateway.nonsense]\n", "gateway.nonsense: not known"),
        ("[catalog]\n[[shards]]\nid = 1\n", "catalog.database: is missing"),
        ("[[shards]]\n", "catalog: is missing"),
        ("[catalog", "cannot be read"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(text: str, answer: str, tmp_path: Path) -> None:
    file = tmp_path / "mynamo.toml"
    file.write_text(text)
    result = CliRunner().invoke(root, ["lag", "--config", str(file)])
    assert answer in result.stderr
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def raising(error: BaseException) -> Any:
    def load(*_: object) -> NoReturn:
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (KeyboardInterrupt(signal.SIGTERM), 143, "interrupted\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1,
         "Error: the output could not be written: No space left on device\n"),
        (OSError(errno.EACCES, "Permission denied", "/some/file"), 1,
         "Error: /some/file: Permission denied\n"),
    ],
)  # fmt: skip
def test_every_end_has_its_status(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mynamo.cli.command_context.load_config", raising(error))
    result = CliRunner().invoke(root, ["table", "list"])
    assert (result.exit_code, result.stderr) == (status, said)


def test_the_page_has_every_status() -> None:
    from mynamo.cli import interrupts, statuses

    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("## Exit statuses")[2].partition("\n## ")[0]
    values = [value for name, value in vars(statuses).items() if name.isupper()]
    for value in (0, *values, interrupts.INTERRUPTED):
        assert f"| {int(value)} |" in table


@pytest.mark.parametrize("module", ["click", "mynamo.cli.app", "mynamo.cli.reads"])
def test_an_interrupt_while_modules_are_imported(module: str, tmp_path: Path) -> None:
    """However early Ctrl-C comes, the status is 130 and nobody sees a traceback."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    root_folder = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", "from mynamo.cli import main; main()", "scan", "orders"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root_folder}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_an_interrupt_during_the_first_connection(tmp_path: Path) -> None:
    """The server takes the connection and says nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f'host = "127.0.0.1"\nport = {server.getsockname()[1]}\n'
        file = tmp_path / "mynamo.toml"
        file.write_text(
            f'[catalog]\n{place}database = "c"\n[[shards]]\nid = 1\n{place}database = "s"\n'
        )
        words = ("scan", "orders", "--config", str(file))
        with start(*words, stderr=subprocess.PIPE, text=True) as process:
            # One looks whether it is there, the other waits for its greeting.
            kept = [server.accept()[0] for _ in range(2)]
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        for connection in kept:
            connection.close()
    assert (process.returncode, said) == (130, "interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_one_sentence() -> None:
    for words in (["--help"], ["--version"], ["scan", "--help"]):
        with Path("/dev/full").open("w") as full:
            process = start(*words, stdout=full, stderr=subprocess.PIPE, text=True)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert said == "Error: the output could not be written: No space left on device\n"


def test_a_reader_that_goes_away_is_met_with_silence() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start("--help", stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    _, said = process.communicate(timeout=60)
    assert said == ""


READ_ORDERS = """{"Version": "2012-10-17", "Statement": [
    {"Sid": "Own", "Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": "*",
     "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": "${aws:username}"}}},
    {"Effect": "Deny", "Action": "*", "Resource": "*",
     "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
]}"""


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("--action dynamodb:GetItem --leading-key ann --user ann", 0,
         "allowed: p.json, Statement[0] (Own)"),
        ("--action dynamodb:getitem --leading-key ann --leading-key bob --user ann", 3,
         "denied: no statement is about it"),
        ("--action dynamodb:GetItem --value aws:SecureTransport=false", 3,
         "denied: p.json, Statement[1]"),
        ("--action dynamodb:GetItems", 2, "is no action; did you mean "),
        ("--action dynamodb:GetItem --value aws:Secure=false", 2, "write KEY=VALUE"),
        ("--action dynamodb:GetItem --value aws:SourceIp", 2, "write KEY=VALUE"),
    ],
)  # fmt: skip
def test_policies_are_simulated(tmp_path: Path, words: str, status: int, said: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(READ_ORDERS)
    command = ["policy", "simulate", "--policy", str(path), "--resource", "*", *words.split()]
    result = CliRunner().invoke(root, command)
    assert (result.exit_code, said in result.output) == (status, True), result.output


def test_a_policy_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(b"\xff")
    words = ["policy", "simulate", "--policy", str(path), "--resource", "*", "--action", "x"]
    result = CliRunner().invoke(root, words)
    assert (result.exit_code, "it is not UTF-8" in result.output) == (1, True)
