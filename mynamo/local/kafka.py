"""Apache Kafka on this machine: one node that is broker and controller, KRaft mode."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from mynamo.errors import LocalServerError
from mynamo.local.broker import Broker
from mynamo.local.cache import Fetched, fetch_command, find_fetched
from mynamo.local.ports import LOOPBACK, free_port
from mynamo.local.process import tied_to_parent

START_TIMEOUT = 120.0
LARGEST_MESSAGE = 16 * 1024 * 1024
CLASSES = "classes.jsa"
CLUSTER_ID = "bXluYW1vLWxvY2FsLWthZg"  # 16 bytes in URL-safe base64, as Kafka wants it


class ApacheKafka(Broker):
    """Apache Kafka, one node in KRaft mode, from the jars that `fetch kafka` downloaded."""

    def __init__(
        self,
        data_dir: Path | str,
        port: int,
        *,
        controller_port: int | None = None,
        heap: str = "512m",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the broker; nothing happens before `start`.

        Args:
            data_dir: a folder for this broker alone; made when it does not exist.
            port: where clients reach it.
            controller_port: where the node talks to itself; any free port by default.
            heap: memory of the Java machine.
            settings: of the broker, in place of ours or on top of them.
        """
        super().__init__("kafka", data_dir, port)
        self.controller_port = controller_port or free_port(taken=(port,))
        self._heap = heap
        self._settings = dict(settings or {})
        fetched = find_kafka()
        self._jars = fetched.folder
        self._archive = self._jars / CLASSES
        self.version = fetched.version
        self.title = f"Apache Kafka {fetched.version}"

    def start(self) -> Self:
        """Start the broker, after formatting its folder when that is new."""
        if self.running:
            return self
        self._prepare(self.port, self.controller_port)
        (self.data_dir / "tmp").mkdir(exist_ok=True)
        java = find_java()
        properties = self.data_dir / "server.properties"
        (self.data_dir / "log4j2.properties").write_text(LOG4J)
        log = self.data_dir / "log"
        if not (log / "meta.properties").exists():
            work = self.data_dir / "log.new"  # gets its name once it is whole
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(log, ignore_errors=True)
            properties.write_text(self._properties(work))
            self._format(java, properties)
            work.rename(log)
        properties.write_text(self._properties(log))
        self._process.start(
            [*self._java(java, self._heap), "kafka.Kafka", str(properties)],
            ready=self._answers,
            timeout=START_TIMEOUT,
        )
        return self

    def _format(self, java: str, properties: Path) -> None:
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted"]
        command = [*self._java(java, "128m"), *tool, "-t", CLUSTER_ID, "-c", str(properties)]
        done = subprocess.run(tied_to_parent(command), capture_output=True, text=True)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip()[-2000:]
            raise LocalServerError(f"Kafka could not format {self.data_dir}:\n{said}")

    def _java(self, java: str, heap: str) -> list[str]:
        return [
            java,
            f"-Xmx{heap}",
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={self.data_dir / 'tmp'}",
            f"-XX:ErrorFile={self.data_dir}/hs_err.log",
            f"-Dlog4j2.configurationFile={self.data_dir}/log4j2.properties",
            *([f"-XX:SharedArchiveFile={self._archive}"] if self._archive.exists() else []),
            "-cp",
            f"{self._jars}/*",
        ]

    def _properties(self, log: Path) -> str:
        # The voters are named here and not stored in the log, so that ports may change.
        settings: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{LOOPBACK}:{self.controller_port}",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{self.port},"
            f"CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{self.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": log,
            "auto.create.topics.enable": "false",
            "delete.topic.enable": "true",
            "default.replication.factor": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            # A killed broker's registration must expire before its successor may serve.
            "broker.session.timeout.ms": 3_000,
            "broker.heartbeat.interval.ms": 500,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1_000,
            "message.max.bytes": LARGEST_MESSAGE,
            "replica.fetch.max.bytes": LARGEST_MESSAGE,
            "socket.request.max.bytes": 4 * LARGEST_MESSAGE,
            "log.segment.bytes": 64 * 1024 * 1024,
            "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
            "num.network.threads": 2,
            "num.io.threads": 4,
        }
        return "".join(
            f"{name}={value}\n" for name, value in {**settings, **self._settings}.items()
        )


class _Recorder(ApacheKafka):
    """A broker that keeps the classes it has loaded in a file when it stops.

    Args:
        archive: the file.
    """

    def __init__(self, data_dir: Path, archive: Path) -> None:
        super().__init__(data_dir, free_port())
        self._kept = archive

    def _java(self, java: str, heap: str) -> list[str]:
        program, *options = super()._java(java, heap)
        return [program, f"-XX:ArchiveClassesAtExit={self._kept}", *options]


def archive_classes() -> None:
    """Keep Kafka's classes as the Java machine has them in memory (class data sharing), beside the
    jars; brokers start in a third of the time with them. Another Java than the one that wrote the
    file does without it.

    Raises:
        LocalServerError: Kafka or Java is not there, or the broker does not start.
    """
    jars = find_kafka().folder
    if (jars / CLASSES).exists():
        return
    with tempfile.TemporaryDirectory(prefix=".classes-", dir=jars) as work:
        made = Path(work) / CLASSES
        with _Recorder(Path(work) / "data", made):
            pass
        if made.exists():
            made.rename(jars / CLASSES)


LOG4J = """\
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c - %m%n
"""


def find_kafka() -> Fetched:
    """Return the fetched Apache Kafka.

    Raises:
        LocalServerError: it was not fetched.
    """
    fetched = find_fetched("kafka")
    if fetched is None:
        raise LocalServerError(
            "Apache Kafka was not fetched; this command does (it needs Java 17 and Maven, no "
            f"root):\n  {fetch_command('kafka')}"
        )
    return fetched


def find_java() -> str:
    """Return the path of the `java` program, from `JAVA_HOME` or `PATH`.

    Raises:
        LocalServerError: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = (shutil.which("java", path=f"{home}/bin") if home else None) or shutil.which("java")
    if not found:
        raise LocalServerError(
            "Java was not found; install a Java 17 runtime or later (on Debian and Ubuntu the "
            "package default-jre-headless), or set JAVA_HOME"
        )
    return found
