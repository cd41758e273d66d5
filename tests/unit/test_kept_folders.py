"""What a run of the tests leaves in its temporary folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = '''
import pytest


def serve(folder):
    """What servers of both kinds leave, and a copy of one's data."""
    for data, name in (("data", "ibdata1"), ("backup", "ibdata1"), ("log", "meta.properties")):
        (folder / data / "inner").mkdir(parents=True)
        (folder / data / name).write_text("large")
    (folder / "server.log").write_text("a hint")


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    serve(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def broken(tmp_path):
    serve(tmp_path)
    raise RuntimeError("it did not start")


@pytest.fixture
def not_stopping(tmp_path):
    serve(tmp_path)
    yield
    raise RuntimeError("it did not stop")


def test_good(tmp_path, shared):
    serve(tmp_path)


def test_bad(tmp_path):
    serve(tmp_path)
    assert False


def test_without_server(broken):
    pass


def test_that_leaves_one(not_stopping):
    pass
'''


@pytest.mark.parametrize("processes", ["0", "2"])
def test_data_of_servers_goes_and_logs_of_failed_tests_stay(tmp_path: Path, processes: str) -> None:
    written = tmp_path / "test_written.py"
    written.write_text(TESTS)
    kept = tmp_path / "kept"
    command = [
        sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"),
        "-p", "tests.conftest", "-p", "no:cacheprovider", "--basetemp", str(kept),
        "-n", processes, str(written),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "1 failed, 2 passed, 2 errors" in done.stdout, done.stdout + done.stderr
    files = [path for path in kept.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {path.name for path in files} <= {"server.log", ".lock"}
    of = {path.parent.name for path in files if path.name == "server.log"}
    assert of == {"test_bad0", "test_without_server0", "test_that_leaves_one0", "shared0"}
    assert not list(kept.rglob("data"))
