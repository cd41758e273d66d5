"""Who is at work: the members of the workers' consumer groups."""

from __future__ import annotations

import logging

from mynamo.log.clients import kafka_errors, open_admin
from mynamo.schemas.config import KafkaConfig

log = logging.getLogger(__name__)


def group_members(config: KafkaConfig, group: str) -> int | None:
    """How many members a consumer group has; None: the broker does not say.

    One that died counts until its session times out.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    admin = open_admin(config)
    try:
        with kafka_errors(config):
            found = admin.describe_groups([group])[group]
    except ValueError as error:  # the embedded broker's answer is not quite Kafka's
        log.debug("the members of %s are not known: %s", group, error)
        return None
    finally:
        admin.close()
    return len(found["members"])
