"""Configuration: file, environment, and errors that never show a secret."""

from pathlib import Path

import pytest

from mynamo.errors import ConfigError
from mynamo.schemas.config import ClusterConfig

TOML = """
[catalog]
database = "catalog"
password = "in-the-file"

[[shards]]
id = 1
database = "one"

[[shards]]
id = 2
port = 3307
database = "two"
password = "its-own"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MYNAMO_CONFIG", "MYNAMO_SHARD_PASSWORD", "MYNAMO_SHARDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mynamo.toml"
    path.write_text(TOML)
    return path


def test_the_file_in_the_current_folder_is_found(file: Path) -> None:
    config = ClusterConfig.load()
    assert [shard.database for shard in config.shards] == ["one", "two"]
    assert config.shards[1].port == 3307


def test_the_environment_overrides_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNAMO_KAFKA__BOOTSTRAP_SERVERS", "kafka:9092")
    monkeypatch.setenv("MYNAMO_CATALOG__PASSWORD", "from-outside")
    monkeypatch.setenv("MYNAMO_LOCAL_WAKEUPS", "false")
    config = ClusterConfig.load(file)
    assert not config.local_wakeups
    assert config.kafka.bootstrap_servers == "kafka:9092"
    assert config.catalog.password.get_secret_value() == "from-outside"
    assert config.catalog.database == "catalog"


def test_one_password_for_the_databases_that_name_none(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYNAMO_SHARD_PASSWORD", "shared")
    config = ClusterConfig.load(file)
    passwords = [d.password.get_secret_value() for d in (config.catalog, *config.shards)]
    assert passwords == ["in-the-file", "shared", "its-own"]


def test_passwords_are_never_shown(file: Path) -> None:
    config = ClusterConfig.load(file)
    assert "in-the-file" not in f"{config!r} {config} {config.model_dump_json()}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[catalog]\ndatabase='c'", "shards: is missing"),
        (TOML.replace("id = 2", "id = 1"), "shard ids must be unique"),
        (TOML.replace('"two"', '"one"').replace("port = 3307\n", ""), "same database"),
        (TOML.replace('"two"', '"two; DROP"'), "shards.1.database"),
        (TOML + "\n[kafka]\npartitons = 3\n", "kafka.partitons"),
        (TOML.replace("3307", "99999"), "shards.1.port"),
        (TOML + "\n[shards.tls]\nca = '/nowhere.pem'\n", "shards.1.tls.ca: .*not point to a file"),
        ("[catalog", "cannot be read"),
    ],
)
def test_mistakes_are_named_with_their_place(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        ClusterConfig.load(file)
    assert "in-the-file" not in str(caught.value)


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        ClusterConfig.load("elsewhere.toml")


def test_without_any_file_the_message_says_so(file: Path) -> None:
    file.unlink()
    with pytest.raises(ConfigError, match="no configuration file was found"):
        ClusterConfig.load()


@pytest.mark.parametrize("name", ["MYNAMO_SHARDS", "MYNAMO_GATEWAY__CREDENTIALS"])
def test_a_variable_that_is_not_json_is_named_without_its_value(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, '[{"password": "geheim')
    with pytest.raises(ConfigError, match=f"not valid JSON in {name}") as caught:
        ClusterConfig.load()
    assert "geheim" not in str(caught.value)
