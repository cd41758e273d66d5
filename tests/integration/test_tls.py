"""TLS to the shards: encrypted, and only to the server that the configuration means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from mynamo.catalog.shard import DynamoDBShard
from mynamo.errors import ShardUnavailable
from mynamo.local import EngineKind, LocalMySQL, find_engine, free_port
from mynamo.schemas.config import MySQLTLS, PoolConfig, ShardConfig
from tests.certificates import Authority
from tests.servers import discard_data, why_no_engine

CIPHER = ("SHOW SESSION STATUS LIKE 'Ssl_cipher'", ())
IMPATIENT = PoolConfig(connect_timeout=5)


@pytest.fixture(scope="module", params=get_args(EngineKind))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalMySQL]:
    if reason := why_no_engine(request.param):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder / "ca")
    certificate, key = authority.issue("127.0.0.1")
    options = [f"--ssl-ca={authority.file}", f"--ssl-cert={certificate}", f"--ssl-key={key}"]
    options.append("--require-secure-transport=ON")
    with LocalMySQL(
        find_engine(request.param), folder / "server", free_port(), extra_args=options
    ) as started:
        started.create_database("mynamo_tls")
        yield started
    discard_data(folder)


@pytest.fixture
def ca(server: LocalMySQL) -> Path:
    return server.data_dir.parent / "ca" / "ca.pem"


def shard_of(server: LocalMySQL, tls: MySQLTLS | None, host: str = "127.0.0.1") -> DynamoDBShard:
    database = server.database("mynamo_tls").model_dump() | {"host": host, "tls": tls}
    return DynamoDBShard.of(ShardConfig(id=1, **database), IMPATIENT)


def cipher(shard: DynamoDBShard) -> str:
    with shard.session() as session:
        found: str = session.run(CIPHER)[0].rows[0][1]
    shard.disconnect()
    return found


def test_with_the_right_authority_the_connection_is_encrypted(server: LocalMySQL, ca: Path) -> None:
    assert cipher(shard_of(server, MySQLTLS(ca=ca))) != ""


def test_a_server_of_another_authority_is_refused(
    server: LocalMySQL, ca: Path, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "somebody else")
    with pytest.raises(ShardUnavailable, match=r"shard 1 .*certificate"):
        cipher(shard_of(server, MySQLTLS(ca=other.file)))


def test_a_certificate_for_another_name_is_refused_unless_told_otherwise(
    server: LocalMySQL, ca: Path
) -> None:
    with pytest.raises(ShardUnavailable, match=r"shard 1 .*certificate"):
        cipher(shard_of(server, MySQLTLS(ca=ca), host="localhost"))
    lenient = MySQLTLS(ca=ca, verify_identity=False)
    assert cipher(shard_of(server, lenient, host="localhost")) != ""


def test_control_without_tls_the_server_refuses(server: LocalMySQL) -> None:
    with pytest.raises(ShardUnavailable, match=r"demands TLS|refused the user"):
        cipher(shard_of(server, None))
