"""The data folder of a private MySQL server: its system tables, accounts and passwords."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mynamo.errors import LocalServerError
from mynamo.local.cache import cache_folder, version_key
from mynamo.local.engines import Engine
from mynamo.local.files import sync_folder, write_if_changed, write_private
from mynamo.local.ports import LOOPBACK
from mynamo.local.process import tied_to_parent

log = logging.getLogger(__name__)

USER = "mynamo"
ENGINE_NOTE = "engine.json"
DATABASE_PREFIX = "mynamo_"
MARIADB_SYSTEM_SQL = (
    "mysql_system_tables.sql",
    "mysql_performance_tables.sql",
    "mysql_system_tables_data.sql",
    "fill_help_tables.sql",
    "maria_add_gis_sp_bootstrap.sql",
    "mysql_sys_schema.sql",
)


def check_engine(engine: Engine, folder: Path) -> None:
    """Make sure that the server can read a folder's data, if there is any.

    Raises:
        LocalServerError: another engine, or a newer version of this one, has written it.
    """
    note = folder / ENGINE_NOTE
    if not note.exists():
        return
    was = json.loads(note.read_text())
    older = version_key(engine.version)[:2] < version_key(was["version"])[:2]
    if was["kind"] != engine.kind or older:
        raise LocalServerError(
            f"{folder} holds data of {was['kind']} {was['version']}, which {engine.title} "
            "cannot read; use that server again, or another folder"
        )


def note_engine(engine: Engine, folder: Path) -> None:
    """Note which server has written a folder, once it has."""
    mine = {"kind": engine.kind, "version": engine.version}
    write_if_changed(folder / ENGINE_NOTE, json.dumps(mine) + "\n")


def load_passwords(folder: Path) -> dict[str, str]:
    """Return the passwords of `mynamo` and `root`, which are made up when the folder is new."""
    path = folder / "passwords.json"
    if not path.exists():
        made = {name: secrets.token_urlsafe(24) for name in (USER, "root")}
        write_private(path, json.dumps(made) + "\n")
    passwords: dict[str, str] = json.loads(path.read_text())
    return passwords


def initialise(
    engine: Engine,
    files: Path,
    options: Sequence[str],
    timeout: float,
    started: Callable[[subprocess.Popen[bytes]], None],
) -> None:
    """Make the system tables, in a folder that gets its name once it is whole.

    What a server of this version has made once is kept in the cache, without its identity and its
    keys, and copied.

    Args:
        engine: the server program.
        files: the new folder.
        options: of the server, other than where its data is.
        timeout: seconds until it counts as failed.
        started: told the process that makes them.

    Raises:
        LocalServerError: it did not work.
    """
    work = files.with_suffix(".new")
    if work.exists():
        shutil.rmtree(work)
    pattern = cache_folder() / f"data-{engine.kind}-{engine.version}"
    if pattern.is_dir():
        _copy(pattern, work)
    else:
        work.mkdir(mode=0o700)
        _make(engine, work, options, timeout, started)
        _keep(work, pattern)
    work.rename(files)
    sync_folder(files.parent)


def _make(
    engine: Engine,
    work: Path,
    options: Sequence[str],
    timeout: float,
    started: Callable[[subprocess.Popen[bytes]], None],
) -> None:
    if engine.kind == "mysql":
        mode, sql = ["--initialize-insecure"], b""
    else:
        mode, sql = ["--bootstrap", "--enforce-storage-engine="], _mariadb_system_sql(engine)
    command = [*engine.command, *options, f"--datadir={work}", *mode]
    with subprocess.Popen(
        tied_to_parent(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        started(process)
        try:
            said, _ = process.communicate(sql, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise LocalServerError(
                f"{engine.title} did not make its data folder {work} within {timeout:.0f} s"
            ) from None
    if process.returncode != 0:
        text = said.decode("utf-8", "replace")[-2000:].strip()
        raise LocalServerError(f"{engine.title} could not make its data folder {work}:\n{text}")


def _keep(made: Path, pattern: Path) -> None:
    """Keep a new data folder for copies; without room or right for it, there is none."""
    try:
        pattern.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".data-", dir=pattern.parent) as part:
            _copy(made, Path(part) / "data")
            (Path(part) / "data").rename(pattern)
    except OSError as failure:  # another process may have been faster, too
        log.debug("%s is not kept for other servers: %s", made, failure)


def _copy(made: Path, to: Path) -> None:
    """Copy a data folder, but what a server makes for itself alone: its identity and its keys."""

    def copied(source: str, target: str) -> str:
        shutil.copy2(source, target)
        with open(target, "rb") as file:
            os.fsync(file.fileno())
        return target

    shutil.copytree(
        made, to, copy_function=copied, ignore=shutil.ignore_patterns("auto.cnf", "*.pem")
    )
    to.chmod(0o700)


def _mariadb_system_sql(engine: Engine) -> bytes:
    """What mariadb-install-db feeds to the server; we do it alike for unpacked servers."""
    parts = [b"CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;"]
    parts += [(engine.share / name).read_bytes() for name in MARIADB_SYSTEM_SQL]
    # That makes roots without a password for every address of this machine.
    parts.append(b"DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost';\n")
    return b"\n".join(parts)


def accounts_sql(passwords: Mapping[str, str]) -> str:
    """SQL that the server runs at each start, before it lets anyone in."""
    pattern = DATABASE_PREFIX.replace("_", "\\_") + "%"
    lines = []
    for host in ("localhost", LOOPBACK):
        account = f"'{USER}'@'{host}'"
        lines += [
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{passwords[USER]}';",
            f"GRANT ALL PRIVILEGES ON `{pattern}`.* TO {account};",
        ]
    lines.append(f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{passwords['root']}';")
    return "\n".join(lines) + "\n"
