"""The clients that are tested, and the `mynamo dev` they talk to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import boto3
import pytest
from botocore.config import Config

from tests.commands import Dev

HERE = Path(__file__).parent
REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "anybody", "AWS_SECRET_ACCESS_KEY": "anything"}
CLIENT_SECONDS = 300


def missing(reason: str) -> NoReturn:
    """Skip a test whose client is not there; CI=true wants all of them."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="package")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the API is: `mynamo dev`, or what MYNAMO_TEST_ENDPOINT names, so that the same
    tests can be run against DynamoDB itself."""
    given = os.environ.get("MYNAMO_TEST_ENDPOINT")
    if given:
        yield given
        return
    dev = Dev(tmp_path_factory.mktemp("dev"))
    dev.start()
    yield dev.endpoint
    dev.end_if_running()


@pytest.fixture(scope="package")
def installed() -> Path:
    """The folder into which `make clients` installed the clients."""
    folder = Path(os.environ["MYNAMO_CACHE"]) / "clients"
    if not (folder / "installed").exists():
        missing("the clients are not installed; `make test-clients` does it")
    return folder


@pytest.fixture(scope="package")
def environment(endpoint: str) -> dict[str, str]:
    """The environment of a client's process, with nothing of the user's own AWS settings."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return {
        **mine,
        **CREDENTIALS,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "DYNAMO_ENDPOINT": endpoint,
    }


@pytest.fixture(scope="package")
def session() -> Any:
    """A boto3 session with credentials that mean nothing."""
    return boto3.Session(
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )


@pytest.fixture
def client(session: Any, endpoint: str) -> Iterator[Any]:
    """A low-level boto3 client."""
    made = session.client(
        "dynamodb", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1})
    )
    yield made
    made.close()


@pytest.fixture
def python(installed: Path, environment: dict[str, str]) -> Callable[..., str]:
    """Run a script of this folder, or a module, with the Python that has the clients."""

    def run(*words: str) -> str:
        return _run([str(installed / "python" / "bin" / "python"), *words], environment, HERE)

    return run


@pytest.fixture
def node(installed: Path, environment: dict[str, str]) -> Callable[..., str]:
    """Run a script of this folder with Node.js, beside the packages it imports."""
    program = shutil.which("node")
    if program is None:
        missing("Node.js is not installed; `apt-get install nodejs npm` does it")

    def run(script: str, *words: str) -> str:
        folder = installed / "js"
        shutil.copy(HERE / script, folder / script)
        return _run([program, script, *words], environment, folder)

    return run


def _run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True,
        timeout=CLIENT_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-1500:]}")
    return done.stdout
