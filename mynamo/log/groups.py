"""Who is at work: the members of the workers' consumer groups."""

from __future__ import annotations

import time
from typing import Any

from kafka.errors import CoordinatorNotAvailableError

from mynamo.log.clients import kafka_errors, open_admin
from mynamo.schemas.config import KafkaConfig

_PATIENCE = 5.0
"""Seconds that a broker may take to make the topic of groups: the first question makes it."""
_PAUSE = 0.1


def group_members(config: KafkaConfig, group: str, wait: float = 0.0) -> int:
    """How many members a consumer group has.

    One that died counts until its session times out.

    Args:
        wait: seconds for a first one to come, if there is none.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    admin = open_admin(config)
    # The embedded broker tells of permissions that Kafka does not have; nobody asks for them.
    admin._process_acl_operations = lambda described: described
    deadline = time.monotonic() + wait
    try:
        with kafka_errors(config):
            while True:
                count = len(_describe(admin, group)["members"])
                if count or time.monotonic() >= deadline:
                    return count
                time.sleep(_PAUSE)
    finally:
        admin.close()


def _describe(admin: Any, group: str) -> Any:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return admin.describe_groups([group])[group]
        except CoordinatorNotAvailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
