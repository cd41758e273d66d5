"""Pure parts of the local servers: ports, versions, package sources, the cache."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from mynamo.errors import LocalServerError
from mynamo.local import free_port
from mynamo.local.cache import find_fetched, store, version_key
from mynamo.local.engines import EngineKind, parse_version
from mynamo.local.fetch.apt_sources import (
    DEBIAN_KEYRING,
    Source,
    debian_suite,
    machine_sources,
    own_suite,
    parse_deb822,
    parse_one_line,
)
from mynamo.local.mysql_files import accounts_sql
from mynamo.local.ports import ephemeral_start, is_free, is_listening
from mynamo.local.prometheus import PROGRAMS, find_prometheus
from mynamo.local.state import ClusterState, config_toml
from mynamo.schemas.config import ClusterConfig, DatabaseConfig, KafkaConfig, ShardConfig


@pytest.mark.parametrize(
    ("text", "kind", "version"),
    [
        ("/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", "mysql", "9.7.4"),
        ("mysqld  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)", "mysql", "8.4.3"),
        ("mysqld  Ver 8.0.36-28 for Linux on x86_64 (Percona Server)", "mysql", "8.0.36"),
        (
            "mysqld  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)",
            "mariadb",
            "10.11.19",
        ),
        ("mariadbd  Ver 11.8.3-MariaDB for Linux on x86_64 (Arch)", "mariadb", "11.8.3"),
    ],
)
def test_version_of_either_engine(text: str, kind: EngineKind, version: str) -> None:
    assert parse_version(text) == (kind, version)


def test_version_of_something_else() -> None:
    with pytest.raises(LocalServerError, match="not the version"):
        parse_version("error while loading shared libraries: libaio.so.1")


def test_versions_compare_by_number() -> None:
    assert version_key("9.10.0") > version_key("9.7.4-2") > version_key("9.7")
    assert version_key("10.11") > version_key("10.6.22")


def test_a_free_port_is_free_and_below_the_outgoing_range() -> None:
    port = free_port()
    assert port < ephemeral_start(Path("/proc/sys/net/ipv4/ip_local_port_range"))
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        assert is_listening(port)
    assert is_free(port)
    assert not is_listening(port)


def test_outgoing_range(tmp_path: Path) -> None:
    file = tmp_path / "range"
    assert ephemeral_start(file) == 32_768
    file.write_text("40000\t60999\n")
    assert ephemeral_start(file) == 40_000
    file.write_text("1024\t60999\n")
    assert ephemeral_start(file) == 32_768


ONE_LINE = """\
# the distribution
deb http://archive.example/debian bookworm main contrib # comment
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://other.example/deb bookworm main
deb-src http://archive.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb https://vendor.example/node nodistro main
"""

DEB822 = """\
Types: deb deb-src
# a comment
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: https://vendor.example/deb
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0srwuhlB6JKFkcf4HU4SSS
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_one_line_sources() -> None:
    found = parse_one_line(ONE_LINE)
    assert [source.suites for source in found] == [
        ("bookworm",),
        ("bookworm",),
        ("bookworm-security",),
        ("nodistro",),
    ]
    assert found[0] == Source(
        ("http://archive.example/debian",), ("bookworm",), ("main", "contrib")
    )
    assert found[1].signed_by == "/usr/share/keyrings/x.gpg"


def test_deb822_sources() -> None:
    main, vendor = parse_deb822(DEB822)
    assert main.uris == ("http://archive.example/debian",)
    assert main.suites == ("bookworm", "bookworm-updates")
    assert main.signed_by == DEBIAN_KEYRING
    assert "BEGIN PGP" in (vendor.signed_by or "")
    assert parse_deb822(vendor.deb822()) == [vendor]


@pytest.mark.parametrize("sources", [parse_one_line(ONE_LINE), parse_deb822(DEB822)])
def test_another_suite_of_the_same_archive(sources: list[Source]) -> None:
    derived = debian_suite(sources, "bookworm", "sid")
    assert derived is not None
    assert derived.deb822() == (
        "Types: deb\nURIs: http://archive.example/debian\nSuites: sid\nComponents: main\n"
        f"Signed-By: {DEBIAN_KEYRING}\n"
    )


def test_no_other_suite_without_a_debian_archive() -> None:
    assert debian_suite(parse_one_line("deb http://x.example/y z main"), "bookworm", "sid") is None


def test_own_suite_has_updates_and_security_but_no_vendors() -> None:
    kept = own_suite(parse_one_line(ONE_LINE), "bookworm")
    assert [source.suites[0] for source in kept] == ["bookworm", "bookworm", "bookworm-security"]


def test_sources_of_a_machine(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/ one main\n")
    (tmp_path / "sources.list.d" / "b.list").write_text("deb http://b.example/ two main\n")
    (tmp_path / "sources.list.d" / "c.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "d.sources.disabled").write_text(DEB822)
    assert len(machine_sources(tmp_path)) == 4


def test_the_cache_holds_whole_downloads_only(tmp_path: Path) -> None:
    def break_off(folder: Path) -> None:
        (folder / "half").touch()
        raise LocalServerError("the line went dead")

    with pytest.raises(LocalServerError, match="went dead"):
        store("kafka", "4.4.0", break_off, tmp_path)
    assert find_fetched("kafka", tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "kafka-4.4.0").mkdir()  # as an interrupted delete would leave it
    for version in ("4.4.0", "4.10.0"):
        store("kafka", version, lambda folder: (folder / "all").touch(), tmp_path)
    newest = find_fetched("kafka", tmp_path)
    assert newest is not None
    assert newest.version == "4.10.0"
    assert (newest.folder / "all").exists()


def test_a_broken_stamp_is_not_a_download(tmp_path: Path) -> None:
    (tmp_path / "mysql-9").mkdir()
    assert find_fetched("mysql", tmp_path) is None


def test_the_grant_does_not_treat_the_underscore_as_a_wildcard() -> None:
    assert r"ON `mynamo\_%`.*" in accounts_sql({"mynamo": "a", "root": "b"})


def test_configuration_file_round_trip(tmp_path: Path) -> None:
    password = SecretStr('quote " and \\ and é')
    shard = ShardConfig(id=1, port=3307, password=password, database="mynamo_shard_1")
    config = ClusterConfig(
        catalog=DatabaseConfig(database="mynamo_catalog"),
        shards=(shard,),
        kafka=KafkaConfig(bootstrap_servers="127.0.0.1:19092", session_timeout_ms=6000),
    )
    path = tmp_path / "mynamo.toml"
    path.write_text(config_toml(config), encoding="utf-8")
    assert ClusterConfig.load(path) == config


def test_state_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert ClusterState.load(path) == ClusterState()
    state = ClusterState(engine="mysql", shard_ports=[1, 2], kafka_port=3)
    state.save(path)
    assert ClusterState.load(path) == state


def test_prometheus_that_is_missing_or_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYNAMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalServerError, match=r"mynamo\.local\.fetch prometheus"):
        find_prometheus()
    for name in PROGRAMS:
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho something else\n")
        program.chmod(0o755)
    with pytest.raises(LocalServerError, match="does not say its version"):
        find_prometheus()
    (tmp_path / "prometheus").write_text("#!/bin/sh\necho prometheus, version 2.42.0+ds\n")
    found = find_prometheus()
    assert (found.title, found.promtool) == ("Prometheus 2.42.0", str(tmp_path / "promtool"))
