"""Who is at work: the members of the workers' consumer groups."""

from __future__ import annotations

import logging
import time
from typing import Any

from kafka.errors import CoordinatorNotAvailableError

from mynamo.log.clients import kafka_errors, open_admin
from mynamo.schemas.config import KafkaConfig

log = logging.getLogger(__name__)

_PATIENCE = 5.0
"""Seconds that a broker may take to make the topic of groups: the first question makes it."""


def group_members(config: KafkaConfig, group: str) -> int | None:
    """How many members a consumer group has; None: the broker does not say.

    One that died counts until its session times out.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    admin = open_admin(config)
    try:
        with kafka_errors(config):
            found = _describe(admin, group)
    except ValueError as error:  # the embedded broker's answer is not quite Kafka's
        log.debug("the members of %s are not known: %s", group, error)
        return None
    finally:
        admin.close()
    return len(found["members"])


def _describe(admin: Any, group: str) -> Any:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return admin.describe_groups([group])[group]
        except CoordinatorNotAvailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
