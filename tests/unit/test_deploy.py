"""The files under deploy/ say what the code understands."""

import re
import subprocess
from pathlib import Path

import pytest

from mynamo.schemas.config import ClusterConfig

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
