"""What the doctor reads out of grants, versions and messages; and what it prints."""

from __future__ import annotations

import json
import socket
import threading
from importlib.metadata import requires
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner

from mynamo.cli.app import root
from mynamo.errors import ShardUnavailable
from mynamo.operations.doctor import (
    Check,
    databases,
    diagnosis,
    examination,
    examine,
    kafka_checks,
    machine,
    worst,
)
from mynamo.operations.doctor.rights import granted, listed
from mynamo.schemas.config import (
    ClusterConfig,
    DatabaseConfig,
    KafkaConfig,
    PoolConfig,
    ShardConfig,
)

ALL = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP"


@pytest.mark.parametrize(
    ("grants", "rights"),
    [
        (["GRANT USAGE ON *.* TO `u`@`%`"], ""),
        (["GRANT ALL PRIVILEGES ON *.* TO `u`@`%` WITH GRANT OPTION"], ALL),
        (["GRANT SELECT, CREATE ROLE, DROP ROLE ON *.* TO `u`@`%`"], "SELECT"),
        (["GRANT SELECT, DROP ON `my_db`.* TO `u`@`%`"], "SELECT, DROP"),
        (["GRANT SELECT ON `my\\_db`.* TO `u`@`%`", "GRANT DROP ON `m%`.* TO `u`@`%`"],
         "SELECT, DROP"),
        (["GRANT SELECT ON `my\\_d`.* TO `u`@`%`", "GRANT DROP ON `my\\%`.* TO `u`@`%`"], ""),
        (["GRANT SELECT ON `my_db`.`t1` TO `u`@`%`", "GRANT `role`@`%` TO `u`@`%`"], ""),
        (["GRANT ALL PRIVILEGES ON *.* TO `u`@`%`", "REVOKE DROP ON `my_db`.* FROM `u`@`%`"],
         ALL.removesuffix(", DROP")),
        (["GRANT SELECT ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*0'"], "SELECT"),
    ],
)  # fmt: skip
def test_grants_of_a_database(grants: list[str], rights: str) -> None:
    assert listed(granted(grants, "my_db")) == (rights or "no right")


def test_a_package_that_does_not_fit_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def problems() -> list[str]:
        found = machine.look_at_machine(tmp_path)
        return [check.text for check in found if check.status != "ok"]

    monkeypatch.setattr(machine, "release", lambda: "1.0")
    if requires("mynamo"):
        assert problems() == []
    lines = [
        "click>=8.1", "no-such-package>=1", "pydantic<2,>=1", "pytest<1; extra == 'dev'",
        "no-such-package; python_version < '3'", "no-such-package; extra == 'gateway'",
        "rich==1.*; extra == 'local' and python_version > '3'", "mynamo[gateway]; extra == 'local'",
    ]  # fmt: skip
    monkeypatch.setattr(machine, "requires", lambda _: lines)
    missing, older, of_extra = problems()
    assert missing == "the package no-such-package is not installed"
    assert older.endswith("but mynamo works with <2,>=1")
    assert of_extra.endswith("but mynamo works with ==1.*")
    monkeypatch.setattr(machine, "requires", lambda _: [])
    monkeypatch.setattr(machine, "shortage", lambda _: "the disk is full; free some space")
    assert problems() == ["the disk is full"]


def test_a_failure_is_parted_into_what_is_wrong_and_what_to_do() -> None:
    failure = ShardUnavailable("shard 1 (h:1/d): it refused the password; check it")
    assert diagnosis.said_of(failure, "shard 1 (h:1/d)", "x") == (
        "problem", "it refused the password", "check it",
    )  # fmt: skip
    silent = ShardUnavailable("shard 1 (h:1/d) does not answer: timed out")
    assert diagnosis.said_of(silent, "shard 1 (h:1/d)", "start it") == (
        "problem", "does not answer: timed out", "start it",
    )  # fmt: skip


def checks_of(*statuses: diagnosis.Status) -> list[Check]:
    return [Check(status, "Kafka", f"is {status}", "do something") for status in statuses]


@pytest.mark.parametrize(
    ("statuses", "overall", "exit_code", "counts"),
    [
        (["ok"], "ok", 0, "1 ok, 0 warnings, 0 problems"),
        (["ok", "warning", "warning"], "warning", 0, "1 ok, 2 warnings, 0 problems"),
        (["problem", "warning", "ok"], "problem", 3, "1 ok, 1 warning, 1 problem"),
    ],
)  # fmt: skip
def test_what_is_printed_and_the_exit_status(
    statuses: list[diagnosis.Status], overall: str, exit_code: int, counts: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    checks = checks_of(*statuses)
    monkeypatch.setattr("mynamo.cli.doctor_command.examine", lambda *_: checks)
    file = tmp_path / "mynamo.toml"
    file.write_text('[catalog]\ndatabase = "m"\n[[shards]]\nid = 1\ndatabase = "s"\n')
    assert worst(checks) == overall
    shown = CliRunner().invoke(root, ["doctor", "--config", str(file)])
    assert shown.exit_code == exit_code
    lines = shown.stdout.splitlines()
    assert lines[0] == f"{statuses[0]:8} Kafka: is {statuses[0]}"
    assert lines[1] == "         -> do something"
    assert len(lines) == 2 * len(statuses) + 1
    assert lines[-1] == counts
    answer = CliRunner().invoke(root, ["doctor", "--json", "--config", str(file)])
    assert answer.exit_code == exit_code
    report = json.loads(answer.stdout)
    assert report["status"] == overall
    assert report["checks"][0] == {
        "status": statuses[0], "about": "Kafka", "text": f"is {statuses[0]}",
        "todo": "do something",
    }  # fmt: skip


def test_servers_that_say_nothing_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take connections, and answer nothing."""
    limits = PoolConfig(connect_timeout=1, read_timeout=1, wait_timeout=1)
    monkeypatch.setattr(databases, "LIMITS", limits)
    monkeypatch.setattr(kafka_checks, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        config = ClusterConfig(
            catalog=DatabaseConfig(port=port, database="c"),
            shards=(ShardConfig(id=1, port=port, database="s"),),
            kafka=KafkaConfig(bootstrap_servers=f"127.0.0.1:{port}"),
        )
        problems = [check for check in examine(config) if check.status == "problem"]
    assert [check.about.partition(" ")[0] for check in problems] == ["catalog", "shard", "Kafka"]
    assert all("does not answer" in check.text and check.todo for check in problems)


def test_a_check_that_does_not_end_or_fails_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ending = threading.Event()

    def hang(*_: object) -> NoReturn:
        ending.wait(60)
        raise AssertionError

    def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(examination, "PATIENCE", 0.05)
    monkeypatch.setattr(examination, "look_at_catalog", hang)
    monkeypatch.setattr(examination, "look_at_shard", fail)
    monkeypatch.setattr(examination, "look_at_kafka", lambda _: checks_of("ok"))
    config = ClusterConfig(
        catalog=DatabaseConfig(database="c"), shards=(ShardConfig(id=1, database="s"),)
    )
    try:
        texts = [(check.about, check.text) for check in examine(config)]
    finally:
        ending.set()
    assert ("catalog", "no answer within 0.05 s") in texts
    assert ("shard 1", "ZeroDivisionError: oops") in texts
    assert ("Kafka", "is ok") in texts


def test_without_a_configuration_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MYNAMO_CONFIG", raising=False)
    said = CliRunner().invoke(root, ["doctor"])
    assert said.exit_code == 1
    assert "no configuration file was found: run `mynamo dev` here" in said.stderr
    assert said.stderr.count("\n") == 1
