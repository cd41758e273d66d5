"""A private MySQL or MariaDB server in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pymysql
from pydantic import SecretStr

from mynamo.errors import LocalServerError
from mynamo.local.engines import Engine
from mynamo.local.files import write_private
from mynamo.local.mysql_files import (
    DATABASE_PREFIX,
    USER,
    accounts_sql,
    check_engine,
    initialise,
    load_passwords,
    note_engine,
)
from mynamo.local.ports import LOOPBACK, is_free, is_listening
from mynamo.local.process import ServerProcess
from mynamo.schemas.config import DatabaseConfig

LONGEST_SOCKET_PATH = 100
START_TIMEOUT = 180.0


class LocalMySQL:
    """One server process with its own data, on a fixed port of the loopback address.

    Every commit is on disk before it is acknowledged, and the binary log is on, as on a
    server for real use. The user `mynamo` has all rights on every database whose name
    begins with `mynamo_`, creating and dropping it included, and none elsewhere.

    Attributes:
        engine: the server program.
        data_dir: everything it keeps, its log and its passwords.
        port: where it listens.
    """

    def __init__(
        self,
        engine: Engine,
        data_dir: Path | str,
        port: int,
        *,
        buffer_pool: str = "256M",
        extra_args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the server; nothing happens before `start`.

        Args:
            engine: what `find_engine` returned.
            data_dir: a folder for this server alone; made when it does not exist.
            port: a free port.
            buffer_pool: memory for data pages, as `innodb_buffer_pool_size` takes it.
            extra_args: further options of the server.
            env: environment variables of the server on top of our own.
        """
        self.engine = engine
        self.data_dir = Path(data_dir).resolve()
        self.port = port
        self._buffer_pool = buffer_pool
        self._extra_args = tuple(extra_args)
        self._env = env
        self._process = ServerProcess(engine.kind, self.data_dir)
        self._files = self.data_dir / "data"
        self._passwords: dict[str, str] = {}
        self._initialiser: subprocess.Popen[bytes] | None = None

    @property
    def title(self) -> str:
        """Its name and version, for people."""
        return self.engine.title

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self._process.running

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._process.log

    @property
    def password(self) -> str:
        """Password of the user `mynamo`; known once the server was started."""
        return self._passwords[USER]

    def start(self, timeout: float = START_TIMEOUT) -> Self:
        """Start the server, after making its data folder when that is new.

        Args:
            timeout: seconds until it counts as failed.

        Raises:
            LocalServerError: it did not start, or its data belongs to another engine.
        """
        if self.running:
            return self
        if self._has_data:
            check_engine(self.engine, self.data_dir)
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._process.end_leftover()
        (self.data_dir / "tmp").mkdir(exist_ok=True)
        self._passwords = load_passwords(self.data_dir)
        if not is_free(self.port):
            raise LocalServerError(
                f"port {self.port} on {LOOPBACK} is taken; choose another one, or stop the "
                "server that listens on it"
            )
        if not self._has_data:
            note_engine(self.engine, self.data_dir)
            options = self._base_options()
            initialise(self.engine, self._files, options, timeout, self._initialises)
        accounts = write_private(self.data_dir / "accounts.sql", accounts_sql(self._passwords))
        try:
            self._process.start(
                [*self.engine.command, *self._options(), f"--init-file={accounts}"],
                ready=self._answers,
                timeout=timeout,
                env=self._env,
            )
        finally:
            accounts.unlink(missing_ok=True)
        note_engine(self.engine, self.data_dir)
        return self

    def give_up(self) -> None:
        """End, from another thread, a start that is still making the data folder."""
        if self._initialiser is not None:
            self._initialiser.kill()

    def stop(self) -> None:
        """Shut the server down in good order."""
        self._process.stop()

    def kill(self) -> None:
        """End the server at once, as a power failure would (SIGKILL)."""
        self._process.kill()

    def restart(self) -> Self:
        """Stop it, if it runs, and start it on the same port."""
        self.stop()
        return self.start()

    def create_database(self, name: str) -> DatabaseConfig:
        """Create a database if it does not exist, and return how to reach it.

        Raises:
            LocalServerError: the server could not.
        """
        where = self.database(name)
        try:
            with self.connect() as connection, connection.cursor() as cursor:
                cursor.execute(
                    "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", (name,)
                )
                if not cursor.fetchone():
                    cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        except pymysql.MySQLError as error:
            raise LocalServerError(
                f"{self.title} on port {self.port} made no database {name}: {error.args[-1]} "
                f"(its log: {self.log})"
            ) from error
        return where

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", (name,)
            )
            if cursor.fetchone():
                cursor.execute(f"DROP DATABASE `{self.database(name).database}`")

    def database(self, name: str) -> DatabaseConfig:
        """Return how to reach a database of this server.

        Raises:
            LocalServerError: the name does not begin with `mynamo_`.
        """
        if not name.startswith(DATABASE_PREFIX):
            raise LocalServerError(
                f"a database of a local server is named {DATABASE_PREFIX}..., not {name!r}"
            )
        return DatabaseConfig(
            host=LOOPBACK,
            port=self.port,
            user=USER,
            password=SecretStr(self.password),
            database=name,
        )

    def connect(self, database: str | None = None) -> pymysql.Connection:
        """Log in over TCP as the user `mynamo`, with autocommit."""
        return pymysql.connect(
            host=LOOPBACK,
            port=self.port,
            user=USER,
            password=self.password,
            database=database,
            charset="utf8mb4",
            connect_timeout=5,
            # PyMySQL would read all of the system's authorities for each connection.
            ssl_disabled="--require-secure-transport=ON" not in self._extra_args,
            autocommit=True,
        )

    def connect_root(self) -> pymysql.Connection:
        """Log in over the Unix socket as root, which may do anything on this server."""
        return pymysql.connect(
            unix_socket=self._socket,
            user="root",
            password=self._passwords["root"],
            charset="utf8mb4",
            connect_timeout=5,
            ssl_disabled=True,
            autocommit=True,
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _initialises(self, process: subprocess.Popen[bytes]) -> None:
        self._initialiser = process

    @property
    def _has_data(self) -> bool:
        return (self._files / "mysql").is_dir()

    def _answers(self) -> bool:
        if not is_listening(self.port):
            return False
        try:
            self.connect().close()
        except pymysql.err.OperationalError:
            return False
        return True

    @property
    def _socket(self) -> str:
        """Path of the Unix socket; elsewhere when the folder's path is too long for one."""
        path = self.data_dir / "mysql.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return str(path)
        return str(Path(tempfile.gettempdir()) / f"mynamo-{os.getuid()}-{self.port}.sock")

    def _base_options(self) -> list[str]:
        options = [
            "--no-defaults",
            f"--basedir={self.engine.base}",
            f"--lc-messages-dir={self.engine.share}",
            f"--character-sets-dir={self.engine.share / 'charsets'}",
            # Not /tmp: a starting MariaDB deletes other servers' temporary tables there.
            f"--tmpdir={self.data_dir / 'tmp'}",
            "--character-set-server=utf8mb4",
            f"--innodb-buffer-pool-size={self._buffer_pool}",
        ]
        if self.engine.plugins:
            options.append(f"--plugin-dir={self.engine.plugins}")
        if os.geteuid() == 0:
            options.append("--user=root")
        return options

    def _options(self) -> list[str]:
        options = [
            *self._base_options(),
            f"--datadir={self._files}",
            f"--port={self.port}",
            f"--bind-address={LOOPBACK}",
            f"--socket={self._socket}",
            f"--pid-file={self.data_dir / 'server.pid'}",
            "--skip-name-resolve",
            "--local-infile=OFF",
            "--performance-schema=OFF",
            "--max-connections=500",
            "--max-allowed-packet=64M",
            "--innodb-flush-log-at-trx-commit=1",
            "--server-id=1",
            "--log-bin=binlog",
            "--sync-binlog=1",
            "--binlog-row-image=MINIMAL",
            "--max-binlog-size=64M",
            "--binlog-expire-logs-seconds=3600",
        ]
        if self.engine.kind == "mysql":
            options += [
                "--mysqlx=OFF",
                "--secure-file-priv=NULL",
                "--innodb-redo-log-capacity=128M",
            ]
        else:
            options += ["--innodb-log-file-size=128M"]
        return [*options, *self._extra_args]
