"""Logs of workers as programs read them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import eventually


@pytest.mark.usefixtures("cluster")
def test_a_worker_writes_json_if_told_to(config_file: Path, tmp_path: Path) -> None:
    config_file.write_text(config_file.read_text() + '\n[log]\nformat = "json"\n')
    command = [sys.executable, "-m", "mynamo", "--config", str(config_file), "writer"]
    log = tmp_path / "log"
    with log.open("wb") as writing, subprocess.Popen(command, stderr=writing) as process:
        try:
            eventually(lambda: b"relay" in log.read_bytes())
            process.send_signal(signal.SIGHUP)
            eventually(lambda: b"SIGHUP" in log.read_bytes())
        finally:
            process.terminate()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert "SIGHUP is ignored" in str(lines)
