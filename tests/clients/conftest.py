"""The clients that are tested, and the `mynamo dev` they talk to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
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
WORKS = "all of it works"
"""The last line of a program that found everything as it should be."""


def missing(reason: str) -> NoReturn:
    """Skip a test whose client is not there; CI=true wants all of them."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="package")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev | None]:
    """`mynamo dev`; None: MYNAMO_TEST_ENDPOINT names another endpoint, so that the same tests can
    be run against DynamoDB itself."""
    if os.environ.get("MYNAMO_TEST_ENDPOINT"):
        yield None
        return
    dev = Dev(tmp_path_factory.mktemp("dev"))
    dev.start()
    yield dev
    dev.end_if_running()


@pytest.fixture(scope="package")
def endpoint(dev: Dev | None) -> str:
    """Where the API is."""
    return os.environ["MYNAMO_TEST_ENDPOINT"] if dev is None else dev.endpoint


def installed(language: str) -> Path:
    """The folder into which `make clients` installed the clients of a language."""
    folder = Path(os.environ["MYNAMO_CACHE"]) / "clients" / language
    if not (folder / "installed").exists():
        missing(f"the clients in {language} are not installed; `make clients` does it or says why")
    return folder


def tool(name: str, packages: str) -> str:
    """The path of a program that some clients need."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is not installed; `apt-get install {packages}` does it")
    return found


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
        "TZ": "UTC",  # Flask-Session takes the clock of UTC for the local one
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
def python(environment: dict[str, str]) -> Callable[..., str]:
    """Run a script of this folder, or a module, with the Python that has the clients."""
    program = installed("python") / "bin" / "python"

    def run(*words: str) -> str:
        return _run([str(program), *words], environment, HERE)

    return run


@pytest.fixture
def node(environment: dict[str, str]) -> Callable[..., str]:
    """Run a script of this folder with Node.js, beside the packages it imports."""
    program, folder = tool("node", "nodejs npm"), installed("js")

    def run(script: str, *words: str) -> str:
        for name in (script, "until.mjs"):
            shutil.copy(HERE / name, folder / name)
        return _run([program, script, *words], environment, folder)

    return run


@pytest.fixture
def java(environment: dict[str, str], tmp_path: Path) -> Callable[..., str]:
    """Compile and run a class of the folder `java`: its name, its words, and what is done when it
    prints a certain line."""
    javac, program = tool("javac", "default-jdk-headless"), tool("java", "default-jdk-headless")
    jars = installed("java") / "jars"

    def run(name: str, *words: str, when: Mapping[str, Callable[[], None]] | None = None) -> str:
        source = str(HERE / "java" / f"{name}.java")
        _run([javac, "-d", str(tmp_path), "-cp", f"{jars}/*", source], environment, tmp_path)
        quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # to start, not to run long
        command = [program, *quick, "-cp", f"{tmp_path}:{jars}/*", name, *words]
        if when is None:
            return _run(command, environment, tmp_path)
        return _talk(command, environment, tmp_path, when)

    return run


@pytest.fixture
def go(environment: dict[str, str]) -> Callable[[], str]:
    """Compile and run the program in the folder `go`."""
    program, folder = tool("go", "golang-go"), installed("go")
    built = {
        **environment, "CGO_ENABLED": "0", "GOFLAGS": "-modcacherw", "GOPROXY": "off",
        "GOMODCACHE": str(folder / "modules"), "GOCACHE": str(folder / "build"),
    }  # fmt: skip

    def run() -> str:
        for outdated in folder.glob("*.go"):
            outdated.unlink()
        for source in (HERE / "go").glob("*.go"):
            shutil.copy(source, folder)
        return _run([program, "run", "."], built, folder)

    return run


@pytest.fixture
def rust(environment: dict[str, str]) -> Callable[[], str]:
    """Compile and run the program in the folder `rust`."""
    program, folder = tool("cargo", "cargo gcc libc6-dev"), installed("rust")
    built = {**environment, "CARGO_HOME": str(folder / "home")}

    def run() -> str:
        shutil.copytree(HERE / "rust" / "src", folder / "src", dirs_exist_ok=True)
        return _run([program, "run", "--quiet", "--locked", "--offline"], built, folder)

    return run


def _run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True,
        timeout=CLIENT_SECONDS, check=False,
    )  # fmt: skip
    return _output(command, done.returncode, done.stdout, done.stderr)


def _talk(
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    when: Mapping[str, Callable[[], None]],
) -> str:
    """Run a program that waits for a line after each of those that it may print."""
    said, errors = "", folder / "errors"
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            command, env=environment, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=stderr, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        too_late = threading.Timer(CLIENT_SECONDS, process.kill)
        too_late.start()
        try:
            for line in process.stdout:
                said += line
                if (step := when.get(line.strip())) is not None:
                    step()
                    process.stdin.write("\n")
                    process.stdin.flush()
            process.wait()
        finally:
            too_late.cancel()
            process.kill()
    return _output(command, process.returncode, said, errors.read_text())


def _output(command: list[str], status: int, stdout: str, stderr: str) -> str:
    """What a program printed, if it succeeded."""
    if status:
        sys.stderr.write(stdout + stderr)
        pytest.fail(f"{' '.join(command)} ended with {status}: {stderr[-1500:]}")
    return stdout
