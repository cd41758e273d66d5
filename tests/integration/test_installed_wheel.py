"""`pip install 'mynamo[local]'` is all that `mynamo dev` needs, in any folder."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from mynamo.local import free_port
from tests.commands import START_SECONDS, processes_of
from tests.gateway.conftest import client_of
from tests.waiting import eventually
from tests.wheels import build_wheel, install_alone

pytestmark = pytest.mark.slow


def test_dev_answers_requests_from_a_wheel_alone(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "empty").mkdir()
    programs = install_alone(build_wheel(tmp_path / "source"), "local", tmp_path / "venv")
    stranger = subprocess.run([programs / "python", "-c", "import pytest"], capture_output=True)
    assert b"No module named 'pytest'" in stranger.stderr  # nothing is there that is not asked for
    port = free_port()
    log = tmp_path / "dev.log"
    keep = ("MYNAMO_CACHE", "JDK_JAVA_OPTIONS")
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path),
        **{name: os.environ[name] for name in keep if name in os.environ},
    }  # fmt: skip
    with log.open("wb") as output:
        dev = subprocess.Popen(
            ["mynamo", "dev", "--port", str(port)], executable=programs / "mynamo",
            cwd=tmp_path / "empty", env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        eventually(lambda: dev.poll() is not None or b"Ready after" in log.read_bytes(),
                   START_SECONDS)  # fmt: skip
        assert dev.poll() is None, log.read_text()
        pythons = [line.split()[1] for line in processes_of(tmp_path) if " -m mynamo " in line]
        assert {Path(python).parent for python in pythons} == {programs}
        client = client_of(f"http://127.0.0.1:{port}")
        client.create_table(
            TableName="orders",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        item = {"id": {"S": "1"}, "price": {"N": "9.9"}}
        client.put_item(TableName="orders", Item=item)
        assert client.get_item(TableName="orders", Key={"id": {"S": "1"}})["Item"] == item
        doctor = subprocess.run(
            [programs / "mynamo", "doctor"], cwd=tmp_path / "empty", env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr
        assert "the packages that mynamo needs fit" in doctor.stdout
        assert "are free on the disk of .mynamo" in doctor.stdout
    finally:
        dev.send_signal(signal.SIGTERM)
        status = dev.wait(START_SECONDS)
    assert status == 0, log.read_text()
    assert processes_of(tmp_path) == []
