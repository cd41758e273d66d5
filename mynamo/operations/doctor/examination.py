"""All checks, side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from mynamo.operations.doctor.databases import Found, look_at_catalog, look_at_shard
from mynamo.operations.doctor.diagnosis import Check
from mynamo.operations.doctor.kafka_checks import look_at_kafka
from mynamo.operations.doctor.machine import look_at_machine
from mynamo.operations.doctor.mismatches import mismatches
from mynamo.operations.doctor.rights import Role
from mynamo.runtime.parallel_checks import ParallelChecks
from mynamo.schemas.config import ClusterConfig

KAFKA = "Kafka"
PATIENCE = 20.0
"""Seconds until all servers must have answered. Each call has shorter limits of its own."""


def examine(
    config: ClusterConfig, role: Role | None = None, data: Path | None = None
) -> list[Check]:
    """Look at all servers, and at this machine; nothing is changed.

    Args:
        role: whose rights the configured users must have; None: those of a reader at least.
        data: the folder of `mynamo dev` that the servers' data lies in; None: it is elsewhere.

    Returns:
        What each check says. That one fails is what it says.
    """
    looks: dict[str, Callable[[], Found | list[Check]]] = {
        "catalog": partial(look_at_catalog, config.catalog, role),
        **{f"shard {s.id}": partial(look_at_shard, s, role) for s in config.shards},
        KAFKA: partial(look_at_kafka, config.kafka),
    }
    parallel: ParallelChecks[Found | list[Check]] = ParallelChecks(len(looks), "doctor")
    try:
        answers = {
            name: _answer(name, asked) for name, asked in parallel.run(looks, PATIENCE).items()
        }
    finally:
        parallel.close()
    checks = list(look_at_machine(data))
    for answer in answers.values():
        checks += answer.checks if isinstance(answer, Found) else answer
    databases = {name: one for name, one in answers.items() if isinstance(one, Found)}
    checks += mismatches(
        databases["catalog"],
        {shard.id: databases[f"shard {shard.id}"] for shard in config.shards},
        config.kafka.partitions,
    )
    return list(dict.fromkeys(checks))  # several databases may be on one server


def _answer(name: str, asked: Future[Found | list[Check]]) -> Found | list[Check]:
    if not asked.done():
        failed = Check("problem", name, f"no answer within {PATIENCE:g} s", "look at its server")
    elif failure := asked.exception():
        what = f"{type(failure).__name__}: {failure}"
        failed = Check("problem", name, what, "this is a defect in mynamo: report it")
    else:
        return asked.result()
    return [failed] if name == KAFKA else Found(name, [failed])
