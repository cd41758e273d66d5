"""TLS and SASL to Kafka, as the configuration says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from mynamo.errors import LogUnavailable
from mynamo.local import ApacheKafka, free_port
from mynamo.log import ensure_topics, open_consumer, open_producer, send_all
from mynamo.schemas.config import KafkaConfig
from tests.certificates import Authority
from tests.servers import why_no_kafka
from tests.waiting import eventually

pytestmark = pytest.mark.slow

PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaConfig]:
    if reason := why_no_kafka():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder / "ca")
    certificate, key = authority.issue("127.0.0.1")
    keystore = folder / "keystore.pem"
    keystore.write_bytes(key.read_bytes() + certificate.read_bytes())
    plain = free_port()
    safe = free_port(taken=(plain,))
    controller = free_port(taken=(plain, safe))
    clients = f"PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{safe}"
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    settings = {
        "listeners": f"{clients},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{login} user_mynamo="{PASSWORD}";',
    }
    with ApacheKafka(folder / "kafka", plain, controller_port=controller, settings=settings):
        yield KafkaConfig(
            bootstrap_servers=f"127.0.0.1:{safe}",
            security_protocol="SASL_SSL",
            sasl_mechanism="PLAIN",
            sasl_username="mynamo",
            sasl_password=SecretStr(PASSWORD),
            ssl_cafile=authority.file,
        )


def test_events_are_sent_encrypted_and_authenticated(secured: KafkaConfig) -> None:
    ensure_topics(secured)
    producer = open_producer(secured)
    send_all(producer, secured, [(secured.changes_topic, 0, b"key", b"value", [("a", b"b")])])
    producer.close()
    consumer = open_consumer(secured, None)
    consumer.subscribe([secured.changes_topic])
    found: list[bytes] = []

    def read() -> bool:
        for records in consumer.poll(timeout_ms=200).values():
            found.extend(record.value for record in records)
        return found == [b"value"]

    eventually(read, 30)
    consumer.close()


@pytest.mark.parametrize("mistake", ["password", "authority", "no TLS"])
def test_mistakes_are_told_without_secrets(
    secured: KafkaConfig, mistake: str, tmp_path: Path
) -> None:
    changes: dict[str, object] = {
        "password": {"sasl_password": SecretStr("wrong-horse")},
        "authority": {"ssl_cafile": Authority(tmp_path, "somebody else").file},
        "no TLS": {"security_protocol": "PLAINTEXT"},
    }
    config = secured.model_copy(update=changes[mistake])  # type: ignore[arg-type]
    with pytest.raises(LogUnavailable, match="Kafka at ") as failure:
        ensure_topics(config)
    assert "horse" not in str(failure.value)
