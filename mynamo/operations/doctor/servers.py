"""Checks of a MySQL server: its version, its settings, its clock."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from mynamo.catalog import sql
from mynamo.local.cache import version_key
from mynamo.local.engines import OLDEST
from mynamo.mysql.pool import Session
from mynamo.mysql.server_checks import look_at_server
from mynamo.operations.doctor.diagnosis import Said
from mynamo.writer.expirer import MOST_SKEW

_SKEW = 1.0
"""Seconds by which clocks may differ without a word: NTP keeps them within some milliseconds."""


def version(session: Session) -> Iterator[Said]:
    """Whether mynamo works with this release of the server."""
    text = str(session.run(("SELECT VERSION()", ()))[0].rows[0][0])
    mariadb = "MariaDB" in text
    oldest = OLDEST["mariadb" if mariadb else "mysql"]
    number = text.partition("-")[0]
    title = f"{'MariaDB' if mariadb else 'MySQL'} {number}"
    if version_key(number) < version_key(oldest):
        yield "problem", f"{title} is too old", f"upgrade it to {oldest} or later"
    else:
        yield "ok", title, ""


def settings(session: Session) -> Iterator[Said]:
    """Whether it is a primary whose settings lose nothing.

    Raises:
        ShardUnavailable: it is not fit to be a shard at all.
    """
    fit = True
    for one in look_at_server(session, "it"):
        risky = one.level >= logging.WARNING
        fit = fit and not risky
        yield "warning" if risky else "ok", one.text, one.todo
    if fit:
        yield "ok", "its settings lose no acknowledged write", ""


def clock(session: Session) -> Iterator[Said]:
    """Whether its clock and this machine's agree, as far as the time of an answer shows."""
    before = time.time()
    server = int(session.run((f"SELECT {sql.NOW}", ()))[0].rows[0][0]) / 1e6
    ahead, behind = server - time.time(), before - server
    skew = max(ahead, behind)
    if skew <= _SKEW:
        yield "ok", "its clock and this machine's agree", ""
        return
    text = f"its clock is {skew:.1f} s {'ahead of' if ahead > behind else 'behind'} this machine's"
    todo = "set both clocks by NTP (`timedatectl set-ntp true`)"
    if skew > MOST_SKEW:
        yield "problem", f"{text}, so no items expire there", todo
    else:
        yield "warning", f"{text}, and so are the lags and ages that are shown", todo
