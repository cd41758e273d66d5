"""The rights of a MySQL user, and for which of mynamo's processes they are enough."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, get_args

from mynamo.mysql.pool import Session
from mynamo.schemas.config import DatabaseConfig

Role = Literal["admin", "writer", "producer", "indexer", "reader"]
ROLES: tuple[Role, ...] = get_args(Role)
"""From the one with most rights to the one with least, as docs/operations.md has them. admin: who
creates and drops tables; so does `mynamo serve`, if its clients may, else it is a producer."""

ORDER = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP")
_READ = frozenset(ORDER[:1])
_WRITE = frozenset(ORDER[:4])
_ALL = frozenset(ORDER)
ON_CATALOG: dict[Role, frozenset[str]] = {
    "admin": _ALL, "writer": _WRITE, "producer": _WRITE, "indexer": _READ, "reader": _READ,
}  # fmt: skip
ON_SHARD: dict[Role, frozenset[str]] = {
    "admin": _ALL, "writer": _ALL, "producer": _WRITE, "indexer": _WRITE, "reader": _READ,
}  # fmt: skip

_GRANT = re.compile(r"(GRANT|REVOKE) (.+?) ON (\*|`(?:[^`]|``)+`)\.\* (?:TO|FROM) ")


def rights_of(session: Session, database: str) -> frozenset[str]:
    """Which of the rights that mynamo needs the session's user has on a database.

    Raises:
        ShardUnavailable: the server does not answer.
    """
    version, role = session.run(("SELECT VERSION()", ()), ("SELECT CURRENT_ROLE()", ()))
    active = role.rows[0][0]
    statement = "SHOW GRANTS"
    if "MariaDB" not in version.rows[0][0] and active != "NONE":  # MariaDB adds them by itself
        statement = f"SHOW GRANTS FOR CURRENT_USER() USING {active}"
    (grants,) = session.run((statement, ()))
    return granted((str(row[0]) for row in grants.rows), database)


def granted(grants: Iterable[str], database: str) -> frozenset[str]:
    """Which of the rights that mynamo needs are granted on a database.

    Args:
        grants: lines of SHOW GRANTS.
    """
    given: set[str] = set()
    revoked: set[str] = set()
    for line in grants:
        found = _GRANT.match(line)
        if found is None or not _covers(found[3], database):
            continue
        named = _ALL if found[2] == "ALL PRIVILEGES" else _ALL & set(found[2].split(", "))
        (given if found[1] == "GRANT" else revoked).update(named)
    return frozenset(given - revoked)


def grant(session: Session, rights: Iterable[str], database: DatabaseConfig) -> str:
    """The statement that gives the session's user rights on a database."""
    user = str(session.run(("SELECT CURRENT_USER()", ()))[0].rows[0][0])
    name, _, host = user.rpartition("@")
    return f"GRANT {listed(rights)} ON {database.database}.* TO '{name}'@'{host}'"


def listed(rights: Iterable[str]) -> str:
    """Rights in words."""
    return ", ".join(sorted(rights, key=ORDER.index)) or "no right"


def _covers(place: str, database: str) -> bool:
    """Whether the place of a grant, which may be a pattern, is this database."""
    if place == "*":
        return True
    pattern = ""
    for escaped, character in re.findall(r"(\\?)(.)", place.strip("`")):
        wild = {"%": ".*", "_": "."}.get(character) if not escaped else None
        pattern += wild or re.escape(character)
    return re.fullmatch(pattern, database) is not None
