"""What docs/deployment.md says: its commands, whether there are such, and machines that run them.

A machine has a folder of its own in the place of /etc/mynamo and /opt/mynamo, ports of its own, and
other programs in the place of systemctl (`tests/service_manager.py`) and pip. All else stands as on
the page and in the units.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from mynamo.cli.app import root
from mynamo.local import free_port

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "deployment.md"
DEPLOY = ROOT / "deploy"
UNITS = sorted(unit.stem for unit in (DEPLOY / "systemd").glob("*.service"))
SECONDS = 120.0
PASSWORD = "the configuration has others"
_BLOCK = re.compile(r"^```\n(.*?)^```$", re.M | re.S)


def blocks(text: str, section: str) -> list[str]:
    """The blocks of commands in a section, given by its title; empty: what is before the first."""
    parts = re.split(r"^## (.*)$", f"## \n{text}", flags=re.M)[1:]
    return _BLOCK.findall(dict(zip(parts[::2], parts[1::2], strict=True))[section])


def lines(block: str) -> list[str]:
    """A block's commands, without their comments."""
    bare = [re.sub(r"\s+#\s.*", "", line) for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in bare if line]


# -- whether there are such commands -----------------------------------------------------------

_IMAGE = re.compile(r"docker run .* mynamo (?P<words>--config .*)$")
_SERVICE = re.compile(r"docker compose run --rm \S+ (?P<words>.*)$")
_POD = re.compile(r"kubectl .* exec deploy/\S+ -- mynamo (?P<words>.*)$")
_COMMAND = re.compile(r"(?:\S*/)?mynamo (?P<words>.*)$")


def mistakes(text: str) -> list[str]:
    """What a page says that is not so: commands, options, files, units, services and values."""
    commands = [line for block in _BLOCK.findall(text) for line in lines(block)]
    inline = re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))
    found = [wrong for command in [*commands, *inline] for wrong in _wrong_words(command)]
    of_kubernetes = "\n".join(line for line in commands if line.startswith("kubectl"))
    for name in set(re.findall(r"\bdeploy/[\w./*-]*[\w*]", text)):
        if name not in of_kubernetes and not list(ROOT.glob(name)):
            found.append(f"no file {name}")
    for name in set(re.findall(r"/etc/mynamo/(\w+)\.toml", text)):
        if not (DEPLOY / "config" / f"{name}.toml").is_file():
            found.append(f"no configuration {name}.toml")
    return found


def _wrong_words(command: str) -> list[str]:
    words = command.split()
    if words[:1] == ["systemctl"]:
        units = [word for word in words if word.startswith("mynamo")]
        return [f"no unit {name}" for name in units if name not in UNITS]
    for service in re.findall(r"docker compose (?:run --rm|up .*--no-deps) (\S+)", command):
        if not re.search(rf"^  {service}:$", (DEPLOY / "compose.yaml").read_text(), re.M):
            return [f"no service {service}"]
    values = (DEPLOY / "helm" / "mynamo" / "values.yaml").read_text()
    for group, name in re.findall(r"--set(?:-file)? (\w+)\.(\w+)=", command):
        if not re.search(rf"^{group}:\n(?:  .*\n)*?  {name}:", values, re.M):
            return [f"no value {group}.{name}"]
    for form in (_IMAGE, _SERVICE, _POD, _COMMAND):
        match = form.match(command)
        if match is not None:
            done = CliRunner().invoke(root, [*shlex.split(match["words"]), "--help"])
            return [] if done.exit_code == 0 else [f"{command}: {done.output}"]
    return []


# -- machines ----------------------------------------------------------------------------------

_PYTHON = f"#!{sys.executable}\nimport os, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
_PROGRAMS = {
    "bin/systemctl": "from tests.service_manager import main\nmain(*sys.argv[1:])\n",
    "opt/bin/mynamo": "from mynamo.cli import main\nmain()\n",
    "opt/bin/pip": "print(*sys.argv[1:], file=open(os.environ['STATE'] + '/pip', 'a'))\n",
}


class Machine:
    """A machine on which the page's commands are run.

    Args:
        folder: of its own.
        config: of the cluster, in TOML, for every role; with the passwords, as there are several.
        gateway: the lines of [gateway], without its port.
    """

    def __init__(self, folder: Path, config: str, gateway: str) -> None:
        self._folder = folder
        self._state = folder / "run"
        self._state.mkdir(parents=True)
        ports: list[int] = []
        for _ in range(4):
            ports.append(free_port(ports))
        self._ports = dict(zip(("8000", "9464", "9465", "9466"), map(str, ports), strict=True))
        self.url = f"http://127.0.0.1:{ports[0]}"
        for role in ("admin", "writer", "indexer", "reader"):
            served = f"[gateway]\nport = {ports[0]}\n{gateway}" if role == "writer" else ""
            self._write(f"etc/{role}.toml", config + served)
        for unit in ("writer", "indexer", "serve"):
            self._write(f"etc/{unit}.env", f"MYNAMO_SHARD_PASSWORD={PASSWORD}\n")
        for file in (DEPLOY / "systemd").rglob("*"):
            if file.is_file():
                # One process, as the ports of metrics beyond the first one may be others'.
                text = file.read_text().replace("mynamo serve", "mynamo serve --workers 1")
                self._write(f"systemd/{file.relative_to(DEPLOY / 'systemd')}", self._here(text))
        for name, program in _PROGRAMS.items():
            self._write(name, _PYTHON + program).chmod(0o755)

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def _here(self, text: str) -> str:
        for of_page, here in self._ports.items():
            text = re.sub(rf"\b{of_page}\b", here, text)
        for place in ("etc", "opt"):
            text = text.replace(f"/{place}/mynamo", str(self._folder / place))
        return text

    def run(self, block: str) -> str:
        """Run a block of the page, which must succeed; returns what it prints."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._here(block)],
            cwd=self._folder,
            env={
                "PATH": f"{self._folder}/bin:{self._folder}/opt/bin:{os.environ['PATH']}",
                "HOME": str(self._folder),
                "UNITS": str(self._folder / "systemd"),
                "STATE": str(self._state),
            },
            input=f"{PASSWORD}\n",
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}{self.logs}"
        return done.stdout

    @property
    def logs(self) -> str:
        """What its processes have said."""
        logs = sorted(self._state.glob("*.log"))
        return "".join(f"{log.stem}: {log.read_text()}" for log in logs)

    @property
    def installed(self) -> list[str]:
        """What pip was told, a line for each time."""
        return (self._state / "pip").read_text().splitlines()

    def end(self) -> None:
        """Stop all that runs."""
        for unit in UNITS:
            if (self._state / f"{unit}.pid").exists():
                self.run(f"systemctl stop {unit}")
