"""Prometheus on this machine: a server that scrapes, with rules of alerts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mynamo.errors import LocalServerError
from mynamo.local.cache import cache_folder, fetch_command, find_fetched
from mynamo.local.ports import LOOPBACK
from mynamo.local.process import ServerProcess

PROGRAMS = ("prometheus", "promtool")
START_TIMEOUT = 60.0
Jobs = Mapping[str, Mapping[str, int]]
"""Ports on this machine, by the name of a job and that of an instance."""


@dataclass(frozen=True)
class PrometheusPrograms:
    """Programs of Prometheus.

    Attributes:
        version: such as `2.42.0`.
        server: path of `prometheus`.
        promtool: path of `promtool`.
    """

    version: str
    server: str
    promtool: str

    @property
    def title(self) -> str:
        """Such as `Prometheus 2.42.0`."""
        return f"Prometheus {self.version}"


def find_prometheus() -> PrometheusPrograms:
    """Find Prometheus: what was fetched before what is installed.

    Raises:
        LocalServerError: it is not there, or does not run.
    """
    fetched = find_fetched("prometheus", cache_folder())
    folder = str(fetched.folder) if fetched else None
    server, promtool = (shutil.which(program, path=folder) for program in PROGRAMS)
    if server is None or promtool is None:
        raise LocalServerError(
            "Prometheus was not found (the programs prometheus and promtool); install it, or fetch "
            "it, which works on Debian, Ubuntu and their like and needs no root:\n"
            f"  {fetch_command('prometheus')}"
        )
    try:
        done = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalServerError(f"{server} does not run: {error}") from None
    found = re.search(r"version (\d[\w.]*)", done.stdout + done.stderr)
    if found is None:
        raise LocalServerError(f"{server} does not say its version: {done.stderr.strip()[:200]!r}")
    return PrometheusPrograms(found[1], server, promtool)


class LocalPrometheus:
    """Prometheus in a folder of its own, on a port of the loopback address.

    Attributes:
        url: of its HTTP API.
        title: its name and version, for people.
    """

    def __init__(self, programs: PrometheusPrograms, folder: Path, port: int) -> None:
        self.url = f"http://{LOOPBACK}:{port}"
        self.title = programs.title
        self._program = programs.server
        self._folder = folder
        self._address = f"{LOOPBACK}:{port}"
        self._process = ServerProcess("prometheus", folder)

    @property
    def log(self) -> Path:
        """Its log file."""
        return self._process.log

    def start(self, jobs: Jobs, rules: Path | None, every: float) -> Self:
        """Start it, and wait until it answers.

        Args:
            jobs: what to scrape.
            rules: a file with rules of alerts.
            every: seconds between two scrapes, and between two looks at the rules.

        Raises:
            LocalServerError: it does not start.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "prometheus.yml"
        config.write_text(json.dumps(_config(jobs, rules, every)))  # JSON is YAML
        self._process.start(
            [
                self._program, f"--config.file={config}", f"--web.listen-address={self._address}",
                f"--storage.tsdb.path={self._folder / 'data'}",
            ],
            ready=self._answers,
            timeout=START_TIMEOUT,
        )  # fmt: skip
        return self

    def stop(self) -> None:
        """Stop it; its data stays."""
        self._process.stop()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


def _config(jobs: Jobs, rules: Path | None, every: float) -> dict[str, Any]:
    interval = f"{every * 1000:.0f}ms"
    return {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": interval,
        },
        "rule_files": [str(rules.resolve())] if rules else [],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [f"{LOOPBACK}:{port}"], "labels": {"instance": instance}}
                    for instance, port in instances.items()
                ],
            }
            for job, instances in jobs.items()
        ],
    }
