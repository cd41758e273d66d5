"""The files under deploy/ say what the code understands."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from mynamo.cli import workers
from mynamo.cli.app import root
from mynamo.gateway.http.server import GRACE_SECONDS
from mynamo.metrics.endpoint import new_registry
from mynamo.schemas.config import ClusterConfig
from mynamo.writer import worker

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize("role", ["admin", "writer", "indexer", "reader"])
def test_each_roles_configuration_is_valid(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNAMO_SHARD_PASSWORD", "secret")
    config = ClusterConfig.load(DEPLOY / "config" / f"{role}.toml")
    assert {s.user for s in config.shards} == {config.catalog.user} == {f"mynamo_{role}"}
    assert config.shards[0].password.get_secret_value() == "secret"


def test_the_roles_differ_in_their_user_alone() -> None:
    texts = {
        path.read_text().replace(path.stem, "ROLE") for path in (DEPLOY / "config").glob("*.toml")
    }
    assert len(texts) == 1
    assert "password =" not in texts.pop()


def test_compose_names_only_files_and_variables_that_exist() -> None:
    compose = (DEPLOY / "compose.yaml").read_text()
    variables = {
        line.partition("=")[0] for line in (DEPLOY / "env.example").read_text().splitlines()
    }
    for word in compose.replace("$$", "").split("${")[1:]:
        assert word.partition(":?}")[0] in variables
    for word in compose.split("/etc/mynamo/")[1:]:
        assert (DEPLOY / "config" / word.partition(".toml")[0]).with_suffix(".toml").is_file()


def test_the_gateways_key_pair_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    compose = (DEPLOY / "compose.yaml").read_text()
    (json_text,) = re.findall(r"MYNAMO_GATEWAY__CREDENTIALS: >-\s+(\[.*?\])", compose, re.DOTALL)
    given = re.sub(r"\$\{(\w+):\?\}", lambda variable: f"the_{variable[1]}", json_text)
    monkeypatch.setenv("MYNAMO_GATEWAY__CREDENTIALS", " ".join(given.split()))
    (pair,) = ClusterConfig.load(DEPLOY / "config" / "writer.toml").gateway.credentials
    assert pair.access_key_id == "the_GATEWAY_ACCESS_KEY_ID"
    assert pair.secret_access_key.get_secret_value() == "the_GATEWAY_SECRET_ACCESS_KEY"


def test_the_script_for_users_refuses_to_run_without_passwords() -> None:
    script = subprocess.run(
        ["bash", str(DEPLOY / "init" / "users.sh")],
        env={"PATH": "/usr/bin:/bin", "MYSQL": "cat", "ADMIN_PASSWORD": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert script.returncode != 0
    assert "WRITER_PASSWORD" in script.stderr


UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMMON = "mynamo-.service.d/common.conf"


def said_of_units(folder: Path) -> str:
    """What systemd says of the units in a folder, whose programs and users need not be there."""
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text().replace("/opt/mynamo/bin/mynamo", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(unit) for unit in folder.glob("*.service"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stderr + ("" if done.returncode == 0 else f"status {done.returncode}")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    shutil.copytree(DEPLOY / "systemd", tmp_path, dirs_exist_ok=True)
    assert said_of_units(tmp_path) == ""
    common = tmp_path / COMMON  # it applies to all of them, and what is wrong in it is found
    common.write_text(common.read_text() + "ProtectSytem=strict\n")
    assert said_of_units(tmp_path).count("'ProtectSytem'") == len(UNITS)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_that_there_is(unit: Path) -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    program, *words = settings["ExecStart"].split()
    assert program == "/opt/mynamo/bin/mynamo"
    assert CliRunner().invoke(root, [*words, "--help"]).exit_code == 0
    config = settings["Environment"].removeprefix("MYNAMO_CONFIG=/etc/mynamo/")
    assert (DEPLOY / "config" / config).is_file()
    assert settings["EnvironmentFile"] == f"/etc/mynamo/{words[0]}.env"


def test_control_an_option_that_there_is_not_is_found() -> None:
    assert CliRunner().invoke(root, ["writer", "--metrics-prot", "1", "--help"]).exit_code == 2


def test_units_wait_longer_than_processes_need_to_end() -> None:
    waits = re.search(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "systemd" / COMMON).read_text(), re.M)
    assert waits is not None
    assert int(waits[1]) > max(GRACE_SECONDS, worker._CLOSING + workers._CLOSING)


class Asking(Collector):
    """Metrics for which servers are asked."""

    asked = 0

    def describe(self) -> list[Metric]:
        return [Metric("mynamo_outbox_rows", "", "gauge")]

    def collect(self) -> list[Metric]:
        self.asked += 1
        return self.describe()


def test_a_scrape_of_the_release_alone_asks_no_shard() -> None:
    registry = new_registry("writer")
    asking = Asking()
    registry.register(asking)
    answer = generate_latest(registry.restricted_registry(["mynamo_build_info"]))
    assert b'mynamo_build_info{role="writer"' in answer
    assert asking.asked == 0
    generate_latest(registry)
    assert asking.asked == 1


def test_the_chart_is_of_this_release() -> None:
    text = (DEPLOY / "helm" / "mynamo" / "Chart.yaml").read_text()
    project = (DEPLOY.parent / "pyproject.toml").read_text()
    (release,) = re.findall(r'^version = "(.*)"$', project, re.MULTILINE)
    assert f"\nversion: {release}\nappVersion: {release}\n" in text
