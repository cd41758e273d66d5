"""Apache Kafka from its Maven artifacts: a folder of jar files, checked by their checksums."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from mynamo.errors import LocalServerError

KAFKA_VERSION = "4.4.0"
LOG4J_VERSION = "2.25.5"  # the one that this Kafka uses
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>mynamo</groupId>
  <artifactId>local-kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


def download_kafka(jars: Path, repository: Path) -> None:
    """Fill a folder with Kafka and everything that it needs to run.

    Args:
        jars: the folder.
        repository: where Maven keeps its own downloads.

    Raises:
        LocalServerError: Maven is missing, or a download failed or had a wrong checksum.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise LocalServerError(
            "Maven was not found; install it (on Debian and Ubuntu the packages maven and "
            "default-jre-headless) and fetch again"
        )
    (jars / "pom.xml").write_text(POM)
    command = [maven, "-B", "-q", "--strict-checksums", f"-Dmaven.repo.local={repository}"]
    done = subprocess.run(
        [*command, PLUGIN, "-DincludeScope=runtime", f"-DoutputDirectory={jars}"],
        cwd=jars,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0 or not (jars / f"kafka_2.13-{KAFKA_VERSION}.jar").exists():
        errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
        said = "\n".join(errors[:4] or (done.stdout + done.stderr).splitlines()[-4:])
        raise LocalServerError(f"Maven could not download Kafka {KAFKA_VERSION}:\n{said}")
