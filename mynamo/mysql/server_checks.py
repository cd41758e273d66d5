"""Checks for settings of MySQL servers that would lose acknowledged writes.

They run once per process and database, when its first connection is used. A setting that loses
writes only if something else fails causes a warning that says what to change; one that only costs
speed, a line at level INFO. A server that is not a primary is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mynamo.errors import ShardUnavailable
from mynamo.mysql.failures import LostConnection, StatementRefused
from mynamo.mysql.pool import Session, Statement
from mynamo.schemas.config import DatabaseConfig

log = logging.getLogger(__name__)

MAX_PACKET = 64 * 1024 * 1024
"""Bytes that one transaction's statements can come to."""


class Complaint(NamedTuple):
    """What is risky about a server or a topic.

    Attributes:
        setting: its name.
        text: what is wrong, and what can happen.
        todo: what to do.
        level: of its line in the log.
    """

    setting: str
    text: str
    todo: str
    level: int = logging.WARNING

    def __str__(self) -> str:
        return f"{self.text}; {self.todo}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting must be.

    Attributes:
        name: of the setting.
        good: whether a value will do; also given all settings.
        want: the value to set.
        risk: what can happen otherwise.
        dynamic: it can be set while the server runs.
    """

    name: str
    good: Callable[[str, Mapping[str, str]], bool]
    want: str
    risk: str
    dynamic: bool = True


def _binlog_is_off(settings: Mapping[str, str]) -> bool:
    return settings.get("log_bin", "OFF") == "OFF"


RULES = (
    Rule(
        "innodb_flush_log_at_trx_commit",
        lambda value, _: value == "1",
        "1",
        "acknowledged writes can be lost when the machine fails",
    ),
    Rule(
        "sync_binlog",
        lambda value, all_: value == "1" or _binlog_is_off(all_),
        "1",
        "acknowledged writes can be rolled back when the server recovers from a crash of the "
        "machine, and replicas can miss them",
    ),
    Rule(
        "innodb_doublewrite",
        lambda value, _: value not in ("OFF", "DETECT_ONLY", "0"),
        "ON",
        "a page half written when the power fails cannot be restored",
        dynamic=False,
    ),
    Rule(
        "innodb_flush_method",
        lambda value, _: value not in ("nosync", "littlesync"),
        "O_DIRECT",
        "acknowledged writes can be lost when the machine fails",
        dynamic=False,
    ),
    Rule(
        "binlog_format",
        lambda value, all_: value != "STATEMENT" or _binlog_is_off(all_),
        "ROW",
        "the server refuses writes at READ COMMITTED, and so all of mynamo's",
    ),
    Rule(
        "max_allowed_packet",
        lambda value, _: int(value) >= MAX_PACKET,
        str(MAX_PACKET),
        "batches of large items are refused",
    ),
    Rule(
        "wsrep_on",
        lambda value, _: value == "OFF",
        "OFF",
        "a Galera cluster loses updates when several of its members are written to: a shard "
        "must be a single primary",
        dynamic=False,
    ),
    Rule(
        "group_replication_single_primary_mode",
        lambda value, _: value == "ON",
        "ON",
        "a group with several primaries loses updates: a shard must be a single primary",
        dynamic=False,
    ),
)
ADVICE = (
    Rule(
        "binlog_row_image",
        lambda value, all_: value == "MINIMAL" or _binlog_is_off(all_),
        "MINIMAL",
        "the binary log gets each row whole, before and after each change; MINIMAL is enough for "
        "replicas and point-in-time recovery, but not for change data capture of these tables",
    ),
)
_KEPT = {
    "auto_increment_increment": "1",
    "auto_increment_offset": "1",
    "transaction_isolation": "READ-COMMITTED",
    "tx_isolation": "READ-COMMITTED",
}
"""What every session of ours is told when it is opened, and what must still hold later."""
_ASKED = (*(rule.name for rule in (*RULES, *ADVICE)), *_KEPT, "log_bin")

_SETTINGS: Statement = (
    "SHOW SESSION VARIABLES WHERE Variable_name IN ("  # the global value where there is one only
    + ", ".join(f"'{name}'" for name in _ASKED)
    + ")",
    (),
)
_ENGINES: Statement = (
    "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = DATABASE()"
    " AND table_name IN ('mynamo_outbox', 'mynamo_fence', 'mynamo_checkpoint', 'mynamo_tables')"
    " AND engine <> 'InnoDB'",
    (),
)
_VERSION: Statement = ("SELECT VERSION()", ())


def check_server(session: Session, database: DatabaseConfig, where: str) -> None:
    """Look at a server's settings, and say once what is risky; two round trips.

    Args:
        session: to it; needs no rights.
        database: on it.
        where: it is, for messages.

    Raises:
        ShardUnavailable: it is not fit to be a shard, or does not answer.
    """
    server = f"{database.host}:{database.port}"
    for one in look_at_server(session, where):
        say_once((server, one.setting, one.text), f"{where}: {one}", one.level)


def look_at_server(session: Session, where: str) -> Iterator[Complaint]:
    """What is risky about a server; two round trips.

    Raises:
        ShardUnavailable: see `check_server`.
    """
    version, rows, engines = session.run(_VERSION, _SETTINGS, _ENGINES)
    settings = {str(name).lower(): str(value) for name, value in rows.rows}
    mariadb = "MariaDB" in version.rows[0][0]
    for name, told in _KEPT.items():
        if settings.get(name, told) != told:
            raise ShardUnavailable(
                f"{where}: {name} is {settings[name]} in a session that was told otherwise; is "
                "there a proxy between that shares connections? Connect to the server directly"
            )
    for table, engine in engines.rows:
        raise ShardUnavailable(
            f"{where}: table {table} is {engine}, which has no transactions; "
            f"ALTER TABLE {table} ENGINE = InnoDB"
        )
    for level, rules in ((logging.WARNING, RULES), (logging.INFO, ADVICE)):
        yield from complaints(rules, settings, mariadb, level)
    for status in _replica_status(session, mariadb):
        yield _promoted(status, where)


def complaints(
    rules: Sequence[Rule], settings: Mapping[str, str], mariadb: bool, level: int
) -> Iterator[Complaint]:
    """What is risky about a server's settings."""
    for rule in rules:
        value = settings.get(rule.name, "")
        if not value or rule.good(value, settings):
            continue
        line = f"{rule.name} = {rule.want}"
        if not rule.dynamic:
            remedy = f"put `{line}` under [mysqld] in its configuration and start it again"
        elif mariadb:
            remedy = f"SET GLOBAL {line}, and put `{line}` under [mysqld] in its configuration"
        else:
            remedy = f"SET PERSIST {line}"
        yield Complaint(rule.name, f"{rule.name} is {value}: {rule.risk}", remedy, level)


def _replica_status(session: Session, mariadb: bool) -> list[dict[str, Any]]:
    """What the server follows; nothing, if this user may not know."""
    try:
        return session.named("SHOW ALL REPLICAS STATUS" if mariadb else "SHOW REPLICA STATUS")
    except LostConnection:
        raise
    except (ShardUnavailable, StatementRefused) as error:
        log.debug("whether it is a replica is not known: %s", error)
        if not mariadb:  # where `read_only` alone must do
            return []
        rows = session.run(("SHOW GLOBAL STATUS LIKE 'Slave_running'", ()))[0].rows
        return [{"Slave_SQL_Running": "Yes"}] if rows and rows[0][1] == "ON" else []


def _promoted(status: Mapping[str, Any], where: str) -> Complaint:
    """What to say of a server that once followed another one.

    MariaDB says Master where MySQL says Source, and Slave for Replica.

    Raises:
        ShardUnavailable: it still does.
    """
    said = {name.replace("Master", "Source").replace("Slave", "Replica"): value
            for name, value in status.items()}  # fmt: skip
    host = said.get("Source_Host")
    source = f"{host}:{said['Source_Port']}" if host else "another server"
    running = {said.get("Replica_IO_Running"), said.get("Replica_SQL_Running")} - {"No", None}
    if not running:
        return Complaint(
            "replica",
            f"it was a replica of {source}, and would be one again when replication is started",
            "if it is the primary now: RESET REPLICA ALL",
        )
    behind = said.get("Seconds_Behind_Source")
    lag = "unknown" if behind is None else f"{behind} s"
    raise ShardUnavailable(
        f"{where}: it is a replica of {source} (lag: {lag}); a shard must be a single primary: "
        "correct the configuration, or, if it is to be the primary: STOP REPLICA; RESET REPLICA ALL"
    )


_said: dict[tuple[str, ...], object] = {}
"""Without a lock, which a child of a fork could inherit held: `setdefault` is one step."""


def say_once(key: tuple[str, ...], text: str, level: int = logging.WARNING) -> None:
    """Log a line, once per process.

    Args:
        key: the same for what is the same trouble.
    """
    mine = object()
    if _said.setdefault(key, mine) is mine:
        log.log(level, "%s", text)


def forget_warnings() -> None:
    """Let every warning be said once more."""
    _said.clear()
